"""Where the openly licensed corpora are published, their checksums, and how one is obtained.

Checksums are the publishers' own (OpenSLR's md5sum.txt, Zenodo's records) except LibriTTS's, which
are the sha256 that torchaudio carries. Sizes are bounds against broken archives, not facts.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from speechprobe.datasets._fetch import discard, fetch
from speechprobe.datasets._unpack import unpack

OPENSLR = "https://www.openslr.org"
_GB = 10**9


@dataclass(frozen=True)
class Archive:
    """One published archive.

    Parameters
    ----------
    url
        Its address; one that starts with "/" is below a mirror of OpenSLR.
    checksum
        "md5:..." or "sha256:..." as published, or None.
    brings
        The folder or file below the root that is there once it is unpacked.
    max_bytes
        More unpacked bytes than this are refused.
    bare
        Its entries have no such folder in front and go into it.
    """

    url: str
    checksum: str | None
    brings: str
    max_bytes: int
    bare: bool = False


def _openslr(number: int, folder: str, subset: str, checksum: str, gigabytes: int) -> Archive:
    name = subset.replace("-", "_") if folder == "LibriTTS_R" else subset
    url = f"/resources/{number}/{name}.tar.gz"
    return Archive(url, checksum, f"{folder}/{subset}", gigabytes * _GB)


LIBRISPEECH = {
    subset: _openslr(12, "LibriSpeech", subset, f"md5:{md5}", gigabytes)
    for subset, md5, gigabytes in (
        ("train-clean-100", "2a93770f6d5c6c964bc36631d331a522", 20),
        ("train-clean-360", "c0e676e450a7ff2f54aeade5171606fa", 70),
        ("train-other-500", "d1a0fd59409feb2c614ce4d30c387708", 90),
        ("dev-clean", "42e2234ba48799c1f50f24a7926300a1", 2),
        ("dev-other", "c8d0bcc9cca99d4f8b62fcc847357931", 2),
        ("test-clean", "32fa31d27d2e1cad72775fee3f4849a9", 2),
        ("test-other", "fb5a50374b501bb3bac4815ee91d3135", 2),
    )
}
LIBRITTS = {
    subset: _openslr(60, "LibriTTS", subset, f"sha256:{sha256}", gigabytes)
    for subset, sha256, gigabytes in (
        ("train-clean-100", "c5608bf1ef74bb621935382b8399c5cdd51cd3ee47cec51f00f885a64c6c7f6b", 30),
        (
            "train-clean-360",
            "ce7cff44dcac46009d18379f37ef36551123a1dc4e5c8e4eb73ae57260de4886",
            100,
        ),
        (
            "train-other-500",
            "e35f7e34deeb2e2bdfe4403d88c8fdd5fbf64865cae41f027a185a6965f0a5df",
            150,
        ),
        ("dev-clean", "da0864e1bd26debed35da8a869dd5c04dfc27682921936de7cff9c8a254dbe1a", 6),
        ("dev-other", "d413eda26f3a152ac7c9cf3658ef85504dfb1b625296e5fa83727f5186cca79c", 6),
        ("test-clean", "234ea5b25859102a87024a4b9b86641f5b5aaaf1197335c95090cde04fe9a4f5", 6),
        ("test-other", "33a5342094f3bba7ccc2e0500b9e72d558f72eb99328ac8debe1d9080402f10d", 6),
    )
}
LIBRITTS_R = {
    subset: _openslr(141, "LibriTTS_R", subset, f"md5:{md5}", gigabytes)
    for subset, md5, gigabytes in (
        ("train-clean-100", "6df668d8f5f33e70876bfa33862ad02b", 30),
        ("train-clean-360", "382eb3e64394b3da6a559f864339b22c", 100),
        ("train-other-500", "a37a8e9f4fe79d20601639bf23d1add8", 150),
        ("dev-clean", "2c1f5312914890634cc2d15783032ff3", 6),
        ("dev-other", "62d3a80ad8a282b6f31b3904f0507e4f", 6),
        ("test-clean", "4d373d453eb96c0691e598061bbafab7", 6),
        ("test-other", "dbc0959d8bdb6d52200595cabc9995ae", 6),
    )
}
RAVDESS = {
    channel: Archive(
        f"https://zenodo.org/records/1188976/files/{name}.zip",
        f"md5:{md5}",
        f"ravdess/{name}",
        3 * _GB,
        bare=True,
    )
    for channel, name, md5 in (
        ("speech", "Audio_Speech_Actors_01-24", "bc696df654c87fed845eb13823edef8a"),
        ("song", "Audio_Song_Actors_01-24", "5411230427d67a21e18aa4d466e6d1b9"),
    )
}
EMODB = Archive(
    "https://zenodo.org/records/7447302/files/emodb.zip",
    "md5:9d21362dbc5676ef3ab4745d83ced0db",
    "emodb",
    _GB,
)
CAFE = Archive(
    "https://zenodo.org/records/1478765/files/CaFE_48k.zip", None, "cafe", 3 * _GB, bare=True
)
# Where LibriTTS carries its lists of speakers and books in each archive, LibriTTS-R has them apart.
LIBRITTS_R_LISTS = Archive("/resources/141/doc.tar.gz", None, "LibriTTS_R/speakers.tsv", _GB)


def obtain(
    archive: Archive,
    root: Path,
    *,
    mirror: str | None = None,
    keep_archives: bool,
    progress: bool,
) -> None:
    """Fetch an archive and unpack it below the root, unless what it brings is there already."""
    if (root / archive.brings).exists():
        return
    url = archive.url
    if url.startswith("/"):
        url = (mirror or OPENSLR).rstrip("/") + url
    place = root / "archives" / Path(archive.brings).parts[0]
    file = fetch(url, place / url.rsplit("/", 1)[1], checksum=archive.checksum, progress=progress)
    try:
        unpack(
            file,
            root,
            archive.brings,
            bare=archive.bare,
            max_bytes=archive.max_bytes,
            progress=progress,
        )
    except ValueError:
        discard(file)  # kept, it would stand in the way of a sound one
        raise
    if not keep_archives:
        file.unlink()
        with suppress(OSError):  # not empty: other archives, or the record of a checksum
            place.rmdir()
            place.parent.rmdir()

"""Downloads of the openly licensed corpora: resumed, checked, unpacked, ready for their loaders.

Every function takes the folder that holds your corpora and returns the path to give to the loader
of the same name. A second call continues where the first was interrupted, and does nothing for
what is there. Archives lie in `root/archives` while they come and are removed once unpacked, so
the disk has to hold both for a while; a corpus folder has its name only when it is whole.

Where the publisher gives a checksum, it is verified; where there is none (CaFE, and the lists of
LibriTTS-R), the file is taken over https only and its sha256 is kept in `root/archives`, so that a
later download of something else is an error. VoxCeleb, IEMOCAP and SAVEE are given on request to
their makers, AESDD has no address that a program can fetch: no function is here for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from speechprobe.datasets import _archives, _lfs
from speechprobe.datasets._archives import Archive, obtain

CREMAD = _lfs.Repository(
    "CheyneyComputerScience/CREMA-D", "1658cd342dff90010aa843eaeebd53610a08b1dc"
)


def download_librispeech(
    subsets: str | Sequence[str],
    root: str | Path,
    *,
    mirror: str | None = None,
    keep_archives: bool = False,
    progress: bool = True,
) -> Path:
    """Download subsets of LibriSpeech and return the folder for `load_librispeech`.

    https://www.openslr.org/12, CC BY 4.0, checked against OpenSLR's md5 sums. The archives have
    0.3 GB (dev and test), 6 GB (train-clean-100), 23 GB (train-clean-360) and 30 GB
    (train-other-500), and about as much again once unpacked.

    Parameters
    ----------
    subsets
        Names of subsets: "train-clean-100", "train-clean-360", "train-other-500", "dev-clean",
        "dev-other", "test-clean", "test-other".
    root
        Folder of your corpora; LibriSpeech is made in it, or added to.
    mirror
        Address of a mirror of OpenSLR: "https://us.openslr.org", "https://openslr.elda.org"
        (Europe), "https://openslr.magicdatatech.com" (China). https://www.openslr.org by default.
    keep_archives
        Keep the archives in `root/archives`.
    progress
        Show bars where somebody looks.

    Returns
    -------
    folder
        `root/LibriSpeech`.

    Raises
    ------
    ValueError
        If a subset is unknown, or what came has a wrong checksum.
    ConnectionError
        If the server refuses or the connection is cut again and again; call again to continue.
    OSError
        If the disk is full; make room and call again to continue.

    Examples
    --------
    >>> folder = download_librispeech("dev-clean", "corpora")  # doctest: +SKIP
    >>> load_librispeech(folder)  # doctest: +SKIP
    Corpus('librispeech', 2703 utterances, 40 speakers)
    """
    for archive in _chosen(subsets, _archives.LIBRISPEECH):
        obtain(archive, Path(root), mirror=mirror, keep_archives=keep_archives, progress=progress)
    return Path(root) / "LibriSpeech"


def download_libritts(
    subsets: str | Sequence[str],
    root: str | Path,
    *,
    restored: bool = False,
    mirror: str | None = None,
    keep_archives: bool = False,
    progress: bool = True,
) -> Path:
    """Download subsets of LibriTTS or LibriTTS-R and return the folder for `load_libritts`.

    https://www.openslr.org/60 and https://www.openslr.org/141, CC BY 4.0. LibriTTS is checked
    against the sha256 sums that torchaudio carries, LibriTTS-R against OpenSLR's md5 sums, except
    for its small archive of speaker and book lists (see the module's text). The archives have
    about 1 GB (dev and test), 8 GB, 27 GB and 44 GB, and more once unpacked.

    Parameters
    ----------
    subsets
        Names of subsets, as in `download_librispeech`.
    root
        Folder of your corpora; LibriTTS or LibriTTS_R is made in it, or added to.
    restored
        Take LibriTTS-R, whose sound went through a network that removes noise and reverberation.
    mirror
        Address of a mirror of OpenSLR, as in `download_librispeech`.
    keep_archives
        Keep the archives in `root/archives`.
    progress
        Show bars where somebody looks.

    Returns
    -------
    folder
        `root/LibriTTS` or `root/LibriTTS_R`.

    Raises
    ------
    ValueError, ConnectionError, OSError
        As `download_librispeech`.

    Examples
    --------
    >>> folder = download_libritts("test-clean", "corpora", restored=True)  # doctest: +SKIP
    """
    archives = _chosen(subsets, _archives.LIBRITTS_R if restored else _archives.LIBRITTS)
    if restored:
        archives = [_archives.LIBRITTS_R_LISTS, *archives]
    for archive in archives:
        obtain(archive, Path(root), mirror=mirror, keep_archives=keep_archives, progress=progress)
    return Path(root) / ("LibriTTS_R" if restored else "LibriTTS")


def _chosen(subsets: str | Sequence[str], table: Mapping[str, Archive]) -> list[Archive]:
    names = [subsets] if isinstance(subsets, str) else list(subsets)
    unknown = [name for name in names if name not in table]
    if unknown or not names:
        raise ValueError(f"subsets must be some of {list(table)}, got {unknown or names}")
    return [table[name] for name in names]


def download_emodb(root: str | Path, *, keep_archives: bool = False, progress: bool = True) -> Path:
    """Download EmoDB and return the folder for `load_emodb`.

    Version 1.3.0 at https://zenodo.org/records/7447302, CC BY 4.0, 40 MB, checked against Zenodo's
    md5 sum: the 535 recordings of the corpus's own site under the same names, with tables of
    labels beside them that `load_emodb` does not read.

    Parameters
    ----------
    root
        Folder of your corpora.
    keep_archives
        Keep the archive in `root/archives`.
    progress
        Show bars where somebody looks.

    Returns
    -------
    folder
        `root/emodb`.

    Raises
    ------
    ValueError, ConnectionError, OSError
        As `download_librispeech`.

    Examples
    --------
    >>> load_emodb(download_emodb("corpora"))  # doctest: +SKIP
    Corpus('emodb', 535 utterances, 10 speakers)
    """
    obtain(_archives.EMODB, Path(root), keep_archives=keep_archives, progress=progress)
    return Path(root) / "emodb"


def download_ravdess(
    root: str | Path,
    channel: Literal["speech", "song", "both"] = "speech",
    *,
    keep_archives: bool = False,
    progress: bool = True,
) -> Path:
    """Download the sound of RAVDESS and return the folder for `load_ravdess`.

    https://zenodo.org/records/1188976, CC BY-NC-SA 4.0 (not for commercial use), 0.2 GB each for
    speech and song, checked against Zenodo's md5 sums. The videos are left out.

    Parameters
    ----------
    root
        Folder of your corpora.
    channel
        "speech", "song" or "both".
    keep_archives
        Keep the archives in `root/archives`.
    progress
        Show bars where somebody looks.

    Returns
    -------
    folder
        `root/ravdess`; give the same channel to `load_ravdess`.

    Raises
    ------
    ValueError
        If the channel is unknown, or what came has a wrong checksum.
    ConnectionError, OSError
        As `download_librispeech`.

    Examples
    --------
    >>> load_ravdess(download_ravdess("corpora"))  # doctest: +SKIP
    Corpus('ravdess', 1440 utterances, 24 speakers)
    """
    if channel not in ("speech", "song", "both"):
        raise ValueError(f"channel must be 'speech', 'song' or 'both', got {channel!r}")
    for archive in (
        _archives.RAVDESS.values() if channel == "both" else [_archives.RAVDESS[channel]]
    ):
        obtain(archive, Path(root), keep_archives=keep_archives, progress=progress)
    return Path(root) / "ravdess"


def download_cafe(root: str | Path, *, keep_archives: bool = False, progress: bool = True) -> Path:
    """Download CaFE at 48 kHz and return the folder for `load_cafe`.

    https://zenodo.org/records/1478765, CC BY-NC-SA 4.0 (not for commercial use). No checksum is
    carried here: the archive is taken over https, its sha256 is kept in
    `root/archives/cafe/CaFE_48k.zip.sha256`, and a later download is compared with it.

    Parameters
    ----------
    root
        Folder of your corpora.
    keep_archives
        Keep the archive in `root/archives`.
    progress
        Show bars where somebody looks.

    Returns
    -------
    folder
        `root/cafe`.

    Raises
    ------
    ValueError, ConnectionError, OSError
        As `download_librispeech`.

    Examples
    --------
    >>> folder = download_cafe("corpora")  # doctest: +SKIP
    """
    obtain(_archives.CAFE, Path(root), keep_archives=keep_archives, progress=progress)
    return Path(root) / "cafe"


def download_cremad(root: str | Path, *, progress: bool = True) -> Path:
    """Download the sound of CREMA-D and return the folder for `load_cremad`.

    https://github.com/CheyneyComputerScience/CREMA-D at commit 1658cd3, Open Database License,
    0.6 GB. The 7,442 WAV files are kept in Git LFS, come one by one, and are each checked against
    the repository's tree. GitHub answers 60 questions an hour for trees without an account; a
    download asks two.

    Parameters
    ----------
    root
        Folder of your corpora.
    progress
        Show a bar where somebody looks.

    Returns
    -------
    folder
        `root/cremad`, with `AudioWAV` in it.

    Raises
    ------
    ValueError, ConnectionError, OSError
        As `download_librispeech`.

    Examples
    --------
    >>> folder = download_cremad("corpora")  # doctest: +SKIP
    """
    folder = Path(root) / "cremad"
    _lfs.fetch_folder(CREMAD, folder / "AudioWAV", progress=progress)
    return folder

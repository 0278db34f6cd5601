"""VoxCeleb1 and VoxCeleb2: interviews of celebrities found on YouTube, 7,363 speakers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechprobe.datasets._names import refuse_copies
from speechprobe.datasets._scan import corpus_of_rows, require_folder
from speechprobe.datasets.corpus import Corpus

_SPEAKER = re.compile("id[0-9]{5}")
_NUMBER = re.compile("[0-9]{5}")
_SUFFIXES = (".wav", ".m4a", ".flac")
_DEEPEST = 4  # folders between the root and those of the speakers
_LAYOUT = (
    "VoxCeleb1/wav/id10001/1zcIwhmdeo4/00001.wav or VoxCeleb2/dev/aac/id00012/21Uxsk56VDQ/"
    "00001.m4a (speaker, video, number), with vox1_meta.csv or vox2_meta.csv beside"
)
_SOURCE = (
    "Ask for the corpus at https://www.robots.ox.ac.uk/~vgg/data/voxceleb/, join the parts and "
    "unpack them into this layout"
)
_PARTS = ("dev", "test")


def load_voxceleb(root: str | Path) -> Corpus:
    """Load VoxCeleb1, VoxCeleb2, or both below one folder.

    Nagrani, Chung, Zisserman: "VoxCeleb: a large-scale speaker identification dataset",
    Interspeech 2017. Chung, Nagrani, Zisserman: "VoxCeleb2: deep speaker recognition",
    Interspeech 2018. The metadata is CC BY-SA 4.0; the sound is on request from
    https://www.robots.ox.ac.uk/~vgg/data/voxceleb/ and is never downloaded here. 16 kHz, many
    languages, mostly English. VoxCeleb1: 153,516 utterances of 1,251 speakers (dev 148,642 of
    1,211, test 4,874 of 40), about 350 hours. VoxCeleb2: 1,128,246 of 6,112 (dev 1,092,009 of
    5,994, test 36,237 of 118), about 2,440 hours, AAC in M4A. Layouts::

        VoxCeleb1/                                  VoxCeleb2/
        ├── vox1_meta.csv                           ├── vox2_meta.csv
        └── wav/                                    ├── dev/
            └── id10270/           speaker          │   └── aac/
                └── 5r0dWxy17C8/   video            │       └── id00012/
                    └── 00001.wav  number           │           └── 21Uxsk56VDQ/00001.m4a
                                                    └── test/aac/ ...

    Folders between the root and the speakers may have any name (`dev/wav`, `vox1_test_wav/wav`);
    converted copies (.wav or .flac) are read as well. Utterances of one video share the room, the
    microphone and the day, so that a split by utterance tests the recording, not the speaker:
    `video` is a label to group by. Faults: labels were made by face and speech detection, and some
    are wrong (the "cleaned" trial lists leave them out); 16-bit WAV files of VoxCeleb1 were AAC
    before. M4A needs the extra `m4a`.

    Parameters
    ----------
    root
        The folder that holds the layout above, or both of them. The metadata files lie in it, in a
        folder inside it, or up to three folders above it.

    Returns
    -------
    corpus
        Ids are "id10270/5r0dWxy17C8/00001", as in the trial lists, without extension. Labels:
        speaker ("id10270"), gender ("F", "M"), nationality, name (VoxCeleb1's identity), all None
        without metadata, subset ("dev" or "test", by metadata or else by folder, or None), video,
        duration (seconds), sample_rate (Hz), channels.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no speaker.
    ValueError
        If a file name does not fit, a speaker is not in the metadata, or an utterance is there
        twice.

    Examples
    --------
    >>> import tempfile, numpy as np, speechprobe
    >>> folder = Path(tempfile.mkdtemp(), "wav", "id10270", "5r0dWxy17C8")
    >>> folder.mkdir(parents=True)
    >>> speechprobe.audio.write(folder / "00001.wav", np.full(1600, 0.1), 16_000)
    >>> load_voxceleb(folder.parents[2])["id10270/5r0dWxy17C8/00001"]["speaker"]
    'id10270'
    """
    folder = require_folder(root, _LAYOUT, source=_SOURCE)
    known = _read_metadata(folder)
    rows = [row for speaker in _speakers(folder) for row in _rows(folder, speaker, known)]
    if not rows:
        raise FileNotFoundError(
            f"{folder}: holds no folder of a speaker (id10001) with sounds. Layout: {_LAYOUT}. "
            f"{_SOURCE}"
        )
    refuse_copies(rows)
    return corpus_of_rows("voxceleb", rows)


def _speakers(folder: str | Path, depth: int = 0) -> Iterator[str]:
    with os.scandir(folder) as entries:
        inner = sorted(entry.path for entry in entries if entry.is_dir())
    for path in inner:
        if _SPEAKER.fullmatch(os.path.basename(path)):
            yield path
        elif depth < _DEEPEST:
            yield from _speakers(path, depth + 1)


def _rows(
    root: Path, folder: str, known: dict[str, dict[str, dict[str, str | None]]]
) -> Iterator[dict[str, Any]]:
    speaker = os.path.basename(folder)
    labels = _labels(root, folder, known)
    for video in sorted(os.listdir(folder)):
        place = os.path.join(folder, video)
        for name in sorted(os.listdir(place)) if os.path.isdir(place) else ():
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in _SUFFIXES or name.startswith("._"):
                continue
            path = os.path.join(place, name)
            if not _NUMBER.fullmatch(stem):
                raise ValueError(f"{path}: the name does not fit. Layout: {_LAYOUT}")
            identity = {"id": f"{speaker}/{video}/{stem}", "path": path, "speaker": speaker}
            yield {**identity, **labels, "video": video}


def _labels(
    root: Path, folder: str, known: dict[str, dict[str, dict[str, str | None]]]
) -> dict[str, str | None]:
    speaker = os.path.basename(folder)
    # VoxCeleb1 counts its speakers from id10001.
    listed = known.get("vox1_meta.csv" if speaker > "id10000" else "vox2_meta.csv")
    if listed is None:
        between = Path(folder).relative_to(root).parts[:-1]
        parts = [part for part in _PARTS if any(part in each.split("_") for each in between)]
        subset = parts[0] if len(parts) == 1 else None
        return {"gender": None, "nationality": None, "name": None, "subset": subset}
    if speaker not in listed:
        raise ValueError(f"{folder}: speaker {speaker} is not in the metadata beside the corpus")
    return listed[speaker]


def _read_metadata(folder: Path) -> dict[str, dict[str, dict[str, str | None]]]:
    found = {}
    for name in ("vox1_meta.csv", "vox2_meta.csv"):
        inner = sorted(place for place in folder.iterdir() if place.is_dir())
        for place in (folder, *inner, *list(folder.resolve().parents)[:3]):
            if (place / name).is_file() and name not in found:
                found[name] = _speakers_of(place / name)
    return found


def _speakers_of(file: Path) -> dict[str, dict[str, str | None]]:
    """Read tabs (VoxCeleb1) or commas (VoxCeleb2), with spaces around the fields."""
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    separator = "\t" if lines and "\t" in lines[0] else ","
    rows = [[field.strip() for field in line.split(separator)] for line in lines if line.strip()]
    header = [name.lower() for name in rows[0]] if rows else []
    if "gender" not in header or not header[0].endswith("id"):
        raise ValueError(
            f"{file}: expected a first line with 'VoxCeleb1 ID' (or 2), 'Gender' and 'Set', "
            f"got {lines[:1]}"
        )
    speakers: dict[str, dict[str, str | None]] = {}
    for row in rows[1:]:
        fields = dict(zip(header, row, strict=False))
        gender = fields.get("gender", "").upper()
        if not _SPEAKER.fullmatch(row[0]) or gender not in ("F", "M"):
            raise ValueError(f"{file}: expected a speaker and 'm' or 'f', got {row}")
        speakers[row[0]] = {
            "gender": gender,
            "nationality": fields.get("nationality") or None,
            "name": fields.get("name") or fields.get("vggface1 id") or None,
            "subset": fields.get("set") or None,
        }
    return speakers

"""Corpora from the Hugging Face `datasets` package."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from speechprobe import _cache
from speechprobe._files import replacing
from speechprobe._optional import require
from speechprobe.datasets._names import free_name
from speechprobe.datasets._scan import with_headers
from speechprobe.datasets.corpus import Corpus

_SPEAKERS = ("speaker", "speaker_id", "client_id")
_MAGIC = {
    b"RIFF": ".wav",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
    b"ID3": ".mp3",
    **dict.fromkeys((b"\xff\xf2", b"\xff\xf3", b"\xff\xfa", b"\xff\xfb"), ".mp3"),
    **dict.fromkeys((b"\xff\xf1", b"\xff\xf9"), ".aac"),
}
_KINDS = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".aiff"})


def load_hf_dataset(
    dataset: Any,
    *,
    audio: str | None = None,
    speaker: str | None = None,
    id: str | None = None,  # noqa: A002 the contract's word for it
    folder: str | Path | None = None,
    name: str | None = None,
) -> Corpus:
    """Load a `datasets.Dataset` that has an audio column (extra `datasets`).

    Sounds that the dataset holds as files are used where they lie. Sounds that it holds as bytes,
    as Parquet datasets do, are written once as they are, into `folder`. They are decoded with
    libsndfile like all others: neither TorchCodec nor FFmpeg is needed.

    Parameters
    ----------
    dataset
        A `datasets.Dataset`, so one split; all its other columns become labels, and class labels
        their names. A column called `path` becomes `original_path`.
    audio
        The audio column; the only one by default.
    speaker
        The column that names the speaker; "speaker", "speaker_id" or "client_id" by default.
    id
        The column that names the utterance; "id" where its values are unique, or else the row
        number.
    folder
        Where sounds go that are bytes, each named by its hash; by default `sounds` in the cache
        folder.
    name
        Name of the corpus; the dataset's by default.

    Raises
    ------
    TypeError
        If it is not a `datasets.Dataset`; of a dict of splits, choose one.
    ValueError
        If there is no audio column, more than one, no speaker column, or a row without sound.

    Examples
    --------
    >>> import tempfile, datasets, numpy as np, speechprobe
    >>> path = f"{tempfile.mkdtemp()}/a.wav"
    >>> speechprobe.audio.write(path, np.full(8000, 0.1), 16_000)
    >>> dataset = datasets.Dataset.from_dict({"audio": [path], "speaker_id": [7]})
    >>> corpus = load_hf_dataset(dataset.cast_column("audio", datasets.Audio()))
    >>> corpus["0"]["speaker"], corpus["0"].duration
    ('7', 0.5)
    """
    datasets = require("datasets", extra="datasets")
    if not isinstance(dataset, datasets.Dataset):
        splits = f"; choose a split of {list(dataset)}" if isinstance(dataset, Mapping) else ""
        raise TypeError(f"expected a datasets.Dataset, got {type(dataset).__name__}{splits}")
    column = _audio_column(dataset, audio, datasets.Audio)
    speaker = speaker or next((each for each in _SPEAKERS if each in dataset.column_names), None)
    if speaker is None or speaker not in dataset.column_names:
        raise ValueError(
            f"the dataset has no column {speaker or 'speaker'!r} but {dataset.column_names}; name "
            "the one that tells the speaker: load_hf_dataset(dataset, speaker=...)"
        )
    table = _labels(dataset.remove_columns(column), id)
    place = Path(folder) if folder else _cache.folder() / "sounds"
    raw = dataset.cast_column(column, datasets.Audio(decode=False)).select_columns(column)
    paths = [_path(row[column], key, place) for key, row in zip(table.index, raw, strict=True)]
    speakers = _as_names(table.pop(speaker))
    for taken in {"path", "speaker"} & set(table):
        table = table.rename(columns={taken: free_name(f"original_{taken}", table)})
    table.insert(0, "path", paths)
    table.insert(1, "speaker", speakers)
    corpus_name = name or dataset.info.dataset_name or "hf_dataset"
    return Corpus(corpus_name, with_headers(table, corpus_name, depth=2))


def _audio_column(dataset: Any, wanted: str | None, kind: type) -> str:
    found = [each for each, feature in dataset.features.items() if isinstance(feature, kind)]
    if wanted in found or (wanted is None and len(found) == 1):
        return wanted or found[0]
    raise ValueError(
        f"expected {'one audio column' if wanted is None else f'an audio column {wanted!r}'}, the "
        f"dataset has {found or 'none'} among {dataset.column_names}; name it with audio=..., or "
        "make it one with dataset.cast_column(name, datasets.Audio())"
    )


def _labels(dataset: Any, key: str | None) -> pd.DataFrame:
    table: pd.DataFrame = dataset.to_pandas()
    for name, feature in dataset.features.items():
        if hasattr(feature, "int2str"):
            # -1 is "no label".
            classes = [
                feature.int2str(int(each)) if pd.notna(each) and each >= 0 else None
                for each in table[name]
            ]
            table[name] = pd.Series(classes, index=table.index, dtype=object)
    if key is None and "id" in table and table["id"].is_unique and table["id"].notna().all():
        key = "id"
    ids = _as_names(table.pop(key)) if key else pd.RangeIndex(len(table)).astype(str)
    return table.set_index(pd.Index(ids, name="id"))


def _as_names(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return numbers or words as words, 103 and not 103.0 where another is missing."""
    whole = values.convert_dtypes()
    return whole.astype(str).astype(object).where(whole.notna(), None)


def _kind(content: bytes) -> str:
    """Return the extension of a sound by its first bytes."""
    if content[4:8] == b"ftyp":
        return ".m4a"
    return next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), ".wav")


def _path(sound: Mapping[str, Any] | None, key: str, folder: Path) -> str:
    """Return where the sound of a row lies, after writing it there if it is bytes."""
    given = (sound or {}).get("path")
    content = (sound or {}).get("bytes")
    if content is None:
        if given is None:
            raise ValueError(f"row {key!r} of the dataset has no sound; filter it out")
        return str(given)
    suffix = Path(given or "").suffix.lower()
    if suffix not in _KINDS:
        suffix = _kind(content)
    path = folder / f"{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(content)
    return str(path)

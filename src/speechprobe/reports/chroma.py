"""Embeddings for the vector database Chroma, as the speaking-rate study kept its own."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from speechprobe._optional import require
from speechprobe.features import Features
from speechprobe.plots._layer import matrix_of


def export_chroma(features: Features, layer: str, path: str | Path, collection: str) -> Any:
    """Write the vectors of one layer, with all labels, into a collection of a Chroma database.

    Items that are there already are replaced, so the call can be repeated; items of an earlier
    call that are gone from the features stay. Nothing is sent anywhere: Chroma's telemetry and its
    own text embeddings are off.

    Parameters
    ----------
    features
        Layers and labels; the ids of the items become the ids of the database.
    layer
        The layer; its frames must be pooled.
    path
        Folder of the database; it is made.
    collection
        Name of the collection: 3 to 512 letters, digits and ``._-``.

    Returns
    -------
    collection
        Chroma's collection, ready for `query` and `get`. Labels are its metadata: text, numbers
        and truth values as they are, times and paths as text; missing and infinite values and
        containers are left out.

    Raises
    ------
    KeyError
        If there is no such layer.
    ValueError
        If ids repeat, the layer holds frames or NaN, or the collection holds another layer.
    ImportError
        If Chroma is not installed, with the pip command.

    Examples
    --------
    >>> import tempfile
    >>> items = pd.DataFrame({"speaker": ["a", "b"], "rate": [14.2, 15.1]}, index=["u1", "u2"])
    >>> features = Features({"block": np.eye(2, dtype="float32")}, items)
    >>> kept = export_chroma(features, "block", tempfile.mkdtemp(), "rates")  # doctest: +SKIP
    >>> kept.query(query_embeddings=[[1.0, 0.0]], n_results=1)["ids"]  # doctest: +SKIP
    [['u1']]
    """
    matrix, ids = matrix_of(features, layer), _ids(features)
    chroma = require("chromadb", extra="chroma")
    client = chroma.PersistentClient(
        path=str(path), settings=chroma.Settings(anonymized_telemetry=False)
    )
    made_by = dict(features.provenance).get("extractor", {})
    about = {"layer": layer, "extractor": str(dict(made_by).get("name", ""))}
    kept = client.get_or_create_collection(collection, metadata=about, embedding_function=None)
    _require_same(kept, about)
    labels = _labels(features.items)
    for rows in _batches(len(ids), client.get_max_batch_size()):
        kept.upsert(
            ids=ids[rows],
            embeddings=matrix[rows].astype(np.float32),
            metadatas=labels[rows],
        )
    return kept


def _ids(features: Features) -> list[str]:
    ids = pd.Series([str(each) for each in features.items.index])
    if ids.duplicated().any():
        raise ValueError(
            f"{int(ids.duplicated().sum())} ids of items repeat, first "
            f"{ids[ids.duplicated()].iloc[0]!r}; a database needs each once"
        )
    return ids.tolist()


def _require_same(collection: Any, about: dict[str, str]) -> None:
    found = {key: (collection.metadata or {}).get(key) for key in about}
    if found != about:
        raise ValueError(
            f"the collection {collection.name!r} holds {found}, not {about}; give each layer a "
            "collection of its own"
        )


def _labels(items: pd.DataFrame) -> list[dict[str, Any] | None]:
    """Return the labels of each item; None where it has none, for Chroma refuses {}."""
    rows = items.to_dict(orient="records")
    found = [{str(k): _scalar(v) for k, v in row.items() if _is_told(v)} for row in rows]
    return [row or None for row in found]


def _is_told(value: Any) -> bool:
    if isinstance(value, list | tuple | dict | set | np.ndarray) or value is None:
        return False
    if isinstance(value, numbers.Real):
        return math.isfinite(value)
    return not pd.isna(value)


def _scalar(value: Any) -> str | int | float | bool:
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, str | int | float | bool) else str(plain)


def _batches(n_items: int, size: int) -> Iterator[slice]:
    for start in range(0, n_items, size):
        yield slice(start, start + size)

"""How alike the layers of two models are: every layer of one with every layer of the other.

Items are matched by id, so that the two may come from different models, widths and orders of the
same corpus. Items that only one of them has are left out, with a warning.

The centred kernel alignments of `metrics` and `rsa` prepare each layer once and not once a pair;
the numbers are those of single calls up to rounding.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speechprobe._files import hide_progress
from speechprobe._similarity import cka
from speechprobe.features import Features
from speechprobe.layers.pairs import Similarity, Views, matrix_of
from speechprobe.layers.target import name_of
from speechprobe.metrics.similarity import linear_cka, rbf_cka, rsa
from speechprobe.probes.cca import cca, pwcca, svcca

if TYPE_CHECKING:
    from numpy.typing import NDArray


NAMED: Mapping[str, Similarity] = MappingProxyType(
    {each.__name__: each for each in (linear_cka, rbf_cka, cka, rsa, cca, svcca, pwcca)}
)


@dataclass(frozen=True, eq=False)
class LayerSimilarity:
    """The similarity of every layer of one model with every layer of another.

    Parameters
    ----------
    matrix
        Shape (n_layers, n_other_layers).
    layers, other_layers
        Names in depth order: of the rows, of the columns.
    settings
        Similarity, number of items, items left out of either, and the provenance of both features.

    Examples
    --------
    >>> LayerSimilarity(np.array([[1.0, 0.25]]), ("stem",), ("stem", "block")).table()
           stem  block
    layer
    stem    1.0   0.25
    """

    matrix: NDArray[np.float64]
    layers: tuple[str, ...]
    other_layers: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Return the matrix with the names of the layers, rounded to 3 decimals."""
        return self._frame().round(3)

    def nearest(self) -> pd.DataFrame:
        """Return, for each layer, the most similar layer of the other model and the similarity."""
        columns = self.matrix.argmax(axis=1)
        return pd.DataFrame(
            {
                "nearest": [self.other_layers[column] for column in columns],
                "similarity": self.matrix.max(axis=1).round(3),
            },
            index=pd.Index(self.layers, name="layer"),
        )

    def to_csv(self, path: str | Path) -> None:
        """Write the matrix in full precision, one row a layer."""
        self._frame().to_csv(path)

    def _frame(self) -> pd.DataFrame:
        index = pd.Index(self.layers, name="layer")
        return pd.DataFrame(self.matrix, index=index, columns=list(self.other_layers))

    def __repr__(self) -> str:
        return (
            f"LayerSimilarity({self.settings.get('similarity')}, {len(self.layers)} x "
            f"{len(self.other_layers)} layers, {self.settings.get('n_items')} items)"
        )


def compare_layers(
    a: Features,
    b: Features | None = None,
    similarity: str | Similarity = linear_cka,
    *,
    groups: str | None = None,
    progress: bool = True,
) -> LayerSimilarity:
    """Compare every layer of one model with every layer of another, or of itself.

    Parameters
    ----------
    a, b
        Features of the same corpus, matched by id; `a` with itself if there is no `b`.
    similarity
        Function (X, Y) -> number of two arrays (n_items, n_dims) and (n_items, n_other_dims):
        `metrics.linear_cka`, `rbf_cka`, `rsa`, `probes.cca` (its first correlation), `svcca`,
        `pwcca`, also by name, a `functools.partial` of one, or a function of your own.
    groups
        Label of `a`, such as "speaker", handed to a similarity that takes `groups`: canonical
        correlations are then measured on speakers that they were not fitted on.
    progress
        Show a progress bar where the output is a terminal.

    Returns
    -------
    found
        A matrix with one row a layer of `a` and one column a layer of `b`.

    Raises
    ------
    ValueError
        If no item is in both, ids are not unique, a layer holds NaN or is the same for all items,
        there is no such similarity, or it does not take groups.
    KeyError
        If there is no such label.
    TypeError
        If `similarity` is no function.

    Warns
    -----
    UserWarning
        If items of one are not in the other.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> items = pd.DataFrame(index=[f"u{number}" for number in range(100)])
    >>> model = Features({"stem": x, "block": x**2}, items)
    >>> other = Features({"embedding": 3 * x[::-1]}, items[::-1])
    >>> compare_layers(model, other).table()
           embedding
    layer
    stem       1.000
    block      0.0...
    """
    function = named = _function(similarity)
    other = a if b is None else b
    rows, other_rows, left_out = _matched(a, other)
    if groups is not None:
        function = _with_groups(function, a, groups, rows)
    first = Views(a, rows, "a")
    second = first if b is None else Views(b, other_rows, "b")
    settings = {
        "similarity": name_of(named),
        "groups": groups,
        "n_items": len(rows),
        "left_out": left_out,
        "provenance": dict(a.provenance),
        "other_provenance": dict(other.provenance),
    }
    matrix = matrix_of(function, first, second, hide_progress(progress))
    return LayerSimilarity(matrix, tuple(first.names), tuple(second.names), settings)


def _function(similarity: str | Similarity) -> Similarity:
    if isinstance(similarity, str):
        if similarity not in NAMED:
            raise ValueError(
                f"no similarity {similarity!r} among {list(NAMED)}; any function (X, Y) -> number "
                "will do"
            )
        return NAMED[similarity]
    if not callable(similarity):
        raise TypeError(
            "a similarity is a function (X, Y) -> number, such as metrics.linear_cka, got "
            f"{similarity!r}"
        )
    return similarity


def _matched(a: Features, b: Features) -> tuple[NDArray[np.intp], NDArray[np.intp], dict[str, int]]:
    """Return the rows of the common items in the order of `a`, and how many are left out."""
    index, other = a.items.index, b.items.index
    if index.equals(other):
        return np.arange(len(a)), np.arange(len(a)), {"a": 0, "b": 0}
    for name, ids in (("a", index), ("b", other)):
        if not ids.is_unique:
            raise ValueError(
                f"ids of {name} are not unique, first {ids[ids.duplicated()][0]!r}, so its items "
                "cannot be matched with those of the other"
            )
    found = other.get_indexer(index)
    rows = np.flatnonzero(found >= 0)
    left_out = {"a": len(a) - len(rows), "b": len(b) - len(rows)}
    if not len(rows):
        raise ValueError(
            f"no item is in both: ids of a are such as {index[0]!r}, of b such as {other[0]!r}"
        )
    if any(left_out.values()):
        warnings.warn(
            f"{len(rows)} items are in both; {left_out['a']} of a and {left_out['b']} of b are "
            "left out",
            stacklevel=3,
        )
    return rows, found[rows], left_out


def _with_groups(
    function: Similarity, a: Features, groups: str, rows: NDArray[np.intp]
) -> Similarity:
    if groups not in a.items:
        raise KeyError(f"no label {groups!r} among {list(a.items.columns)}")
    if "groups" not in inspect.signature(function).parameters:
        raise ValueError(
            f"{name_of(function)} fits nothing that could be held out: it takes no groups; take "
            "probes.svcca, probes.pwcca or probes.cca, or leave groups out"
        )
    return functools.partial(function, groups=a.items[groups].to_numpy()[rows])

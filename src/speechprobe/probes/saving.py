"""Keeps fitted probes in one file that holds no code: arrays by safetensors, the rest as JSON.

The file is a safetensors file. Its metadata hold, under "speechprobe", a JSON text with the class,
the settings and the learnt values of the probe, in which an array is named by its tensor. Nothing
is pickled, and nothing in a file is run: the classes that a file may name are estimators of
scikit-learn and of this library, and the records that this library keeps in them. So a probe of
your own class cannot be loaded, and is refused when it is saved.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes
from sklearn.base import BaseEstimator

from speechprobe._files import replacing

FORMAT = 1
_PACKAGES = ("speechprobe", "sklearn")


class Savable:
    """Gives an estimator the method `save`."""

    def save(self, path: str | Path) -> None:
        """Write the probe, fitted or not, to a file that `probes.load` reads.

        Parameters
        ----------
        path
            The file; it is replaced as a whole. Its name should end in ".safetensors".

        Raises
        ------
        TypeError
            If the probe holds something that cannot be kept without code.
        """
        save(self, path)


def save(probe: Any, path: str | Path) -> None:
    """Write a probe to a file without code.

    Parameters
    ----------
    probe
        An estimator of this library or of scikit-learn, fitted or not.
    path
        The file; it is replaced as a whole. Its name should end in ".safetensors".

    Raises
    ------
    TypeError
        If the probe is of another class, or holds something that cannot be kept without code, such
        as a function, an object of torch, or an array of Python objects.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from speechprobe.probes.ridge import RidgeProbe
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> probe = RidgeProbe().fit(x, x[:, 0])
    >>> with TemporaryDirectory() as folder:
    ...     save(probe, Path(folder, "rate.safetensors"))
    ...     again = load(Path(folder, "rate.safetensors"))
    >>> bool((again.predict(x) == probe.predict(x)).all())
    True
    """
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    found = {
        "format": FORMAT,
        "versions": {name: version(name) for name in ("speechprobe", "scikit-learn", "numpy")},
        "probe": _written(probe, type(probe).__name__, tensors),
    }
    data = to_bytes(tensors, metadata={"speechprobe": json.dumps(found, allow_nan=True)})
    with replacing(Path(path)) as partial:
        partial.write_bytes(data)


def load(path: str | Path) -> Any:
    """Read a probe that `save` wrote.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is none that `save` wrote, a newer version wrote it, or it names a class that is not
        allowed.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no probe at {path}")
    try:
        with safe_open(path, framework="np") as opened:
            text = (opened.metadata() or {}).get("speechprobe")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    if text is None:
        raise ValueError(f"{path} holds tensors but no probe; expected a file of probes.save")
    found = json.loads(text)
    if found["format"] > FORMAT:
        raise ValueError(
            f"{path} is of format {found['format']} and this version reads up to {FORMAT}; it was "
            f"written by speechprobe {found['versions']['speechprobe']}: update"
        )
    return _read(found["probe"], tensors)


def _written(value: Any, name: str, tensors: dict[str, Any]) -> Any:
    """Return a value as JSON can hold it; arrays go to `tensors` under the names they have there.

    Plain values are themselves; all others are {kind: value} with one key.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    for write in (_array, _table, _object, _container):
        found = write(value, name, tensors)
        if found is not None:
            return found
    raise TypeError(
        f"{name} is {type(value).__module__}.{type(value).__qualname__}, which cannot be saved "
        "without code; expected numbers, strings, arrays, tables, lists and estimators of these"
    )


def _array(value: Any, name: str, tensors: dict[str, Any]) -> Any:
    if isinstance(value, np.generic):
        return {"scalar": _array(np.asarray(value), name, tensors)}
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype.kind in "fiub":
        tensors[name] = np.ascontiguousarray(value)
        return {"array": [name, list(value.shape)]}
    if value.dtype.kind == "U" or all(type(each) is str for each in value.ravel()):
        return {"strings": [value.dtype.str, value.tolist()]}
    raise TypeError(
        f"{name} is an array of {value.dtype}, which cannot be saved without code; expected "
        "numbers or strings"
    )


def _table(value: Any, name: str, tensors: dict[str, Any]) -> Any:
    if not isinstance(value, pd.DataFrame):
        return None
    columns = {str(label): value[label].to_numpy() for label in value}
    return {"table": _written(columns, name, tensors)}


def _object(value: Any, name: str, tensors: dict[str, Any]) -> Any:
    record = isinstance(value, tuple) and hasattr(value, "_asdict")
    if not record and not isinstance(value, BaseEstimator):
        return None
    kind = f"{type(value).__module__}:{type(value).__qualname__}"
    _allowed(kind, TypeError)
    state = value._asdict() if record else vars(value)
    return {"object": [kind, _written(dict(state), name, tensors)]}


def _container(value: Any, name: str, tensors: dict[str, Any]) -> Any:
    if type(value) in (list, tuple):
        parts = [_written(each, f"{name}.{place}", tensors) for place, each in enumerate(value)]
        return {type(value).__name__: parts}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"dict": {key: _written(v, f"{name}.{key}", tensors) for key, v in value.items()}}
    return None


def _read(value: Any, tensors: Mapping[str, Any]) -> Any:
    """Return what `_written` made of a value."""

    def read(part: Any) -> Any:
        return _read(part, tensors)

    if not isinstance(value, dict):
        return value
    readers: dict[str, Callable[[Any], Any]] = {
        "array": lambda held: tensors[held[0]].reshape(held[1]),
        "scalar": lambda held: read(held)[()],
        "strings": lambda held: np.array(held[1], dtype=held[0]),
        "table": lambda held: pd.DataFrame(read(held)),
        "object": lambda held: _made(held[0], read(held[1])),
        "dict": lambda held: {key: read(part) for key, part in held.items()},
        "list": lambda held: [read(part) for part in held],
        "tuple": lambda held: tuple(read(part) for part in held),
    }
    ((kind, held),) = value.items()
    return readers[kind](held)


def _made(kind: str, state: dict[str, Any]) -> Any:
    """Return an object of a class, without calling its constructor where it is an estimator."""
    found = _allowed(kind, ValueError)
    if not issubclass(found, BaseEstimator):
        return found(**state)
    made: Any = object.__new__(found)
    vars(made).update(state)
    return made


def _allowed(kind: str, error: type[Exception]) -> type:
    """Return the class of a name, "module:class", or raise if a file may not name it."""
    module, _, name = kind.partition(":")
    if module.split(".")[0] in _PACKAGES:
        found = getattr(importlib.import_module(module), name, None)
        record = isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")
        own = record and module.startswith("speechprobe.")
        if isinstance(found, type) and (issubclass(found, BaseEstimator) or own):
            return found
    raise error(
        f"{kind.replace(':', '.')} cannot be saved or loaded; expected an estimator of speechprobe "
        "or scikit-learn"
    )

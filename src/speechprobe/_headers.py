"""Reads the headers of many sound files with threads, and keeps what was read in the cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from speechprobe import _cache
from speechprobe._files import hide_progress
from speechprobe.audio import Header, read_header

_KIND = "header 1"  # of what the cache holds; to be counted up when `Header` changes
_BLOCK = 16_384  # files whose headers are held at once
_AT_ONCE = 1024  # files in the hands of the threads, which an interrupt waits for
T = TypeVar("T")


def read_headers(
    paths: Sequence[str | Path], *, progress: bool = True
) -> list[Header | OSError | ValueError]:
    """Read many headers with threads; a file that cannot be read gives its error instead.

    What was read is kept in the cache folder, and holds as long as a file's size and time of change
    are the same.

    Parameters
    ----------
    paths
        The files.
    progress
        Show a progress bar where the output is a terminal and the scan is long.

    Returns
    -------
    headers
        One `Header` or one exception for each path, in the order given.
    """
    return list(headers_of(paths, progress=progress))


def headers_of(
    paths: Sequence[str | Path], *, progress: bool = True
) -> Iterator[Header | OSError | ValueError]:
    """Yield what `read_headers` returns, which for very many files is not held at once."""
    hidden = hide_progress(progress and len(paths) > 1000)
    with (
        tqdm(desc="headers", total=len(paths), unit="file", disable=hidden, delay=1.0) as bar,
        _cache.Keeping(_KIND) as keeping,
    ):
        for start in range(0, len(paths), _BLOCK):
            block = paths[start : start + _BLOCK]
            yield from _block(block, keeping, bar)


def _block(
    paths: Sequence[str | Path], keeping: _cache.Keeping, bar: tqdm[Any]
) -> list[Header | OSError | ValueError]:
    stamps = [each for chunk in _in_threads(_cache.stamp, paths) for each in chunk]
    headers = _known(stamps)
    unread = [row for row, header in enumerate(headers) if header is None]
    bar.update(len(paths) - len(unread))
    chunks = _in_threads(read_header, [paths[row] for row in unread])
    for row, header in zip(unread, itertools.chain.from_iterable(chunks), strict=True):
        headers[row] = header
        stamp = stamps[row]
        if isinstance(stamp, tuple) and isinstance(header, Header):
            keeping.add(stamp, " ".join(str(int(fact)) for fact in astuple(header)))
        bar.update()
    return headers


def _known(stamps: Sequence[Any]) -> list[Any]:
    texts = iter(_cache.recall(_KIND, [each for each in stamps if isinstance(each, tuple)]))
    return [_from_text(next(texts)) if isinstance(each, tuple) else None for each in stamps]


def _in_threads(
    function: Callable[[str | Path], T], paths: Sequence[str | Path]
) -> Iterator[list[T | OSError | ValueError]]:
    """Give what a function returns or raises for each path, a thousand at a time, in order."""

    def attempt(path: str | Path) -> T | OSError | ValueError:
        try:
            return function(path)
        except (OSError, ValueError) as error:
            return error

    with ThreadPoolExecutor(max_workers=8) as pool:
        for start in range(0, len(paths), _AT_ONCE):
            yield list(pool.map(attempt, paths[start : start + _AT_ONCE]))


def _from_text(text: str | None) -> Header | None:
    if text is None:
        return None
    n_samples, sample_rate, channels, may_hold_nan = map(int, text.split())
    return Header(n_samples, sample_rate, channels, bool(may_hold_nan))

"""Counts letters and digits, the unit of speaking rates."""

from __future__ import annotations

_NOT_ALPHANUMERIC = bytes(code for code in range(128) if not chr(code).isalnum())


def n_alphanumeric(text: str) -> int:
    """Return how many characters of a text are letters or digits (`str.isalnum`).

    Examples
    --------
    >>> n_alphanumeric("It's 5 o'clock")
    10
    """
    # The same count as below, ten times as fast; most transcripts are plain ASCII.
    if text.isascii():
        return len(text.encode().translate(None, _NOT_ALPHANUMERIC))
    return sum(map(str.isalnum, text))

"""Changes sample rates by windowed-sinc interpolation, from a cached plan and in bounded memory.

Formula
-------
Of a signal x (zero beyond its ends), sample j of the result lies at j * sample_rate / wanted:

    y[j] = c sum_i x[i] h(c (i - j * sample_rate / wanted)),  c = rolloff * min(1, wanted / rate)
    h(t) = sinc(t) I0(beta sqrt(1 - (t / 64)^2)) / I0(beta) for |t| <= 64, and 0 beyond

Rolloff and beta are resampy 0.2.2's "kaiser_best". The samples are those of torchaudio's Kaiser
resampler up to rounding: it rounds the places between two samples to float32.

Polyphase plan
--------------
Rates a : b in lowest terms repeat their places after a samples of x and b of y (one block). Places
that lie close together read almost the same samples, so some 32 of them are one matrix product of
all blocks. A table therefore holds b * (taps + 32 a / b) numbers however odd the rates are (30 MB
for 44,100 to 16,001 Hz, which share no divisor), where one product over all b places would need
b * (taps + a): 2.8 GB.

Each product is small enough for OpenBLAS to stay on the calling thread: files are read by threads
beside a running network, and BLAS threads that wait for each other cost more than they save.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    from numpy.typing import NDArray

ZEROS = 64
ROLLOFF = 0.9475937167399596
BETA = 14.769656459379492

_PLACES = 32  # of a group: more read more samples in vain, fewer make the products small
_ALONE = 1 << 18  # multiplications of a product up to which OpenBLAS uses one thread
_AT_ONCE = 1 << 17  # samples that are worked on at once, to stay in a core's cache


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a block of `step_in` samples gives `step_out`.

    Group g of the places of a block reads samples starts[g], starts[g] + 1, ... of it, which
    filters[g] (width, places) turns into the places' values.
    """

    step_in: int
    step_out: int
    starts: NDArray[np.int64]
    filters: NDArray[np.float32]

    @property
    def rows(self) -> int:
        """Blocks of one matrix product."""
        return max(1, _ALONE // int(self.filters[0].size))


def resample(signal: NDArray[np.float32], sample_rate: int, wanted: int) -> NDArray[np.float32]:
    """Return a signal (n,) at another rate, (ceil(n * wanted / sample_rate),).

    Raises
    ------
    ValueError
        If a rate is not a whole number of Hz from 1, or the signal has channels.
    """
    if min(sample_rate, wanted) < 1 or sample_rate % 1 or wanted % 1:
        raise ValueError(
            f"sample rates must be whole numbers of Hz from 1, got {sample_rate} and {wanted}"
        )
    if np.ndim(signal) != 1:
        raise ValueError(
            f"a signal must have the shape (n_samples,), got {np.shape(signal)}; give one channel"
        )
    if sample_rate == wanted:
        return np.array(signal, np.float32)
    plan = _plan(int(sample_rate), int(wanted))
    samples = np.ascontiguousarray(signal, np.float32)
    n_wanted = -(-len(samples) * int(wanted) // int(sample_rate))
    n_blocks = -(-n_wanted // plan.step_out)
    blocks = np.empty((n_blocks, plan.step_out), np.float32)
    at_once = plan.rows * max(1, _AT_ONCE // (plan.rows * plan.step_in))
    for first in range(0, n_blocks, at_once):
        _fill(blocks[first : first + at_once], samples, first * plan.step_in, plan)
    return blocks.reshape(-1)[:n_wanted]


def _fill(blocks: NDArray[np.float32], samples: NDArray[np.float32], at: int, plan: _Plan) -> None:
    """Write blocks (n_blocks, step_out), the first of which starts at sample `at`."""
    n_groups, width, places = plan.filters.shape
    n_products = -(-len(blocks) // plan.rows)
    before = int(plan.starts[0])
    n_read = (n_products * plan.rows - 1) * plan.step_in + int(plan.starts[-1]) - before + width
    read = _stretch(samples, at + before, n_read)
    for group in range(n_groups):
        windows = as_strided(
            read[plan.starts[group] - before :],
            (n_products, plan.rows, width),
            (plan.rows * plan.step_in * 4, plan.step_in * 4, 4),
            writeable=False,
        )
        # A copy, because BLAS takes no rows that overlap.
        values = np.ascontiguousarray(windows) @ plan.filters[group]
        place = blocks[:, group * places : (group + 1) * places]
        place[:] = values.reshape(-1, places)[: len(blocks), : place.shape[1]]


def _stretch(samples: NDArray[np.float32], first: int, n: int) -> NDArray[np.float32]:
    """Return n samples from `first` on, zeros where the signal is not."""
    if first >= 0 and first + n <= len(samples):
        return samples[first : first + n]
    stretch = np.zeros(n, np.float32)
    inside = samples[max(first, 0) : max(first + n, 0)]
    start = max(-first, 0)
    stretch[start : start + len(inside)] = inside
    return stretch


@functools.lru_cache(maxsize=8)
def _plan(sample_rate: int, wanted: int) -> _Plan:
    divisor = math.gcd(sample_rate, wanted)
    repeats = max(1, _PLACES // (wanted // divisor))
    step_in, step_out = (repeats * rate // divisor for rate in (sample_rate, wanted))
    n_groups = -(-step_out // _PLACES)
    # Places beyond step_out fill the last group; they are those of the next block.
    places = np.arange(n_groups * -(-step_out // n_groups)).reshape(n_groups, -1)
    centres = places * (step_in / step_out)
    cutoff = ROLLOFF * min(1.0, wanted / sample_rate)
    reach = ZEROS / cutoff
    starts = np.floor(centres[:, 0] - reach).astype(np.int64)
    width = math.ceil((centres[:, -1] - starts).max() + reach) + 1
    filters = np.empty((n_groups, width, places.shape[1]), np.float32)
    for group, start in enumerate(starts):
        distances = np.arange(start, start + width)[:, None] - centres[group]
        filters[group] = cutoff * _kernel(cutoff * distances)
    return _Plan(step_in, step_out, starts, filters)


def _kernel(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the windowed sinc at distances in zero crossings."""
    inside = np.clip(1 - (distances / ZEROS) ** 2, 0, None)
    window = np.i0(BETA * np.sqrt(inside)) / np.i0(BETA)
    return np.where(inside > 0, np.sinc(distances) * window, 0.0)

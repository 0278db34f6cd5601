"""The resampler of 2021 against its formula as a plain loop, and resampy with the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from speechprobe import audio
from speechprobe.protocols._serab.resampler import resample_as_in_2021

ROLLOFF, BETA = 0.9475937167399596, 14.769656459379492
RATES = [(44_100, 16_000), (48_000, 16_000), (22_050, 16_000), (8_000, 16_000), (16_000, 24_000),
         (11_025, 16_000), (96_000, 16_000), (16_001, 8_000)]  # fmt: skip


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n_samples).astype(np.float32)


def by_loop(signal: np.ndarray, sample_rate: int, wanted: int) -> np.ndarray:
    """Sample by sample and weight by weight, the time a running sum."""
    ratio = wanted / sample_rate
    scale, places = min(1.0, ratio), np.arange(64 * 512 + 1)
    table = scale * ROLLOFF * np.sinc(ROLLOFF * places / 512)
    table = table * np.kaiser(2 * 64 * 512 + 1, BETA)[64 * 512 :]
    step, time, found = int(512 * scale), 0.0, []

    def weights(place: float, n_samples: int) -> list[float]:
        first, share = int(place), place - int(place)
        n_steps = min(n_samples, (len(table) - first) // step)
        entries = [first + k * step for k in range(n_steps)]
        following = [table[entry + 1] if entry + 1 < len(table) else table[entry]
                     for entry in entries]  # fmt: skip
        return [
            (1 - share) * table[entry] + share * after
            for entry, after in zip(entries, following, strict=True)
        ]

    for _ in range(int(len(signal) * ratio)):
        n = int(time)
        passed = scale * (time - n)
        value = 0.0
        for k, weight in enumerate(weights(passed * 512, n + 1)):
            value += weight * signal[n - k]
        for k, weight in enumerate(weights((scale - passed) * 512, len(signal) - n - 1)):
            value += weight * signal[n + 1 + k]
        found.append(value)
        time += 1 / ratio
    return np.array(found)


@pytest.mark.parametrize(("sample_rate", "wanted"), RATES)
def test_every_sample_is_that_of_the_loop(sample_rate, wanted):
    signal = noise(max(600, sample_rate // 48))
    found = resample_as_in_2021(signal, sample_rate, wanted)
    expected = by_loop(signal.astype(float), sample_rate, wanted)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-8)


@pytest.mark.parametrize(("sample_rate", "wanted"), RATES)
def test_resampy_with_this_filter_gives_the_same_but_for_its_clock(sample_rate, wanted):
    resampy = pytest.importorskip("resampy")
    signal = noise(sample_rate // 8)
    theirs = resampy.resample(
        signal.astype(float),
        sample_rate,
        wanted,
        filter="sinc_window",
        num_zeros=64,
        precision=9,
        rolloff=ROLLOFF,
        window=lambda n: np.kaiser(n, BETA),
    )
    found = resample_as_in_2021(signal, sample_rate, wanted)
    n = min(len(found), len(theirs))
    assert abs(len(found) - len(theirs)) <= 1
    apart = np.abs(found[:n] - theirs[:n]) > 3e-8
    # Today's version multiplies where that of 2021 added up, so single whole times differ.
    divisor = np.gcd(sample_rate, wanted)
    assert not apart[np.arange(n) % (wanted // divisor) != 0].any()
    assert apart.sum() <= n * divisor / wanted


def test_a_clock_that_falls_short_of_a_whole_sample_is_followed():
    # 2.75625 added up 160 times is less than 441, so sample 441 counts as one to come.
    times = np.cumsum(np.full(1_600, 44_100 / 16_000))
    late = [j for j in range(160, 1_600, 160) if times[j - 1] < j * 441 // 160]
    assert late
    signal = noise(4_410)
    found = resample_as_in_2021(signal, 44_100, 16_000)
    expected = by_loop(signal.astype(float), 44_100, 16_000)
    np.testing.assert_allclose(found[late], expected[late], rtol=0, atol=3e-8)


@pytest.mark.parametrize(("sample_rate", "wanted"), RATES)
@pytest.mark.parametrize("n_samples", [7, 441, 16_001])
def test_there_are_as_many_samples_as_the_ratio_times_the_number_says(
    sample_rate, wanted, n_samples
):
    found = resample_as_in_2021(noise(n_samples), sample_rate, wanted)
    assert len(found) == int(n_samples * (wanted / sample_rate))


def test_it_is_near_the_library_own_resampler_and_not_the_same():
    time = np.arange(48_000) / 48_000
    signal = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    found = resample_as_in_2021(signal, 48_000, 16_000)[2_000:-2_000]
    ours = audio.resample(signal, 48_000, 16_000)[2_000:-2_000]
    # Its table is stepped through by whole entries: its gain is 0.27 % too large.
    np.testing.assert_allclose(found, 1.00272 * ours, rtol=0, atol=2e-4)


def test_the_same_rate_gives_a_copy():
    signal = noise(100)
    found = resample_as_in_2021(signal, 16_000, 16_000)
    np.testing.assert_array_equal(found, signal)
    assert not np.shares_memory(found, signal)


@pytest.mark.parametrize(
    ("shape", "rates", "message"),
    [
        (100, (0, 16_000), "whole Hz from 1, got 0 and 16000"),
        ((100, 2), (48_000, 16_000), r"shape \(n_samples,\), got \(100, 2\)"),
        (2, (48_000, 16_000), "2 samples at 48000 Hz give none at 16000 Hz"),
    ],
)
def test_what_cannot_be_resampled_is_refused(shape, rates, message):
    with pytest.raises(ValueError, match=message):
        resample_as_in_2021(np.zeros(shape, np.float32), *rates)

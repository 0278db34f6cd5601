"""Resampling against its formula, tones whose samples are known, torchaudio and resampy."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torchaudio
from scipy.special import i0

from speechprobe import _resampling, audio

PAIRS = [(44_100, 16_000), (48_000, 16_000), (96_000, 16_000), (22_050, 16_000), (24_000, 16_000),
         (8_000, 16_000), (16_000, 44_100), (11_025, 16_000)]  # fmt: skip
ODD = [(44_100, 16_001), (16_001, 8_000), (16_000, 15_999), (8_000, 8_009)]


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n_samples).astype(np.float32)


def tone(hertz: float, n_samples: int, sample_rate: int) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(n_samples) / sample_rate)


def interior(signal: np.ndarray) -> np.ndarray:
    return signal[len(signal) // 8 : -len(signal) // 8].astype(float)


def decibels_below(signal: np.ndarray, error: np.ndarray) -> float:
    return 20 * np.log10(signal.std() / error.std())


def by_formula(signal: np.ndarray, sample_rate: int, wanted: int, places: np.ndarray) -> np.ndarray:
    """The sum over all samples, at some places of the result."""
    cutoff = 0.9475937167399596 * min(1, wanted / sample_rate)
    samples = np.arange(len(signal))
    values = []
    for place in places:
        t = cutoff * (samples - place * sample_rate / wanted)
        window = i0(14.769656459379492 * np.sqrt(np.maximum(0, 1 - (t / 64) ** 2)))
        kernel = np.where(np.abs(t) <= 64, np.sinc(t) * window, 0) / i0(14.769656459379492)
        values.append(cutoff * (kernel * signal).sum())
    return np.array(values)


@pytest.mark.parametrize(("sample_rate", "wanted"), PAIRS + ODD)
def test_a_sample_is_the_sum_of_the_formula_also_at_the_edges(sample_rate, wanted):
    signal = noise(2 * sample_rate)
    found = audio.resample(signal, sample_rate, wanted)
    n = len(found)
    chosen = np.random.default_rng(1).choice(n, 150, replace=False)
    places = np.concatenate([np.arange(20), chosen, np.arange(n - 20, n)])
    expected = by_formula(signal, sample_rate, wanted, places)
    np.testing.assert_allclose(found[places], expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize(("sample_rate", "wanted"), PAIRS)
@pytest.mark.parametrize("n_samples", [1, 63, 30_011])
def test_the_samples_are_those_of_torchaudio(sample_rate, wanted, n_samples):
    theirs = torchaudio.transforms.Resample(
        sample_rate,
        wanted,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )
    signal = noise(n_samples)
    # torchaudio rounds the places between two samples to float32.
    np.testing.assert_allclose(
        audio.resample(signal, sample_rate, wanted),
        theirs(torch.from_numpy(signal)).numpy(),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize(("sample_rate", "wanted"), PAIRS + ODD)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.85])
def test_a_tone_within_the_band_is_exact_to_125_decibels(sample_rate, wanted, share):
    hertz = share * min(sample_rate, wanted) / 2
    given = tone(hertz, sample_rate, sample_rate).astype(np.float32)
    found = interior(audio.resample(given, sample_rate, wanted))
    true = interior(tone(hertz, wanted, wanted))
    assert decibels_below(true, found - true) > 125


@pytest.mark.parametrize(("sample_rate", "wanted"), [pair for pair in PAIRS if pair[0] > pair[1]])
@pytest.mark.parametrize(("share", "decibels"), [(1.001, 60), (1.02, 135), (1.1, 135), (1.3, 135)])
def test_a_tone_above_the_band_vanishes(sample_rate, wanted, share, decibels):
    given = tone(share * wanted / 2, sample_rate, sample_rate).astype(np.float32)
    assert decibels_below(given, interior(audio.resample(given, sample_rate, wanted))) > decibels


@pytest.mark.parametrize(("sample_rate", "wanted"), PAIRS + ODD)
def test_a_shift_by_a_whole_block_shifts_the_result(sample_rate, wanted):
    divisor = math.gcd(sample_rate, wanted)
    step_in, step_out = sample_rate // divisor, wanted // divisor
    n_blocks = -(-200_000 // step_in)
    signal = noise(n_blocks * step_in + 5000)
    whole = audio.resample(signal, sample_rate, wanted)
    later = audio.resample(signal[n_blocks * step_in :], sample_rate, wanted)
    edge = 80 * max(1, wanted // sample_rate + 1)
    np.testing.assert_allclose(whole[n_blocks * step_out :][edge:], later[edge:], rtol=0, atol=5e-7)


@pytest.mark.parametrize(("sample_rate", "wanted"), [(44_100, 16_000), (16_001, 8_000)])
def test_a_long_file_takes_little_more_memory_than_its_result(sample_rate, wanted):
    signal = np.zeros(600 * sample_rate, np.float32)
    audio.resample(signal[:1000], sample_rate, wanted)  # the plan
    tracemalloc.start()
    try:
        result = audio.resample(signal, sample_rate, wanted)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < result.nbytes + 8e6


def test_rates_without_a_common_divisor_need_no_giant_table():
    tracemalloc.start()
    try:
        found = audio.resample(noise(44_099), 44_099, 15_991)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 15_991
    assert peak < 5e7


def test_a_plan_is_made_once():
    audio.resample(noise(100), 44_100, 16_000)
    before = _resampling._plan.cache_info()
    audio.resample(noise(100), 44_100, 16_000)
    assert _resampling._plan.cache_info().hits == before.hits + 1
    assert _resampling._plan.cache_info().misses == before.misses


def test_threads_give_what_one_gives():
    signals = [noise(50_000, seed) for seed in range(8)]
    expected = [audio.resample(signal, 22_050, 16_000) for signal in signals]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda signal: audio.resample(signal, 22_050, 16_000), signals))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_and_doubles_resample_like_any_other():
    signal = noise(9000)
    expected = audio.resample(signal[::3].copy(), 16_000, 8_000)
    np.testing.assert_array_equal(audio.resample(signal[::3], 16_000, 8_000), expected)
    np.testing.assert_array_equal(
        audio.resample(signal[::3].astype(float), 16_000, 8_000), expected
    )


def test_the_same_rate_gives_a_copy():
    signal = noise(100)
    found = audio.resample(signal, 16_000, 16_000)
    np.testing.assert_array_equal(found, signal)
    assert not np.shares_memory(found, signal)


def test_nothing_gives_nothing():
    assert audio.resample(np.zeros(0, np.float32), 44_100, 16_000).shape == (0,)


@pytest.mark.parametrize("rates", [(0, 16_000), (16_000, -1), (22_050.5, 16_000)])
def test_rates_that_are_no_rates_are_refused(rates):
    with pytest.raises(ValueError, match=f"whole numbers of Hz from 1, got {rates[0]} and"):
        audio.resample(noise(100), *rates)


def test_channels_are_refused():
    with pytest.raises(ValueError, match=r"shape \(n_samples,\), got \(100, 2\); give one channel"):
        audio.resample(noise(200).reshape(100, 2), 16_000, 8_000)


def test_reading_at_another_rate_loads_no_torch():
    code = (
        "import sys, numpy as np; from speechprobe import audio; "
        "audio.resample(np.zeros(1000, np.float32), 44_100, 16_000); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Where resampy steps through its table by whole entries; elsewhere its own gain is 0.3 % off.
@pytest.mark.parametrize(
    ("sample_rate", "wanted", "decibels"),
    [(8_000, 16_000, 110), (32_000, 16_000, 110), (48_000, 16_000, 45), (44_100, 16_000, 45)],
)
def test_resampy_with_the_same_numbers_gives_nearly_the_same(sample_rate, wanted, decibels):
    resampy = pytest.importorskip("resampy")
    given = tone(0.25 * min(sample_rate, wanted), sample_rate, sample_rate).astype(np.float32)
    theirs = resampy.resample(
        given,
        sample_rate,
        wanted,
        filter="sinc_window",
        num_zeros=64,
        precision=9,
        rolloff=0.9475937167399596,
        window=lambda n: np.kaiser(n, 14.769656459379492),
    )
    found = interior(audio.resample(given, sample_rate, wanted))
    assert decibels_below(found, found - interior(theirs)) > decibels

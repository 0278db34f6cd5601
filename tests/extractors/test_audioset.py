"""The front end of VGGish and YAMNet: its formula, torchvggish's, and how many patches."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from speechprobe import pooling
from speechprobe.extractors import check_extractor
from speechprobe.extractors.audioset import LogMelPatches, MagnitudeLogMel, PatchExtractor

VGGISH = LogMelPatches(0.01, hop_seconds=0.96, keep_end=False)
YAMNET = LogMelPatches(0.001, hop_seconds=0.48, keep_end=True)
KINDS = {
    "vggish": VGGISH,
    "yamnet": YAMNET,
    "overlapping": LogMelPatches(0.01, hop_seconds=0.07, keep_end=False),
    "adjacent to the end": LogMelPatches(0.01, hop_seconds=0.96, keep_end=True),
    "with gaps": LogMelPatches(0.01, hop_seconds=1.0, keep_end=False),
}


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(scale=0.1, size=n).astype(np.float32)


def mel(hertz):
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


def formula(signal, log_offset):
    """Return the frames (T, 64) of a signal, one frame and one band after the other."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    edges = np.linspace(mel(125), mel(7500), 66)
    places = mel(np.arange(257) * 16_000 / 512)
    rows = []
    for start in range(0, len(signal) - 399, 160):
        magnitudes = np.abs(np.fft.rfft(signal[start : start + 400] * window, 512))
        bands = [np.interp(places, edges[k : k + 3], [0, 1, 0], left=0, right=0) for k in range(64)]
        rows.append(np.log(np.dot(bands, magnitudes) + log_offset))
    return np.array(rows)


@pytest.mark.parametrize("log_offset", [0.01, 0.001])
def test_features_are_the_formula(log_offset):
    signal = noise(2000).astype(np.float64)
    found = MagnitudeLogMel(log_offset)(torch.from_numpy(signal)[None])[0]
    np.testing.assert_allclose(found, formula(signal, log_offset), rtol=1e-10, atol=1e-10)


@pytest.fixture(scope="module")
def torchvggish():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchvggish")


def test_patches_are_torchvggishs(torchvggish):
    signal = noise(50_000)
    examples = torchvggish.waveform_to_examples(signal.astype(np.float64), 16_000)
    found = VGGISH(torch.from_numpy(signal)[None])[0]
    torch.testing.assert_close(found, examples[:, 0].detach(), rtol=1e-4, atol=1e-5)
    exact = VGGISH(torch.from_numpy(signal).double()[None])[0]
    torch.testing.assert_close(exact.float(), examples[:, 0].detach(), rtol=1e-6, atol=1e-6)


def test_patches_of_yamnet_are_those_of_googles_features_with_zeros_behind(torchvggish):
    signal = noise(20_000).astype(np.float64)
    filled = np.concatenate([signal, np.zeros(15_600 + 7680 - 20_000)])
    frames = torchvggish.mel_features.log_mel_spectrogram(
        filled, audio_sample_rate=16_000, log_offset=0.001, num_mel_bins=64,
        lower_edge_hertz=125, upper_edge_hertz=7500,
    )  # fmt: skip
    found = YAMNET(torch.from_numpy(signal)[None])[0]
    np.testing.assert_allclose(found, np.stack([frames[:96], frames[48:]]), rtol=1e-8, atol=1e-8)


def test_silence_is_the_logarithm_of_the_offset():
    patches = VGGISH(torch.zeros(1, 16_000))
    torch.testing.assert_close(patches, torch.full((1, 1, 96, 64), float(np.log(0.01))))


def test_half_precision_of_the_network_does_not_reach_the_features():
    waveforms = torch.from_numpy(noise(16_000))[None]
    with torch.autocast("cpu", torch.bfloat16):
        found = VGGISH(waveforms)
    torch.testing.assert_close(found, VGGISH(waveforms), rtol=0, atol=0)


def test_it_is_an_extractor_by_itself():
    check_extractor(MagnitudeLogMel(0.01))
    with pytest.raises(ValueError, match="399 samples is shorter than one window of 400"):
        MagnitudeLogMel(0.01)(torch.zeros(1, 399))


# How many patches


@pytest.mark.parametrize("kind", KINDS)
def test_patches_are_as_many_as_counting_gives(kind):
    patches = KINDS[kind]
    hop = round(patches.hop_seconds * 100) * 160
    for border in range(1, 15_600 + 6 * hop, hop // 4):
        for n in range(max(1, border - 3), border + 3):
            ends = range(15_600, 15_600 + n + hop, hop)
            whole = sum(end <= n for end in ends)
            # One more where the last whole patch leaves samples over.
            more = patches.keep_end and whole * hop + 15_600 - hop < n
            assert patches.n_patches(n) == max(1, whole + more), n


def test_patches_of_yamnet_are_as_many_as_google_writes():
    for n in (1, 15_600, 15_601, 23_280, 23_281, 48_000, 10**7):
        assert YAMNET.n_patches(n) == 1 + max(0, int(np.ceil((n - 15_600) / 7680)))


def test_a_short_signal_is_one_patch_filled_up_with_zeros():
    for patches in (VGGISH, YAMNET):
        short = torch.from_numpy(noise(4800))[None]
        filled = torch.nn.functional.pad(short, (0, 10_800))
        assert filled.shape == (1, 15_600)
        torch.testing.assert_close(patches(short), patches(filled), rtol=0, atol=0)


def test_the_end_is_dropped_or_kept():
    signal = torch.from_numpy(noise(30_000))[None]
    torch.testing.assert_close(VGGISH(signal), VGGISH(signal[:, :15_600]), rtol=0, atol=0)
    assert YAMNET(signal).shape == (1, 3, 96, 64)
    louder = signal.clone()
    louder[:, -200:] *= 2
    changed = (YAMNET(louder) != YAMNET(signal)).flatten(2).any(-1)[0]
    assert changed.tolist() == [False, False, True]


@pytest.mark.parametrize("seconds", [0.0, -0.96, 0.004, 0.015])
def test_a_step_that_is_no_multiple_of_a_frame_is_refused(seconds):
    with pytest.raises(ValueError, match=f"positive multiple of 0.01, got {seconds}"):
        LogMelPatches(0.01, hop_seconds=seconds, keep_end=False)


def test_a_step_that_could_add_a_patch_of_zeros_is_refused():
    with pytest.raises(ValueError, match="at most 0.96, got 0.97"):
        LogMelPatches(0.01, hop_seconds=0.97, keep_end=True)


# The extractor


class Levels(torch.nn.Module):
    """A map of two channels a patch, and the mean of the patch."""

    def __init__(self):
        super().__init__()
        self.map, self.vector = torch.nn.Identity(), torch.nn.Identity()
        self.eval()

    def forward(self, patches):
        x = patches.flatten(0, 1)
        self.map(torch.stack([x, -2 * x], 1))
        self.vector(x.mean((1, 2))[:, None])


def levels(patches, **settings):
    given = {"layers": ["map", "vector"], "name": "levels", "device": None, "dtype": None}
    return PatchExtractor(Levels(), patches, **(given | settings))


@pytest.mark.parametrize("kind", KINDS)
def test_one_vector_a_patch_in_channels_times_bands(kind):
    extractor, signal = levels(KINDS[kind]), noise(40_000)
    patches = KINDS[kind](torch.from_numpy(signal)[None])[0]
    bands = patches.mean(1)
    layers = extractor(signal)
    expected = torch.cat([bands, -2 * bands], 1)
    np.testing.assert_allclose(layers["map"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layers["vector"][:, 0], patches.mean((1, 2)), rtol=1e-5, atol=1e-6)
    assert len(patches) == KINDS[kind].n_patches(40_000)


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_signals_own_patches_are_pooled(kind):
    extractor = levels(KINDS[kind])
    signals = [noise(n) for n in (4800, 80_000, 15_600, 15_601, 30_960, 47_999)]
    batch = extractor.extract_batch(signals, pooling.frames)
    for row, signal in enumerate(signals):
        for layer, frames in extractor(signal).items():
            assert len(frames) == KINDS[kind].n_patches(len(signal))
            np.testing.assert_allclose(
                batch[layer][row].astype(np.float32), frames, rtol=2e-3, atol=1e-3
            )
    assert max(extractor.padding_error.values()) < 1e-6


def test_half_precision_is_summed_in_float32():
    extractor = levels(VGGISH)
    layout = extractor._layouts["map"]
    ones = torch.full((1, 2, 96, 64), 1.001, dtype=torch.bfloat16)
    assert layout.frames(ones, 1).dtype == torch.float32
    assert layout.frames(ones.double(), 1).dtype == torch.float64


def test_an_empty_signal_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        levels(VGGISH)(np.zeros(0, np.float32))
    with pytest.raises(ValueError, match="no samples"):
        levels(VGGISH).extract_batch([noise(5000), np.zeros(0, np.float32)], pooling.mean)


def test_step_and_offset_are_kept_in_the_provenance():
    told = [
        levels(patches).provenance
        for patches in (*KINDS.values(), LogMelPatches(0.1, hop_seconds=0.96, keep_end=False))
    ]
    assert all(a != b for k, a in enumerate(told) for b in told[:k])
    assert levels(VGGISH).provenance == told[0]

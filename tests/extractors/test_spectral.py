"""What all front ends share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechprobe.extractors.frontends import LogMel
from speechprobe.extractors.kaldi import KaldiFbank
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.extractors.mfcc import MFCC

FRONTS = [LogMel(18), KaldiFbank(18), MelSpectrogram(18), MFCC(12, mel=MelSpectrogram(18))]
each_front = pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.name)


@pytest.fixture(scope="module")
def waveforms():
    noise = np.random.default_rng(0).normal(scale=0.1, size=(2, 9000))
    return torch.from_numpy(noise.astype(np.float32))


@each_front
def test_half_precision_of_a_network_does_not_reach_it(front, waveforms):
    with torch.autocast("cpu", torch.bfloat16):
        found = front(waveforms)
    assert torch.equal(found, front(waveforms))


@each_front
def test_tables_made_in_inference_mode_serve_gradients_later(front, waveforms):
    with torch.inference_mode():
        front(waveforms)
    assert not front(waveforms).requires_grad
    asked = waveforms.clone().requires_grad_()
    front(asked).sum().backward()
    assert asked.grad.isfinite().all()


@each_front
def test_the_default_device_of_the_user_does_not_matter(front, waveforms):
    with torch.device("meta"):
        found = type(front)()(waveforms)
    assert found.device.type == "cpu"


@each_front
def test_an_array_gives_one_layer_under_the_name_of_the_front_end(front, waveforms):
    signal = waveforms[0].numpy()
    assert list(front(signal)) == [front.name]
    np.testing.assert_allclose(front(signal)[front.name], front(waveforms)[0], rtol=1e-5, atol=1e-4)


@each_front
def test_a_read_only_array_is_read(front, waveforms):
    signal = waveforms[0].numpy().copy()
    signal.flags.writeable = False
    assert front(signal)[front.name].shape[0] == front.n_frames(9000)


@each_front
def test_integers_and_other_shapes_are_refused_with_the_remedy(front):
    with pytest.raises(TypeError, match="got torch.int16; divide 16-bit samples by 32768"):
        front(torch.zeros(1, 9000, dtype=torch.int16))
    with pytest.raises(TypeError, match="got int16 of shape .* divide 16-bit samples"):
        front(np.zeros(9000, np.int16))
    with pytest.raises(TypeError, match=r"floats of shape \(n_samples,\).*shape \(1, 9000\)"):
        front(np.zeros((1, 9000), np.float32))
    with pytest.raises(ValueError, match=r"\(B, n_samples\), got \(9000,\); one signal is"):
        front(torch.zeros(9000))

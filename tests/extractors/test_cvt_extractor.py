"""A CvT loaded by load_byol_a: its layers, its batches, and the checkpoints it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechprobe import pooling
from speechprobe.extractors import check_extractor
from speechprobe.extractors.base import relative_error
from speechprobe.extractors.byol import load_byol_a
from speechprobe.extractors.nets.cvt import CvT
from speechprobe.extractors.nets.cvt_sizes import CVT_LARGE, CVT_SMALL, CvTStage

EMODB = {"mean": -2.6927330, "std": 4.1030712}
SECONDS = (0.3, 20.0, 0.9, 6.31)
TINY_CVT = (
    CvTStage(6, n_heads=1, kernel=7, stride=4),
    CvTStage(10, n_heads=2, depth=2),
    CvTStage(8, n_heads=1),
)


@pytest.fixture(scope="module")
def cvt_checkpoint(tmp_path_factory):
    """Weights of a CvT whose batch norms shift and scale."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1)
        state = CvT(TINY_CVT).state_dict()
        for name, values in state.items():
            if name.endswith("running_var"):
                values.uniform_(0.1, 1.0)
            elif name.endswith(("running_mean", "bias")):
                values.normal_(std=0.3)
    path = tmp_path_factory.mktemp("cvt") / "tiny_cvt.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def cvt(cvt_checkpoint):
    return load_byol_a(cvt_checkpoint, **EMODB)


@pytest.fixture(scope="module")
def signals():
    generator = np.random.default_rng(0)
    return [generator.normal(scale=0.1, size=int(16_000 * s)).astype("float32") for s in SECONDS]


def test_a_cvt_is_told_by_its_tensors_and_loaded_as_it_is(cvt, cvt_checkpoint):
    weights = torch.load(cvt_checkpoint, weights_only=True)
    loaded = cvt.module.state_dict()
    assert isinstance(cvt.module, CvT)
    assert list(loaded) == list(weights)
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    assert cvt.name == "tiny_cvt"


@pytest.mark.parametrize(
    ("stages", "average", "embedding"), [(CVT_SMALL, 256, 1024), (CVT_LARGE, 512, 2048)]
)
def test_the_small_and_the_large_cvt_have_serabs_dims(
    tmp_path, signals, stages, average, embedding
):
    torch.save(CvT(stages).state_dict(), tmp_path / "cvt.pth")
    layers = load_byol_a(tmp_path / "cvt.pth", **EMODB)(signals[2])
    assert layers["average"].shape == (1, average)
    assert layers["embedding"].shape == (1, embedding)


def test_layers_of_a_cvt_are_every_stages_patches_and_blocks(cvt, signals):
    layers = cvt(signals[2])  # 0.9 s, 91 frames
    assert {name: frames.shape for name, frames in layers.items()} == {
        "layers.0.1": (23, 6 * 16),
        "layers.0.2.layers.0": (23, 6 * 16),
        "layers.1.1": (12, 10 * 8),
        "layers.1.2.layers.0": (12, 10 * 8),
        "layers.1.2.layers.1": (12, 10 * 8),
        "layers.2.1": (6, 8 * 4),
        "layers.2.2.layers.0": (6, 8 * 4),
        "average": (1, 8),
        "embedding": (1, 8 * 4),
    }
    # Frames of a map count the channels outside, the embedding the bands.
    last = layers["layers.2.2.layers.0"].reshape(6, 8, 4)
    expected = (last.max(0) + last.mean(0)).T.ravel()
    np.testing.assert_allclose(layers["embedding"][0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layers["average"][0], last.mean((0, 2)), rtol=1e-5, atol=1e-5)


def test_batches_are_the_single_vectors_from_a_third_of_a_second_to_twenty(cvt, signals):
    cvt.extract_batch([signals[0], signals[2]], pooling.mean)  # measures the padding
    assert max(cvt.padding_error.values()) < 1e-5
    calls = []
    handle = cvt.module.register_forward_hook(lambda *_: calls.append(1))
    batch = cvt.extract_batch(signals, pooling.mean)
    handle.remove()
    assert len(calls) == 1
    for row, signal in enumerate(signals):
        for layer, frames in cvt(signal).items():
            error = relative_error(batch[layer][row], frames.mean(0))
            assert error < 1e-5, (layer, len(signal), error)


def test_a_cvt_keeps_the_rules_of_extractors_and_is_the_same_every_time(
    cvt, cvt_checkpoint, signals
):
    check_extractor(cvt)
    first, again = cvt(signals[0]), load_byol_a(cvt_checkpoint, **EMODB)(signals[0])
    for layer, frames in first.items():
        np.testing.assert_array_equal(again[layer], frames)


def test_a_cvt_takes_one_frame_more_than_half_a_window(cvt, signals):
    assert cvt(signals[0][:513])["layers.2.1"].shape == (1, 8 * 4)
    with pytest.raises(ValueError, match="512 samples is too short"):
        cvt(signals[0][:512])


def test_an_untrained_cvt_is_another_of_the_same_shapes_and_always_the_same(
    cvt, cvt_checkpoint, signals
):
    untrained, again = (
        load_byol_a(cvt_checkpoint, **EMODB, untrained=True)(signals[2]) for _ in range(2)
    )
    trained = cvt(signals[2])
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in untrained.items()}
    for layer, frames in untrained.items():
        np.testing.assert_array_equal(again[layer], frames)
        assert not np.allclose(frames, trained[layer], rtol=0.1)


def test_a_cvt_with_weights_missing_or_of_another_shape_is_refused(cvt_checkpoint, tmp_path):
    state = torch.load(cvt_checkpoint, weights_only=True)
    path = tmp_path / "changed.pth"
    lost = "layers.1.2.layers.1.1.fn.net.3.bias"
    torch.save({name: values for name, values in state.items() if name != lost}, path)
    with pytest.raises(ValueError, match=rf"does not fit CvT: missing \['{lost}'\]"):
        load_byol_a(path, **EMODB)
    torch.save(state | {"layers.1.1.g": torch.zeros(1, 12, 1, 1)}, path)
    with pytest.raises(
        ValueError, match=r"layers.1.1.g \(1, 12, 1, 1\) instead of \(1, 10, 1, 1\)"
    ):
        load_byol_a(path, **EMODB)
    torch.save({"layers.0.0.weight": state["layers.0.0.weight"]}, path)
    with pytest.raises(ValueError, match=r"changed.pth: no CvT: expected .*to_q"):
        load_byol_a(path, **EMODB)


def test_a_cvt_takes_the_bands_it_is_told(cvt_checkpoint, signals):
    extractor = load_byol_a(cvt_checkpoint, **EMODB, n_mels=40)
    assert extractor(signals[0])["embedding"].shape == (1, 8 * 3)

"""CvT against formulas written out here, and against s3prl's copy of it where that is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from speechprobe.extractors import capture
from speechprobe.extractors.base import relative_error
from speechprobe.extractors.byol import CVT_LAYERS
from speechprobe.extractors.nets.cvt import CvT
from speechprobe.extractors.nets.cvt_sizes import CVT_LARGE, CVT_SMALL, CvTStage, stages_of

UNEQUAL = (
    CvTStage(6, n_heads=1, kernel=7, stride=4, expansion=2),
    CvTStage(10, n_heads=2, depth=2, projection_kernel=5),
    CvTStage(8, n_heads=1, expansion=3),
)


def shaken(network):
    """Give all norms shifts and scales, as trained ones have."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1)
        for name, values in network.state_dict().items():
            if name.endswith((".g", "running_var")) or ".net.1.weight" in name:
                values.uniform_(0.5, 1.5)
            elif name.endswith((".b", "running_mean", "bias")):
                values.normal_(std=0.3)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return shaken(CvT(UNEQUAL))


@pytest.fixture(scope="module")
def features():
    return torch.randn(2, 77, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def reference():
    """s3prl's file alone: the package itself cannot be imported beside today's torchaudio."""
    pytest.importorskip("einops")
    package = importlib.util.find_spec("s3prl")
    if package is None:
        pytest.skip("s3prl is not installed")
    path = Path(package.origin).parent / "upstream" / "byol_s" / "byol_a" / "models" / "cvt.py"
    spec = importlib.util.spec_from_file_location("cvt_of_s3prl", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CvT


def normed(state, name, x):
    mean = x.mean(1, keepdim=True)
    deviation = ((x - mean) ** 2).mean(1, keepdim=True).sqrt()
    return (x - mean) / (deviation + 1e-5) * state[f"{name}.g"] + state[f"{name}.b"]


def projected(state, name, x, stride):
    depth_wise, point_wise = state[f"{name}.net.0.weight"], state[f"{name}.net.2.weight"]
    half = depth_wise.shape[-1] // 2
    x = F.conv2d(x, depth_wise, stride=stride, padding=half, groups=len(depth_wise))
    parts = ("running_mean", "running_var", "weight", "bias")
    x = F.batch_norm(x, *(state[f"{name}.net.1.{part}"] for part in parts))
    return torch.einsum("oi,bift->boft", point_wise[..., 0, 0], x)


def attended(state, name, x):
    """Return softmax(Q K' / 8) V for each head of 64 dims, joined and projected."""
    q = projected(state, f"{name}.to_q", x, 1)
    k, v = projected(state, f"{name}.to_kv", x, 2).split(q.shape[1], dim=1)
    heads = []
    for first in range(0, q.shape[1], 64):
        queries, keys, values = (y[:, first : first + 64].flatten(2) for y in (q, k, v))
        weights = (torch.einsum("bdi,bdj->bij", queries, keys) / 8).softmax(-1)
        heads.append(torch.einsum("bij,bdj->bdi", weights, values))
    joined = torch.cat(heads, dim=1).unflatten(2, q.shape[2:])
    return F.conv2d(joined, state[f"{name}.to_out.0.weight"], state[f"{name}.to_out.0.bias"])


def widened(state, name, x):
    x = F.conv2d(x, state[f"{name}.net.0.weight"], state[f"{name}.net.0.bias"])
    x = x * (1 + torch.erf(x / 2**0.5)) / 2
    return F.conv2d(x, state[f"{name}.net.3.weight"], state[f"{name}.net.3.bias"])


def formula(state, features, depths):
    """Return the last map (B, C, F, T) of features (B, T, n_mels)."""
    x = features.transpose(1, 2)[:, None]
    for k, (depth, stride) in enumerate(zip(depths, (4, 2, 2), strict=True)):
        weight = state[f"layers.{k}.0.weight"]
        half = weight.shape[-1] // 2
        x = F.conv2d(x, weight, state[f"layers.{k}.0.bias"], stride=stride, padding=half)
        x = normed(state, f"layers.{k}.1", x)
        for block in (f"layers.{k}.2.layers.{n}" for n in range(depth)):
            x = x + attended(state, f"{block}.0.fn", normed(state, f"{block}.0.norm", x))
            x = x + widened(state, f"{block}.1.fn", normed(state, f"{block}.1.norm", x))
    return x


def embeddings(last):
    frames = torch.stack(
        [last[:, :, :, t].transpose(1, 2).flatten(1) for t in range(last.shape[3])]
    )
    return {"average": last.flatten(2).mean(2), "embedding": frames.amax(0) + frames.mean(0)}


def test_the_network_is_the_formula(network, features):
    """In float64, where rounding hides nothing: two blocks, two heads, kernels of 3, 5 and 7."""
    exact = CvT(UNEQUAL).eval().double()
    exact.load_state_dict(network.state_dict())
    with torch.inference_mode(), capture(exact, CVT_LAYERS) as captured:
        returned = exact(features.double())
    last = formula(exact.state_dict(), features.double(), (1, 2, 1))
    expected = embeddings(last) | {"layers.2.2.layers.0": last}
    for layer, values in expected.items():
        torch.testing.assert_close(captured[layer], values, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(returned, expected["embedding"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("stages", "pool", "layer", "n_dims"),
    [
        (CVT_LARGE, "mean+max", "embedding", 2048),
        (CVT_LARGE, "mean", "average", 512),
        (CVT_SMALL, "mean", "average", 256),
    ],
)
def test_the_network_is_s3prls(reference, features, stages, pool, layer, n_dims):
    sizes = {f"s{k}_emb_dim": stage.n_dims for k, stage in enumerate(stages, 1)}
    theirs = shaken(reference(**sizes, s1_depth=1, s2_depth=1, s3_depth=1, pool=pool))
    state = theirs.state_dict()
    ours = CvT(stages_of(state)).eval()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    with torch.inference_mode(), capture(ours, layer) as captured:
        ours(features)
        expected = theirs(features.transpose(1, 2)[:, None])
    assert expected.shape == (2, n_dims)
    assert relative_error(captured[layer].numpy(), expected.numpy()) < 1e-5


@pytest.mark.parametrize(("stages", "expected"), [(CVT_LARGE, 5_012_992), (CVT_SMALL, 1_583_488)])
def test_parameters_are_those_of_the_layers(stages, expected):
    """The authors' own code has as many."""
    count, before = 0, 1
    for stage, kernel in zip(stages, (7, 3, 3), strict=True):
        d, inner = stage.n_dims, 64 * stage.n_heads
        count += before * d * kernel**2 + d + 2 * d  # patches and their norm
        count += 2 * (9 * d + 2 * d) + d * inner + d * 2 * inner + inner * d + d  # attention
        count += 2 * d + 2 * d + 4 * d * d + 4 * d + 4 * d * d + d  # two norms, two layers
        before = d
    assert sum(each.numel() for each in CvT(stages).parameters()) == count == expected


def test_names_and_shapes_are_the_checkpoints():
    state = CvT(CVT_LARGE).state_dict()
    expected = {
        "layers.0.0.weight": (64, 1, 7, 7),
        "layers.0.1.g": (1, 64, 1, 1),
        "layers.1.0.weight": (256, 64, 3, 3),
        "layers.1.2.layers.0.0.norm.b": (1, 256, 1, 1),
        "layers.1.2.layers.0.0.fn.to_q.net.0.weight": (256, 1, 3, 3),
        "layers.1.2.layers.0.0.fn.to_q.net.1.running_var": (256,),
        "layers.1.2.layers.0.0.fn.to_q.net.2.weight": (192, 256, 1, 1),
        "layers.1.2.layers.0.0.fn.to_kv.net.2.weight": (384, 256, 1, 1),
        "layers.2.2.layers.0.0.fn.to_out.0.bias": (512,),
        "layers.2.2.layers.0.1.norm.g": (1, 512, 1, 1),
        "layers.2.2.layers.0.1.fn.net.0.weight": (2048, 512, 1, 1),
        "layers.2.2.layers.0.1.fn.net.3.bias": (512,),
    }
    assert {name: tuple(state[name].shape) for name in expected} == expected
    assert len(state) == 84


# Sizes


@pytest.mark.parametrize("stages", [CVT_SMALL, CVT_LARGE, UNEQUAL, UNEQUAL[:1]])
def test_sizes_are_read_from_the_weights(stages):
    assert stages_of(CvT(stages).state_dict()) == list(stages)


def test_strides_come_from_the_stages_that_are_given():
    wide = tuple(CvTStage(8, n_heads=1, stride=3, key_stride=1) for _ in range(3))
    state = CvT(wide).state_dict()
    assert stages_of(state, wide[:1]) == list(wide)
    assert [stage.stride for stage in stages_of(state)] == [4, 2, 2]


def test_weights_of_something_else_are_refused(network):
    with pytest.raises(ValueError, match=r"expected layers.0.0.weight, got names \['fc.bias'\]"):
        stages_of({"fc.bias": torch.zeros(1)})
    state = network.state_dict()
    lost = "layers.1.2.layers.0.0.fn.to_q.net.2.weight"
    with pytest.raises(ValueError, match=f"expected {lost} of four axes, got none"):
        stages_of({name: values for name, values in state.items() if name != lost})
    with pytest.raises(ValueError, match=r"of four axes, got \(10, 64\)"):
        stages_of(state | {lost: torch.zeros(10, 64)})
    with pytest.raises(ValueError, match="n_heads must be at least 1, got 0"):
        stages_of(state | {lost: torch.zeros(32, 10, 1, 1)})


def test_settings_that_cannot_be_are_refused(network):
    with pytest.raises(ValueError, match="kernel must be odd, got 4"):
        CvTStage(8, n_heads=1, kernel=4)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        CvTStage(8, n_heads=1, depth=0)
    with pytest.raises(ValueError, match="a stage and a band are needed, got 0 and 64"):
        CvT(())
    with pytest.raises(ValueError, match=r"expected features \(B, T, 64\), got \(1, 20, 40\)"):
        network(torch.zeros(1, 20, 40))
    with pytest.raises(ValueError, match="lengths must be from 1 to 20"):
        network(torch.zeros(2, 20, 64), torch.tensor([20, 0]))


# Padding


def test_a_padded_row_is_what_it_is_alone_whatever_stands_behind_it(network):
    lengths = torch.tensor([90, 1, 31, 33, 64])
    features = torch.randn(5, 90, 64, generator=torch.Generator().manual_seed(0))
    for row, n in zip(features, lengths, strict=True):
        row[n:] = 1e3
    with torch.inference_mode():
        with capture(network, CVT_LAYERS) as together:
            network(features, lengths)
        for row, n in enumerate(lengths.tolist()):
            with capture(network, CVT_LAYERS) as alone:
                network(features[row : row + 1, :n])
            for layer, single in alone.items():
                part = together[layer][row]
                kept = part[..., : single.shape[-1]] if single.ndim == 4 else part
                error = relative_error(kept.ravel().numpy(), single.ravel().numpy())
                assert error < 1e-5, (layer, n, error)


def test_frames_are_the_rounded_up_share_of_each_stride(network):
    for n in (1, 15, 16, 17, 50):
        with torch.inference_mode(), capture(network, "layers.*.1") as captured:
            network(torch.zeros(1, n, 64))
        shapes = [values.shape[2:] for values in captured.values()]
        assert shapes == [(16, -(-n // 4)), (8, -(-n // 8)), (4, -(-n // 16))]


def test_full_rows_cost_no_mask(network, monkeypatch):
    features = torch.ones(2, 80, 64)
    with torch.inference_mode():
        expected = network(features)
        monkeypatch.setattr(torch.Tensor, "masked_fill", None)
        again = network(features, torch.tensor([80, 80]))
    torch.testing.assert_close(again, expected, rtol=0, atol=0)


@pytest.mark.parametrize("lengths", [None, torch.tensor([77, 20])])
def test_attention_runs_in_the_kernel_that_keeps_no_pairs(network, features, lengths):
    """Elsewhere a minute of speech would need gigabytes: 24,016 positions times 6,008."""
    with torch.inference_mode(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        assert network(features, lengths).isfinite().all()

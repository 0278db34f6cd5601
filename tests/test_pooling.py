from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechprobe import pooling

PADDING = [0.0, 1e30, np.nan, np.inf, -np.inf]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def segment_means(frames: np.ndarray, k: int) -> np.ndarray:
    n = len(frames)
    edges = [(math.floor(j * n / k), math.ceil((j + 1) * n / k)) for j in range(k)]
    return np.concatenate([frames[start:stop].mean(axis=0) for start, stop in edges])


# name: (the pooling, the same on the valid frames (n_frames, n_dims) of one row)
POOLINGS = {
    "mean": (pooling.mean, lambda frames: frames.mean(axis=0)),
    "mean_std": (
        pooling.mean_std,
        lambda frames: np.concatenate([frames.mean(axis=0), frames.std(axis=0)]),
    ),
    "maximum": (pooling.maximum, lambda frames: frames.max(axis=0)),
    "first": (pooling.first, lambda frames: frames[0]),
    "last": (pooling.last, lambda frames: frames[-1]),
    "energy_mean": (
        pooling.energy_mean,
        lambda frames: np.average(frames, axis=0, weights=(frames**2).sum(axis=1)),
    ),
    "segments(1)": (pooling.segments(1), lambda frames: frames.mean(axis=0)),
    "segments(3)": (pooling.segments(3), lambda frames: segment_means(frames, 3)),
    "segments(8)": (pooling.segments(8), lambda frames: segment_means(frames, 8)),
}


def padded_batch(lengths: list[int], n_dims: int, padding: float, seed: int) -> np.ndarray:
    """Return frames (B, T, D) with padding, T one more than the longest row."""
    generator = np.random.default_rng(seed)
    frames = np.full((len(lengths), max(lengths) + 1, n_dims), padding)
    for row, length in enumerate(lengths):
        frames[row, :length] = generator.normal(size=(length, n_dims))
    return frames


@pytest.mark.parametrize("name", POOLINGS)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    n_dims=st.integers(1, 4),
    padding=st.sampled_from(PADDING),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
    seed=st.integers(0, 1000),
)
def test_only_valid_frames_count_whatever_the_padding_holds(
    name, lengths, n_dims, padding, dtype, seed
):
    pool, reference = POOLINGS[name]
    frames = torch.tensor(padded_batch(lengths, n_dims, padding, seed)).to(dtype)
    before = frames.clone()
    vectors = pool(frames, torch.tensor(lengths))
    rows = [frames[row, :length].double().numpy() for row, length in enumerate(lengths)]
    assert vectors.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_allclose(
        vectors.double().numpy(), np.stack([reference(row) for row in rows]), rtol=1e-5, atol=1e-6
    )
    assert torch.equal(frames.nan_to_num(), before.nan_to_num())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["mean", "mean_std", "segments(3)"])
def test_half_precision_is_summed_in_float32(name, dtype):
    # The sum, 300,000, is beyond float16, and 1 is lost beside 256 in bfloat16.
    pool, reference = POOLINGS[name]
    frames = torch.full((1, 3000, 1), 100.0, dtype=dtype)
    frames[0, 1::2] = 101.0
    vectors = pool(frames, torch.tensor([3000]))
    expected = reference(frames[0].double().numpy())
    np.testing.assert_allclose(vectors[0].double().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_lengths_may_stay_on_the_cpu(device, dtype):
    lengths = [5, 2, 9]
    frames = padded_batch(lengths, 3, np.nan, seed=0)
    for pool, reference in POOLINGS.values():
        vectors = pool(torch.tensor(frames, device=device), torch.tensor(lengths, dtype=dtype))
        assert vectors.device.type == device
        rows = [reference(frames[row, :length]) for row, length in enumerate(lengths)]
        np.testing.assert_allclose(vectors.cpu().numpy(), np.stack(rows))


@pytest.mark.parametrize("n_frames", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_segments_are_adaptive_average_pooling_also_with_fewer_frames_than_segments(n_frames, k):
    frames = torch.randn(2, n_frames, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    expected = torch.nn.functional.adaptive_avg_pool1d(frames.mT, k).mT.flatten(1)
    vectors = pooling.segments(k)(frames, torch.tensor([n_frames] * 2))
    torch.testing.assert_close(vectors, expected)


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_segment_is_refused(k):
    with pytest.raises(ValueError, match=f"k >= 1, got {k}"):
        pooling.segments(k)


@pytest.mark.parametrize("name", ["mean", "mean_std", "maximum", "max"])
def test_a_pooling_is_found_by_name(name):
    pool = pooling.resolve(name)
    assert pooling.name_of(pool) == ("maximum" if name == "max" else name)


def test_an_own_function_is_a_pooling_under_its_own_name():
    def first(frames, lengths):
        return frames[:, 0]

    assert pooling.resolve(first) is first
    assert pooling.name_of(first) == "first"
    assert pooling.name_of(pooling.segments(3)) == "segments(3)"


def test_an_unknown_pooling_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'median'.*mean, mean_std, max.*segments"):
        pooling.resolve("median")


# Ragged poolings.


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    n_dims=st.integers(1, 4),
    padding=st.sampled_from(PADDING),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
    kept=st.sampled_from(["float32", "float16"]),
)
def test_frames_are_the_valid_ones_whatever_the_padding_holds(
    lengths, n_dims, padding, dtype, kept
):
    frames = torch.tensor(padded_batch(lengths, n_dims, padding, 0)).to(dtype)
    found = pooling.frames_as(kept)(frames, torch.tensor(lengths))
    assert [row.dtype for row in found] == [getattr(torch, kept)] * len(lengths)
    for row, length, own in zip(frames, lengths, found, strict=True):
        assert torch.equal(own, row[:length].float().to(getattr(torch, kept)))
    if kept == "float32":
        assert all(map(torch.equal, found, pooling.frames(frames, torch.tensor(lengths))))


def test_which_poolings_are_ragged():
    assert pooling.is_ragged(pooling.resolve("frames"))
    assert pooling.is_ragged(pooling.frames_as("float16"))
    assert pooling.is_ragged(pooling.spans({"a": [(0, 1)]}))
    assert not any(pooling.is_ragged(pool) for pool, _ in POOLINGS.values())


def test_what_half_precision_cannot_hold_is_refused_and_not_infinite():
    frames = torch.tensor([[[65_504.0]], [[-70_000.0]]])
    with pytest.raises(ValueError, match="reach 70000 and float16 holds values up to 65504"):
        pooling.frames_as("float16")(frames, torch.tensor([1, 1]))
    kept = pooling.frames_as("float16")(frames[:1], torch.tensor([1]))
    assert float(kept[0]) == 65_504.0
    beyond = torch.tensor([[[1.0], [1e9]]])
    assert pooling.frames_as("float16")(beyond, torch.tensor([1]))[0].tolist() == [[1.0]]


def test_frames_are_kept_in_known_precisions_only():
    with pytest.raises(ValueError, match="'float32' or 'float16', got 'int8'"):
        pooling.frames_as("int8")
    assert pooling.name_of(pooling.frames_as("float16")) == "frames_as('float16')"


@given(groups=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data())
def test_groups_of_a_batch_are_joined_in_the_order_of_the_signals(groups, data):
    n = sum(groups)
    positions = data.draw(st.permutations(range(n)))
    split = np.split(np.array(positions), np.cumsum(groups)[:-1])
    order = np.argsort(positions)
    vectors = [torch.tensor(rows, dtype=torch.float32)[:, None] for rows in split]
    np.testing.assert_array_equal(pooling.join(vectors, order)[:, 0], np.arange(n))
    ragged = [[torch.full((k + 1, 2), float(k)) for k in rows.tolist()] for rows in split]
    for k, rows in enumerate(pooling.join(ragged, order)):
        np.testing.assert_array_equal(rows, np.full((k + 1, 2), k))


def test_binding_leaves_plain_poolings_as_they_are():
    assert pooling.bind(pooling.mean, [0, 1], 50.0) is pooling.mean
    assert pooling.for_batch(pooling.mean, ["a"], [1.0]) is pooling.mean

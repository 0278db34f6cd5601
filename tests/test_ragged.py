"""Frames that are kept: ragged layers in memory and on the disk, from end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import nn

import speechprobe as sp
from speechprobe import pooling
from speechprobe.extractors.base import pool_frames
from speechprobe.features import keeping
from speechprobe.store import RaggedLayer, Store, read_layers
from speechprobe.store.shards import Rows

RATE = 16_000
DURATIONS = (0.30, 0.10, 0.50, 0.10, 0.40, 0.20)


class Frames:
    """Two layers of different width and frame rate."""

    name, sample_rate = "frames", RATE

    def __call__(self, signal):
        frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
        return {"fast": frames[:, :3], "slow": frames[::4, :5]}


class Batched(Frames):
    def extract_batch(self, signals, pool):
        found = [self(signal) for signal in signals]
        rows = {n: [pool_frames(one[n], pool) for one in found] for n in found[0]}
        return rows if pooling.is_ragged(pool) else {n: np.stack(each) for n, each in rows.items()}


@pytest.fixture
def corpus(tmp_path, write_sound):
    rows = [
        {
            "id": f"u{k}",
            "path": str(write_sound(tmp_path / f"u{k}.wav", s, frequency=200 + 50 * k)),
            "speaker": f"{k % 3:02d}",
        }
        for k, s in enumerate(DURATIONS)
    ]
    return sp.datasets.load_table(pd.DataFrame(rows), name="tones")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def expected_frames(corpus, extractor=None):
    found = [(extractor or Frames())(u.signal(RATE)) for u in corpus]
    return {layer: [one[layer] for one in found] for layer in found[0]}


def assert_frames(features, expected, rtol=0.0):
    assert list(features.layers) == list(expected)
    for layer, items in expected.items():
        assert isinstance(features[layer], RaggedLayer)
        assert len(features[layer]) == len(items) == len(features)
        for found, frames in zip(features[layer], items, strict=True):
            np.testing.assert_allclose(found, frames, rtol=rtol, atol=rtol)


# The array-like.


def random_rows(counts, n_dims, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(n, n_dims)).astype(np.float32) for n in counts]


def stored(rows, folder, n_shards):
    """The same layer from a store of several shards, written in another order."""
    kept = Store(folder, {"pool": "frames"})
    order = np.random.default_rng(1).permutation(len(rows))
    for part in np.array_split(order, n_shards):
        if len(part):
            ids = [str(k) for k in part]
            kept.write(Rows(ids, [1.0] * len(ids), {"layer": [rows[k] for k in part]}))
    return read_layers(folder, [str(k) for k in range(len(rows))])["layer"]


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    n_dims=st.integers(1, 3),
    n_shards=st.integers(0, 3),
    data=st.data(),
)
def test_a_ragged_layer_is_a_list_of_arrays_in_memory_and_on_the_disk(
    tmp_path_factory, counts, n_dims, n_shards, data
):
    rows = random_rows(counts, n_dims)
    folder = tmp_path_factory.mktemp("ragged") / "store"
    layer = stored(rows, folder, n_shards) if n_shards else RaggedLayer.of(rows)
    chosen = data.draw(st.lists(st.integers(-len(rows), len(rows) - 1), max_size=6))
    for found, expected in (
        (layer, rows),
        (layer[chosen], [rows[k] for k in chosen]),
        (layer.subset(np.array(chosen, int)), [rows[k] for k in chosen]),
        (layer[::-2], rows[::-2]),
        (layer[1:], rows[1:]),
        (layer[np.array(counts) > 3], [row for row in rows if len(row) > 3]),
        (layer[::2][::-1], rows[::2][::-1]),
    ):
        assert len(found) == len(expected)
        assert found.n_frames.tolist() == [len(row) for row in expected]
        assert (found.n_dims, found.dtype) == (n_dims, np.float32)
        for one, row in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, row)
        np.testing.assert_array_equal(found.values, np.concatenate([*expected, rows[0][:0]]))
        again = RaggedLayer(found.values, found.offsets)
        for number, row in enumerate(expected):
            np.testing.assert_array_equal(again[number], row)
    np.testing.assert_array_equal(layer[-1], rows[-1])


@pytest.mark.parametrize("on_disk", [False, True])
def test_padding_puts_zeros_behind_each_items_own_frames(store, on_disk):
    rows = random_rows([2, 5, 1], 4)
    layer = stored(rows, store, 2) if on_disk else RaggedLayer.of(rows)
    frames, lengths = layer.padded([2, 0])
    assert frames.shape == (2, 2, 4)
    assert lengths.tolist() == [1, 2]
    np.testing.assert_array_equal(frames[0, :1], rows[2])
    np.testing.assert_array_equal(frames[1], rows[0])
    assert not frames[0, 1:].any()
    assert layer.padded()[0].shape == (3, 5, 4)


def test_indexing_past_the_end_raises():
    with pytest.raises(IndexError):
        RaggedLayer.of(random_rows([2], 3))[1]


def test_only_the_frames_asked_for_are_read(store, monkeypatch):
    layer = stored(random_rows([3, 4, 5], 2), store, 1)
    read = []

    class Spy:
        def __init__(self, frames):
            self.frames = frames

        def __getitem__(self, rows):
            read.append(self.frames[rows])
            return read[-1]

    class Opened:
        def __init__(self, path, framework):
            self.inside = safe_open(path, framework=framework)

        def __enter__(self):
            self.shard = self.inside.__enter__()
            return self

        def __exit__(self, *error):
            return self.inside.__exit__(*error)

        def get_slice(self, name):
            return Spy(self.shard.get_slice(name))

    monkeypatch.setattr("speechprobe.store.arrays.safe_open", Opened)
    layer[1]
    layer.subset([2, 0])  # reads nothing
    assert [part.shape for part in read] == [(4, 2)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one item"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"item 1: expected frames.*\(2, 3\), got \(2, 4\)"),
        ([np.zeros(3)], r"item 0.*got \(3,\)"),
    ],
)
def test_arrays_that_are_no_frames_of_one_layer_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        RaggedLayer.of(rows)


@pytest.mark.parametrize("offsets", [[0, 2], [1, 5], [0, 4, 3, 5], [[0, 5]], []])
def test_offsets_must_fit_the_values(offsets):
    with pytest.raises(ValueError, match="offsets"):
        RaggedLayer(np.zeros((5, 2)), offsets)


def test_frames_are_no_matrix_and_say_what_to_do():
    layer = RaggedLayer.of(random_rows([2, 3], 4))
    with pytest.raises(
        ValueError, match=r'2 items, 5 frames, 4 dims.*pool it first.*pooled\("mean"\)'
    ):
        np.asarray(layer)


# Features.


@pytest.fixture
def features():
    items = pd.DataFrame({"speaker": ["a", "b", "a"]}, index=["u1", "u2", "u3"])
    return sp.Features({"frames": random_rows([2, 5, 1], 4), "vectors": np.eye(3)}, items)


def test_lists_of_arrays_become_a_ragged_layer(features):
    assert features["frames"].n_frames.tolist() == [2, 5, 1]
    equal = sp.Features({"layer": [np.zeros((2, 3))] * 3}, features.items)
    assert equal["layer"].n_frames.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match=r"'layer'.*3 items.*got \(2, 3\)"):
        sp.Features({"layer": [np.zeros((2, 3))] * 2}, features.items)


def test_frames_are_selected_and_relabelled_with_their_items(features):
    chosen = features.select(["u3", "u2"]).with_labels(
        pd.DataFrame({"mood": list("xyz")}, index=["u1", "u2", "u3"])
    )
    assert chosen.items["mood"].tolist() == ["z", "y"]
    np.testing.assert_array_equal(chosen["frames"][1], features["frames"][1])
    assert chosen["frames"].n_frames.tolist() == [1, 5]


@pytest.mark.parametrize(
    ("pool", "reference"),
    [
        ("mean", lambda frames: frames.mean(0)),
        ("max", lambda frames: frames.max(0)),
        (pooling.segments(1), lambda frames: frames.mean(0)),
    ],
)
def test_frames_are_pooled_later(features, pool, reference, monkeypatch):
    monkeypatch.setattr("speechprobe.features.table._ITEMS_AT_ONCE", 2)
    pooled = features.pooled(pool)
    expected = np.stack([reference(frames) for frames in features["frames"]])
    np.testing.assert_allclose(pooled["frames"], expected, rtol=1e-6)
    np.testing.assert_array_equal(pooled["vectors"], np.eye(3))
    assert pooled.provenance["pooled"] == pooling.name_of(pooling.resolve(pool))
    with pytest.raises(ValueError, match="no layer .* holds frames"):
        pooled.pooled("mean")
    with pytest.raises(ValueError, match="does not give one vector"):
        features.pooled("frames")


def test_a_probe_says_that_frames_are_to_be_pooled_first():
    items = pd.DataFrame({"speaker": list("abcdef"), "age": range(6)})
    features = sp.Features({"layer": random_rows([2] * 6, 3)}, items)
    settings = {"probe": sp.probes.RidgeProbe(), "metrics": sp.metrics.r2, "n_folds": 3}
    with pytest.raises(ValueError, match="pool it first"):
        sp.probe_layers(features, target="age", groups="speaker", **settings)
    assert len(
        sp.probe_layers(features.pooled("mean"), target="age", groups=None, **settings).records
    )


# Extraction.


@pytest.mark.parametrize("kind", [Frames, Batched])
@pytest.mark.parametrize("batch_seconds", ["auto", 0.7, 100])
@pytest.mark.parametrize("on_disk", [False, True])
def test_every_frame_is_kept_in_the_order_of_the_corpus(
    corpus, store, kind, batch_seconds, on_disk
):
    features = sp.extract(
        corpus, kind(), pool="frames", batch_seconds=batch_seconds, store=store if on_disk else None
    )
    assert_frames(features, expected_frames(corpus))
    pd.testing.assert_frame_equal(features.items, corpus.table)
    if on_disk:
        assert_frames(sp.load_features(store), expected_frames(corpus))
        chosen = sp.load_features(store).select(["u4", "u1"])
        assert_frames(chosen, expected_frames(corpus.select(["u4", "u1"])))


@pytest.mark.parametrize("padding", ["measure", "never"])
def test_frames_of_a_network_are_those_of_single_signals(corpus, padding):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160), nn.ReLU(), nn.Conv1d(4, 3, 2, 2))
    model = sp.extractors.ModuleExtractor(
        net.eval(),
        layers="*",
        sample_rate=RATE,
        preprocess=lambda waveforms: waveforms[:, None],
        padding=padding,
    )
    features = sp.extract(corpus, model, pool="frames", batch_seconds=100)
    assert_frames(features, expected_frames(corpus, model), rtol=1e-4)


def test_a_front_end_gives_its_own_frames_from_a_padded_batch(corpus):
    model = sp.extractors.LogMel(n_mels=20)
    features = sp.extract(corpus, model, pool="frames", batch_seconds=100)
    assert_frames(features, expected_frames(corpus, model), rtol=1e-4)


@pytest.mark.parametrize("on_disk", [False, True])
def test_half_precision_is_kept_as_it_is(corpus, store, on_disk):
    features = sp.extract(
        corpus, Batched(), pool=pooling.frames_as("float16"), store=store if on_disk else None
    )
    assert features["fast"].dtype == features["fast"][0].dtype == np.float16
    expected = expected_frames(corpus)
    for found, frames in zip(features["fast"], expected["fast"], strict=True):
        np.testing.assert_array_equal(found, frames.astype(np.float16))
    assert features.pooled("mean")["slow"].dtype == np.float32


@pytest.mark.parametrize("batch_seconds", [0, 100])
def test_a_value_beyond_half_precision_is_an_error_and_names_the_utterance(corpus, batch_seconds):
    class Loud(Batched):
        def __call__(self, signal):
            frames = super().__call__(signal)
            gain = 1e6 if len(signal) == 8000 else 1.0
            return {layer: gain * each for layer, each in frames.items()}

    half = pooling.frames_as("float16")
    with pytest.raises(ValueError, match="'u2'.*float16 holds values up to 65504.*frames"):
        sp.extract(corpus, Loud(), pool=half, batch_seconds=batch_seconds)
    features = sp.extract(corpus, Loud(), pool=half, batch_seconds=batch_seconds, errors="record")
    assert "u2" not in features.items.index
    assert all(np.isfinite(each).all() for each in features["fast"])
    sp.extract(corpus, Loud(), pool="frames")


@pytest.mark.parametrize("batch_seconds", [0, 100])
def test_a_failure_takes_its_own_frames_only(corpus, store, batch_seconds):
    class Cursed(Batched):
        def __call__(self, signal):
            if len(signal) == 8000:
                raise RuntimeError("cursed")
            return super().__call__(signal)

    features = sp.extract(
        corpus, Cursed(), pool="frames", store=store, errors="record", batch_seconds=batch_seconds
    )
    rest = corpus.select([key for key in corpus.table.index if key != "u2"])
    assert_frames(features, expected_frames(rest))
    assert_frames(sp.load_features(store), expected_frames(rest))


def test_another_precision_is_another_store(corpus, store):
    sp.extract(corpus, Frames(), pool="frames", store=store)
    with pytest.raises(ValueError, match=r"pool is 'frames' there and .frames_as\('float16'\)"):
        sp.extract(corpus, Frames(), pool=pooling.frames_as("float16"), store=store)


def test_a_width_that_changes_names_the_utterance(corpus):
    class Growing(Frames):
        def __call__(self, signal):
            return {"layer": np.ones((2, len(signal)))}

    with pytest.raises(ValueError, match="other names or widths for utterance 'u"):
        sp.extract(corpus, Growing(), pool="frames")


# The store.


def test_the_store_of_frames_reads_with_safetensors_alone(corpus, store, monkeypatch):
    monkeypatch.setattr(keeping, "FLUSH_ROWS", 4)
    sp.extract(corpus, Frames(), pool="frames", store=store)
    expected = dict(zip(corpus.table.index, expected_frames(corpus)["slow"], strict=True))
    shards = sorted(store.glob("part-*.safetensors"))
    assert len(shards) == 2
    for path in shards:
        with safe_open(path, framework="np") as shard:
            ids = json.loads(shard.metadata()["ids"])
            assert json.loads(shard.metadata()["layers"]) == ["fast", "slow"]
        tensors = load_file(path)
        ends = np.cumsum(tensors["slow:n_frames"])
        for key, frames in zip(ids, np.split(tensors["slow"], ends[:-1]), strict=True):
            np.testing.assert_array_equal(frames, expected.pop(key))
    assert not expected


def test_frames_are_flushed_by_bytes(corpus, store, monkeypatch):
    monkeypatch.setattr(keeping, "FLUSH_BYTES", 1)
    features = sp.extract(corpus, Frames(), pool="frames", store=store)
    assert len(list(store.glob("part-*"))) == 6
    assert_frames(features, expected_frames(corpus))


KILLED = """
    import sys, time
    import speechprobe as sp
    from speechprobe.features import keeping

    keeping.FLUSH_ROWS = 2

    class Slow:
        name, sample_rate = "slow", 16_000

        def __call__(self, signal):
            time.sleep(0.03)
            frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
            return {"a": frames[:, :4], "b": frames[::2, 4:5]}

    if __name__ == "__main__":
        corpus = sp.datasets.load_table(sys.argv[1])
        sp.extract(corpus, Slow(), pool="frames", store=sys.argv[2], progress=False)
"""


def test_a_killed_run_goes_on_and_loses_no_frame(tmp_path, write_sound, store):
    rows = [
        {"id": f"u{k}", "path": str(write_sound(tmp_path / f"u{k}.flac", 0.1 + 0.02 * (k % 5))),
         "speaker": "a"}
        for k in range(40)
    ]  # fmt: skip
    corpus = sp.datasets.load_table(pd.DataFrame(rows))
    corpus.to_csv(tmp_path / "corpus.csv")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(KILLED))
    command = [sys.executable, str(script), str(tmp_path / "corpus.csv"), str(store)]
    process = subprocess.Popen(command)
    limit = time.monotonic() + 60
    while len(list(store.glob("part-*.safetensors"))) < 4 and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(command, check=True)
    features = sp.load_features(store)
    assert list(features.items.index) == list(corpus.table.index)
    for row, utterance in enumerate(corpus):
        frames = utterance.signal()[: features["a"].n_frames[row] * 160].reshape(-1, 160)
        np.testing.assert_array_equal(features["a"][row], frames[:, :4])
        np.testing.assert_array_equal(features["b"][row], frames[::2, 4:5])


@pytest.mark.shared
def test_frames_of_emodb_pool_to_what_is_pooled_at_once(shared, store):
    corpus = sp.datasets.load_emodb(shared / "data" / "emodb").sample(30, seed=0)
    model = sp.extractors.LogMel(n_mels=40)
    frames = sp.extract(corpus, model, pool="frames", batch_seconds=20, store=store)
    pooled = sp.extract(corpus, model, pool="mean_std", batch_seconds=20)
    np.testing.assert_allclose(
        frames.pooled("mean_std")["logmel"], pooled["logmel"], rtol=1e-4, atol=1e-4
    )

"""Spans: one row for each phone or word, pooled from layers that saw the whole recording."""

from __future__ import annotations

import json
import math
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

import speechprobe as sp
from speechprobe import pooling
from speechprobe.datasets import Corpus
from speechprobe.extractors.base import pool_signals
from speechprobe.features import keeping

RATE = 16_000
DURATIONS = (0.30, 0.12, 0.50, 0.25)
WORDS = {
    "u0": [(0.0, 0.1, "a"), (0.1, 0.1333, "b"), (0.201, 0.3, "c")],
    "u1": [(0.013, 0.1199, "a")],
    "u2": [(0.4999, 0.5, "d"), (0.02, 0.03, "b")],  # overlapping and unsorted do as well
    "u3": None,
}


class Steps:
    """Frames of 10 ms: their number, and their samples' mean."""

    name, sample_rate = "steps", RATE

    def __init__(self):
        self._calls = {"n": 0}

    @property
    def n_calls(self):
        return self._calls["n"]

    def __call__(self, signal):
        self._calls["n"] += 1
        frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
        time = np.arange(len(frames))[:, None]
        return {"time": time, "sound": np.hstack([frames.mean(1, keepdims=True), frames[:, :2]])}


class Batched(Steps):
    """The same with batches, bound as the guide says."""

    def extract_batch(self, signals, pool):
        found = [self(signal) for signal in signals]
        parts = {
            layer: [
                pooling.bind(pool, [row], 100.0)(
                    torch.from_numpy(one[layer]).float()[None], torch.tensor([len(one[layer])])
                )
                for row, one in enumerate(found)
            ]
            for layer in found[0]
        }
        order = np.arange(len(signals))
        return {layer: pooling.join(rows, order) for layer, rows in parts.items()}


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(1, 6, 400, stride=160), nn.ReLU(), nn.Conv1d(6, 4, 3, 2))
    return sp.extractors.ModuleExtractor(
        net.eval(), layers="*", sample_rate=RATE, preprocess=lambda waveforms: waveforms[:, None]
    )


@pytest.fixture
def corpus(tmp_path, write_sound):
    rows = [
        {
            "id": f"u{k}",
            "path": str(write_sound(tmp_path / f"u{k}.wav", seconds, frequency=100 + 50 * k)),
            "speaker": f"{k % 2:02d}",
            "text": f"text {k}",
            "words": WORDS[f"u{k}"],
        }
        for k, seconds in enumerate(DURATIONS)
    ]
    return sp.datasets.load_table(pd.DataFrame(rows), name="tones")


@pytest.fixture
def words(corpus):
    with pytest.warns(UserWarning, match="1 of 4 utterances have no words and are left out.*'u3'"):
        return corpus.spans("words")


def expected_rows(extractor, corpus, frame_rate=None, pool=lambda frames: frames.mean(0)):
    """Every span of every row by plain slicing of the whole utterance's frames."""
    rows = {}
    for row in corpus:
        signal = row.signal(extractor.sample_rate)
        for layer, frames in extractor(signal).items():
            rate = frame_rate or len(frames) / (len(signal) / extractor.sample_rate)
            start = min(math.floor(row["span_start"] * rate), len(frames) - 1)
            stop = min(max(math.ceil(row["span_end"] * rate), start + 1), len(frames))
            rows.setdefault(layer, []).append(pool(frames[start:stop]))
    return {layer: np.stack(found) for layer, found in rows.items()}


def assert_rows(features, expected, rtol=1e-5):
    assert list(features.layers) == list(expected)
    for layer, rows in expected.items():
        np.testing.assert_allclose(features[layer], rows, rtol=rtol, atol=1e-6)


# The corpus of spans.


def test_a_row_is_a_span_with_the_labels_of_its_utterance(corpus, words):
    assert list(words.table.index) == ["u0#0", "u0#1", "u0#2", "u1#0", "u2#0", "u2#1"]
    assert words.column("word").tolist() == ["a", "b", "c", "a", "d", "b"]
    assert words.column("utterance").tolist() == ["u0"] * 3 + ["u1"] + ["u2"] * 2
    assert words["u0#1"]["span_start"] == 0.1
    assert words["u0#1"]["span_end"] == 0.1333
    assert words["u2#1"]["text"] == "text 2"
    assert "words" not in words["u0#0"]
    assert repr(words) == "Corpus('tones', 6 spans, 2 speakers)"


def test_the_sound_of_a_row_is_the_recording(corpus, words):
    assert words["u2#0"].path == corpus["u2"].path
    assert words["u2#0"].duration == corpus["u2"].duration
    np.testing.assert_array_equal(words["u2#0"].signal(), corpus["u2"].signal())


def test_the_middle_third_is_taken_in_seconds(corpus):
    whole, middle = (
        corpus.select(["u0", "u2"]).spans("words", part=p) for p in ("whole", "middle")
    )
    start, end = (whole.column(name).astype(float) for name in ("span_start", "span_end"))
    np.testing.assert_allclose(middle.column("span_start"), start + (end - start) / 3)
    np.testing.assert_allclose(middle.column("span_end"), end - (end - start) / 3)


def test_methods_of_a_corpus_work_on_spans(words, tmp_path):
    chosen = words.select(words.column("word") == "a").label("vowel", [True, True])
    assert list(chosen.table.index) == ["u0#0", "u1#0"]
    chosen.to_csv(tmp_path / "spans.csv")
    assert "2 spans" in repr(sp.datasets.load_table(tmp_path / "spans.csv"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([None] * 4, "no utterance of corpus 'tones' has any words"),
        (
            [[(0.0, 0.1)]] * 4,
            r"'u0': words must be a list of \(start, end, label\).*got \(0.0, 0.1\)",
        ),
        ([[("a", 0.1, "x")]] * 4, "'u0': words must be a list"),
    ],
)
def test_what_is_no_list_of_spans_is_refused(corpus, words, message):
    table = corpus.table.assign(words=pd.Series(words, index=corpus.table.index, dtype=object))
    with pytest.raises(ValueError, match=message):
        Corpus("tones", table).spans("words")


def test_labels_are_not_replaced(corpus, words):
    labelled = corpus.select(["u0", "u1"]).label("word", ["x", "y"])
    with pytest.raises(ValueError, match="has a label 'word' already.*another name by label="):
        labelled.spans("words")
    assert labelled.spans("words", label="token").column("token").tolist() == ["a", "b", "c", "a"]
    with pytest.raises(ValueError, match="corpus of spans already"):
        Corpus("tones", words.table.assign(words=[[(0, 0.1, "a")]] * 6)).spans("words")


def test_a_column_that_is_not_there_is_told_with_those_that_hold_lists(corpus):
    with pytest.raises(KeyError, match=r"no column 'phones'.*\['words'\]"):
        corpus.spans("phones")


# Extraction.


@pytest.mark.parametrize("batch_seconds", ["auto", 0, 0.6, 100])
@pytest.mark.parametrize("kind", [Steps, Batched])
@pytest.mark.parametrize("stored", [False, True])
def test_each_layer_is_pooled_over_each_span(words, tmp_path, kind, batch_seconds, stored):
    store = tmp_path / "store" if stored else None
    features = sp.extract(words, kind(), batch_seconds=batch_seconds, store=store)
    rate = 100.0 if kind is Batched else None
    assert_rows(features, expected_rows(Steps(), words, rate))
    pd.testing.assert_frame_equal(features.items, words.table)
    if stored:
        assert_rows(sp.load_features(store), expected_rows(Steps(), words, rate))


def test_a_recording_is_run_once(words):
    extractor = Steps()
    sp.extract(words, extractor)
    assert extractor.n_calls == 3


def test_the_order_of_rows_is_that_of_the_corpus_whatever_it_is(words):
    mixed = words.select(["u2#0", "u0#2", "u1#0", "u0#0"])
    features = sp.extract(mixed, Steps())
    assert list(features.items.index) == ["u2#0", "u0#2", "u1#0", "u0#0"]
    assert_rows(features, expected_rows(Steps(), mixed))


@pytest.mark.parametrize("part", ["whole", "middle"])
@pytest.mark.parametrize(
    ("pool", "reference"),
    [
        ("mean_std", lambda frames: np.concatenate([frames.mean(0), frames.std(0)])),
        ("max", lambda frames: frames.max(0)),
        (pooling.segments(1), lambda frames: frames.mean(0)),
        (lambda frames, lengths: frames[:, 0], lambda frames: frames[0]),
    ],
)
def test_any_plain_pooling_pools_a_span(corpus, pool, reference, part):
    spans = corpus.select(["u0", "u1", "u2"]).spans("words", part=part)
    features = sp.extract(spans, Steps(), pool=pool)
    assert_rows(features, expected_rows(Steps(), spans, pool=reference))


@pytest.mark.parametrize("pool", ["frames", pooling.frames_as("float16")])
def test_a_span_is_not_kept_frame_by_frame(words, pool):
    with pytest.raises(ValueError, match="a span is pooled to one vector"):
        sp.extract(words, Steps(), pool=pool)


@pytest.mark.parametrize("batch_seconds", [0, 100])
def test_a_network_is_pooled_at_the_frame_rate_of_each_layer(words, batch_seconds):
    features = sp.extract(words, network(), batch_seconds=batch_seconds)
    for layer, frame_rate in (("0", 100.0), ("1", 100.0), ("2", 50.0)):
        expected = expected_rows(network(), words, frame_rate)[layer]
        np.testing.assert_allclose(features[layer], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_seconds", [0, 100])
def test_a_front_end_is_pooled_at_its_own_frame_rate(words, batch_seconds):
    for row in words:  # in a steady tone all frames are alike
        noise = np.random.default_rng(0).normal(scale=0.1, size=len(row.signal()))
        sp.audio.write(row.path, noise, RATE)
    model = sp.extractors.LogMel(n_mels=20)
    features = sp.extract(words, model, batch_seconds=batch_seconds)
    assert_rows(features, expected_rows(model, words, 100.0), rtol=1e-4)


def test_each_signal_of_an_extractor_without_batches_has_its_own_spans(corpus):
    some = corpus.select(["u0", "u2"])
    spans = {key: WORDS[key] for key in ("u0", "u2")}
    pool = pooling.spans(spans).for_batch(["u0", "u2"], [0.3, 0.5])
    found = pool_signals(Steps(), [u.signal(RATE) for u in some], pool)
    expected = expected_rows(Steps(), some.spans("words"))
    np.testing.assert_allclose(np.concatenate(found["sound"]), expected["sound"], rtol=1e-5)


def test_no_span_is_without_a_frame():
    seconds = np.array([[0.5, 0.5], [0.601, 0.602], [0.9, 1.0]])
    bounds = pooling.frame_bounds(seconds, 10.0, 7)
    assert bounds.tolist() == [[5, 6], [6, 7], [6, 7]]


def test_spans_are_probed_by_speaker(tmp_path, write_sound):
    generator = np.random.default_rng(0)
    rows = []
    for k in range(12):
        tones = [float(generator.choice([200, 2000])) for _ in range(4)]
        sound = np.concatenate([np.sin(np.arange(3200) / RATE * 2 * np.pi * f) for f in tones])
        path = tmp_path / f"u{k}.wav"
        sp.audio.write(path, 0.5 * sound, RATE)
        listed = [
            (0.2 * j, 0.2 * j + 0.2, "high" if f > 1000 else "low") for j, f in enumerate(tones)
        ]
        rows.append({"id": f"u{k}", "path": str(path), "speaker": f"s{k % 4}", "tones": listed})
    tones = sp.datasets.load_table(pd.DataFrame(rows)).spans("tones")
    features = sp.extract(tones, sp.extractors.LogMel(n_mels=20))
    scores = sp.probe_layers(
        features,
        target="tone",
        groups="speaker",
        probe=sp.probes.LogisticProbe(),
        metrics=sp.metrics.accuracy,
        n_folds=4,
    )
    assert scores.records[0].score == 1.0


# Failures.


@pytest.mark.parametrize(
    "span", [(0.2, 0.1), (0.1, 0.1), (-0.1, 0.1), (0.3, 0.4), (0.1, 0.4), (np.nan, 0.1)]
)
def test_a_span_that_cannot_be_is_told_before_anything_runs(words, span):
    table = words.table.copy()
    table.loc["u0#1", ["span_start", "span_end"]] = span
    extractor = Steps()
    told = re.escape(f"from {span[0]:.3f} to {span[1]:.3f} s")
    with pytest.raises(ValueError, match=f"'u0'.*{told}"):
        sp.extract(Corpus("tones", table), extractor)
    assert not extractor.n_calls
    features = sp.extract(Corpus("tones", table), extractor, errors="record")
    assert list(features.items.index) == ["u1#0", "u2#0", "u2#1"]
    assert [path for path, _ in features.failures] == [words["u0#0"].path]


def test_a_span_may_end_a_little_behind_the_sound(words):
    table = words.table.copy()
    table.loc["u0#2", "span_end"] = 0.31
    assert len(sp.extract(Corpus("tones", table), Steps())) == 6


@pytest.mark.parametrize("batch_seconds", [0, 100])
def test_an_utterance_that_fails_loses_its_spans_and_no_others(words, batch_seconds):
    class Cursed(Batched):
        def __call__(self, signal):
            if len(signal) == round(0.12 * RATE):
                raise RuntimeError("cursed")
            return super().__call__(signal)

    features = sp.extract(words, Cursed(), errors="record", batch_seconds=batch_seconds)
    rest = words.select(words.column("utterance") != "u1")
    assert list(features.items.index) == list(rest.table.index)
    assert_rows(features, expected_rows(Steps(), rest, 100.0))
    assert [path for path, _ in features.failures] == [words["u1#0"].path]
    with pytest.raises(ValueError, match="'u1'.*cursed"):
        sp.extract(words, Cursed(), batch_seconds=batch_seconds)


def test_the_spans_of_an_utterance_lie_in_one_file(words):
    table = words.table.assign(utterance="same")
    with pytest.raises(ValueError, match="'same' lie in several sound files"):
        sp.extract(Corpus("tones", table), Steps())


# Stores.


def ids_of(shard):
    with safe_open(shard, framework="np") as opened:
        return json.loads(opened.metadata()["ids"])


def test_a_run_that_stops_keeps_whole_utterances_and_goes_on(words, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "FLUSH_ROWS", 1)
    store = tmp_path / "store"

    class Stops(Steps):
        stop = True

        def __call__(self, signal):
            if self.stop and self.n_calls == 2:
                raise KeyboardInterrupt
            return super().__call__(signal)

    with pytest.raises(KeyboardInterrupt):
        sp.extract(words, Stops(), store=store)
    done = [ids_of(shard) for shard in sorted(store.glob("part-*"))]
    assert done == [["u2#0", "u2#1"], ["u0#0", "u0#1", "u0#2"]]
    Stops.stop = False
    again = Stops()
    features = sp.extract(words, again, store=store)
    assert again.n_calls == 1
    assert_rows(features, expected_rows(Steps(), words))


def test_more_spans_of_an_utterance_are_added_to_a_store(words, tmp_path):
    store = tmp_path / "store"
    sp.extract(words.select(["u0#1", "u2#0"]), Steps(), store=store)
    assert_rows(sp.extract(words, Steps(), store=store), expected_rows(Steps(), words))
    idle = Steps()
    sp.extract(words.select(["u0#0"]), idle, store=store)
    assert not idle.n_calls
    with safe_open(next(store.glob("part-00000*")), framework="np") as shard:
        spans = dict(
            zip(*(json.loads(shard.metadata()[key]) for key in ("ids", "spans")), strict=True)
        )
    assert spans == {"u0#1": [0.1, 0.1333], "u2#0": [0.4999, 0.5]}


def test_a_span_that_moved_is_refused(corpus, words, tmp_path):
    sp.extract(words, Steps(), store=tmp_path / "store")
    moved = corpus.select(["u0", "u1", "u2"]).spans("words", part="middle")
    with pytest.raises(
        ValueError, match=r"span 'u0#0' was 0\.000 to 0\.100 s.*is 0\.033 to 0\.067"
    ):
        sp.extract(moved, Steps(), store=tmp_path / "store")


def test_utterances_and_spans_do_not_share_a_store(corpus, words, tmp_path):
    sp.extract(corpus, Steps(), store=tmp_path / "store")
    with pytest.raises(ValueError, match="rows is None there and 'spans' now"):
        sp.extract(words, Steps(), store=tmp_path / "store")


# Seconds of one's own.


def test_spans_of_ones_own_give_a_ragged_layer(corpus, words, tmp_path):
    seconds = {key: listed for key, listed in WORDS.items() if listed}
    some = corpus.select(list(seconds))
    features = sp.extract(some, Batched(), pool=pooling.spans(seconds), store=tmp_path / "store")
    assert features["sound"].n_frames.tolist() == [3, 1, 2]
    flat = sp.extract(words, Batched())
    np.testing.assert_array_equal(features["sound"].values, flat["sound"])
    moved = pooling.spans(seconds, part="middle")
    with pytest.raises(ValueError, match="made otherwise: pool.spans_sha256"):
        sp.extract(some, Batched(), pool=moved, store=tmp_path / "store")


def test_an_utterance_without_spans_is_told_before_anything_runs(corpus):
    extractor = Steps()
    with pytest.raises(ValueError, match="'u1' has no spans"):
        sp.extract(corpus, extractor, pool=pooling.spans({"u0": [(0, 0.1)]}))
    assert not extractor.n_calls


@pytest.mark.parametrize(
    ("seconds", "settings", "message"),
    [
        ({"a": [(0.2, 0.1)]}, {}, "'a': the span from 0.200 to 0.100 s is empty"),
        ({"a": [(-1, 0.1)]}, {}, "'a': the span from -1.000"),
        ({"a": []}, {}, "'a' has an empty list"),
        ({"a": [3]}, {}, r"'a': spans are a list of \(start, end\)"),
        ({"a": [(0, 1)]}, {"pool": "frames"}, "pooled to one vector"),
        ({"a": [(0, 1)]}, {"pool": "median"}, "unknown pooling"),
        ({"a": [(0, 1)]}, {"part": "first"}, "'whole' or 'middle'"),
    ],
)
def test_wrong_spans_are_refused_when_they_are_given(seconds, settings, message):
    with pytest.raises(ValueError, match=message):
        pooling.spans(seconds, **settings)


def test_spans_that_are_not_bound_refuse_to_guess():
    own = pooling.spans({"a": [(0, 0.1)], "b": [(0, 0.1)]})
    frames, lengths = torch.zeros(1, 3, 2), torch.tensor([3])
    with pytest.raises(ValueError, match="known by utterance id"):
        own(frames, lengths)
    with pytest.raises(ValueError, match="the spans of 2 signals and was given the frames of 1"):
        own.for_batch(["a", "b"], [1.0, 1.0])(frames, lengths)


@given(
    rows=st.lists(
        st.tuples(
            st.integers(1, 60),
            st.lists(st.tuples(st.floats(0, 0.98), st.floats(0.01, 1.0)), min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=4,
    ),
    rate=st.sampled_from([None, 12.5, 49.9, 100.0]),
    at_once=st.sampled_from([1, 7, 1 << 20]),
    seed=st.integers(0, 100),
)
def test_spans_are_plain_slices_however_rows_and_spans_are_mixed(rows, rate, at_once, seed):
    durations = [n / (rate or 50.0) for n, _ in rows]
    seconds = {
        str(k): [(a * durations[k], (a + (1 - a) * b) * durations[k] + 1e-4) for a, b in listed]
        for k, (_, listed) in enumerate(rows)
    }
    lengths = torch.tensor([n for n, _ in rows])
    frames = torch.full((len(rows), int(lengths.max()) + 2, 3), torch.nan)
    generator = torch.Generator().manual_seed(seed)
    for row, n in enumerate(lengths.tolist()):
        frames[row, :n] = torch.randn(n, 3, generator=generator)
    order = np.random.default_rng(seed).permutation(len(rows))
    pool = pooling.spans(seconds, pool="mean_std").for_batch(list(seconds), durations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechprobe.pooling.over_spans._AT_ONCE", at_once)
        bound = pooling.bind(pool, order.tolist(), rate)
        found = bound(frames[torch.from_numpy(order)], lengths[torch.from_numpy(order)])
    for row, vectors in zip(order.tolist(), found, strict=True):
        own = frames[row, : int(lengths[row])].numpy()
        frame_rate = rate or len(own) / durations[row]
        for (start, end), vector in zip(seconds[str(row)], vectors.numpy(), strict=True):
            first = min(math.floor(start * frame_rate), len(own) - 1)
            last = min(max(math.ceil(end * frame_rate), first + 1), len(own))
            part = own[first:last]
            np.testing.assert_allclose(
                vector, np.concatenate([part.mean(0), part.std(0)]), rtol=1e-4, atol=1e-5
            )


# Real speech.


@pytest.mark.shared
def test_phones_of_emodb_are_the_slices_of_its_frames(shared, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one file has no phones
        phones = sp.datasets.load_emodb(shared / "data" / "emodb").spans("phones")
    some = sorted(set(phones.column("utterance")))[:20]
    phones = phones.select(np.isin(phones.column("utterance"), some))
    model = sp.extractors.LogMel(n_mels=40)
    features = sp.extract(phones, model, batch_seconds=30, store=tmp_path / "store")
    assert len(features) == len(phones) > 20 * 20
    expected, held = [], {}
    for row in phones:
        frames = held.setdefault(row["utterance"], None)
        if frames is None:
            frames = held[row["utterance"]] = model(row.signal(RATE))["logmel"]
        start, end = row["span_start"] * 100, row["span_end"] * 100
        expected.append(frames[math.floor(start) : math.ceil(end)].mean(axis=0))
    np.testing.assert_allclose(features["logmel"], np.stack(expected), rtol=1e-4, atol=1e-5)

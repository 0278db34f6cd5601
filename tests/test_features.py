"""Extraction over a corpus: order of rows, failures, and the frozen result."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torch import nn

import speechprobe as sp
from speechprobe import engines
from speechprobe import features as features_module
from speechprobe.datasets import Corpus
from speechprobe.extractors.base import pool_frames
from speechprobe.features import cost

RATE = 16_000
DURATIONS = (0.30, 0.10, 0.50, 0.10, 0.40, 0.20)


class Envelope:  # an extractor: facts and a call
    name, sample_rate = "envelope", 16_000

    def __call__(self, signal):  # (n_samples,) -> layer: (n_frames, n_dims)
        frames = signal[: len(signal) // 160 * 160]
        return {"envelope": np.abs(frames).reshape(-1, 160).mean(1, keepdims=True)}


class Counting:
    """Two layers; notes its calls and fails where it is told to."""

    name, sample_rate = "counting", RATE

    def __init__(self, breaks=None):
        self._lock = threading.Lock()
        self._calls = {"signals": []}
        self._breaks = {"on": breaks}

    @property
    def lengths(self):
        return self._calls["signals"]

    def __call__(self, signal):
        self.lengths.append(len(signal))
        if self._breaks["on"] is not None and len(signal) == self._breaks["on"]:
            raise RuntimeError("this signal is cursed")
        frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
        return {"raw": frames[:, :3], "energy": (frames**2).mean(1, keepdims=True)}


class Batching(Counting):
    def extract_batch(self, signals, pool):
        found = [self(signal) for signal in signals]
        return {n: np.stack([pool_frames(one[n], pool) for one in found]) for n in found[0]}


@pytest.fixture
def corpus(tmp_path, write_sound):
    rows = [
        {
            "id": f"u{k}",
            "path": str(write_sound(tmp_path / f"u{k}.wav", s, frequency=200 + 50 * k)),
            "speaker": f"{k % 3:02d}",
            "gender": "FM"[k % 2],
        }
        for k, s in enumerate(DURATIONS)
    ]
    return sp.datasets.load_table(pd.DataFrame(rows), name="tones")


def expected_rows(corpus):
    """The features by a plain loop, without any of the machinery."""
    extractor = Counting()
    found = [extractor(u.signal(RATE)) for u in corpus]
    return {n: np.stack([one[n].mean(0) for one in found]) for n in found[0]}


@pytest.mark.parametrize("kind", [Counting, Batching])
@pytest.mark.parametrize("batch_seconds", ["auto", 0.7, 100])
@pytest.mark.parametrize("stored", [False, True])
def test_rows_are_in_the_order_of_the_corpus_however_they_are_batched(
    corpus, tmp_path, kind, batch_seconds, stored
):
    features = sp.extract(
        corpus, kind(), batch_seconds=batch_seconds, store=tmp_path / "store" if stored else None
    )
    assert list(features.items.index) == list(corpus.table.index)
    assert list(features.layers) == ["raw", "energy"]
    for layer, rows in expected_rows(corpus).items():
        np.testing.assert_allclose(features[layer], rows, rtol=1e-5, atol=1e-7)
    pd.testing.assert_frame_equal(features.items, corpus.table)


def test_windows_of_the_engine_do_not_show_in_the_result(corpus, monkeypatch):
    monkeypatch.setattr("speechprobe.engines.batching.WINDOW", 4)
    monkeypatch.setattr("speechprobe.engines.batching.BATCHES", 1)
    features = sp.extract(corpus, Batching(), batch_seconds=1.0)
    np.testing.assert_allclose(features["raw"], expected_rows(corpus)["raw"], rtol=1e-5, atol=1e-7)


def test_an_extractor_of_four_lines_runs(corpus):
    features = sp.extract(corpus, Envelope())
    expected = [np.abs(u.signal(RATE)).mean() for u in corpus]
    np.testing.assert_allclose(features["envelope"][:, 0], expected, rtol=1e-4)


def test_any_network_with_a_front_end_runs(corpus):
    net = nn.Sequential()
    net.add_module("blocks", nn.Sequential(nn.Linear(40, 8), nn.ReLU()))
    any_net = sp.extractors.ModuleExtractor(
        net.eval(),
        layers=["blocks.*"],
        sample_rate=16_000,
        preprocess=sp.extractors.LogMel(n_mels=40),
    )
    features = sp.extract(corpus, any_net)
    assert {name: rows.shape for name, rows in features.layers.items()} == {
        "blocks.0": (6, 8),
        "blocks.1": (6, 8),
    }
    front = sp.extractors.LogMel(n_mels=40)(corpus["u2"].signal(RATE))["logmel"]
    with torch.inference_mode():
        expected = net(torch.from_numpy(front)).mean(0).numpy()
    np.testing.assert_allclose(features["blocks.1"][2], expected, rtol=1e-4, atol=1e-5)


def test_layers_may_be_chosen_and_pooled_otherwise(corpus):
    features = sp.extract(corpus, Counting(), layers="ra*", pool="mean_std")
    assert {name: rows.shape for name, rows in features.layers.items()} == {"raw": (6, 6)}


def test_signals_come_at_the_rate_of_the_extractor(corpus):
    extractor = Counting()
    extractor.sample_rate = 8000
    sp.extract(corpus, extractor)
    assert sorted(extractor.lengths) == sorted(round(8000 * s) for s in DURATIONS)


@pytest.mark.parametrize("known", [True, False])
def test_an_unknown_layer_raises_with_near_names(corpus, known):
    extractor = Counting()
    if known:
        extractor.layers = ("raw", "energy")
    with pytest.raises(ValueError, match="no layer matches 'rww'.*'raw'"):
        sp.extract(corpus, extractor, layers=["energy", "rww"])
    assert len(extractor.lengths) <= (0 if known else 1)


def test_an_unknown_layer_of_a_network_raises_before_any_file_is_read(corpus, monkeypatch):
    extractor = sp.extractors.ModuleExtractor(
        nn.Sequential(nn.Linear(40, 8)).eval(),
        layers="*",
        sample_rate=RATE,
        preprocess=sp.extractors.LogMel(n_mels=40),
    )
    monkeypatch.setattr("speechprobe.audio.read", lambda *_: pytest.fail("a file was read"))
    with pytest.raises(ValueError, match="no layer matches '1'"):
        sp.extract(corpus, extractor, layers="1")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"errors": "ignore"}, "'raise' or 'record', got 'ignore'"),
        ({"pool": "median"}, "unknown pooling 'median'"),
        ({"batch_seconds": -1}, "batch_seconds"),
        ({"workers": 0}, "workers"),
    ],
)
def test_a_wrong_setting_raises_before_anything_runs(corpus, settings, message):
    extractor = Counting()
    with pytest.raises(ValueError, match=message):
        sp.extract(corpus, extractor, **settings)
    assert not extractor.lengths


def test_what_is_no_extractor_is_refused(corpus):
    with pytest.raises(TypeError, match="callable"):
        sp.extract(corpus, object())


# Failures that the header shows, and failures that only show later.


def _missing(path):
    path.unlink()


def _unreadable(path):
    path.write_bytes(b"this is no sound")


def _empty(path):
    path.write_bytes(b"")


def _no_samples(path):
    soundfile.write(path, np.zeros(0), RATE)


def _nan(path):
    signal = np.full(4800, 0.1, np.float32)
    signal[7] = np.nan
    soundfile.write(path, signal, RATE, subtype="FLOAT")


def _too_long(path):
    soundfile.write(path, np.full(2 * RATE, 0.1), RATE)


def _too_short(path):
    soundfile.write(path, np.full(100, 0.1), RATE)


def _cursed(path):
    soundfile.write(path, np.full(1234, 0.1), RATE)


BEFORE = {
    "missing": (_missing, "no such sound file"),
    "unreadable": (_unreadable, "cannot be read as sound"),
    "empty": (_empty, "empty"),
    "no samples": (_no_samples, "no samples"),
    "NaN": (_nan, "NaN"),
    "too long": (_too_long, r"2\.0 s; counting takes 1 s"),
}
LATER = {
    "too short": (_too_short, "no frame|NaN"),
    "extractor raises": (_cursed, "cursed"),
}


def spoil(corpus, how, key="u2"):
    how(Path(corpus[key].path))


def limited(kind):
    extractor = kind(breaks=1234)
    extractor.max_seconds = 1.0
    return extractor


@pytest.mark.parametrize(("how", "message"), BEFORE.values(), ids=BEFORE)
def test_what_the_files_show_stops_before_the_extractor_is_called_once(corpus, how, message):
    spoil(corpus, how)
    extractor = limited(Counting)
    with pytest.raises(ValueError, match=f"1 of 6 utterances.*'u2'.*{message}.*record"):
        sp.extract(corpus, extractor)
    assert not extractor.lengths


@pytest.mark.parametrize(("how", "message"), LATER.values(), ids=LATER)
def test_what_only_the_extractor_shows_raises_and_names_the_utterance(corpus, how, message):
    spoil(corpus, how)
    with pytest.raises(ValueError, match=f"'u2'.*{message}"):
        sp.extract(corpus, limited(Counting))


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("kind", [Counting, Batching])
@pytest.mark.parametrize("batch_seconds", [0, 100])
@pytest.mark.parametrize(("how", "message"), (BEFORE | LATER).values(), ids=BEFORE | LATER)
def test_record_goes_on_without_the_culprit_and_names_it(
    corpus, tmp_path, how, message, batch_seconds, kind, stored
):
    others = [key for key in corpus.table.index if key != "u2"]
    expected = expected_rows(corpus.select(others))
    spoil(corpus, how)
    store = tmp_path / "store" if stored else None
    corpus = Corpus("tones", corpus.table.drop(columns="duration"))
    features = sp.extract(
        corpus, limited(kind), errors="record", batch_seconds=batch_seconds, store=store
    )
    assert list(features.items.index) == others
    np.testing.assert_allclose(features["raw"], expected["raw"], rtol=1e-5, atol=1e-7)
    ((path, error),) = features.failures
    assert path == corpus["u2"].path
    assert re.search(message, error)
    if stored:
        assert sp.load_features(store).failures == features.failures


def test_a_signal_too_short_for_the_network_is_recorded(corpus):
    spoil(corpus, _too_short)
    net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 400, stride=160)).eval()
    extractor = sp.extractors.ModuleExtractor(net, layers="1", sample_rate=RATE)
    features = sp.extract(corpus, extractor, errors="record", batch_seconds=100)
    assert [path for path, _ in features.failures] == [corpus["u2"].path]
    assert len(features) == 5


def test_several_failures_are_counted_and_the_first_is_named(corpus):
    for key in ("u4", "u1"):
        spoil(corpus, _missing, key)
    with pytest.raises(ValueError, match="2 of 6 utterances cannot be used, first 'u1'"):
        sp.extract(corpus, Counting())


def test_nothing_usable_is_an_error_even_when_recording(corpus):
    for key in corpus.table.index:
        spoil(corpus, _missing, key)
    with pytest.raises(ValueError, match="none of the 6 utterances.*no such sound file"):
        sp.extract(corpus, Counting(), errors="record")


def test_with_a_store_what_was_done_before_a_failure_is_kept(corpus, tmp_path):
    store, first, again = tmp_path / "store", Counting(breaks=3200), Counting(breaks=3200)
    for extractor in (first, again):
        with pytest.raises(ValueError, match="'u5'.*cursed"):
            sp.extract(corpus, extractor, store=store)
    assert first.lengths == [8000, 6400, 4800, 3200]  # the longest comes first
    assert again.lengths == [3200]
    rest = corpus.select([key for key in corpus.table.index if key != "u5"])
    last = Counting()
    features = sp.extract(rest, last, store=store)
    assert last.lengths == [1600, 1600]
    np.testing.assert_allclose(features["raw"], expected_rows(rest)["raw"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("batch_seconds", [0, 100])
def test_layers_that_change_between_utterances_are_an_error_that_names_one(corpus, batch_seconds):
    class Fickle(Counting):
        def __call__(self, signal):
            layers = super().__call__(signal)
            return layers if len(signal) != 4800 else {"raw": layers["raw"]}

    with pytest.raises(ValueError, match="layers.*'u"):
        sp.extract(corpus, Fickle(), batch_seconds=batch_seconds)


def test_provenance_says_what_made_the_features(corpus):
    made_by = sp.extract(corpus, Counting()).provenance
    assert made_by["extractor"]["name"] == "counting"
    assert (made_by["pool"], made_by["corpus"]) == ("mean", "tones")
    assert {"torch", "numpy", "speechprobe"} <= made_by["versions"].keys()
    assert made_by["seconds"] >= 0


def test_nothing_of_the_corpus_is_changed(corpus):
    before = corpus.table.copy(deep=True)
    sp.extract(corpus, Counting())
    pd.testing.assert_frame_equal(corpus.table, before)


# The result.


@pytest.fixture
def features():
    items = pd.DataFrame(
        {"speaker": ["a", "b", "a"], "age": pd.array([1, 2, 3], "Int64")}, index=["u1", "u2", "u3"]
    )
    return sp.Features({"blocks.0": np.eye(3), "blocks.1": np.ones((3, 2))}, items)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({}, "at least one layer"),
        ({"a": np.zeros((4, 2))}, r"'a'.*3 items.*got \(4, 2\)"),
        ({"a": np.zeros((3, 2)), "b": np.zeros(3)}, r"'b'.*got \(3,\)"),
        ({"a": np.zeros((3, 2, 2))}, r"got \(3, 2, 2\)"),
        ({"a": [[1.0], [2.0]]}, r"got \(2, 1\)"),
    ],
)
def test_layers_must_fit_the_items(features, layers, message):
    with pytest.raises(ValueError, match=message):
        sp.Features(layers, features.items)


def test_features_are_frozen(features):
    with pytest.raises(AttributeError):
        features.items = None
    with pytest.raises(TypeError):
        features.layers["new"] = np.zeros((3, 1))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([True, False, True], ["u1", "u3"]),
        ([2, 0], ["u3", "u1"]),
        (["u3", "u1"], ["u3", "u1"]),
        (np.array([1]), ["u2"]),
        (pd.Series([True, True, False], ["u3", "u2", "u1"]), ["u2", "u3"]),
        (pd.Series([None, True, True], ["u1", "u2", "u3"], "boolean"), ["u2", "u3"]),
        (pd.Series([False, True, True], dtype=object), ["u2", "u3"]),
    ],
    ids=["mask", "positions", "ids", "array", "Series", "nullable Series", "object Series"],
)
def test_select_takes_masks_ids_and_positions(features, wanted, expected):
    chosen = features.select(wanted)
    assert list(chosen.items.index) == expected
    rows = [["u1", "u2", "u3"].index(key) for key in expected]
    np.testing.assert_array_equal(chosen["blocks.0"], np.eye(3)[rows])
    assert len(features) == 3


def test_select_takes_a_condition_on_a_nullable_label(features):
    assert list(features.select(features.items["age"] > 1).items.index) == ["u2", "u3"]


@pytest.mark.parametrize("wanted", [[False] * 3, [], [True, False]])
def test_select_refuses_nothing_and_a_mask_of_another_length(features, wanted):
    with pytest.raises(ValueError, match=r"nothing is left|mask of shape \(3,\)"):
        features.select(wanted)


def test_labels_are_matched_by_id_whatever_their_order(features):
    table = pd.DataFrame(
        {"path": list("xyzw"), "speaker": list("ABCD"), "mood": list("wxyz")},
        index=["u3", "u1", "u9", "u2"],
    )
    labelled = features.with_labels(Corpus("mine", table))
    assert labelled.items["mood"].to_dict() == {"u1": "x", "u2": "z", "u3": "w"}
    assert list(labelled.items.index) == ["u1", "u2", "u3"]
    assert labelled.items["age"].tolist() == [1, 2, 3]
    assert "mood" not in features.items
    np.testing.assert_array_equal(features.with_labels(table)["blocks.0"], np.eye(3))


def test_labels_of_unknown_items_are_refused(features):
    with pytest.raises(ValueError, match="2 of 3 items are not in the corpus, first 'u1'"):
        features.with_labels(pd.DataFrame({"mood": ["x"]}, index=["u2"]))


def test_an_unknown_layer_lists_near_names(features):
    with pytest.raises((KeyError, ValueError), match=r"'block\.0'.*'blocks\.0'"):
        features["block.0"]
    with pytest.raises(KeyError, match="pattern"):
        features["blocks.*"]


def test_layers_may_be_lists_and_are_indexed_as_arrays():
    features = sp.Features({"a": [[1, 2], [3, 4]]}, pd.DataFrame(index=["x", "y"]))
    np.testing.assert_array_equal(features["a"], [[1, 2], [3, 4]])
    assert "2 items" in repr(features)


def test_a_failure_is_a_path_and_an_error():
    assert features_module.Failure("a.wav", "broken") == ("a.wav", "broken")


def test_an_extractor_that_fails_on_everything_is_not_run_to_the_end(tmp_path, write_sound):
    for k in range(60):
        write_sound(tmp_path / f"u{k:02d}.wav", 0.1)
    calls = []

    class Broken:
        name, sample_rate = "broken", RATE

        def __call__(self, signal):
            calls.append(1)
            raise RuntimeError("a bug")

    with pytest.raises(ValueError, match="the first 20 utterances all failed.*a bug"):
        sp.extract(sp.datasets.load_folder(tmp_path), Broken(), errors="record")
    assert len(calls) == 20


def test_a_layer_whose_width_changes_is_an_error_that_names_the_utterance(corpus):
    class Growing:
        name, sample_rate = "growing", RATE

        def __call__(self, signal):
            return {"layer": np.ones((2, len(signal)))}

    with pytest.raises(ValueError, match="other names or widths for utterance 'u"):
        sp.extract(corpus, Growing())


def test_what_is_no_corpus_and_no_extractor_is_told(corpus):
    with pytest.raises(TypeError, match="wants a Corpus, as datasets.load_folder gives, got list"):
        sp.extract(["a.wav"], Counting())
    with pytest.raises(TypeError, match=r"did you forget the brackets, LogMel\(\)"):
        sp.extract(corpus, sp.extractors.LogMel)


def test_features_are_not_iterable_and_know_their_layers():
    features = sp.Features({"conv1": np.eye(2)}, pd.DataFrame(index=["a", "b"]))
    assert "conv1" in features
    assert "conv2" not in features
    with pytest.raises(TypeError, match="not iterable"):
        list(features)


@pytest.mark.parametrize("pool", ["mean", "frames"])
def test_a_dry_run_tells_batches_padding_and_bytes_and_keeps_nothing(
    corpus, tmp_path, capsys, pool
):
    store = tmp_path / "features"
    settings = {"batch_seconds": 1.0, "pool": pool, "store": store}
    plan = sp.extract(corpus, Batching(), dry_run=True, **settings)
    assert not store.exists()
    assert capsys.readouterr().out == f"{plan}\n"
    batches = engines.pack(
        [engines.Source(u.id, str(u.path), u.duration) for u in corpus], batch_seconds=1.0
    )
    padded = sum(len(batch) * max(each.duration for each in batch) for batch in batches)
    assert (plan.n_left, plan.n_done, plan.n_batches) == (len(corpus), 0, len(batches))
    assert plan.padding == pytest.approx(1 - sum(DURATIONS) / padded, abs=1e-3)
    assert plan.seconds == pytest.approx(sum(DURATIONS) / plan.speed, rel=1e-3)
    sp.extract(corpus.select(corpus.column("speaker") == "00"), Batching(), **settings)
    rest = sp.extract(corpus, Batching(), dry_run=True, **settings)
    assert rest.n_left == (corpus.column("speaker") != "00").sum()
    assert rest.n_done + rest.n_left == len(corpus)
    whole = sp.extract(corpus, Batching(), **settings)
    held = sum(np.asarray(getattr(rows, "values", rows)).nbytes for rows in whole.layers.values())
    assert plan.n_bytes == pytest.approx(held, rel=1e-6)
    assert sp.extract(corpus, Batching(), dry_run=True, **settings).n_left == 0


def test_provenance_tells_what_the_run_cost(corpus):
    told = sp.extract(corpus, Counting()).provenance
    assert told["sound_seconds"] == pytest.approx(sum(DURATIONS), rel=1e-3)
    speed = told["sound_seconds"] / told["seconds"]
    assert told["sound_seconds_per_second"] == pytest.approx(speed, rel=0.2)
    assert 10e6 < told["peak_memory_bytes"] < 100e9
    assert "peak_device_bytes" not in told


def test_the_bar_counts_sound_and_tells_its_speed(monkeypatch):
    clock = iter([0.0, 30.0, 60.0])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    sources = [engines.Source("a", "a.wav", 1800.0), engines.Source("b", "b.wav", 5400.0)]
    progress = cost.Progress(sources, "crepe", shown=False)
    shown = []
    monkeypatch.setattr(progress._bar, "set_postfix_str", lambda text, **_: shown.append(text))
    progress.update(sources[:1])
    progress.update(sources[1:])
    assert shown == ["1/2 utterances, 1.00 h of sound/min", "2/2 utterances, 2.00 h of sound/min"]


def test_peak_memory_is_that_of_this_process_and_not_of_its_parent():
    held = np.ones(60 << 20, np.uint8)  # what this process holds more than a new one
    code = (
        "from speechprobe.features.cost import peak_memory as peak; before = peak(); "
        "held = bytearray(b'x' * (100 << 20)); print(before, peak())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, told.stdout.split())
    assert 90 << 20 < after - before < 250 << 20
    assert cost.peak_memory() > held.nbytes

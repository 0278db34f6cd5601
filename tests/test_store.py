"""The store: killed anywhere it goes on, mixed with nothing, and read by anyone."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import nn

import speechprobe as sp
from speechprobe.datasets import Corpus
from speechprobe.extractors import base
from speechprobe.features import keeping as features_module

RATE = 16_000


class Level:
    """One cheap layer; `gain` is a setting."""

    name, sample_rate = "level", RATE

    def __init__(self, gain=1.0):
        self.gain = gain

    def __call__(self, signal):
        frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
        return {"level": self.gain * frames[:, :5], "power": (frames**2).mean(1, keepdims=True)}


def corpus_of(folder, write_sound, n):
    rows = [
        {
            "id": f"u{k}",
            "path": str(write_sound(folder / f"u{k}.flac", 0.1 + 0.02 * (k % 5), frequency=99 + k)),
            "speaker": f"{k % 3:02d}",
        }
        for k in range(n)
    ]
    return sp.datasets.load_table(pd.DataFrame(rows), name="tones")


@pytest.fixture
def corpus(tmp_path, write_sound):
    return corpus_of(tmp_path / "sounds", write_sound, 10)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def shard_by_shard(monkeypatch):
    """One shard each few rows, so that small corpora have several."""
    monkeypatch.setattr(features_module, "FLUSH_ROWS", 3)


def extract_some(corpus, store, n):
    """Leave a store as an interrupted run leaves it: `n` utterances done, no record of an end."""
    calls, check = iter(range(n)), base.check_frames

    def interrupted(frames, name):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return check(frames, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "check_frames", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sp.extract(corpus, Level(), store=store)


def shard_ids(store):
    ids = []
    for path in sorted(store.glob("part-*.safetensors")):
        with safe_open(path, framework="np") as shard:
            ids += json.loads(shard.metadata()["ids"])
    return ids


def assert_same(features, other):
    assert list(features.layers) == list(other.layers)
    for layer in features.layers:
        np.testing.assert_array_equal(features[layer], other[layer])
    pd.testing.assert_frame_equal(features.items, other.items)


KILLED = """
    import sys, time
    import pandas as pd
    import speechprobe as sp
    from speechprobe.features import keeping

    keeping.FLUSH_ROWS = 2

    class Slow:
        name, sample_rate = "slow", 16_000

        def __call__(self, signal):
            time.sleep(0.03)
            frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
            return {"a": frames[:, :4], "b": frames[:, 4:5]}

    if __name__ == "__main__":
        corpus = sp.datasets.load_table(sys.argv[1])
        sp.extract(corpus, Slow(), store=sys.argv[2], progress=False)
"""


def test_a_killed_run_goes_on_and_ends_byte_for_byte_like_one_that_was_not(
    tmp_path, write_sound, store
):
    corpus = corpus_of(tmp_path / "sounds", write_sound, 60)
    corpus.to_csv(tmp_path / "corpus.csv")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(KILLED))
    command = [sys.executable, str(script), str(tmp_path / "corpus.csv")]
    sizes = []
    for wanted in (3, 9):
        process = subprocess.Popen([*command, str(store)])
        limit = time.monotonic() + 60
        while len(list(store.glob("part-*.safetensors"))) < wanted and time.monotonic() < limit:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        sizes.append(len(shard_ids(store)))
    assert 6 <= sizes[0] < sizes[1] < 60
    with pytest.raises(ValueError, match="not finished"):
        sp.load_features(store)
    subprocess.run([*command, str(store)], check=True)
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    assert sorted(shard_ids(store)) == sorted(corpus.table.index)
    assert not list(store.glob("*.partial"))
    assert_same(sp.load_features(store), sp.load_features(tmp_path / "whole"))


def test_an_interrupted_run_loses_nothing_that_was_done(corpus, store, shard_by_shard):
    extract_some(corpus, store, 7)
    assert len(shard_ids(store)) == 7
    with pytest.raises(ValueError, match="has not finished.*extract"):
        sp.load_features(store)
    resumed = sp.extract(corpus, Level(), store=store)
    assert sorted(shard_ids(store)) == sorted(corpus.table.index)
    assert_same(resumed, sp.extract(corpus, Level()))


def test_load_features_equals_what_extract_returned(corpus, store, shard_by_shard):
    extracted = sp.extract(corpus, Level(), store=store, pool="mean_std")
    loaded = sp.load_features(str(store))
    assert_same(loaded, extracted)
    assert_same(loaded, sp.extract(corpus, Level(), pool="mean_std"))
    assert loaded.provenance == extracted.provenance
    assert loaded.failures == ()


def test_a_finished_store_is_not_extracted_again(corpus, store):
    first = sp.extract(corpus, Level(), store=store)
    shards = {path: path.stat().st_mtime_ns for path in store.glob("part-*")}
    assert_same(sp.extract(corpus, Level(), store=store), first)
    assert {path: path.stat().st_mtime_ns for path in store.glob("part-*")} == shards


def test_more_utterances_continue_a_store_and_fewer_are_found_in_it(corpus, store, shard_by_shard):
    small = corpus.select([f"u{k}" for k in (7, 2, 5)])
    sp.extract(small, Level(), store=store)
    whole = sp.extract(corpus, Level(), store=store)
    assert sorted(shard_ids(store)) == sorted(corpus.table.index)
    assert_same(whole, sp.extract(corpus, Level()))
    shards = sorted(store.glob("part-*"))
    fewer = sp.extract(small, Level(), store=store)
    assert list(fewer.items.index) == ["u7", "u2", "u5"]
    assert_same(fewer, sp.extract(small, Level()))
    assert sorted(store.glob("part-*")) == shards


def test_new_labels_are_taken_on_without_extracting_again(corpus, store):
    sp.extract(corpus, Level(), store=store)
    labelled = sp.extract(corpus.label("mood", list("abcdefghij")), Level(), store=store)
    assert labelled.items["mood"].tolist() == list("abcdefghij")
    assert sp.load_features(store).items["mood"].tolist() == list("abcdefghij")


# Another maker is refused.


class LevelWithOtherCode(Level):
    def __call__(self, signal):
        return super().__call__(signal * 2)


class Renamed(Level):
    name = "renamed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extractor": Level(gain=2.0)}, "extractor.*gain"),
        ({"extractor": LevelWithOtherCode()}, "extractor"),
        ({"extractor": Renamed()}, "extractor.*renamed"),
        ({"pool": "mean_std"}, "pool is 'mean' there and 'mean_std' now"),
        ({"layers": "level"}, "layers"),
    ],
    ids=["setting", "code", "name", "pool", "layers"],
)
def test_another_maker_is_refused_and_the_message_says_what_differs(corpus, store, change, message):
    sp.extract(corpus, Level(), store=store)
    with pytest.raises(ValueError, match=f"made otherwise.*{message}.*another store folder"):
        sp.extract(corpus, **({"extractor": Level()} | change), store=store)
    sp.load_features(store)


def network(activation=nn.ReLU, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(20, 6), activation(), nn.Linear(6, 3)).eval()


def log_mel(waveforms, smallest):
    return sp.extractors.LogMel(n_mels=20, smallest=smallest)(waveforms)


def closure(smallest):
    return lambda waveforms: log_mel(waveforms, smallest)


def module_extractor(net=None, smallest=1e-10, front=functools.partial, layers="*", **settings):
    if front is functools.partial:
        preprocess = functools.partial(log_mel, smallest=smallest)
    else:
        preprocess = front(smallest)
    return sp.extractors.ModuleExtractor(
        net or network(), layers=layers, sample_rate=RATE, preprocess=preprocess, **settings
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"net": network(seed=1)}),
        ({}, {"net": network(nn.Tanh)}),
        ({}, {"layers": ["0", "2"]}),
        ({}, {"dtype": torch.bfloat16}),
        ({"smallest": 1e-10}, {"smallest": 1e-3}),
        ({"front": closure, "smallest": 1e-10}, {"front": closure, "smallest": 1e-3}),
        (
            {"front": lambda smallest: sp.extractors.LogMel(n_mels=20, smallest=smallest)},
            {
                "front": lambda smallest: sp.extractors.LogMel(n_mels=20, smallest=smallest),
                "smallest": 1e-3,
            },
        ),
    ],
    ids=["weights", "activation", "layers", "dtype", "partial", "closure", "front end"],
)
def test_another_network_front_end_or_choice_of_layers_is_refused(corpus, store, before, after):
    sp.extract(corpus, module_extractor(**before), store=store)
    sp.extract(corpus, module_extractor(**before), store=store)  # the same again is taken
    with pytest.raises(ValueError, match="made otherwise"):
        sp.extract(corpus, module_extractor(**after), store=store)


@pytest.mark.parametrize("attribute", ["network", "array", "nested"])
def test_changed_weights_inside_an_extractor_of_ones_own_are_refused(corpus, store, attribute):
    class Own(Level):
        def __init__(self, seed):
            super().__init__()
            weight = np.random.default_rng(seed).normal(size=3)
            self.held = {
                "network": network(seed=seed),
                "array": weight,
                "nested": {"weight": [weight]},
            }[attribute]

    sp.extract(corpus, Own(0), store=store)
    sp.extract(corpus, Own(0), store=store)
    with pytest.raises(ValueError, match="made otherwise"):
        sp.extract(corpus, Own(1), store=store)


def test_another_pooling_function_of_ones_own_is_refused(corpus, store):
    sp.extract(corpus, Level(), pool=lambda frames, _: frames[:, 0], store=store)
    with pytest.raises(ValueError, match="made otherwise"):
        sp.extract(corpus, Level(), pool=lambda frames, _: frames[:, -1], store=store)


def test_a_sound_file_that_changed_is_refused(corpus, store, write_sound):
    sp.extract(corpus, Level(), store=store)
    write_sound(corpus["u3"].path, 0.33)
    table = corpus.table.drop(columns=["duration", "sample_rate"])
    changed = sp.datasets.load_table(table)
    with pytest.raises(ValueError, match=r"'u3' lasted 0\.160 s when it was extracted.*0\.330 s"):
        sp.extract(changed, Level(), store=store)


def test_a_foreign_folder_is_refused_and_left_as_it_is(corpus, store):
    store.mkdir()
    (store / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"not empty and holds no features\.json"):
        sp.extract(corpus, Level(), store=store)
    assert [path.name for path in store.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_taken_and_missing_parents_are_made(corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert len(sp.extract(corpus, Level(), store=folder)) == 10


def test_leftover_partial_files_are_removed(corpus, store):
    extract_some(corpus, store, 4)
    leftover = store / "part-00001.safetensors.partial"
    leftover.write_bytes(b"half a shard")
    features = sp.extract(corpus, Level(), store=store)
    assert not leftover.exists()
    assert_same(features, sp.extract(corpus, Level()))


def test_a_run_killed_while_it_wrote_its_first_file_goes_on(corpus, store):
    store.mkdir()
    (store / "features.json.partial").write_text("{")
    assert len(sp.extract(corpus, Level(), store=store)) == 10
    assert not list(store.glob("*.partial"))


@pytest.mark.parametrize("make", [lambda _: None, lambda store: store.mkdir()])
def test_what_is_no_store_is_not_loaded(store, make):
    make(store)
    with pytest.raises(FileNotFoundError, match=r"no features here.*features\.json"):
        sp.load_features(store)


def test_a_lost_shard_is_noticed(corpus, store, shard_by_shard):
    sp.extract(corpus, Level(), store=store)
    (store / "part-00001.safetensors").unlink()
    with pytest.raises(ValueError, match="3 of 10 items are in no shard.*extract"):
        sp.load_features(store)


def test_a_lost_shard_is_extracted_again(corpus, store, shard_by_shard):
    whole = sp.extract(corpus, Level(), store=store)
    expected = {layer: whole[layer] for layer in whole.layers}
    (store / "part-00001.safetensors").unlink()
    again = sp.extract(corpus, Level(), store=store)
    for layer, rows in expected.items():
        np.testing.assert_array_equal(again[layer], rows)
    assert sorted(shard_ids(store)) == sorted(corpus.table.index)


# Labels.

LABELS = {
    "text": ["NA", None, "null", 'say "a, b"', "line\nbreak", "03", "été", "None", "nan", " x "],
    "age": list(range(10)),
    "height": [0.1, 1 / 3, np.nan, 1e-300, 2.0, -0.0, 1e22, 5e-324, 0.1 + 0.2, np.pi],
    "native": [True, False] * 5,
    "born": pd.array([1990, None, 3, 4, 5, 6, 7, 8, 9, 10], "Int64"),
    "maybe": pd.array([True, None, False] + [True] * 7, "boolean"),
    "number": [f"{k:03d}" for k in range(10)],
    "small": np.arange(10, dtype=np.int8),
    "single": np.linspace(0, 1, 10, dtype=np.float32),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_keep_their_type_and_value(corpus, store, name):
    labelled = Corpus("tones", corpus.table.assign(**{name: LABELS[name]}))
    sp.extract(labelled, Level(), store=store)
    items = sp.load_features(store).items
    pd.testing.assert_frame_equal(items, labelled.table)
    assert items["speaker"].tolist()[:3] == ["00", "01", "02"]


def test_floats_keep_every_bit(corpus, store):
    values = np.random.default_rng(0).normal(size=(10, 200)) * 10.0 ** np.arange(-100, 100)
    table = corpus.table.join(
        pd.DataFrame(values, index=corpus.table.index, columns=[f"x{k}" for k in range(200)])
    )
    sp.extract(Corpus("tones", table), Level(), store=store)
    found = sp.load_features(store).items[[f"x{k}" for k in range(200)]].to_numpy()
    np.testing.assert_array_equal(found, values)


def test_an_empty_text_is_not_a_missing_one(corpus, store):
    texts = ["", None, *"abcdefgh"]
    sp.extract(corpus.label("text", texts), Level(), store=store)
    found = sp.load_features(store).items["text"]
    assert found.iloc[0] == ""
    assert pd.isna(found.iloc[1])


def test_ids_stay_text(tmp_path, write_sound, store):
    ids = ["007", "NA", "1e5", "a/b,c", "ü"]
    paths = [str(write_sound(tmp_path / f"{k}.wav")) for k in range(5)]
    table = pd.DataFrame({"path": paths, "speaker": ["7"] * 5}, index=ids)
    sp.extract(Corpus("odd", table), Level(), store=store)
    assert list(sp.load_features(store).items.index) == ids


# Reading.


def test_the_store_reads_with_safetensors_alone(corpus, store, shard_by_shard):
    features = sp.extract(corpus, Level(), store=store)
    record = json.loads((store / "features.json").read_text())
    assert record["provenance"]["extractor"]["name"] == "level"
    rows = {}
    for path in sorted(store.glob("part-*.safetensors")):
        with safe_open(path, framework="np") as shard:
            ids = json.loads(shard.metadata()["ids"])
        rows |= dict(zip(ids, load_file(path)["level"], strict=True))
    table = pd.read_csv(store / "items.csv", dtype=str)
    np.testing.assert_array_equal(np.stack([rows[key] for key in table["id"]]), features["level"])


def test_a_stored_layer_is_indexed_like_the_array(corpus, store, shard_by_shard):
    layer = sp.extract(corpus, Level(), store=store).layers["level"]
    array = np.asarray(layer)
    assert layer.shape == array.shape == (10, 5)
    assert (len(layer), layer.ndim, layer.dtype) == (10, 2, array.dtype)
    mask = np.arange(10) % 3 == 0
    for key in (3, -1, slice(2, 9, 3), [5, 1, 1], mask, np.array([], int), (slice(None), 2),
                ([4, 2], slice(1, 3)), (3, 1), slice(None)):  # fmt: skip
        np.testing.assert_array_equal(layer[key], array[key])
    assert np.asarray(layer, dtype=np.float64).dtype == np.float64


def test_a_selection_of_stored_features_stays_on_the_disk_and_is_right(
    corpus, store, shard_by_shard
):
    features = sp.extract(corpus, Level(), store=store)
    chosen = features.select([9, 0, 4]).select([True, False, True])
    assert not isinstance(chosen.layers["level"], np.ndarray)
    np.testing.assert_array_equal(chosen["level"], features["level"][[9, 4]])


def test_rows_are_flushed_by_time_too(corpus, store, monkeypatch):
    monkeypatch.setattr(features_module, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(features_module, "FLUSH_SHARE", 0.0)
    sp.extract(corpus, Level(), store=store)
    assert len(list(store.glob("part-*"))) == 10


def test_a_long_run_writes_after_a_share_of_its_time(corpus, store, monkeypatch):
    monkeypatch.setattr(features_module, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(features_module, "FLUSH_SHARE", 2.0)  # never so long since the last shard
    sp.extract(corpus, Level(), store=store)
    assert len(list(store.glob("part-*"))) == 1


def test_paths_may_be_text_or_path(corpus, store):
    sp.extract(corpus, Level(), store=str(store))
    assert_same(sp.load_features(str(store)), sp.load_features(Path(store)))


def defined_in_a_notebook(factor):
    """Return an extractor whose class has no source file."""
    names = {"np": np, "__name__": "__main__"}
    code = f"""
class Noted:
    name, sample_rate = "noted", 16_000
    def __call__(self, signal):
        return {{"level": {factor} * np.abs(signal[:160, None])}}
"""
    exec(code, names)
    return names["Noted"]()


def test_code_without_a_source_file_is_told_apart(corpus, store):
    sp.extract(corpus, defined_in_a_notebook(1), store=store)
    sp.extract(corpus, defined_in_a_notebook(1), store=store)
    with pytest.raises(ValueError, match="made otherwise"):
        sp.extract(corpus, defined_in_a_notebook(2), store=store)


def test_a_network_with_the_same_weights_and_another_forward_is_told_apart(corpus, store):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Conv1d(1, 2, 160, 160)
            nn.init.ones_(self.out.weight)
            nn.init.zeros_(self.out.bias)

        def forward(self, x):
            return self.out(x[:, None])

    first = Net()
    Net.__qualname__ = "Net"

    class Other(Net):
        def forward(self, x):
            return self.out(2 * x[:, None])

    Other.__qualname__, Other.__name__ = Net.__qualname__, Net.__name__
    settings = {"layers": "out", "sample_rate": RATE, "name": "net"}
    sp.extract(corpus, sp.extractors.ModuleExtractor(first.eval(), **settings), store=store)
    with pytest.raises(ValueError, match="made otherwise"):
        sp.extract(corpus, sp.extractors.ModuleExtractor(Other().eval(), **settings), store=store)

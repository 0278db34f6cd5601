"""Extraction and probing spread by an engine, and by ranks: the same as by one process."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from torch import nn

import speechprobe as sp
from speechprobe.engines import Source, batching
from speechprobe.features import spreading
from speechprobe.features.units import Part

RATE = 16_000


class Here:
    """An engine in this process, which notes what it was given."""

    def __init__(self, num_workers=2, stop_after=None, twice=False):
        self.num_workers, self.stop_after, self.twice = num_workers, stop_after, twice
        self.items = []

    def map(self, work, items):
        for item in items:
            if len(self.items) == self.stop_after:
                raise RuntimeError("the cluster is gone")
            self.items.append(item)
            if self.twice:
                work(item)  # its worker was lost before anybody heard of it
            yield work(item)


@pytest.fixture
def corpus(tmp_path, write_sound):
    for k, seconds in enumerate([0.3, 0.1, 0.5, 0.1, 0.4, 0.2, 0.35, 0.15, 0.45, 0.25]):
        write_sound(tmp_path / "sounds" / f"u{k}.wav", seconds, frequency=200 + 30 * k)
    return sp.datasets.load_folder(tmp_path / "sounds")


@pytest.fixture
def network():
    net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160), nn.ReLU()).eval()
    return sp.extractors.ModuleExtractor(
        net, layers="*", sample_rate=RATE, preprocess=lambda waveforms: waveforms[:, None]
    )


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(spreading, "FIRST_SOUND", 0.5)
    monkeypatch.setattr(spreading, "CHUNK_SECONDS", 1e-6)


def with_words(corpus):
    return corpus.label("words", lambda _: [(0.0, 0.05, "a"), (0.02, 0.1, "b")])


def bytes_of(features):
    return {
        layer: [np.asarray(rows).tobytes() for rows in features[layer]] for layer in features.layers
    }


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("pool", ["mean", "mean_std", "frames"])
@pytest.mark.parametrize("stored", [False, True])
def test_an_engine_gives_the_very_bytes_of_one_process(corpus, network, tmp_path, pool, stored):
    alone = sp.extract(corpus, network, pool=pool, batch_seconds=1.0)
    engine = Here()
    store = tmp_path / "store" if stored else None
    spread = sp.extract(corpus, network, pool=pool, batch_seconds=1.0, engine=engine, store=store)
    assert bytes_of(spread) == bytes_of(alone)
    assert spread.items.equals(alone.items)
    assert len(engine.items) > 1
    if stored:
        assert bytes_of(sp.load_features(store)) == bytes_of(alone)
        assert len(list(store.glob("part-*"))) == len(engine.items)


@pytest.mark.usefixtures("small_chunks")
def test_spans_are_spread_as_one_process_pools_them(corpus, network, tmp_path):
    spans = with_words(corpus).spans("words")
    alone = sp.extract(spans, network, batch_seconds=1.0)
    spread = sp.extract(spans, network, batch_seconds=1.0, engine=Here(), store=tmp_path / "store")
    assert bytes_of(spread) == bytes_of(alone)
    assert spread.items.equals(alone.items)


@pytest.mark.usefixtures("small_chunks")
def test_a_chunk_that_is_run_twice_is_stored_once(corpus, network, tmp_path):
    store = tmp_path / "store"
    engine = Here(twice=True)
    spread = sp.extract(corpus, network, batch_seconds=1.0, engine=engine, store=store)
    assert bytes_of(spread) == bytes_of(sp.extract(corpus, network, batch_seconds=1.0))
    assert len(list(store.glob("part-*"))) == len(engine.items)


@pytest.mark.usefixtures("small_chunks")
def test_after_a_lost_cluster_the_next_call_runs_only_the_rest(corpus, network, tmp_path):
    store = tmp_path / "store"
    with pytest.raises(RuntimeError, match="the cluster is gone"):
        sp.extract(corpus, network, batch_seconds=0, engine=Here(stop_after=2), store=store)
    again = Here()
    spread = sp.extract(corpus, network, batch_seconds=0, engine=again, store=store)
    assert bytes_of(spread) == bytes_of(sp.extract(corpus, network, batch_seconds=0))
    n_again = sum(len(chunk.sources) for chunk in again.items)
    assert 0 < n_again < len(corpus)
    # One process goes on as well as a cluster.
    assert (
        sp.extract(corpus, network, batch_seconds=0, store=store).provenance["sound_seconds"] == 0
    )


class Failing:
    """Gives the level of a signal; refuses those of one length."""

    name, sample_rate = "failing", RATE

    def __init__(self, n_samples=None):
        self.n_samples = n_samples

    def __call__(self, signal):
        if self.n_samples in (len(signal), "all"):
            raise RuntimeError("this signal is cursed")
        return {"level": np.abs(signal[:1600]).reshape(-1, 160)}


@pytest.mark.usefixtures("small_chunks")
def test_failures_in_workers_are_listed_and_nothing_else_is_lost(corpus, tmp_path):
    arguments = {"batch_seconds": 0, "errors": "record"}
    alone = sp.extract(corpus, Failing(4800), **arguments)
    spread = sp.extract(corpus, Failing(4800), **arguments, engine=Here(), store=tmp_path / "store")
    assert bytes_of(spread) == bytes_of(alone)
    assert spread.failures == alone.failures
    assert [failure.error for failure in spread.failures] == ["this signal is cursed"]


@pytest.mark.usefixtures("small_chunks")
def test_a_failure_in_a_worker_ends_a_strict_run_and_keeps_what_is_done(corpus, tmp_path):
    store = tmp_path / "store"
    with pytest.raises(ValueError, match=r"'u0.wav'|u0.*this signal is cursed"):
        sp.extract(corpus, Failing(4800), batch_seconds=0, engine=Here(), store=store)
    rest = Here()
    sp.extract(corpus, Failing(4800), batch_seconds=0, engine=rest, store=store, errors="record")
    assert sum(len(chunk.sources) for chunk in rest.items) < len(corpus)


def test_an_extractor_that_always_fails_is_given_up(tmp_path, write_sound):
    for k in range(2 * spreading_hopeless()):
        write_sound(tmp_path / f"{k}.wav", 0.1)
    many = sp.datasets.load_folder(tmp_path)
    engine = Here()
    with pytest.raises(ValueError, match="all failed, so nothing more was tried"):
        sp.extract(many, Failing("all"), batch_seconds=0, engine=engine, errors="record")


def spreading_hopeless():
    from speechprobe.features.running import HOPELESS

    return HOPELESS


class Fickle:
    """Gives another width for long signals."""

    name, sample_rate = "fickle", RATE

    def __call__(self, signal):
        return {"level": np.ones((4, 2 if len(signal) < 4000 else 3))}


@pytest.mark.usefixtures("small_chunks")
def test_workers_that_give_other_widths_are_told_apart(corpus):
    with pytest.raises(ValueError, match="gave layers of other names or widths"):
        sp.extract(corpus, Fickle(), batch_seconds=0, engine=Here())


@pytest.mark.usefixtures("small_chunks")
def test_a_shard_of_other_widths_does_not_stay_in_the_store(corpus, tmp_path):
    class Apart(Here):  # each chunk by a worker that knows no other
        def map(self, work, items):
            return (copy.deepcopy(work)(item) for item in items)

    with pytest.raises(ValueError, match="gave layers of other names or widths"):
        sp.extract(corpus, Fickle(), batch_seconds=0, engine=Apart(), store=tmp_path / "store")
    shards = list((tmp_path / "store").glob("part-*"))
    widths = {load_file(shard)["level"].shape[1] for shard in shards}
    assert len(shards) >= 1
    assert len(widths) == 1


def test_provenance_tells_engine_and_what_the_workers_did(corpus, network):
    told = sp.extract(corpus, network, batch_seconds=1.0, engine=Here()).provenance
    assert "Here" in told["engine"]
    assert told["batch_seconds"] == 1.0
    assert told["worker_peak_memory_bytes"] > 0
    alone = sp.extract(corpus, network, batch_seconds=1.0).provenance
    assert told["padding_error"] == alone["padding_error"]
    assert told["padding_error"]["0"] >= 0  # it was measured in the worker
    assert told["sound_seconds"] == pytest.approx(2.8, abs=0.01)


def test_each_worker_finds_its_size_of_batch(corpus, network):
    told = sp.extract(corpus, network, engine=Here()).provenance
    assert told["batch_seconds"] == 0.0  # so little sound runs one by one


@given(
    durations=st.lists(st.floats(0.1, 30.0), min_size=1, max_size=60),
    size=st.sampled_from([0.0, 5.0, 60.0]),
    room=st.floats(0.1, 300.0),
)
@settings(deadline=None)
def test_chunks_hold_the_batches_of_one_process_each_once(durations, size, room):
    sources = [Source(f"u{k}", "", seconds) for k, seconds in enumerate(durations)]
    spread = spreading.Spread(Here(), None, size)
    spread._sound, spread._seconds = room, spreading.CHUNK_SECONDS  # so much in a minute
    chunks = list(spread.chunks(sources, Units(), lambda: "name"))
    found = [list(batch) for chunk in chunks for batch in chunk.batches]
    assert found == list(batching.Batches(sources, size, None))
    for chunk in chunks[:-1]:
        assert sum(source.duration for source in chunk.sources) >= room - 1e-6
    for chunk in chunks:
        *before, _ = chunk.batches
        assert sum(source.duration for batch in before for source in batch) < max(room, 1.0)


class Units:
    def part(self, _sources):
        return Part(None)


@pytest.mark.parametrize(
    ("engine", "error", "message"),
    [
        ("ray", TypeError, r"engine must be None or engines\.Ray\(\.\.\.\)"),
        (sp.engines.Ray, TypeError, r"engine must be None or engines\.Ray\(\.\.\.\)"),
    ],
)
def test_what_is_no_engine_is_refused(corpus, network, engine, error, message):
    with pytest.raises(error, match=message):
        sp.extract(corpus, network, engine=engine)


def test_a_dry_run_wants_no_engine(corpus, network):
    with pytest.raises(ValueError, match="dry_run measures in this process"):
        sp.extract(corpus, network, engine=Here(), dry_run=True)


def test_ranks_take_each_utterance_once_and_the_last_makes_the_store_whole(
    corpus, network, tmp_path
):
    store = tmp_path / "store"
    parts = []
    for rank in (2, 0, 1):
        parts.append(sp.extract(corpus, network, batch_seconds=0, store=store, shard=(rank, 3)))
        if rank != 1:
            with pytest.raises(ValueError, match="has not finished"):
                sp.load_features(store)
    ids = [key for part in parts for key in part.items.index]
    assert sorted(ids) == sorted(corpus.table.index)
    alone = sp.extract(corpus, network, batch_seconds=0)
    assert bytes_of(sp.load_features(store)) == bytes_of(alone)
    rows = alone.items.index.get_indexer(parts[0].items.index)
    assert np.array_equal(np.asarray(parts[0]["0"]), alone["0"][rows])


def test_spans_of_an_utterance_stay_with_one_rank(corpus, network):
    spans = with_words(corpus).spans("words")
    for rank in range(3):
        part = sp.extract(spans, network, batch_seconds=0, shard=(rank, 3))
        counts = part.items["utterance"].value_counts()
        assert (counts == 2).all()


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ((3, 3), r"shard must be \(rank, world_size\) with 0 <= rank < world_size, got \(3, 3\)"),
        ((0, 0), "shard must be"),
        ((11, 12), r"shard \(11, 12\) is empty: .* has 10 utterances"),
    ],
)
def test_a_rank_that_cannot_be_is_refused(corpus, network, shard, message):
    with pytest.raises(ValueError, match=message):
        sp.extract(corpus, network, shard=shard)


@pytest.mark.parametrize(
    ("speed", "bytes_per_second", "total", "sound"),
    [
        (10.0, 0.0, 1e6, 600.0),  # a minute's work
        (1000.0, 3e3, 1e6, 60_000.0),
        (10.0, 0.0, 3.6e8, 18_000.0),  # 100,000 hours in 20,000 shards
        (1000.0, 2**18, 1e6, 1024.0),  # 256 MiB, as of frames
    ],
)
def test_chunks_fit_the_speed_the_number_of_shards_and_the_memory(
    speed, bytes_per_second, total, sound
):
    assert spreading.chunk_sound(speed, bytes_per_second, total) == sound

"""Packing, reading ahead and naming the culprit of a batch."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechprobe import pooling
from speechprobe.engines import (
    Serial,
    Source,
    batching,
    pack,
    reading,
    resolve_batch_seconds,
    resolve_workers,
    stopwatch,
)
from speechprobe.extractors.base import pool_frames, pool_signals

DURATIONS = [0.3, 0.1, 0.5, 0.1, 0.4, 0.2]


class Stub:
    """Takes batches, notes their sizes, and fails on whatever `breaks` says."""

    name, sample_rate = "stub", 16_000

    def __init__(self, breaks=lambda _signal: False):
        self.breaks, self.sizes = breaks, []

    def __call__(self, signal):
        if self.breaks(signal):
            raise ValueError(f"cannot take {len(signal)} samples")
        return {"layer": np.stack([signal, signal**2], axis=1)}

    def extract_batch(self, signals, pool):
        self.sizes.append(len(signals))
        rows = [pool_frames(self(signal)["layer"], pool) for signal in signals]
        return {"layer": np.stack(rows)}


class Single:
    """The same without batches."""

    name, sample_rate, __call__ = Stub.name, Stub.sample_rate, Stub.__call__

    def __init__(self, breaks):
        self.breaks = breaks


@pytest.fixture
def sources(tmp_path, write_sound):
    return [
        Source(
            f"u{k}", str(write_sound(tmp_path / f"u{k}.wav", seconds, frequency=200 + k)), seconds
        )
        for k, seconds in enumerate(DURATIONS)
    ]


def serial(extractor, batch_seconds=0.0, workers=2):
    return Serial(extractor, pooling.mean, batch_seconds=batch_seconds, workers=workers)


def run(sources, extractor, batch_seconds=0.0, workers=2):
    return list(serial(extractor, batch_seconds, workers).run(sources))


def rows_by_id(done):
    some = [part for part in done if part.sources]
    return {s.id: row for d in some for s, row in zip(d.sources, d.layers["layer"], strict=True)}


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=60),
    st.floats(0, 300),
)
def test_packing_keeps_every_utterance_once_and_no_batch_is_too_long(durations, limit):
    given = [Source(str(k), "", seconds) for k, seconds in enumerate(durations)]
    batches = pack(given, limit)
    assert sorted(s.id for batch in batches for s in batch) == sorted(s.id for s in given)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(s.duration for s in batch) <= limit


def test_neighbours_in_length_share_a_batch():
    given = [Source(str(k), "", seconds) for k, seconds in enumerate([9, 1, 8, 2])]
    assert [{s.duration for s in batch} for batch in pack(given, 18)] == [{8, 9}, {1, 2}]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_seconds", [0.0, 0.7, 1000.0])
def test_rows_are_the_same_however_they_are_batched(sources, batch_seconds, workers):
    expected = rows_by_id(run(sources, Stub()))
    found = rows_by_id(run(sources, Stub(), batch_seconds, workers))
    assert found.keys() == expected.keys() == {s.id for s in sources}
    for key, row in found.items():
        np.testing.assert_array_equal(row, expected[key])


def test_batches_are_really_batches(sources):
    extractor = Stub()
    run(sources, extractor, 1000.0)
    assert extractor.sizes == [len(sources)]


@pytest.mark.parametrize("kind", [Stub, Single])
def test_the_culprit_of_a_batch_is_named_and_the_others_are_kept(sources, kind):
    culprit = sources[2]
    n_samples = round(culprit.duration * 16_000)
    extractor = kind(lambda signal: len(signal) == n_samples)
    done = run(sources, extractor, 1000.0)
    failures = [failure for part in done for failure in part.failures]
    assert [(s.id, str(e)) for s, e in failures] == [("u2", "cannot take 8000 samples")]
    expected = rows_by_id(run([s for s in sources if s.id != "u2"], Stub()))
    found = rows_by_id([part for part in done if part.sources])
    assert set(found) == {"u0", "u1", "u3", "u4", "u5"}
    for key, row in found.items():
        np.testing.assert_allclose(row, expected[key], rtol=1e-6)


def test_a_file_that_cannot_be_read_fails_alone(sources, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    bad = Source("bad", str(tmp_path / "bad.wav"), 0.2)
    (done,) = run([*sources, bad], Stub(), 1000.0)
    assert [s.id for s, _ in done.failures] == ["bad"]
    assert len(done.sources) == len(sources)


def test_a_vector_that_is_not_finite_is_a_failure_of_its_utterance(sources):
    class Overflow(Stub):
        def extract_batch(self, signals, pool):
            rows = super().extract_batch(signals, pool)["layer"]
            rows[[len(signal) == 8000 for signal in signals]] = np.inf
            return {"layer": rows}

    extractor = Overflow()
    done = run(sources, extractor, 1000.0)
    ((source, error),) = [failure for part in done for failure in part.failures]
    assert source.id == "u2"
    assert str(error) == "layer 'layer' of 'stub' is NaN or infinite"
    assert extractor.sizes == [6, 1]  # the others are not run again
    assert all(np.isfinite(part.layers["layer"]).all() for part in done if part.sources)


def test_all_may_fail(sources):
    done = run(sources, Stub(lambda _signal: True), 1000.0)
    assert not any(d.sources for d in done)
    assert {s.id for d in done for s, _ in d.failures} == {s.id for s in sources}


def test_an_interrupt_is_not_swallowed(sources):
    def interrupt(_signal):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(sources, Stub(interrupt), 1000.0)


def test_no_thread_is_left_when_the_caller_stops_early(sources):
    before = threading.active_count()
    batches = serial(Stub(), workers=3).run(sources * 20)
    next(batches)
    batches.close()
    assert threading.active_count() <= before


def test_what_is_finished_stays_close_to_a_prefix_of_the_corpus(sources, monkeypatch):
    monkeypatch.setattr(batching, "WINDOW", 3)
    done = run(sources, Stub())
    order = [s.id for d in done for s in d.sources]
    assert order == ["u2", "u0", "u1", "u4", "u5", "u3"]


def test_windows_grow_with_the_batches_so_that_neighbours_are_alike():
    durations = np.random.default_rng(0).uniform(1, 9, 4000).tolist()
    batches = list(batching.Batches(of_lengths(durations), 480.0, Stub()))
    padded = sum(len(batch) * max(s.duration for s in batch) for batch in batches)
    assert padded < 1.15 * sum(durations)
    order = [int(s.id[1:]) for batch in batches for s in batch]
    assert max(order[:1000]) < 2000  # still close to a prefix of the corpus


@pytest.mark.parametrize("wanted", ["many", -1, float("nan")])
def test_a_wrong_batch_length_is_refused(wanted):
    with pytest.raises(ValueError, match="batch_seconds must be 'auto' or seconds"):
        resolve_batch_seconds(wanted)


@pytest.mark.parametrize("wanted", ["many", 0, 1.5])
def test_a_wrong_number_of_workers_is_refused(wanted):
    with pytest.raises(ValueError, match="workers must be 'auto' or a number from 1"):
        resolve_workers(wanted)


def test_workers_are_at_most_four():
    assert 1 <= resolve_workers("auto") <= 4
    assert resolve_workers(7) == 7


def test_layers_of_another_number_of_rows_are_refused(sources):
    class Forgetful(Stub):
        def extract_batch(self, signals, pool):
            return {"layer": super().extract_batch(signals[:1], pool)["layer"]}

    done = run(sources[:2], Forgetful(), 1000.0)
    assert {s.id for d in done for s in d.sources} == {"u0", "u1"}  # alone, each is right
    with pytest.raises(ValueError, match="'layer' of a batch of 2 signals has 1 rows"):
        pool_signals(Forgetful(), [np.ones(160, np.float32)] * 2, pooling.mean)


# How much sound a batch holds.


class Clock:
    """An extractor whose time is told by a function of the batch instead of a clock."""

    name, sample_rate = "clock", 100

    def __init__(self, monkeypatch, cost, device="cpu"):
        self.device, self.cost, self.now = torch.device(device), cost, 0.0
        self.others = 0.0  # seconds that other programs have taken
        self.sizes = []
        time_of = SimpleNamespace(
            perf_counter=lambda: self.now + self.others,
            thread_time=lambda: self.now,
            process_time=lambda: 1.5 * self.now,
        )
        monkeypatch.setattr(stopwatch, "time", time_of)
        monkeypatch.setattr(
            reading.audio, "read", lambda path, rate: np.full(int(float(path) * rate), 0.5, "f4")
        )

    def __call__(self, signal):
        return {"layer": signal[:, None]}

    def extract_batch(self, signals, pool):
        self.sizes.append(len(signals))
        self.now += self.cost([len(signal) / self.sample_rate for signal in signals])
        return {"layer": np.stack([pool_frames(self(s)["layer"], pool) for s in signals])}


def of_lengths(durations):
    return [Source(f"u{k}", str(seconds), seconds) for k, seconds in enumerate(durations)]


def per_call(overhead):
    return lambda seconds: overhead + 0.1 * sum(seconds)


def padding_costs(seconds):
    return 0.1 * len(seconds) * max(seconds)


COSTS = {
    # name: (seconds of a batch, device, what is chosen)
    "nothing is won": (per_call(0.0), "cpu", 0.0),
    "a call costs a little": (per_call(0.02), "cpu", 0.0),
    "a call costs much": (per_call(20.0), "cpu", 120.0),
    "a call costs much on a device": (per_call(50.0), "cuda", 480.0),
    "some is won": (per_call(0.3), "cpu", 40.0),
    "large batches are slow": (lambda s: 0.3 + 0.1 * sum(s) * (1 + len(s) / 10), "cpu", 10.0),
    "batches are slow": (lambda s: 0.1 * sum(s) * (1 + len(s)), "cpu", 0.0),
    "padding costs": (padding_costs, "cpu", 0.0),
}


@pytest.mark.parametrize("name", COSTS)
def test_the_fastest_size_is_measured_and_used(name, monkeypatch):
    cost, device, expected = COSTS[name]
    extractor = Clock(monkeypatch, cost, device)
    durations = np.random.default_rng(0).uniform(1, 6, 2000).round(2).tolist()
    sources = of_lengths(durations)
    engine = serial(extractor, "auto")
    found = rows_by_id(engine.run(sources))
    assert engine.batch_seconds == expected
    assert found.keys() == {s.id for s in sources}
    assert sum(extractor.sizes) == len(sources)  # nothing is run twice
    last = extractor.sizes[-5:]
    assert (set(last) == {1}) if expected == 0 else (max(last) > expected / 6 / 2)


@pytest.mark.parametrize("name", ["a call costs much", "some is won", "padding costs"])
def test_other_programs_do_not_mislead_the_trial(name, monkeypatch):
    cost, device, expected = COSTS[name]
    generator = np.random.default_rng(1)

    def disturbed(seconds):
        extractor.others += generator.uniform(0, 2) * cost(seconds)
        return cost(seconds)

    extractor = Clock(monkeypatch, disturbed, device)
    durations = np.random.default_rng(0).uniform(1, 6, 2000).round(2).tolist()
    engine = serial(extractor, "auto")
    list(engine.run(of_lengths(durations)))
    assert engine.batch_seconds == expected


@pytest.mark.parametrize(
    ("on_cpu", "clock", "own", "process", "expected"),
    [
        (True, 10.0, 4.0, 6.0, 4.0),  # others had the processor
        (True, 10.0, 1.0, 1.0, 10.0),  # it waited, as for another process
        (True, 10.0, 3.0, 9.0, 10.0),  # other threads did the work
        (False, 10.0, 9.0, 9.0, 10.0),  # a device did
    ],
)
def test_a_stopwatch_tells_the_work_of_this_thread_where_it_can(
    monkeypatch, on_cpu, clock, own, process, expected
):
    now = SimpleNamespace(
        perf_counter=lambda: spent * clock,
        thread_time=lambda: spent * own,
        process_time=lambda: spent * process,
    )
    monkeypatch.setattr(stopwatch, "time", now)
    spent = 0
    watch = stopwatch.Stopwatch(on_cpu=on_cpu)
    spent = 1
    assert watch.seconds() == expected


def test_a_trial_costs_little_where_batches_do_not_pay(monkeypatch):
    slow = Clock(monkeypatch, COSTS["batches are slow"][0])
    durations = np.random.default_rng(0).uniform(1, 6, 2000).tolist()
    list(serial(slow, "auto").run(of_lengths(durations)))
    assert max(slow.sizes) <= 10  # larger batches are not even tried


@pytest.mark.parametrize(
    ("device", "n", "expected"), [("cpu", 20, 0.0), ("cuda", 20, 120.0), ("cpu", 0, 0.0)]
)
def test_a_small_corpus_simply_runs(device, n, expected, monkeypatch):
    extractor = Clock(monkeypatch, per_call(20.0), device)
    engine = serial(extractor, "auto")
    done = list(engine.run(of_lengths([3.0] * n)))
    assert engine.batch_seconds == expected
    assert len(rows_by_id(done)) == n
    assert set(extractor.sizes) <= ({1} if device == "cpu" else {20})


def test_an_extractor_without_batches_has_nothing_to_try(sources):
    engine = serial(Single(lambda _signal: False), "auto")
    assert len(rows_by_id(engine.run(sources * 50))) == 6
    assert engine.batch_seconds == 0.0


def test_a_batch_that_fails_is_not_taken_for_a_slow_or_a_fast_one(monkeypatch):
    extractor = Clock(monkeypatch, per_call(20.0))
    extract, failed = extractor.extract_batch, []

    def fragile(signals, pool):
        if len(signals) > 1 and not failed:
            failed.append(len(signals))
            raise RuntimeError("too large, this once")
        return extract(signals, pool)

    extractor.extract_batch = fragile
    engine = serial(extractor, "auto")
    done = list(engine.run(of_lengths([3.0] * 2000)))
    assert failed
    assert len(rows_by_id(done)) == 2000
    assert engine.batch_seconds == 120.0


def test_files_that_cannot_be_read_are_not_taken_for_speed(monkeypatch):
    extractor = Clock(monkeypatch, per_call(0.0))
    read, n_read = reading.audio.read, iter(range(10_000))

    def broken(path, rate):
        if 9 <= next(n_read) < 15:  # the batches of 10 s
            raise ValueError("no sound")
        return read(path, rate)

    monkeypatch.setattr(reading.audio, "read", broken)
    engine = serial(extractor, "auto", workers=1)
    done = list(engine.run(of_lengths([3.0] * 2000)))
    assert sum(len(part.failures) for part in done) == 6
    assert engine.batch_seconds == 0.0


@given(
    durations=st.lists(st.floats(0.05, 40), min_size=1, max_size=400),
    wanted=st.sampled_from(["auto", 0.0, 20.0]),
    device=st.sampled_from(["cpu", "cuda"]),
    seed=st.integers(0, 9),
)
def test_every_utterance_is_in_one_batch_in_the_order_in_which_it_is_read(
    durations, wanted, device, seed
):
    extractor = Stub()
    extractor.device = torch.device(device)
    sources = of_lengths(durations)
    batches = batching.Batches(sources, wanted, extractor)
    times = np.random.default_rng(seed)
    given = []
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(s.duration for s in batch) <= 480
        given += batch
        batches.tell(float(times.exponential()))
    assert given == batches.order
    assert sorted(given) == sorted(sources)


# Reading ahead.


def test_the_extractor_does_not_wait_where_reading_is_cheaper(monkeypatch):
    monkeypatch.setattr(reading.audio, "read", lambda *_: time.sleep(0.004) or np.ones(9, "f4"))

    class Slow(Stub):
        def extract_batch(self, signals, pool):
            time.sleep(0.006 * len(signals))
            return super().extract_batch(signals, pool)

    engine = serial(Slow(), batch_seconds=20.0, workers=2)
    started = time.perf_counter()
    list(engine.run(of_lengths([1.0] * 100)))
    assert 0 < engine.seconds_waiting < 0.15 * (time.perf_counter() - started)


def test_waiting_for_slow_files_is_told(monkeypatch):
    monkeypatch.setattr(reading.audio, "read", lambda *_: time.sleep(0.02) or np.ones(9, "f4"))
    engine = serial(Stub(), workers=1)
    list(engine.run(of_lengths([1.0] * 10)))
    assert engine.seconds_waiting > 0.1


@pytest.mark.parametrize(
    ("durations", "most"),
    [([1.0] * 50, 10), ([4.0] * 20, 2), ([100.0] * 3, 1), ([1.0, 100.0, 1.0, 1.0], 2)],
)
def test_what_is_read_ahead_is_bounded_by_bytes(durations, most, monkeypatch):
    rate = 16_000
    monkeypatch.setattr(reading, "BYTES_AHEAD", 10 * rate * 4)
    held, seen = [0], []
    lock = threading.Lock()

    def read(path, rate):
        with lock:
            held[0] += 1
        return np.ones(9, np.float32)

    monkeypatch.setattr(reading.audio, "read", read)
    for _ in reading.Reader(rate, 4).signals(of_lengths(durations)):
        time.sleep(0.002)
        seen.append(held[0])
        held[0] -= 1
    # One is in the hands of the taker.
    assert max(seen) <= most + 1
    assert len(seen) == len(durations)

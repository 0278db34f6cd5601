"""Packing, reading ahead and naming the culprit of a batch."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechprobe import engines, pooling
from speechprobe.engines import Source, pack, resolve_batch_seconds, resolve_workers, run_serial
from speechprobe.extractors.base import pool_frames

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


def run(sources, extractor, batch_seconds=0.0, workers=2):
    return list(
        run_serial(sources, extractor, pooling.mean, batch_seconds=batch_seconds, workers=workers)
    )


def rows_by_id(done):
    return {s.id: row for d in done for s, row in zip(d.sources, d.layers["layer"], strict=True)}


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
    assert [{s.duration for s in batch} for batch in pack(given, 18)] == [{1, 2}, {8, 9}]


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

    done = run(sources, Overflow(), 1000.0)
    assert [s.id for part in done for s, _ in part.failures] == ["u2"]
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
    batches = run_serial(sources * 20, Stub(), pooling.mean, batch_seconds=0.0, workers=3)
    next(batches)
    batches.close()
    assert threading.active_count() <= before


def test_what_is_finished_stays_close_to_a_prefix_of_the_corpus(sources, monkeypatch):
    monkeypatch.setattr(engines, "WINDOW", 3)
    done = run(sources, Stub(), 1000.0)
    assert [{s.id for s in d.sources} for d in done] == [{"u0", "u1", "u2"}, {"u3", "u4", "u5"}]


@pytest.mark.parametrize(
    ("device", "expected"),
    [(None, 0.0), (torch.device("cpu"), 0.0), (torch.device("cuda"), engines.GPU_BATCH_SECONDS)],
)
def test_auto_is_one_utterance_on_a_cpu_and_batches_on_a_gpu(device, expected):
    assert resolve_batch_seconds("auto", SimpleNamespace(device=device)) == expected


@pytest.mark.parametrize("wanted", ["many", -1, float("nan")])
def test_a_wrong_batch_length_is_refused(wanted):
    with pytest.raises(ValueError, match="batch_seconds must be 'auto' or seconds"):
        resolve_batch_seconds(wanted, Stub())


@pytest.mark.parametrize("wanted", ["many", 0, 1.5])
def test_a_wrong_number_of_workers_is_refused(wanted):
    with pytest.raises(ValueError, match="workers must be 'auto' or a number from 1"):
        resolve_workers(wanted)


def test_workers_are_at_most_four():
    assert 1 <= resolve_workers("auto") <= 4
    assert resolve_workers(7) == 7

"""Ray: a cluster of several nodes on this machine, whose nodes and workers are killed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from torch import nn

import speechprobe as sp
from speechprobe._ray import as_picklable
from speechprobe.features import spreading

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture
def ray(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(module)  # workers cannot import tests
    yield ray
    ray.cloudpickle.unregister_pickle_by_value(module)


class Cluster:
    """Two nodes with a core each."""

    def __init__(self):
        from ray.cluster_utils import Cluster as RayCluster

        self._cluster = RayCluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        self._second = self._cluster.add_node(num_cpus=1)
        self.address = self._cluster.address
        self.killed = threading.Event()

    def kill_second(self):
        self._cluster.remove_node(self._second, allow_graceful=False)
        self.killed.set()

    def close(self):
        self._cluster.shutdown()


@contextlib.contextmanager
def cluster():
    made = Cluster()
    try:
        yield made
    finally:
        made.close()


def slowed(waveforms):
    time.sleep(0.25)
    return waveforms[:, None]


@pytest.mark.slow
def test_a_node_killed_in_the_middle_costs_nothing(ray, tmp_path, write_sound, monkeypatch):
    monkeypatch.setattr(spreading, "FIRST_SOUND", 0.5)
    monkeypatch.setattr(spreading, "CHUNK_SECONDS", 1.0)
    for k in range(40):
        write_sound(
            tmp_path / "sounds" / f"u{k:02d}.wav", 0.1 + 0.01 * (k * 7 % 40), frequency=200 + k
        )
    corpus = sp.datasets.load_folder(tmp_path / "sounds")
    net = nn.Sequential(nn.Conv1d(1, 4, 400, stride=160), nn.ReLU()).eval()
    extractor = sp.extractors.ModuleExtractor(
        net, layers="*", sample_rate=16_000, preprocess=slowed, padding="never"
    )
    alone = sp.extract(corpus, extractor, batch_seconds=0)
    store = tmp_path / "store"

    def kill_once_begun(made):
        while len(list(store.glob("part-*.safetensors"))) < 4:
            time.sleep(0.02)
        made.kill_second()

    with cluster() as made:
        killer = threading.Thread(target=kill_once_begun, args=(made,), daemon=True)
        killer.start()
        engine = sp.engines.Ray(num_workers=2, address=made.address)
        spread = sp.extract(corpus, extractor, batch_seconds=0, engine=engine, store=store)
        killer.join()
        assert made.killed.is_set()
        assert not ray.is_initialized()
    assert spread.items.equals(alone.items)
    for layer in alone.layers:
        assert np.asarray(spread[layer]).tobytes() == np.asarray(alone[layer]).tobytes()
    stored = [row for path in store.glob("part-*") for row in ids_of(path)]
    assert sorted(stored) == sorted(corpus.table.index)  # nothing lost, nothing twice


def ids_of(path):
    import json

    from safetensors import safe_open

    with safe_open(path, framework="np") as shard:
        return json.loads(shard.metadata()["ids"])


class Touchy:
    """Ends its process at some items: once, or whenever it sees them."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, item):
        if item == "deadly":
            os._exit(1)
        if item == "deadly once" and not os.path.exists(f"{self.folder}/died"):
            with open(f"{self.folder}/died", "w"):
                os._exit(1)
        if item == "wrong":
            raise KeyError("no such thing")
        return item.upper()


@pytest.mark.slow
def test_workers_that_die_are_replaced_and_errors_come_back(ray, tmp_path):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        engine, work = sp.engines.Ray(num_workers=2), Touchy(str(tmp_path))
        found = sorted(engine.map(work, ["a", "deadly once", "b", "c"]))
        assert found == ["A", "B", "C", "DEADLY ONCE"]
        with pytest.raises(KeyError, match="no such thing") as caught:
            list(engine.map(work, ["wrong"]))
        assert "in __call__" in caught.value.__notes__[0]
        with pytest.raises(RuntimeError, match="deadly ended 3 workers"):
            list(engine.map(work, ["a", "deadly"]))
        with pytest.raises(TypeError, match="cannot be sent what they need"):
            list(engine.map(threading.Lock(), ["a"]))
        with pytest.raises(TimeoutError, match="each takes 1 CPUs and 8 GPUs"):
            list(sp.engines.Ray(1, num_gpus_per_worker=8, start_timeout=2).map(work, ["a"]))
        assert list(engine.map(work, [])) == []
        assert ray.is_initialized()  # as it was
        x = np.random.default_rng(0).normal(size=(60, 4))
        items = pd.DataFrame({"speaker": np.arange(60) % 12, "rate": x[:, 0]})
        features = sp.Features({"first": x, "second": x[:, 1:]}, items)
        settings = {"target": "rate", "groups": "speaker", "probe": sp.probes.RidgeProbe(),
                    "metrics": sp.metrics.r2}  # fmt: skip
        spread = sp.probe_layers(features, **settings, engine=engine)
        assert spread == sp.probe_layers(features, **settings)
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_workers": 0}, "num_workers must be 1 or more, got 0"),
        ({"num_cpus_per_worker": 0}, "more than 0 CPUs and at least 0 GPUs, got"),
        ({"num_gpus_per_worker": -1}, "more than 0 CPUs and at least 0 GPUs, got"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        sp.engines.Ray(**settings)


def test_without_ray_the_error_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"speechprobe\[ray\]|does not load"):
        list(sp.engines.Ray().map(str, ["a"]))


class Sealed(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_an_error_that_cannot_travel_is_told_of():
    assert isinstance(as_picklable(KeyError("a")), KeyError)
    told = as_picklable(Sealed("this", "that"))
    assert type(told) is RuntimeError
    assert str(told) == "Sealed: this and that"

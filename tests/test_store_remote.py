"""The store on shared storage: addresses of other machines, and several writers at once."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load, load_file, save

import speechprobe as sp
from speechprobe._files import replacing
from speechprobe.datasets import Corpus
from speechprobe.engines import Source
from speechprobe.features.keeping import Disk
from speechprobe.store import Rows, Store, headers, place_of, read_layers, write_shard

IDENTITY = {"extractor": "one"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("SPEECHPROBE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"


@pytest.fixture
def remote():
    """The address of a folder in memory."""
    files = fsspec.filesystem("memory")
    yield "memory://bucket/store"
    files.store.clear()
    files.pseudo_dirs[:] = [""]


class Level:
    """Two cheap layers."""

    name, sample_rate = "level", 16_000

    def __call__(self, signal):
        frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
        return {"level": frames[:, :5], "power": (frames**2).mean(1, keepdims=True)}


@pytest.fixture
def corpus(tmp_path, write_sound):
    rows = [
        {
            "id": f"u{k}",
            "path": str(write_sound(tmp_path / f"u{k}.wav", 0.2 + 0.02 * k, frequency=99 + k)),
            "speaker": f"{k % 3:02d}",
            "phones": ["a", "b"][: k % 3],
        }
        for k in range(7)
    ]
    return sp.datasets.load_table(pd.DataFrame(rows), name="tones")


def listed(n, name="listed"):
    """A corpus without sound."""
    table = {"path": [f"u{k}.wav" for k in range(n)], "speaker": [f"s{k % 3}" for k in range(n)]}
    return Corpus(name, pd.DataFrame(table, index=pd.Index([f"u{k}" for k in range(n)], name="id")))


def some_rows(ids, ragged=False):
    """Rows that tell by their numbers whose they are."""
    values = [np.full((1, 4), float(key[1:]), np.float32) for key in ids]
    frames = [np.repeat(value, int(value[0, 0]) % 4 + 1, axis=0) for value in values]
    layers = {"a": frames} if ragged else {"a": np.concatenate(values)}
    return Rows(ids, [1.0] * len(ids), layers)


def assert_same(features, other):
    assert list(features.layers) == list(other.layers)
    pd.testing.assert_frame_equal(features.items, other.items)
    assert features.failures == other.failures
    for layer in features.layers:
        for found, expected in zip(features[layer], other[layer], strict=True):
            np.testing.assert_array_equal(found, expected)


# An address is as good as a folder.


@pytest.mark.parametrize("make", [str, lambda path: f"file://{path}", Path])
def test_a_local_folder_holds_files_that_are_whole_or_not_there(tmp_path, make):
    check_place(place_of(make(tmp_path / "a" / "b")))
    assert (tmp_path / "a" / "b" / "y.bin").read_bytes() == b"0123456789"


def test_a_remote_folder_has_the_same_methods(remote):
    check_place(place_of(remote))
    assert fsspec.filesystem("memory").cat_file("/bucket/store/y.bin") == b"0123456789"


def check_place(place):
    assert place.names() == []
    place.make()
    assert place.names() == []
    place.write("z.bin", b"old")
    place.write("z.bin", b"new")
    with place.writing("y.bin") as path:
        path.write_bytes(b"0123456789")
    assert place.names() == ["y.bin", "z.bin"]
    assert place.read("z.bin") == b"new"
    assert place.read_start("y.bin", 4) == b"0123"
    assert place.read_start("z.bin", 100) == b"new"
    assert place.read_part("y.bin", 3, 6) == b"345"
    again = pickle.loads(pickle.dumps(place))
    assert (str(again), again.names()) == (str(place), place.names())
    assert again.local("y.bin").read_bytes() == b"0123456789"
    place.remove("z.bin")
    place.remove("z.bin")
    assert place.names() == ["y.bin"]
    with pytest.raises(FileNotFoundError):
        place.read("z.bin")


def test_a_folder_is_the_same_one_in_a_process_that_runs_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = place_of("features")
    place.make()
    place.write("a", b"1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert str(place) == "features"
    assert pickle.loads(pickle.dumps(place)).read("a") == b"1"


@pytest.mark.parametrize("pool", ["mean_std", "frames", "spans"])
def test_a_store_in_memory_is_byte_for_byte_the_one_on_the_disk(corpus, tmp_path, remote, pool):
    if pool == "spans":
        spans = pd.Series([[(0.0, 0.1, "x"), (0.05, 0.2, "y")]] * 7, index=corpus.table.index)
        corpus, pool = corpus.label("words", spans).spans("words"), "mean"
    given = sp.extract(corpus, Level(), pool=pool, store=remote)
    sp.extract(corpus, Level(), pool=pool, store=tmp_path / "store")
    here, there = place_of(tmp_path / "store"), place_of(remote)
    assert here.names() == there.names() == ["features.json", "items.csv", "part-00000.safetensors"]
    for name in here.names()[1:]:
        assert here.read(name) == there.read(name)
    records = [json.loads(place.read("features.json")) for place in (here, there)]
    assert records[0]["identity"] == records[1]["identity"]
    assert records[0]["columns"] == records[1]["columns"]
    loaded = sp.load_features(remote)
    assert_same(loaded, given)
    assert_same(loaded, sp.load_features(tmp_path / "store"))
    assert loaded.provenance == given.provenance


def test_a_remote_store_goes_on_and_refuses_another_maker(corpus, remote):
    class Other(Level):
        name = "other"

    sp.extract(corpus.select(["u2", "u5"]), Level(), store=remote)
    whole = sp.extract(corpus, Level(), store=remote)
    assert_same(whole, sp.extract(corpus, Level(), store=remote))
    assert len([name for name in place_of(remote).names() if name.startswith("part-")]) == 2
    with pytest.raises(ValueError, match=f"{remote} holds features made otherwise.*other"):
        sp.extract(corpus, Other(), store=remote)


def test_a_folder_of_other_things_is_refused_wherever_it_is(remote, tmp_path):
    place_of(remote).write("thesis.tex", b"years of work")
    (tmp_path / "outer" / "wavlm").mkdir(parents=True)
    for folder in (remote, remote.removesuffix("/store"), tmp_path / "outer"):
        with pytest.raises(ValueError, match=r"not empty and holds no features\.json"):
            Store(folder, IDENTITY)
    assert place_of(remote).names() == ["thesis.tex"]


@pytest.mark.parametrize("make", [lambda _: None, lambda place: place.write("a.txt", b"")])
def test_what_is_no_store_is_not_loaded(remote, make):
    make(place_of(remote))
    with pytest.raises(FileNotFoundError, match=r"memory:.*no features here.*features\.json"):
        sp.load_features(remote)


def test_features_of_a_remote_store_fetch_what_is_asked_for_and_once(remote, monkeypatch):
    files = fsspec.filesystem("memory")
    big = {"a": np.zeros((3, 20_000), np.float32)}
    for ragged, folder in ((False, "/pooled"), (True, "/frames")):
        store = Store(remote + folder, IDENTITY)
        for start in range(0, 9, 3):
            rows = some_rows([f"u{start + k}" for k in range(3)], ragged)
            store.write(rows if ragged else rows._replace(layers=rows.layers | {"b": big["a"]}))
        store.finish(listed(9).table, {"made": "by hand"}, [])
    fetched, n_bytes, asked = [], [], []
    get_file, cat_file = files.get_file, files.cat_file

    def note_file(path, *args, **kwargs):
        fetched.append(path.rsplit("/", maxsplit=1)[-1])
        return get_file(path, *args, **kwargs)

    def note_bytes(*args, **kwargs):
        n_bytes.append(len(cat_file(*args, **kwargs)))
        return cat_file(*args, **kwargs)

    ukey = files.ukey
    monkeypatch.setattr(files, "ukey", lambda path: (asked.append(path), ukey(path))[1])
    monkeypatch.setattr(files, "get_file", note_file)
    monkeypatch.setattr(files, "cat_file", note_bytes)
    for folder in ("/pooled", "/frames"):
        features = sp.load_features(remote + folder)
        assert fetched == ["items.csv"]
        assert max(n_bytes) <= headers._FIRST  # of shards of 240 kB
        chosen = features.select(["u8", "u4", "u6"])
        layer = chosen.layers["a"]
        if folder == "/frames":
            assert layer.n_frames.tolist() == [1, 1, 3]
        assert fetched == ["items.csv"]
        assert float(np.ravel(layer[1])[0]) == 4.0
        assert fetched == ["items.csv", "part-00001.safetensors"]
        assert float(np.ravel(pickle.loads(pickle.dumps(layer))[1])[0]) == 4.0
        assert [float(np.ravel(row)[0]) for row in layer] == [8.0, 4.0, 6.0]
        assert [float(np.ravel(row)[0]) for row in sp.load_features(remote + folder)["a"]][8] == 8.0
        assert sorted(fetched) == ["items.csv", *(f"part-{k:05d}.safetensors" for k in range(3))]
        fetched.clear()
        n_bytes.clear()
        asked.clear()
        for layer in (chosen.layers["a"], features.layers["a"]):  # asked of each shard, not item
            assert [float(np.ravel(layer[k])[0]) for k in range(3)] == (
                [8.0, 4.0, 6.0] if len(layer) == 3 else [0.0, 1.0, 2.0]
            )
        assert len(asked) == 1  # the shard that only the second needs


def test_a_changed_remote_file_is_never_served_from_the_cache(remote, cache):
    place = place_of(remote)
    contents = [b"first", b"other", b"first"]  # of one length
    for content in contents:
        place.write("part-00000.safetensors", content)
        assert place.local("part-00000.safetensors").read_bytes() == content
        assert place.local("part-00000.safetensors").suffix == ".safetensors"
    assert len(list(cache.glob("*/*"))) == 1  # what was there before is let go


def test_layers_of_a_store_made_anew_are_the_new_ones(remote):
    found = []
    for value in (1.0, 2.0):
        fsspec.filesystem("memory").store.clear()
        store = Store(remote, IDENTITY)
        store.write(Rows(["u0"], [1.0], {"a": np.full((1, 3), value, np.float32)}))
        found.append(np.asarray(read_layers(remote, ["u0"])["a"])[0, 0])
    assert found == [1.0, 2.0]


def test_an_interrupted_fetch_leaves_no_copy(remote, cache, monkeypatch):
    place = place_of(remote)
    place.write("x.bin", b"0123")

    def broken(path, target, **kwargs):
        Path(target).write_bytes(b"01")
        raise OSError(errno.EIO, "the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(fsspec.filesystem("memory"), "get_file", broken)
        with pytest.raises(OSError, match="network is gone"):
            place.local("x.bin")
    assert not list(cache.glob("*/*"))
    assert place.local("x.bin").read_bytes() == b"0123"


def test_a_write_that_fails_halfway_leaves_what_was_there(tmp_path, monkeypatch):
    place = place_of(tmp_path / "store")
    place.make()
    place.write("a", b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("a", "b"):
        with pytest.raises(OSError, match="no space"):
            place.write(name, b"new")
    assert (place.names(), place.read("a")) == (["a"], b"old")


def test_a_put_that_fails_halfway_leaves_what_was_there(remote, monkeypatch):
    store = Store(remote, IDENTITY)

    def gone(*args, **kwargs):
        raise OSError(errno.EIO, "the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(fsspec.filesystem("memory"), "pipe_file", gone)
        with pytest.raises(OSError, match="network is gone"):
            store.write(some_rows(["u0"]))
    assert store.place.names() == ["features.json"]
    assert store.done == {}
    with contextlib.suppress(KeyError), store.place.writing("items.csv") as path:
        path.write_text("id")
        raise KeyError
    assert store.place.names() == ["features.json"]


def test_a_missing_package_ends_in_one_error_with_the_line_that_installs_it(monkeypatch):
    def missing(address):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    for opens in (sp.load_features, place_of, lambda folder: Store(folder, IDENTITY)):
        with pytest.raises(ImportError, match=r"gs://a/b: gs:// needs gcsfs.*pip install gcsfs"):
            opens("gs://a/b")


def test_an_unknown_protocol_is_named():
    with pytest.raises(ValueError, match=r"ftpx://a/b: Protocol not known.*s3://"):
        sp.load_features("ftpx://a/b")


@pytest.mark.parametrize("address", ["s3://bucket/a", "gs://bucket/a", "hf://datasets/me/a@main"])
def test_addresses_are_opened_by_fsspec_and_paths_are_not(monkeypatch, tmp_path, address):
    asked = []

    def note(given):
        asked.append(given)
        return fsspec.filesystem("memory"), "/elsewhere"

    monkeypatch.setattr("fsspec.core.url_to_fs", note)
    assert place_of(address).names() == []
    for path in (tmp_path, str(tmp_path), f"file://{tmp_path}", "features/a b:c"):
        place_of(path)
    assert asked == [address]


def test_an_address_that_was_made_a_path_is_not_taken_for_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (Path("s3://bucket/a"), Path("gs://bucket") / "a"):
        with pytest.raises(ValueError, match="no Path, it became .*give it as text"):
            Store(path, IDENTITY)
    assert not list(tmp_path.iterdir())


def test_fsspec_is_not_imported_for_folders_of_this_machine(tmp_path):
    code = (
        "import sys\nfrom speechprobe.store import places\n"
        "before = 'fsspec' in sys.modules\n"
        f"places.place_of({str(tmp_path)!r}).names()\n"
        "assert ('fsspec' in sys.modules) == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Reading shards by their heads.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "unpack requires"),
        (b"<html>not here</html>", "no safetensors file"),
        (save({"a": np.zeros((2, 2), np.float32)}), "__metadata__"),
        (save({"a": np.zeros((2, 2), np.float32)}, metadata={"ids": "[]"}), "durations"),
    ],
    ids=["empty", "html", "no metadata", "other metadata"],
)
@pytest.mark.parametrize("where", ["disk", "memory"])
def test_a_file_that_is_no_shard_is_named(tmp_path, remote, where, content, message):
    folder = tmp_path / "store" if where == "disk" else remote
    store = Store(folder, IDENTITY)
    for k in range(3):
        store.write(some_rows([f"u{k}"]))
    store.place.write("part-00001.safetensors", content)
    for opens in (lambda: Store(folder, IDENTITY), lambda: read_layers(folder, ["u0"])):
        with pytest.raises(ValueError, match=r"part-00001\.safetensors is no shard") as caught:
            opens()
        assert str(folder) in str(caught.value)
        assert message in str(caught.value)
    store.place.remove("part-00001.safetensors")
    assert list(Store(folder, IDENTITY).done) == ["u0", "u2"]


@pytest.mark.parametrize("ragged", [False, True])
def test_a_cut_off_shard_is_named_when_it_is_read(tmp_path, ragged):
    store = Store(tmp_path / "store", IDENTITY)
    store.write(some_rows(["u0", "u1"], ragged))
    path = store.place.local("part-00000.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"part-00000\.safetensors is a broken shard"):
        store.layers(["u0"])["a"][0]


def test_headers_of_any_length_are_read_whole(tmp_path, monkeypatch):
    place = place_of(tmp_path)
    write_shard(place, "part-00000.safetensors", some_rows([f"u{k}" for k in range(50)]))
    length = headers.read_header(place, "part-00000.safetensors").length
    for first in (8, 9, length - 1, length, length + 1, 10 * length):
        monkeypatch.setattr(headers, "_FIRST", first)
        found = headers.read_header(place, "part-00000.safetensors")
        assert (found.ids, found.length) == ([f"u{k}" for k in range(50)], length)


def test_a_file_of_tensors_is_one_of_safetensors_and_the_same_each_time():
    generator = np.random.default_rng(0)
    tensors = {
        "b": generator.normal(size=(3, 5)).astype(np.float32),
        "a": generator.normal(size=(3, 7))[:, ::2].astype(np.float32),
        "h": generator.normal(size=(2, 3)).astype(np.float16),
        "h:n_frames": np.array([1, 1]),
        "none": np.empty((0, 4), np.float32),
    }
    told = {"ids": '["é", ""b""]', "durations": "[1.0, 2.0]", "layers": "[]"}
    written = headers.as_file(tensors, told)
    assert written == headers.as_file(dict(reversed(tensors.items())), told)
    theirs = save(tensors, metadata=told)
    for found in (load(written), load(theirs)):
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(found[name], tensor)
            assert found[name].dtype == tensor.dtype
    n_bytes = sum(tensor.nbytes for tensor in tensors.values())
    assert written[-n_bytes:] == theirs[-n_bytes:]
    assert (len(written) - n_bytes) % 8 == 0


def test_the_later_of_two_shards_with_one_id_counts(tmp_path):
    store = Store(tmp_path, IDENTITY)
    for value in (1.0, 2.0):
        store.write(Rows(["u0"], [value], {"a": np.full((1, 2), value, np.float32)}))
    assert store.done == {"u0": 2.0}
    for layers in (store.layers(["u0"]), read_layers(tmp_path, ["u0"])):
        assert layers["a"][0].tolist() == [2.0, 2.0]


def test_more_than_a_hundred_thousand_shards_keep_their_order(tmp_path):
    place = place_of(tmp_path)
    for number, value in ((99_999, 1.0), (100_000, 2.0)):
        rows = Rows(["u0"], [value], {"a": np.full((1, 2), value, np.float32)})
        write_shard(place, f"part-{number:05d}.safetensors", rows)
    Store(tmp_path / "other", IDENTITY)
    (tmp_path / "other" / "features.json").rename(tmp_path / "features.json")
    (tmp_path / "other").rmdir()
    store = Store(tmp_path, IDENTITY)
    assert store.done == {"u0": 2.0}
    assert store.reserve().startswith("part-100001-")
    for layers in (store.layers(["u0"]), read_layers(tmp_path, ["u0"])):
        assert layers["a"][0].tolist() == [2.0, 2.0]


# Several writers.


def test_shard_numbers_of_ranks_never_meet(tmp_path):
    def numbers(rank, world_size, n):
        store = Store(tmp_path, IDENTITY, rank=rank, world_size=world_size)
        return [int(store.reserve()[5:10]) for _ in range(n)]

    assert [numbers(rank, 3, 3) for rank in range(3)] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    one = Store(tmp_path, IDENTITY, rank=1, world_size=3)
    one.write(some_rows(["u0"]))
    one.adopt("part-00005.safetensors", ["u1"], [1.0], None)
    assert one.reserve().startswith("part-00007-")
    # Another number of processes goes on above what is there.
    assert [numbers(rank, 2, 2) for rank in range(2)] == [[2, 4], [3, 5]]
    assert numbers(0, 1, 2) == [2, 3]


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, 0)])
def test_a_rank_must_be_below_the_world_size(tmp_path, rank, world_size):
    with pytest.raises(ValueError, match="rank must be"):
        Store(tmp_path / "store", IDENTITY, rank=rank, world_size=world_size)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_shards_of_others_are_taken_in(tmp_path, remote, where):
    folder = str(tmp_path / "store") if where == "disk" else remote
    first, second = (Store(folder, IDENTITY, rank=rank, world_size=2) for rank in (0, 1))
    first.write(some_rows(["u0", "u2"]))
    second.write(some_rows(["u1"]))
    assert list(first.done) == ["u0", "u2"]
    done = first.done
    first.refresh()
    assert first.done is done
    assert sorted(done) == ["u0", "u1", "u2"]
    assert first.layers(["u2", "u1", "u0"])["a"][:, 0].tolist() == [2.0, 1.0, 0.0]
    # A worker that was lost after it wrote a shard and before it could tell.
    write_shard(first.place, first.reserve(), some_rows(["u3"]))
    first.refresh()
    assert "u3" in done


def test_a_worker_writes_where_it_is_told_and_the_store_notes_it(tmp_path):
    store = Store(tmp_path / "store", IDENTITY)
    names = [store.reserve() for _ in range(2)]
    place = pickle.loads(pickle.dumps(store.place))
    for name, key in zip(reversed(names), ("u5", "u6"), strict=True):
        write_shard(place, name, some_rows([key]))
        store.adopt(name, [key], [1.0], [(0.0, 0.5)])
    assert store.spans == {"u5": (0.0, 0.5), "u6": (0.0, 0.5)}
    assert store.layers(["u5", "u6"])["a"][:, 0].tolist() == [5.0, 6.0]
    store.write(some_rows(["u7"]))
    assert store.place.names()[-1] == "part-00002.safetensors"


def test_partial_files_of_other_ranks_survive(tmp_path):
    with replacing(tmp_path / "part-00001.safetensors") as other:
        other.write_bytes(b"half a shard")
        for rank in (0, 1):
            Store(tmp_path, IDENTITY, rank=rank, world_size=2)
        assert other.exists()
    (tmp_path / "part-00001.safetensors").rename(other)
    Store(tmp_path, IDENTITY)
    assert not other.exists()


def test_writers_of_one_file_do_not_trip_over_each_other(tmp_path):
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        assert all(path.name.startswith("a.") for path in (first, second))
        assert all(path.name.endswith(".partial") for path in (first, second))
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"first")]


def test_a_store_begun_by_another_meanwhile_is_the_same_store(tmp_path, monkeypatch):
    """Between the look into the folder and the first file another process does the same."""
    entries = Store._entries
    for identity, fails in ((IDENTITY, False), ({"extractor": "two"}, True)):
        folder = tmp_path / str(fails)

        def late(store, identity=identity):
            found = entries(store)
            monkeypatch.setattr(Store, "_entries", entries)
            Store(folder, identity).write(some_rows(["u9"]))  # noqa: B023 called in this turn
            return found

        monkeypatch.setattr(Store, "_entries", late)
        if not fails:
            assert list(Store(folder, IDENTITY).done) == ["u9"]
            continue
        # The one that came first finds at the latest when it ends that the folder is not its own.
        first = Store(folder, IDENTITY)
        (folder / "features.json").write_text(json.dumps({"format": 1, "identity": identity}))
        with pytest.raises(ValueError, match="made otherwise"):
            first.finish(listed(10).table, {}, [])


def test_a_listing_made_while_another_begins_is_made_again(tmp_path, monkeypatch):
    Store(tmp_path, IDENTITY).write(some_rows(["u0"]))
    place, entries = place_of(tmp_path), type(place_of(tmp_path)).entries

    def late(self):
        monkeypatch.setattr(type(place), "entries", entries)
        return {"part-00000.safetensors": True}  # and not the record, which came before

    monkeypatch.setattr(type(place), "entries", late)
    assert list(Store(tmp_path, IDENTITY).done) == ["u0"]


def test_a_first_file_swept_away_by_another_that_begins_is_no_error(tmp_path, monkeypatch):
    write_json = Store._write_json

    def swept(store, name, value):
        monkeypatch.setattr(Store, "_write_json", write_json)
        Store(store.place, IDENTITY)
        raise FileNotFoundError(name)

    monkeypatch.setattr(Store, "_write_json", swept)
    Store(tmp_path / "store", IDENTITY).write(some_rows(["u0"]))
    assert place_of(tmp_path / "store").names() == ["features.json", "part-00000.safetensors"]


def ranks_of(folder, whole, world_size):
    parts = [whole.select(list(whole.table.index[rank::world_size])) for rank in range(world_size)]
    stores = [Store(folder, IDENTITY, rank=r, world_size=world_size) for r in range(world_size)]
    kept = [Disk(store, part, whole) for store, part in zip(stores, parts, strict=True)]
    return list(zip(kept, parts, strict=True))


def settle(kept, part, failing=()):
    """Do what is left of a part, and end."""
    left = [key for key in part.table.index if key not in kept.done and key not in failing]
    kept.take(iter([some_rows(left)] if left else []))
    failures = [(Source(key, f"{key}.wav", 1.0), ValueError(f"{key} fails")) for key in failing]
    return kept.finish(part, failures, {"made": "by hand"})


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_the_last_rank_writes_the_record_with_the_failures_of_all(tmp_path, remote, where):
    folder, whole = (tmp_path / "store" if where == "disk" else remote), listed(10)
    (zero, one, two) = ranks_of(folder, whole, 3)
    given = settle(*one, failing=["u4"])
    assert list(given.items.index) == ["u1", "u7"]
    assert [path for path, _ in given.failures] == ["u4.wav"]
    assert given["a"][:, 0].tolist() == [1.0, 7.0]
    settle(*zero, failing=["u9", "u0"])
    names = place_of(folder).names()
    assert {"failures-00000.json", "failures-00001.json"} < set(names)
    with pytest.raises(ValueError, match="not finished"):
        sp.load_features(folder)
    settle(*two)
    loaded = sp.load_features(folder)
    assert list(loaded.items.index) == ["u1", "u2", "u3", "u5", "u6", "u7", "u8"]
    assert loaded["a"][:, 0].tolist() == [1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 8.0]
    assert {(path, error) for path, error in loaded.failures} == {
        (f"u{k}.wav", f"u{k} fails") for k in (0, 4, 9)
    }
    assert not [name for name in place_of(folder).names() if name.startswith("failures-")]


def test_failures_are_joined_once_and_without_what_is_done_by_now(tmp_path):
    first, second = (Store(tmp_path, IDENTITY, rank=rank, world_size=2) for rank in (0, 1))
    entries = [{"id": f"u{k}", "path": f"u{k}.wav", "error": "broken"} for k in range(3)]
    first.note_failures(entries[:2])
    second.note_failures(entries[1:])
    assert first.failures() == second.failures() == entries
    first.write(some_rows(["u0"]))
    assert first.failures() == entries[1:]
    second.refresh()
    assert second.failures() == entries[1:]
    second.note_failures([])
    assert first.failures() == entries[1:2]
    assert "failures-00001.json" not in first.place.names()


def test_a_failure_of_an_earlier_run_does_not_keep_the_last_rank_from_ending(tmp_path):
    """Rank 0 of 2 ends early because rank 3 of 4 had failed in what is now rank 1's part."""
    whole = listed(8)
    with pytest.raises(ValueError, match="none of the 3 utterances"):
        settle(*ranks_of(tmp_path, listed(12), 4)[3], failing=["u3", "u7", "u11"])
    zero, one = ranks_of(tmp_path, whole, 2)
    one[0].take(iter([some_rows(["u1", "u5"])]))
    settle(*zero, failing=["u2"])
    early = sp.load_features(tmp_path)
    assert {path for path, _ in early.failures} == {"u2.wav", "u3.wav", "u7.wav"}
    settle(*one, failing=["u7"])
    loaded = sp.load_features(tmp_path)
    assert list(loaded.items.index) == ["u0", "u1", "u3", "u4", "u5", "u6"]
    assert {path for path, _ in loaded.failures} == {"u2.wav", "u7.wav"}


def test_a_rank_without_utterances_says_so(tmp_path):
    whole = listed(2)
    kept = Disk(Store(tmp_path, IDENTITY, rank=2, world_size=3), whole.select(["u0"]), whole)
    with pytest.raises(ValueError, match="none of the 1 utterances of 'listed' could be used$"):
        kept.finish(whole.select(["u0"]), [], {})


def test_spans_of_an_utterance_that_failed_are_settled(tmp_path):
    ids = ["u0#0", "u0#1", "u1#0", "u1#1"]
    table = pd.DataFrame(
        {"path": ["a", "a", "b", "b"], "speaker": "s", "utterance": ["u0", "u0", "u1", "u1"],
         "span_start": [0.0, 0.5, 0.0, 0.5], "span_end": [0.5, 1.0, 0.5, 1.0]},
        index=pd.Index(ids, name="id"),
    )  # fmt: skip
    whole = Corpus("spans", table)
    parts = [whole.select(ids[:2]), whole.select(ids[2:])]
    stores = [Store(tmp_path, IDENTITY, rank=rank, world_size=2) for rank in (0, 1)]
    rows = Rows(ids[2:], [1.0, 1.0], {"a": np.ones((2, 3), np.float32)}, [(0.0, 0.5), (0.5, 1.0)])
    kept = Disk(stores[1], parts[1], whole)
    kept.take(iter([rows]))
    kept.finish(parts[1], [], {})
    with pytest.raises(ValueError, match="not finished"):
        sp.load_features(tmp_path)
    failed = [(Source("u0", "a", 1.0), ValueError("too short"))]
    with pytest.raises(ValueError, match="none of the 2 utterances.*too short"):
        Disk(stores[0], parts[0], whole).finish(parts[0], failed, {})
    loaded = sp.load_features(tmp_path)
    assert list(loaded.items.index) == ids[2:]
    assert loaded.failures == (("a", "too short"),)


def test_what_one_rank_of_one_gives_is_what_is_loaded(tmp_path):
    whole = listed(6)
    for name, given in (("none", None), ("same", whole)):
        kept = Disk(Store(tmp_path / name, IDENTITY), whole, given)
        assert_same(settle(kept, whole, failing=["u2"]), sp.load_features(tmp_path / name))


# Processes.

WRITER = """
    import sys, time
    from pathlib import Path
    import numpy as np
    import pandas as pd
    from speechprobe.datasets import Corpus
    from speechprobe.features import keeping
    from speechprobe.store import Rows, Store

    folder, meeting, rank, world_size, n, seconds = sys.argv[1:]
    rank, world_size, n, seconds = int(rank), int(world_size), int(n), float(seconds)
    keeping.FLUSH_ROWS = 2
    ids = [f"u{k}" for k in range(n)]
    table = pd.DataFrame({"path": ids, "speaker": "s"}, index=pd.Index(ids, name="id"))
    whole = Corpus("listed", table)
    own = whole.select(ids[rank::world_size])

    (Path(meeting) / f"{rank}").touch()
    while len(list(Path(meeting).iterdir())) < world_size:
        time.sleep(0.0005)
    store = Store(folder, {"extractor": "one"}, rank=rank, world_size=world_size)
    kept = keeping.Disk(store, own, whole)

    def parts():
        for key in own.table.index:
            if key not in kept.done:
                time.sleep(seconds)
                yield Rows([key], [1.0], {"a": np.full((1, 4), float(key[1:]))})

    kept.take(parts())
    features = kept.finish(own, [], {"by": "rank"})
    assert list(features.items.index) == list(own.table.index)
"""


@pytest.fixture
def start(tmp_path):
    """Start ranks that begin at the same moment."""
    script = tmp_path / "writer.py"
    script.write_text(textwrap.dedent(WRITER))
    begun = []

    def run(folder, world_size, n, seconds=0.0):
        meeting = tmp_path / f"meeting{len(begun)}"
        meeting.mkdir()
        facts = [str(world_size), str(n), str(seconds)]
        ranks = [
            subprocess.Popen(
                [sys.executable, str(script), str(folder), str(meeting), str(rank), *facts]
            )
            for rank in range(world_size)
        ]
        begun.extend(ranks)
        return ranks

    yield run
    for process in begun:
        process.kill()
        process.wait()


def stored_ids(folder):
    place = place_of(folder)
    names = [name for name in place.names() if name.startswith("part-")]
    return [key for name in names for key in headers.read_header(place, name).ids]


def assert_whole(folder, n):
    assert sorted(stored_ids(folder)) == sorted(f"u{k}" for k in range(n))
    loaded = sp.load_features(folder)
    assert list(loaded.items.index) == [f"u{k}" for k in range(n)]
    np.testing.assert_array_equal(loaded["a"], np.repeat(np.arange(n)[:, None], 4, axis=1))
    assert not [name for name in place_of(folder).names() if name.endswith(".partial")]


def test_two_processes_write_one_store_at_once_and_the_last_one_ends_it(tmp_path, start):
    folder = tmp_path / "store"
    assert [process.wait(60) for process in start(folder, 2, 41)] == [0, 0]
    assert_whole(folder, 41)
    numbers = {key: int(name[5:10]) for name in place_of(folder).names() if name[:5] == "part-"
               for key in headers.read_header(place_of(folder), name).ids}  # fmt: skip
    assert all(number % 2 == int(key[1:]) % 2 for key, number in numbers.items())


def test_a_rank_killed_in_the_middle_is_made_up_for_by_another_number_of_ranks(tmp_path, start):
    folder = tmp_path / "store"
    first, second = start(folder, 2, 40, 0.02)
    limit = time.monotonic() + 60
    while not any(int(key[1:]) % 2 for key in stored_ids(folder)) and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(second.pid, signal.SIGKILL)
    assert second.wait(60) == -signal.SIGKILL
    assert first.wait(60) == 0
    assert 20 < len(stored_ids(folder)) < 40
    with pytest.raises(ValueError, match="not finished"):
        sp.load_features(folder)
    before = {name: place_of(folder).read(name) for name in place_of(folder).names()}
    for rank in ranks_of(folder, listed(40), 3):
        settle(*rank)
    for name, content in before.items():
        if name.startswith("part-"):
            assert place_of(folder).read(name) == content
    Store(folder, IDENTITY)  # one process alone sweeps away what the killed one may have left
    assert_whole(folder, 40)


# A real protocol.


@pytest.fixture
def bucket(monkeypatch):
    """The address of a bucket of an S3 server on this machine."""
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    served = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("studies", exist_ok=True)
    yield "s3://studies"
    s3fs.S3FileSystem.clear_instance_cache()
    served.stop()


@pytest.mark.filterwarnings("default")  # moto and botocore touch deprecated names
def test_a_store_in_s3_is_written_by_two_and_read_back(bucket, corpus, tmp_path):
    check_place(place_of(f"{bucket}/some/folder"))
    folder = f"{bucket}/features/level"
    given = sp.extract(corpus, Level(), pool="frames", store=folder)
    assert_same(sp.load_features(folder), given)
    sp.extract(corpus, Level(), pool="frames", store=tmp_path / "here")
    name = "part-00000.safetensors"
    assert place_of(folder).read(name) == place_of(tmp_path / "here").read(name)

    shared, whole = f"{bucket}/features/shared", listed(9)
    for rank in ranks_of(shared, whole, 2):
        settle(*rank)
    assert sp.load_features(shared)["a"][:, 0].tolist() == [float(k) for k in range(9)]

    place = place_of(shared)
    names = place.names()
    content = place.read(name)
    client = pytest.importorskip("boto3").client("s3")  # what no listing of ours knows of
    client.put_object(Bucket="studies", Key="features/shared/other.bin", Body=b"1")
    assert place.names() == sorted([*names, "other.bin"])
    assert place.local("other.bin").read_bytes() == b"1"
    client.put_object(Bucket="studies", Key="features/shared/other.bin", Body=b"2")
    assert place.local("other.bin").read_bytes() == b"2"
    assert place.local(name).read_bytes() == content
    before = load_file(place.local(name))["a"]
    write_shard(place, name, Rows(list(whole.table.index[::2]), [1.0] * 5, {"a": before + 1}))
    np.testing.assert_array_equal(load_file(place.local(name))["a"], before + 1)
    assert sp.load_features(shared)["a"][:, 0].tolist()[::2] == [1.0, 3.0, 5.0, 7.0, 9.0]


@pytest.mark.filterwarnings("default")  # moto and botocore touch deprecated names
def test_a_bucket_that_does_not_exist_is_not_made(bucket):
    with pytest.raises(FileNotFoundError):
        Store("s3://misspelt/features", IDENTITY)


def test_a_worker_that_outlives_its_run_overwrites_nothing(tmp_path):
    first = Store(tmp_path, IDENTITY)
    late = first.reserve()
    second = Store(tmp_path, IDENTITY)
    name = second.reserve()
    write_shard(second.place, name, some_rows(["u1"]))
    second.adopt(name, ["u1"], [1.0], None)
    write_shard(first.place, late, some_rows(["u0"]))
    assert Store(tmp_path, IDENTITY).done == {"u0": 1.0, "u1": 1.0}

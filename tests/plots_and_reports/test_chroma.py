"""Embeddings in a Chroma database."""

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp

DEPRECATED = "ignore::DeprecationWarning"


class Collection:
    """Stands in for Chroma's: keeps what is upserted, and the batches it came in."""

    def __init__(self, name, metadata):
        self.name, self.metadata, self.kept, self.batches = name, metadata, {}, []

    def upsert(self, *, ids, embeddings, metadatas):
        assert embeddings.dtype == np.float32
        self.batches.append(len(ids))
        self.kept |= dict(zip(ids, zip(embeddings, metadatas, strict=True), strict=True))


class Client:
    most, databases = 4, {}

    def __init__(self, path, settings):
        assert settings.anonymized_telemetry is False
        self.collections = self.databases.setdefault(path, {})

    def get_max_batch_size(self):
        return self.most

    def get_or_create_collection(self, name, metadata, embedding_function):
        assert embedding_function is None  # the default one downloads a network
        return self.collections.setdefault(name, Collection(name, metadata))


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(Client, "databases", {})
    module = SimpleNamespace(PersistentClient=Client, Settings=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "chromadb", module)


@pytest.fixture
def labelled():
    n = 10
    items = pd.DataFrame(
        {
            "speaker": [f"s{k}" for k in range(n)],
            "rate": [14.5, np.nan, np.inf] + [1.0] * (n - 3),
            "n_words": np.arange(n),
            "is_read": [True] * n,
            "made": [pd.NaT, *pd.date_range("2020-01-01", periods=n - 1)],
            "words": [["a", "b"]] * n,
            "text": [None, *["b"] * (n - 1)],
        },
        index=[f"u{k}" for k in range(n)],
    )
    vectors = np.random.default_rng(0).normal(size=(n, 3))
    layers = {"block.0": vectors, "block.1": -vectors, "frames": [np.ones((2, 3))] * n}
    return sp.Features(layers, items, {"extractor": {"name": "net"}})


def test_ids_vectors_and_labels_arrive_in_batches(stand_in, labelled, tmp_path):
    kept = sp.reports.export_chroma(labelled, "block.0", tmp_path, "rates")
    assert kept.batches == [4, 4, 2]
    assert list(kept.kept) == list(labelled.items.index)
    vectors = np.stack([vector for vector, _ in kept.kept.values()])
    np.testing.assert_array_equal(vectors, labelled["block.0"].astype(np.float32))
    assert kept.metadata == {"layer": "block.0", "extractor": "net"}


def test_labels_are_plain_values_without_what_is_missing(stand_in, labelled, tmp_path):
    kept = sp.reports.export_chroma(labelled, "block.0", tmp_path, "rates").kept
    labels = [label for _, label in kept.values()]
    assert labels[0] == {"speaker": "s0", "rate": 14.5, "n_words": 0, "is_read": True}
    assert labels[1] == {
        "speaker": "s1", "n_words": 1, "is_read": True, "made": "2020-01-01 00:00:00", "text": "b"
    }  # fmt: skip
    assert "rate" not in labels[2]
    kinds = {type(value) for label in labels for value in label.values()}
    assert kinds == {str, float, int, bool}


def test_items_without_labels_have_none(stand_in, labelled, tmp_path):
    bare = sp.Features({"a": np.eye(10)}, labelled.items[["words"]])
    kept = sp.reports.export_chroma(bare, "a", tmp_path, "bare").kept
    assert {label for _, label in kept.values()} == {None}


def test_a_second_export_replaces_and_another_layer_is_refused(stand_in, labelled, tmp_path):
    first = sp.reports.export_chroma(labelled, "block.0", tmp_path, "rates")
    again = sp.reports.export_chroma(labelled, "block.0", tmp_path, "rates")
    assert again is first and len(again.kept) == 10
    with pytest.raises(ValueError, match=r"holds \{'layer': 'block.0'.*not \{'layer': 'block.1'"):
        sp.reports.export_chroma(labelled, "block.1", tmp_path, "rates")


def test_what_cannot_be_kept_is_an_error_before_anything_is_written(stand_in, labelled, tmp_path):
    export = sp.reports.export_chroma
    with pytest.raises(KeyError, match=r"no layer 'block.9' among \['block.0', 'block.1'"):
        export(labelled, "block.9", tmp_path, "rates")
    with pytest.raises(ValueError, match="pool them first"):
        export(labelled, "frames", tmp_path, "rates")
    twice = sp.Features({"a": np.eye(2)}, pd.DataFrame({"s": ["x", "y"]}, index=["u", "u"]))
    with pytest.raises(ValueError, match="1 ids of items repeat, first 'u'"):
        export(twice, "a", tmp_path, "rates")
    with pytest.raises(ValueError, match="NaN or infinity for 2 items, first 0"):
        export(
            sp.Features({"a": np.eye(2) * np.nan}, pd.DataFrame(index=[0, 1])), "a", tmp_path, "b"
        )
    assert Client.databases == {}


def test_without_chroma_the_pip_line_is_named(labelled, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "chromadb", None)
    with pytest.raises(ImportError, match=r"chromadb"):
        sp.reports.export_chroma(labelled, "block.0", tmp_path, "rates")


@pytest.mark.filterwarnings(DEPRECATED)
def test_chroma_itself_gives_back_what_it_was_given(labelled, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # chromadb's own imports
        pytest.importorskip("chromadb")
    for _ in range(2):
        kept = sp.reports.export_chroma(labelled, "block.0", tmp_path, "rates")
    assert kept.count() == 10
    found = kept.get(ids=["u4"], include=["embeddings", "metadatas"])
    np.testing.assert_array_equal(
        np.float32(found["embeddings"][0]), labelled["block.0"][4].astype(np.float32)
    )
    assert found["metadatas"][0]["speaker"] == "s4"
    nearest = kept.query(query_embeddings=[labelled["block.0"][3].tolist()], n_results=1)
    assert nearest["ids"] == [["u3"]]

from __future__ import annotations

import dataclasses
import math
import pickle
import re

import numpy as np
import pandas as pd
import pytest

from speechprobe.datasets import Corpus, Utterance

IDS = ["a", "b", "c", "d"]


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "path": [f"{key}.wav" for key in IDS],
            "speaker": ["s1", "s1", "s2", "s2"],
            "duration": [1.0, 2.0, 3.0, np.nan],
            "text": ["one", "two", None, "four"],
        },
        index=IDS,
    )


@pytest.fixture
def corpus(frame):
    return Corpus("mine", frame)


def ids(corpus: Corpus) -> list[str]:
    return corpus.table.index.tolist()


def in_reverse(values: list, keys: list[str] = IDS) -> pd.Series:
    """Return a Series of values, in another order than the corpus but aligned by its index."""
    return pd.Series(values, index=keys)[::-1]


# name: what is done with a corpus
OPERATIONS = {
    "label by function": lambda corpus: corpus.label("speaker", lambda u: u.id),
    "label by values": lambda corpus: corpus.label("duration", [4.0, 3.0, 2.0, 1.0]),
    "label by Series": lambda corpus: corpus.label("new", in_reverse([1, 2, 3, 4])),
    "select by function": lambda corpus: corpus.select(lambda u: u["speaker"] == "s1"),
    "select by mask": lambda corpus: corpus.select([True, False, True, False]),
    "select by ids": lambda corpus: corpus.select(["d", "a"]),
    "sample": lambda corpus: corpus.sample(2, seed=0),
    "column": lambda corpus: corpus.column("speaker"),
    "iterate": lambda corpus: [u["text"] for u in corpus],
    "label of a label": lambda corpus: corpus.label("x", [1] * 4).label("x", [2] * 4),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_changes_a_corpus_or_the_frame_it_was_made_of(corpus, frame, name):
    own, callers = corpus.table.copy(deep=True), frame.copy(deep=True)
    OPERATIONS[name](corpus)
    pd.testing.assert_frame_equal(corpus.table, own)
    pd.testing.assert_frame_equal(frame, callers)


def test_changes_of_the_callers_data_do_not_reach_the_corpus(corpus, frame):
    values = np.arange(4.0)
    labelled = corpus.label("number", values)
    values[:] = -1
    frame.loc["a", "duration"] = -1
    frame["speaker"] = "nobody"
    assert labelled.column("number").tolist() == [0, 1, 2, 3]
    assert corpus.column("duration")[0] == 1
    assert corpus.column("speaker").tolist() == ["s1", "s1", "s2", "s2"]


@pytest.mark.parametrize("name", ["speaker", "duration", "text"])
def test_a_column_cannot_be_used_to_write_into_the_corpus(corpus, name):
    before = corpus.table.copy(deep=True)
    column = corpus.column(name)
    if column.flags.writeable:
        column[:] = column[0]
    pd.testing.assert_frame_equal(corpus.table, before)


def test_a_corpus_is_frozen(corpus):
    with pytest.raises(dataclasses.FrozenInstanceError):
        corpus.name = "yours"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="speaker"), "'speaker'.*'path'"),
        (lambda frame: frame.drop(columns=["path", "speaker"]), "'path', 'speaker'"),
        (lambda frame: frame.iloc[:0], "no utterance"),
        (lambda frame: frame.set_axis(["a", "b", "c", "a"]), "'a' occurs twice"),
        (lambda frame: frame.set_axis([1, 2, 3, "1"]), "'1' occurs twice"),
    ],
    ids=["no speaker", "neither", "empty", "id twice", "id twice as text"],
)
def test_an_unsound_table_is_refused(frame, change, message):
    with pytest.raises(ValueError, match=f"corpus 'mine'.*{message}"):
        Corpus("mine", change(frame))


def test_ids_are_text_whatever_the_table_held(frame):
    corpus = Corpus("mine", frame.set_axis([10, 11, 12, 13]))
    assert ids(corpus) == ["10", "11", "12", "13"]
    assert corpus["11"].path == "b.wav"


def test_its_name_and_size_are_shown(corpus):
    assert len(corpus) == 4
    assert repr(corpus) == "Corpus('mine', 4 utterances, 2 speakers)"


def test_an_unknown_label_is_named_with_the_known_ones(corpus):
    with pytest.raises(KeyError, match=r"'gender'.*'speaker'.*corpus\.label\('gender'"):
        corpus.column("gender")


class TestLabel:
    @pytest.mark.parametrize(
        "values",
        [
            [4, 3, 2, 1],
            (4, 3, 2, 1),
            np.array([4, 3, 2, 1]),
            pd.Index([4, 3, 2, 1]),
            lambda u: 4 - IDS.index(u.id),
            in_reverse([4, 3, 2, 1]),
            in_reverse([4, 3, 2, 1, 0], [*IDS, "stranger"]),
        ],
        ids=["list", "tuple", "array", "index", "function", "series", "longer series"],
    )
    def test_values_meet_their_utterances(self, corpus, values):
        labelled = corpus.label("number", values)
        assert labelled["a"]["number"] == 4
        assert labelled.column("number").tolist() == [4, 3, 2, 1]
        assert ids(labelled) == IDS

    def test_a_label_of_the_same_name_is_replaced(self, corpus):
        assert corpus.label("speaker", list("wxyz")).column("speaker").tolist() == list("wxyz")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([1, 2, 3], r"expected 4 values.*\(3,\)"),
            (np.zeros((4, 2)), r"expected 4 values.*\(4, 2\)"),
            ("abcd", "expected 4 values"),
            (in_reverse([1, 2, 3], ["a", "b", "c"]), "1 of 4 utterances, first 'd'"),
        ],
        ids=["too few", "two-dimensional", "one string", "id missing"],
    )
    def test_values_that_do_not_fit_are_refused(self, corpus, values, message):
        with pytest.raises(ValueError, match=f"label 'number'.*{message}"):
            corpus.label("number", values)

    def test_a_series_that_says_two_things_of_an_utterance_is_refused(self, corpus):
        with pytest.raises(ValueError, match=r"label 'number'.*'a'"):
            corpus.label("number", pd.Series(range(5), index=[*IDS, "a"]))

    @pytest.mark.parametrize("row", range(4))
    @pytest.mark.parametrize("error", [ValueError, KeyError, StopIteration, ZeroDivisionError])
    def test_a_function_that_fails_at_a_row_names_that_utterance(self, corpus, row, error):
        def function(utterance):
            if utterance.id == IDS[row]:
                raise error("reason")
            return 0

        message = f"label 'n' failed on utterance '{IDS[row]}' of 'mine': .*reason"
        with pytest.raises(ValueError, match=message) as caught:
            corpus.label("n", function)
        assert isinstance(caught.value.__cause__, error)

    def test_a_function_is_called_once_an_utterance_and_in_order(self, corpus):
        seen = []
        corpus.label("n", lambda u: seen.append(u.id))
        assert seen == IDS

    def test_a_function_that_fails_names_the_utterance(self, corpus):
        with pytest.raises(ValueError, match="label 'n' failed on utterance 'c' of 'mine'"):
            corpus.label("n", lambda u: len(u["text"]))


class TestSelect:
    @pytest.mark.parametrize(
        "keep",
        [
            [False, True, False, True],
            np.array([False, True, False, True]),
            pd.Series([False, True, False, True], index=IDS),
            pd.array([False, True, False, True], dtype="boolean"),
            lambda u: u.id in ("b", "d"),
            ["b", "d"],
            np.array(["b", "d"]),
            pd.Index(["b", "d"]),
        ],
        ids=["list", "array", "series", "nullable", "function", "ids", "id array", "id index"],
    )
    def test_what_is_wanted_is_kept(self, corpus, keep):
        chosen = corpus.select(keep)
        assert ids(chosen) == ["b", "d"]
        assert chosen["d"]["text"] == "four"

    def test_a_mask_with_its_own_index_meets_its_utterances(self, corpus):
        assert ids(corpus.select(in_reverse([True, False, False, False]))) == ["a"]

    def test_a_comparison_of_a_column_with_gaps_leaves_the_gaps_out(self, corpus):
        rates = pd.array([16_000, 8_000, None, 16_000], dtype="Int64")
        labelled = corpus.label("sample_rate", rates)
        assert ids(labelled.select(labelled.table["sample_rate"] == 16_000)) == ["a", "d"]

    def test_ids_keep_the_order_they_are_given_in(self, corpus):
        assert ids(corpus.select(["d", "a"])) == ["d", "a"]

    @pytest.mark.parametrize(
        ("keep", "error", "message"),
        [
            ([True, False], ValueError, r"mask of shape \(4,\), got \(2,\)"),
            ([False] * 4, ValueError, "nothing is left of corpus 'mine'"),
            ([], ValueError, "'mine'"),
            (lambda u: u["duration"] > 9, ValueError, "nothing is left"),
            (["a", "z", "y"], KeyError, r"'mine' has no utterance 'z' \(2 of 3"),
            (["a", "a"], ValueError, "'a' occurs twice"),
            ("a", (TypeError, ValueError), "list of ids"),
        ],
        ids=["short mask", "empty mask", "no ids", "none", "unknown id", "id twice", "one id"],
    )
    def test_what_cannot_be_selected_is_refused(self, corpus, keep, error, message):
        with pytest.raises(error, match=message):
            corpus.select(keep)


class TestSample:
    def test_the_same_seed_gives_the_same_utterances_in_the_order_of_the_corpus(self):
        names = [f"u{number:03d}" for number in range(100)]
        corpus = Corpus("big", pd.DataFrame({"path": names, "speaker": "s"}, index=names))
        first, again, other = (ids(corpus.sample(20, seed=seed)) for seed in (1, 1, 2))
        assert first == again != other
        assert first == sorted(set(first))
        assert len(first) == 20

    def test_all_utterances_may_be_sampled(self, corpus):
        pd.testing.assert_frame_equal(corpus.sample(4, seed=3).table, corpus.table)

    @pytest.mark.parametrize("n", [0, -1, 5])
    def test_more_than_there_are_or_less_than_one_is_refused(self, corpus, n):
        with pytest.raises(ValueError, match=f"sample {n} of the 4"):
            corpus.sample(n, seed=0)

    def test_the_global_generator_is_left_alone(self, corpus):
        before = np.random.get_state()[1].tolist()  # noqa: NPY002 the state under test
        corpus.sample(2, seed=0)
        assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


class TestUtterance:
    def test_iteration_gives_every_row_once_and_in_order(self, corpus):
        assert [(u.id, u.path, u["speaker"]) for u in corpus] == [
            ("a", "a.wav", "s1"),
            ("b", "b.wav", "s1"),
            ("c", "c.wav", "s2"),
            ("d", "d.wav", "s2"),
        ]
        assert all(isinstance(u, Utterance) for u in corpus)

    def test_an_utterance_is_found_by_its_id(self, corpus):
        assert corpus["b"]["text"] == "two"
        with pytest.raises(KeyError, match="'mine' has no utterance 'z'"):
            corpus["z"]

    def test_labels_can_be_asked_for(self, corpus):
        assert corpus["a"].get("text") == "one"
        assert corpus["a"].get("gender") is None
        assert corpus["a"].get("gender", "F") == "F"
        with pytest.raises(KeyError, match=r"utterance 'a' has no label 'gender'.*'text'"):
            corpus["a"]["gender"]

    def test_it_says_which_labels_it_has(self, corpus):
        first = corpus["a"]
        assert "text" in first
        assert "gender" not in first
        assert first.get("gender") is None
        assert "gender" not in first  # asking for a label does not make it
        later = corpus.label("gender", list("FFMM"))
        assert "gender" in later["a"]
        assert "gender" not in first

    def test_a_label_without_a_value_is_not_a_label_that_is_missing(self, corpus):
        assert "text" in corpus["c"]
        assert pd.isna(corpus["c"].get("text", "none"))
        assert math.isnan(corpus["d"].get("duration", 1.0))

    @pytest.mark.parametrize("times", [1, 2])
    def test_the_labels_named_in_an_error_are_all_it_has(self, corpus, times):
        for _ in range(times):
            corpus["a"].get("text")
        with pytest.raises(KeyError, match=r"\['duration', 'path', 'speaker', 'text'\]"):
            corpus["a"]["gender"]

    def test_only_the_labels_that_are_asked_for_are_made_and_once(self, corpus, monkeypatch):
        made, to_numpy = [], pd.Series.to_numpy

        def counting(series, *args, **options):
            made.append(series.name)
            return to_numpy(series, *args, **options)

        monkeypatch.setattr(pd.Series, "to_numpy", counting)
        for _ in range(2):
            assert [u["speaker"] for u in corpus] == ["s1", "s1", "s2", "s2"]
        assert corpus["b"]["speaker"] == "s1"
        assert corpus.column("speaker")[3] == "s2"
        assert made == ["speaker"]

    def test_a_corpus_and_its_utterances_survive_a_pickle(self, corpus):
        assert corpus["a"]["text"] == "one"
        again = pickle.loads(pickle.dumps(corpus))
        assert [u.get("text") for u in again][:2] == ["one", "two"]
        assert "text" in again["a"]
        assert pickle.loads(pickle.dumps(corpus["b"])).path == "b.wav"

    @pytest.mark.parametrize("known", [{}, {"duration": [np.nan]}], ids=["no column", "gap"])
    def test_an_unknown_duration_is_read_from_the_file(self, tmp_path, write_sound, known):
        path = write_sound(tmp_path / "a.wav", 0.25)
        row = {"path": [str(path)], "speaker": ["s"], **known}
        assert Corpus("one", pd.DataFrame(row, index=["a"]))["a"].duration == 0.25

    def test_a_known_duration_needs_no_file(self, corpus):
        assert corpus["b"].duration == 2.0

    def test_its_signal_comes_at_the_wanted_rate(self, tmp_path, write_sound):
        path = write_sound(tmp_path / "a.wav", 0.5, 8_000)
        corpus = Corpus("one", pd.DataFrame({"path": [path], "speaker": ["s"]}, index=["a"]))
        assert corpus["a"].signal().shape == (4_000,)
        assert corpus["a"].signal(16_000).shape == (8_000,)

    def test_a_missing_file_is_named(self, corpus):
        with pytest.raises(FileNotFoundError, match=re.escape("a.wav")):
            corpus["a"].signal()


def test_a_hundred_thousand_rows_are_nothing_special():
    n_rows = 100_000
    numbers = np.arange(n_rows)
    table = pd.DataFrame({"path": "a.wav", "speaker": numbers // 100}, index=numbers)
    corpus = Corpus("large", table).label("number", numbers)
    even = corpus.select(corpus.column("number") % 2 == 0)
    assert len(even) == n_rows // 2
    assert even[str(n_rows - 2)]["number"] == n_rows - 2
    assert sum(u["number"] for u in even) == numbers[::2].sum()
    last_first = pd.Series(numbers, index=numbers.astype(str))[::-1]
    assert (corpus.label("again", last_first).column("again") == numbers).all()

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from speechprobe.metrics.classification import accuracy, uar
from speechprobe.metrics.confusion_matrix import Confusion, confusion

NAMES = ["anger", "neutral", "sadness", "Ärger"]
CLASSES = st.sampled_from(NAMES)
ITEMS = st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=30).map(
    lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
)


@given(items=ITEMS)
def test_a_cell_counts_the_items_of_its_two_classes(items):
    found = confusion(*items)
    counted = Counter(zip(*items, strict=True))
    assert found.labels == tuple(sorted({*items[0], *items[1]}))
    for row, true in enumerate(found.labels):
        for column, predicted in enumerate(found.labels):
            assert found.counts[row, column] == counted[true, predicted]


@given(items=ITEMS)
def test_it_is_the_matrix_of_scikit_learn_and_holds_accuracy_and_uar(items):
    found = confusion(*items, labels=NAMES)
    np.testing.assert_array_equal(found.counts, confusion_matrix(*items, labels=NAMES))
    assert np.trace(found.counts) / len(items[0]) == pytest.approx(accuracy(*items))
    assert np.nanmean(np.diag(found.shares())) == pytest.approx(uar(*items))


@given(items=ITEMS)
def test_the_scores_of_each_class_are_those_of_scikit_learn(items):
    found = confusion(*items)
    precision, recall, f1, n_items = precision_recall_fscore_support(*items, zero_division=np.nan)
    expected = {"n_items": n_items, "recall": recall, "precision": precision, "f1": f1}
    table = found.by_class()
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], values, err_msg=name)
    assert table["n_predicted"].sum() == len(items[0])


def test_the_order_of_labels_is_that_asked_for_and_absent_ones_are_named():
    found = confusion(["F", "M", "M"], ["F", "F", "M"], labels=["M", "X", "F"])
    expected = pd.DataFrame([[1, 0, 1], [0, 0, 0], [0, 0, 1]], list("MXF"), list("MXF"))
    np.testing.assert_array_equal(found.table(), expected)
    assert list(found.table().index) == list(found.table().columns) == list("MXF")
    assert found.absent == ("X",)
    assert np.isnan(found.shares()[1]).all()
    np.testing.assert_allclose(found.shares()[[0, 2]], [[0.5, 0, 0.5], [0, 0, 1]])
    assert found.by_class().loc["X", ["recall", "precision", "f1"]].isna().all()


def test_whole_numbers_are_classes_too():
    assert confusion([7, 0], [0, 0]).labels == (0, 7)
    assert confusion(np.array([True, False]), np.array([True, True])).labels == (False, True)


def test_the_result_cannot_be_changed_nor_its_source_through_it():
    counts = np.array([[1, 0], [0, 1]])
    found = Confusion(("F", "M"), counts)
    with pytest.raises(ValueError, match="read-only"):
        found.counts[0, 0] = 5
    counts[0, 0] = 5
    assert found.counts[0, 0] == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["F"], r"lack classes that occur: \['M'\]"), (["F", "M", "F"], "names a class twice")],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        confusion(["F", "M"], ["F", "F"], labels=labels)


def test_counts_of_another_size_than_the_labels_are_refused():
    with pytest.raises(ValueError, match=r"3 labels want counts \(3, 3\), got \(2, 2\)"):
        Confusion(("a", "b", "c"), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [([], [], "at least 1"), (["F"], ["F", "M"], "n_items"), (["F"], [1], "one kind")],
)
def test_items_that_cannot_be_counted_are_refused(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        confusion(truth, prediction)

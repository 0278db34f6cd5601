from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from speechprobe.metrics import classification as metrics


def share_right(truth: list, prediction: list) -> float:
    return sum(a == b for a, b in zip(truth, prediction, strict=True)) / len(truth)


def mean_recall(truth: list, prediction: list) -> float:
    recalls = []
    for name in set(truth):
        found = [b == name for a, b in zip(truth, prediction, strict=True) if a == name]
        recalls.append(sum(found) / len(found))
    return sum(recalls) / len(recalls)


def mean_f1(truth: list, prediction: list) -> float:
    """Return the mean over true classes of the harmonic mean of precision and recall."""
    scores = []
    for name in set(truth):
        right = sum(a == b == name for a, b in zip(truth, prediction, strict=True))
        if not right:
            scores.append(0.0)
            continue
        precision, recall = right / prediction.count(name), right / truth.count(name)
        scores.append(2 * precision * recall / (precision + recall))
    return sum(scores) / len(scores)


FORMULAS = {"accuracy": share_right, "uar": mean_recall, "macro_f1": mean_f1}
NAMES = pytest.mark.parametrize("name", FORMULAS)
CLASSES = st.sampled_from(["anger", "neutral", "sadness", "Ärger"])
ITEMS = st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=30).map(
    lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
)


@NAMES
@given(items=ITEMS)
def test_a_metric_is_its_formula_also_where_a_class_is_never_or_only_predicted(name, items):
    score = getattr(metrics, name)(*items)
    assert type(score) is float
    assert score == pytest.approx(FORMULAS[name](*items))
    assert 0 <= score <= 1


@NAMES
@given(items=ITEMS, seed=st.integers(0, 100))
def test_neither_the_order_of_items_nor_the_names_of_classes_matter(name, items, seed):
    metric = getattr(metrics, name)
    order = np.random.default_rng(seed).permutation(len(items[0]))
    numbers = {"anger": 7, "neutral": 0, "sadness": -1, "Ärger": 3}
    renamed = [np.array([numbers[value] for value in side])[order] for side in items]
    assert metric(*renamed) == pytest.approx(metric(*items))


@given(items=ITEMS)
def test_uar_is_balanced_accuracy(items):
    truth, prediction = items
    assume(set(prediction) <= set(truth))
    assume(len(set(truth)) > 1)
    assert metrics.uar(truth, prediction) == pytest.approx(
        balanced_accuracy_score(truth, prediction)
    )


@given(items=ITEMS)
def test_macro_f1_is_that_of_scikit_learn_but_for_classes_that_no_item_has(items):
    truth, prediction = items
    theirs = f1_score(truth, prediction, average="macro")
    n_either, n_true = len({*truth, *prediction}), len(set(truth))
    assert metrics.macro_f1(truth, prediction) == pytest.approx(theirs * n_either / n_true)


def test_a_class_never_trained_on_costs_every_metric():
    truth, prediction = ["a"] * 6 + ["b"] * 3 + ["new"], ["a"] * 6 + ["b"] * 3 + ["a"]
    assert metrics.accuracy(truth, prediction) == pytest.approx(0.9)
    assert metrics.uar(truth, prediction) == pytest.approx(2 / 3)
    assert metrics.macro_f1(truth, prediction) == pytest.approx((12 / 13 + 1) / 3)


@given(prediction=st.lists(CLASSES, min_size=12, max_size=12))
def test_uar_is_accuracy_where_classes_are_of_equal_size(prediction):
    truth = ["anger", "neutral", "sadness", "Ärger"] * 3
    assert metrics.uar(truth, prediction) == pytest.approx(metrics.accuracy(truth, prediction))


@pytest.mark.parametrize("sizes", [(1, 99), (10, 20, 70), (5, 5, 5, 5)])
def test_one_class_for_all_gives_chance_as_documented(sizes):
    truth = np.repeat(np.arange(len(sizes)), sizes)
    constant = np.full(len(truth), len(sizes) - 1)
    assert metrics.uar(truth, constant) == pytest.approx(1 / len(sizes))
    assert metrics.accuracy(truth, constant) == pytest.approx(sizes[-1] / sum(sizes))


@NAMES
@pytest.mark.parametrize(("right", "expected"), [(True, 1.0), (False, 0.0)])
def test_a_single_class_is_found_or_not(name, right, expected):
    assert getattr(metrics, name)(["F"] * 3, ["F" if right else "M"] * 3) == expected


@NAMES
@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([], [], "at least 1 items, got 0"),
        (["F"], ["F", "M"], r"\(1,\) and \(2,\)"),
        ([["F"]], [["F"]], r"\(n_items,\), got \(1, 1\)"),
        (["F", "M"], [0, 1], "Mix of label input types|truth"),
        ([0.0, np.nan], [0.0, 1.0], "truth"),
        (np.array(["F", None], dtype=object), ["F", "M"], "truth"),
    ],
    ids=["nothing", "lengths", "matrix", "text and numbers", "NaN", "None"],
)
def test_items_that_cannot_be_scored_are_refused(name, truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, name)(truth, prediction)

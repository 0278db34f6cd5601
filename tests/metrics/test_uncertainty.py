from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from speechprobe.metrics import accuracy, bootstrap_interval, group_resamples, mse, r2


def mean_of_truth(truth, prediction) -> float:
    """Return a metric whose sampling distribution is known."""
    return float(np.mean(truth))


def speakers(n_groups: int, n_items: int, seed: int, spread: float = 1.0):
    """Draw items (n_groups * n_items,) that share their speaker's offset, and the speakers."""
    generator = np.random.default_rng(seed)
    offsets = generator.normal(0, spread, size=(n_groups, 1))
    values = offsets + generator.normal(0, 0.3, size=(n_groups, n_items))
    return values.ravel(), np.repeat(np.arange(n_groups), n_items)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_of_a_mean_is_that_of_the_normal_distribution(confidence):
    values, groups = speakers(300, 4, seed=0)
    means = values.reshape(300, 4).mean(axis=1)
    error = means.std() / np.sqrt(300)
    quantile = {0.8: 1.2816, 0.95: 1.9600}[confidence]  # of the standard normal distribution
    low, high = bootstrap_interval(
        values, values, mean_of_truth, groups=groups, confidence=confidence, n_resamples=2000
    )
    assert low == pytest.approx(means.mean() - quantile * error, abs=0.15 * error)
    assert high == pytest.approx(means.mean() + quantile * error, abs=0.15 * error)


def test_the_interval_by_group_covers_at_its_nominal_rate_and_that_by_item_does_not():
    covered = Counter()
    for seed in range(200):
        values, groups = speakers(40, 4, seed)
        for name, given_groups in (("group", groups), ("item", None)):
            low, high = bootstrap_interval(
                *(values, values, mean_of_truth),
                groups=given_groups,
                confidence=0.9,
                n_resamples=200,
                seed=seed,
            )
            covered[name] += low <= 0 <= high
    # 0.9 plus or minus three binomial standard errors; items miss the spread between speakers.
    assert 0.83 <= covered["group"] / 200 <= 0.96
    assert covered["item"] / 200 < 0.75


@pytest.mark.parametrize("metric", [mean_of_truth, mse])
def test_alike_items_of_a_group_widen_the_interval(metric):
    truth, groups = speakers(20, 10, seed=1)
    zeros = np.zeros_like(truth)
    by_group = bootstrap_interval(truth, zeros, metric, groups=groups)
    assert width(by_group) > 1.5 * width(bootstrap_interval(truth, zeros, metric))


def test_groups_of_one_item_are_items():
    values, _ = speakers(30, 1, seed=2)
    by_group = bootstrap_interval(values, values, mean_of_truth, groups=np.arange(30))
    assert by_group == bootstrap_interval(values, values, mean_of_truth)


def test_more_confidence_gives_a_wider_interval_around_the_narrower():
    values, groups = speakers(30, 3, seed=3)
    intervals = [
        bootstrap_interval(values, values, mean_of_truth, groups=groups, confidence=confidence)
        for confidence in (0.5, 0.8, 0.95)
    ]
    lows, highs = zip(*intervals, strict=True)
    assert list(lows) == sorted(lows, reverse=True)
    assert list(highs) == sorted(highs)


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    values, groups = speakers(20, 3, seed=4)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 the state under test
    first, again, other = (
        bootstrap_interval(values, values, mean_of_truth, groups=groups, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_neither_the_order_of_items_nor_the_kind_of_group_names_matters():
    values, groups = speakers(20, 3, seed=5)
    order = np.random.default_rng(0).permutation(len(values))
    names = np.array([f"speaker{number:02d}" for number in groups])
    interval = bootstrap_interval(values, values, mean_of_truth, groups=groups)
    assert bootstrap_interval(
        values[order], values[order], mean_of_truth, groups=names[order].tolist()
    ) == pytest.approx(interval)


@given(
    groups=st.lists(st.sampled_from("abcdef"), min_size=2, max_size=20).filter(
        lambda names: len(set(names)) > 1
    ),
    seed=st.integers(0, 1000),
)
def test_a_resample_holds_whole_groups_as_many_as_there_are(groups, seed):
    sizes = Counter(groups)
    resamples = list(group_resamples(groups, n_resamples=5, seed=seed))
    assert len(resamples) == 5
    for rows in resamples:
        times = Counter(rows.tolist())
        drawn = {name: {times[row] for row, g in enumerate(groups) if g == name} for name in sizes}
        assert all(len(counts) == 1 for counts in drawn.values())
        assert sum(counts.pop() for counts in drawn.values()) == len(sizes)


class TestResamplesWithoutAScore:
    def test_they_are_left_out(self):
        # r2 does not exist where the one speaker of another truth is not drawn: (11/12)^12 = 0.35.
        truth, speaker = np.repeat(np.eye(12)[0], 5), np.repeat(np.arange(12), 5)
        with pytest.warns(UserWarning, match=r"for 3\d\d of 1000 resamples, they are left out"):
            interval = bootstrap_interval(truth, truth, r2, groups=speaker)
        assert interval == (1.0, 1.0)

    @pytest.mark.parametrize("missing", [float("nan"), None], ids=["NaN", "ValueError"])
    def test_the_interval_does_not_exist_where_they_are_most(self, missing):
        def needs_all(truth, prediction):  # which 12!/12^12 of the resamples have
            if len(set(truth)) == 12:
                return 1.0
            if missing is None:
                raise ValueError("a speaker is missing")
            return missing

        truth = np.repeat(np.arange(12), 5)
        with pytest.warns(UserWarning, match=r"for \d+ of 1000 resamples, so there is no interval"):
            interval = bootstrap_interval(truth, truth, needs_all, groups=truth)
        assert np.isnan(interval).all()

    def test_a_metric_that_does_not_exist_for_the_items_says_so_itself(self):
        with pytest.raises(ValueError, match="all 20 truths are equal"):
            bootstrap_interval(np.ones(20), np.arange(20), r2)

    def test_another_error_of_a_metric_is_not_hidden(self):
        with pytest.raises(TypeError):
            bootstrap_interval([1, 2], [1, 2], lambda truth, prediction: len(3))


def test_few_groups_are_named_in_a_warning():
    values, groups = speakers(9, 3, seed=0)
    with pytest.warns(UserWarning, match=r"9 groups are few.*fewer than 10 is too narrow"):
        bootstrap_interval(values, values, mean_of_truth, groups=groups)


def test_a_metric_may_warn_of_a_resample_without_stopping_it():
    # scikit-learn warns of classes that are predicted and that a resample lacks.
    truth, speaker = np.repeat(np.arange(12) == 0, 5), np.repeat(np.arange(12), 5)
    prediction = truth.copy()
    prediction[-5:] = True
    low, high = bootstrap_interval(truth, prediction, balanced_accuracy_score, groups=speaker)
    assert 0.5 < low < high <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": ["a"] * 6}, "at least two groups"),
        ({"groups": list("abc")}, "groups"),
        ({"groups": list("abcdefghi")}, "groups"),
        ({"groups": np.arange(6).reshape(2, 3)}, "groups"),
        ({"groups": ["a", None] * 3}, "group"),
        ({"groups": [1.0, 2.0, np.nan] * 2}, "group"),
        ({"prediction": [1] * 5}, r"\(6,\) and \(5,\)"),
        ({"truth": [], "prediction": []}, "at least 1 items"),
        ({"confidence": 95}, "between 0 and 1.*95"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"confidence": 0}, "between 0 and 1"),
        ({"n_resamples": 0}, "n_resamples"),
    ],
)
def test_what_has_no_interval_is_refused(changes, message):
    arguments = {"truth": [0, 1] * 3, "prediction": [0, 1] * 3, "groups": list("aabbcc")} | changes
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(metric=accuracy, **arguments)

"""Mutual and usable information against closed forms, tables, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from speechprobe.probes import LogisticProbe, RidgeProbe, TorchMLPRegressor
from speechprobe.probes.information import (
    cluster_information,
    dimension_information,
    neighbour_information,
)
from speechprobe.probes.usable import usable_information


def entropy(counts):
    share = np.asarray(counts, dtype=float).ravel() / np.sum(counts)
    share = share[share > 0]
    return -(share * np.log2(share)).sum()


def table_information(table):
    return entropy(table.sum(0)) + entropy(table.sum(1)) - entropy(table)


def gaussian(r, n_items, n_dims=1, seed=0):
    """Return features and a target whose multiple correlation is r."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_items, n_dims))
    y = r * X.sum(1) / np.sqrt(n_dims) + np.sqrt(1 - r**2) * generator.normal(size=n_items)
    return X, y


def blobs(table, seed=0):
    """Return features in as many far-apart places as rows, and classes with these counts."""
    generator = np.random.default_rng(seed)
    place, code = (np.repeat(index.ravel(), table.ravel()) for index in np.indices(table.shape))
    order = generator.permutation(len(place))
    X = 100 * np.eye(len(table))[place] + generator.normal(size=(len(place), len(table)))
    return X[order], np.array(list("abcdef"))[code][order]


TABLE = np.array([[40, 0, 10], [5, 60, 5], [0, 20, 20], [30, 30, 30]])


class TestClusters:
    def test_clusters_that_are_plain_give_the_information_of_the_table(self):
        found = cluster_information(*blobs(TABLE), n_clusters=4)
        assert found.bits == pytest.approx(table_information(TABLE))
        assert found.label_bits == pytest.approx(entropy(TABLE.sum(0)))
        assert found.share == pytest.approx(found.bits / entropy(TABLE.sum(0)))
        assert (found.n_clusters, found.n_items, found.n_classes) == (4, 250, 3)

    def test_chance_is_the_mean_over_shuffled_labels(self):
        X, label = blobs(TABLE)
        found = cluster_information(X, label, n_clusters=4)
        generator = np.random.default_rng(1)
        clusters = X.argmax(1)
        shuffled = []
        for _ in range(400):
            codes = np.unique(generator.permutation(label), return_inverse=True)[1]
            shuffled.append(table_information(np.histogram2d(clusters, codes, (4, 3))[0]))
        assert found.chance_bits == pytest.approx(np.mean(shuffled), abs=0.0015)
        assert found.chance_share == found.chance_bits / found.label_bits

    def test_an_absent_label_is_at_chance_and_a_present_one_far_above(self):
        generator = np.random.default_rng(2)
        X = generator.normal(size=(1000, 5))
        absent = [
            cluster_information(X, generator.integers(4, size=1000), n_clusters=20)
            for _ in range(10)
        ]
        chance = np.mean([found.chance_bits for found in absent])
        assert chance == pytest.approx(19 * 3 / (2000 * np.log(2)), abs=0.003)
        # Three standard errors of the mean of ten chi-squared values with 57 degrees of freedom.
        assert np.mean([found.bits for found in absent]) == pytest.approx(chance, abs=0.0075)
        present = cluster_information(X, X[:, 0] > 0, n_clusters=20)
        assert present.bits > 10 * present.chance_bits

    def test_by_group_clusters_are_found_on_some_and_measured_on_others(self):
        generator = np.random.default_rng(3)
        X = generator.normal(size=(300, 3))
        label = np.where(X[:, 0] > 0, "F", "M")
        speaker = np.arange(300) % 9
        found = cluster_information(X, label, n_clusters=6, groups=speaker, n_folds=3, seed=4)
        bits = []
        for fit, held in GroupKFold(3).split(X, groups=speaker):
            means = KMeans(6, n_init=1, random_state=4).fit(X[fit])
            codes = (label[held] == "M").astype(int)
            bits.append(table_information(np.histogram2d(means.predict(X[held]), codes, (6, 2))[0]))
        assert found.bits == pytest.approx(np.mean(bits))
        assert found.chance_bits > cluster_information(X, label, n_clusters=6).chance_bits

    def test_the_seed_decides(self):
        X = np.random.default_rng(5).normal(size=(300, 4))
        found = [cluster_information(X, X[:, 0] > 0, n_clusters=9, seed=k) for k in (0, 0, 1)]
        assert found[0] == found[1] != found[2]

    def test_many_items_are_clustered_in_small_batches(self, monkeypatch):
        monkeypatch.setattr("speechprobe.probes.information.MANY_ITEMS", 100)
        found = cluster_information(*blobs(TABLE), n_clusters=4, seed=1)
        assert 0 < found.bits <= table_information(TABLE) + 1e-9

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"label": np.random.default_rng(0).normal(size=250)}, "fractional numbers; bin them"),
            ({"label": ["a"] * 250}, "the target is 'a' for all 250 items"),
            ({"label": ["a", None] * 125}, "125 missing values, first in row 1"),
            ({"label": ["a", "b"]}, r"must be \(250,\)"),
            ({"n_clusters": 251}, "n_clusters must be from 2 to the number of items.*250"),
            ({"n_clusters": 1}, "n_clusters must be from 2"),
            ({"groups": np.arange(250) % 2}, "groups, which is 2"),
            ({"groups": np.arange(250) // 125, "label": np.arange(250) // 125, "n_folds": 2},
             "one class only in the items of every fold"),
            ({"X": np.full((250, 2), np.nan)}, "X holds NaN"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_measured_is_refused(self, changes, message):
        X, label = blobs(TABLE)
        arguments = {"X": X, "label": label, "n_clusters": 4} | changes
        with pytest.raises(ValueError, match=message):
            cluster_information(arguments.pop("X"), arguments.pop("label"), **arguments)


class TestNeighbours:
    @pytest.mark.parametrize("r", [0.0, 0.5, 0.9])
    @pytest.mark.parametrize("n_dims", [1, 3])
    def test_of_a_normal_distribution_it_is_the_closed_form(self, r, n_dims):
        found = np.mean(
            [neighbour_information(*gaussian(r, 2000, n_dims, seed)) for seed in range(3)]
        )
        # High correlations in several dimensions are known to be underestimated.
        assert found == pytest.approx(-0.5 * np.log2(1 - r**2), abs=0.03 if n_dims == 1 else 0.15)

    @pytest.mark.parametrize("n_neighbors", [2, 5])
    def test_in_one_dimension_it_is_scikit_learns(self, n_neighbors):
        X, y = gaussian(0.7, 500)
        nats = mutual_info_regression(X, y, n_neighbors=n_neighbors, random_state=0)[0]
        found = neighbour_information(X, y, n_neighbors=n_neighbors)
        assert found == pytest.approx(nats / np.log(2), abs=1e-9)
        label = np.where(y > 0, "F", "M")
        nats = mutual_info_classif(X, label, n_neighbors=n_neighbors, random_state=0)[0]
        found = neighbour_information(X, label, n_neighbors=n_neighbors)
        assert found == pytest.approx(nats / np.log(2), abs=1e-9)

    def test_of_classes_that_features_tell_it_is_their_entropy(self):
        X, label = blobs(np.diag([100, 200, 100]))
        assert neighbour_information(X, label) == pytest.approx(1.5, abs=0.02)

    def test_a_relation_that_is_not_linear_counts(self):
        X, _ = gaussian(0, 1000, 2)
        assert neighbour_information(X, X[:, 0] * X[:, 1]) > 1

    def test_scales_of_dimensions_do_not_matter(self):
        X, y = gaussian(0.7, 500, 3)
        expected = neighbour_information(X, y)
        found = neighbour_information(X * [1, 1000, 0.001] + 5, 7 * y)
        assert found == pytest.approx(expected, abs=0.01)

    def test_repeated_values_do_not_break_it(self):
        X, y = gaussian(0.0, 600)
        found = neighbour_information(X.round(), y.round())
        assert abs(found) < 0.1

    def test_many_dimensions_are_warned_of(self):
        X, y = gaussian(0.5, 100, 11)
        with pytest.warns(UserWarning, match="distances in 11 dimensions"):
            neighbour_information(X, y)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"target": np.ones(60)}, "the target is 1.0 for all 60 items"),
            ({"target": np.r_[np.nan, np.arange(59)]}, "1 missing values, first in row 0"),
            ({"n_neighbors": 60}, "n_neighbors must be from 1 to below the 60 items"),
            ({"n_neighbors": 0}, "n_neighbors must be from 1"),
            ({"target": ["a"] * 58 + ["b"] * 2}, "every class needs more than n_neighbors=3.*2"),
            ({"X": np.ones((60, 2))}, "X is the same for all 60 items"),
        ],
    )
    def test_what_cannot_be_measured_is_refused(self, arguments, message):
        X, y = gaussian(0.5, 60)
        arguments = {"X": X, "target": y} | arguments
        with pytest.raises(ValueError, match=message):
            neighbour_information(**arguments)


class TestDimensions:
    def test_each_dimension_has_its_own(self):
        X, _ = gaussian(0, 2000, 3)
        y = 0.9 * X[:, 1] + np.sqrt(1 - 0.81) * X[:, 2]
        found = dimension_information(X, y)
        expected = [0, -0.5 * np.log2(1 - 0.81), -0.5 * np.log2(0.81)]
        np.testing.assert_allclose(found, expected, atol=0.06)

    def test_classes_are_told_from_numbers(self):
        X, _ = gaussian(0, 600, 2)
        label = np.array(["F", "M"])[(X[:, 1] > 0).astype(int)]
        np.testing.assert_allclose(dimension_information(X, label), [0, 1], atol=0.06)
        np.testing.assert_allclose(dimension_information(X, X[:, 1] > 0), [0, 1], atol=0.06)


class TestUsable:
    def test_it_is_the_cross_entropy_held_out(self):
        X, y = gaussian(0.7, 400, 3)
        label, speaker = np.where(y > 0.3, "F", "M"), np.arange(400) % 20
        found = usable_information(X, label, probe=GaussianNB(), groups=speaker)
        split = GroupKFold(5)
        probability = cross_val_predict(
            GaussianNB(), X, label, groups=speaker, cv=split, method="predict_proba"
        )
        mixed = (320 * probability + 0.5) / 321
        remaining = log_loss(label, mixed / mixed.sum(1, keepdims=True)) / np.log(2)
        assert found.remaining_bits == pytest.approx(remaining, abs=1e-9)
        assert found.label_bits == pytest.approx(
            entropy([(label == "F").sum(), (label == "M").sum()]), abs=0.01
        )
        assert found.bits == found.label_bits - found.remaining_bits

    def test_single_items_sum_to_the_whole(self):
        X, y = gaussian(0.7, 300, 2)
        for target, probe in ((y > 0, LogisticProbe(C=1.0)), (y, RidgeProbe())):
            found = usable_information(X, target, probe=probe)
            assert found.pointwise.shape == (300,)
            assert found.pointwise.mean() == pytest.approx(found.bits)
            assert found.share == pytest.approx(found.bits / found.label_bits)

    def test_of_a_label_that_features_tell_it_is_the_entropy(self):
        X, label = blobs(np.diag([100, 200, 100]))
        found = usable_information(X, label, probe=LogisticRegression(max_iter=1000))
        assert found.bits == pytest.approx(1.5, abs=0.03)
        assert found.share == pytest.approx(1, abs=0.02)

    def test_of_an_absent_label_it_is_zero(self):
        generator = np.random.default_rng(6)
        X = generator.normal(size=(2000, 3))
        label = generator.permutation(np.repeat(list("aab"), [900, 300, 800]))
        found = usable_information(X, label, probe=LogisticProbe())
        assert found.bits == pytest.approx(0, abs=0.005)
        number = generator.normal(size=2000)
        assert usable_information(X, number, probe=RidgeProbe()).bits == pytest.approx(0, abs=0.005)

    @pytest.mark.parametrize("r", [0.3, 0.6, 0.9])
    def test_of_a_linear_relation_of_numbers_it_is_the_closed_form(self, r):
        X, y = gaussian(r, 5000, 4)
        found = usable_information(X, 3 * y + 100, probe=LinearRegression())
        assert found.bits == pytest.approx(-0.5 * np.log2(1 - r**2), abs=0.04)

    def test_it_depends_on_the_family(self):
        X, _ = gaussian(0, 800, 2)
        y = X[:, 0] * X[:, 1]
        assert usable_information(X, y, probe=RidgeProbe()).bits < 0.05
        perceptron = TorchMLPRegressor((64,), learning_rate=1e-2, epochs=40)
        assert usable_information(X, y, probe=perceptron).bits > 0.5

    def test_the_precision_hardly_matters(self):
        X, y = gaussian(0.8, 500)
        found = [
            usable_information(X, y, probe=RidgeProbe(), precision=step).bits
            for step in (0.1, 0.01, 0.001)
        ]
        np.testing.assert_allclose(found, found[0], atol=0.01)

    def test_a_probe_that_is_sure_and_wrong_gets_less_than_nothing(self):
        generator = np.random.default_rng(7)
        X, label = generator.normal(size=(300, 5)), generator.integers(2, size=300)
        assert usable_information(X, label, probe=DecisionTreeClassifier(random_state=0)).bits < -2

    def test_a_voice_is_of_no_use_for_other_speakers(self):
        generator = np.random.default_rng(8)
        speaker = np.repeat(np.arange(40), 10)
        X = generator.normal(size=(40, 60))[speaker] + 0.1 * generator.normal(size=(400, 60))
        label = (generator.permutation(40) < 20)[speaker]
        probe = LogisticProbe(C=1.0)
        assert usable_information(X, label, probe=probe).bits > 0.8
        assert usable_information(X, label, probe=probe, groups=speaker).bits < 0.1

    def test_the_seed_decides_where_there_are_no_groups(self):
        X, y = gaussian(0.5, 200)
        found = [usable_information(X, y, probe=RidgeProbe(), seed=k).bits for k in (0, 0, 1)]
        assert found[0] == found[1] != found[2]

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"probe": SVC()}, TypeError, "SVC gives no probabilities"),
            ({"y": [1] * 60}, ValueError, "one class only"),
            ({"y": np.arange(60) >= 30, "groups": np.arange(60) // 30, "n_folds": 2}, ValueError,
             "fold 0 has one class only to fit on"),
            ({"groups": np.arange(60) % 3}, ValueError, "groups, which is 3; got 5"),
            ({"n_folds": 61}, ValueError, "number of items, which is 60; got 61"),
            ({"X": [[np.nan]] * 60}, ValueError, "X has missing values"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_measured_is_refused(self, changes, error, message):
        X, y = gaussian(0.5, 60)
        arguments = {"X": X, "y": y > 0, "probe": KNeighborsClassifier()} | changes
        with pytest.raises(error, match=message):
            usable_information(arguments.pop("X"), arguments.pop("y"), **arguments)

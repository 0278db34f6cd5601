"""The online code: a second count of its bits, what it orders, and what it costs by chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from speechprobe.probes import LogisticProbe, RidgeProbe, TorchMLPClassifier
from speechprobe.probes.mdl import FRACTIONS, Block, mdl


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(800, 4))


def emotions(values):
    return np.array(["anger", "fear", "joy"])[np.digitize(values, [-0.4, 0.4])]


def test_the_blocks_end_where_the_paper_has_them(features):
    X = np.tile(features, (5, 1))
    found = mdl(X, X[:, 0] > 0, probe=GaussianNB())
    assert np.cumsum([block.n_coded for block in found.blocks]).tolist() == [
        4, 8, 16, 32, 64, 128, 250, 500, 1000, 2000, 4000,
    ]  # fmt: skip
    assert [block.n_fit for block in found.blocks[1:]] == [
        4, 8, 16, 32, 64, 128, 250, 500, 1000, 2000,
    ]  # fmt: skip
    assert found.blocks[0] == Block(0, 4, 4.0)
    assert FRACTIONS[-1] == 1


def test_bits_are_minus_log2_of_the_probability_of_the_truth(features):
    """Counted by hand, item by item, in the same order."""
    y = emotions(features[:, 0])
    order = np.random.default_rng(7).permutation(800)  # place of each group is its rank
    found = mdl(features, y, probe=GaussianNB(), seed=7, fractions=(0.1, 0.5, 1.0))
    order = np.argsort(order)
    bits = 80 * np.log2(3)
    for start, stop in ((80, 400), (400, 800)):
        fitted = GaussianNB().fit(features[order[:start]], y[order[:start]])
        for item in order[start:stop]:
            probability = fitted.predict_proba(features[[item]])[0]
            truth = probability[list(fitted.classes_).index(y[item])]
            bits -= np.log2((start * truth + 1 / 3) / (start + 1))
    assert found.bits == pytest.approx(bits)
    assert found.uniform_bits == pytest.approx(800 * np.log2(3))
    assert found.compression == pytest.approx(800 * np.log2(3) / bits)
    assert found.bits_per_item == pytest.approx(bits / 800)


class TestPlantedSignals:
    def compressions(self, features, probe):
        linear = emotions(features[:, 0])
        quadratic = np.where(features[:, 0] * features[:, 1] > 0, "fear", "joy")
        absent = np.random.default_rng(1).permutation(linear)
        return [mdl(features, y, probe=probe).compression for y in (linear, quadratic, absent)]

    def test_a_perceptron_tells_linear_from_quadratic_from_absent(self, features):
        probe = TorchMLPClassifier((32,), learning_rate=3e-3, epochs=40)
        linear, quadratic, absent = self.compressions(features, probe)
        assert linear > 1.2 * quadratic
        assert quadratic > 1.2 * absent
        assert absent < 1

    def test_a_linear_probe_finds_no_quadratic_signal(self, features):
        linear, quadratic, _ = self.compressions(features, LogisticProbe(C=1.0))
        assert linear > 2
        assert quadratic < 1

    def test_a_signal_that_more_dimensions_hide_takes_longer(self, features):
        y = features[:, 0] > 0
        noise = np.random.default_rng(2).normal(size=(800, 60))
        plain = mdl(features, y, probe=LogisticProbe(C=1.0)).bits
        assert mdl(np.hstack([features, noise]), y, probe=LogisticProbe(C=1.0)).bits > 1.3 * plain


@pytest.mark.parametrize(
    "probe",
    [
        LogisticProbe(C=1.0),
        TorchMLPClassifier((16,), learning_rate=1e-2, epochs=20),
        LogisticRegression(),
        make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)),
        RandomForestClassifier(20, random_state=0),
        KNeighborsClassifier(1),
    ],
    ids=lambda probe: type(probe).__name__,
)
def test_any_classifier_with_probabilities_makes_a_code(features, probe):
    found = mdl(features, features[:, 0] > 0, probe=probe)
    assert np.isfinite(found.bits)
    assert found.compression > 1.2


def test_a_probability_of_zero_costs_what_the_mixture_says(features):
    """One neighbour is sure of all it says: a wrong answer costs log2(2 (n_fit + 1)) bits."""
    y = features[:, 0] > 0
    found = mdl(features, y, probe=KNeighborsClassifier(1), fractions=(0.5, 1.0))
    order = np.argsort(np.random.default_rng(0).permutation(800))
    fitted = KNeighborsClassifier(1).fit(features[order[:400]], y[order[:400]])
    wrong = (fitted.predict(features[order[400:]]) != y[order[400:]]).sum()
    right = 400 - wrong
    expected = wrong * np.log2(2 * 401) - right * np.log2((400 + 0.5) / 401)
    assert wrong > 0
    assert found.blocks[1].bits == pytest.approx(expected)


def test_a_class_that_comes_late_is_coded_at_last():
    X = np.arange(20.0)[:, None]
    y = np.array(["a"] * 18 + ["b", "c"])
    found = mdl(X, y, probe=GaussianNB(var_smoothing=0.1), fractions=(0.1, 0.5, 0.8, 1.0), seed=1)
    assert np.isfinite(found.bits)
    assert sum(block.n_coded for block in found.blocks) == 20


def test_the_uniform_code_goes_on_while_there_is_one_class():
    y = np.repeat(["a", "b"], [200, 2])
    X = np.random.default_rng(0).normal(size=(202, 2))
    found = mdl(X, y, probe=LogisticProbe())
    alone = [block for block in found.blocks if block.n_fit == 0]
    assert len(alone) > 1
    assert all(block.bits == block.n_coded for block in alone)


class TestGroups:
    def test_no_group_is_coded_by_a_probe_that_knows_it(self, features):
        speaker = np.arange(800) % 23
        seen = []

        class Watched(GaussianNB):
            def fit(self, X, y):
                seen.append(set(X[:, -1]))
                return super().fit(X, y)

            def predict_proba(self, X):
                assert not seen[-1] & set(X[:, -1])
                return super().predict_proba(X)

        X = np.column_stack([features, speaker])
        found = mdl(X, features[:, 0] > 0, probe=Watched(), groups=speaker)
        assert seen
        assert sum(block.n_coded for block in found.blocks) == 800

    def test_a_voice_is_worth_nothing_to_other_speakers(self):
        generator = np.random.default_rng(3)
        speaker = np.repeat(np.arange(40), 20)
        X = generator.normal(size=(40, 60))[speaker] + 0.1 * generator.normal(size=(800, 60))
        y = (generator.permutation(40) < 20)[speaker]
        probe = LogisticProbe(C=1.0)
        assert mdl(X, y, probe=probe).compression > 3
        assert mdl(X, y, probe=probe, groups=speaker).compression < 1


class TestNumbers:
    def test_the_code_is_that_of_a_normal_distribution(self, features):
        """Counted by hand with scipy's distribution, in steps of the precision."""
        y = features[:, 0] + 0.3 * features[:, 1] ** 2
        found = mdl(features, y, probe=LinearRegression(), precision=0.05, fractions=(0.1, 0.4, 1))
        order = np.argsort(np.random.default_rng(0).permutation(800))
        n_symbols = int((y.max() - y.min()) / 0.05) + 1
        bits, scale = 80 * np.log2(n_symbols), y.std()
        edges = y.min() + 0.05 * np.arange(n_symbols + 1)
        for start, stop in ((80, 320), (320, 800)):
            fitted = LinearRegression().fit(features[order[:start]], y[order[:start]])
            rows = order[start:stop]
            centre = fitted.predict(features[rows])
            for item, middle in zip(rows, centre, strict=True):
                mass = np.diff(norm.cdf(edges, middle, scale))
                step = min(int((y[item] - y.min()) / 0.05), n_symbols - 1)
                bits -= np.log2((start * mass[step] / mass.sum() + 1 / n_symbols) / (start + 1))
            scale = np.sqrt(np.mean((y[rows] - centre) ** 2))
        assert found.n_symbols == n_symbols
        assert found.bits == pytest.approx(bits)
        assert found.uniform_bits == pytest.approx(800 * np.log2(n_symbols))

    def test_signals_are_ordered_and_worth_their_bits(self):
        generator = np.random.default_rng(4)
        X = generator.normal(size=(4000, 3))
        noise = generator.normal(size=4000)
        bits = []
        for r in (0.9, 0.5, 0.0):
            y = r * X[:, 0] + np.sqrt(1 - r**2) * noise
            bits.append(mdl(X, y, probe=RidgeProbe(), precision=0.01).bits_per_item)
        # The entropy of a normal distribution told in steps of 0.01, less what is learnt.
        whole = np.log2(100 * np.sqrt(2 * np.pi * np.e))
        expected = [whole + 0.5 * np.log2(1 - r**2) for r in (0.9, 0.5, 0.0)]
        np.testing.assert_allclose(bits, expected, atol=0.05)

    def test_the_precision_shifts_all_codes_alike(self, features):
        y = features[:, 0] + features[:, 1] ** 2
        coarse, fine = (
            mdl(features, y, probe=RidgeProbe(), precision=step).bits_per_item
            for step in (0.02, 0.01)
        )
        assert fine - coarse == pytest.approx(1, abs=0.02)

    def test_a_prediction_far_outside_costs_no_more_than_the_mixture(self, features):
        class Mad(LinearRegression):
            def predict(self, X):
                return np.full(len(X), 1e9)

        found = mdl(features, features[:, 0], probe=Mad(), fractions=(0.5, 1.0))
        assert found.blocks[1].bits == pytest.approx(400 * np.log2(found.n_symbols * 401), rel=1e-3)


def test_the_seed_decides(features):
    y = emotions(features[:, 0])
    first, again, other = (
        mdl(features, y, probe=LogisticProbe(), seed=seed).bits for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_probe_itself_is_never_fitted(features):
    probe = LogisticProbe()
    mdl(features, features[:, 0] > 0, probe=probe)
    assert not hasattr(probe, "classes_")


def test_the_table_has_a_row_a_block(features):
    found = mdl(features, features[:, 0] > 0, probe=GaussianNB())
    table = found.table()
    assert list(table.columns) == ["n_fit", "n_coded", "bits", "bits_per_item"]
    assert table["bits"].sum() == pytest.approx(found.bits, abs=0.01)
    assert len(table) == len(found.blocks)


x = np.random.default_rng(0).normal(size=(50, 2))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"probe": SVC()}, TypeError, "SVC gives no probabilities"),
        ({"probe": LogisticProbe}, TypeError, "must be a scikit-learn estimator"),
        ({"probe": StandardScaler()}, TypeError, "must be a classifier or a regressor"),
        ({"y": np.zeros(50)}, ValueError, "one class only, 0.0"),
        ({"y": x[:, 0]}, ValueError, "fractional numbers"),
        ({"y": x[:9, 0] > 0}, ValueError, r"got \(50, 2\) and \(9,\)"),
        ({"y": np.array(["a", None] * 25, dtype=object)}, ValueError, "y has missing values"),
        ({"X": np.where(x > 1, np.nan, x)}, ValueError, "X has missing values, first in row"),
        ({"X": x[:1], "y": [True]}, ValueError, "one class only"),
        ({"fractions": (0.5, 0.2, 1.0)}, ValueError, "fractions must be positive and rise"),
        ({"fractions": (0.5, 0.9)}, ValueError, "the last fraction must be 1"),
        ({"groups": list("abc")}, ValueError, r"groups must be \(50,\)"),
        ({"probe": RidgeProbe(), "y": np.ones(50)}, ValueError, "more than one value"),
        ({"probe": RidgeProbe(), "y": ["a", "b"] * 25}, ValueError, "a target of numbers"),
        ({"probe": RidgeProbe(), "y": x[:, 0], "precision": -1}, ValueError, "precision must be"),
        ({"probe": KNeighborsClassifier(30)}, ValueError, r"fails on the first \d+ items.*larger"),
    ],
)
def test_what_makes_no_code_is_refused(changes, error, message):
    arguments = {"X": x, "y": x[:, 0] > 0, "probe": LogisticProbe()} | changes
    with pytest.raises(error, match=message):
        mdl(arguments.pop("X"), arguments.pop("y"), **arguments)


def test_one_group_and_a_step_wider_than_the_range_are_refused():
    x = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.raises(ValueError, match="all items are of one group"):
        mdl(x, x[:, 0], probe=RidgeProbe(), groups=np.zeros(60))
    with pytest.raises(ValueError, match="precision=100 is wider than the range of the target"):
        mdl(x, x[:, 0], probe=RidgeProbe(), precision=100)


def test_a_probe_that_leaves_groups_out_is_given_them():
    x = np.random.default_rng(0).normal(size=(200, 2))
    probe = RidgeProbe(selection="groups")
    found = mdl(x, x[:, 0], probe=probe, groups=np.arange(200) // 10, fractions=(0.25, 0.5, 1.0))
    assert found.compression > 1

"""compare_layers: single calls, items matched by id, held out by group, what is refused."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from speechprobe.features import Features
from speechprobe.layers import pairs
from speechprobe.layers.compare import LayerSimilarity, compare_layers
from speechprobe.metrics.similarity import linear_cka, rbf_cka, rsa
from speechprobe.probes.cca import cca, cka, pwcca, svcca

N_ITEMS = 150


@pytest.fixture
def models():
    """Two models over one corpus, of other widths, depths and orders of the items."""
    generator = np.random.default_rng(0)
    speech = generator.normal(size=(N_ITEMS, 8))
    ids = [f"u{number:03d}" for number in range(N_ITEMS)]
    items = pd.DataFrame({"speaker": [f"s{number % 10}" for number in range(N_ITEMS)]}, index=ids)
    noise = generator.normal(size=(N_ITEMS, 5))
    first = Features(
        {"stem": speech, "block": np.tanh(speech @ generator.normal(size=(8, 12))), "noise": noise},
        items,
        {"name": "first"},
    )
    order = generator.permutation(N_ITEMS)
    rotation = np.linalg.qr(generator.normal(size=(8, 8)))[0]
    second = Features(
        {"front": (2 * speech @ rotation)[order], "back": np.sin(3 * speech)[order]},
        items.iloc[order],
        {"name": "second"},
    )
    return first, second, order


SIMILARITIES = [
    linear_cka,
    rbf_cka,
    rsa,
    svcca,
    pwcca,
    functools.partial(linear_cka, debiased=True),
    functools.partial(rbf_cka, bandwidth=0.5, debiased=True),
    functools.partial(cka, kernel="rbf", bandwidth=2.0),
    functools.partial(rsa, distance="euclidean"),
    functools.partial(rsa, distance=("cosine", "euclidean")),
]


@pytest.mark.filterwarnings("ignore:150 items for")
@pytest.mark.parametrize("similarity", SIMILARITIES, ids=range(len(SIMILARITIES)))
def test_every_pair_is_a_single_call_on_items_of_one_id(models, similarity):
    first, second, order = models
    found = compare_layers(first, second, similarity)
    back = np.argsort(order)
    for i, X in enumerate(first.layers.values()):
        for j, Y in enumerate(second.layers.values()):
            assert found.matrix[i, j] == pytest.approx(similarity(X, Y[back]), abs=1e-10)
    assert found.layers == ("stem", "block", "noise")
    assert found.other_layers == ("front", "back")


@pytest.mark.filterwarnings("ignore:150 items for")
@pytest.mark.parametrize("similarity", SIMILARITIES, ids=range(len(SIMILARITIES)))
def test_a_model_is_compared_with_itself(models, similarity):
    first, _, _ = models
    found = compare_layers(first, similarity=similarity)
    np.testing.assert_allclose(found.matrix, compare_layers(first, first, similarity).matrix)
    assert found.layers == found.other_layers
    if not (isinstance(similarity, functools.partial) and "distance" in similarity.keywords):
        np.testing.assert_allclose(np.diag(found.matrix), 1)


def test_a_rotated_layer_is_the_nearest_and_noise_is_far(models):
    first, second, _ = models
    found = compare_layers(first, second, functools.partial(linear_cka, debiased=True))
    nearest = found.nearest()
    assert nearest.loc["stem"].tolist() == ["front", 1.0]
    assert found.table().loc["noise"].abs().max() < 0.1


@pytest.mark.parametrize("similarity", [linear_cka, rsa])
def test_layers_that_do_not_fit_at_once_give_the_same(models, similarity, monkeypatch):
    first, second, _ = models
    whole = compare_layers(first, second, similarity).matrix
    monkeypatch.setattr(pairs, "PREPARED_BYTES", 1)
    np.testing.assert_allclose(compare_layers(first, second, similarity).matrix, whole, atol=1e-12)


@pytest.mark.filterwarnings("ignore:150 items for")
@pytest.mark.parametrize("name", ["linear_cka", "rbf_cka", "cka", "rsa", "cca", "svcca", "pwcca"])
def test_names_are_functions(models, name):
    first, second, _ = models
    function = {f.__name__: f for f in (linear_cka, rbf_cka, cka, rsa, cca, svcca, pwcca)}[name]
    by_name = compare_layers(first, second, name)
    np.testing.assert_array_equal(by_name.matrix, compare_layers(first, second, function).matrix)
    assert by_name.settings["similarity"] == name


def test_any_function_is_a_similarity(models):
    def first_dimension(X, Y):
        """Return the correlation of the first dimensions."""
        return np.corrcoef(X[:, 0], Y[:, 0])[0, 1]

    first, second, order = models
    found = compare_layers(first, second, first_dimension)
    back = np.argsort(order)
    expected = np.corrcoef(first["stem"][:, 0], second["back"][back, 0])[0, 1]
    assert found.matrix[0, 1] == pytest.approx(expected)
    assert found.settings["similarity"] == "first_dimension"


@pytest.mark.filterwarnings("ignore:150 items for")
@pytest.mark.parametrize("similarity", [svcca, pwcca, cca])
def test_speakers_are_held_out_where_the_similarity_fits(models, similarity):
    first, second, order = models
    found = compare_layers(first, second, similarity, groups="speaker")
    back = np.argsort(order)
    speaker = first.items["speaker"].to_numpy()
    expected = float(similarity(first["noise"], second["back"][back], groups=speaker))
    assert found.matrix[2, 1] == pytest.approx(expected)
    assert found.matrix[2, 1] < float(similarity(first["noise"], second["back"][back]))
    assert found.settings["groups"] == "speaker"


class TestMatching:
    def test_items_of_one_model_only_are_left_out_with_a_warning(self, models):
        first, second, _ = models
        fewer = second.select(second.items.index[:100])
        with pytest.warns(UserWarning, match="100 items are in both; 50 of a and 0 of b are left"):
            found = compare_layers(first, fewer)
        same = compare_layers(first.select(fewer.items.index), fewer)
        np.testing.assert_allclose(found.matrix, same.matrix)
        assert found.settings["n_items"] == 100
        assert found.settings["left_out"] == {"a": 50, "b": 0}

    def test_groups_follow_the_items_that_are_left(self, models):
        first, second, _ = models
        fewer = second.select(second.items.index[:100])
        similarity = functools.partial(svcca, variance_kept=0.5)
        with pytest.warns(UserWarning, match="100 items are in both"):
            found = compare_layers(first, fewer, similarity, groups="speaker")
        same = compare_layers(first.select(fewer.items.index), fewer, similarity, groups="speaker")
        np.testing.assert_allclose(found.matrix, same.matrix)

    def test_features_without_ids_are_matched_by_row(self):
        x = np.random.default_rng(1).normal(size=(20, 3))
        plain = Features({"layer": x}, pd.DataFrame(index=range(20)))
        assert compare_layers(plain, Features({"other": x}, plain.items)).matrix == pytest.approx(1)

    def test_equal_tables_may_repeat_ids(self):
        x = np.random.default_rng(1).normal(size=(20, 3))
        repeated = Features({"layer": x}, pd.DataFrame(index=["u1", "u2"] * 10))
        assert compare_layers(repeated, repeated).matrix == pytest.approx(1)

    def test_others_may_not(self, models):
        first, _, _ = models
        repeated = Features({"x": np.eye(4)}, pd.DataFrame(index=["u001", "u002", "u001", "u3"]))
        with pytest.raises(ValueError, match="ids of b are not unique, first 'u001'"):
            compare_layers(first, repeated)

    def test_another_corpus_is_refused(self, models):
        first, _, _ = models
        other = Features({"x": np.eye(3)}, pd.DataFrame(index=["v1", "v2", "v3"]))
        with pytest.raises(ValueError, match="no item is in both: ids of a are such as 'u000'.*v1"):
            compare_layers(first, other)


class TestResult:
    @pytest.fixture
    def found(self):
        matrix = np.array([[1.0, 0.12345], [0.5, 0.75]])
        return LayerSimilarity(matrix, ("a", "b"), ("c", "d"), {"similarity": "rsa"})

    def test_the_table_has_a_row_a_layer_and_a_column_a_layer(self, found):
        table = found.table()
        assert table.loc["a"].to_dict() == {"c": 1.0, "d": 0.123}
        assert table.index.name == "layer"

    def test_csv_holds_full_precision(self, found, tmp_path):
        found.to_csv(tmp_path / "rsa.csv")
        frame = pd.read_csv(tmp_path / "rsa.csv", index_col="layer")
        assert (frame.to_numpy() == found.matrix).all()
        assert list(frame.columns) == ["c", "d"]

    def test_it_is_frozen(self, found):
        with pytest.raises(AttributeError):
            found.matrix = None

    def test_it_keeps_where_the_features_came_from(self, models):
        first, second, _ = models
        settings = compare_layers(first, second).settings
        assert settings["provenance"] == {"name": "first"}
        assert settings["other_provenance"] == {"name": "second"}
        assert settings["n_items"] == N_ITEMS


def broken(first, value):
    layers = dict(first.layers) | {"block": np.full((N_ITEMS, 2), value)}
    return Features(layers, first.items)


@pytest.mark.parametrize("similarity", ["linear_cka", "rsa", "svcca"])
def test_a_layer_that_cannot_be_compared_is_named(models, similarity):
    first, _, _ = models
    with pytest.raises(ValueError, match="layer 'block' of a holds NaN"):
        compare_layers(broken(first, np.nan), first, similarity)
    with pytest.raises(ValueError, match="layer 'block' of b is the same for all 150 items"):
        compare_layers(first, broken(first, 0.1), similarity)


def test_wrong_similarities_are_refused(models):
    first, second, _ = models
    with pytest.raises(ValueError, match=r"no similarity 'lcka' among \['linear_cka'"):
        compare_layers(first, second, "lcka")
    with pytest.raises(TypeError, match="a similarity is a function"):
        compare_layers(first, second, 3)
    with pytest.raises(ValueError, match="linear_cka fits nothing.*takes no groups"):
        compare_layers(first, second, groups="speaker")
    with pytest.raises(KeyError, match="no label 'chapter' among"):
        compare_layers(first, second, "svcca", groups="chapter")
    with pytest.raises(ValueError, match="layers 'stem' of a and 'front' of b: n_folds must be"):
        compare_layers(first, second, functools.partial(svcca, n_folds=99), groups="speaker")

"""Paired differences: those of paired_test, corrected, and refused where nothing pairs."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

import speechprobe as sp
from speechprobe.layers.scores import LayerScore, LayerScores
from speechprobe.metrics.comparison import holm, paired_test


def made(layers, truth, groups, seeds=(0,)):
    """Return scores of predictions {layer: (n_seeds, n_items)}."""
    frames = [
        pd.DataFrame({
            "id": np.arange(len(truth)), "group": groups, "fold": 0, "truth": truth,
            "prediction": predicted, "layer": layer, "seed": seed,
        })
        for layer, by_seed in layers.items()
        for seed, predicted in zip(seeds, np.atleast_2d(by_seed), strict=True)
    ]  # fmt: skip
    records = tuple(
        LayerScore(layer, "mae", 0.5, 1.0, 0.1, number, 0.0, len(truth), 4, False)
        for number, layer in enumerate(layers)
    )
    return LayerScores(records, pd.concat(frames, ignore_index=True), {}, records[:1])


@pytest.fixture
def truth():
    return np.random.default_rng(0).normal(size=120)


@pytest.fixture
def speaker():
    return np.repeat(np.arange(15), 8)


@pytest.fixture
def layers(truth):
    generator = np.random.default_rng(1)
    sizes = {"good": 0.3, "alike": 0.3, "poor": 0.6}
    return {name: truth + size * generator.normal(size=120) for name, size in sizes.items()}


def test_differences_are_paired_tests_with_holms_correction(layers, truth, speaker):
    pairs = list(itertools.combinations(layers, 2))
    table = made(layers, truth, speaker).differences(pairs=pairs, n_resamples=300)
    assert list(zip(table["layer"], table["other"], strict=True)) == pairs
    for row in table.itertuples():
        test = paired_test(
            truth, layers[row.layer], layers[row.other], sp.metrics.mae, groups=speaker,
            n_resamples=300,
        )  # fmt: skip
        assert (row.difference, row.low, row.high) == pytest.approx(
            (test.difference, test.low, test.high)
        )
        assert row.p_value == test.p_value
    assert table["p_holm"].tolist() == holm(table["p_value"]).tolist()
    assert table["p_holm"][1] < 0.02 < table["p_value"][0]  # good and poor; good and alike


def test_layers_are_compared_with_the_best_one_by_default(layers, truth, speaker):
    table = made(layers, truth, speaker).differences(n_resamples=50)
    assert table[["layer", "other"]].to_numpy().tolist() == [["alike", "good"], ["poor", "good"]]


def test_models_are_compared_layer_by_layer_and_items_matched_by_id(layers, truth, speaker):
    ours = made(layers, truth, speaker)
    other = made({"good": layers["poor"], "else": truth}, truth, speaker)
    shuffled = replace(other, predictions=other.predictions.sample(frac=1, random_state=0))
    table = ours.differences(shuffled, n_resamples=50)
    assert table[["layer", "other"]].to_numpy().tolist() == [["good", "good"]]
    expected = sp.metrics.mae(truth, layers["good"]) - sp.metrics.mae(truth, layers["poor"])
    assert table["difference"].item() == pytest.approx(expected)


def test_seeds_are_averaged_and_exchanged_together(layers, truth, speaker):
    twice = made({k: [v, v] for k, v in layers.items()}, truth, speaker, seeds=(0, 1))
    once = made(layers, truth, speaker)
    pd.testing.assert_frame_equal(
        twice.differences(n_resamples=100), once.differences(n_resamples=100)
    )


def test_many_alike_layers_make_a_false_finding_in_one_of_twenty_tables(speaker):
    found, alone = 0, 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        truth = generator.normal(size=15)[speaker] + generator.normal(size=120)
        alike = {f"{k}": truth + generator.normal(size=120) for k in range(4)}
        table = made(alike, truth, speaker).differences(n_resamples=100)
        found += (table["p_holm"] < 0.05).any()
        alone += (table["p_value"] < 0.05).any()
    assert found <= 8
    assert alone > found


def test_a_metric_of_ones_own_is_given_as_a_function(layers, truth, speaker):
    scores = made(layers, truth, speaker)
    records = tuple(replace(record, metric="largest_error") for record in scores.records)
    scores = replace(scores, records=records, chosen=records[:1])

    def largest_error(truth, prediction):
        return float(np.abs(truth - prediction).max())

    with pytest.raises(KeyError, match="is no function of speechprobe.metrics, and files keep"):
        scores.differences()
    table = scores.differences(metric=largest_error, n_resamples=20)
    expected = [largest_error(truth, layers[k]) for k in ("alike", "good")]
    assert table["difference"][0] == pytest.approx(expected[0] - expected[1])


def test_metrics_of_other_libraries_compare_layers_of_classes():
    draw = np.random.default_rng(0)
    sex = np.where(draw.random(120) < 0.5, "F", "M")
    layers = {"noise": draw.normal(size=(120, 2)), "good": np.c_[(sex == "M") + 0.0, sex == "F"]}
    items = pd.DataFrame({"speaker": np.arange(120) % 12, "sex": sex})
    scores = sp.probe_layers(
        sp.Features(layers, items), target="sex", groups="speaker",
        probe=sp.probes.LogisticProbe(), metrics=sklearn.metrics.f1_score, n_shuffles=1,
    )  # fmt: skip
    found = scores.differences(n_resamples=50)
    by_layer = {record.layer: record.score for record in scores.records}
    assert found["difference"][0] == pytest.approx(by_layer["noise"] - by_layer["good"])
    with pytest.raises(TypeError, match="a metric is metric="):
        scores.differences("f1_score")


def test_what_does_not_pair_is_refused(layers, truth, speaker):
    scores = made(layers, truth, speaker)
    with pytest.raises(ValueError, match="no layers of one name; say which"):
        scores.differences(made({"else": truth}, truth, speaker))
    with pytest.raises(KeyError, match="no layer 'stem' among"):
        scores.differences(pairs=[("good", "stem")])
    short = {name: values[:100] for name, values in layers.items()}
    with pytest.raises(ValueError, match="20 items were scored for one of the two only"):
        scores.differences(made(short, truth[:100], speaker[:100]))
    with pytest.raises(ValueError, match="truth of the items differs"):
        scores.differences(made(layers, truth + 1, speaker))
    with pytest.raises(ValueError, match="probed with other seeds"):
        scores.differences(made(layers, truth, speaker, seeds=(7,)))
    with pytest.raises(ValueError, match="holds no predictions"):
        replace(scores, predictions=pd.DataFrame()).differences()

"""control_for: what is left of a score beyond nuisance labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import speechprobe as sp
from speechprobe.layers.nuisance import Nuisance


@pytest.fixture
def features():
    """Rate depends on duration and gender; one layer knows those alone, one the rest as well."""
    generator = np.random.default_rng(0)
    speaker = np.repeat(np.arange(20), 20)
    duration, own = generator.normal(5, 2, size=400), generator.normal(size=400)
    gender = np.where(speaker % 2, "F", "M")
    rate = 1.5 * duration + 2.0 * (gender == "F") + own
    items = pd.DataFrame({
        "speaker": speaker, "duration": duration, "gender": gender, "rate": rate,
        "fast": np.where(rate > np.median(rate), "yes", "no"),
    })  # fmt: skip
    noise = 0.1 * generator.normal(size=(400, 2))
    layers = {
        "nuisance": np.column_stack([duration, gender == "F"]) + noise,
        "rate": np.column_stack([rate, noise]),
    }
    return sp.Features(layers, items)


def test_numbers_keep_what_the_nuisance_does_not_tell(features):
    settings = {"target": "rate", "groups": "speaker", "probe": sp.probes.RidgeProbe(),
                "metrics": sp.metrics.r2}  # fmt: skip
    before = sp.probe_layers(features, **settings)
    beyond = sp.probe_layers(features, control_for=["duration", "gender"], **settings)
    assert [record.score > 0.85 for record in before.records] == [True, True]
    assert beyond.records[0].high < 0.05
    assert beyond.records[1].score > 0.95
    assert abs(dict(beyond.records[1].floors)["nuisance"]) < 0.05


def test_the_truth_is_the_residual_of_a_regression_on_the_training_items(features):
    scores = sp.probe_layers(
        features, target="rate", groups="speaker", probe=sp.probes.RidgeProbe(),
        metrics=sp.metrics.r2, control_for=["duration", "gender"],
    )  # fmt: skip
    found = scores.predictions.query("layer == 'rate'").set_index("id")
    known = np.column_stack([features.items["duration"], features.items["gender"] == "F"])
    for _, part in found.groupby("fold"):
        test = features.items.index.isin(part.index)
        fitted = LinearRegression().fit(known[~test], features.items["rate"][~test])
        expected = features.items["rate"][test] - fitted.predict(known[test])
        np.testing.assert_allclose(part["truth"].loc[expected.index], expected, atol=1e-9)


def test_classes_have_the_nuisance_as_a_floor(features):
    scores = sp.probe_layers(
        features, target="fast", groups="speaker", probe=sp.probes.LogisticProbe(C=1.0),
        metrics=sp.metrics.uar, control_for=["duration", "gender"],
    )  # fmt: skip
    nuisance, rate = scores.records
    assert dict(rate.floors)["nuisance"] > 0.8
    assert nuisance.gap_low < 0.02
    assert rate.gap_low > 0.02
    assert "nuisance" in scores.table()
    assert scores.settings["control_for"] == ["duration", "gender"]


def test_no_item_but_those_fitted_on_moves_the_regression(features):
    nuisance = Nuisance(features.items, ["duration", "gender"], target="rate", groups="speaker")
    fit = np.arange(200)
    target = features.items["rate"].to_numpy()
    changed = np.where(np.arange(400) < 200, target, 1e6)
    np.testing.assert_array_equal(
        nuisance.beyond(target, fit)[:200], nuisance.beyond(changed, fit)[:200]
    )


def test_a_value_that_no_fitted_item_has_takes_nothing_out():
    items = pd.DataFrame({"room": list("aabbc"), "rate": [1.0, 2.0, 3.0, 4.0, 7.0]})
    left = Nuisance(items, ["room"], target="rate", groups=None).beyond(
        items["rate"].to_numpy(), np.arange(4)
    )
    np.testing.assert_allclose(left[:4], [-0.5, 0.5, -0.5, 0.5], atol=1e-12)
    assert np.isfinite(left[4])


def test_a_copy_of_the_target_leaves_nothing_to_ask_about():
    items = pd.DataFrame({"rate": np.arange(6.0), "pace": 3 * np.arange(6.0) - 1})
    nuisance = Nuisance(items, ["pace"], target="rate", groups=None)
    with pytest.raises(ValueError, match="is one of them a copy of it"):
        nuisance.beyond(items["rate"].to_numpy(), np.arange(4))


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        ("duration", TypeError, "write control_for="),
        (["age"], KeyError, "no label 'age' among"),
        (["rate"], ValueError, "the target 'rate' itself"),
        (["speaker"], ValueError, "the groups 'speaker'"),
        (["room"], ValueError, "'room': 399 of 400 items have none, first 1"),
    ],
)
def test_what_cannot_be_taken_out_is_said(features, names, kind, message):
    items = features.items.assign(room=np.where(features.items.index == 0, 1.0, np.nan))
    with pytest.raises(kind, match=message):
        sp.probe_layers(
            sp.Features(features.layers, items), target="rate", groups="speaker",
            probe=sp.probes.RidgeProbe(), metrics=sp.metrics.r2, control_for=names,
        )  # fmt: skip

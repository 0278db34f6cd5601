"""The choice of a layer, and of shuffles, where groups are few or labels belong to them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

import speechprobe as sp

SPEAKERS = np.repeat(np.arange(12), 10)


def by_speaker(order, target, **settings):
    """Score a layer of noise and one that holds a label of the speaker, in an order."""
    draw = np.random.default_rng(0)
    height = np.repeat(draw.normal(170, 10, 12), 10)
    layers = {"noise": draw.normal(size=(120, 4)), "good": draw.normal(size=(120, 4))}
    layers["good"][:, 0] += height
    sex = np.where(SPEAKERS % 2, "F", "M")
    layers["good"][:, 1] += 9 * (SPEAKERS % 2)
    items = pd.DataFrame({"speaker": SPEAKERS, "height": height, "sex": sex})
    features = sp.Features({name: layers[name] for name in order}, items)
    return sp.probe_layers(features, target=target, groups="speaker", **settings)


@pytest.mark.parametrize("order", [("noise", "good"), ("good", "noise")])
@pytest.mark.parametrize("metric", [sp.metrics.r2, sp.metrics.pearson])
def test_where_one_speaker_validates_the_squared_error_chooses(order, metric):
    scores = by_speaker(
        order, "height", probe=sp.probes.RidgeProbe(), metrics=metric, n_folds=12, n_shuffles=1
    )
    assert scores.best().layer == "good"
    assert scores.best().score > 0.9  # of the layer of noise it is below 0
    assert any("validation items of 12 of 12 folds" in caution for caution in scores.cautions)


@pytest.mark.parametrize("order", [("noise", "good"), ("good", "noise")])
def test_among_equals_the_accuracy_chooses(order):
    scores = by_speaker(
        order,
        "sex",
        probe=sp.probes.LogisticProbe(),
        metrics=sklearn.metrics.matthews_corrcoef,  # 0 for a speaker, who has one sex
        n_folds=12,
        n_shuffles=1,
    )
    assert scores.best().score == scores.by_metric()[order.index("good")].score > 0.9


def test_nothing_is_said_where_the_metric_exists():
    scores = by_speaker(
        ("noise", "good"), "height", probe=sp.probes.RidgeProbe(), metrics=sp.metrics.mae
    )
    assert not any("is chosen by" in caution for caution in scores.cautions)


@pytest.mark.parametrize(
    ("labels", "kind", "told"),
    [
        (lambda draw: SPEAKERS * 1.0, "groups", False),
        (lambda draw: SPEAKERS + 1e-9 * draw.normal(size=120), "items", True),
        (lambda draw: draw.normal(size=120), "items", False),
    ],
)
def test_scores_tell_what_was_shuffled_and_warn_of_labels_that_nearly_belong_to_groups(
    labels, kind, told
):
    draw = np.random.default_rng(0)
    items = pd.DataFrame({"speaker": SPEAKERS, "age": labels(draw)})
    scores = sp.probe_layers(
        sp.Features({"layer": draw.normal(size=(120, 2))}, items),
        target="age",
        groups="speaker",
        probe=sp.probes.RidgeProbe(),
        metrics=sp.metrics.r2,
        n_shuffles=1,
        select_on=None,
    )
    assert scores.settings["shuffle"] == kind
    assert any("the groups tell 100 % of 'age'" in each for each in scores.cautions) == told


def test_one_wrong_class_of_many_is_pointed_at():
    draw = np.random.default_rng(0)
    sex = np.where(SPEAKERS % 2, "F", "M")
    sex[3] = "F"
    scores = sp.probe_layers(
        sp.Features(
            {"layer": draw.normal(size=(120, 2))}, pd.DataFrame({"g": SPEAKERS, "sex": sex})
        ),
        target="sex",
        groups="g",
        probe=sp.probes.LogisticProbe(),
        metrics=sp.metrics.uar,
        n_shuffles=1,
    )
    assert any("the groups tell 99 % of 'sex'" in each for each in scores.cautions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": {"layer": np.eye(3)}}, "probe_layers wants Features"),
        ({"seeds": 3}, r"such as seeds=\(3,\)"),
        ({"floor": np.eye(3)}, "a floor is Features, or a mapping name -> Features, got ndarray"),
    ],
)
def test_things_of_another_kind_are_named(change, message):
    items = pd.DataFrame({"speaker": SPEAKERS, "age": np.arange(120.0)})
    given = {"features": sp.Features({"layer": np.ones((120, 2))}, items), "target": "age"}
    given |= {"groups": "speaker", "probe": sp.probes.RidgeProbe(), "metrics": sp.metrics.r2}
    given |= change
    with pytest.raises(TypeError, match=message):
        sp.probe_layers(given.pop("features"), **given)

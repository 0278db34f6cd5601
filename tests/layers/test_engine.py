"""Probing spread over the workers of an engine, and of several models at once."""

from __future__ import annotations

import numpy as np
import pytest

import speechprobe as sp


class Here:
    """An engine in this process, which notes what it was given."""

    def __init__(self):
        self.items = []

    def map(self, work, items):
        for item in items:
            self.items.append(item)
            yield work(item)


def probed(features, **more):
    return sp.probe_layers(
        features,
        target="rate",
        groups="speaker",
        probe=sp.probes.RidgeProbe(),
        metrics=sp.metrics.r2,
        n_shuffles=2,
        **more,
    )


def test_probing_on_an_engine_gives_the_same_scores(features):
    engine = Here()
    assert probed(features, engine=engine) == probed(features)
    assert [item.matrices.features.layers.keys() for item in engine.items] == [
        {layer: 0}.keys() for layer in features.layers
    ]


def test_floors_are_spread_as_well(features):
    twin = sp.Features({name: np.asarray(x)[:, :2] for name, x in features.layers.items()},
                       features.items)  # fmt: skip
    single = sp.Features({"noise": features["noise"]}, features.items)
    engine, floor = Here(), {"untrained": twin, "noise": single}
    assert probed(features, floor=floor, engine=engine) == probed(features, floor=floor)
    assert len(engine.items) == 2 * len(features.layers) + 1


def test_several_models_are_probed_as_each_alone(features):
    other = sp.Features({"signal": features["signal"][:, :2]}, features.items)
    engine = Here()
    both = probed({"a": features, "b": other}, engine=engine)
    assert list(both) == ["a", "b"]
    assert both["a"] == probed(features)
    assert both["b"] == probed(other)
    assert len(engine.items) == len(features.layers) + 1
    assert probed({"b": other})["b"] == both["b"]


def test_an_error_names_the_model_it_is_about(features):
    bad = sp.Features({"layer": np.full((120, 2), np.nan)}, features.items)
    with pytest.raises(ValueError, match="holds NaN") as caught:
        probed({"a": features, "broken": bad})
    assert caught.value.__notes__ == ["This is about the features called 'broken'."]


def test_models_must_be_features(features):
    with pytest.raises(TypeError, match="or a mapping of such by name; got ndarray"):
        probed({"a": features, "b": np.zeros((3, 3))})


def test_what_is_no_engine_is_refused(features):
    with pytest.raises(TypeError, match=r"engine must be None or engines\.Ray\(\.\.\.\)"):
        probed(features, engine="ray")

"""learning_curve: sizes by group, widths, and equality with probe_layers at full size."""

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.layers.curve import learning_curve


def curve_of(features, **settings):
    settings = {"probe": sp.probes.RidgeProbe(), "metrics": sp.metrics.r2, "target": "rate",
                "groups": "speaker", "n_folds": 4, **settings}  # fmt: skip
    return learning_curve(features, **settings)


def test_the_full_size_is_the_score_of_probe_layers(features):
    curve = curve_of(features, seeds=(0, 1))
    scores = sp.probe_layers(
        features, target="rate", groups="speaker", probe=sp.probes.RidgeProbe(),
        metrics=sp.metrics.r2, n_folds=4, n_shuffles=0, select_on=None,
    )  # fmt: skip
    full = [point for point in curve.points if point.n_train_groups == 9]
    for point, record in zip(full, scores.records, strict=True):
        assert (point.layer, point.n_train_items) == (record.layer, 90)
        assert point.score == pytest.approx(record.score, abs=1e-9)
        assert (point.low, point.high) == pytest.approx((record.low, record.high), abs=1e-9)
    assert [point.n_train_groups for point in curve.points[:4]] == [1, 2, 4, 9]


def test_groups_are_taken_whole_and_small_sets_lie_in_large_ones(features):
    seen = []

    class Recorded(sp.probes.RidgeProbe):
        def fit_predict_layers(self, matrices, jobs):
            seen.extend(jobs)
            return {name: self.fit_predict_many(rows, jobs) for name, rows in matrices.items()}

    curve_of(features, probe=Recorded(), layers="signal", sizes=[2, 5], seeds=(0,))
    speaker = features.items["speaker"].to_numpy()
    for small, large in zip(seen[:4], seen[4:], strict=True):
        assert set(small.fit) < set(large.fit)
        assert [len(set(speaker[job.fit])) for job in (small, large)] == [2, 5]
        assert [len(job.fit) for job in (small, large)] == [20, 50]
        assert not set(speaker[large.fit]) & set(speaker[large.predict])


def test_a_score_grows_with_the_groups():
    x = np.random.default_rng(0).normal(size=(240, 40))
    items = pd.DataFrame({"speaker": np.arange(240) % 24, "rate": x.sum(axis=1)})
    points = curve_of(sp.Features({"layer": x}, items), sizes=[1, 6, 18]).points
    assert points[0].score < points[1].score < points[2].score
    assert points[0].seed_std > points[2].seed_std == 0


def test_widths_are_those_of_the_hidden_layer(features):
    curve = curve_of(
        features, probe=sp.probes.TorchMLPRegressor(epochs=3, learning_rate=1e-2),
        layers="signal", sizes=[4], widths=[2, 16], seeds=(0,),
    )  # fmt: skip
    narrow, wide = curve.points
    assert (narrow.width, wide.width) == (2, 16)
    assert narrow.score != wide.score
    assert curve.table()["width"].tolist() == [2, 16]
    assert "width" not in curve_of(features, layers="signal", sizes=[2]).table()


def test_sets_without_a_class_are_told_of(features):
    curve = curve_of(
        features, target="gender", probe=sp.probes.LogisticProbe(), metrics=sp.metrics.uar,
        layers="noise", sizes=[1, 8], n_folds=3,
    )  # fmt: skip
    assert "with 1 groups, 9 of 9 training sets lack a class" in curve.cautions
    assert not any("with 8 groups" in sentence for sentence in curve.cautions)
    assert curve.points[0].score == 0.5
    assert curve.table().attrs["cautions"] == list(curve.cautions)


def test_what_cannot_be_drawn_is_said(features):
    with pytest.raises(ValueError, match="numbers of training groups from 1 to 9, got 10"):
        curve_of(features, sizes=[10])
    with pytest.raises(ValueError, match="hidden_sizes, which RidgeProbe does not have"):
        curve_of(features, widths=[8])
    with pytest.raises(ValueError, match="no layer matches 'stem'"):
        curve_of(features, layers="stem")

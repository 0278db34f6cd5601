"""The trainer of one network: validation by group, early stopping, schedule, curves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechprobe.plots import plot_curves
from speechprobe.probes._items import Items
from speechprobe.probes.cnn import TorchCNNClassifier, TorchCNNRegressor
from speechprobe.probes.training import Training, hold_out, outputs


@pytest.fixture(scope="module")
def noise():
    draw = np.random.default_rng(0)
    return draw.normal(size=(60, 8)), draw.integers(0, 2, 60), np.repeat(np.arange(12), 5)


def test_no_group_is_both_fitted_and_validated_on():
    groups = np.array(["a", "b", "c", "d", "e"])[np.arange(40) % 5]
    for seed in range(5):
        fit, held = hold_out(40, 0.4, groups=groups, seed=seed)
        assert len(set(groups[held])) == 2 and len(set(groups[fit])) == 3
        assert not set(groups[fit]) & set(groups[held])
        assert sorted([*fit, *held]) == list(range(40))
    assert len({tuple(hold_out(40, 0.4, groups=groups, seed=k)[1]) for k in range(9)}) > 1


def test_held_out_groups_teach_nothing(noise):
    X, y, groups = noise
    _, held = hold_out(60, 0.25, groups=groups, seed=0)
    spoilt = y.copy()
    spoilt[held] = 1 - spoilt[held]
    settings = {"epochs": 2, "validation_fraction": 0.25}
    probe = TorchCNNClassifier(**settings).fit(X, y, groups=groups)
    other = TorchCNNClassifier(**settings).fit(X, spoilt, groups=groups)
    np.testing.assert_array_equal(other.predict_proba(X), probe.predict_proba(X))
    assert probe.curves_["split"].tolist() == ["train", "validation"] * 2
    right = probe.curves_["accuracy"].iloc[-1]
    assert right == (probe.predict(X)[held] == y[held]).mean()
    assert other.curves_["accuracy"].iloc[-1] == pytest.approx(1 - right)


def test_validation_curves_are_the_scores_of_what_is_held_out(noise):
    X, _, groups = noise
    y = X[:, 0]
    probe = TorchCNNRegressor(epochs=3, validation_fraction=0.25).fit(X, y, groups=groups)
    _, held = hold_out(60, 0.25, groups=groups, seed=0)
    last = probe.curves_.iloc[-1]
    assert (last["epoch"], last["split"]) == (3, "validation")
    assert last["r2"] == pytest.approx(probe.score(X[held], y[held]), rel=1e-4)


def test_early_stopping_goes_back_to_the_lowest_validation_loss(noise):
    X, y, groups = noise
    settings = {"validation_fraction": 0.25, "learning_rate": 5e-3}
    stopped = TorchCNNClassifier(epochs=60, patience=4, **settings).fit(X, y, groups=groups)
    curve = stopped.curves_.query("split == 'validation'").set_index("epoch")["loss"]
    assert stopped.epoch_ == curve.idxmin()
    assert curve.index[-1] == stopped.epoch_ + 4 < 60
    shorter = TorchCNNClassifier(epochs=stopped.epoch_, **settings).fit(X, y, groups=groups)
    np.testing.assert_array_equal(shorter.predict_proba(X), stopped.predict_proba(X))


def test_the_rate_falls_along_half_a_cosine():
    training = Training(0.2, 0.0, 16, 4, "cosine")
    rates = [training.rate(epoch) for epoch in range(4)]
    np.testing.assert_allclose(rates, [0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0.1 * (1 - 0.5**0.5)])


def test_the_schedule_is_used(noise):
    X, y, _ = noise
    constant, cosine = (
        TorchCNNClassifier(epochs=3, schedule=schedule).fit(X, y).curves_["loss"]
        for schedule in ("constant", "cosine")
    )
    assert cosine[0] == constant[0]
    assert cosine[2] != constant[2]


def test_curves_can_be_plotted(noise):
    X, y, _ = noise
    probe = TorchCNNClassifier(epochs=2, validation_fraction=0.2).fit(X, y)
    assert len(plot_curves(probe).axes) == 2


def test_a_target_that_does_not_vary_has_no_r2():
    X = np.random.default_rng(0).normal(size=(12, 4))
    probe = TorchCNNRegressor(epochs=1).fit(X, np.full(12, 4.0))
    assert probe.curves_["r2"].isna().all()


def test_outputs_come_in_the_order_asked_for():
    frames = [np.full((n, 1), n, np.float32) for n in (3, 1, 2)]
    items = Items(frames, "frames", (1,), np.array([3, 1, 2]))

    class Length(torch.nn.Linear):
        def forward(self, x, lengths):
            return lengths[:, None].to(x.dtype) + 0 * self.weight.sum()

    network = Length(1, 1)
    assert outputs(network, items)[:, 0].tolist() == [3, 1, 2]
    assert outputs(network, items, np.array([2, 0]))[:, 0].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number from 1, got 2.5"),
        ({"patience": 0, "validation_fraction": 0.2}, "patience must be a whole number from 1"),
        ({"patience": 2}, "patience=2 needs items to validate on; set validation_fraction"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"weight_decay": -1.0}, "weight_decay not negative"),
        ({"schedule": "step"}, "schedule must be 'constant' or 'cosine', got 'step'"),
        ({"validation_fraction": 1.0}, "validation_fraction must be from 0 to below 1, got 1.0"),
        ({"validation_fraction": 0.99}, "0.99 of 12 groups leaves none to fit on"),
    ],
)
def test_a_wrong_setting_is_named(noise, settings, message):
    X, y, groups = noise
    with pytest.raises(ValueError, match=message):
        TorchCNNClassifier(**({"epochs": 1} | settings)).fit(X, y, groups=groups)


def test_groups_of_the_wrong_number_are_refused(noise):
    X, y, _ = noise
    with pytest.raises(ValueError, match=r"groups must be \(60,\)"):
        TorchCNNClassifier(epochs=1, validation_fraction=0.2).fit(X, y, groups=[1, 2])


def test_a_class_that_is_only_validated_on_is_named(noise):
    X, _, groups = noise
    _, held = hold_out(60, 0.1, groups=groups, seed=0)
    y = np.isin(np.arange(60), held).astype(int)
    with pytest.warns(UserWarning, match=r"classes \[1\] are validated on and not fitted on"):
        TorchCNNClassifier(epochs=1, validation_fraction=0.1).fit(X, y, groups=groups)

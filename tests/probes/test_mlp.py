"""Perceptrons: seeded, local, and the same as a plain training loop."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from speechprobe.features import RaggedLayer
from speechprobe.probes import RidgeProbe, TorchMLPClassifier, TorchMLPRegressor
from speechprobe.probes.jobs import Job, fit_predict_layers, fit_predict_many
from speechprobe.probes.training import hold_out


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(75, 4)) * [1, 10, 0.1, 1] + [0, 3, 0, 100]


@pytest.fixture(scope="module")
def y(X):
    return 5 + 2 * X[:, 0] - 0.1 * X[:, 1]


class DrawnDropout(nn.Module):
    """Dropout whose masks are laid in by the loop."""

    def forward(self, x):
        return x * self.mask if self.training else x


def build(probe, n_dims, n_outputs, generator):
    """Return a network of torch.nn with the weights that the seed draws."""
    pairs = list(pairwise([n_dims, *probe.hidden_sizes, n_outputs]))
    linears = []
    for place, (n_in, n_out) in enumerate(pairs):
        biased = not probe.batch_norm or place == len(pairs) - 1
        linears.append(nn.Linear(n_in, n_out, bias=biased))

    def draw(linear, *shape):
        return (2 * torch.rand(shape, generator=generator) - 1) / linear.in_features**0.5

    with torch.no_grad():
        for linear in linears:
            linear.weight.copy_(draw(linear, linear.in_features, linear.out_features).T)
        for linear in linears:
            if linear.bias is not None:
                linear.bias.copy_(draw(linear, 1, linear.out_features)[0])
    modules = []
    for linear in linears:
        norms = [nn.BatchNorm1d(linear.out_features)] if probe.batch_norm else []
        dropouts = [DrawnDropout()] if probe.dropout else []
        modules += [linear, *norms, nn.ReLU(), *dropouts]
    return nn.Sequential(*modules[: modules.index(linears[-1]) + 1])


def epoch_of(network, probe, X, target, optimiser, generator):
    """Pass once over the items; return the outputs on the way, in the order of `target`."""
    network.train()
    order = torch.randperm(len(X), generator=generator)
    dropouts = [module for module in network if isinstance(module, DrawnDropout)]
    if dropouts:
        kept = torch.rand((len(X), sum(probe.hidden_sizes)), generator=generator) >= probe.dropout
        masks = (kept / (1 - probe.dropout)).split(list(probe.hidden_sizes), 1)
    outputs = torch.empty(len(X), network[-1].out_features)
    for places in torch.arange(len(X)).split(probe.batch_size):
        for module, mask in zip(dropouts, masks if dropouts else [], strict=True):
            module.mask = mask[places]
        rows = order[places]
        output = network(X[rows])
        outputs[rows] = output.detach()
        optimiser.zero_grad()
        loss_of(output, target[rows]).backward()
        optimiser.step()
    return outputs


def loss_of(output, target):
    if target.is_floating_point():
        return nn.functional.mse_loss(output[:, 0], target)
    return nn.functional.cross_entropy(output, target)


def metric_of(output, target):
    if target.is_floating_point():
        return r2_score(target.numpy(), output[:, 0].numpy())
    return accuracy_score(target.numpy(), output.argmax(1).numpy())


def plain_loop(X, target, probe, n_outputs, groups=None):
    """Train with torch.nn and torch.optim, one network, from the same draws of the seed."""
    fit, held = hold_out(len(X), probe.validation_fraction, groups=groups, seed=probe.random_state)
    X = torch.from_numpy(((X - X[fit].mean(0)) / X[fit].std(0)).astype(np.float32))
    if target.is_floating_point():
        target = ((target - target[fit].mean()) / target[fit].std(correction=0)).float()
    generator = torch.Generator().manual_seed(probe.random_state)
    network = build(probe, X.shape[1], n_outputs, generator)
    settings = {"lr": probe.learning_rate, "weight_decay": probe.weight_decay}
    optimiser = torch.optim.Adam(network.parameters(), **settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, probe.epochs)
    curve, best = [], None
    for epoch in range(probe.epochs):
        output = epoch_of(network, probe, X[fit], target[fit], optimiser, generator)
        scores = [(output, target[fit])]
        network.eval()
        if len(held):
            scores.append((network(X[held]).detach(), target[held]))
        curve += [(float(loss_of(*each)), float(metric_of(*each))) for each in scores]
        if probe.schedule == "cosine":
            schedule.step()
        if probe.patience is None:
            continue
        if best is None or curve[-1][0] < best[0]:
            best = curve[-1][0], epoch, copy.deepcopy(network.state_dict())
        if epoch - best[1] >= probe.patience:
            break
    if best is not None:
        network.load_state_dict(best[2])
    return network(X).detach().numpy(), np.array(curve)


SETTINGS = {
    "default": {},
    "deep": {"hidden_sizes": (8, 6), "learning_rate": 1e-2, "random_state": 3},
    "linear": {"hidden_sizes": (), "weight_decay": 0.1},
    "one batch": {"batch_size": 1000},
    "whole batches": {"batch_size": 25, "weight_decay": 1e-3},
    "dropout": {"hidden_sizes": (8, 6), "dropout": 0.3},
    "batch norm": {"hidden_sizes": (8, 6), "batch_norm": True, "learning_rate": 1e-2},
    "cosine": {"schedule": "cosine", "learning_rate": 1e-2},
    "validation": {"validation_fraction": 0.2},
    "early stopping": {
        "validation_fraction": 0.3,
        "patience": 2,
        "learning_rate": 0.1,
        "epochs": 40,
    },
    "all": {
        "hidden_sizes": (8, 6),
        "dropout": 0.2,
        "batch_norm": True,
        "schedule": "cosine",
        "validation_fraction": 0.2,
        "patience": 2,
        "epochs": 8,
        "learning_rate": 3e-2,
        "weight_decay": 1e-3,
        "batch_size": 16,
    },
}
WITH_SETTINGS = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
GROUPS = np.arange(75) % 15


def assert_curves(probe, curve, metric):
    np.testing.assert_allclose(probe.curves_["loss"], curve[:, 0], rtol=1e-4)
    np.testing.assert_allclose(probe.curves_[metric], curve[:, 1], rtol=1e-4, atol=1e-4)
    held = ["train", "validation"] if probe.validation_fraction else ["train"]
    n_epochs = len(curve) // len(held)
    assert probe.curves_["split"].tolist() == held * n_epochs
    assert probe.curves_["epoch"].tolist() == np.repeat(range(1, n_epochs + 1), len(held)).tolist()


@WITH_SETTINGS
def test_the_regressor_is_a_plain_training_loop(X, y, settings):
    probe = TorchMLPRegressor(**({"epochs": 5} | settings)).fit(X, y, groups=GROUPS)
    fit = hold_out(75, probe.validation_fraction, groups=GROUPS, seed=probe.random_state)[0]
    output, curve = plain_loop(X, torch.from_numpy(y), probe, 1, GROUPS)
    assert_curves(probe, curve, "r2")
    expected = output[:, 0] * y[fit].std() + y[fit].mean()
    np.testing.assert_allclose(probe.predict(X), expected, rtol=1e-4, atol=1e-4)


@WITH_SETTINGS
@pytest.mark.parametrize("class_names", [["F", "M"], [3, 7, 9]])
def test_the_classifier_is_a_plain_training_loop(X, y, settings, class_names):
    codes = np.digitize(y, np.quantile(y, np.linspace(0, 1, len(class_names) + 1)[1:-1]))
    probe = TorchMLPClassifier(**({"epochs": 5} | settings))
    probe.fit(X, np.array(class_names)[codes], groups=GROUPS)
    output, curve = plain_loop(X, torch.from_numpy(codes), probe, len(class_names), GROUPS)
    assert_curves(probe, curve, "accuracy")
    expected = np.exp(output) / np.exp(output).sum(1, keepdims=True)
    np.testing.assert_allclose(probe.predict_proba(X), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(probe.predict(X), np.array(class_names)[output.argmax(1)])


EVERYTHING = {
    "hidden_sizes": (16,),
    "epochs": 40,
    "learning_rate": 3e-2,
    "dropout": 0.1,
    "batch_norm": True,
    "schedule": "cosine",
}


@pytest.mark.filterwarnings("ignore")  # the checks make estimators warn on purpose
@parametrize_with_checks([TorchMLPRegressor(**EVERYTHING), TorchMLPClassifier(**EVERYTHING)])
def test_scikit_learns_checks_pass_with_every_setting(estimator, check):
    check(estimator)


PROBES = pytest.mark.parametrize("kind", [TorchMLPRegressor, TorchMLPClassifier])


def outputs_of(kind, X, y, **settings):
    probe = kind(epochs=3, **settings)
    target = y if kind is TorchMLPRegressor else np.where(y > np.median(y), "F", "M")
    probe.fit(X, target)
    return probe.predict(X) if kind is TorchMLPRegressor else probe.predict_proba(X)


@PROBES
def test_a_seed_decides_every_bit(kind, X, y):
    first = outputs_of(kind, X, y, random_state=4)
    np.testing.assert_array_equal(outputs_of(kind, X, y, random_state=4), first)
    assert (outputs_of(kind, X, y, random_state=5) != first).any()


@PROBES
def test_nothing_global_is_touched(kind, X, y):
    state, n_threads = torch.random.get_rng_state(), torch.get_num_threads()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 it is what must not change
    grad = torch.is_grad_enabled()
    outputs_of(kind, X, y)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == n_threads
    assert torch.is_grad_enabled() == grad
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@PROBES
def test_it_trains_inside_no_grad_too(kind, X, y):
    with torch.no_grad():
        inside = outputs_of(kind, X, y)
    np.testing.assert_array_equal(inside, outputs_of(kind, X, y))


def test_losses_fall(X, y):
    probe = TorchMLPRegressor(epochs=30, learning_rate=1e-2).fit(X, y)
    losses = probe.curves_["loss"].to_numpy()
    assert losses.shape == (30,)
    assert losses[-1] < 0.1 * losses[0]


def test_a_planted_product_is_found_by_the_perceptron_and_not_by_ridge():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(600, 5))
    y = X[:, 0] * X[:, 1]
    train, test = slice(0, 400), slice(400, 600)
    probe = TorchMLPRegressor((64,), epochs=60, learning_rate=1e-2).fit(X[train], y[train])
    assert probe.score(X[test], y[test]) > 0.8
    assert RidgeProbe().fit(X[train], y[train]).score(X[test], y[test]) < 0.1


def test_a_constant_target_is_predicted(X):
    predicted = TorchMLPRegressor(epochs=50, learning_rate=1e-2).fit(X, np.full(75, 4.0)).predict(X)
    np.testing.assert_allclose(predicted, 4.0, atol=0.3)


def test_a_dimension_that_is_constant_up_to_rounding_says_nothing(X, y):
    noise = 1e-7 * np.random.default_rng(2).normal(size=75)
    wider = np.column_stack([X, 1000 + noise])
    predicted = TorchMLPRegressor(epochs=3).fit(wider, y).predict(wider)
    flat = np.column_stack([X, np.full(75, 1000.0)])
    expected = TorchMLPRegressor(epochs=3).fit(flat, y).predict(flat)
    np.testing.assert_allclose(predicted, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number from 1, got 2.5"),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes must be whole numbers from 1, got 0"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1, got 1.0"),
        ({"schedule": "linear"}, "schedule must be 'constant' or 'cosine', got 'linear'"),
        ({"validation_fraction": 1.0}, "validation_fraction must be from 0 to below 1"),
        ({"patience": 3}, "patience=3 needs items to validate on; set validation_fraction"),
        ({"patience": 0, "validation_fraction": 0.2}, "patience must be a whole number from 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"weight_decay": -1.0}, "weight_decay not negative"),
    ],
)
@PROBES
def test_a_wrong_setting_is_named(kind, settings, message, X, y):
    with pytest.raises(ValueError, match=message):
        kind(**settings).fit(X, np.arange(75) % 2)


def test_the_epoch_with_the_least_validation_loss_is_kept(X):
    """Labels without a rule: the longer the training, the worse on what is held out."""
    y = np.random.default_rng(4).normal(size=75)
    probe = TorchMLPRegressor(learning_rate=3e-2, validation_fraction=0.3, patience=4, epochs=60)
    probe.fit(X, y, groups=GROUPS)
    held = probe.curves_[probe.curves_["split"] == "validation"].reset_index()
    assert probe.epoch_ == held["epoch"][held["loss"].idxmin()]
    assert len(held) == probe.epoch_ + 4 < 60
    _, rows = hold_out(75, 0.3, groups=GROUPS, seed=0)
    fitted = np.setdiff1d(np.arange(75), rows)
    loss = np.mean((probe.predict(X)[rows] - y[rows]) ** 2) / y[fitted].var()
    assert loss == pytest.approx(held["loss"].min(), rel=1e-4)


def test_what_is_held_out_is_not_learnt_from(X, y):
    _, held = hold_out(75, 0.2, groups=GROUPS, seed=0)
    other_X, other_y = X.copy(), y.copy()
    other_X[held], other_y[held] = 50.0, -1e3
    probe = TorchMLPRegressor(validation_fraction=0.2, epochs=3)
    predicted = probe.fit(X, y, groups=GROUPS).predict(X)
    again = probe.fit(other_X, other_y, groups=GROUPS).predict(X)
    np.testing.assert_allclose(again, predicted, rtol=1e-4, atol=1e-4)


def test_a_last_batch_of_one_item_does_no_harm_to_batch_norm(X, y):
    probe = TorchMLPRegressor((16,), batch_norm=True, batch_size=37, epochs=60, learning_rate=1e-2)
    assert probe.fit(X, y).score(X, y) > 0.9


def test_a_class_that_is_only_held_out_is_named(X):
    _, held = hold_out(75, 0.2, groups=None, seed=0)
    classes = np.where(np.arange(75) == held[0], "rare", np.where(np.arange(75) % 2, "a", "b"))
    with pytest.warns(UserWarning, match=r"classes \['rare'\] are validated on and not fitted on"):
        TorchMLPClassifier(epochs=1, validation_fraction=0.2).fit(X, classes)


@PROBES
def test_a_grid_search_tries_every_setting(kind, X, y):
    target = y if kind is TorchMLPRegressor else np.where(y > np.median(y), "F", "M")
    grid = {"dropout": [0.0, 0.5], "hidden_sizes": [(4,), (32,)]}
    search = GridSearchCV(kind(epochs=60, learning_rate=1e-2), grid, cv=3).fit(X, target)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.7


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_network_that_diverged_names_no_class(X):
    sex = np.where(X[:, 0] > 0, "F", "M")
    probe = TorchMLPClassifier(learning_rate=1e37, epochs=3).fit(X, sex)
    for ask in (probe.predict, probe.predict_proba):
        with pytest.raises(ValueError, match="the network has diverged"):
            ask(X)


def test_groups_are_one_an_item(X, y):
    probe = TorchMLPRegressor(epochs=1, validation_fraction=0.2)
    for groups in (np.arange(len(X) - 1), np.arange(2 * len(X))):
        with pytest.raises(ValueError, match=r"groups must be \(75,\), one an item"):
            probe.fit(X, y, groups=groups)


def test_sizes_are_several_numbers(X, y):
    with pytest.raises(ValueError, match=r"hidden_sizes are several numbers, such as \(64,\)"):
        TorchMLPRegressor(64).fit(X, y)


def test_a_dim_that_hardly_any_item_uses_does_not_blow_predictions_up():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(100, 8)).astype(np.float32)
    y = x @ draw.normal(size=8)
    dead = np.zeros((100, 3), np.float32)
    dead[3] = (0.37, -12.5, 1e-4)  # a unit that is silent but for one item
    rows = np.arange(100)
    jobs = [Job(np.setdiff1d(rows, held), held, y, 0) for held in np.split(rows, 10)]
    probe = TorchMLPRegressor(learning_rate=1e-2, epochs=20)
    for values in (np.hstack([x, dead]), np.hstack([x, 5 + dead])):
        predicted = np.concatenate(fit_predict_many(probe, values, jobs))
        assert r2_score(y, predicted) > 0.8


def test_frames_are_refused_by_the_name_of_their_layer(y):
    frames = RaggedLayer.of([np.ones((number % 3 + 1, 4), np.float32) for number in range(75)])
    rows = np.arange(75)
    with pytest.raises(ValueError, match="layer 'conv1' holds frames, and TorchMLPRegressor takes"):
        fit_predict_layers(TorchMLPRegressor(), {"conv1": frames}, [Job(rows, rows, y, 0)])

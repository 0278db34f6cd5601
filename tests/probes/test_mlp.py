"""Perceptrons: seeded, local, and the same as a plain training loop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from speechprobe.probes import RidgeProbe, TorchMLPClassifier, TorchMLPRegressor, stacked


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(75, 4)) * [1, 10, 0.1, 1] + [0, 3, 0, 100]


@pytest.fixture(scope="module")
def y(X):
    return 5 + 2 * X[:, 0] - 0.1 * X[:, 1]


def plain_loop(X, target, probe, n_outputs):
    """Train with torch.nn and torch.optim, from the same draws of the seed."""
    generator = torch.Generator().manual_seed(probe.random_state)
    sizes = [X.shape[1], *probe.hidden_sizes, n_outputs]
    pairs = list(pairwise(sizes))

    def draw(n_in, *shape):
        return (2 * torch.rand(shape, generator=generator) - 1) / n_in**0.5

    weights = [draw(n_in, n_in, n_out) for n_in, n_out in pairs]
    biases = [draw(n_in, 1, n_out) for n_in, n_out in pairs]
    modules = []
    for (n_in, n_out), weight, bias in zip(pairs, weights, biases, strict=True):
        linear = nn.Linear(n_in, n_out)
        with torch.no_grad():
            linear.weight.copy_(weight.T)
            linear.bias.copy_(bias[0])
        modules += [linear, nn.ReLU()]
    network = nn.Sequential(*modules[:-1])
    optimiser = torch.optim.Adam(
        network.parameters(), lr=probe.learning_rate, weight_decay=probe.weight_decay
    )
    regression = target.is_floating_point()
    loss_of = nn.MSELoss() if regression else nn.CrossEntropyLoss()
    X = torch.from_numpy(((X - X.mean(0)) / X.std(0)).astype(np.float32))
    losses = []
    for _ in range(probe.epochs):
        total = 0.0
        for rows in torch.randperm(len(X), generator=generator).split(probe.batch_size):
            output = network(X[rows])
            loss = loss_of(output[:, 0] if regression else output, target[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(rows)
        losses.append(total / len(X))
    return network(X).detach().numpy(), losses


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hidden_sizes": (8, 6), "learning_rate": 1e-2, "random_state": 3},
        {"hidden_sizes": (), "weight_decay": 0.1},
        {"batch_size": 1000},
        {"batch_size": 25, "weight_decay": 1e-3},
    ],
    ids=["default", "deep", "linear", "one batch", "whole batches"],
)
def test_the_regressor_is_a_plain_training_loop(X, y, settings):
    probe = TorchMLPRegressor(**({"epochs": 5} | settings)).fit(X, y)
    target = torch.from_numpy(((y - y.mean()) / y.std()).astype(np.float32))
    output, losses = plain_loop(X, target, probe, 1)
    np.testing.assert_allclose(probe.losses_, losses, rtol=1e-4)
    expected = output[:, 0] * y.std() + y.mean()
    np.testing.assert_allclose(probe.predict(X), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("class_names", [["F", "M"], [3, 7, 9]])
def test_the_classifier_is_a_plain_training_loop(X, y, class_names):
    codes = np.digitize(y, np.quantile(y, np.linspace(0, 1, len(class_names) + 1)[1:-1]))
    probe = TorchMLPClassifier((12,), epochs=5, learning_rate=1e-2, random_state=2)
    probe.fit(X, np.array(class_names)[codes])
    output, losses = plain_loop(X, torch.from_numpy(codes), probe, len(class_names))
    np.testing.assert_allclose(probe.losses_, losses, rtol=1e-4)
    expected = np.exp(output) / np.exp(output).sum(1, keepdims=True)
    np.testing.assert_allclose(probe.predict_proba(X), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(probe.predict(X), np.array(class_names)[output.argmax(1)])


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
    assert probe.losses_.shape == (30,)
    assert probe.losses_[-1] < 0.1 * probe.losses_[0]


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
        ({"hidden_sizes": (8, 0)}, r"hidden_sizes\[1\] must be a whole number"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"weight_decay": -1.0}, "weight_decay not negative"),
    ],
)
@PROBES
def test_a_wrong_setting_is_named(kind, settings, message, X, y):
    with pytest.raises(ValueError, match=message):
        kind(**settings).fit(X, np.arange(75) % 2)


def test_many_networks_in_several_chunks_are_the_same(X, y, monkeypatch):
    rows = np.arange(75)
    target = ((y - y.mean()) / y.std()).astype(np.float32)
    tasks = [stacked.Task(rows[: 75 - k], target[: 75 - k], seed=k) for k in range(5)]
    settings = stacked.Settings((6,), 1e-2, 0.0, 32, 3)
    whole = stacked.train(X, tasks, settings, n_outputs=1)
    monkeypatch.setattr(stacked, "CHUNK_BYTES", 1)
    for one, other in zip(whole, stacked.train(X, tasks, settings, n_outputs=1), strict=True):
        np.testing.assert_allclose(one(X), other(X), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)

"""Weighted sums of layers: the planted layer gets the weight, and a scale does not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import cross_val_score
from sklearn.utils import estimator_checks

from speechprobe import Features
from speechprobe.probes.layer_sum import (
    TorchLayerSumClassifier,
    TorchLayerSumRegressor,
    stack_layers,
)
from speechprobe.probes.saving import load


@pytest.fixture(scope="module")
def planted():
    """Layer 3 of 6 holds the target; each layer has its own scale."""
    draw = np.random.default_rng(0)
    layers = draw.normal(size=(600, 6, 16)) * 10.0 ** np.arange(-3, 3)[:, None] + 5
    return layers, (layers[:, 3] - 5) @ draw.normal(size=16)


@pytest.mark.parametrize("normalise", ["standardise", "layer_norm"])
def test_the_planted_layer_gets_the_weight_whatever_the_scales(planted, normalise):
    layers, y = planted
    probe = TorchLayerSumRegressor(normalise=normalise, epochs=60, learning_rate=1e-2)
    probe.fit(layers[:400], y[:400])
    assert probe.layer_weights_.argmax() == 3 and probe.layer_weights_[3] > 0.7
    assert probe.score(layers[400:], y[400:]) > 0.8
    np.testing.assert_allclose(probe.layer_weights_.sum(), 1, rtol=1e-5)


def test_classes_are_found_too(planted):
    layers, y = planted
    sides = np.digitize(y, np.quantile(y, [0.33, 0.67])).astype(str)
    probe = TorchLayerSumClassifier((32,), epochs=40, learning_rate=1e-2)
    probe.fit(layers[:400], sides[:400])
    assert probe.layer_weights_.argmax() == 3
    assert probe.score(layers[400:], sides[400:]) > 0.8


def test_without_normalising_weights_tell_the_norm_and_not_what_a_layer_knows():
    """The same content in two layers, one of ten times the norm."""
    draw = np.random.default_rng(0)
    content = draw.normal(size=(300, 1, 8))
    layers = content * np.array([1.0, 10.0])[:, None]
    y = content[:, 0].sum(1)
    raw = TorchLayerSumRegressor(normalise=None, epochs=20).fit(layers, y)
    even = TorchLayerSumRegressor(epochs=20).fit(layers, y)
    np.testing.assert_allclose(even.layer_weights_, 0.5, atol=0.05)
    assert raw.layer_weights_[0] > 0.55  # the large one needs less


def plain_loop(layers, codes, probe, n_outputs):
    generator = torch.Generator().manual_seed(probe.random_state)
    sizes = [layers.shape[2], *probe.hidden_sizes, n_outputs]
    modules = []
    for n_in, n_out in pairwise(sizes):
        linear, bound = torch.nn.Linear(n_in, n_out), n_in**-0.5
        for weight in linear.parameters():
            drawn = torch.empty_like(weight).uniform_(-bound, bound, generator=generator)
            weight.data.copy_(drawn)
        modules += [linear, torch.nn.ReLU()]
    head = torch.nn.Sequential(*modules[:-1])
    logits = torch.zeros(layers.shape[1], requires_grad=True)
    optimiser = torch.optim.Adam([logits, *head.parameters()], lr=probe.learning_rate)
    x = torch.from_numpy(((layers - layers.mean(0)) / layers.std(0)).astype(np.float32))

    def output(rows):
        shares = logits.softmax(0)
        return head(sum(shares[k] * x[rows, k] for k in range(x.shape[1])))

    losses = []
    for _ in range(probe.epochs):
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator).split(probe.batch_size):
            loss = torch.nn.functional.cross_entropy(output(rows), codes[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(rows)
        losses.append(total / len(x))
    return output(torch.arange(len(x))).softmax(1).detach().numpy(), losses, logits.softmax(0)


@pytest.mark.parametrize("hidden_sizes", [(), (9,)])
def test_it_is_a_plain_training_loop(planted, hidden_sizes):
    layers, y = planted[0][:70], planted[1][:70]
    codes = np.digitize(y, np.quantile(y, [0.33, 0.67]))
    probe = TorchLayerSumClassifier(hidden_sizes, epochs=4, learning_rate=1e-2, random_state=7)
    probe.fit(layers, codes)
    expected, losses, weights = plain_loop(layers, torch.from_numpy(codes), probe, 3)
    np.testing.assert_allclose(probe.curves_["loss"], losses, rtol=1e-4)
    np.testing.assert_allclose(probe.predict_proba(layers), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(probe.layer_weights_, weights.detach().numpy(), rtol=1e-4)


def test_layer_norm_brings_every_vector_to_one_scale(planted):
    layers, y = planted
    scaled = layers * np.random.default_rng(1).uniform(1, 9, size=(600, 6, 1)) * 1e3
    probe = TorchLayerSumRegressor(normalise="layer_norm", epochs=2)
    plain = (layers - layers.mean(2, keepdims=True)) / layers.std(2, keepdims=True)
    expected = TorchLayerSumRegressor(normalise=None, epochs=2).fit(plain, y).predict(plain)
    np.testing.assert_allclose(probe.fit(scaled, y).predict(scaled), expected, rtol=0.02, atol=0.5)


def test_layers_stack_in_the_order_asked_for():
    features = {"a": np.zeros((3, 2)), "b": np.ones((3, 2)), "c": np.full((3, 2), 2.0)}
    assert stack_layers(features)[0, :, 0].tolist() == [0, 1, 2]
    whole = Features(features, pd.DataFrame(index=range(len(features["a"]))))
    assert np.array_equal(stack_layers(whole), stack_layers(features))
    assert stack_layers(features, ["c", "a"])[0, :, 0].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("features", "layers", "error", "message"),
    [
        ({"a": np.zeros((3, 2))}, ["b"], KeyError, "no layer 'b' among"),
        ({"a": np.zeros((3, 2)), "b": np.zeros((3, 4))}, None, ValueError, r"'b' has \(3, 4\)"),
        ({"a": np.zeros((3, 2, 2))}, None, ValueError, r"'a' has \(3, 2, 2\)"),
        ({}, None, ValueError, "no layer to stack"),
    ],
)
def test_layers_that_do_not_stack_are_named(features, layers, error, message):
    with pytest.raises(error, match=message):
        stack_layers(features, layers)


def test_scikit_learns_grammar_is_kept(planted, tmp_path):
    probe = TorchLayerSumRegressor(epochs=1)
    estimator_checks.check_get_params_invariance("probe", probe)
    estimator_checks.check_set_params("probe", probe)
    estimator_checks.check_no_attributes_set_in_init("probe", probe)
    estimator_checks.check_parameters_default_constructible("probe", probe)
    assert np.isfinite(cross_val_score(probe, *planted, cv=2)).all()
    assert not hasattr(probe, "layer_weights_")
    probe.fit(*planted).save(tmp_path / "probe.safetensors")
    again = load(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(again.layer_weights_, probe.layer_weights_)
    np.testing.assert_array_equal(again.predict(planted[0]), probe.predict(planted[0]))


def test_a_seed_decides_every_bit(planted):
    first, again, other = (
        TorchLayerSumRegressor(epochs=1, random_state=seed).fit(*planted).predict(planted[0])
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(again, first)
    assert (other != first).any()


@pytest.mark.parametrize(
    ("X", "settings", "message"),
    [
        (np.zeros((4, 3)), {}, r"expected layers \(n_items, n_layers, n_dims\).*array \(4, 3\)"),
        (np.zeros((4, 3, 2)), {"normalise": "batch"}, "normalise must be .* got 'batch'"),
        (np.zeros((4, 3, 2)), {"hidden_sizes": (0,)}, "hidden_sizes must be whole numbers from 1"),
        (np.full((4, 3, 2), np.nan), {}, "item 0 holds NaN"),
    ],
)
def test_what_is_wrong_is_named(X, settings, message):
    with pytest.raises(ValueError, match=message):
        TorchLayerSumRegressor(epochs=1, **settings).fit(X, np.arange(4.0))


def test_layers_to_predict_must_be_those_fitted_on():
    probe = TorchLayerSumRegressor(epochs=1).fit(np.zeros((4, 3, 2)), np.arange(4.0))
    with pytest.raises(
        ValueError, match="fitted on layers with 3 x 2 an item, got layers with 4 x"
    ):
        probe.predict(np.zeros((4, 4, 2)))

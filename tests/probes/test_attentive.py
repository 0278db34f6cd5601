"""Attentive probes: find the frame that tells, exact under masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.utils import estimator_checks

from speechprobe.probes.attentive import TorchAttentiveClassifier, TorchAttentiveRegressor
from speechprobe.probes.networks import AttentionPool, AttentiveNetwork
from speechprobe.probes.saving import load
from speechprobe.store import RaggedLayer


@pytest.fixture(scope="module")
def planted():
    """One frame of many tells the class by the sign of a dim, and another dim marks it."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 400)
    frames = [draw.normal(size=(20 + draw.integers(0, 20), 6)).astype(np.float32) for _ in y]
    told = np.array([draw.integers(0, len(own)) for own in frames])
    for own, place, answer in zip(frames, told, y, strict=True):
        own[place, :2] = 6.0, 1.0 if answer else -1.0
    return frames, y, told


@pytest.fixture(scope="module", params=[None, 8], ids=["query", "hidden layer"])
def fitted(planted, request):
    frames, y, _ = planted
    probe = TorchAttentiveClassifier(attention_size=request.param, epochs=40, learning_rate=1e-2)
    return probe.fit(RaggedLayer.of(frames[:250]), y[:250])


def test_the_frame_that_tells_is_found_where_the_mean_loses_it(planted, fitted):
    frames, y, told = planted
    means = np.stack([own.mean(0) for own in frames])
    linear = LogisticRegression().fit(means[:250], y[:250])
    assert fitted.score(frames[250:], y[250:]) > 0.95
    assert linear.score(means[250:], y[250:]) < 0.7
    looked = [own.argmax() for own in fitted.attention(frames[250:])]
    if fitted.attention_size is None:
        assert np.mean(looked == told[250:]) > 0.95
    else:  # as good a score; it looks at that frame for one of the two classes only
        assert np.mean(looked == told[250:]) > 0.4


def test_attention_sums_to_one_over_the_frames_of_an_item(planted, fitted):
    frames = planted[0][:30]
    weights = fitted.attention(RaggedLayer.of(frames))
    assert [own.shape for own in weights] == [(len(own),) for own in frames]
    np.testing.assert_allclose([own.sum() for own in weights], 1, rtol=1e-6)
    alone = [fitted.attention([own])[0] for own in frames]
    np.testing.assert_allclose(np.concatenate(weights), np.concatenate(alone), rtol=1e-9)


def test_the_prediction_is_the_head_of_the_attended_mean(planted, fitted):
    frames = planted[0][:10]
    network = fitted.network_
    head = network.network.head.weight.detach().numpy(), network.network.head.bias.item()
    for own, weights in zip(frames, fitted.attention(frames), strict=True):
        pooled = weights @ ((own - network.centre.numpy()) / network.scale.numpy())
        odds = np.exp(pooled @ head[0][0] + head[1])
        np.testing.assert_allclose(fitted.predict_proba([own])[0, 1], odds / (1 + odds), rtol=1e-4)


def test_a_query_of_zero_is_the_mean():
    pool = AttentionPool(3, 5, torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(pool.query)
    frames = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([4, 7])
    expected = torch.stack([frames[0, :4].mean(0), frames[1].mean(0)])
    torch.testing.assert_close(pool(frames, lengths), expected)


@pytest.mark.parametrize("size", [None, 5])
def test_what_pads_a_batch_changes_neither_output_nor_gradient(size):
    frames = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([1, 5, 9])

    def found(padding):
        x = frames.clone()
        for row, length in zip(x, lengths, strict=True):
            row[length:] = padding
        drawn = torch.Generator().manual_seed(0)
        network = AttentiveNetwork(4, 2, size=size, generator=drawn)
        torch.nn.init.ones_(network.pool.query)
        output = network(x, lengths)
        output.square().sum().backward()
        return [output.detach(), *(weight.grad for weight in network.parameters())]

    plain = found(0.0)
    assert plain[0].isfinite().all()
    for padding in (torch.nan, torch.inf, 1e9):
        for got, wanted in zip(found(padding), plain, strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def plain_loop(frames, target, probe):
    """Attend with torch.nn, one item after another, from the same draws of the seed."""
    generator = torch.Generator().manual_seed(probe.random_state)
    n_dims = frames[0].shape[1]
    bound = n_dims**-0.5
    query, weight, bias = (
        torch.empty(size).uniform_(-bound, bound, generator=generator).requires_grad_()
        for size in ((n_dims,), (1, n_dims), (1,))
    )
    optimiser = torch.optim.Adam([query, weight, bias], lr=probe.learning_rate)
    every = np.concatenate(frames)
    scaled = [torch.from_numpy((own - every.mean(0)) / every.std(0)) for own in frames]

    def output(own):
        return weight[0] @ (own.T @ (own @ query).softmax(0)) + bias[0]

    losses = []
    for _ in range(probe.epochs):
        total = 0.0
        for rows in torch.randperm(len(frames), generator=generator).split(probe.batch_size):
            guess = torch.stack([output(scaled[row]) for row in rows])
            loss = ((guess - target[rows]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(rows)
        losses.append(total / len(frames))
    return torch.stack([output(own) for own in scaled]).detach().numpy(), losses


def test_the_regressor_is_a_plain_loop_over_single_items(planted):
    frames = planted[0][:50]
    y = np.array([own[:, 2].mean() for own in frames], np.float64)
    probe = TorchAttentiveRegressor(epochs=3, learning_rate=1e-2, batch_size=16).fit(frames, y)
    target = torch.from_numpy(((y - y.mean()) / y.std()).astype(np.float32))
    output, losses = plain_loop(frames, target, probe)
    np.testing.assert_allclose(probe.curves_["loss"], losses, rtol=1e-3)
    expected = output * y.std() + y.mean()
    np.testing.assert_allclose(probe.predict(frames), expected, rtol=1e-3, atol=1e-4)


def test_scikit_learns_grammar_is_kept(tmp_path):
    probe = TorchAttentiveClassifier(epochs=1)
    estimator_checks.check_get_params_invariance("probe", probe)
    estimator_checks.check_set_params("probe", probe)
    estimator_checks.check_no_attributes_set_in_init("probe", probe)
    estimator_checks.check_parameters_default_constructible("probe", probe)
    frames, y = np.random.default_rng(0).normal(size=(24, 5, 3)), np.arange(24) % 2
    search = GridSearchCV(probe, {"attention_size": [None, 2]}, cv=2).fit(frames, y)
    assert search.predict(frames).shape == (24,)
    search.best_estimator_.save(tmp_path / "probe.safetensors")
    again = load(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(again.predict_proba(frames), search.predict_proba(frames))


def test_a_seed_decides_every_bit(planted):
    frames, y, _ = planted
    first, again, other = (
        TorchAttentiveClassifier(epochs=1, random_state=seed).fit(frames, y).predict_proba(frames)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(again, first)
    assert (other != first).any()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((4, 3)), r"expected frames \(n_items, n_frames, n_dims\).*got an array \(4, 3\)"),
        (np.zeros((4, 1, 8, 3)), r"expected frames .*got an array \(4, 1, 8, 3\)"),
        ([np.zeros((1, 8, 3))] * 4, "expected frames .*got spectrograms"),
    ],
)
def test_items_without_frames_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        TorchAttentiveRegressor(epochs=1).fit(X, np.arange(4.0))


def test_a_wrong_width_is_named():
    with pytest.raises(ValueError, match="attention_size must be whole numbers from 1, got 0"):
        TorchAttentiveRegressor(attention_size=0).fit(np.zeros((4, 2, 3)), np.arange(4.0))

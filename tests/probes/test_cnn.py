"""Convolutional probes: the published network, trained as a plain loop does, exact under masks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from speechprobe.probes import _items
from speechprobe.probes._masked import BatchNorm, settle
from speechprobe.probes.cnn import TorchCNNClassifier, TorchCNNRegressor
from speechprobe.probes.networks import ConvNet
from speechprobe.probes.saving import load
from speechprobe.store import RaggedLayer

CHECKED = [
    TorchCNNRegressor(epochs=12, batch_size=32, learning_rate=2e-2),
    TorchCNNClassifier(epochs=6, batch_size=32, learning_rate=2e-2),
]


@pytest.mark.filterwarnings("ignore")  # the checks make estimators warn on purpose
@parametrize_with_checks(CHECKED)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


def study_network(n_outputs, generator):
    """Build the gender study's network of 128 dims from torch's own modules."""
    network = nn.Sequential(
        nn.Conv1d(1, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm1d(32, track_running_stats=False),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(32, 64, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm1d(64, track_running_stats=False),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(64, 128, 3, stride=1, padding=1, bias=False),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.Linear(32, n_outputs),
    )
    for module in network:
        if isinstance(module, nn.Conv1d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            for weight in module.parameters():
                drawn = torch.empty_like(weight).uniform_(-bound, bound, generator=generator)
                weight.data.copy_(drawn)
    return network


def plain_loop(X, target, probe, n_outputs, loss_of):
    generator = torch.Generator().manual_seed(probe.random_state)
    network = study_network(n_outputs, generator)
    optimiser = torch.optim.Adam(
        network.parameters(), lr=probe.learning_rate, weight_decay=probe.weight_decay
    )
    X = torch.from_numpy(((X - X.mean(0)) / X.std(0)).astype(np.float32))[:, None]
    losses = []
    for _ in range(probe.epochs):
        total = 0.0
        for rows in torch.randperm(len(X), generator=generator).split(probe.batch_size):
            loss = loss_of(network(X[rows]), target[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(rows)
        losses.append(total / len(X))
    # All items as one batch: their own statistics.
    return network(X).detach().double().numpy(), losses


@pytest.fixture(scope="module")
def mels():
    return np.random.default_rng(0).normal(size=(75, 128)) * 3 + 5


def test_the_study_network_has_the_published_sizes():
    network = ConvNet((128,), 1, over_time=False, generator=torch.Generator())
    convolutions = 32 * 3 + 64 * 32 * 3 + 128 * 64 * 3
    norms, linear = 2 * (32 + 64), 512 * 32 + 32 + 32 + 1
    assert sum(weight.numel() for weight in network.parameters()) == convolutions + norms + linear
    plain = study_network(1, torch.Generator())
    assert sum(weight.numel() for weight in plain.parameters()) == 47_457


def test_two_classes_are_a_plain_loop_with_binary_cross_entropy(mels):
    codes = np.arange(75) % 2
    probe = TorchCNNClassifier(epochs=2, random_state=3).fit(mels, np.array(["F", "M"])[codes])

    def loss_of(output, target):
        return nn.functional.binary_cross_entropy(output[:, 0].sigmoid(), target)

    target = torch.from_numpy(codes.astype(np.float32))
    output, losses = plain_loop(mels, target, probe, 1, loss_of)
    np.testing.assert_allclose(probe.curves_["loss"], losses, rtol=1e-3)
    expected = 1 / (1 + np.exp(-output[:, 0]))
    np.testing.assert_allclose(probe.predict_proba(mels)[:, 1], expected, rtol=1e-3, atol=1e-4)


def test_three_classes_are_a_plain_loop_with_a_softmax(mels):
    codes = np.arange(75) % 3
    probe = TorchCNNClassifier(epochs=2, weight_decay=0.1).fit(mels, codes * 5)
    output, losses = plain_loop(mels, torch.from_numpy(codes), probe, 3, nn.CrossEntropyLoss())
    np.testing.assert_allclose(probe.curves_["loss"], losses, rtol=1e-3)
    expected = np.exp(output) / np.exp(output).sum(1, keepdims=True)
    np.testing.assert_allclose(probe.predict_proba(mels), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(probe.predict(mels), 5 * output.argmax(1))


def test_numbers_are_a_plain_loop_with_squared_error(mels):
    y = 7 + mels[:, :20].sum(1)
    probe = TorchCNNRegressor(epochs=2, batch_size=25).fit(mels, y)
    target = torch.from_numpy(((y - y.mean()) / y.std()).astype(np.float32))

    def loss_of(output, target):
        return ((output[:, 0] - target) ** 2).mean()

    output, losses = plain_loop(mels, target, probe, 1, loss_of)
    np.testing.assert_allclose(probe.curves_["loss"], losses, rtol=1e-3)
    np.testing.assert_allclose(probe.curves_["r2"], 1 - np.array(losses), rtol=1e-2)
    expected = output[:, 0] * y.std() + y.mean()
    np.testing.assert_allclose(probe.predict(mels), expected, rtol=1e-3, atol=1e-2)


def test_features_can_stay_as_they_are(mels):
    scaled = (mels - mels.mean(0)) / mels.std(0)
    settings = {"epochs": 1, "standardise": False}
    y = np.arange(75) % 2
    plain = TorchCNNClassifier(epochs=1).fit(mels, y).predict_proba(mels)
    same = TorchCNNClassifier(**settings).fit(scaled, y).predict_proba(scaled)
    np.testing.assert_allclose(same, plain, rtol=1e-3)
    assert (
        np.abs(TorchCNNClassifier(**settings).fit(mels, y).predict_proba(mels) - plain).max() > 0.01
    )


@pytest.mark.parametrize("n_dims", [1, 5, 80, 130])
def test_any_width_does(n_dims):
    X = np.random.default_rng(0).normal(size=(20, n_dims))
    assert np.isfinite(TorchCNNRegressor(epochs=1).fit(X, X[:, 0]).predict(X)).all()


def test_where_32_divides_the_width_no_maximum_is_cut():
    full = ConvNet((96,), 1, over_time=False, generator=torch.Generator())
    assert full.hidden.in_features == 128 * 3
    plain = nn.Sequential(*list(study_network(1, torch.Generator()))[:-2])
    assert plain(torch.randn(4, 1, 96)).shape == (4, 128 * 3)


SHAPES = pytest.mark.parametrize("shape", [(6,), (2, 40)], ids=["frames", "spectrograms"])


def batch_of(shape, lengths, padding):
    """Return items of these lengths, padded in front of nothing with some value."""
    generator = torch.Generator().manual_seed(1)
    most = max(lengths)
    x = torch.full((len(lengths), *shape, most), padding)
    for row, length in zip(x, lengths, strict=True):
        row[..., :length] = torch.randn(*shape, length, generator=generator)
    return x.mT.contiguous() if len(shape) == 1 else x


@SHAPES
def test_an_item_is_the_same_alone_and_in_a_padded_batch(shape):
    lengths = [1, 2, 3, 17, 31, 32, 33, 64, 100]
    network = ConvNet(shape, 3, over_time=True, generator=torch.Generator().manual_seed(0)).double()
    batch = batch_of(shape, lengths, torch.nan).double()
    settle(network, lambda: [(batch, torch.tensor(lengths))])
    together = network(batch, torch.tensor(lengths)).detach()
    for number, length in enumerate(lengths):
        own = batch[number : number + 1]
        alone = network(own[:, :length] if len(shape) == 1 else own[..., :length])
        torch.testing.assert_close(together[number], alone[0].detach(), rtol=1e-9, atol=1e-10)


@SHAPES
def test_padding_counts_neither_in_statistics_nor_in_gradients(shape):
    lengths = [5, 40, 90]

    def gradients(padding, extra):
        network = ConvNet(shape, 2, over_time=True, generator=torch.Generator().manual_seed(0))
        x = batch_of(shape, [*lengths, lengths[-1] + extra], padding)[: len(lengths)]
        network(x, torch.tensor(lengths)).square().sum().backward()
        return [weight.grad for weight in network.parameters()]

    expected = gradients(0.0, 0)
    for padding, extra in ((torch.nan, 0), (1e6, 70)):
        for found, wanted in zip(gradients(padding, extra), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_statistics_are_those_of_all_valid_frames_laid_end_to_end():
    lengths, draw = [3, 9, 1, 20], torch.Generator().manual_seed(0)
    items = [torch.randn(5, length, generator=draw) * 2 + 50 for length in lengths]
    padded = nn.utils.rnn.pad_sequence([item.T for item in items], True, torch.inf).mT
    norm = BatchNorm(5)
    pairs = [(padded[:2], torch.tensor(lengths[:2])), (padded[2:], torch.tensor(lengths[2:]))]
    settle(norm, lambda: pairs)
    every = torch.cat(items, 1)
    torch.testing.assert_close(norm.mean, every.mean(1))
    torch.testing.assert_close(norm.variance, every.var(1, correction=0), rtol=1e-4, atol=0)
    expected = (every - every.mean(1, True)) / (
        every.var(1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    found = norm(padded, torch.tensor(lengths))
    got = torch.cat([row[:, :length] for row, length in zip(found, lengths, strict=True)], 1)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def ragged(n=40, n_dims=4, seed=0):
    draw = np.random.default_rng(seed)
    return [
        draw.normal(n % 2, 1, size=(3 + 5 * (n % 7), n_dims)).astype(np.float32) for n in range(n)
    ]


def test_a_list_and_a_ragged_layer_are_the_same_and_pad_alike():
    frames, y = ragged(), np.arange(40) % 2
    listed = TorchCNNClassifier(epochs=2).fit(frames, y)
    layered = TorchCNNClassifier(epochs=2).fit(RaggedLayer.of(frames), y)
    expected = listed.predict_proba(frames)
    np.testing.assert_array_equal(layered.predict_proba(RaggedLayer.of(frames)), expected)
    one_by_one = np.concatenate([listed.predict_proba(own[None]) for own in frames])
    np.testing.assert_allclose(one_by_one, expected, rtol=1e-9)


def test_items_of_one_length_are_the_same_as_an_array_and_as_a_list():
    frames, y = np.random.default_rng(0).normal(size=(30, 12, 3)), np.arange(30.0)
    whole = TorchCNNRegressor(epochs=2).fit(frames, y)
    listed = TorchCNNRegressor(epochs=2).fit(list(frames), y)
    np.testing.assert_allclose(listed.predict(list(frames)), whole.predict(frames), rtol=1e-4)


def test_order_in_time_is_found_and_the_mean_over_time_does_not_tell_it():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 300)
    frames = []
    for rises in y:
        place, own = draw.integers(0, 20), draw.normal(0, 0.3, size=(24 + draw.integers(0, 9), 2))
        own[place : place + 4, 0] += [-2, -2, 2, 2] if rises else [2, 2, -2, -2]
        frames.append(own)
    probe = TorchCNNClassifier(epochs=25, learning_rate=3e-3).fit(frames[:200], y[:200])
    assert probe.score(frames[200:], y[200:]) > 0.9
    means = np.stack([own.mean(0) for own in frames])
    linear = LogisticRegression().fit(means[:200], y[:200])
    assert linear.score(means[200:], y[200:]) < 0.7


def test_a_pattern_in_spectrograms_is_found_whatever_their_length():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, 150)
    pictures = []
    for band in y:
        own = draw.normal(size=(1, 32, 20 + draw.integers(0, 30)))
        own[0, 12 * band : 12 * band + 6] += 1.0
        pictures.append(own)
    probe = TorchCNNClassifier(epochs=4, learning_rate=3e-3).fit(pictures[:100], y[:100])
    assert probe.score(pictures[100:], y[100:]) > 0.9
    whole = np.stack([own[..., :20] for own in pictures])
    assert TorchCNNClassifier(epochs=4, learning_rate=3e-3).fit(whole, y).score(whole, y) > 0.9


PROBES = pytest.mark.parametrize("kind", [TorchCNNRegressor, TorchCNNClassifier])


@PROBES
def test_a_seed_decides_every_bit_and_nothing_global_is_touched(kind):
    frames, y = ragged(), np.arange(40) % 3
    state, n_threads = torch.random.get_rng_state(), torch.get_num_threads()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 it is what must not change
    method = "predict" if kind is TorchCNNRegressor else "predict_proba"

    def outputs(seed):
        probe = kind(epochs=2, random_state=seed, validation_fraction=0.2)
        return getattr(probe.fit(frames, y), method)(frames)

    first = outputs(4)
    with torch.no_grad():
        np.testing.assert_array_equal(outputs(4), first)
    assert (outputs(5) != first).any()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == n_threads
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@PROBES
def test_frames_serve_in_cross_validation_in_searches_and_in_pickles(kind):
    frames, y = np.random.default_rng(0).normal(size=(24, 10, 3)), np.arange(24) % 2
    probe = kind(epochs=1)
    assert np.isfinite(cross_val_score(probe, frames, y, cv=2)).all()
    search = GridSearchCV(probe, {"learning_rate": [1e-3, 1e-2]}, cv=2).fit(frames, y)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert again.network_.state_dict().keys() == search.best_estimator_.network_.state_dict().keys()
    np.testing.assert_array_equal(again.predict(frames), search.predict(frames))
    assert not hasattr(clone(again), "network_")
    assert np.isfinite(cross_val_score(probe, RaggedLayer.of(frames), y, cv=2)).all()


@PROBES
def test_a_file_without_code_keeps_it(kind, tmp_path):
    frames, y = ragged(), np.arange(40) % 2
    probe = kind(epochs=1, validation_fraction=0.2).fit(frames, y)
    probe.save(tmp_path / "probe.safetensors")
    again = load(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(again.predict(frames), probe.predict(frames))
    assert again.curves_.equals(probe.curves_)


def test_blocks_of_any_size_predict_the_same(monkeypatch):
    frames, y = ragged(), np.arange(40) % 2
    probe = TorchCNNClassifier(epochs=1).fit(frames, y)
    expected = probe.predict_proba(frames)
    monkeypatch.setattr(_items, "BLOCK_VALUES", 200)
    np.testing.assert_allclose(probe.predict_proba(frames), expected, rtol=1e-9)
    again = TorchCNNClassifier(epochs=1).fit(frames, y).predict_proba(frames)
    np.testing.assert_allclose(again, expected, rtol=1e-4)


def test_torchs_default_type_does_not_matter(mels):
    y = np.arange(75) % 2
    expected = TorchCNNClassifier(epochs=1).fit(mels, y).predict_proba(mels)
    torch.set_default_dtype(torch.float64)
    try:
        found = TorchCNNClassifier(epochs=1).fit(mels, y).predict_proba(mels)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((4, 2, 3, 4, 5)), "dim 5"),
        ([np.zeros((5, 3)), np.zeros((5, 4))], r"item 1: .*fits item 0, \(5, 3\); got \(5, 4\)"),
        ([np.zeros((5, 3)), np.zeros(3)], r"item 1: .*got \(3,\)"),
        ([np.zeros((5, 3)), np.zeros((0, 3))], "item 1 has no frame"),
        ([np.zeros((5, 3)), np.full((2, 3), np.nan)], "item 1 holds NaN or infinity"),
        (np.full((2, 5, 3), "a"), "holds <U1, expected real numbers"),
        (np.zeros((3, 5, 3)), "there are 3 items and 2 targets"),
    ],
)
def test_wrong_items_are_named(X, message):
    with pytest.raises(ValueError, match=message):
        TorchCNNRegressor(epochs=1).fit(X, [0.0, 1.0])


def test_items_to_predict_must_be_like_those_fitted_on():
    frames = np.zeros((4, 6, 3))
    probe = TorchCNNRegressor(epochs=1).fit(frames, np.arange(4.0))
    with pytest.raises(ValueError, match="fitted on frames with 3 dims an item, got frames with 5"):
        probe.predict(np.zeros((4, 6, 5)))
    with pytest.raises(ValueError, match=r"expected frames .*; got an array \(4, 3\)"):
        probe.predict(np.zeros((4, 3)))
    rows = TorchCNNRegressor(epochs=1).fit(frames[:, 0], np.arange(4.0))
    with pytest.raises(ValueError, match="fitted on dims with 3 dims an item, got frames"):
        rows.predict(frames)

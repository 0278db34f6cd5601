"""A stack trains each network as it would be trained alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone

from speechprobe.probes import TorchMLPClassifier, TorchMLPRegressor, _stack_batches, stacked
from speechprobe.probes.jobs import Job, fit_predict_layers, fit_predict_many
from speechprobe.probes.stacked import Part, Settings, Task, train
from speechprobe.probes.training import Training

N_ITEMS = 90
GROUPS = np.arange(N_ITEMS) % 18
SETTINGS = {
    "plain": {"learning_rate": 1e-2},
    "two hidden layers": {"hidden_sizes": (8, 6), "weight_decay": 1e-3, "batch_size": 16},
    "none": {"hidden_sizes": ()},
    "dropout": {"hidden_sizes": (8, 6), "dropout": 0.3, "schedule": "cosine"},
    "batch norm": {"batch_norm": True, "validation_fraction": 0.2},
    "early stopping": {
        "validation_fraction": 0.3,
        "patience": 1,
        "learning_rate": 0.1,
        "dropout": 0.2,
    },
}


@pytest.fixture(scope="module")
def matrices():
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=(N_ITEMS, width)) * 3 + 20
        for name, width in {"a": 5, "wide": 9, "b": 5, "c": 5}.items()
    }


@pytest.fixture(scope="module")
def jobs(matrices):
    """Folds of two sizes, shuffles and seeds."""
    rng = np.random.default_rng(1)
    target = matrices["a"] @ [1.0, 0, 2, 0, -1] + matrices["b"][:, 0]
    found = []
    for size in (70, 53):
        order = rng.permutation(N_ITEMS)
        for number in range(3):
            shuffled = target if number < 2 else rng.permutation(target)
            found.append(Job(order[:size], order[size:], shuffled, number, GROUPS))
    return found


def alone(probe, matrices, jobs):
    """Return what each probe predicts that is fitted by itself."""
    return {
        layer: [
            clone(probe)
            .set_params(random_state=job.seed)
            .fit(features[job.fit], job.target[job.fit], groups=job.groups[job.fit])
            .predict(features[job.predict])
            for job in jobs
        ]
        for layer, features in matrices.items()
    }


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_layers_folds_shuffles_and_seeds_are_as_if_trained_alone(settings, matrices, jobs):
    probe = TorchMLPRegressor(**({"hidden_sizes": (16,), "epochs": 3} | settings))
    found = fit_predict_layers(probe, matrices, jobs)
    assert list(found) == list(matrices)
    for layer, expected in alone(probe, matrices, jobs).items():
        for prediction, single in zip(found[layer], expected, strict=True):
            np.testing.assert_allclose(prediction, single, rtol=1e-5, atol=1e-5 * single.std())


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_classes_are_as_if_trained_alone(settings, matrices, jobs):
    probe = TorchMLPClassifier(**({"hidden_sizes": (16,), "epochs": 3} | settings))
    names = np.array(["low", "middle", "high"])
    jobs = [
        job._replace(target=names[np.digitize(job.target, np.quantile(job.target, [0.3, 0.7]))])
        for job in jobs
    ]
    found = fit_predict_layers(probe, matrices, jobs)
    for layer, expected in alone(probe, matrices, jobs).items():
        for prediction, single in zip(found[layer], expected, strict=True):
            np.testing.assert_array_equal(prediction, single)


def counted(monkeypatch):
    """Return the sizes of the stacks that are trained."""
    sizes = []

    class Counted(stacked.Run):
        def __init__(self, table, tasks):
            sizes.append(len(tasks))
            super().__init__(table, tasks)

    monkeypatch.setattr(stacked, "Run", Counted)
    return sizes


def test_layers_of_one_width_are_one_stack(matrices, jobs, monkeypatch):
    sizes = counted(monkeypatch)
    fit_predict_layers(TorchMLPRegressor(epochs=1, batch_size=1000), matrices, jobs)
    assert sizes == [18, 6]


def test_one_layer_of_many_is_that_layer(matrices, jobs):
    probe = TorchMLPRegressor(epochs=2)
    many = fit_predict_layers(probe, matrices, jobs)["b"]
    for one, other in zip(fit_predict_many(probe, matrices["b"], jobs), many, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_smaller_pieces_change_nothing(settings, matrices, jobs, monkeypatch):
    probe = TorchMLPRegressor(**({"hidden_sizes": (16,), "epochs": 3} | settings))
    whole = fit_predict_layers(probe, matrices, jobs)
    sizes = counted(monkeypatch)
    monkeypatch.setattr(stacked, "CPU_BYTES", 1)
    monkeypatch.setattr(stacked, "LAYER_BYTES", 1)
    monkeypatch.setattr(_stack_batches, "BLOCK_BYTES", 1)
    pieces = fit_predict_layers(probe, matrices, jobs)
    assert sizes == [1] * 24
    for layer, found in whole.items():
        for one, other in zip(found, pieces[layer], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def tasks_with(trainings, features, **settings):
    rng = np.random.default_rng(3)
    rows = np.arange(len(features))
    target = rng.normal(size=len(features)).astype(np.float32)
    return [
        Task(
            "",
            Part(rows[:60], target[:60]),
            Part(rows[60:], target[60:]),
            1,
            number,
            Settings((12,), training, **settings),
        )
        for number, training in enumerate(trainings)
    ]


def assert_as_alone(features, tasks):
    together = train({"": features}, tasks)
    for task, network in zip(tasks, together, strict=True):
        (single,) = train({"": features}, [task])
        assert network.epoch == single.epoch
        np.testing.assert_allclose(network.history, single.history, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(network(features), single(features), rtol=1e-3, atol=1e-4)
    return together


def test_grid_points_keep_their_learning_rate_and_weight_decay(matrices, monkeypatch):
    grid = [
        Training(rate, decay, 32, 3, "cosine")
        for rate, decay in [(1e-2, 0.1), (1e-3, 0.0), (1e-2, 0.0), (1e-2, 0.1), (1e-3, 0.0)]
    ]
    sizes = counted(monkeypatch)
    networks = assert_as_alone(matrices["a"], tasks_with(grid, matrices["a"]))
    assert sizes == [5, 1, 1, 1, 1, 1]
    assert len({float(network.history[-1, 0]) for network in networks}) == 5


@pytest.mark.parametrize("settings", [{}, {"batch_norm": True, "dropout": 0.2}], ids=str)
def test_networks_stop_each_by_itself(matrices, settings):
    """Of twelve, some stop long before others, so that the stack grows smaller on its way."""
    rates = [3e-2, 1e-3, 1e-2] * 4
    trainings = [Training(rate, 0.0, 16, 40, "constant", 3) for rate in rates]
    tasks = tasks_with(trainings, matrices["a"], **settings)
    networks = assert_as_alone(matrices["a"], tasks)
    lengths = [len(network.history) for network in networks]
    assert min(lengths) < max(lengths) / 2
    for network in networks:
        assert network.epoch == network.history[:, 2].argmin() + 1
        assert len(network.history) == min(network.epoch + 3, 40)


def test_a_run_of_nan_ends_and_does_not_spread(matrices):
    trainings = [Training(rate, 0.0, 16, 5, "constant", 2) for rate in (1e-2, 1e-2)]
    tasks = tasks_with(trainings, matrices["a"])
    bad = np.full(60, np.inf, np.float32)
    spoilt = tasks[1]._replace(fit=Part(tasks[1].fit.rows, bad))
    sound, lost = train({"": matrices["a"]}, [tasks[0], spoilt])
    (single,) = train({"": matrices["a"]}, tasks[:1])
    np.testing.assert_allclose(sound.history, single.history, rtol=1e-4)
    assert len(lost.history) == 3
    assert lost.epoch == 1


def test_the_same_seed_gives_the_same_bits(matrices, jobs):
    probe = TorchMLPRegressor((8,), epochs=2, dropout=0.2, batch_norm=True)
    first, second = (fit_predict_layers(probe, matrices, jobs) for _ in range(2))
    for layer, found in first.items():
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(second[layer]))


def test_no_group_is_both_learnt_from_and_validated_on(matrices, jobs, monkeypatch):
    seen = []

    class Watched(stacked.Run):
        def __init__(self, table, tasks):
            seen.extend(tasks)
            super().__init__(table, tasks)

    monkeypatch.setattr(stacked, "Run", Watched)
    fit_predict_layers(TorchMLPRegressor(epochs=1, validation_fraction=0.3), matrices, jobs)
    assert len(seen) == 24
    for task in seen:
        assert len(task.held.rows)
        assert not set(GROUPS[task.fit.rows]) & set(GROUPS[task.held.rows])


def test_nothing_that_was_given_is_written(matrices, jobs):
    kept = {layer: features.astype(np.float32) for layer, features in matrices.items()}
    copies = {layer: features.copy() for layer, features in kept.items()}
    for features in kept.values():
        features.flags.writeable = False
    fit_predict_layers(TorchMLPRegressor(epochs=1), kept, jobs)
    for layer, features in kept.items():
        np.testing.assert_array_equal(features, copies[layer])


def test_the_device_is_where_it_trains(matrices, jobs):
    with pytest.raises((RuntimeError, AssertionError, NotImplementedError)):
        fit_predict_layers(TorchMLPRegressor(epochs=1, device="meta"), matrices, jobs)
    probe = TorchMLPRegressor(epochs=1, device="cpu")
    found = fit_predict_layers(probe, matrices, jobs[:1])
    assert np.isfinite(found["a"][0]).all()


def test_patience_wants_something_to_validate_on(matrices):
    task = tasks_with([Training(1e-2, 0.0, 16, 5, "constant", 2)], matrices["a"])[0]
    empty = task._replace(held=Part(task.held.rows[:0], task.held.target[:0]))
    with pytest.raises(ValueError, match="patience=2 needs items to validate on"):
        train({"": matrices["a"]}, [empty])
    plain = replace(task.settings, training=replace(task.settings.training, patience=None))
    (network,) = train({"": matrices["a"]}, [empty._replace(settings=plain)])
    assert np.isnan(network.history[:, 2:]).all()
    assert network.epoch == 5
    assert torch.is_grad_enabled()

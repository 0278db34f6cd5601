"""The losses for speakers: numbers worked by hand, second formulas, sizes that were published."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from speechprobe.extractors.nets import ResNetSE34L, ResNetSE34V2
from speechprobe.probes.losses import (
    AAMSoftmax,
    AMSoftmax,
    AngleProto,
    GE2ELoss,
    Softmax,
    SoftmaxProto,
)

N_SPEAKERS, N_UTTERANCES, N_DIMS, N_ALL = 4, 3, 5, 9
LOSSES = {
    "Softmax": lambda: Softmax(N_DIMS, N_ALL),
    "AMSoftmax": lambda: AMSoftmax(N_DIMS, N_ALL),
    "AAMSoftmax": lambda: AAMSoftmax(N_DIMS, N_ALL),
    "easy AAMSoftmax": lambda: AAMSoftmax(N_DIMS, N_ALL, easy_margin=True),
    "AngleProto": AngleProto,
    "GE2ELoss": GE2ELoss,
    "SoftmaxProto": lambda: SoftmaxProto(N_DIMS, N_ALL),
}
SPEAKERS = torch.tensor([7, 0, 3, 8])


@pytest.fixture(autouse=True)
def _generator_as_before():
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1)
        yield


@pytest.fixture
def embeddings():
    return torch.randn(N_SPEAKERS, N_UTTERANCES, N_DIMS, dtype=torch.float64)


def size(*modules):
    return sum(each.numel() for module in modules for each in module.parameters())


def entropy(logits, truth):
    """Mean cross-entropy of rows of logits, by the definition."""
    rows = np.asarray(logits, dtype=np.float64)
    chances = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    return float(-np.log(chances[np.arange(len(rows)), truth]).mean())


def cosine(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def test_networks_and_losses_have_the_published_sizes():
    assert size(ResNetSE34L(), AngleProto()) == 1_437_080
    assert size(ResNetSE34V2(), SoftmaxProto(512, 5994)) == 11_103_416


def test_softmax_is_the_cross_entropy_over_all_speakers(embeddings):
    loss = Softmax(N_DIMS, N_ALL).double()
    weight, bias = (each.detach().numpy() for each in loss.parameters())
    logits = embeddings.numpy().reshape(-1, N_DIMS) @ weight.T + bias
    truth = np.repeat(SPEAKERS.numpy(), N_UTTERANCES)
    found = loss(embeddings, SPEAKERS)
    assert found.loss.item() == pytest.approx(entropy(logits, truth))
    assert found.accuracy.item() == pytest.approx((logits.argmax(1) == truth).mean())


@pytest.mark.parametrize("name", ["AMSoftmax", "AAMSoftmax", "easy AAMSoftmax"])
def test_margins_move_the_true_speaker_alone(name, embeddings):
    loss = LOSSES[name]().double()
    weight = loss.weight.detach().numpy()
    logits, truth = [], np.repeat(SPEAKERS.numpy(), N_UTTERANCES)
    for embedding, speaker in zip(embeddings.numpy().reshape(-1, N_DIMS), truth, strict=True):
        row = np.array([cosine(embedding, each) for each in weight])
        angle = math.acos(row[speaker])
        widest = {"AAMSoftmax": math.pi - 0.2, "easy AAMSoftmax": math.pi / 2}
        if name == "AMSoftmax":
            row[speaker] -= 0.3
        elif angle <= widest[name]:
            row[speaker] = math.cos(angle + 0.2)
        logits.append(30 * row)
    assert loss(embeddings, SPEAKERS).loss.item() == pytest.approx(entropy(logits, truth))


@pytest.mark.parametrize(
    ("degrees", "easy", "hard"),
    [(0, 60, 60), (80, 140, 140), (100, 100, 160), (130, 130, None)],
)
def test_an_angle_gets_its_margin_until_it_would_turn_round(degrees, easy, hard):
    # With a second speaker straight above the plane, whose cosine is 0, the loss gives the logit.
    angle, margin = math.radians(degrees), math.pi / 3
    embedding = torch.tensor([[[math.cos(angle), math.sin(angle), 0.0]]], dtype=torch.float64)
    for is_easy, moved in ((True, easy), (False, hard)):
        loss = AAMSoftmax(3, 2, scale=1.0, margin=margin, easy_margin=is_easy).double()
        loss.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
        logit = -math.log(math.expm1(loss(embedding, torch.tensor([0])).loss.item()))
        if moved is None:  # beyond 180 - 60 degrees
            wanted = math.cos(angle) - margin * math.sin(margin)
        else:
            wanted = math.cos(math.radians(moved))
        assert logit == pytest.approx(wanted, abs=2e-3 if degrees == 0 else 1e-9)


def test_the_worse_an_angle_the_lower_its_logit_apart_from_easy_margins():
    angles = torch.linspace(0.01, math.pi - 0.01, 400, dtype=torch.float64)
    loss = AAMSoftmax(2, 1, margin=0.5)
    moved = loss._moved(angles.cos())
    assert (moved.diff() < 0).all()


def test_an_embedding_on_its_own_weight_has_a_finite_gradient():
    loss = AAMSoftmax(2, 2)
    loss.weight.data = torch.eye(2)
    embedding = torch.tensor([[[1.0, 0.0]]], requires_grad=True)  # the sine is 0, its slope not
    loss(embedding, torch.tensor([0])).loss.backward()
    assert embedding.grad.isfinite().all()
    assert loss.weight.grad.isfinite().all()


def test_angleproto_compares_the_first_utterance_with_the_mean_of_the_others(embeddings):
    loss = AngleProto(scale=7.0, offset=-2.0).double()
    x = embeddings.numpy()
    logits = [[7.0 * cosine(query[0], other[1:].mean(0)) - 2.0 for other in x] for query in x]
    found = loss(embeddings, SPEAKERS)
    assert found.loss.item() == pytest.approx(entropy(logits, np.arange(N_SPEAKERS)))
    right = np.mean(np.argmax(logits, 1) == np.arange(N_SPEAKERS))
    assert found.accuracy.item() == pytest.approx(right)


def test_ge2e_leaves_an_utterance_out_of_its_own_centroid(embeddings):
    loss = GE2ELoss().double()
    x = embeddings.numpy() / np.linalg.norm(embeddings.numpy(), axis=-1, keepdims=True)
    logits = []
    for j in range(N_SPEAKERS):
        for i in range(N_UTTERANCES):
            row = []
            for k in range(N_SPEAKERS):
                others = np.delete(x[k], i, axis=0) if k == j else x[k]
                row.append(10.0 * cosine(x[j, i], others.mean(0)) - 5.0)
            logits.append(row)
    truth = np.repeat(np.arange(N_SPEAKERS), N_UTTERANCES)
    assert loss(embeddings, SPEAKERS).loss.item() == pytest.approx(entropy(logits, truth))


def test_softmaxproto_is_the_sum_of_its_two_parts(embeddings):
    loss = SoftmaxProto(N_DIMS, N_ALL).double()
    parts = [part(embeddings, SPEAKERS).loss.item() for part in (loss.softmax, loss.angleproto)]
    assert loss(embeddings, SPEAKERS).loss.item() == pytest.approx(sum(parts))


@pytest.mark.parametrize("kind", [AngleProto, GE2ELoss])
def test_a_scale_below_zero_counts_as_the_least_one_above(kind, embeddings):
    loss = kind().double()
    loss.w.data.fill_(-3.0)
    n_choices = math.log(N_SPEAKERS)
    assert loss(embeddings, SPEAKERS).loss.item() == pytest.approx(n_choices, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_small_steps(name, embeddings):
    loss = LOSSES[name]().double()
    assert torch.autograd.gradcheck(
        lambda x: loss(x, SPEAKERS).loss, embeddings.requires_grad_(), eps=1e-7, atol=1e-4
    )


@pytest.mark.parametrize("name", LOSSES)
def test_training_on_a_loss_brings_a_speakers_embeddings_together(name):
    def spread(x):
        units = nn.functional.normalize(x, dim=-1)
        within = (units[:, 0] * units[:, 1]).sum(-1).mean()
        across = (units[:, 0] @ units[:, 1].mT).mean()
        return float(within - across)

    x = torch.randn(N_SPEAKERS, 2, N_DIMS)
    before = spread(x)
    loss = LOSSES[name]()
    x.requires_grad_()
    optimiser = torch.optim.Adam([x, *loss.parameters()], lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        loss(x, SPEAKERS).loss.backward()
        optimiser.step()
    assert spread(x.detach()) > max(before, 0.5)
    assert loss(x, SPEAKERS).accuracy == 1


@pytest.mark.parametrize(
    ("shape", "speakers", "message"),
    [
        ((4, 5), [0, 1, 2, 3], r"expected embeddings \(n_speakers, n_utterances, n_dims\)"),
        ((4, 3, 5), [0, 1], r"speakers \(n_speakers,\), got \(4, 3, 5\) and \(2,\)"),
        ((2, 3, 5), [1, 1], r"two rows of the batch: \[1, 1\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shape, speakers, message):
    with pytest.raises(ValueError, match=message):
        AngleProto()(torch.ones(shape), torch.tensor(speakers))


@pytest.mark.parametrize("name", [name for name in LOSSES if "Softmax" in name])
def test_embeddings_of_another_width_are_refused(name):
    with pytest.raises(ValueError, match="for embeddings of 5 dimensions, got 7"):
        LOSSES[name]()(torch.ones(2, 2, 7), torch.arange(2))


@pytest.mark.parametrize("name", ["AngleProto", "GE2ELoss", "SoftmaxProto"])
def test_one_speaker_has_nobody_to_be_told_from(name):
    with pytest.raises(ValueError, match=f"{name} tells the speakers .*: it needs 2, got 1"):
        LOSSES[name]()(torch.ones(1, 2, N_DIMS), torch.tensor([3]))


@pytest.mark.parametrize("kind", [Softmax, AMSoftmax, AAMSoftmax, SoftmaxProto])
@pytest.mark.parametrize(
    ("sizes", "name"), [((0, 3), "n_dims"), ((3, 0), "n_s"), ((2.5, 3), "n_d")]
)
def test_sizes_below_one_are_refused(kind, sizes, name):
    with pytest.raises(ValueError, match=f"{name}.* must be a whole number from 1"):
        kind(*sizes)


def test_a_speaker_without_a_weight_is_refused():
    with pytest.raises(ValueError, match="weights for the speakers 0 to 8, got 0 to 9"):
        AMSoftmax(N_DIMS, N_ALL)(torch.ones(2, 1, N_DIMS), torch.tensor([0, 9]))


@pytest.mark.parametrize("kind", [AngleProto, GE2ELoss])
def test_one_utterance_has_nothing_to_be_compared_with(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} .* needs 2 of each, got 1"):
        kind()(torch.ones(2, 1, N_DIMS), torch.arange(2))


@pytest.mark.parametrize("settings", [{"scale": 0.0}, {"margin": -0.1}, {"margin": 2.0}])
def test_settings_out_of_their_range_are_refused(settings):
    with pytest.raises(ValueError, match="scale|margin"):
        AAMSoftmax(N_DIMS, N_ALL, **settings)

"""The bootstrap by speaker, against lists in which every drawn speaker is a person of their own."""

from __future__ import annotations

import numpy as np
import pytest

from speechprobe.layers.verification.resamples import SpeakerResamples
from speechprobe.metrics import equal_error_rate, min_dcf


def drawn(seed, n_speakers=6, n_trials=150, decimals=1):
    """Draw trials with many equal scores."""
    generator = np.random.default_rng(seed)
    speakers = generator.integers(n_speakers, size=(n_trials, 2))
    speakers[::3, 1] = speakers[::3, 0]
    same = speakers[:, 0] == speakers[:, 1]
    return speakers, same, (generator.normal(size=n_trials) + same).round(decimals)


def written_out(speakers, same, score, people):
    """Return the trials among drawn people, a list: two draws of one speaker are two people."""
    trials = []
    for number, one in enumerate(people):
        rows = np.flatnonzero((speakers == one).all(axis=1))
        trials += [(same[row], score[row]) for row in rows]
        for other in people[number + 1 :]:
            if one != other:
                rows = np.flatnonzero((np.sort(speakers, axis=1) == sorted((one, other))).all(1))
                trials += [(same[row], score[row]) for row in rows]
    return [np.array(side) for side in zip(*trials, strict=True)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("p_target", [0.01, 0.3, 0.7])
def test_every_resample_is_the_plain_rate_of_its_people_written_out(seed, p_target):
    speakers, same, score = drawn(seed)
    draws = SpeakerResamples(speakers, n_resamples=20, seed=seed)
    rates = draws.rates(same, score, p_target=p_target)
    people = np.random.default_rng(seed).integers(6, size=(20, 6))
    for each, eer, cost in zip(people, rates.eer, rates.min_dcf, strict=True):
        truth, own = written_out(speakers, same, score, each.tolist())
        if truth.all() or not truth.any():
            assert np.isnan([eer, cost]).all()
            continue
        assert eer == pytest.approx(equal_error_rate(truth, own), abs=1e-12)
        assert cost == pytest.approx(min_dcf(truth, own, p_target=p_target), abs=1e-12)


def test_neither_order_nor_sides_of_the_trials_matter():
    speakers, same, score = drawn(1)
    order = np.random.default_rng(0).permutation(len(same))
    plain = SpeakerResamples(speakers, n_resamples=50, seed=0).rates(same, score, p_target=0.05)
    turned = SpeakerResamples(speakers[order, ::-1], n_resamples=50, seed=0)
    found = turned.rates(same[order], score[order], p_target=0.05)
    np.testing.assert_allclose(found.eer, plain.eer, atol=1e-12)
    np.testing.assert_allclose(found.min_dcf, plain.min_dcf, atol=1e-12)


@pytest.mark.parametrize(("gap", "expected"), [(100.0, 0.0), (-100.0, 1.0), (None, 0.5)])
def test_perfect_inverted_and_constant_scores_keep_their_rate(gap, expected):
    speakers, same, score = drawn(2)
    score = np.zeros(len(same)) if gap is None else score + gap * same
    rates = SpeakerResamples(speakers, n_resamples=50, seed=0).rates(same, score, p_target=0.01)
    np.testing.assert_allclose(rates.eer, expected, atol=1e-12)
    np.testing.assert_allclose(rates.min_dcf, 0 if expected == 0 else 1, atol=1e-12)


def test_intervals_hold_the_true_rate_about_as_often_as_they_say():
    # Scores of one speaker rise and fall together, as those of a hard voice do.
    generator, n, held = np.random.default_rng(0), 30, 0
    first, second = np.triu_indices(n)
    speakers, same = np.stack([first, second], 1), first == second
    speakers, same = np.repeat(speakers, 4, axis=0), np.repeat(same, 4)

    def scored():
        ease = generator.normal(size=n)
        shared = ease[speakers[:, 0]] + ease[speakers[:, 1]]
        return generator.normal(size=len(same)) + 2 * same + 0.5 * shared

    truth = np.mean([equal_error_rate(same, scored()) for _ in range(300)])
    for seed in range(60):
        rates = SpeakerResamples(speakers, n_resamples=100, seed=seed)
        eer = rates.rates(same, scored(), p_target=0.01).eer
        low, high = np.quantile(eer, [0.05, 0.95])
        held += low <= truth <= high
    assert 44 <= held <= 60  # 54 are expected of 90 %

"""Floors: constants, features given as floors, shuffles within groups, and the gap."""

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp


def probe_rate(features, **settings):
    settings = {"probe": sp.probes.RidgeProbe(), "metrics": sp.metrics.r2, **settings}
    return sp.probe_layers(features, target="rate", groups="speaker", **settings)


@pytest.fixture
def mel(features):
    """A front end that hears half of the rate."""
    noise = np.random.default_rng(5).normal(size=(120, 3))
    noise[:, 0] += features.items["rate"]
    return sp.Features({"mel": noise}, features.items[["speaker"]])


@pytest.fixture
def untrained(features):
    generator = np.random.default_rng(6)
    layers = {name: generator.normal(size=(120, 4)) for name in features.layers}
    return sp.Features(layers, features.items)


def test_a_given_floor_scores_as_the_same_layer_probed_alone(features, mel, untrained):
    scores = probe_rate(features, floor={"mel": mel, "untrained": untrained})
    alone = probe_rate(mel.with_labels(features.items)).records[0]
    own = probe_rate(untrained).records
    for record, twin in zip(scores.records, own, strict=True):
        floors = dict(record.floors)
        assert floors["mel"] == pytest.approx(alone.score, rel=1e-12)
        assert floors["untrained"] == pytest.approx(twin.score, rel=1e-12)
        assert floors["shuffled"] == record.floor
        highest = max(floors.values())
        assert record.gap == record.score - highest
    assert list(scores.table().columns) == [
        "metric", "score", "low", "high", "floor", "mean", "mel", "untrained", "gap",
        "n_items", "n_groups",
    ]  # fmt: skip


def test_a_signal_beats_its_floors_and_noise_does_not(features, mel):
    noise, signal, _ = probe_rate(features, floor=mel).records
    assert signal.gap_low > 0.2
    assert noise.gap_high < 0


def test_the_interval_of_the_gap_is_paired(features, mel):
    """The same layer is its own floor: the gap is 0 in every resample."""
    own = sp.Features({"signal": features["signal"]}, features.items)
    record = probe_rate(own, floor={"twin": own}).records[0]
    assert (record.gap, record.gap_low, record.gap_high) == pytest.approx((0, 0, 0), abs=1e-9)
    assert record.low < record.high


def test_a_gap_is_positive_where_an_error_is_lower(features, mel):
    noise, signal, _ = probe_rate(features, floor={"mel": mel}, metrics=sp.metrics.mae).records
    assert signal.gap_low > 0 > noise.gap_high
    assert signal.gap == dict(signal.floors)["mel"] - signal.score


def test_the_mean_floor_predicts_the_mean_of_the_training_items(features):
    items = features.items
    part = np.where(items["speaker"] < "08", "train", "test")
    split = sp.datasets.splits.predefined(items.assign(part=part), column="part")
    record = probe_rate(features, split=split, metrics=sp.metrics.mae).records[0]
    mean = items["rate"][part == "train"].mean()
    expected = (items["rate"][part == "test"] - mean).abs().mean()
    assert dict(record.floors)["mean"] == pytest.approx(expected)


def test_the_majority_floor_is_the_share_of_the_commonest_class(features):
    items = features.items.assign(loud=np.where(features.items["word"] < 7, "no", "yes"))
    scores = sp.probe_layers(
        sp.Features(features.layers, items), target="loud", groups="speaker",
        probe=sp.probes.LogisticProbe(), metrics=[sp.metrics.accuracy, sp.metrics.uar],
    )  # fmt: skip
    accuracy, uar = scores.records[:2]
    assert dict(accuracy.floors)["majority"] == 0.7
    assert dict(uar.floors)["majority"] == 0.5
    assert list(scores.floors().columns) == [
        "metric", "score", "shuffled", "majority", "gap", "gap_low", "gap_high",
    ]  # fmt: skip


def test_floors_are_matched_by_id_and_may_hold_more_items(features, mel):
    extra = pd.concat([mel.items, pd.DataFrame({"speaker": ["x"]}, index=["other"])])
    more = sp.Features({"mel": np.vstack([mel["mel"], np.full((1, 3), 9.0)])}, extra)
    order = np.random.default_rng(0).permutation(121)
    assert probe_rate(features, floor={"mel": more.select(order)}).records == (
        probe_rate(features, floor={"mel": mel}).records
    )


def test_the_best_layer_has_the_floors_of_the_choice(features, mel):
    part = np.where(features.items["speaker"] < "08", "train", "test")
    split = sp.datasets.splits.predefined(features.items.assign(part=part), column="part")
    scores = probe_rate(features, floor={"mel": mel}, split=split, control="word")
    assert scores.best() == scores.records[1]


def test_floors_that_do_not_fit_are_refused_before_anything_is_fitted(features, mel, untrained):
    with pytest.raises(ValueError, match="floor 'mel' lacks 20 of 120 items, first 'u100'"):
        probe_rate(features, floor={"mel": mel.select(range(100))})
    two = {name: untrained[name] for name in ("noise", "speaker")}
    with pytest.raises(ValueError, match="has 2 layers but none called 'signal'"):
        probe_rate(features, floor={"u": sp.Features(two, untrained.items)})
    with pytest.raises(ValueError, match="cannot be called 'shuffled'"):
        probe_rate(features, floor={"shuffled": mel})
    with pytest.raises(TypeError, match="a floor is Features"):
        probe_rate(features, floor={"mel": mel["mel"]})
    broken = sp.Features({"mel": np.full((120, 2), np.nan)}, features.items)
    with pytest.raises(ValueError, match="'mel' of floor 'given' holds NaN"):
        probe_rate(features, floor=broken)


class TestShuffleWithin:
    def test_the_floor_is_what_the_group_alone_gives(self, features):
        # Items of a speaker have a level in common, which the neighbours know where items leak.
        level = np.repeat(np.random.default_rng(2).normal(size=12), 10)
        items = features.items.assign(rate=level + 0.1 * features.items["rate"])
        known = sp.Features({"level": level[:, None]}, items)
        within = probe_rate(known, shuffle="within").records[0]
        between = probe_rate(known).records[0]
        assert within.floor > 0.9
        assert between.floor < 0.1

    def test_a_label_of_the_group_cannot_be_shuffled_within(self, features):
        with pytest.raises(ValueError, match="'gender' is the same for all items of every group"):
            sp.probe_layers(
                features, target="gender", groups="speaker", probe=sp.probes.LogisticProbe(),
                metrics=sp.metrics.uar, shuffle="within",
            )  # fmt: skip

    def test_without_groups_there_is_nothing_to_shuffle_within(self, features):
        with pytest.raises(ValueError, match="within groups, and groups is None"):
            sp.probe_layers(
                features, target="rate", groups=None, probe=sp.probes.RidgeProbe(),
                metrics=sp.metrics.r2, shuffle="within",
            )  # fmt: skip

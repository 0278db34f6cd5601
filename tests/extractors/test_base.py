"""The check of a new extractor, the choice of layers, and the two protocols."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechprobe import pooling
from speechprobe.extractors import (
    BatchExtractor,
    Extractor,
    LogMel,
    base,
    check_extractor,
    select_layers,
)

HOP = 160


def hopped(signal):
    return np.array(signal[: len(signal) // HOP * HOP]).reshape(-1, HOP)


class Good:
    """Keeps every rule; the broken ones below each break one."""

    name, sample_rate = "good", 16_000

    def __call__(self, signal):
        return {"low": hopped(signal)[:, :4], "high": hopped(signal)[:, 4:]}


class Nameless(Good):
    name = ""


class NotNamed(Good):
    name = 3


class RateInText(Good):
    sample_rate = "16000"


class NegativeRate(Good):
    sample_rate = -1


class Uncallable:
    name, sample_rate = "uncallable", 16_000


class GivesArray(Good):
    def __call__(self, signal):
        return hopped(signal)


class NumbersLayers(Good):
    def __call__(self, signal):
        return {0: hopped(signal)}


class GivesNothing(Good):
    def __call__(self, signal):
        return {}


class GivesVectors(Good):
    def __call__(self, signal):
        return {"layer": hopped(signal).mean(0)}


class GivesText(Good):
    def __call__(self, signal):
        return {"layer": np.array([["a", "b"]])}


class GivesNoFrame(Good):
    def __call__(self, signal):
        return {"layer": hopped(signal)[:0]}


class GivesNan(Good):
    def __call__(self, signal):
        frames = hopped(signal)
        frames[1, 2] = np.nan
        return {"layer": frames}


class WidthFollowsLength(Good):
    def __call__(self, signal):
        return {"layer": hopped(signal).T}


class LayersFollowLength(Good):
    def __call__(self, signal):
        return {f"layer{len(signal)}": hopped(signal)}


class OrderFollowsLength(Good):
    def __call__(self, signal):
        layers = list(super().__call__(signal).items())
        return dict(layers if len(signal) % 16_000 else layers[::-1])


class Random(Good):
    def __call__(self, signal):
        return {"layer": hopped(signal) + np.random.default_rng().normal()}


class WritesIntoSignal(Good):
    def __call__(self, signal):
        signal -= signal.mean()
        return {"layer": hopped(signal)}


class GoodBatch(Good):
    def extract_batch(self, signals, pool):
        found = [self(signal) for signal in signals]
        return {
            layer: np.stack([base.pool_frames(layers[layer], pool) for layers in found])
            for layer in found[0]
        }


class PaddedBatch(GoodBatch):
    def extract_batch(self, signals, pool):
        longest = max(map(len, signals))
        return super().extract_batch([np.pad(s, (0, longest - len(s))) for s in signals], pool)


class ShuffledBatch(GoodBatch):
    def extract_batch(self, signals, pool):
        return super().extract_batch(signals[::-1], pool)


class ShortBatch(GoodBatch):
    def extract_batch(self, signals, pool):
        return super().extract_batch(signals[:1], pool)


@pytest.mark.parametrize("extractor", [Good(), GoodBatch(), LogMel(n_mels=20)])
def test_an_extractor_that_keeps_the_rules_passes(extractor):
    assert isinstance(extractor, Extractor)
    check_extractor(extractor)


def test_tensors_are_frames_too():
    class Tensors(Good):
        def __call__(self, signal):
            return {"layer": torch.from_numpy(hopped(signal)).requires_grad_()}

    check_extractor(Tensors())


@pytest.mark.parametrize(
    ("extractor", "error", "rule"),
    [
        (Nameless(), TypeError, "non-empty string `name`"),
        (NotNamed(), TypeError, "non-empty string `name`; NotNamed has 3"),
        (RateInText(), TypeError, "whole `sample_rate` in Hz, got '16000'"),
        (NegativeRate(), TypeError, "whole `sample_rate` in Hz, got -1"),
        (Uncallable(), TypeError, "callable.*Uncallable"),
        (GivesArray(), TypeError, "mapping.*got ndarray"),
        (NumbersLayers(), TypeError, "mapping"),
        (GivesNothing(), ValueError, "no layer"),
        (GivesVectors(), TypeError, r"'layer' must be numbers of shape \(n_frames, n_dims\)"),
        (GivesText(), TypeError, "'layer' must be numbers"),
        (GivesNoFrame(), ValueError, "'layer'.*no frame"),
        (GivesNan(), ValueError, "'layer' holds NaN or infinity"),
        (WidthFollowsLength(), ValueError, "must not depend on the length"),
        (LayersFollowLength(), ValueError, "must not depend on the length"),
        (OrderFollowsLength(), ValueError, "order.*must not depend on the length"),
        (Random(), ValueError, "'layer' differs when called again"),
        (WritesIntoSignal(), ValueError, "writes into the signal"),
        (PaddedBatch(), ValueError, "a batch must not change a vector"),
        (ShuffledBatch(), ValueError, "a batch must not change a vector"),
        (ShortBatch(), ValueError, "a batch must not change a vector"),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "name") else "",
)
def test_the_message_names_the_broken_rule(extractor, error, rule):
    with pytest.raises(error, match=rule):
        check_extractor(extractor)


def test_layers_that_change_on_the_second_call_are_a_broken_rule():
    class Forgetful(Good):
        n_calls = 0

        def __call__(self, signal):
            self.n_calls += 1
            return {f"layer{self.n_calls}": hopped(signal)}

    with pytest.raises(ValueError, match="called again"):
        check_extractor(Forgetful())


def test_a_batch_without_one_of_the_layers_is_a_broken_rule():
    class Lossy(GoodBatch):
        def extract_batch(self, signals, pool):
            return {"low": super().extract_batch(signals, pool)["low"]}

    with pytest.raises(ValueError, match="'high'"):
        check_extractor(Lossy())


def test_only_extractors_with_a_batch_method_are_batch_extractors():
    assert not isinstance(Good(), BatchExtractor)
    assert isinstance(GoodBatch(), BatchExtractor)


NAMES = ["stem", "blocks.0", "blocks.0.conv", "blocks.1", "blocks.1.conv", "blocks.10", "head.out"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("*", NAMES),
        ("**", NAMES),
        ("stem", ["stem"]),
        ("blocks.*", ["blocks.0", "blocks.1", "blocks.10"]),
        ("blocks.?", ["blocks.0", "blocks.1"]),
        ("blocks.**", NAMES[1:6]),
        ("**.conv", ["blocks.0.conv", "blocks.1.conv"]),
        ("*.*.conv", ["blocks.0.conv", "blocks.1.conv"]),
        ("s*m", ["stem"]),
        (["head.out", "stem"], ["stem", "head.out"]),
        (["blocks.1", "blocks.?"], ["blocks.0", "blocks.1"]),
    ],
)
def test_a_star_stops_at_dots_and_two_stars_do_not(patterns, expected):
    assert select_layers(NAMES, patterns) == expected


def test_a_dot_in_a_pattern_is_a_dot():
    assert select_layers(["a.b", "axb", "a[0]"], ["a.b"]) == ["a.b"]
    assert select_layers(["a[0].b", "a0.b"], ["a[0].*"]) == ["a[0].b"]


def test_a_pattern_without_match_lists_near_names_even_beside_one_that_matches():
    with pytest.raises(ValueError, match=r"'block\.1'.*'blocks\.1'"):
        select_layers(NAMES, ["stem", "block.1"])


def test_no_pattern_at_all_is_an_error():
    with pytest.raises(ValueError, match="no layer was asked for"):
        select_layers(NAMES, [])


def test_one_signal_is_pooled_like_a_batch_of_one():
    frames = np.random.default_rng(0).normal(size=(7, 3))
    np.testing.assert_allclose(
        base.pool_frames(frames, pooling.mean_std),
        np.concatenate([frames.mean(0), frames.std(0)]),
        rtol=1e-5,
    )

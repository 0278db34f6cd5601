"""Scores and features that pictures and pages are made of."""

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.layers import LayerScore, LayerScores


def scores_of(target, values, metric="r2", *, prefix="block.", truth=None, seeds=(0,), **made_by):
    records = tuple(
        LayerScore(
            f"{prefix}{k}", metric, value, -0.1, 0.02, value, 0.0, 50, 8, metric != "mae"
        ).with_interval(value - 0.2, value + 0.1, n_groups=10)
        for k, value in enumerate(values)
    )
    best = max(records, key=lambda record: record.score)
    settings = {"target": target} | ({"features": made_by} if made_by else {})
    return LayerScores(records, predictions_of(records, truth, seeds), settings, (best,))


def predictions_of(records, truth, seeds):
    if truth is None:
        return pd.DataFrame()
    parts = [
        pd.DataFrame(
            {"layer": r.layer, "seed": s, "truth": truth, "prediction": shifted(truth, k + s)}
        )
        for k, r in enumerate(records)
        for s in seeds
    ]
    return pd.concat(parts, ignore_index=True)


def shifted(truth, by):
    values = np.asarray(truth)
    return values + by if np.issubdtype(values.dtype, np.number) else np.roll(values, by)


@pytest.fixture
def make_scores():
    return scores_of


@pytest.fixture
def models():
    return {
        "<trained>": scores_of("rate", [0.2, 0.5, 0.7]),
        "untrained": scores_of("rate", [0.1, 0.2, 0.1]),
        "log-mel": scores_of("rate", [0.15]),
    }


@pytest.fixture
def features():
    generator = np.random.default_rng(0)
    classes = np.arange(60) % 3
    vectors = generator.normal(size=(60, 8)) + 5 * classes[:, None]
    items = pd.DataFrame(
        {
            "emotion": np.array(["anger", "joy", "neutral"])[classes],
            "rate": np.where(np.arange(60) == 7, np.nan, vectors[:, 0]),
            "speaker": [f"s{k}" for k in range(60)],
        },
        index=[f"u{k}" for k in range(60)],
    )
    frames = [np.ones((2, 3))] * 60
    return sp.Features(
        {"block.0": vectors, "block.1": 2 * vectors, "frames": frames, "broken": vectors * np.nan},
        items,
        {"extractor": {"name": "net"}},
    )

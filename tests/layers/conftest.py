"""Features of 12 speakers that the tests of layers share."""

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp


@pytest.fixture
def features():
    """12 speakers of 10 items: a layer that carries the rate, one of noise, one of the speaker.

    Every speaker says the words 0 to 9 once.
    """
    generator = np.random.default_rng(0)
    speaker = np.repeat(np.arange(12), 10)
    rate = generator.normal(size=120)
    noise = generator.normal(size=(120, 6))
    items = pd.DataFrame(
        {
            "speaker": [f"{number:02d}" for number in speaker],
            "rate": rate,
            "gender": np.where(speaker % 2, "F", "M"),
            "emotion": np.where(rate > 0.4, "anger", np.where(rate < -0.4, "sadness", "neutral")),
            "word": np.tile(np.arange(10), 12),
        },
        index=[f"u{number}" for number in range(120)],
    )
    layers = {
        "noise": noise,
        "signal": np.column_stack([rate + 0.1 * noise[:, 0], noise[:, 1:]]),
        "speaker": np.eye(12)[speaker] + 0.01 * np.column_stack([noise, noise]),
    }
    return sp.Features(layers, items)

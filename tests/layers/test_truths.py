"""What makes a number worth believing: planted signals are found, and intervals cover."""

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

import speechprobe as sp
from speechprobe.datasets.splits import Split


def test_the_right_probe_finds_a_planted_signal_and_the_floor_does_not():
    generator = np.random.default_rng(0)
    n_items = 400
    x = generator.normal(size=(3, n_items, 4))
    items = pd.DataFrame({
        "speaker": np.arange(n_items) % 20,
        "rate": x[0, :, 0] + 0.3 * generator.normal(size=n_items),
    })  # fmt: skip
    hidden = np.column_stack([np.sqrt(np.abs(items["rate"])), x[1]])
    hidden[:, 0] *= generator.choice([-1, 1], size=n_items)  # its square is |rate|
    items["size"] = items["rate"].abs()
    layers = {"linear": np.column_stack([items["size"], x[0]]), "square": hidden, "none": x[2]}
    straight = sp.probes.RidgeProbe()
    bent = make_pipeline(PolynomialFeatures(2, include_bias=False), sp.probes.RidgeProbe())
    linear, bent = (
        sp.probe_layers(
            sp.Features(layers, items), target="size", groups="speaker", probe=probe,
            metrics=sp.metrics.r2,
        ).by_metric()
        for probe in (straight, bent)
    )  # fmt: skip
    assert [record.gap_low > 0.5 for record in linear] == [True, False, False]
    assert [record.gap_low > 0.5 for record in bent] == [True, True, False]
    for record in (*linear, *bent):
        assert record.floor < 0.05
    assert all(record.gap_low < 0.05 for record in (linear[1], linear[2], bent[2]))


@pytest.mark.slow
def test_intervals_cover_the_true_score_at_their_nominal_rate():
    """The probe is fitted on the same speakers each time; 30 new ones test it."""

    def speakers(n, generator):
        level = np.repeat(0.5 * generator.normal(size=n), 10)  # what items of one share
        x = generator.normal(size=(10 * n, 3))
        return x, x[:, 0] + level + 0.5 * generator.normal(size=10 * n)

    x, y = speakers(20, np.random.default_rng(1000))
    probe = sp.probes.RidgeProbe().fit(x.astype(np.float32), y)
    many, rate = speakers(20_000, np.random.default_rng(1001))
    true = sp.metrics.mae(rate, probe.predict(many))
    rows = np.arange(500)
    split = Split(rows[:200], rows[:0], rows[200:])
    covered = []
    for seed in range(200):
        new, new_rate = speakers(30, np.random.default_rng(seed))
        items = pd.DataFrame({
            "speaker": rows // 10, "rate": np.concatenate([y, new_rate]),
        })  # fmt: skip
        record = sp.probe_layers(
            sp.Features({"layer": np.concatenate([x, new])}, items), target="rate",
            groups="speaker", probe=sp.probes.RidgeProbe(), metrics=sp.metrics.mae, split=split,
            n_shuffles=0, select_on=None,
        ).records[0]  # fmt: skip
        covered.append(record.low <= true <= record.high)
    assert 0.89 <= np.mean(covered) <= 0.99


def test_a_leaked_speaker_is_caught():
    """A layer that knows the voice alone: high where speakers leak, at the floor where not."""
    generator = np.random.default_rng(0)
    speaker = np.repeat(np.arange(24), 10)
    voice = generator.normal(size=(24, 30))[speaker] + 0.1 * generator.normal(size=(240, 30))
    age = generator.normal(size=24)[speaker]
    features = sp.Features({"voice": voice}, pd.DataFrame({"speaker": speaker, "age": age}))
    leaked, held_out = (
        sp.probe_layers(
            features, target="age", groups=groups, probe=sp.probes.RidgeProbe(),
            metrics=sp.metrics.r2,
        ).records[0]
        for groups in (None, "speaker")
    )  # fmt: skip
    assert leaked.score > 0.9
    assert held_out.gap_low < 0.1
    rows = np.arange(240)
    with pytest.raises(ValueError, match="straddle the split: 15"):
        sp.probe_layers(
            features, target="age", groups="speaker", probe=sp.probes.RidgeProbe(),
            metrics=sp.metrics.r2, split=Split(rows[:155], rows[:0], rows[155:]),
        )  # fmt: skip

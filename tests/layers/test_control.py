"""Control tasks: labels by type, and selectivity that tells memory from knowledge."""

import numpy as np
import pandas as pd
import pytest

import speechprobe as sp
from speechprobe.probes.control import control_labels


class TestLabels:
    @pytest.fixture
    def items(self):
        generator = np.random.default_rng(0)
        word = generator.integers(0, 4000, size=20_000)
        return pd.DataFrame({
            "word": word, "tag": generator.choice(list("NVA"), size=20_000, p=[0.6, 0.3, 0.1]),
            "rate": generator.gamma(2, size=20_000),
        })  # fmt: skip

    def test_all_items_of_a_type_share_a_label(self, items):
        labels = pd.Series(control_labels(items, target="tag", types="word"))
        assert len(set(zip(items["word"], labels, strict=True))) == items["word"].nunique()

    def test_classes_keep_their_shares_and_numbers_their_spread(self, items):
        of_types = ~items["word"].duplicated()
        labels = pd.Series(control_labels(items, target="tag", types="word"))[of_types]
        shares = labels.value_counts(normalize=True)
        assert shares[["N", "V", "A"]].to_numpy() == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
        rates = control_labels(items, target="rate", types="word")[of_types]
        assert np.quantile(rates, [0.1, 0.5, 0.9]) == pytest.approx(
            np.quantile(items["rate"], [0.1, 0.5, 0.9]), rel=0.1
        )

    def test_labels_say_nothing_of_the_real_ones(self, items):
        labels = control_labels(items, target="rate", types="word")
        assert abs(np.corrcoef(labels, items["rate"])[0, 1]) < 0.05

    def test_a_seed_gives_one_draw(self, items):
        first, same, other = (
            control_labels(items, target="rate", types="word", seed=seed) for seed in (3, 3, 4)
        )
        assert (first == same).all()
        assert (first != other).any()

    def test_few_types_never_draw_one_label_only(self):
        items = pd.DataFrame({"word": list("abc") * 4, "tag": list("NNNNNNNNNNNV")})
        drawn = [control_labels(items, target="tag", types="word", seed=s) for s in range(40)]
        assert all(len(set(labels)) == 2 for labels in drawn)
        with pytest.raises(
            ValueError, match="'tag' is the same for all 12 items; there is no task"
        ):
            control_labels(items.assign(tag="N"), target="tag", types="word")

    def test_what_cannot_be_drawn_is_said(self, items):
        with pytest.raises(KeyError, match="no label 'phone' among"):
            control_labels(items, target="tag", types="phone")
        with pytest.raises(ValueError, match="is the same for all 20000 items"):
            control_labels(items.assign(word=1), target="tag", types="word")
        lost = items.assign(word=items["word"].where(items.index != 5))
        with pytest.raises(ValueError, match="1 of 20000 items have no 'word', first 5"):
            control_labels(lost, target="tag", types="word")


@pytest.mark.parametrize("control_for", [(), ("pace",)])
def test_noise_has_no_selectivity_in_errors_of_the_targets_unit(control_for):
    draw = np.random.default_rng(0)
    found = []
    for _ in range(10):
        pace = draw.normal(size=200)
        items = pd.DataFrame({
            "speaker": np.arange(200) % 10, "word": draw.integers(0, 8, size=200), "pace": pace,
            "rate": 3 * pace + 0.5 * draw.normal(size=200),
        })  # fmt: skip
        scores = sp.probe_layers(
            sp.Features({"noise": draw.normal(size=(200, 2))}, items), target="rate",
            groups="speaker", probe=sp.probes.RidgeProbe(), metrics=sp.metrics.rmse,
            control="word", control_for=control_for, n_shuffles=0, select_on=None,
        )  # fmt: skip
        record = scores.records[0]
        found.append(record.selectivity / record.score)
    assert np.abs(found).max() < 0.05


@pytest.fixture
def words():
    """40 words said by 12 speakers: a layer that names the word, and one that holds its value."""
    generator = np.random.default_rng(1)
    word, speaker = np.tile(np.arange(40), 12), np.repeat(np.arange(12), 40)
    value = generator.normal(size=40)[word]
    items = pd.DataFrame({
        "speaker": speaker, "word": word, "value": value,
        "kind": np.where(value > 0, "high", "low"),
    })  # fmt: skip
    noise = 0.1 * generator.normal(size=(480, 40))
    layers = {"names": np.eye(40)[word] + noise, "values": np.column_stack([value, noise])}
    return sp.Features(layers, items)


@pytest.mark.parametrize(
    ("target", "probe", "metric"),
    [
        ("value", sp.probes.RidgeProbe(), sp.metrics.r2),
        ("value", sp.probes.RidgeProbe(), sp.metrics.mae),
        ("kind", sp.probes.LogisticProbe(C=1.0), sp.metrics.uar),
    ],
)
def test_selectivity_tells_memory_from_knowledge(words, target, probe, metric):
    scores = sp.probe_layers(
        words, target=target, groups="speaker", probe=probe, metrics=metric, control="word",
        seeds=(0, 1, 2),
    )  # fmt: skip
    names, values = scores.records
    sign = 1 if names.higher_is_better else -1
    for record in (names, values):
        assert record.selectivity == pytest.approx(sign * (record.score - record.control))
        assert record.gap > 0.25  # both beat every floor: the floors do not tell them apart
    assert names.selectivity < 0.15
    assert values.selectivity > 0.35
    assert list(scores.table().columns)[-4:] == ["control", "selectivity", "n_items", "n_groups"]
    assert not scores.cautions


def test_types_that_are_never_trained_on_are_told_of(words):
    scores = sp.probe_layers(
        words, target="value", groups="speaker", probe=sp.probes.RidgeProbe(),
        metrics=sp.metrics.r2, control="speaker",
    )  # fmt: skip
    assert scores.records[0].control < 0.1
    assert any("480 of 480 scored items are of types" in each for each in scores.cautions)


def test_without_a_control_task_there_is_no_selectivity(words):
    scores = sp.probe_layers(
        words, target="value", groups="speaker", probe=sp.probes.RidgeProbe(),
        metrics=sp.metrics.r2,
    )  # fmt: skip
    assert np.isnan(scores.records[0].selectivity)
    assert "selectivity" not in scores.table()

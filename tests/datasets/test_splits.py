from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from speechprobe.datasets import splits
from speechprobe.datasets.splits import Split

NOTHING = np.empty(0, dtype=np.intp)


@st.composite
def tables(draw, min_groups: int = 5, max_groups: int = 9) -> pd.DataFrame:
    """Draw items of speakers of very unlike sizes, in any order."""
    n_groups = draw(st.integers(min_groups, max_groups))
    sizes = draw(st.lists(st.integers(1, 12), min_size=n_groups, max_size=n_groups))
    speakers = [f"speaker{number}" for number, size in enumerate(sizes) for _ in range(size)]
    table = pd.DataFrame({"speaker": draw(st.permutations(speakers))})
    table["label"] = np.where(np.arange(len(table)) % 2, "angry", "calm")
    # Each speaker belongs to one part, the first of them to train and test.
    parts = dict.fromkeys(table["speaker"].unique(), "dev") | dict.fromkeys(speakers, "train")
    parts |= {"speaker0": "test", "speaker1": "dev"}
    table["part"] = table["speaker"].map(parts)
    return table.set_index(pd.Index([f"item{row}" for row in range(len(table))]))


# name: function of a table with at least five speakers, giving one split or more
SPLITTERS = {
    "by_group": lambda table: [splits.by_group(table, seed=3)],
    "k_fold of 2": lambda table: splits.k_fold(table, n_folds=2),
    "k_fold of 5": splits.k_fold,
    "leave_one_group_out": splits.leave_one_group_out,
    "predefined": lambda table: [splits.predefined(table, column="part")],
    "with_validation": lambda table: [
        splits.with_validation(fold, table, seed=3) for fold in splits.k_fold(table, n_folds=2)
    ],
    "without_validation": lambda table: [
        splits.without_validation(fold, table, groups="speaker") for fold in splits.k_fold(table)
    ],
}
FOLDS = {
    "k_fold of 2": SPLITTERS["k_fold of 2"],
    "k_fold of 5": SPLITTERS["k_fold of 5"],
    "by item": lambda table: splits.k_fold(table, groups=None),
    "leave_one_group_out": SPLITTERS["leave_one_group_out"],
}


def assert_sound(split: Split, table: pd.DataFrame, group: str = "speaker") -> None:
    """Check with sets that no item and no group stands on two sides, and that two are filled."""
    rows = [set(part.tolist()) for part in split]
    groups = [set(table[group].iloc[part]) for part in split]
    for sides in (rows, groups):
        assert sum(map(len, sides)) == len(set().union(*sides))
    assert sum(map(len, split)) == sum(map(len, rows))
    assert rows[0]
    assert rows[2]


def as_lists(parts: list[Split]) -> list[list[list[int]]]:
    return [[part.tolist() for part in split] for split in parts]


@pytest.mark.parametrize("name", SPLITTERS)
@given(table=tables())
def test_no_speaker_ever_straddles(name, table):
    before = table.copy(deep=True)
    for split in SPLITTERS[name](table):
        assert_sound(split, table)
        assert np.sort(np.concatenate(split)).tolist() == list(range(len(table)))
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("name", SPLITTERS)
@given(table=tables())
def test_the_same_table_gives_the_same_split(name, table):
    assert as_lists(SPLITTERS[name](table)) == as_lists(SPLITTERS[name](table.copy()))


@pytest.mark.parametrize("name", FOLDS)
@given(table=tables())
def test_every_item_is_tested_exactly_once_over_the_folds(name, table):
    tested = np.concatenate([split.test for split in FOLDS[name](table)])
    assert np.sort(tested).tolist() == list(range(len(table)))


@given(table=tables(), n_folds=st.integers(2, 5))
def test_stratified_folds_are_sound_and_test_every_item_once(table, n_folds):
    assume(table["label"].value_counts().min() >= n_folds)
    folds = splits.k_fold(table, n_folds=n_folds, stratify="label")
    assert len(folds) == n_folds
    for fold in folds:
        assert_sound(fold, table)
    tested = np.concatenate([fold.test for fold in folds])
    assert np.sort(tested).tolist() == list(range(len(table)))


def test_stratified_folds_share_the_classes_out():
    # Ten speakers of ten items, each speaker of one class: plain folds may hold one class only.
    table = pd.DataFrame({"speaker": np.repeat(np.arange(10), 10)})
    table["label"] = np.where(table["speaker"] < 5, "angry", "calm")
    for fold in splits.k_fold(table, n_folds=5, stratify="label"):
        assert table["label"].iloc[fold.test].value_counts().to_dict() == {"angry": 10, "calm": 10}


def test_stratified_folds_exist_wherever_there_are_enough_groups():
    # As many folds as speakers: each must be a fold of its own, whatever the classes ask for.
    sizes = {"a": (2, "x"), "b": (5, "y"), "c": (5, "z"), "d": (5, "x"), "e": (6, "y")}
    rows = [(speaker, label) for speaker, (size, label) in sizes.items() for _ in range(size)]
    table = pd.DataFrame(rows, columns=["speaker", "label"])
    for fold in splits.k_fold(table, n_folds=5, stratify="label"):
        assert_sound(fold, table)


@given(table=tables())
def test_folds_of_a_kind_are_of_about_equal_size(table):
    sizes = [len(fold.test) for fold in splits.k_fold(table, n_folds=3)]
    # The largest group bounds what a greedy assignment can miss.
    assert max(sizes) - min(sizes) <= table["speaker"].value_counts().max()


@given(table=tables(min_groups=1))
def test_leave_one_group_out_tests_one_group_at_a_time(table):
    n_speakers = table["speaker"].nunique()
    assume(n_speakers > 1)
    folds = splits.leave_one_group_out(table)
    tested = [set(table["speaker"].iloc[fold.test]) for fold in folds]
    assert all(len(speakers) == 1 for speakers in tested)
    assert len(set().union(*tested)) == len(folds) == n_speakers


@pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.2), (0.5, 0.0, 0.5), (0.8, 0.1, 0.1)])
@given(seed=st.integers(0, 100), n_groups=st.integers(10, 40))
def test_by_group_gives_the_wanted_shares_of_the_groups(fractions, seed, n_groups):
    table = pd.DataFrame({"speaker": np.repeat(np.arange(n_groups), 3)})
    split = splits.by_group(table, fractions=fractions, seed=seed)
    for part, fraction in zip(split, fractions, strict=True):
        assert abs(len(part) / 3 - fraction * n_groups) <= 1


def test_another_seed_gives_another_split():
    table = pd.DataFrame({"speaker": np.arange(100)})
    drawn = {tuple(splits.by_group(table, seed=seed).test) for seed in range(5)}
    assert len(drawn) == 5


@given(table=tables(max_groups=6))
def test_items_are_their_own_groups_where_one_says_so(table):
    split = splits.by_group(table, groups=None)
    assert_sound(split, table.assign(item=table.index), group="item")
    assert len(split.test) == pytest.approx(0.2 * len(table), abs=1)


def test_whole_numbers_may_name_groups_and_parts():
    table = pd.DataFrame({"reader": [7, 7, 8, 9], "fold": [0, 0, 1, 2]})
    split = splits.predefined(
        table, column="fold", groups="reader", train=[0], validation=[1], test=[2]
    )
    assert as_lists([split]) == [[[0, 1], [2], [3]]]


TWO = pd.DataFrame({"speaker": list("aabb"), "part": ["train", "train", "test", "test"]})


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda: splits.by_group(TWO), "2 groups of 'speaker' are too few"),
        (lambda: splits.k_fold(TWO, n_folds=3), "at least 3 groups of 'speaker'.*are 2"),
        (lambda: splits.k_fold(TWO, n_folds=1), "n_folds must be at least 2, got 1"),
        (lambda: splits.k_fold(TWO, n_folds=3, stratify="part"), "at least 3 groups"),
        (lambda: splits.leave_one_group_out(TWO[:2]), "one group of 'speaker' only"),
        (lambda: splits.predefined(TWO[:2], column="part"), "for the test part.*'train'"),
        (lambda: splits.predefined(TWO[2:], column="part"), "for the train part.*'test'"),
        (lambda: splits.by_group(TWO, fractions=(0.5, 0.5, 0.5)), "sum to 1"),
        (lambda: splits.by_group(TWO, fractions=(1.2, -0.2, 0.0)), "sum to 1"),
        (lambda: splits.by_group(TWO, fractions=(0.5, 0.5)), "three shares"),
        (lambda: splits.by_group(TWO, fractions=(0.5, 0.5, 0.0)), "test part.*empty"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(split, message):
    with pytest.raises(ValueError, match=message):
        split()


@pytest.mark.parametrize(
    "split",
    [
        lambda: splits.by_group(TWO, groups="reader"),
        lambda: splits.k_fold(TWO, groups="reader"),
        lambda: splits.leave_one_group_out(TWO, groups="reader"),
        lambda: splits.predefined(TWO, column="reader"),
        lambda: splits.k_fold(TWO, n_folds=2, stratify="reader"),
    ],
    ids=["by_group", "k_fold", "leave_one_group_out", "predefined", "stratify"],
)
def test_an_unknown_label_is_named_with_the_known_ones(split):
    with pytest.raises(KeyError, match=r"'reader'.*'speaker'"):
        split()


def test_an_item_without_a_group_is_named():
    table = pd.DataFrame({"speaker": ["a", None, "b"]}, index=["x", "y", "z"])
    with pytest.raises(ValueError, match="1 of 3 items have no 'speaker', first 'y'"):
        splits.k_fold(table, n_folds=2)


class TestPredefined:
    def test_a_speaker_that_straddles_is_named_with_its_parts(self):
        table = pd.DataFrame({"speaker": list("abcb"), "part": ["train", "train", "dev", "test"]})
        with pytest.raises(ValueError, match=r"1 groups of 'speaker' straddle.*'b' \(train and te"):
            splits.predefined(table, column="part")

    def test_items_may_straddle_where_one_says_that_they_are_independent(self):
        table = pd.DataFrame({"speaker": list("aaa"), "part": ["train", "dev", "test"]})
        split = splits.predefined(table, column="part", groups=None)
        assert as_lists([split]) == [[[0], [1], [2]]]

    def test_other_values_are_left_out(self):
        table = pd.DataFrame({"speaker": list("abcd"), "part": ["train", "spare", None, "test"]})
        assert as_lists([splits.predefined(table, column="part")]) == [[[0], [], [3]]]

    def test_one_value_in_two_parts_is_refused(self):
        with pytest.raises(ValueError, match="straddle"):
            splits.predefined(TWO, column="part", train=["train", "test"])


class TestWithValidation:
    def test_validation_comes_out_of_train_and_test_stays(self):
        table = pd.DataFrame({"speaker": np.repeat(np.arange(11), 2)})
        before = Split(np.arange(20), NOTHING, np.arange(20, 22))
        after = splits.with_validation(before, table, fraction=0.3)
        assert (len(after.train), len(after.validation)) == (14, 6)
        assert after.test.tolist() == [20, 21]

    @pytest.mark.parametrize("fraction", [0.05, 0.5, 0.8, 0.95])
    @pytest.mark.parametrize("n_groups", [2, 3, 5])
    def test_neither_part_is_ever_empty(self, n_groups, fraction):
        table = pd.DataFrame({"speaker": np.arange(n_groups + 1)})
        before = Split(np.arange(n_groups), NOTHING, np.array([n_groups]))
        after = splits.with_validation(before, table, fraction=fraction)
        assert len(after.train)
        assert len(after.validation)

    @pytest.mark.parametrize(
        "split",
        [
            Split(np.array([0]), np.array([1]), np.array([2])),
            Split(np.array([0]), NOTHING, np.array([2])),
        ],
        ids=["it has one", "one group only"],
    )
    def test_a_split_that_has_one_or_cannot_have_one_stays_as_it_is(self, split):
        table = pd.DataFrame({"speaker": list("abc")})
        assert splits.with_validation(split, table) is split


@given(table=tables())
def test_without_validation_its_items_train_and_test_stays(table):
    for before in splits.k_fold(table):
        after = splits.without_validation(before, table, groups="speaker")
        assert set(after.train) == {*before.train, *before.validation}
        assert len(after.validation) == 0
        assert after.test.tolist() == before.test.tolist()


class TestCheck:
    @given(table=tables(), data=st.data())
    def test_it_refuses_exactly_the_splits_in_which_a_speaker_straddles(self, table, data):
        speakers = table["speaker"].unique()
        side = st.lists(st.integers(0, 3), min_size=len(speakers), max_size=len(speakers))
        of_speaker = dict(zip(speakers, data.draw(side), strict=True))
        sides = np.array([of_speaker[speaker] for speaker in table["speaker"]])
        # At most two items go astray, so that both outcomes come up.
        for row in data.draw(st.lists(st.integers(0, len(table) - 1), max_size=2)):
            sides[row] = (sides[row] + 1) % 4
        split = Split(*(np.flatnonzero(sides == number) for number in range(3)))
        assume(len(split.train) and len(split.test))
        used = set(zip(table["speaker"][sides < 3], sides[sides < 3], strict=True))
        n_straddling = sum(n > 1 for n in Counter(speaker for speaker, _ in used).values())
        if n_straddling:
            with pytest.raises(ValueError, match=f"{n_straddling} groups .*straddle"):
                splits.check(split, table, groups="speaker")
        else:
            assert splits.check(split, table, groups="speaker") is split

    def test_an_item_on_two_sides_is_named(self):
        split = Split(np.array([0, 1]), NOTHING, np.array([1]))
        with pytest.raises(ValueError, match=r"straddle.*'y' \(train and test"):
            splits.check(split, pd.DataFrame(index=["x", "y"]), groups=None)

    @pytest.mark.parametrize("name", ["train", "test"])
    def test_an_empty_part_is_refused(self, name):
        parts = {"train": np.array([0]), "validation": NOTHING, "test": np.array([1])}
        with pytest.raises(ValueError, match=f"the {name} part of the split is empty"):
            splits.check(Split(**parts | {name: NOTHING}), TWO[1:3], groups="speaker")


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=20))
def test_group_codes_are_equal_where_the_groups_are_and_fill_a_range(names):
    codes = splits.group_codes(pd.DataFrame({"speaker": names}), "speaker")
    assert sorted(set(codes.tolist())) == list(range(len(set(names))))
    assert len(set(zip(names, codes.tolist(), strict=True))) == len(set(names))


def shares_of(split: Split, table: pd.DataFrame, label: str) -> np.ndarray:
    """Return the share of each class that each part holds, shape (3, n_classes)."""
    counts = [table[label].iloc[part].value_counts() for part in split]
    total = table[label].value_counts()
    return np.stack([(count.reindex(total.index).fillna(0) / total).to_numpy() for count in counts])


def uneven_table(seed: int) -> pd.DataFrame:
    """Thirty speakers of unlike sizes, each of them mostly of one of three classes."""
    generator = np.random.default_rng(seed)
    rows = []
    for speaker in range(30):
        weights = generator.dirichlet([0.3] * 3)
        rows += [
            (speaker, kind) for kind in generator.choice(3, generator.integers(5, 40), p=weights)
        ]
    return pd.DataFrame(rows, columns=["speaker", "label"])


class TestStratifiedByGroup:
    @given(table=tables(), seed=st.integers(0, 100))
    @settings(max_examples=25)
    def test_no_speaker_ever_straddles(self, table, seed):
        before = table.copy(deep=True)
        split = splits.stratified_by_group(table, label="label", seed=seed)
        assert_sound(split, table)
        assert np.sort(np.concatenate(split)).tolist() == list(range(len(table)))
        pd.testing.assert_frame_equal(table, before)

    def test_the_parts_have_as_many_groups_as_by_groups(self):
        table = uneven_table(0)
        for fractions in ((0.6, 0.2, 0.2), (0.5, 0.0, 0.5), (0.8, 0.1, 0.1)):
            parts = splits.stratified_by_group(table, label="label", fractions=fractions)
            counts = [table["speaker"].iloc[part].nunique() for part in parts]
            assert counts == [round(30 * fraction) for fraction in fractions]

    def test_the_shares_are_nearer_than_by_groups(self):
        wanted = np.array([[0.6], [0.2], [0.2]])
        misses = []
        for seed in range(8):
            table = uneven_table(seed)
            stratified = splits.stratified_by_group(table, label="label", seed=seed)
            plain = splits.by_group(table, seed=seed)
            misses.append(
                [
                    np.abs(shares_of(each, table, "label") - wanted).mean()
                    for each in (stratified, plain)
                ]
            )
        stratified, plain = np.mean(misses, axis=0)
        assert stratified < plain / 2
        assert stratified < 0.05

    def test_the_shares_are_exact_where_that_is_easy(self):
        table = pd.DataFrame({"speaker": np.repeat(np.arange(20), 3)})
        table["gender"] = np.where(table["speaker"] % 2, "F", "M")
        split = splits.stratified_by_group(table, label="gender", fractions=(0.6, 0.2, 0.2))
        assert shares_of(split, table, "gender") == pytest.approx(
            np.array([[0.6, 0.6], [0.2, 0.2], [0.2, 0.2]])
        )

    def test_a_number_is_cut_into_five_classes(self):
        generator = np.random.default_rng(0)
        table = pd.DataFrame({"speaker": np.repeat(np.arange(30), 10)})
        table["rate"] = table["speaker"] + generator.normal(scale=0.1, size=300)
        table["fifth"] = table["rate"].rank(method="first").sub(1) // 60
        split = splits.stratified_by_group(table, label="rate")
        assert_sound(split, table)
        shares = shares_of(split, table, "fifth")
        assert shares == pytest.approx(np.array([[0.6], [0.2], [0.2]]) + np.zeros(5), abs=0.17)
        # Six speakers a fifth, of which 3.6, 1.2 and 1.2 are wanted: no part is without a fifth.
        assert shares.min() > 0

    @pytest.mark.parametrize("kind", [float, "Int64", object])
    def test_numbers_of_any_type_and_few_values_are_classes(self, kind):
        table = pd.DataFrame({"speaker": np.repeat(np.arange(20), 3)})
        table["age"] = (table["speaker"] % 2).astype(kind)
        split = splits.stratified_by_group(table, label="age", fractions=(0.5, 0.0, 0.5))
        assert table["age"].iloc[split.test].value_counts().to_dict() == {0: 15, 1: 15}

    def test_the_seed_decides(self):
        table = uneven_table(0)
        drawn = [splits.stratified_by_group(table, label="label", seed=seed) for seed in (0, 0, 1)]
        assert as_lists(drawn[:1]) == as_lists(drawn[1:2])
        assert as_lists(drawn[:1]) != as_lists(drawn[2:])

    @pytest.mark.parametrize("values", [[None, "x", "y", "x"], [np.nan, 1.0, 2.0, 3.0]])
    def test_an_item_without_the_label_is_named(self, values):
        table = pd.DataFrame({"speaker": list("abcd"), "label": values}, index=list("wxyz"))
        with pytest.raises(ValueError, match="1 of 4 items have no 'label', first 'w'"):
            splits.stratified_by_group(table, label="label")

    def test_a_quantity_without_a_value_is_named(self):
        table = pd.DataFrame({"speaker": np.arange(20), "rate": np.arange(20.0)})
        table.loc[7, "rate"] = np.nan
        with pytest.raises(ValueError, match="1 of 20 items have no 'rate', first 7"):
            splits.stratified_by_group(table, label="rate")

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"label": "emotion", "fractions": (0.5, 0, 0.5)}, KeyError, "'emotion'"),
            ({"groups": "reader"}, KeyError, "'reader'"),
            ({"fractions": (0.5, 0.5, 0.5)}, ValueError, "sum to 1"),
            ({"fractions": (0.5, 0.5)}, ValueError, "three shares"),
            ({}, ValueError, "2 groups of 'speaker' are too few for 3 parts"),
        ],
    )
    def test_what_cannot_be_made_is_refused(self, change, error, message):
        with pytest.raises(error, match=message):
            splits.stratified_by_group(TWO, **({"label": "part"} | change))


class TestRows:
    TABLE = pd.DataFrame({"speaker": list("abc")})

    @pytest.mark.parametrize(
        ("part", "message"),
        [
            (np.array([False, False, True]), "test part.*holds row numbers, got bool"),
            (np.array([0.5]), "test part.*holds row numbers, got float64"),
            (np.array([50]), "test part.*rows 50 to 50, the table has rows 0 to 2"),
            (np.array([-1]), "test part.*rows -1"),
            (np.array([2, 2]), "test part.*a row twice"),
        ],
    )
    def test_a_part_that_holds_anything_else_is_refused(self, part, message):
        split = splits.Split(np.array([0]), np.array([], int), part)
        with pytest.raises(ValueError, match=message):
            splits.check(split, self.TABLE, groups="speaker")

    def test_lists_and_an_empty_array_of_any_kind_do(self):
        split = splits.check(splits.Split([0], [], [2]), self.TABLE, groups="speaker")
        assert [part.dtype for part in split] == [np.intp] * 3
        assert split.test.tolist() == [2]


def test_a_misspelt_part_is_refused():
    table = pd.DataFrame({"speaker": list("abc"), "part": ["train", "dev", "test"]})
    with pytest.raises(ValueError, match=r"equal to \['devv'\]; found \['dev', 'test', 'train'\]"):
        splits.predefined(table, column="part", validation="devv")
    with pytest.raises(ValueError, match=r"equal to \['train-360'\]"):
        splits.predefined(table, column="part", train=["train", "train-360"])


def test_folds_stratified_by_a_label_with_holes_are_refused():
    table = pd.DataFrame({"speaker": list("abc"), "mood": ["calm", None, "calm"]})
    with pytest.raises(ValueError, match="1 of 3 items have no 'mood'"):
        splits.k_fold(table, n_folds=2, stratify="mood")

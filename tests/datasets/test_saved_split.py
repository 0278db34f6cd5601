"""Splits that are saved are the same split later, or refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprobe.datasets import splits
from speechprobe.datasets.splits import Split

NOTHING = np.empty(0, dtype=np.intp)


def table_of(n_speakers: int = 10, per_speaker: int = 4) -> pd.DataFrame:
    speakers = np.repeat([f"s{k:02d}" for k in range(n_speakers)], per_speaker)
    ids = [f"{speaker}/é {row}" for row, speaker in enumerate(speakers)]
    return pd.DataFrame({"speaker": speakers}, index=pd.Index(ids, name="id"))


def ids_of(split: Split, table: pd.DataFrame) -> list[set[str]]:
    return [set(table.index[part]) for part in split]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "split.json"


@pytest.fixture
def table():
    return table_of()


@pytest.fixture
def saved(file, table):
    """Give a split that lies in the file."""
    split = splits.by_group(table, seed=2)
    split.save(file, table, groups="speaker")
    return split


@given(seed=st.integers(0, 1000), order=st.integers(0, 1000))
def test_it_is_the_same_split_in_a_table_of_another_order(tmp_path_factory, seed, order):
    file = tmp_path_factory.mktemp("splits") / "split.json"
    table = table_of()
    split = splits.by_group(table, seed=seed)
    split.save(file, table, groups="speaker")
    for before, after in zip(split, splits.load(file, table), strict=True):
        np.testing.assert_array_equal(before, after)
        assert after.dtype == np.intp
    other = table.sample(frac=1, random_state=order)
    assert ids_of(splits.load(file, other), other) == ids_of(split, table)


def test_items_that_are_new_are_in_no_part(file, table, saved):
    more = pd.concat([pd.DataFrame({"speaker": ["new"]}, index=["n"]), table])
    split = splits.load(file, more)
    assert ids_of(split, more) == ids_of(saved, table)


def test_a_split_without_validation_or_of_some_items_comes_back(file, table):
    split = Split(np.arange(4), NOTHING, np.arange(8, 12))
    split.save(file, table, groups="speaker")
    loaded = splits.load(file, table)
    assert [part.tolist() for part in loaded] == [[0, 1, 2, 3], [], [8, 9, 10, 11]]


def test_items_may_be_independent(file, table):
    split = Split(np.array([0]), NOTHING, np.array([1]))  # of one speaker
    split.save(file, table, groups=None)
    assert [part.tolist() for part in splits.load(file, table)] == [[0], [], [1]]


def test_ids_that_are_whole_numbers_come_back(file):
    table = pd.DataFrame({"speaker": list("aabbcc")})
    split = splits.by_group(table, fractions=(0.4, 0.3, 0.3))
    split.save(file, table, groups="speaker")
    for before, after in zip(split, splits.load(file, table), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_file_is_plain_json_of_ids(file, table, saved):
    facts = json.loads(file.read_text(encoding="utf-8"))
    assert [set(facts[name]) for name in ("train", "validation", "test")] == ids_of(saved, table)
    assert facts["groups"] == "speaker"


def test_the_file_is_little_more_than_the_ids(file):
    table = table_of(100, 100)
    splits.by_group(table).save(file, table, groups="speaker")
    n_bytes = sum(len(key.encode()) for key in table.index)
    assert n_bytes < file.stat().st_size < n_bytes + 10 * len(table)


def test_saving_again_writes_the_same_file(file, table, saved, tmp_path):
    saved.save(tmp_path / "again.json", table, groups="speaker")
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()


def edit(file, change) -> None:
    facts = json.loads(file.read_text(encoding="utf-8"))
    change(facts)
    file.write_text(json.dumps(facts), encoding="utf-8")


# name: what somebody does to the file
EDITS = {
    "an item moves": lambda facts: facts["test"].append(facts["train"].pop()),
    "an item goes": lambda facts: facts["train"].pop(),
    "the order of items": lambda facts: facts["train"].reverse(),
    "parts swap": lambda facts: facts.update(test=facts["train"], train=facts["test"]),
    "groups": lambda facts: facts.update(groups=None),
    "hash": lambda facts: facts.update(sha256="0" * 64),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_file_that_was_changed_is_refused(file, table, saved, name):
    edit(file, EDITS[name])
    with pytest.raises(ValueError, match=r"split\.json: .*the file was changed"):
        splits.load(file, table)


def test_a_file_that_was_only_set_otherwise_is_taken(file, table, saved):
    edit(file, lambda facts: None)
    assert ids_of(splits.load(file, table), table) == ids_of(saved, table)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"train": []}', "null", '"text"', "\ufeff{}"]
)
def test_what_is_no_saved_split_is_refused(file, table, text):
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"split\.json: expected a split written by Split\.save"):
        splits.load(file, table)


def test_a_missing_file_is_named(file, table):
    with pytest.raises(FileNotFoundError, match=r"split\.json"):
        splits.load(file, table)


def test_items_that_the_table_lacks_are_counted_and_named(file, table, saved):
    lost = [table.index[saved.train[3]], table.index[saved.test[0]]]
    with pytest.raises(ValueError, match=f"lacks 2 items of the split, first '{lost[0]}'"):
        splits.load(file, table.drop(lost))


def test_a_speaker_that_straddles_in_the_new_table_is_named(file, table, saved):
    test, train = saved.test[0], saved.train[0]
    speaker = table["speaker"].iloc[train]
    changed = table.copy()
    changed.iloc[test, 0] = speaker
    with pytest.raises(ValueError, match=rf"straddle the split: '{speaker}' \(train and test\)"):
        splits.load(file, changed)


def test_a_table_without_the_groups_is_refused(file, table, saved):
    with pytest.raises(KeyError, match="'speaker'"):
        splits.load(file, table.rename(columns={"speaker": "reader"}))


def test_ids_that_occur_twice_are_refused(file, table, saved):
    twice = pd.concat([table, table.iloc[:1]])
    with pytest.raises(ValueError, match="unique"):
        saved.save(file, twice, groups="speaker")
    with pytest.raises(ValueError, match=r"unique|twice"):
        splits.load(file, twice)


def test_a_split_that_is_not_sound_is_not_saved(file, table):
    for split in (Split(np.arange(5), NOTHING, np.arange(5, 9)), Split(NOTHING, NOTHING, NOTHING)):
        with pytest.raises(ValueError, match=r"straddle|empty"):
            split.save(file, table, groups="speaker")
    assert not file.exists()

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from speechprobe.datasets import load_emodb, splits


def table_of(speakers: list[str], per_speaker: int = 3, ids: list[str] | None = None):
    table = pd.DataFrame({"speaker": np.repeat(speakers, per_speaker)})
    ids = ids or [f"{speaker}-{row}" for row, speaker in enumerate(table["speaker"])]
    # In no order, so that rows are not positions of speakers.
    return table.set_index(pd.Index(ids)).sample(frac=1, random_state=0)


def speakers_of(table, rows) -> list[str]:
    return sorted(set(table["speaker"].iloc[rows]))


def numbers(first: int, last: int) -> list[str]:
    return [f"{number:02d}" for number in range(first, last + 1)]


# corpus: its speakers, those that validate, those that test, as worked out from the benchmark.
WORKED_OUT = {
    "EmoDB": (["03", *numbers(8, 16)], "10 14", "03 12"),
    "RAVDESS": (numbers(1, 24), "06 08 10 19 20", "01 04 13 16 22"),
    "CaFE": (numbers(1, 12), "08 10", "01 04 06"),
    "EMOVO": (["f1", "f2", "f3", "m1", "m2", "m3"], "m1", "f1 m2"),
    "SAVEE": (["DC", "JE", "JK", "KL"], "JE", "DC"),
}
ACTORS = [str(number) for number in range(1001, 1092)]  # of CREMA-D


@pytest.mark.parametrize("edition", ["corrected", "2021"])
@pytest.mark.parametrize("corpus", WORKED_OUT)
def test_the_speakers_are_those_of_the_benchmark(corpus, edition):
    speakers, validation, test = WORKED_OUT[corpus]
    table = table_of(speakers)
    split = splits.serab(table, edition=edition)
    assert speakers_of(table, split.validation) == validation.split()
    assert speakers_of(table, split.test) == test.split()
    rest = set(speakers) - {*validation.split(), *test.split()}
    assert set(speakers_of(table, split.train)) == rest
    assert np.sort(np.concatenate(split)).tolist() == list(range(len(table)))


@pytest.mark.parametrize("edition", ["corrected", "2021"])
def test_cremad_has_63_9_and_19_speakers(edition):
    table = table_of(ACTORS)
    split = splits.serab(table, edition=edition)
    assert [len(speakers_of(table, part)) for part in split] == [63, 9, 19]
    assert splits.check(split, table, groups="speaker") is split


@pytest.mark.parametrize(("n", "sizes"), [(3, [1, 1, 1]), (6, [3, 1, 2]), (10, [6, 2, 2])])
def test_others_are_cut_at_60_and_80_percent(n, sizes):
    # Also numbers that are no actor's of CREMA-D, and one that is among others that are not.
    for speakers in (numbers(1, n), ["1001", *[f"2{k:03d}" for k in range(n - 1)]]):
        table = table_of(speakers)
        assert [len(speakers_of(table, part)) for part in splits.serab(table)] == sizes


@pytest.mark.parametrize("edition", ["corrected", "2021"])
@pytest.mark.parametrize(
    ("speakers", "left_out"),
    [
        (ACTORS, ["1040_ITH_SAD_XX", "1006_TIE_NEU_XX", "1013_WSI_DIS_XX", "1017_IWW_FEA_XX"]),
        ([str(number) for number in range(1, 7)], ["s05 (3)"]),
    ],
    ids=["CREMA-D", "AESDD"],
)
def test_the_files_that_the_benchmark_skips_are_in_no_part(speakers, left_out, edition):
    table = table_of(speakers)
    of_file = [key[:4] if "_" in key else key[5] for key in left_out]
    more = pd.DataFrame({"speaker": of_file}, index=left_out)
    table = pd.concat([table.iloc[:5], more, table.iloc[5:]])
    split = splits.serab(table, edition=edition)
    used = set(table.index[np.concatenate(split)])
    assert used == set(table.index) - set(left_out)
    # Their speakers are in a part all the same.
    assert set(speakers_of(table, np.concatenate(split))) == set(speakers)


def test_the_order_of_the_table_does_not_matter():
    table = table_of(numbers(1, 24))
    shuffled = table.sample(frac=1, random_state=1)
    for before, after in zip(splits.serab(table), splits.serab(shuffled), strict=True):
        assert set(table.index[before]) == set(shuffled.index[after])
        assert (np.diff(after) > 0).all()


def test_numbers_as_speakers_are_the_same_as_text():
    table = table_of(ACTORS)
    numbered = table.assign(speaker=table["speaker"].astype(int))
    for text, number in zip(splits.serab(table), splits.serab(numbered), strict=True):
        np.testing.assert_array_equal(text, number)


def shemo_table() -> pd.DataFrame:
    """87 speakers, 31 women and 56 men, with utterances numbered for each and each emotion."""
    speakers = [f"F{n:02d}" for n in range(1, 32)] + [f"M{n:02d}" for n in range(1, 57)]
    ids = [f"{speaker}{code}{n:02d}" for speaker in speakers for code in "AN" for n in range(1, 16)]
    return pd.DataFrame({"speaker": [key[:3] for key in ids]}, index=ids)


def iemocap_table() -> pd.DataFrame:
    """Five sessions of a woman and a man, each of whom wears the markers in half the dialogues."""
    ids = [
        f"Ses0{session}{marked}_impro0{dialogue}_{speaking}{n:03d}"
        for session in range(1, 6)
        for marked in "FM"
        for dialogue in (1, 2)
        for speaking in "FM"
        for n in range(4)
    ]
    return pd.DataFrame({"speaker": [key[:5] + key[-4] for key in ids]}, index=ids)


TABLES = {"ShEMO": shemo_table, "IEMOCAP": iemocap_table}


@pytest.mark.parametrize("corpus", TABLES)
def test_the_corrected_edition_keeps_true_speakers_apart(corpus):
    table = TABLES[corpus]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = splits.serab(table)
    assert splits.check(split, table, groups="speaker") is split
    n_speakers = {"ShEMO": 87, "IEMOCAP": 10}[corpus]
    # int(0.6 n) and int(0.8 n): 52 and 69 of 87.
    sizes = {"ShEMO": [52, 17, 18], "IEMOCAP": [6, 2, 2]}[corpus]
    assert [len(speakers_of(table, part)) for part in split] == sizes
    assert sum(sizes) == n_speakers


@pytest.mark.parametrize(
    ("corpus", "taken", "n_in_both"),
    [("ShEMO", slice(4, 6), "87 of 87"), ("IEMOCAP", slice(3, 6), "4 of 4")],
)
def test_the_edition_of_2021_repeats_the_leak_and_says_so(corpus, taken, n_in_both):
    table = TABLES[corpus]()
    with pytest.warns(UserWarning, match=f"has {n_in_both} test speakers also in train") as record:
        split = splits.serab(table, edition="2021")
    assert [warning.filename for warning in record] == [__file__]
    # What was taken for the speaker does not straddle; the true speakers do.
    as_taken = table.assign(speaker=[key[taken] for key in table.index])
    assert splits.check(split, as_taken, groups="speaker") is split
    assert np.sort(np.concatenate(split)).tolist() == list(range(len(table)))
    n_taken = as_taken["speaker"].nunique()
    expected = [int(0.6 * n_taken), int(0.8 * n_taken) - int(0.6 * n_taken)]
    assert [len(speakers_of(as_taken, part)) for part in split[:2]] == expected
    with pytest.raises(ValueError, match="straddle"):
        splits.check(split, table, groups="speaker")


def test_every_test_session_of_iemocap_is_in_training_in_the_edition_of_2021():
    table = iemocap_table()
    with pytest.warns(UserWarning, match="SERAB"):
        split = splits.serab(table, edition="2021")
    train, test = (set(speakers_of(table, part)) for part in (split.train, split.test))
    # Sorted 1F, 1M, ..., 5M; shuffled as EmoDB's ten: places 0 and 5 test, 3 and 7 validate.
    assert {key[3:6] for key in table.index[split.test]} == {"01F", "03M"}
    assert {key[3:6] for key in table.index[split.validation]} == {"02M", "04M"}
    assert test == {"Ses01F", "Ses01M", "Ses03F", "Ses03M"}
    assert test <= train


@pytest.mark.parametrize("corpus", WORKED_OUT)
def test_the_editions_are_the_same_for_other_corpora(corpus):
    table = table_of(WORKED_OUT[corpus][0])
    editions = [splits.serab(table, edition=edition) for edition in ("corrected", "2021")]
    for one, other in zip(*editions, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_part_of_a_corpus_of_another_form_is_not_taken_for_shemo():
    # One id of another form: true speakers are used.
    table = shemo_table()
    table = pd.concat([table, pd.DataFrame({"speaker": ["M99"]}, index=["recording-1"])])
    split = splits.serab(table, edition="2021")
    assert splits.check(split, table, groups="speaker") is split


@pytest.mark.parametrize("edition", ["2022", "", None])
def test_an_unknown_edition_is_refused(edition):
    with pytest.raises(ValueError, match="edition must be 'corrected' or '2021'"):
        splits.serab(table_of(numbers(1, 10)), edition=edition)


def test_too_few_speakers_are_refused():
    for n in (1, 2):
        with pytest.raises(ValueError, match=f"{n} speakers are too few"):
            splits.serab(table_of(numbers(1, n)))


def test_an_unknown_label_and_a_missing_speaker_are_named():
    with pytest.raises(KeyError, match=r"'actor'.*'speaker'"):
        splits.serab(table_of(numbers(1, 10)), groups="actor")
    table = table_of(numbers(1, 10))
    table.iloc[4, 0] = None
    with pytest.raises(
        ValueError, match=f"1 of 30 items have no 'speaker', first '{table.index[4]}"
    ):
        splits.serab(table)


@pytest.mark.shared
def test_the_real_emodb_has_61_test_files(shared):
    table = load_emodb(shared / "data/emodb").table
    split = splits.serab(table)
    assert len(split.test) == 61
    # Of speakers 03 and 12 there are 39 and 22 files, of 10 and 14 there are 21 and 41.
    assert Counter(table["speaker"].iloc[split.test]) == {"03": 39, "12": 22}
    assert Counter(table["speaker"].iloc[split.validation]) == {"10": 21, "14": 41}
    assert len(split.train) == 339 - 61 - 62

from __future__ import annotations

import itertools
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprobe.datasets import Corpus, load_trials, make_trials


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trials.txt"


def as_rows(trials: pd.DataFrame) -> list[tuple[str, str, bool]]:
    return list(trials.itertuples(index=False, name=None))


class TestLoad:
    @pytest.mark.parametrize(
        "text",
        [
            "1 a/x/1.wav a/y/2.wav\n0 a/x/1.wav b/z/3.wav\n",
            "1 a/x/1 a/y/2\n0 a/x/1 b/z/3",
            "1\ta/x/1.m4a  a/y/2.flac\r\n\r\n0 a/x/1.WAV\tb/z/3.m4a\r\n",
            "\ufeffa/x/1.wav a/y/2.wav target\na/x/1.wav b/z/3.wav nontarget\n",
        ],
        ids=["voxceleb", "without extensions", "other white space", "kaldi"],
    )
    def test_the_forms_of_a_list_are_read(self, path, text):
        path.write_text(text, encoding="utf-8", newline="")
        trials = load_trials(path)
        assert trials.columns.tolist() == ["enrol", "test", "same"]
        assert as_rows(trials) == [("a/x/1", "a/y/2", True), ("a/x/1", "b/z/3", False)]
        assert trials["same"].dtype == bool

    def test_only_the_extension_of_a_sound_is_taken_off(self, path):
        path.write_text("1 a.b/1.5 a.b/v1.2.wav\n")
        assert as_rows(load_trials(path)) == [("a.b/1.5", "a.b/v1.2", True)]

    def test_ids_that_are_numbers_are_no_labels_in_kaldis_form(self, path):
        # `load_hf_dataset` names utterances by their row.
        path.write_text("0 5 target\n1 7 nontarget\n")
        assert as_rows(load_trials(path)) == [("0", "5", True), ("1", "7", False)]

    def test_a_line_without_a_label_is_refused_with_its_number(self, path):
        path.write_text("1 a b\n\n0 a c\na/x/1.wav b/y/2.wav\n")
        with pytest.raises(
            ValueError, match=r"trials\.txt, line 4: .*has no label.*'1 enrol test'"
        ):
            load_trials(path)

    @pytest.mark.parametrize(
        "line", ["2 a b", "1 a", "-1 a b", "1 a b c", "a b", "a b same", "true a b", "a"]
    )
    def test_a_line_that_does_not_fit_is_refused_with_its_number(self, path, line):
        path.write_text(f"1 a b\n{line}\n")
        with pytest.raises(ValueError, match=r"trials\.txt, line 2"):
            load_trials(path)

    @pytest.mark.parametrize("text", ["", "\n \n"])
    def test_an_empty_list_is_refused(self, path, text):
        path.write_text(text)
        with pytest.raises(ValueError, match="holds no trial"):
            load_trials(path)

    def test_a_missing_file_says_where_lists_are(self, path):
        with pytest.raises(FileNotFoundError, match=r"trials\.txt.*robots\.ox\.ac\.uk"):
            load_trials(path)

    def test_an_unknown_name_is_refused_with_the_known_ones(self, path):
        with pytest.raises(ValueError, match="'vox1-O'.*'O-cleaned'.*'H-cleaned'"):
            load_trials(path, "vox1-O")


# https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html: trials, and speakers and files where
# a paper gives them.
PUBLISHED = {
    "O": (37_720, 40, 4_715),
    "O-cleaned": (37_611, 40, None),
    "E": (581_480, 1_251, None),
    "E-cleaned": (579_818, None, None),
    "H": (552_536, 1_190, None),
    "H-cleaned": (550_894, None, None),
}


def write_list(path, n_trials: int, n_speakers: int, n_files: int) -> None:
    """Write a list with these numbers: file k is of speaker k modulo n_speakers."""
    names = [f"id{10_001 + k % n_speakers}/v/{k:06d}.wav" for k in range(n_files)]
    # Trial k has the file k, and one that comes `step` later, so that each file comes up.
    lines = []
    for k in range(n_trials):
        step = n_speakers if k % 2 else 1
        other = (k + step * (1 + k // n_files)) % n_files
        lines.append(f"{k % 2} {names[k % n_files]} {names[other]}\n")
    path.write_text("".join(lines))


class TestPublishedNumbers:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_another_number_of_trials_is_refused(self, path, name):
        write_list(path, 100, 40, 80)
        with pytest.raises(ValueError, match=f"has {PUBLISHED[name][0]} trials, this file 100$"):
            load_trials(path, name)

    @pytest.mark.parametrize("name", ["O", "O-cleaned", "H"])
    def test_a_list_of_the_published_size_is_taken(self, path, name):
        n_trials, n_speakers, n_files = PUBLISHED[name]
        write_list(path, n_trials, n_speakers or 1_251, n_files or 4_800)
        trials = load_trials(path, name)
        assert len(trials) == n_trials
        assert trials["same"].sum() == n_trials // 2

    @pytest.mark.parametrize(
        ("n_trials", "n_speakers", "n_files", "message"),
        [
            (
                37_719,
                40,
                4_715,
                r"-O \(veri_test\.txt\) has 37720 trials, this file 37719",
            ),
            (37_720, 41, 4_715, "has 40 speakers, this file 41"),
            (37_720, 39, 4_715, "has 40 speakers, this file 39"),
            (37_720, 40, 4_708, "has 4715 files, this file 4708"),
        ],
    )
    def test_other_numbers_are_refused(self, path, n_trials, n_speakers, n_files, message):
        write_list(path, n_trials, n_speakers, n_files)
        with pytest.raises(ValueError, match=message):
            load_trials(path, "O")

    @pytest.mark.parametrize(
        ("name", "truth"), [("O", "O-cleaned"), ("O-cleaned", "O"), ("E-cleaned", "O")]
    )
    def test_the_message_says_which_list_it_looks_like(self, path, name, truth):
        n_trials, n_speakers, n_files = PUBLISHED[truth]
        write_list(path, n_trials, n_speakers, n_files or 4_708)
        with pytest.raises(ValueError, match=f"{n_trials}; it has the size of '{truth}'"):
            load_trials(path, name)


def corpus_of(*sizes: int, **labels) -> Corpus:
    """Give a corpus whose speaker k has `sizes[k]` utterances, in mixed order."""
    speakers = np.repeat([f"s{k}" for k in range(len(sizes))], sizes)
    table = pd.DataFrame({"path": "x.wav", "speaker": speakers, **labels})
    table.index = [f"u{row}" for row in range(len(table))]
    return Corpus("small", table.sample(frac=1, random_state=0))


def all_pairs(corpus: Corpus) -> dict[bool, set[frozenset[str]]]:
    """Enumerate the pairs of each kind."""
    pairs: dict[bool, set[frozenset[str]]] = {True: set(), False: set()}
    for a, b in itertools.combinations(corpus, 2):
        pairs[a["speaker"] == b["speaker"]].add(frozenset((a.id, b.id)))
    return pairs


@st.composite
def corpora(draw) -> tuple[Corpus, int]:
    """Draw a corpus and a number of trials that it has pairs enough for."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=6).filter(lambda s: max(s) > 1))
    corpus = corpus_of(*sizes)
    pairs = all_pairs(corpus)
    return corpus, draw(st.integers(2, 2 * min(len(pairs[True]), len(pairs[False]))))


class TestMake:
    @given(drawn=corpora(), seed=st.integers(0, 1000))
    def test_trials_are_balanced_true_and_never_twice(self, drawn, seed):
        corpus, n = drawn
        trials = make_trials(corpus, n, seed)
        assert trials.columns.tolist() == ["enrol", "test", "same"]
        assert trials.index.tolist() == list(range(n))
        assert trials["same"].sum() == n // 2
        assert (trials["enrol"] != trials["test"]).all()
        assert len({frozenset(row[:2]) for row in as_rows(trials)}) == n
        speaker = corpus.table["speaker"]
        truth = speaker[trials["enrol"]].to_numpy() == speaker[trials["test"]].to_numpy()
        assert trials["same"].tolist() == truth.tolist()

    # (n of a speaker) such that there are as many pairs of one speaker as of two.
    @pytest.mark.parametrize("sizes", [(3, 1), (6, 3), (1, 3), (10, 6), (7, 2, 1)])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_all_pairs_come_where_all_are_asked_for(self, sizes, seed):
        corpus = corpus_of(*sizes)
        pairs = all_pairs(corpus)
        n = 2 * min(map(len, pairs.values()))
        found = {True: set(), False: set()}
        for enrol, test, same in as_rows(make_trials(corpus, n, seed)):
            found[same].add(frozenset((enrol, test)))
        for same in (True, False):
            assert found[same] <= pairs[same]
            assert len(found[same]) == n // 2
        assert any(found[same] == pairs[same] for same in (True, False))

    def test_every_pair_of_its_kind_is_as_probable_as_any_other(self):
        corpus = corpus_of(5, 3, 2, 1)  # 14 pairs of one speaker, 41 of two
        pairs = all_pairs(corpus)
        n_draws, n = 2000, 8
        counts = {True: Counter(), False: Counter()}
        place = {key: row for row, key in enumerate(corpus.table.index)}
        first = Counter()
        for seed in range(n_draws):
            for enrol, test, same in as_rows(make_trials(corpus, n, seed)):
                counts[same][frozenset((enrol, test))] += 1
                if same:
                    first[place[enrol] < place[test]] += 1
        for same, n_pairs in ((True, 14), (False, 41)):
            assert counts[same].keys() == pairs[same]
            p = n / 2 / n_pairs
            # A pair comes in a draw or not, so its count is binomial; each within five deviations.
            counted = np.array(list(counts[same].values()))
            deviation = np.sqrt(n_draws * p * (1 - p))
            assert np.abs(counted - n_draws * p).max() < 5 * deviation
            # And the sum of squares is about the number of pairs (chi-square, mean n - 1).
            chi2 = (((counted - n_draws * p) / deviation) ** 2).sum()
            assert abs(chi2 - n_pairs) < 5 * np.sqrt(2 * n_pairs)
        # Which side enrols is a coin's toss.
        n_tosses = first[True] + first[False]
        assert abs(first[True] - n_tosses / 2) < 5 * np.sqrt(n_tosses) / 2

    def test_targets_do_not_come_first(self):
        same = make_trials(corpus_of(*[20] * 5), 400)["same"].to_numpy()
        assert 75 < same[:200].sum() < 125

    def test_the_seed_decides(self):
        corpus = corpus_of(*[8] * 6)
        again = make_trials(corpus, 40, 3)
        pd.testing.assert_frame_equal(make_trials(corpus, 40, 3), again)
        assert as_rows(make_trials(corpus, 40, 4)) != as_rows(again)

    def test_an_odd_number_has_one_more_of_two_speakers(self):
        assert make_trials(corpus_of(4, 4), 7)["same"].sum() == 3

    def test_both_sides_share_the_label_that_is_within(self):
        genders = np.repeat(["F", "M", "F", "M"], [4, 4, 3, 5])
        corpus = corpus_of(4, 4, 3, 5, gender=genders)
        gender, speaker = corpus.table["gender"], corpus.table["speaker"]
        trials = make_trials(corpus, 44, within="gender")
        assert (gender[trials["enrol"]].to_numpy() == gender[trials["test"]].to_numpy()).all()
        truth = speaker[trials["enrol"]].to_numpy() == speaker[trials["test"]].to_numpy()
        assert trials["same"].tolist() == truth.tolist()
        assert trials["same"].sum() == 22
        # 6 + 6 + 3 + 10 pairs of one speaker; 4 * 3 + 4 * 5 = 32 of two within a gender.
        with pytest.raises(ValueError, match="only 25 pairs of .* within one gender, 30"):
            make_trials(corpus, 60, within="gender")

    def test_a_label_may_part_a_speakers_utterances(self):
        corpus = corpus_of(4, 4, session=["a", "a", "b", "b"] * 2)
        trials = make_trials(corpus, 8, within="session")
        session = corpus.table["session"]
        assert (session[trials["enrol"]].to_numpy() == session[trials["test"]].to_numpy()).all()
        assert trials["same"].sum() == 4  # all that there are: one a speaker and session

    @pytest.mark.parametrize(
        ("sizes", "n", "message"),
        [
            ((1, 1, 1), 2, "only 0 pairs of the same speaker, 1 are wanted"),
            ((5,), 2, "only 0 pairs of two speakers, 1 are wanted"),
            ((3, 1), 8, "only 3 pairs of the same speaker, 4 are wanted"),
            ((9, 1), 20, "only 9 pairs of two speakers, 10 are wanted"),
            ((3, 3), 1, "n must be at least 2, got 1"),
        ],
    )
    def test_too_few_pairs_are_refused(self, sizes, n, message):
        with pytest.raises(ValueError, match=message):
            make_trials(corpus_of(*sizes), n)

    def test_an_unknown_label_is_named(self):
        with pytest.raises(KeyError, match="'gender'"):
            make_trials(corpus_of(3, 3), 2, within="gender")

    @pytest.mark.parametrize("missing", [None, np.nan])
    def test_an_utterance_without_the_label_is_named(self, missing):
        corpus = corpus_of(2, 2, gender=["F", "F", missing, "F"])
        with pytest.raises(ValueError, match="'u2' of 'small' has no 'gender'"):
            make_trials(corpus, 2, within="gender")

    @pytest.mark.parametrize("missing", [None, np.nan])
    def test_utterances_without_a_speaker_are_not_of_the_same_speaker(self, missing):
        table = pd.DataFrame({"path": "x.wav", "speaker": ["a", "a", missing, missing]})
        with pytest.raises(ValueError, match="speaker"):
            make_trials(Corpus("small", table), 2)

    def test_speakers_may_be_numbers(self):
        table = pd.DataFrame({"path": "x.wav", "speaker": [1, 1, 10, 10]}, index=list("abcd"))
        trials = make_trials(Corpus("small", table), 4)
        same = {frozenset(row[:2]) for row in as_rows(trials) if row[2]}
        assert same == {frozenset("ab"), frozenset("cd")}

    def test_a_large_corpus_takes_about_a_second(self):
        speakers = np.random.default_rng(0).integers(0, 7000, 200_000)
        table = pd.DataFrame({"path": "x.wav", "speaker": speakers.astype(str)})
        corpus = Corpus("large", table)
        start = time.process_time()
        trials = make_trials(corpus, 100_000)
        assert time.process_time() - start < 5  # 0.3 s, or minutes and gigabytes with all pairs
        spoken = corpus.table["speaker"]
        truth = spoken[trials["enrol"]].to_numpy() == spoken[trials["test"]].to_numpy()
        assert trials["same"].tolist() == truth.tolist()
        assert len({frozenset(row[:2]) for row in as_rows(trials)}) == 100_000


def test_a_trial_with_both_labels_is_refused(tmp_path):
    path = tmp_path / "trials.txt"
    path.write_text("1 a.wav b.wav\n0 b.wav a.wav\n")
    with pytest.raises(ValueError, match=r"trials\.txt: the trial \('a', 'b'\).*both labels"):
        load_trials(path)

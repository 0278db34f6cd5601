"""What a split lets through is found whatever it is called, and nothing else is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile

from speechprobe.datasets import Corpus, load_emodb, splits
from speechprobe.datasets.splits import Split, leakage_report

NOTHING = np.empty(0, dtype=np.intp)
RATE = 16_000


def noise(seed: int, n: int = 8000, channels: int = 1) -> np.ndarray:
    sound = np.random.default_rng(seed).integers(-9000, 9000, (n, channels)).astype(np.int16)
    return sound[:, 0] if channels == 1 else sound


@pytest.fixture
def corpus_of(tmp_path):
    """Give a function that writes sounds, name: samples, and makes a corpus of them."""

    def make(sounds, subtype="PCM_16", **labels) -> Corpus:
        for name, sound in sounds.items():
            soundfile.write(tmp_path / name, sound, RATE, subtype=subtype)
        paths = [str(tmp_path / name) for name in sounds]
        speakers = [f"s{row}" for row in range(len(paths))]
        table = pd.DataFrame({"path": paths, "speaker": speakers} | labels, index=list(sounds))
        return Corpus("small", table)

    return make


def one_by_one(n: int) -> Split:
    """Give the split whose first item trains, whose last one tests, and the others between."""
    return Split(np.array([0]), np.arange(1, n - 1), np.array([n - 1]))


def copies(report) -> list[list[str]]:
    return sorted(sorted(group) for _, group in report.same_audio.groupby("copy")["id"])


class TestSameAudio:
    def test_the_same_samples_under_another_name_are_found(self, corpus_of):
        corpus = corpus_of({"a.wav": noise(0), "b.wav": noise(1), "c.wav": noise(0)})
        report = leakage_report(corpus, one_by_one(3))
        assert copies(report) == [["a.wav", "c.wav"]]
        assert report.same_audio["part"].tolist() == ["train", "test"]
        assert report.leaks
        assert "1 sounds are there under several names, 1 of them in several parts" in str(report)

    @pytest.mark.parametrize("kind", ["flac", "aiff", "w64"])
    def test_the_same_samples_in_another_container_are_found(self, corpus_of, kind):
        corpus = corpus_of({"a.wav": noise(0), f"a.{kind}": noise(0), "b.wav": noise(1)})
        assert copies(leakage_report(corpus, one_by_one(3))) == [sorted(["a.wav", f"a.{kind}"])]

    def test_the_same_samples_in_another_type_of_number_are_found(self, corpus_of, tmp_path):
        corpus = corpus_of({"a.wav": noise(0), "float.wav": noise(0), "24.flac": noise(0)})
        soundfile.write(tmp_path / "float.wav", noise(0) / 32768, RATE, subtype="FLOAT")
        soundfile.write(tmp_path / "24.flac", noise(0) / 32768, RATE, subtype="PCM_24")
        report = leakage_report(corpus, one_by_one(3))
        assert copies(report) == [["24.flac", "a.wav", "float.wav"]]

    def test_the_same_file_under_two_ids_is_found(self, corpus_of):
        corpus = corpus_of({"a.wav": noise(0), "b.wav": noise(1)})
        table = corpus.table.assign(path=corpus.table["path"].iloc[0])
        report = leakage_report(Corpus("small", table), one_by_one(2))
        assert copies(report) == [["a.wav", "b.wav"]]
        assert report.leaks

    def test_groups_of_copies_are_told_apart(self, corpus_of):
        seeds = [0, 1, 2, 0, 1, 0]
        corpus = corpus_of({f"{row}.wav": noise(seed) for row, seed in enumerate(seeds)})
        report = leakage_report(corpus, one_by_one(6))
        assert copies(report) == [["0.wav", "3.wav", "5.wav"], ["1.wav", "4.wav"]]

    def test_copies_within_a_part_are_listed_but_leak_nothing(self, corpus_of):
        corpus = corpus_of({"a.wav": noise(0), "b.wav": noise(0), "c.wav": noise(1)})
        report = leakage_report(corpus, Split(np.array([0, 1]), NOTHING, np.array([2])))
        assert copies(report) == [["a.wav", "b.wav"]]
        assert not report.leaks

    def test_items_in_no_part_are_not_looked_at(self, corpus_of):
        corpus = corpus_of({"a.wav": noise(0), "b.wav": noise(1), "c.wav": noise(0)})
        report = leakage_report(corpus, Split(np.array([0]), NOTHING, np.array([1])))
        assert copies(report) == []
        assert not report.leaks

    @pytest.mark.parametrize(
        "other",
        [noise(1), noise(0)[::-1], np.append(noise(0)[:-1], np.int16(0)), noise(0) // 2],
        ids=["other", "backwards", "last sample", "quieter"],
    )
    def test_other_samples_of_the_same_length_are_not_reported(self, corpus_of, other):
        corpus = corpus_of({"a.wav": noise(0), "b.wav": np.ascontiguousarray(other)})
        report = leakage_report(corpus, one_by_one(2))
        assert report.same_audio.empty
        assert not report.leaks

    @pytest.mark.parametrize("n_silent", [3999, 4000, 4001, 7999])
    def test_a_silent_beginning_hides_neither_likeness_nor_difference(self, corpus_of, n_silent):
        def after_silence(seed):
            return np.concatenate([np.zeros(n_silent, np.int16), noise(seed)[n_silent:]])

        sounds = {"a.wav": 0, "b.wav": 1, "c.flac": 0}
        corpus = corpus_of({name: after_silence(seed) for name, seed in sounds.items()})
        assert copies(leakage_report(corpus, one_by_one(3))) == [["a.wav", "c.flac"]]

    def test_digital_silence_of_one_length_is_the_same_sound(self, corpus_of):
        silence = np.zeros(8000, np.int16)
        corpus = corpus_of({"a.wav": silence, "b.wav": silence, "c.wav": silence[:-1]})
        assert copies(leakage_report(corpus, one_by_one(3))) == [["a.wav", "b.wav"]]

    @pytest.mark.parametrize("n", [1, 100, 4000, 4001])
    def test_sounds_of_any_length_are_compared(self, corpus_of, n):
        corpus = corpus_of({"a.wav": noise(0, n), "b.wav": noise(1, n), "c.wav": noise(0, n)})
        assert copies(leakage_report(corpus, one_by_one(3))) == [["a.wav", "c.wav"]]

    def test_another_rate_or_channel_is_another_sound(self, corpus_of, tmp_path):
        corpus = corpus_of({"a.wav": noise(0), "b.wav": noise(0), "c.wav": noise(0)})
        soundfile.write(tmp_path / "b.wav", noise(0), 8000)
        soundfile.write(tmp_path / "c.wav", np.stack([noise(0)] * 2, axis=1), RATE)
        assert leakage_report(corpus, one_by_one(3)).same_audio.empty

    def test_channels_that_differ_tell_sounds_apart(self, corpus_of):
        sounds = [noise(seed, channels=2) for seed in (0, 1, 0)]
        sounds[1][:, 0] = sounds[0][:, 0]
        corpus = corpus_of(dict(zip(["a.wav", "b.wav", "c.flac"], sounds, strict=True)))
        assert copies(leakage_report(corpus, one_by_one(3))) == [["a.wav", "c.flac"]]

    def test_a_sound_that_cannot_be_read_is_listed(self, corpus_of, tmp_path):
        corpus = corpus_of({name: noise(0) for name in ("a.wav", "b.wav", "c.wav", "d.wav")})
        (tmp_path / "b.wav").write_bytes(b"no sound")
        (tmp_path / "c.wav").unlink()
        report = leakage_report(corpus, one_by_one(4))
        assert report.unread == ("b.wav", "c.wav")
        assert copies(report) == [["a.wav", "d.wav"]]
        assert "2 sounds cannot be read, first 'b.wav'" in str(report)

    def test_a_sound_that_is_cut_short_is_listed_where_it_had_to_be_read(self, corpus_of, tmp_path):
        corpus = corpus_of({"a.flac": noise(0), "b.flac": noise(0), "c.flac": noise(0)})
        whole = (tmp_path / "b.flac").read_bytes()
        (tmp_path / "b.flac").write_bytes(whole[: len(whole) // 2])
        report = leakage_report(corpus, one_by_one(3))
        assert copies(report) == [["a.flac", "c.flac"]]
        assert report.unread == ("b.flac",)


class TestSameText:
    def report(self, corpus_of, speakers, texts):
        corpus = corpus_of({f"{row}.wav": noise(row) for row in range(len(texts))}, text=texts)
        table = corpus.table.assign(speaker=speakers)
        return leakage_report(Corpus("small", table), one_by_one(len(texts)), groups=None)

    def test_a_speakers_text_in_another_part_is_found_whatever_its_case(self, corpus_of):
        texts = ["Der Lappen  liegt", "DER LAPPEN LIEGT\n", "Das will sie", "der lappen liegt"]
        report = self.report(corpus_of, ["a", "a", "a", "b"], texts)
        assert report.same_text["id"].tolist() == ["0.wav", "1.wav"]
        assert report.same_text.columns.tolist() == ["id", "part", "speaker", "text"]
        assert report.same_text["part"].tolist() == ["train", "validation"]
        assert report.leaks

    def test_the_same_text_of_two_speakers_is_no_leak(self, corpus_of):
        report = self.report(corpus_of, ["a", "b"], ["same", "same"])
        assert report.same_text.empty
        assert not report.leaks

    def test_the_same_text_within_a_part_is_no_leak(self, corpus_of):
        report = self.report(corpus_of, ["a"] * 4, ["x", "same", "same", "y"])
        assert report.same_text.empty

    @pytest.mark.parametrize("missing", [None, np.nan, "", " "])
    def test_utterances_without_text_have_no_text_in_common(self, corpus_of, missing):
        report = self.report(corpus_of, ["a", "a", "a"], ["x", missing, missing])
        assert report.same_text.empty
        assert not report.leaks

    def test_a_corpus_without_texts_has_none_in_common(self, corpus_of):
        report = leakage_report(corpus_of({"a.wav": noise(0), "b.wav": noise(1)}), one_by_one(2))
        assert report.same_text.empty


class TestStraddling:
    def corpus(self, corpus_of, speakers):
        corpus = corpus_of({f"{row}.wav": noise(row) for row in range(len(speakers))})
        return Corpus("small", corpus.table.assign(speaker=speakers))

    def test_groups_in_several_parts_are_listed_with_them(self, corpus_of):
        corpus = self.corpus(corpus_of, ["a", "b", "c", "a", "c", "a"])
        split = Split(np.array([0, 2]), np.array([1, 3]), np.array([4, 5]))
        straddling = leakage_report(corpus, split).straddling
        found = {row.group: set(row.parts.split(" and ")) for row in straddling.itertuples()}
        assert found == {"a": {"train", "validation", "test"}, "c": {"train", "test"}}

    def test_another_label_can_be_the_group(self, corpus_of):
        corpus = self.corpus(corpus_of, ["a", "b"]).label("session", ["x", "x"])
        assert not leakage_report(corpus, one_by_one(2)).leaks
        report = leakage_report(corpus, one_by_one(2), groups="session")
        assert report.straddling["group"].tolist() == ["x"]
        assert report.leaks

    def test_without_groups_none_straddles(self, corpus_of):
        report = leakage_report(self.corpus(corpus_of, ["a", "a"]), one_by_one(2), groups=None)
        assert report.straddling.empty
        assert not report.leaks

    @pytest.mark.parametrize("groups", ["speaker", None])
    def test_an_utterance_in_two_parts_is_a_leak(self, corpus_of, groups):
        corpus = self.corpus(corpus_of, ["a", "b"])
        split = Split(np.array([0, 1]), NOTHING, np.array([1]))
        assert leakage_report(corpus, split, groups=groups).leaks

    def test_an_unknown_label_is_named(self, corpus_of):
        with pytest.raises(KeyError, match=r"'session'.*'speaker'"):
            leakage_report(self.corpus(corpus_of, ["a", "b"]), one_by_one(2), groups="session")

    def test_a_split_of_another_corpus_is_refused(self, corpus_of):
        with pytest.raises(IndexError):
            leakage_report(self.corpus(corpus_of, ["a", "b"]), one_by_one(3))


def test_nothing_is_found_where_nothing_leaks(corpus_of):
    texts = [f"sentence {row}" for row in range(10)]
    corpus = corpus_of({f"{row}.wav": noise(row, 8000) for row in range(10)}, text=texts)
    report = leakage_report(corpus, splits.by_group(corpus.table))
    assert not report.leaks
    assert [len(report.straddling), len(report.same_audio), len(report.same_text)] == [0, 0, 0]
    assert report.unread == ()
    assert str(report).splitlines() == [
        "0 groups stand in several parts",
        "0 sounds are there under several names, 0 of them in several parts",
        "0 utterances repeat a speaker's text in another part",
    ]


def test_the_corpus_is_left_as_it_is(corpus_of):
    corpus = corpus_of({"a.wav": noise(0), "b.wav": noise(0)}, text=["x", "X"])
    before = corpus.table.copy(deep=True)
    leakage_report(corpus, one_by_one(2))
    pd.testing.assert_frame_equal(corpus.table, before)


@pytest.mark.shared
class TestRealEmoDB:
    def test_split_by_speaker_nothing_leaks(self, shared):
        corpus = load_emodb(shared / "data/emodb")
        report = leakage_report(corpus, splits.serab(corpus.table))
        assert not report.leaks
        assert report.same_audio.empty
        assert report.unread == ()

    def test_split_by_file_speakers_and_their_sentences_do(self, shared):
        corpus = load_emodb(shared / "data/emodb")
        report = leakage_report(corpus, splits.by_group(corpus.table, groups=None))
        assert len(report.straddling) == 10
        # Ten actors say the same ten sentences in several emotions and takes.
        assert len(report.same_text) > 200
        assert report.same_audio.empty
        assert report.leaks

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import speechprobe as sp
from speechprobe.datasets import load_emodb

HEADER = """\
signal wochenAO
type 0
color 121
comment created using xlabel Wed Apr 26 12:59:18 2000
font -misc-*-bold-*-*-*-15-*-*-*-*-*-*-*
separator ;
nfields 1
#
"""
# In the forms that the corpus's files have: marks behind tabs, alone, and in two kinds.
LABLAUT = """\
    0.080109   -1 _t
    0.119160   -1 !t\t+asp
    0.144370   -1 E6
    0.244223   -1 a\t+lar\t2
    0.348031   -1 \t-lar
    0.427091   -1 \t+hoe
    0.450000   -1\t-sth
    0.509149   -1 aI \t +sth,-hoe\t3
    0.551660   -1 .\t-ges
"""
PHONES = [
    (0.080109, 0.119160, "_t"),
    (0.119160, 0.144370, "!t"),
    (0.144370, 0.244223, "E6"),
    (0.244223, 0.509149, "a"),
    (0.509149, 0.551660, "aI"),
]
SILB = "0.080080\tder\n0.244195    könn  \n0.300000\t(\n0.427094\tgen \n0.551660\t.\n"
SYLLABLES = [
    (0.080080, 0.244195, "der"),
    (0.244195, 0.300000, "könn"),
    (0.300000, 0.427094, "("),
    (0.427094, 0.551660, "gen"),
]
NAME = "03a01Fa"


def write(root: Path, *names: str, lablaut: str = HEADER + LABLAUT, silb: str = SILB) -> None:
    """Write sounds of 0.6 s, and hand labels in the corpus's own folders."""
    for place in ("wav", "lablaut", "silb"):
        (root / place).mkdir(parents=True, exist_ok=True)
    for name in names:
        sound = np.random.default_rng(0).normal(scale=0.1, size=9600)
        soundfile.write(root / "wav" / f"{name}.wav", sound, 16_000)
        (root / "lablaut" / f"{name}xx.lablaut").write_bytes(lablaut.encode("latin-1"))
        (root / "silb" / f"{name}.silb").write_bytes(silb.encode("latin-1"))


def test_a_span_lasts_from_its_time_to_the_next_label(tmp_path):
    write(tmp_path, NAME)
    utterance = load_emodb(tmp_path)[NAME]
    assert utterance["phones"] == PHONES
    assert utterance["syllables"] == SYLLABLES
    first = utterance["phones"][0]
    assert (first.start, first.end, first.label) == PHONES[0]


def test_line_ends_of_windows_and_empty_lines_change_nothing(tmp_path):
    lablaut, silb = (text.replace("\n", "\r\n\r\n") for text in (HEADER + LABLAUT, SILB))
    write(tmp_path, NAME, lablaut=lablaut, silb=silb)
    utterance = load_emodb(tmp_path)[NAME]
    assert utterance["phones"] == PHONES
    assert utterance["syllables"] == SYLLABLES


@pytest.mark.parametrize("place", [".", "labels"])
@pytest.mark.parametrize("root", [".", "wav"])
def test_the_labels_may_lie_beside_the_sounds_or_in_a_folder(tmp_path, place, root):
    write(tmp_path, NAME)
    for kind in ("lablaut", "silb"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / kind).rename(tmp_path / place / kind)
    assert load_emodb(tmp_path / root)[NAME]["phones"] == PHONES


def test_a_file_whose_name_lacks_the_xx_is_found(tmp_path):
    write(tmp_path, NAME)
    file = tmp_path / "lablaut" / f"{NAME}xx.lablaut"
    file.rename(file.with_name(f"{NAME}.lablaut"))
    assert load_emodb(tmp_path)[NAME]["phones"] == PHONES


@pytest.mark.parametrize("change", ["gone", "empty"])
def test_an_utterance_without_hand_labels_has_none(tmp_path, change):
    write(tmp_path, NAME, "16b10Td")
    for file, header in (("lablaut/16b10Tdxx.lablaut", HEADER), ("silb/16b10Td.silb", "")):
        (tmp_path / file).write_text(header)
        if change == "gone":
            (tmp_path / file).unlink()
    corpus = load_emodb(tmp_path)
    assert corpus[NAME]["phones"] == PHONES
    assert corpus["16b10Td"]["phones"] is None
    assert corpus["16b10Td"]["syllables"] is None


def test_a_corpus_without_hand_labels_has_no_such_label(tmp_path):
    write(tmp_path, NAME)
    for kind in ("lablaut", "silb"):
        for file in (tmp_path / kind).iterdir():
            file.unlink()
        (tmp_path / kind).rmdir()
    assert not {"phones", "syllables"} & set(load_emodb(tmp_path).table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lablaut": LABLAUT}, r"03a01Faxx\.lablaut: expected a header that ends with a line '#'"),
        ({"lablaut": HEADER + "der\n"}, r"03a01Faxx\.lablaut: expected a time and a label.*'der'"),
        ({"silb": "0.1\tder\nla 0.2\n"}, r"03a01Fa\.silb: expected a time and a label.*'la 0\.2'"),
    ],
    ids=["no header", "no time", "label first"],
)
def test_a_file_of_another_form_is_named(tmp_path, changes, message):
    write(tmp_path, NAME, **changes)
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}.*{message}"):
        load_emodb(tmp_path)


class Frames:
    """Energy in frames of 10 ms."""

    name, sample_rate = "frames", 16_000

    def __call__(self, signal):
        frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
        return {"energy": (frames**2).mean(1, keepdims=True)}


def test_a_store_keeps_them_as_lists(tmp_path):
    write(tmp_path / "emodb", NAME, "08a01Fa", "16b10Td")
    (tmp_path / "emodb/lablaut/16b10Tdxx.lablaut").unlink()
    corpus = load_emodb(tmp_path / "emodb")
    sp.extract(corpus, Frames(), store=tmp_path / "store")
    items = sp.load_features(tmp_path / "store").items
    assert items["phones"].iloc[2] is None
    for name, expected in (("phones", PHONES), ("syllables", SYLLABLES)):
        for spans in items[name].iloc[:2]:
            assert isinstance(spans, list)
            assert [tuple(span) for span in spans] == expected


@pytest.fixture(scope="module")
def real(shared):
    return load_emodb(shared / "data/emodb")


# Of the real files, one of each kind is empty.
WITHOUT = {"phones": "08a01Wa", "syllables": "13a01Wb"}


@pytest.mark.shared
class TestRealLabels:
    def test_all_files_have_them_but_for_one_that_is_empty(self, real):
        assert len(real) == 339
        for kind, name in WITHOUT.items():
            assert [u.id for u in real if not u[kind]] == [name]
            assert real[name][kind] is None

    @pytest.mark.parametrize("kind", WITHOUT)
    def test_spans_are_in_order_without_gaps_within_the_file(self, real, kind):
        for utterance in real.select([u.id for u in real if u[kind]]):
            spans = np.array([span[:2] for span in utterance[kind]])
            assert spans[0, 0] >= 0
            assert (spans[:, 0] <= spans[:, 1]).all()
            np.testing.assert_array_equal(spans[1:, 0], spans[:-1, 1])
            assert spans[-1, 1] <= utterance.duration + 0.02
            assert all(span.label for span in utterance[kind])

    @pytest.mark.parametrize("kind", WITHOUT)
    def test_labels_are_those_of_the_sentence(self, real, kind):
        # The same ten sentences: the middle of each has its usual number of spans.
        said = real.select([u.id for u in real if u[kind]]).table
        counts = said[kind].map(len).groupby(said["sentence"]).median()
        n_letters = said["text"].map(len).groupby(said["sentence"]).first()
        assert np.corrcoef(counts, n_letters)[0, 1] > 0.9

    def test_the_first_file_begins_as_its_sentence(self, real):
        utterance = real[NAME]
        said = [span.label for span in utterance["syllables"]]
        assert said == ["der", "la", "pen", "liegt", "auf", "dem", "eis", "schrank"]
        assert utterance["syllables"][0] == (0.080080, 0.244195, "der")
        phones = utterance["phones"]
        assert phones[:3] == PHONES[:3]
        # Marks of voice quality end no phone: "i +hoe" at 0.699 lasts to the closure at 0.802.
        assert (0.698978, 0.802292, "i") in phones
        assert phones[-1].end == 1.841390

    def test_a_syllable_begins_with_a_phone(self, real):
        # Two sets of labels, made apart: a time that meant the end of its label in one would not
        # change where the others lie, but a phone or a syllable lost would.
        near = [
            min(abs(span.start - phone.start) for phone in utterance["phones"])
            for utterance in real
            for span in utterance["syllables"] or ()
            if utterance["phones"]
        ]
        assert len(near) > 5000
        assert np.mean(np.array(near) < 0.005) > 0.85

    def test_pauses_and_closures_are_quiet_and_vowels_loud(self, real):
        # If a time were where its label ends, all of these would be the sound before.
        kinds = {"(": "pause", "p": "closure", "t": "closure", "k": "closure"}
        kinds |= dict.fromkeys(["I", "a", "i", "e", "E", "U", "o", "O", "aI", "aU"], "vowel")
        levels = {kind: [] for kind in kinds.values()}
        for utterance in real:
            signal = utterance.signal()
            whole = np.sqrt(np.mean(signal**2))
            for start, end, label in utterance["phones"] or ():
                piece = signal[round(16_000 * start) : round(16_000 * end)]
                if label in kinds and len(piece) > 320:
                    level = np.sqrt(np.mean(piece**2)) / whole
                    levels[kinds[label]].append(20 * np.log10(level + 1e-6))
        assert np.median(levels["vowel"]) > -1
        assert np.median(levels["closure"]) < -18
        assert np.median(levels["pause"]) < -18
        assert all(len(each) > 40 for each in levels.values())

from __future__ import annotations

import re
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from speechprobe import audio
from speechprobe.datasets import load_voxceleb

# In the forms of the published files: tabs in VoxCeleb1, commas and spaces in VoxCeleb2.
VOX1_META = """\
VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet
id10001\tA.J._Buckley\tm\tIreland\tdev
id10003\tAdam_Beach\tm\tCanada\tdev
id10270\tEartha_Kitt\tf\tUSA\ttest
"""
VOX2_META = """\
VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set 
id00012 ,n000012 ,m ,dev 
id00017 ,n000017 ,f ,test 
"""  # noqa: W291 as published
KITT, BUCKLEY = "id10270/5r0dWxy17C8", "id10001/1zcIwhmdeo4"
LABELS = ["gender", "nationality", "name", "subset"]


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, np.full(1600, 0.1), 16_000)


def write_m4a(path: Path) -> None:
    """Write half a second of a tone as AAC in MP4, as VoxCeleb2 is."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.sin(2 * np.pi * 440 * np.arange(8192) / 16_000).astype(np.float32)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        for start in range(0, len(wave), 1024):
            block = np.ascontiguousarray(wave[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            frame.time_base = Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def labels_of(utterance):
    return [utterance[name] for name in LABELS]


@pytest.mark.parametrize(
    ("dev", "test"),
    [("wav", "wav"), ("dev/wav", "test/wav"), ("vox1_dev_wav/wav", "vox1_test_wav/wav")],
)
@pytest.mark.parametrize("above", [False, True], ids=["beside", "above"])
def test_the_layouts_of_voxceleb1_are_read(tmp_path, dev, test, above):
    root = tmp_path / "VoxCeleb1"
    write(root / dev / BUCKLEY / "00001.wav", root / dev / BUCKLEY / "00012.wav")
    write(root / test / KITT / "00001.wav")
    (tmp_path if above else root).joinpath("vox1_meta.csv").write_text(VOX1_META)
    corpus = load_voxceleb(root)
    assert repr(corpus) == "Corpus('voxceleb', 3 utterances, 2 speakers)"
    assert set(corpus.table.index) == {
        *(f"{BUCKLEY}/00001", f"{BUCKLEY}/00012"),
        f"{KITT}/00001",
    }
    utterance = corpus[f"{KITT}/00001"]
    expected = {
        "speaker": "id10270",
        "gender": "F",
        "nationality": "USA",
        "name": "Eartha_Kitt",
        "subset": "test",
        "video": "5r0dWxy17C8",
        "duration": 0.1,
        "sample_rate": 16_000,
        "channels": 1,
    }
    assert {label: utterance[label] for label in expected} == expected
    assert utterance.path == str(root / test / KITT / "00001.wav")


def test_the_layout_of_voxceleb2_is_read(tmp_path):
    write_m4a(tmp_path / "dev/aac/id00012/21Uxsk56VDQ/00001.m4a")
    write_m4a(tmp_path / "test/aac/id00017/01dfn2spqyE/00002.m4a")
    (tmp_path / "vox2_meta.csv").write_text(VOX2_META)
    corpus = load_voxceleb(tmp_path)
    man, woman = corpus["id00012/21Uxsk56VDQ/00001"], corpus["id00017/01dfn2spqyE/00002"]
    assert labels_of(man) == ["M", None, None, "dev"]
    assert labels_of(woman) == ["F", None, None, "test"]
    assert woman["sample_rate"] == 16_000
    assert woman.duration == pytest.approx(0.512, abs=0.13)
    signal = woman.signal()[2000:6000]
    assert np.argmax(np.abs(np.fft.rfft(signal))) * 16_000 / 4000 == pytest.approx(440, abs=4)


def test_both_corpora_may_lie_below_one_folder_each_with_its_metadata(tmp_path):
    write(tmp_path / "VoxCeleb1/wav" / KITT / "00001.wav")
    write(tmp_path / "VoxCeleb2/dev/aac/id00012/21Uxsk56VDQ/00001.wav")
    (tmp_path / "vox1_meta.csv").write_text(VOX1_META)
    (tmp_path / "vox2_meta.csv").write_text(VOX2_META)
    corpus = load_voxceleb(tmp_path)
    assert labels_of(corpus[f"{KITT}/00001"]) == ["F", "USA", "Eartha_Kitt", "test"]
    assert labels_of(corpus["id00012/21Uxsk56VDQ/00001"]) == ["M", None, None, "dev"]


@pytest.mark.parametrize(
    ("place", "subset"),
    [("wav", None), ("dev/wav", "dev"), ("vox1_test_wav/wav", "test"), ("dev/test", None)],
)
def test_without_metadata_only_the_folder_tells_the_subset(tmp_path, place, subset):
    write(tmp_path / place / KITT / "00001.wav")
    assert labels_of(load_voxceleb(tmp_path)[f"{KITT}/00001"]) == [None, None, None, subset]


def test_the_other_corpus_needs_no_metadata(tmp_path):
    write(tmp_path / "wav" / KITT / "00001.wav")
    (tmp_path / "vox2_meta.csv").write_text(VOX2_META)
    assert labels_of(load_voxceleb(tmp_path)[f"{KITT}/00001"]) == [None, None, None, None]


def test_converted_copies_are_read(tmp_path):
    write(tmp_path / "id00012/21Uxsk56VDQ/00001.flac", tmp_path / "id00012/21Uxsk56VDQ/00002.WAV")
    corpus = load_voxceleb(tmp_path)
    assert corpus.table.index.tolist() == [f"id00012/21Uxsk56VDQ/0000{n}" for n in (1, 2)]


def test_a_name_with_a_comma_stays_whole(tmp_path):
    write(tmp_path / "wav/id10950/abc/00001.wav")
    row = "id10950\tSammy_Davis,_Jr.\tm\tTrinidad & Tobago\tdev\n"
    (tmp_path / "vox1_meta.csv").write_text(VOX1_META + row)
    expected = ["M", "Trinidad & Tobago", "Sammy_Davis,_Jr.", "dev"]
    assert labels_of(load_voxceleb(tmp_path)["id10950/abc/00001"]) == expected


def test_a_speaker_that_the_metadata_lacks_is_named(tmp_path):
    write(tmp_path / "wav/id11251/abc/00001.wav")
    (tmp_path / "vox1_meta.csv").write_text(VOX1_META)
    with pytest.raises(ValueError, match="wav/id11251: speaker id11251 is not in the metadata"):
        load_voxceleb(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "id10001\tA.J._Buckley\tm\tIreland\tdev\n", VOX1_META.replace("\tm\t", "\tx\t")],
    ids=["empty", "no header", "unknown sex"],
)
def test_metadata_of_another_form_is_named(tmp_path, text):
    write(tmp_path / "wav" / KITT / "00001.wav")
    (tmp_path / "vox1_meta.csv").write_text(text)
    with pytest.raises(ValueError, match=r"vox1_meta\.csv: expected"):
        load_voxceleb(tmp_path)


@pytest.mark.parametrize("other", ["aac/{}/00001.m4a", "wav2/{}/00001.wav", "wav/{}/00001.flac"])
def test_an_utterance_that_is_there_twice_is_refused(tmp_path, other):
    write(tmp_path / "wav" / KITT / "00001.wav")
    copy = tmp_path / other.format(KITT)
    write_m4a(copy) if copy.suffix == ".m4a" else write(copy)
    with pytest.raises(ValueError, match=f"{KITT}/00001 is there twice") as error:
        load_voxceleb(tmp_path)
    assert str(copy) in str(error.value)
    assert str(tmp_path / "wav" / KITT / "00001.wav") in str(error.value)


@given(stem=st.text("01٣ab-_ ", min_size=1, max_size=6) | st.integers(0, 10**6).map(str))
@example(stem="00001")
@example(stem="00001 copy")
@example(stem="٠٠٠٠١")
def test_a_name_is_five_digits_or_an_error_names_the_file(stem):
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "wav", KITT, f"{stem}.wav"))
        if re.fullmatch("[0-9]{5}", stem):
            assert load_voxceleb(folder).table.index.tolist() == [f"{KITT}/{stem}"]
        else:
            with pytest.raises(ValueError, match=re.escape(f"{KITT}/{stem}.wav: the name does")):
                load_voxceleb(folder)


def test_other_files_and_those_of_a_mac_are_passed_over(tmp_path):
    write(tmp_path / "wav" / KITT / "00001.wav")
    for name in ("._00001.wav", "00001.txt", "notes.md"):
        (tmp_path / "wav" / KITT / name).write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "wav/id10270/notes.txt").write_text("beside the videos")
    (tmp_path / "wav/id102701/abc").mkdir(parents=True)
    assert load_voxceleb(tmp_path).table.index.tolist() == [f"{KITT}/00001"]


@pytest.mark.parametrize("name", [".", "nowhere", "empty"])
def test_a_folder_without_speakers_says_which_layout_was_expected_and_where_to_ask(tmp_path, name):
    (tmp_path / "empty/wav/id10270/abc").mkdir(parents=True)
    message = r"wav/id10001/1zcIwhmdeo4/00001\.wav.*robots\.ox\.ac\.uk"
    with pytest.raises(FileNotFoundError, match=message):
        load_voxceleb(tmp_path / name)


@pytest.mark.parametrize("root", [".", "one/dev", "one/dev/wav"])
def test_metadata_is_found_beside_each_corpus_whatever_part_of_it_is_loaded(tmp_path, root):
    write(tmp_path / "one/dev/wav/id10001/video/00001.wav")
    (tmp_path / "one/vox1_meta.csv").write_text(VOX1_META)
    utterance = load_voxceleb(tmp_path / root)["id10001/video/00001"]
    assert utterance["gender"] is not None
    assert utterance["nationality"] is not None

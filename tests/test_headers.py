from __future__ import annotations

import pytest

from speechprobe import _headers, audio
from speechprobe._headers import read_headers


@pytest.mark.parametrize("at_once", [1, 3, 1024])
def test_headers_come_in_the_order_of_their_paths(tmp_path, write_sound, monkeypatch, at_once):
    monkeypatch.setattr(_headers, "_AT_ONCE", at_once)
    monkeypatch.setattr(_headers, "_BLOCK", 5 * at_once)
    lengths = [0.7, 0.1, 0.5, 0.3, 0.9, 0.2, 0.4]
    paths = [write_sound(tmp_path / f"{n}.wav", length) for n, length in enumerate(lengths)]
    assert [header.duration for header in read_headers(paths)] == lengths
    # Some known, some not: the order holds all the same.
    more = [write_sound(tmp_path / f"more{n}.flac", length) for n, length in enumerate(lengths)]
    mixed = [path for pair in zip(more, paths, strict=True) for path in pair]
    expected = [length for length in lengths for _ in range(2)]
    assert [header.duration for header in read_headers(mixed)] == expected


def test_a_header_is_the_one_of_the_file_alone(tmp_path, write_sound):
    paths = [write_sound(tmp_path / f"a.{kind}", 0.4, 8_000) for kind in ("wav", "flac", "mp3")]
    expected = [audio.read_header(path) for path in paths]
    assert read_headers(paths) == read_headers(paths) == expected


def test_a_path_given_twice_has_its_header_twice(tmp_path, write_sound):
    first, second = write_sound(tmp_path / "a.wav", 0.1), write_sound(tmp_path / "b.wav", 0.2)
    missing = tmp_path / "c.wav"
    for _ in range(2):
        found = read_headers([first, missing, second, str(first), missing])
        assert [header.duration for header in found if isinstance(header, audio.Header)] == [
            *(0.1, 0.2, 0.1)
        ]
        assert [isinstance(each, FileNotFoundError) for each in found] == [
            *(False, True, False, False, True)
        ]


def test_each_unreadable_file_is_named_by_its_own_error(tmp_path, write_sound):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.flac").write_text("no sound")
    (tmp_path / "folder.wav").mkdir()
    names = ["missing.wav", "empty.wav", "text.flac", "folder.wav"]
    good = write_sound(tmp_path / "good.wav", 0.1)
    kinds = [FileNotFoundError, ValueError, ValueError, FileNotFoundError]
    for _ in range(2):
        *errors, header = read_headers([*(tmp_path / name for name in names), good])
        assert header.duration == 0.1
        assert [type(error) for error in errors] == kinds
        assert [str(error).split(":")[0] for error in errors] == [
            str(tmp_path / name) for name in names
        ]


def test_no_paths_have_no_headers():
    assert read_headers([]) == []

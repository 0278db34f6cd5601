from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing, contextmanager

import pytest
import soundfile

from speechprobe import _cache, _headers, audio
from speechprobe._headers import read_headers
from speechprobe.datasets import load_folder

STAMP = ("/a.wav", 10, 20)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Give each test its own empty cache, and its own first warning."""
    folder = tmp_path_factory.mktemp("own")
    monkeypatch.setenv("SPEECHPROBE_CACHE", str(folder))
    monkeypatch.setattr(_cache, "_given_up", set())
    return folder


@pytest.fixture
def opened(monkeypatch):
    """Count the sound files that are opened from here on."""
    paths = []
    info = soundfile.info

    def counting(path):
        paths.append(os.fsdecode(path))
        return info(path)

    monkeypatch.setattr(soundfile, "info", counting)
    return paths


@pytest.fixture
def sounds(tmp_path, write_sound):
    return [write_sound(tmp_path / f"{n}.wav", seconds=n / 10) for n in range(1, 6)]


def durations(paths):
    return [header.duration for header in read_headers(paths)]


def keep(kind, values):
    with _cache.Keeping(kind) as keeping:
        for stamp, value in values.items():
            keeping.add(stamp, value)


@contextmanager
def recorded():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


def test_a_second_scan_opens_no_sound_file(sounds, monkeypatch):
    first = read_headers(sounds)

    def fail(*_, **__):
        raise AssertionError("a sound file was opened")

    monkeypatch.setattr(soundfile, "info", fail)
    monkeypatch.setattr(soundfile, "SoundFile", fail)
    assert read_headers(sounds[::-1]) == first[::-1]
    assert [header.duration for header in first] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_every_fact_of_a_header_survives_the_cache(tmp_path):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, [[0.1, 0.2]] * 300, 44_100, subtype="FLOAT")
    expected = audio.Header(300, 44_100, 2, may_hold_nan=True)
    assert read_headers([path]) == read_headers([path]) == [expected]


def test_a_loaded_folder_is_scanned_once(sounds, opened):
    expected = load_folder(sounds[0].parent).column("duration").tolist()
    n_opened = len(opened)
    assert load_folder(sounds[0].parent).column("duration").tolist() == expected
    assert len(opened) == n_opened == len(sounds)


def test_a_file_of_the_same_size_that_was_changed_later_is_read_anew(tmp_path, write_sound):
    path = write_sound(tmp_path / "a.wav", 0.5, 16_000)
    assert durations([path]) == [0.5]
    before = path.stat()
    write_sound(path, 1.0, 8_000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    assert durations([path]) == [1.0]


def test_a_file_put_back_in_time_is_read_anew(tmp_path, write_sound):
    path = write_sound(tmp_path / "a.wav", 0.5, 16_000)
    durations([path])
    earlier = path.stat().st_mtime_ns - 10**9
    write_sound(path, 1.0, 8_000)
    os.utime(path, ns=(earlier, earlier))
    assert durations([path]) == [1.0]


def test_a_file_of_another_size_and_the_same_time_is_read_anew(tmp_path, write_sound):
    path = write_sound(tmp_path / "a.wav", 0.5)
    durations([path])
    before = path.stat()
    write_sound(path, 0.7)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert durations([path]) == [0.7]


def test_only_what_changed_is_read_anew_and_then_known(sounds, write_sound, opened):
    durations(sounds)
    opened.clear()
    write_sound(sounds[2], 0.9)
    assert durations(sounds) == [0.1, 0.2, 0.9, 0.4, 0.5]
    assert opened == [str(sounds[2])]
    durations(sounds)
    assert len(opened) == 1


def test_a_file_removed_after_a_scan_is_missing(sounds):
    durations(sounds)
    sounds[0].unlink()
    (gone, *_) = read_headers(sounds)
    assert isinstance(gone, FileNotFoundError)


def test_a_broken_file_is_read_again_once_it_is_mended(tmp_path, write_sound):
    path = tmp_path / "a.wav"
    path.write_bytes(b"no sound")
    (error,) = read_headers([path])
    assert isinstance(error, ValueError)
    write_sound(path, 0.3)
    assert durations([path]) == [0.3]


def test_a_file_is_known_whatever_way_its_path_is_written(sounds, monkeypatch, opened):
    durations(sounds)
    opened.clear()
    monkeypatch.chdir(sounds[0].parent)
    assert durations(["1.wav", "./2.wav", f"../{sounds[0].parent.name}/3.wav"]) == [0.1, 0.2, 0.3]
    assert not opened


@pytest.mark.parametrize("name", ["übung 音.wav", "it's; DROP TABLE.wav", "a%20b?.wav"])
def test_a_file_of_any_name_is_known(tmp_path, write_sound, opened, name):
    path = write_sound(tmp_path / name, 0.2)
    assert durations([path]) == durations([path]) == [0.2]
    assert len(opened) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_whose_name_is_no_utf8_is_read(tmp_path, write_sound):
    # As an archive of a Latin-1 system unpacks: "ü" is one byte, which Python gives as a surrogate.
    source = write_sound(tmp_path / "a.wav", 0.2)
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xfcbung.wav")
    os.rename(source, path)
    assert durations([path]) == durations([path]) == [0.2]


def test_nothing_is_written_beside_the_files(sounds, cache):
    folder = sounds[0].parent
    before = {path: path.stat() for path in folder.iterdir()}
    load_folder(folder)
    load_folder(folder)
    after = {path: path.stat() for path in folder.iterdir()}
    assert after.keys() == before.keys()
    for path, facts in after.items():
        assert (facts.st_size, facts.st_mtime_ns) == (
            before[path].st_size,
            before[path].st_mtime_ns,
        )
    assert list(cache.iterdir())


def test_the_cache_can_be_deleted_at_any_time(sounds, cache):
    durations(sounds)
    for path in cache.iterdir():
        path.unlink()
    cache.rmdir()
    assert durations(sounds) == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folders are those of Linux")
@pytest.mark.parametrize("chosen", [None, ""], ids=["unset", "empty"])
@pytest.mark.parametrize("xdg", [True, False], ids=["XDG_CACHE_HOME", "HOME"])
def test_the_cache_is_the_systems_folder_where_no_other_is_chosen(
    sounds, tmp_path, monkeypatch, chosen, xdg
):
    if chosen is None:
        monkeypatch.delenv("SPEECHPROBE_CACHE")
    else:
        monkeypatch.setenv("SPEECHPROBE_CACHE", chosen)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if xdg:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    durations(sounds)
    folder = tmp_path / "xdg" if xdg else tmp_path / "home/.cache"
    assert [path.name for path in folder.iterdir()] == ["speechprobe"]
    assert any((folder / "speechprobe").iterdir())


def not_a_folder(cache, monkeypatch):
    (cache / "file").write_text("a file, not a folder")
    monkeypatch.setenv("SPEECHPROBE_CACHE", str(cache / "file" / "below"))


def not_a_database(cache, monkeypatch):
    (cache / "files.sqlite").write_bytes(b"This is no database.\n" * 500)


def damaged_database(cache, monkeypatch):
    keep("header 1", {(f"/{n}.wav", 1, 1): "1 1 1 0" for n in range(2000)})
    file = cache / "files.sqlite"
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xaa" * (len(content) - 4096)
    file.write_bytes(content)


def folder_instead_of_database(cache, monkeypatch):
    (cache / "files.sqlite").mkdir()


def another_table(cache, monkeypatch):
    with closing(sqlite3.connect(cache / "files.sqlite")) as database, database:
        database.execute("CREATE TABLE measured (something INTEGER)")


UNUSABLE = [
    not_a_folder,
    not_a_database,
    damaged_database,
    folder_instead_of_database,
    another_table,
]


@pytest.mark.parametrize("spoil", UNUSABLE, ids=lambda spoil: spoil.__name__)
def test_an_unusable_cache_is_done_without_with_one_warning(sounds, cache, monkeypatch, spoil):
    spoil(cache, monkeypatch)
    with recorded() as found:
        assert durations(sounds) == [0.1, 0.2, 0.3, 0.4, 0.5]
        assert durations(sounds) == [0.1, 0.2, 0.3, 0.4, 0.5]
    (warning,) = found
    assert issubclass(warning.category, UserWarning)
    assert str(_cache.folder() / "files.sqlite") in str(warning.message)
    assert "SPEECHPROBE_CACHE" in str(warning.message)


def test_a_locked_cache_is_done_without_with_one_warning(sounds, cache, monkeypatch):
    durations(sounds[:1])
    monkeypatch.setattr(_cache, "_WAIT", 0.05)
    with closing(sqlite3.connect(cache / "files.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with recorded() as found:
            assert durations(sounds) == [0.1, 0.2, 0.3, 0.4, 0.5]
        other.execute("ROLLBACK")
    assert [str(each.message).count("locked") for each in found] == [1]
    with recorded() as found:
        assert durations(sounds) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert not found


def test_a_reader_does_not_disturb_a_writer(sounds, cache, opened):
    durations(sounds[:1])
    with closing(sqlite3.connect(cache / "files.sqlite")) as other:
        other.execute("SELECT count(*) FROM measured").fetchone()
        durations(sounds)
    n_opened = len(opened)
    durations(sounds)
    assert len(opened) == n_opened


def test_kinds_do_not_mix():
    keep("one", {STAMP: "1"})
    keep("two", {STAMP: "2"})
    assert _cache.recall("one", [STAMP]) == ["1"]
    assert _cache.recall("two", [STAMP]) == ["2"]
    assert _cache.recall("three", [STAMP]) == [None]


def test_what_is_kept_last_holds():
    keep("one", {STAMP: "old"})
    changed = (*STAMP[:2], STAMP[2] + 1)
    keep("one", {changed: "new"})
    assert _cache.recall("one", [STAMP, changed, changed]) == [None, "new", "new"]


def test_nothing_asked_is_nothing_known():
    assert _cache.recall("one", []) == []


def test_more_files_than_a_statement_takes_variables_are_recalled(monkeypatch):
    stamps = [(f"/{n}.wav", n, 2 * n) for n in range(3000)]
    keep("one", {stamp: str(stamp[1]) for stamp in stamps[::2]})
    connect = sqlite3.connect

    def limited(*args, **options):
        database = connect(*args, **options)
        database.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)  # of SQLite before 3.32
        return database

    monkeypatch.setattr(sqlite3, "connect", limited)
    expected = [str(n) if n % 2 == 0 else None for n in range(3000)]
    assert _cache.recall("one", stamps) == expected
    assert _cache.recall("one", stamps[::-1] + stamps) == expected[::-1] + expected


WRITER = """
import sys
from speechprobe import _cache
_cache._SECONDS = 0  # write each value by itself
with _cache.Keeping("race") as keeping:
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(40):
        keeping.add((f"/{sys.argv[1]}-{n}.wav", n, n), sys.argv[1])
"""


def test_processes_that_write_at_once_lose_nothing():
    names = ["a", "b", "c"]
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, complaint = writer.communicate(timeout=60)
        assert (writer.returncode, complaint) == (0, "")
    stamps = [(f"/{name}-{n}.wav", n, n) for name in names for n in range(40)]
    assert _cache.recall("race", stamps) == [name for name in names for _ in range(40)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_scan_keeps_what_was_read(sounds, monkeypatch, opened, error):
    read = _headers.read_header

    def interrupted(path):
        if path == sounds[3]:
            raise error
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(_headers, "read_header", interrupted)
        patch.setattr(_headers, "_AT_ONCE", 2)
        with pytest.raises(error):
            read_headers(sounds)
    opened.clear()
    assert durations(sounds) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert str(sounds[0]) not in opened
    assert str(sounds[1]) not in opened


def test_values_are_kept_while_a_long_run_is_still_going(monkeypatch):
    monkeypatch.setattr(_cache, "_SECONDS", 0)
    with _cache.Keeping("one") as keeping:
        keeping.add(STAMP, "1")
        assert _cache.recall("one", [STAMP]) == ["1"]


def test_a_stamp_tells_path_size_and_time(sounds, monkeypatch):
    facts = sounds[0].stat()
    monkeypatch.chdir(sounds[0].parent)
    expected = (str(sounds[0]), facts.st_size, facts.st_mtime_ns)
    assert _cache.stamp("1.wav") == _cache.stamp(sounds[0]) == expected
    with pytest.raises(OSError, match="missing"):
        _cache.stamp("missing.wav")

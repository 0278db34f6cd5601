from __future__ import annotations

import inspect
import itertools
import json
import os
import re
import signal as signals
import subprocess
import sys
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import soundfile

from speechprobe import _cache, audio
from speechprobe.datasets import Corpus, _measure, labels
from speechprobe.datasets.labels import from_sound

AMPLITUDES = [0.3, 0.1, 0.5, 0.2, 0.4]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Give each test its own empty cache, and its own first warning."""
    folder = tmp_path_factory.mktemp("own")
    monkeypatch.setenv("SPEECHPROBE_CACHE", str(folder))
    monkeypatch.setattr(_cache, "_given_up", set())
    return folder


@pytest.fixture
def corpus(tmp_path):
    """Give five sounds, each of one value, whose peaks are `AMPLITUDES`."""
    return constants(tmp_path / "sounds", AMPLITUDES)


@pytest.fixture
def log(tmp_path):
    """Give a file to which a measure adds a line each time it runs, in whichever process."""
    path = tmp_path / "log.txt"
    path.touch()
    return path


@pytest.fixture
def elsewhere(monkeypatch):
    """Have everything measured in other processes."""
    monkeypatch.setattr(_measure, "_ALONE", 0.0)
    monkeypatch.setattr(_measure, "_WORTH", 0.0)


def constants(folder, amplitudes) -> Corpus:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{n}.wav" for n in range(len(amplitudes))]
    for path, amplitude in zip(paths, amplitudes, strict=True):
        soundfile.write(path, np.full(800, amplitude), 8_000, subtype="FLOAT")
    ids = [f"u{n}" for n in range(len(amplitudes))]
    return Corpus("mine", pd.DataFrame({"path": list(map(str, paths)), "speaker": "s"}, index=ids))


def logging_peak(log):
    """Return a measure of the peak that tells each run of it."""
    place = str(log)

    def peak(signal, sample_rate):
        with open(place, "a") as file:
            file.write("x\n")
        return float(abs(signal).max())

    return peak


def runs(log) -> int:
    return len(log.read_text().splitlines())


def values(corpus, measure, **options):
    return corpus.label("x", from_sound(measure, **options)).column("x")


class TestValues:
    def test_each_utterance_has_the_value_of_its_own_sound(self, corpus):
        found = values(corpus, lambda signal, sample_rate: signal.max())
        assert found == pytest.approx(AMPLITUDES)
        assert values(corpus.select(["u4", "u0"]), lambda s, r: s.max()) == pytest.approx(
            [AMPLITUDES[4], AMPLITUDES[0]]
        )

    def test_other_processes_give_the_same_values_in_order(self, tmp_path, elsewhere):
        amplitudes = np.random.default_rng(0).uniform(0.1, 0.9, 70).tolist()
        corpus = constants(tmp_path / "many", amplitudes)
        offset = 1.0
        found = values(corpus, lambda signal, sample_rate: [signal.max() + offset, os.getpid()])
        peaks, processes = map(list, zip(*found, strict=True))
        assert peaks == pytest.approx([1 + amplitude for amplitude in amplitudes])
        assert os.getpid() not in processes

    def test_relative_paths_mean_the_same_in_other_processes(
        self, tmp_path, monkeypatch, elsewhere
    ):
        for name, amplitude in (("first", 0.2), ("second", 0.7)):
            constants(tmp_path / name, [amplitude] * 20)
            monkeypatch.chdir(tmp_path / name)
            table = pd.DataFrame({"path": [f"{n}.wav" for n in range(20)], "speaker": "s"})
            found = values(Corpus(name, table), lambda signal, sample_rate: signal.max())
            assert found == pytest.approx([amplitude] * 20)

    def test_paths_may_be_path_objects(self, corpus):
        again = Corpus("paths", corpus.table.assign(path=corpus.table["path"].map(Path)))
        assert values(again, lambda s, r: s.max()) == pytest.approx(AMPLITUDES)

    def test_a_long_measure_starts_here_and_goes_on_elsewhere(self, corpus, monkeypatch):
        monkeypatch.setattr(_measure, "_ALONE", 0.02)
        monkeypatch.setattr(_measure, "_WORTH", 0.0)

        def slow(signal, sample_rate):
            time.sleep(0.03)
            return [signal.max(), os.getpid()]

        peaks, processes = map(list, zip(*values(corpus, slow), strict=True))
        assert peaks == pytest.approx(AMPLITUDES)
        assert processes[0] == os.getpid()
        assert os.getpid() not in processes[1:]

    def test_the_files_own_rate_is_kept_unless_another_is_wanted(self, corpus):
        own = values(corpus, lambda signal, sample_rate: [len(signal), sample_rate])
        assert list(own) == [[800, 8_000]] * 5
        at_16_kHz = values(
            corpus, lambda signal, sample_rate: [len(signal), sample_rate], sample_rate=16_000
        )
        assert list(at_16_kHz) == [[1600, 16_000]] * 5

    @pytest.mark.parametrize("times", [1, 2], ids=["measured", "remembered"])
    def test_lists_nan_and_infinity_come_as_they_are(self, corpus, times):
        odd = [float("nan"), float("inf"), -float("inf"), 1 / 3, 1e-300]
        for _ in range(times):
            found = values(corpus, lambda signal, sample_rate: odd)
        for each in found:
            np.testing.assert_array_equal(each, odd)

    @pytest.mark.parametrize(
        "value",
        [2, 2.0, np.float32(2), np.int64(2), np.array(2)],
        ids=lambda value: type(value).__name__,
    )
    def test_any_kind_of_number_is_a_number(self, corpus, value):
        for _ in range(2):
            found = values(corpus, lambda signal, sample_rate: value)
            assert found.dtype == np.float64
            assert found.tolist() == [2.0] * 5

    def test_an_array_is_a_list_of_numbers(self, corpus):
        found = values(corpus, lambda signal, sample_rate: np.arange(3, dtype=np.float32))
        assert list(found) == [[0.0, 1.0, 2.0]] * 5

    def test_a_measure_that_gives_no_number_fails_and_names_the_utterance(self, corpus):
        with pytest.raises(ValueError, match=r"label 'x' failed on utterance 'u0' of 'mine'"):
            values(corpus, lambda signal, sample_rate: "loud")

    def test_an_utterance_alone_has_the_value_it_has_in_the_corpus(self, corpus, log):
        label = from_sound(logging_peak(log))
        assert label(corpus["u2"]) == pytest.approx(0.5)
        assert label(corpus["u2"]) == pytest.approx(0.5)
        assert runs(log) == 1
        assert corpus.label("x", label).column("x") == pytest.approx(AMPLITUDES)
        assert runs(log) == 5

    def test_a_sound_with_channels_is_averaged(self, tmp_path):
        soundfile.write(tmp_path / "a.wav", [[0.2, 0.6]] * 800, 8_000, subtype="FLOAT")
        corpus = Corpus("one", pd.DataFrame({"path": [tmp_path / "a.wav"], "speaker": "s"}))
        found = values(corpus, lambda signal, sample_rate: [signal.ndim, signal.max()])
        assert found[0] == pytest.approx([1, 0.4])

    def test_a_label_can_choose_utterances(self, corpus):
        loud = from_sound(lambda signal, sample_rate: signal.max() > 0.25)
        assert corpus.select(loud).table.index.tolist() == ["u0", "u2", "u4"]

    def test_two_utterances_of_one_file_have_one_value(self, corpus):
        table = corpus.table.iloc[[0, 1, 0]].set_axis(["a", "b", "c"])
        found = values(Corpus("twice", table), lambda signal, sample_rate: signal.max())
        assert found == pytest.approx([0.3, 0.1, 0.3])


class TestRemembering:
    def test_a_second_label_reads_no_sound(self, corpus, monkeypatch):
        first = values(corpus, lambda signal, sample_rate: signal.max())

        def fail(*_, **__):
            raise AssertionError("a sound file was read")

        monkeypatch.setattr(audio, "read", fail)
        monkeypatch.setattr(soundfile, "read", fail)
        again = values(corpus, lambda signal, sample_rate: signal.max())
        assert again.tolist() == first.tolist()

    @pytest.mark.parametrize("where", ["here", "elsewhere"])
    def test_a_value_is_computed_once(self, corpus, log, monkeypatch, where):
        if where == "elsewhere":
            monkeypatch.setattr(_measure, "_ALONE", 0.0)
            monkeypatch.setattr(_measure, "_WORTH", 0.0)
        for _ in range(2):
            assert values(corpus, logging_peak(log)) == pytest.approx(AMPLITUDES)
        assert runs(log) == 5

    def test_a_part_of_the_corpus_leaves_the_rest_to_be_computed(self, corpus, log):
        values(corpus.select(["u1", "u3"]), logging_peak(log))
        assert runs(log) == 2
        assert values(corpus, logging_peak(log)) == pytest.approx(AMPLITUDES)
        assert runs(log) == 5

    def test_a_changed_file_is_measured_anew(self, corpus, log):
        values(corpus, logging_peak(log))
        path = corpus["u1"].path
        before = os.stat(path)
        soundfile.write(path, np.full(800, 0.9), 8_000, subtype="FLOAT")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert values(corpus, logging_peak(log)) == pytest.approx([0.3, 0.9, 0.5, 0.2, 0.4])
        assert runs(log) == 6

    def test_another_rate_is_another_measure(self, corpus):
        for rate in (8_000, 4_000, 8_000):
            found = values(corpus, lambda signal, sample_rate: len(signal), sample_rate=rate)
            assert found.tolist() == [rate / 10] * 5

    def test_without_a_cache_everything_works(self, corpus, tmp_path, monkeypatch, log):
        (tmp_path / "file").touch()
        monkeypatch.setenv("SPEECHPROBE_CACHE", str(tmp_path / "file" / "below"))
        with pytest.warns(UserWarning, match="cache cannot be used"):
            first = values(corpus, logging_peak(log))
        # Of the second time there is no warning, which would be an error here.
        assert values(corpus, logging_peak(log)).tolist() == first.tolist()
        assert first == pytest.approx(AMPLITUDES)
        assert runs(log) == 10


# What of a measure changes: (before, after), sources that define `measure`, which gives 1, then 2.
CHANGES = {
    "constant": ("measure = lambda s, r: 1", "measure = lambda s, r: 2"),
    "default": ("def measure(s, r, k=1): return k", "def measure(s, r, k=2): return k"),
    "keyword-only default": (
        "def measure(s, r, *, k=1): return k",
        "def measure(s, r, *, k=2): return k",
    ),
    "closed-over number": (
        "def make(k): return lambda s, r: k\nmeasure = make(1)",
        "def make(k): return lambda s, r: k\nmeasure = make(2)",
    ),
    "closed-over array": (
        "import numpy\ndef make(k): return lambda s, r: k[0]\nmeasure = make(numpy.array([1]))",
        "import numpy\ndef make(k): return lambda s, r: k[0]\nmeasure = make(numpy.array([2]))",
    ),
    "closed-over function": (
        "def make(f): return lambda s, r: f()\nmeasure = make(lambda: 1)",
        "def make(f): return lambda s, r: f()\nmeasure = make(lambda: 2)",
    ),
    "global number": ("K = 1\ndef measure(s, r): return K", "K = 2\ndef measure(s, r): return K"),
    "global number in a generator": (
        "K = 1\ndef measure(s, r): return sum(K for _ in range(1))",
        "K = 2\ndef measure(s, r): return sum(K for _ in range(1))",
    ),
    "global number in an inner function": (
        "K = 1\ndef measure(s, r):\n    def inner(): return K\n    return inner()",
        "K = 2\ndef measure(s, r):\n    def inner(): return K\n    return inner()",
    ),
    "global list": (
        "K = [1]\ndef measure(s, r): return K[0]",
        "K = [2]\ndef measure(s, r): return K[0]",
    ),
    "global dict": (
        "K = {'k': 1}\ndef measure(s, r): return K['k']",
        "K = {'k': 2}\ndef measure(s, r): return K['k']",
    ),
    "global array": (
        "import numpy\nK = numpy.array([1])\ndef measure(s, r): return K[0]",
        "import numpy\nK = numpy.array([2])\ndef measure(s, r): return K[0]",
    ),
    "helper": (
        "def helper(): return 1\ndef measure(s, r): return helper()",
        "def helper(): return 2\ndef measure(s, r): return helper()",
    ),
    "helper of a helper": (
        "def a(): return 1\ndef b(): return a()\ndef measure(s, r): return b()",
        "def a(): return 2\ndef b(): return a()\ndef measure(s, r): return b()",
    ),
    "argument of a partial": (
        "import functools\ndef f(s, r, k): return k\nmeasure = functools.partial(f, k=1)",
        "import functools\ndef f(s, r, k): return k\nmeasure = functools.partial(f, k=2)",
    ),
    "function of a partial": (
        "import functools\ndef f(s, r, k): return k\nmeasure = functools.partial(f, k=1)",
        "import functools\ndef f(s, r, k): return k + 1\nmeasure = functools.partial(f, k=1)",
    ),
    "setting of an object": (
        "class M:\n    def __init__(self, k): self.k = k\n"
        "    def __call__(self, s, r): return self.k\nmeasure = M(1)",
        "class M:\n    def __init__(self, k): self.k = k\n"
        "    def __call__(self, s, r): return self.k\nmeasure = M(2)",
    ),
    "code of an object": (
        "class M:\n    def __call__(self, s, r): return 1\nmeasure = M()",
        "class M:\n    def __call__(self, s, r): return 2\nmeasure = M()",
    ),
    "method": (
        "class M:\n    def __init__(self, k): self.k = k\n"
        "    def f(self, s, r): return self.k\nmeasure = M(1).f",
        "class M:\n    def __init__(self, k): self.k = k\n"
        "    def f(self, s, r): return self.k\nmeasure = M(2).f",
    ),
}


def defined_by(source):
    """Return the measure that a user's module of this source defines."""
    module = {"__name__": "the_users_own"}
    exec(source, module)
    return module["measure"]


class TestCode:
    @pytest.mark.parametrize("what", CHANGES)
    def test_a_changed_measure_is_computed_anew(self, corpus, what):
        before, after = CHANGES[what]
        assert values(corpus, defined_by(before)).tolist() == [1] * 5
        assert values(corpus, defined_by(after)).tolist() == [2] * 5

    @pytest.mark.parametrize("what", CHANGES)
    def test_the_same_measure_defined_again_is_remembered(self, corpus, what, monkeypatch):
        before, _ = CHANGES[what]
        values(corpus, defined_by(before))
        monkeypatch.setattr(audio, "read", None)
        assert values(corpus, defined_by(before)).tolist() == [1] * 5

    def test_a_docstring_is_no_code(self, corpus, monkeypatch):
        values(corpus, defined_by('def measure(s, r):\n    """Return one."""\n    return 1'))
        monkeypatch.setattr(audio, "read", None)
        again = 'def measure(s, r):\n    """Return the number one."""\n    return 1'
        assert values(corpus, defined_by(again)).tolist() == [1] * 5

    @pytest.mark.parametrize("measure", ["plain", "asking_a_set"])
    def test_another_session_remembers(self, read_in_another_session, measure):
        assert read_in_another_session[measure] == 0


SESSION = """
import json, sys, pandas as pd
from speechprobe import audio
from speechprobe.datasets import Corpus
from speechprobe.datasets.labels import from_sound
def plain(signal, sample_rate):
    return signal.max()
def asking_a_set(signal, sample_rate):
    return str(len(signal)) in {"800", "8000", "80000"}
corpus = Corpus("mine", pd.DataFrame({"path": sys.argv[1:], "speaker": "s"}))
read, counts, paths = audio.read, {}, []
audio.read = lambda path, *rest: paths.append(path) or read(path, *rest)
for measure in (plain, asking_a_set):
    paths.clear()
    corpus.label("x", from_sound(measure))
    counts[measure.__name__] = len(paths)
print(json.dumps(counts))
"""


@pytest.fixture(scope="module")
def read_in_another_session(tmp_path_factory):
    """Label a corpus in two sessions; tell how many files the second read for each measure."""
    corpus = constants(tmp_path_factory.mktemp("sounds"), AMPLITUDES)
    own = {"SPEECHPROBE_CACHE": str(tmp_path_factory.mktemp("sessions"))}
    first, second = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", SESSION, *corpus.column("path")],
                env=os.environ | own | {"PYTHONHASHSEED": seed},
                check=True,
                capture_output=True,
            ).stdout
        )
        for seed in ("1", "2")  # of the order of sets
    )
    assert first == {"plain": 5, "asking_a_set": 5}
    return second


class TwoFaults(Exception):
    """An error that cannot be made of its message alone."""

    def __init__(self, what, where):
        super().__init__(f"{what} at {where}")


def make_failing(log, failing):
    """Return a measure that fails on sounds of one peak while the log has a file beside it."""
    peak, place = logging_peak(log), str(failing)

    def measure(signal, sample_rate):
        found = peak(signal, sample_rate)
        if os.path.exists(place) and abs(found - 0.5) < 1e-6:
            raise RuntimeError("half is too much")
        return found

    return measure


@pytest.mark.parametrize("where", ["here", "elsewhere"])
class TestFailure:
    @pytest.fixture(autouse=True)
    def place(self, where, monkeypatch):
        if where == "elsewhere":
            monkeypatch.setattr(_measure, "_ALONE", 0.0)
            monkeypatch.setattr(_measure, "_WORTH", 0.0)

    def test_an_error_names_the_utterance_and_loses_nothing(self, corpus, log, tmp_path):
        failing = tmp_path / "failing"
        failing.touch()
        message = r"label 'x' failed on utterance 'u2' of 'mine': half is too much"
        with pytest.raises(ValueError, match=message):
            values(corpus, make_failing(log, failing))
        n_runs = runs(log)
        failing.unlink()
        assert values(corpus, make_failing(log, failing)) == pytest.approx(AMPLITUDES)
        # What came before the failure is known by now, and the failure is not.
        assert runs(log) - n_runs <= 3

    def test_an_unreadable_file_is_named_with_its_utterance(self, corpus):
        bad = corpus["u3"].path
        with open(bad, "wb") as file:
            file.write(b"no sound")
        message = f"'x' failed on utterance 'u3' of 'mine': {re.escape(bad)}: cannot be decoded"
        with pytest.raises(ValueError, match=message):
            values(corpus, lambda signal, sample_rate: signal.max())
        os.unlink(bad)
        with pytest.raises(ValueError, match=f"'u3' of 'mine': {re.escape(bad)}: no such"):
            values(corpus, lambda signal, sample_rate: signal.max())

    def test_an_error_of_any_form_names_the_utterance(self, corpus):
        def measure(signal, sample_rate):
            if abs(signal.max() - 0.5) < 1e-6:
                raise TwoFaults("clipping", 7)
            return 0.0

        with pytest.raises(ValueError, match=r"utterance 'u2' of 'mine': clipping at 7"):
            values(corpus, measure)


def test_an_error_keeps_its_cause_and_kind(corpus):
    with pytest.raises(ValueError, match="u0") as caught:
        values(corpus, lambda signal, sample_rate: 1 / 0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_label_of_one_utterance_raises_the_measures_own_error(corpus):
    with pytest.raises(ZeroDivisionError):
        from_sound(lambda signal, sample_rate: 1 / 0)(corpus["u0"])


def test_what_cannot_go_to_other_processes_is_not_the_fault_of_an_utterance(corpus, elsewhere):
    lock = threading.Lock()
    with pytest.raises(Exception, match="pickle") as caught:
        values(corpus, lambda signal, sample_rate: signal.max() + lock.locked())
    assert "'u0'" not in str(caught.value)


def test_a_missing_package_is_told_before_the_whole_corpus_is_read(tmp_path, monkeypatch):
    corpus, read, paths = constants(tmp_path / "many", [0.5] * 50), audio.read, []
    monkeypatch.setattr(audio, "read", lambda path, *rest: paths.append(path) or read(path, *rest))
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    with pytest.raises((ImportError, ValueError), match="pip install"):
        corpus.label("x", labels.loudness)
    assert len(paths) < 50


def test_an_interrupt_keeps_what_was_measured(corpus, log, tmp_path):
    stop, peak = tmp_path / "stop", logging_peak(log)
    stop.touch()
    place = str(stop)

    def measure(signal, sample_rate):
        if abs(signal.max() - 0.2) < 1e-6 and os.path.exists(place):
            raise KeyboardInterrupt
        return peak(signal, sample_rate)

    with pytest.raises(KeyboardInterrupt):
        values(corpus, measure)
    assert runs(log) == 3
    stop.unlink()
    assert values(corpus, measure) == pytest.approx(AMPLITUDES)
    assert runs(log) == 5


INTERRUPTED = """
import signal as signals, sys, time, pandas as pd
# A test run in the background of a script is started with the signal ignored.
signals.signal(signals.SIGINT, signals.default_int_handler)
from speechprobe.datasets import Corpus, _measure
from speechprobe.datasets.labels import from_sound
_measure._ALONE = _measure._WORTH = 0.0
log, paths = sys.argv[1], sys.argv[2:]
def peak(signal, sample_rate):
    with open(log, "a") as file:
        file.write("x\\n")
    time.sleep(0.02)
    return signal.max()
corpus = Corpus("mine", pd.DataFrame({"path": paths, "speaker": "s"}))
print(corpus.label("x", from_sound(peak)).column("x").sum())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_an_interrupt_from_the_keyboard_keeps_what_other_processes_measured(tmp_path, log):
    # A script without a main guard, stopped by Ctrl-C, which reaches the whole group of processes.
    corpus = constants(tmp_path / "many", [0.5] * 300)
    command = [
        sys.executable,
        "-W",
        "default::ResourceWarning",
        "-c",
        INTERRUPTED,
        log,
        *corpus.column("path"),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes["env"] = os.environ | {"LOKY_MAX_CPU_COUNT": "2"}
    first = subprocess.Popen(command, start_new_session=True, **pipes)
    give_up = time.monotonic() + 60
    while runs(log) < 150 and time.monotonic() < give_up:
        time.sleep(0.01)
    os.killpg(first.pid, signals.SIGINT)
    assert "KeyboardInterrupt" in first.communicate(timeout=60)[1]
    n_runs = runs(log)
    assert 150 <= n_runs < 300
    second = subprocess.run(command, check=True, **pipes)
    assert float(second.stdout) == 150
    assert second.stderr == ""
    # Lost is at most what was in the hands of the processes.
    assert runs(log) - 300 <= 3 * 2 * _measure._AT_ONCE
    assert runs(log) < 300 + n_runs


def test_threads_can_measure_at_once(corpus):
    label = from_sound(lambda signal, sample_rate: signal.max())
    found = joblib.Parallel(n_jobs=4, prefer="threads")(
        joblib.delayed(label)(utterance) for utterance in itertools.chain(corpus, corpus)
    )
    assert found == pytest.approx(AMPLITUDES * 2)


THREADS = """
import sys, torch
torch.set_num_threads(3)
import numpy as np
state = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
from speechprobe.datasets import Corpus, Utterance, labels
assert torch.get_num_threads() == 3
labels.pause_ratio(Utterance("a", {"path": np.array([sys.argv[1]])}, 0))
assert "silero_vad" in sys.modules
assert torch.get_num_threads() == 3, torch.get_num_threads()
assert torch.is_grad_enabled()
assert state == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
"""


def test_finding_speech_changes_nothing_of_the_process(corpus):
    command = [sys.executable, "-W", "error", "-c", THREADS, corpus["u0"].path]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("label", "module", "extra"),
    [
        (labels.pause_ratio, "silero_vad", "vad"),
        (labels.median_pitch, "parselmouth", "pitch"),
        (labels.loudness, "pyloudnorm", "loudness"),
    ],
    ids=["vad", "pitch", "loudness"],
)
def test_without_the_package_the_pip_line_is_named(corpus, monkeypatch, label, module, extra):
    labels._acoustics._silero.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'speechprobe\[{extra}\]'"):
        label(corpus["u0"])
    with pytest.raises((ImportError, ValueError), match=rf"pip install 'speechprobe\[{extra}\]'"):
        corpus.label("x", label)


@pytest.mark.parametrize("name", labels.__all__)
def test_a_label_is_documented_and_takes_an_utterance(name):
    label = getattr(labels, name)
    assert label.__name__ == name
    assert label.__doc__
    assert next(iter(inspect.signature(label).parameters)) in ("utterance", "measure")

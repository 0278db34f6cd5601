"""The code that a new user meets first: README's blocks and the examples, run as they stand."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]


def python_blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def run(code, folder, monkeypatch, **names):
    monkeypatch.chdir(folder)
    names["__name__"] = "readme"
    exec(compile(code, "README.md", "exec"), names)
    return names


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:sklearn.*")
def test_the_main_example_of_the_readme_runs_on_real_speech(shared, tmp_path, monkeypatch, capsys):
    code = python_blocks()[0]
    changes = {
        '"LibriSpeech"': repr(str(shared / "data" / "LibriSpeech")),
        "dev-clean": "test-other",
        '"openai/whisper-base"': repr(str(shared / "models" / "whisper-tiny-encoder")),
        "\nmodel    =": "\ncorpus   = corpus.sample(40, seed=0)\nmodel    =",
    }
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new, 1)
    names = run(code, tmp_path, monkeypatch)
    best = names["scores"].best()
    assert best.score > best.floor + 0.2
    assert "n_groups" in capsys.readouterr().out
    assert (tmp_path / "rate.png").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "rate.html").read_text()


@pytest.mark.filterwarnings("ignore::UserWarning:sklearn.*")
def test_the_readmes_own_extractor_and_network_run(write_sound, tmp_path, monkeypatch):
    for speaker in range(10):
        for take in range(2):
            name = f"{'FM'[speaker % 2]}{take}.wav"
            path = tmp_path / "my_sounds" / f"s{speaker}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_sound(path, seconds=0.5, frequency=100 * (1 + speaker % 2))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(1, 4), nn.Linear(4, 4)])

        def forward(self, waveforms):
            x = waveforms[..., None]
            for block in self.blocks:
                x = block(x)
            return x

    code = "import speechprobe as sp\n" + python_blocks()[1]
    names = run(code, tmp_path, monkeypatch, my_torch_module=Net().eval())
    assert names["features"]["envelope"].shape == (20, 1)
    layers = names["net"](np.zeros(16_000, np.float32))
    assert list(layers) == ["blocks.0", "blocks.1"]


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_speech_example_runs_with_the_tiny_encoder(shared, tmp_path):
    arguments = [
        shared / "data" / "LibriSpeech",
        shared / "models" / "whisper-tiny-encoder",
        *("--emodb", shared / "data" / "emodb"),
        *("--limit", 40, "--out", tmp_path),
    ]
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "whisper_librispeech.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for title in ("test-other: speaking rate", "EmoDB: emotion"):
        assert title in done.stdout
    table = (tmp_path / "whisper-tiny-encoder" / "layers.md").read_text()
    assert "| whisper-tiny-encoder | `layers.0:input` |" in table


def test_the_quickstart_tells_the_sex_of_voices_it_never_heard(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quickstart = runpy.run_path(str(ROOT / "examples" / "quickstart.py"))
    import speechprobe as sp

    corpus = sp.datasets.load_synthetic(tmp_path / "speech", n_voices=12, n_utterances=2)
    model = sp.extractors.load_crepe("tiny", hop_seconds=0.1)
    before = torch.get_rng_state()
    scores = quickstart["probe_sex"](sp.extract(corpus, model))
    assert torch.equal(before, torch.get_rng_state())
    assert scores.best().score > 0.7 > 0.6 > scores.best().floor


def test_the_corpora_example_finds_the_leak_it_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "corpora.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "1 sounds are there under several names, 1 of them in several parts" in printed
    assert "100 trials, 50 of the same speaker" in printed
    assert {"tones.csv", "tones.json"} <= {path.name for path in (tmp_path / "results").iterdir()}


def test_the_verification_example_chooses_on_other_voices(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "verification.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "Chosen on four other voices: " in told
    assert "vox-trainer-10crop" in told
    written = {path.name for path in (tmp_path / "results" / "verification").iterdir()}
    assert {"scores.json", "trials.csv", "layers.svg", "study"} <= written


@pytest.mark.slow
def test_the_example_of_speaker_training_beats_its_untrained_twin(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "speaker_training.py"), run_name="__main__")
    told = capsys.readouterr().out
    rates = dict(re.findall(r"unseen voices, (\w+): EER ([\d.]+) %", told))
    assert float(rates["trained"]) < float(rates["untrained"]) - 5


@pytest.mark.shared
@pytest.mark.slow
def test_the_serab_example_compares_two_models(shared, tmp_path, monkeypatch, capsys):
    pytest.importorskip("opensmile")
    monkeypatch.chdir(tmp_path)
    given = [shared / "models" / "byol-s-512.pth", f"emodb={shared / 'data' / 'emodb'}"]
    options = ["--no-grid", "--feature-set", "eGeMAPSv02"]
    monkeypatch.setattr(sys, "argv", ["serab.py", *map(str, given), *options])
    runpy.run_path(str(ROOT / "examples" / "serab.py"), run_name="__main__")
    assert "missing (), failed ()" in capsys.readouterr().out
    assert (tmp_path / "results" / "serab.svg").stat().st_size > 10_000


def test_the_example_of_believable_scores_finds_what_was_planted(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["believable_scores.py"])
    runpy.run_path(str(ROOT / "examples" / "believable_scores.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "Chosen on validation items: quadratic" in told
    beyond = told.split("Beyond the duration:")[1].split("With more")[0]
    by_layer = {
        row[0]: float(row[1]) for row in map(str.split, beyond.splitlines()) if len(row) == 5
    }
    assert by_layer["linear"] > 0.25 > 0.1 > by_layer["length"]


def test_the_networks_example_finds_both_networks_exact(monkeypatch, capsys):
    runpy.run_path(str(ROOT / "examples" / "networks.py"), run_name="__main__")
    printed = capsys.readouterr().out
    errors = [float(found) for found in re.findall(r"relative error of a layer (\S+)", printed)]
    assert len(errors) == 2
    assert max(errors) < 1e-4
    assert "8 utterances: 16 items" in printed


def test_the_cluster_example_extracts_and_probes_on_an_engine(tmp_path, monkeypatch, capsys):
    import speechprobe as sp

    class Here:  # tests/test_ray.py starts real clusters
        def __init__(self, num_workers, **_more):
            self.num_workers = num_workers

        def map(self, work, items):
            return map(work, items)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sp.engines, "Ray", Here)
    monkeypatch.setattr(sys, "argv", ["cluster.py", "--voices", "6"])
    runpy.run_path(str(ROOT / "examples" / "cluster.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "untrained: " in told
    assert told.count("blocks.0") == 2
    assert len(sp.load_features(tmp_path / "results" / "cluster" / "trained")) == 36

from __future__ import annotations

import importlib
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from speechprobe import _optional, audio
from speechprobe.extractors import LogMel

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def failing_torchaudio(monkeypatch):
    """Give a function that makes the import of torchaudio raise an error."""
    real = importlib.import_module

    def fail_with(error: Exception) -> None:
        def import_module(name, package=None):
            if name == "torchaudio":
                raise error
            return real(name, package)

        monkeypatch.setattr(importlib, "import_module", import_module)

    _optional.torchaudio.cache_clear()
    yield fail_with
    _optional.torchaudio.cache_clear()


def test_a_missing_package_names_the_pip_line_of_its_extra():
    with pytest.raises(ImportError, match=r"pip install 'speechprobe\[demo\]'") as caught:
        _optional.require("a_package_nobody_has", extra="demo")
    assert caught.value.name == "a_package_nobody_has"


def test_a_package_that_is_there_but_broken_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import a_package_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = r"broken_package.*does not load.*a_package_nobody_has"
    with pytest.raises(ImportError, match=message) as caught:
        _optional.require("broken_package", extra="demo")
    assert "pip install" not in str(caught.value)


def test_a_package_that_loads_is_returned():
    assert _optional.require("json", extra="demo") is importlib.import_module("json")


def test_every_extra_that_an_error_names_can_be_installed(project):
    sources = (REPOSITORY / "src").rglob("*.py")
    named = {
        extra
        for source in sources
        for extra in re.findall(r"extra=\"(\w+)\"", source.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("kind", [ImportError, OSError, RuntimeError])
def test_a_torchaudio_that_does_not_fit_names_both_versions_and_the_remedy(
    failing_torchaudio, project, kind
):
    failing_torchaudio(kind("undefined symbol: aoti_torch"))
    with pytest.raises(ImportError, match="undefined symbol: aoti_torch") as caught:
        _optional.torchaudio()
    found, remedy = str(caught.value).split("pip install")
    for name in ("torch", "torchaudio"):
        assert f"{name} {version(name)}" in found
        (required,) = (line for line in project["dependencies"] if line.startswith(f"{name}>="))
        assert required in remedy


def test_reading_and_resampling_need_no_torchaudio(failing_torchaudio, tmp_path, write_sound):
    path = write_sound(tmp_path / "a.wav", 0.5, 8_000)
    failing_torchaudio(ImportError("no"))
    assert len(audio.read(path)) == 4_000
    assert len(audio.read(path, 16_000)) == 8_000


def test_a_front_end_without_torchaudio_says_so_and_works_again_once_mended(
    failing_torchaudio, monkeypatch
):
    front = LogMel(n_mels=37)  # a table that no other test has made
    waveforms = torch.zeros(1, 16_000)
    failing_torchaudio(ImportError("no"))
    with pytest.raises(ImportError, match="pip install"):
        front(waveforms)
    monkeypatch.undo()
    assert front(waveforms).shape == (1, 98, 37)

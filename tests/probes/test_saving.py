"""A probe comes back from its file as it went in, and no file runs code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator, is_regressor
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from speechprobe.probes import LogisticProbe, RidgeProbe, TorchMLPClassifier, TorchMLPRegressor
from speechprobe.probes.saving import load, save

PROBES = [
    RidgeProbe(),
    TorchMLPRegressor((6,), epochs=2, validation_fraction=0.2),
    LogisticProbe([0.1, 1.0], n_folds=2),
    TorchMLPClassifier((6,), epochs=2, batch_norm=True),
    make_pipeline(PCA(3), LogisticProbe()),
]


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 5))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "probe.safetensors"


def fitted(probe, X):
    numbers = X[:, 0] + X[:, 1] ** 2
    return probe.fit(X, numbers if is_regressor(probe) else np.where(numbers > 1, "F", "M"))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: str(type(probe)))
def test_a_fitted_probe_comes_back_whole(probe, X, path):
    probe = fitted(probe, X)
    save(probe, path)
    again = load(path)
    assert type(again) is type(probe)
    assert repr(again) == repr(probe)
    np.testing.assert_array_equal(again.predict(X), probe.predict(X))
    if not is_regressor(probe):
        np.testing.assert_array_equal(again.predict_proba(X), probe.predict_proba(X))
        assert again.classes_.dtype == probe.classes_.dtype
    if hasattr(probe, "curves_"):
        pd.testing.assert_frame_equal(again.curves_, probe.curves_)
    assert again.get_params().keys() == probe.get_params().keys()
    fitted(again, X).predict(X)


def test_a_probe_saves_itself_fitted_or_not(X, path):
    TorchMLPRegressor((3, 4), learning_rate=0.5, patience=7).save(path)
    assert load(path).get_params() == (
        TorchMLPRegressor((3, 4), learning_rate=0.5, patience=7).get_params()
    )


def test_names_of_columns_are_kept(X, path):
    table = pd.DataFrame(X, columns=list("abcde"))
    save(RidgeProbe().fit(table, X[:, 0]), path)
    assert load(path).feature_names_in_.tolist() == list("abcde")


def test_the_file_is_safetensors_and_json(X, path):
    save(fitted(RidgeProbe(), X), path)
    with safe_open(path, framework="np") as opened:
        assert opened.get_tensor("RidgeProbe.coef_").shape == (5,)
        text = json.loads(opened.metadata()["speechprobe"])
    assert text["probe"]["object"][0] == "speechprobe.probes.ridge:RidgeProbe"
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(path.read_bytes())


class OwnProbe(BaseEstimator):
    """None of the library's."""


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (OwnProbe(), r"OwnProbe cannot be saved or loaded; expected an estimator"),
        (RidgeProbe(alphas=abs), r"RidgeProbe.alphas is builtins.builtin_function_or_method"),
        (RidgeProbe(alphas=np.array([abs])), r"RidgeProbe.alphas is an array of object"),
        (make_pipeline(OwnProbe()), r"OwnProbe cannot be saved"),
        (RidgeProbe(alphas={1: 2}), r"RidgeProbe.alphas is builtins.dict"),
    ],
)
def test_what_would_need_code_is_refused_and_leaves_no_file(probe, message, path):
    with pytest.raises(TypeError, match=message):
        save(probe, path)
    assert not path.exists()


def written(path, text):
    save_file({}, path, metadata={"speechprobe": json.dumps(text)})
    return path


@pytest.mark.parametrize(
    "kind",
    ["os:system", "subprocess:Popen", "speechprobe.probes.saving:load", "sklearn.base:clone",
     "sklearn.utils._testing:TempMemmap", "speechprobe.probes.saving:BaseEstimator.fit"],
)  # fmt: skip
def test_a_file_names_estimators_only(kind, path):
    text = {"format": 1, "probe": {"object": [kind, {"dict": {}}]}}
    with pytest.raises(ValueError, match="cannot be saved or loaded"):
        load(written(path, text))


def test_a_wrong_file_is_told(tmp_path, path):
    with pytest.raises(FileNotFoundError, match="there is no probe at"):
        load(path)
    Path(path).write_text("no tensors", encoding="utf-8")
    with pytest.raises(ValueError, match="is no safetensors file"):
        load(path)
    save_file({"x": np.zeros(2)}, path)
    with pytest.raises(ValueError, match="holds tensors but no probe"):
        load(path)
    text = {"format": 99, "versions": {"speechprobe": "9.9"}, "probe": None}
    with pytest.raises(ValueError, match=r"format 99 .* written by speechprobe 9.9: update"):
        load(written(path, text))

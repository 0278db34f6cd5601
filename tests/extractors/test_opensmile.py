"""openSMILE's features as an extractor, against the opensmile package's own reading of files."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from speechprobe.extractors import check_extractor
from speechprobe.extractors.opensmile import OpenSmile

# Published: 6373 functionals of 65 descriptors (ComParE), 88 of 25 (eGeMAPSv02), 62 of 18 (GeMAPS),
# 988 of 26 (emobase), and those of the Interspeech challenges of 2009 to 2013.
SIZES = {
    "ComParE_2016": (65, 65, 6373),
    "eGeMAPSv02": (25, None, 88),
    "GeMAPSv01b": (18, None, 62),
    "emobase": (26, 26, 988),
    "IS09": (16, 16, 384),
    "IS10": (38, 38, 1582),
    "IS11": (59, 59, 4368),
    "IS12": (64, 64, 6125),
    "IS13": (65, 65, 6373),
}
LEVELS = ("lld", "lld_de", "functionals")
SHORTEST = {"IS09": 0.025, "emobase": 0.040, "IS10": 0.070, "IS11": 0.070, "IS12": 0.070}


@pytest.fixture(scope="module")
def opensmile():
    return pytest.importorskip("opensmile")


@pytest.fixture(scope="module")
def compare(opensmile):
    return OpenSmile()


@pytest.fixture(scope="module")
def signal():
    """Make a voice-like sound of 16-bit samples: harmonics of a gliding pitch, and pauses."""
    time = np.arange(24_000) / 16_000
    phase = 2 * np.pi * (120 * time + 20 * time**2)
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * (np.sin(4 * np.pi * time) > -0.3)
    noise = np.random.default_rng(0).normal(scale=0.003, size=len(time))
    return (np.round((0.2 * voice + noise) * 32_768) / 32_768).astype("float32")


@pytest.fixture(scope="module")
def file(signal, tmp_path_factory):
    path = tmp_path_factory.mktemp("smile") / "voice.wav"
    soundfile.write(path, signal, 16_000, subtype="PCM_16")
    return path


# Parity


@pytest.mark.parametrize("feature_set", SIZES)
def test_features_are_those_that_the_package_reads_from_the_file(
    opensmile, feature_set, file, signal
):
    layers = OpenSmile(feature_set, "*")(signal)
    widths = dict(zip(LEVELS, SIZES[feature_set], strict=True))
    assert {k: x.shape[1] for k, x in layers.items()} == {k: n for k, n in widths.items() if n}
    for layer, frames in layers.items():
        level = opensmile.FeatureLevel({"functionals": "func"}.get(layer, layer))
        expected = opensmile.Smile(opensmile.FeatureSet[feature_set], level).process_file(file)
        np.testing.assert_array_equal(frames, expected.to_numpy())
        assert frames.dtype == np.float32


@pytest.mark.shared
@pytest.mark.parametrize("feature_set", ["ComParE_2016", "eGeMAPSv02"])
def test_features_of_real_speech_are_the_packages_too(opensmile, shared, feature_set):
    path = sorted((shared / "data" / "emodb" / "wav").glob("*.wav"))[0]
    smile = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel.Functionals)
    expected = smile.process_file(path)
    extractor = OpenSmile(feature_set)
    found = extractor(soundfile.read(path, dtype="float32")[0])["functionals"]
    np.testing.assert_array_equal(found, expected.to_numpy())
    assert extractor.feature_names["functionals"] == tuple(expected.columns)


def test_the_short_names_are_todays_versions(opensmile, signal):
    """The package's own "eGeMAPS" is the first version."""
    for short, today in (("eGeMAPS", "eGeMAPSv02"), ("GeMAPS", "GeMAPSv01b")):
        extractor, expected = OpenSmile(short), OpenSmile(today)
        assert extractor.provenance == expected.provenance
        np.testing.assert_array_equal(
            extractor(signal)["functionals"], expected(signal)["functionals"]
        )
    with pytest.warns(UserWarning, match="deprecated"):
        first = OpenSmile("eGeMAPSv01a", "lld")
    assert first(signal)["lld"].shape[1] == 23 != SIZES["eGeMAPSv02"][0]


# What the numbers are


def test_the_pitch_of_a_voice_is_named_and_found(opensmile, signal):
    """Semitones over 27.5 Hz of a glide from 120 Hz, 40 Hz a second."""
    extractor = OpenSmile("eGeMAPS", "lld")
    pitch = extractor.feature_names["lld"].index("F0semitoneFrom27.5Hz_sma3nz")
    track = extractor(signal)["lld"][:, pitch]
    time = 0.010 * np.arange(len(track)) + 0.030
    expected = 12 * np.log2((120 + 40 * time) / 27.5)
    voiced = track > 0
    assert voiced.mean() > 0.5
    assert np.median(np.abs(track - expected)[voiced]) < 0.2


def test_the_mean_among_the_functionals_is_that_of_the_descriptor(opensmile, signal):
    extractor = OpenSmile("eGeMAPS", "*")
    layers, names = extractor(signal), extractor.feature_names
    one = layers["functionals"][0, names["functionals"].index("loudness_sma3_amean")]
    track = layers["lld"][:, names["lld"].index("Loudness_sma3")]
    assert one == pytest.approx(track.mean(), rel=0.05)


def test_samples_over_full_scale_stay_at_full_scale(compare, signal):
    """At 1.0 the package wraps around to the most negative sample."""
    loud = (signal / np.abs(signal).max()).astype("float32")
    assert loud.max() == 1.0 or loud.min() == -1.0
    loud = loud if loud.max() == 1.0 else -loud
    at_scale = loud.clip(-1, 32_767 / 32_768)
    expected = compare(at_scale)["functionals"]
    np.testing.assert_array_equal(compare(loud)["functionals"], expected)
    over = np.where(loud == 1.0, np.float32(1.5), loud)
    np.testing.assert_array_equal(compare(over)["functionals"], expected)


def test_another_sample_rate_reaches_opensmile(opensmile, signal):
    """The same samples at half the rate last twice as long."""
    slow = OpenSmile("eGeMAPS", "lld", sample_rate=8000)
    fast = OpenSmile("eGeMAPS", "lld")
    assert slow.sample_rate == 8000
    assert len(slow(signal)["lld"]) == pytest.approx(2 * len(fast(signal)["lld"]), abs=6)


# The extractor


@pytest.mark.parametrize("feature_set", ["ComParE_2016", "eGeMAPS"])
def test_it_keeps_the_rules_of_extractors(opensmile, feature_set):
    check_extractor(OpenSmile(feature_set, "*"))


def test_layers_are_given_in_one_order_and_named(opensmile, signal):
    extractor = OpenSmile("emobase", ["functionals", "lld"])
    layers = extractor(signal)
    assert extractor.layers == tuple(layers) == ("lld", "functionals")
    for layer, names in extractor.feature_names.items():
        assert len(names) == len(set(names)) == layers[layer].shape[1]
    assert layers["functionals"].shape == (1, 988)
    assert len(layers["lld"]) == pytest.approx(150, abs=5)
    assert extractor.name == "opensmile-emobase"


def test_a_copy_and_threads_give_the_same_numbers(compare, signal):
    signals = [signal[: 8000 + 500 * k] for k in range(16)]
    expected = [compare(one)["functionals"] for one in signals]
    copy = pickle.loads(pickle.dumps(compare))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: copy(one)["functionals"], signals))
    np.testing.assert_array_equal(found, expected)
    assert copy.provenance == compare.provenance


def test_what_changes_the_numbers_is_kept_in_the_provenance(opensmile):
    told = [
        OpenSmile(*given, **settings).provenance
        for given, settings in (
            ((), {}),
            (("IS13",), {}),
            (("ComParE_2016", "*"), {}),
            ((), {"sample_rate": 8000}),
        )
    ]
    assert all(one != other for k, one in enumerate(told) for other in told[:k])
    assert {one["package"] for one in told} == {f"opensmile {opensmile.__version__}"}
    assert [one["feature_set"] for one in told] == ["ComParE_2016", "IS13", *["ComParE_2016"] * 2]


# What is refused


@pytest.mark.parametrize("feature_set", SIZES)
def test_a_signal_shorter_than_the_longest_window_is_refused(opensmile, feature_set, signal):
    """At that length the package itself begins to give numbers; below, NaN and a warning."""
    n_samples = round(16_000 * SHORTEST.get(feature_set, 0.060))
    extractor = OpenSmile(feature_set)
    assert np.isfinite(extractor(signal[:n_samples])["functionals"]).all()
    with pytest.raises(ValueError, match=rf"{n_samples - 1} samples is shorter.*at 16000 Hz"):
        extractor(signal[: n_samples - 1])
    smile = opensmile.Smile(opensmile.FeatureSet[feature_set])
    with pytest.warns(UserWarning, match="too short"):
        assert np.isnan(smile(signal[: n_samples - 1], 16_000)).all()


def test_the_shortest_signal_follows_the_sample_rate(opensmile, signal):
    extractor = OpenSmile("IS09", sample_rate=44_100)
    assert extractor(signal[:1103])["functionals"].shape == (1, 384)
    with pytest.raises(ValueError, match="25 ms at 44100 Hz"):
        extractor(signal[:1102])


def test_nan_from_opensmile_is_an_error(opensmile, signal, monkeypatch):
    extractor = OpenSmile("IS09", "lld")
    gave = np.full((1, 16, 3), np.nan, np.float32)
    monkeypatch.setattr(extractor, "_runs", {"lld": lambda _samples, _rate: gave})
    with pytest.raises(ValueError, match="NaN or infinity in 'lld' of a signal of 24000 samples"):
        extractor(signal)


def test_signals_that_are_no_floats_of_one_axis_or_hold_nan_are_refused(compare, signal):
    with pytest.raises(TypeError, match=r"got int16 of shape \(24000,\); divide 16-bit"):
        compare((32_768 * signal).astype("int16"))
    with pytest.raises(TypeError, match=r"float32 of shape \(1, 24000\)"):
        compare(signal[None])
    for value in (np.nan, np.inf):
        broken = signal.copy()
        broken[7] = value
        with pytest.raises(ValueError, match="the signal holds NaN or infinity"):
            compare(broken)


def test_unknown_names_are_refused_with_the_known_ones(opensmile):
    with pytest.raises(ValueError, match=r"'ComParE_2016'.*'eGeMAPS'.*got 'egemaps'"):
        OpenSmile("egemaps")
    with pytest.raises(ValueError, match=r"no layer matches 'func'; near names are"):
        OpenSmile(level="func")
    with pytest.raises(ValueError, match="no layer matches 'lld_de'"):
        OpenSmile("eGeMAPS", "lld_de")


def test_a_missing_package_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(
        ImportError, match=r"opensmile is missing.*pip install 'speechprobe\[opensmile\]'"
    ):
        OpenSmile()

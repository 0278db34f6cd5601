from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma

from speechprobe.datasets import Corpus, _acoustics, labels, load_emodb
from speechprobe.datasets._text import n_alphanumeric


def utterance(**values):
    row = {"path": ["a.wav"], "speaker": ["s"]} | {key: [value] for key, value in values.items()}
    return Corpus("one", pd.DataFrame(row, index=["a"]))["a"]


@given(
    spoken=st.text("abzÄßéжあ0189", min_size=1, max_size=30),
    unspoken=st.text(" '.,-!?\n", max_size=30),
    seconds=st.floats(0.1, 60),
)
def test_speaking_rate_counts_letters_and_digits_only(spoken, unspoken, seconds):
    # Spread what is not spoken between the characters that are.
    text = "".join(map("".join, zip(spoken, unspoken, strict=False)))
    text += spoken[len(unspoken) :] + unspoken[len(spoken) :]
    rate = labels.speaking_rate(utterance(text=text, duration=seconds))
    assert rate == pytest.approx(len(spoken) / seconds)


def test_speaking_rate_takes_the_length_from_the_file_where_the_table_has_none(
    tmp_path, write_sound
):
    path = write_sound(tmp_path / "a.wav", 0.5)
    assert labels.speaking_rate(utterance(path=str(path), text="Well, yes.")) == 14


@pytest.mark.parametrize("values", [{}, {"text": None}, {"text": np.nan}, {"text": " \n"}])
def test_speaking_rate_without_a_transcript_says_what_it_needs(values):
    with pytest.raises(ValueError, match="transcript in the label 'text'"):
        labels.speaking_rate(utterance(duration=1.0, **values))


def test_a_label_that_does_not_exist_names_the_utterance():
    table = pd.DataFrame(
        {"path": "x.wav", "speaker": "s", "text": ["hi", None], "duration": 1.0}, index=["a", "b"]
    )
    with pytest.raises(ValueError, match=r"'rate' failed on utterance 'b'.*transcript"):
        Corpus("two", table).label("rate", labels.speaking_rate)


@pytest.mark.parametrize(
    ("stated", "letter"),
    [
        *(("F", "F"), ("f", "F"), ("female", "F"), (" Female ", "F")),
        *(("M", "M"), ("m", "M"), ("MALE", "M")),
    ],
)
def test_gender_is_one_letter(stated, letter):
    assert labels.gender(utterance(gender=stated)) == letter


@pytest.mark.parametrize("values", [{}, *({"gender": v} for v in (None, np.nan, pd.NA, "", "x"))])
def test_a_gender_that_is_not_stated_is_not_guessed(values):
    with pytest.raises(ValueError, match="'F' or 'M'"):
        labels.gender(utterance(**values))


def test_duration_is_in_seconds():
    assert labels.duration(utterance(duration=2.5)) == 2.5


TRANSCRIPTS = st.text("abz ÄßéжあĀ٣½²0189 '.,-!?\n\t", max_size=30).filter(str.strip)


@given(text=st.text())
def test_letters_and_digits_are_counted_as_python_knows_them(text):
    assert n_alphanumeric(text) == sum(map(str.isalnum, text))


@given(text=st.text(st.characters(max_codepoint=127)))
def test_letters_and_digits_of_ascii_are_counted_as_python_knows_them(text):
    assert n_alphanumeric(text) == sum(map(str.isalnum, text))


@given(text=TRANSCRIPTS)
def test_text_length_is_the_speaking_rate_times_the_duration(text):
    rate = labels.speaking_rate(utterance(text=text, duration=2.5))
    length = labels.text_length(utterance(text=text))
    assert isinstance(length, int)
    assert rate * 2.5 == pytest.approx(length)


@given(
    words=st.lists(st.text("abzÄ'-.0", min_size=1, max_size=8), min_size=1, max_size=20),
    spaces=st.sampled_from([" ", "  ", "\n", " \t "]),
    seconds=st.floats(0.1, 60),
)
def test_words_are_parted_by_white_space(words, spaces, seconds):
    text = spaces + spaces.join(words) + spaces
    rate = labels.words_per_second(utterance(text=text, duration=seconds))
    assert rate == pytest.approx(len(words) / seconds)


@pytest.mark.parametrize("values", [{}, {"text": None}, {"text": np.nan}, {"text": " \n"}])
@pytest.mark.parametrize("name", ["words_per_second", "text_length", "articulation_rate"])
def test_labels_of_the_text_say_what_they_need(tmp_path, write_sound, name, values):
    path = write_sound(tmp_path / "a.wav", 1.0)
    with pytest.raises(ValueError, match=rf"{name} needs a transcript in the label 'text'"):
        getattr(labels, name)(utterance(path=str(path), duration=1.0, **values))


def sound(path, samples, sample_rate, **values):
    """Write samples as they are, and return their utterance."""
    soundfile.write(path, np.asarray(samples, np.float32), sample_rate, subtype="FLOAT")
    return utterance(path=str(path), **values)


def seconds_of(duration, sample_rate):
    return np.arange(round(duration * sample_rate)) / sample_rate


def white_noise(n_samples, deviation=0.1, seed=0):
    return np.random.default_rng(seed).normal(scale=deviation, size=n_samples)


@pytest.fixture(scope="module")
def spoken(shared):
    """Give every eighth recording of the real EmoDB."""
    corpus = load_emodb(shared / "data/emodb")
    return corpus.select(np.arange(len(corpus)) % 8 == 0)


class TestPauses:
    def test_noise_is_all_pause_and_has_no_articulation_rate(self, tmp_path):
        quiet = sound(tmp_path / "a.wav", white_noise(32_000, 0.001), 16_000, text="nothing")
        assert labels.pause_ratio(quiet) == 1
        assert math.isnan(labels.articulation_rate(quiet))

    def test_a_sound_shorter_than_any_word_is_all_pause(self, tmp_path):
        short = sound(tmp_path / "a.wav", white_noise(20), 16_000, text="x")
        assert labels.pause_ratio(short) == 1
        assert math.isnan(labels.articulation_rate(short))

    @pytest.mark.shared
    def test_who_pauses_articulates_faster_than_he_speaks(self, spoken):
        corpus = spoken.label("pauses", labels.pause_ratio)
        corpus = corpus.label("articulation", labels.articulation_rate)
        pauses, articulation = corpus.column("pauses"), corpus.column("articulation")
        speaking = corpus.label("speaking", labels.speaking_rate).column("speaking")
        assert ((pauses >= 0) & (pauses <= 1)).all()
        assert (articulation >= speaking * (1 - 1e-12)).all()
        # Both say the same of the time that is speech.
        np.testing.assert_allclose(speaking / articulation, 1 - pauses, rtol=1e-9)

    @pytest.mark.shared
    def test_the_speech_found_is_about_what_was_labelled_by_hand(self, spoken):
        corpus = spoken.label("pauses", labels.pause_ratio)
        found = (1 - corpus.column("pauses")) * corpus.column("duration")
        labelled = [u["syllables"][-1].end - u["syllables"][0].start for u in corpus]
        assert 0.9 < np.median(found / labelled) < 1.1

    @pytest.mark.shared
    @pytest.mark.parametrize("where", ["before", "after"])
    def test_two_seconds_of_silence_are_two_seconds_of_pause(self, spoken, tmp_path, where):
        for original in list(spoken)[::10]:
            signal, silence = original.signal(16_000), np.zeros(32_000, np.float32)
            parts = [silence, signal] if where == "before" else [signal, silence]
            padded = sound(
                tmp_path / f"{original.id}.wav",
                np.concatenate(parts),
                16_000,
                text=original["text"],
            )
            speech = (1 - labels.pause_ratio(original)) * original.duration
            expected = 1 - speech / (original.duration + 2)
            assert labels.pause_ratio(padded) == pytest.approx(expected, abs=0.04)
            assert labels.articulation_rate(padded) == pytest.approx(
                labels.articulation_rate(original), rel=0.1
            )
            assert labels.speaking_rate(padded) < labels.speaking_rate(original)

    @pytest.mark.shared
    def test_a_pause_in_the_middle_counts(self, spoken, tmp_path):
        first, second = spoken[spoken.table.index[0]], spoken[spoken.table.index[1]]
        silence = np.zeros(16_000, np.float32)
        samples = np.concatenate([first.signal(16_000), silence, second.signal(16_000)])
        both = sound(tmp_path / "a.wav", samples, 16_000)
        speech = sum((1 - labels.pause_ratio(each)) * each.duration for each in (first, second))
        assert labels.pause_ratio(both) == pytest.approx(1 - speech / both.duration, abs=0.05)

    @pytest.mark.shared
    def test_the_files_rate_makes_no_difference(self, spoken, tmp_path):
        original = spoken[spoken.table.index[0]]
        higher = sound(tmp_path / "a.wav", original.signal(44_100), 44_100)
        assert labels.pause_ratio(higher) == pytest.approx(labels.pause_ratio(original), abs=0.03)

    @pytest.mark.shared
    def test_what_was_heard_before_makes_no_difference(self, spoken):
        # The network has a memory, which must begin empty with each recording.
        first, second = (spoken[key].signal(16_000) for key in spoken.table.index[:2])
        alone = _acoustics.speech_seconds(second, 16_000)
        _acoustics.speech_seconds(first, 16_000)
        assert _acoustics.speech_seconds(second, 16_000) == alone


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 44_100])
class TestPitch:
    @pytest.mark.parametrize("frequency", [100, 150, 220, 310, 400])
    @pytest.mark.parametrize("kind", ["sine", "pulses"])
    def test_the_pitch_of_a_steady_sound_is_its_frequency(
        self, tmp_path, sample_rate, frequency, kind
    ):
        time = seconds_of(1.0, sample_rate)
        harmonics = range(1, 2 if kind == "sine" else int(min(sample_rate / 2, 5000) / frequency))
        samples = sum(np.cos(2 * np.pi * k * frequency * time) for k in harmonics)
        steady = sound(tmp_path / "a.wav", 0.5 * samples / len(harmonics), sample_rate)
        assert labels.median_pitch(steady) == pytest.approx(frequency, rel=0.003)
        assert labels.pitch_range(steady) == pytest.approx(0, abs=0.02)

    @pytest.mark.parametrize("lowest", [90, 200])
    def test_the_range_of_a_glide_over_an_octave_is_nine_tenths_of_it(
        self, tmp_path, sample_rate, lowest
    ):
        time = seconds_of(2.0, sample_rate)
        phase = lowest * 2 / np.log(2) * 2 ** (time / 2)  # of a pitch of lowest * 2 ** (time / 2)
        glide = sound(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * phase), sample_rate)
        # From the 5th to the 95th percentile; the frames begin and end half a window inside.
        assert labels.pitch_range(glide) == pytest.approx(0.9 * 12, abs=0.3)
        assert labels.median_pitch(glide) == pytest.approx(lowest * np.sqrt(2), rel=0.01)

    def test_pauses_have_no_pitch(self, tmp_path, sample_rate):
        tone = 0.5 * np.sin(2 * np.pi * 150 * seconds_of(0.5, sample_rate))
        samples = np.concatenate([tone, white_noise(sample_rate, 1e-4), tone])
        paused = sound(tmp_path / "a.wav", samples, sample_rate)
        assert labels.median_pitch(paused) == pytest.approx(150, rel=0.005)

    def test_a_short_cry_far_above_the_rest_is_in_the_range(self, tmp_path, sample_rate):
        pause = white_noise(round(0.2 * sample_rate), 1e-4)
        parts = []
        for pitch, duration in ((120, 0.8), (270, 0.4), (120, 0.8)):
            parts += [0.5 * np.sin(2 * np.pi * pitch * seconds_of(duration, sample_rate)), pause]
        cry = sound(tmp_path / "a.wav", np.concatenate(parts), sample_rate)
        assert labels.median_pitch(cry) == pytest.approx(120, rel=0.005)
        assert labels.pitch_range(cry) == pytest.approx(12 * np.log2(270 / 120), abs=0.1)

    def test_noise_has_no_pitch(self, tmp_path, sample_rate):
        hiss = sound(tmp_path / "a.wav", white_noise(sample_rate), sample_rate)
        assert math.isnan(labels.median_pitch(hiss))
        assert math.isnan(labels.pitch_range(hiss))

    @pytest.mark.parametrize("n_samples", [1, 10, 160])
    def test_a_sound_shorter_than_the_window_has_no_pitch(self, tmp_path, sample_rate, n_samples):
        tone = 0.5 * np.cos(2 * np.pi * 150 * np.arange(n_samples) / sample_rate)
        short = sound(tmp_path / "a.wav", tone, sample_rate)
        assert math.isnan(labels.median_pitch(short))
        assert math.isnan(labels.pitch_range(short))

    def test_a_sound_just_about_as_long_as_the_window_fails_in_no_way(self, tmp_path, sample_rate):
        for n_samples in range(round(0.0595 * sample_rate), round(0.0605 * sample_rate), 3):
            tone = 0.5 * np.cos(2 * np.pi * 150 * np.arange(n_samples) / sample_rate)
            pitch = labels.median_pitch(sound(tmp_path / f"{n_samples}.wav", tone, sample_rate))
            assert math.isnan(pitch) or pitch == pytest.approx(150, rel=0.02)


@pytest.mark.shared
def test_the_pitch_of_neutral_speech_is_that_of_men_and_women(shared):
    corpus = load_emodb(shared / "data/emodb")
    corpus = corpus.select(corpus.column("emotion") == "neutral")
    medians = corpus.label("pitch", labels.median_pitch).table.groupby(["gender", "speaker"])
    medians = medians["pitch"].median()
    assert medians["M"].between(95, 145).all()
    assert medians["F"].between(160, 205).all()
    assert (len(medians["M"]), len(medians["F"])) == (5, 5)


class TestLoudness:
    @pytest.mark.parametrize("sample_rate", [16_000, 44_100, 48_000])
    def test_a_full_scale_sine_has_the_loudness_of_the_standard(self, tmp_path, sample_rate):
        # BS.1770: a 997 Hz sine of full scale in one channel has -3.01 LUFS.
        samples = np.sin(2 * np.pi * 997 * seconds_of(2.0, sample_rate))
        level = labels.loudness(sound(tmp_path / "a.wav", samples, sample_rate))
        assert level == pytest.approx(-3.01, abs=0.1)

    @pytest.mark.parametrize("factor", [0.1, 0.5, 2.0])
    def test_it_follows_the_amplitude_in_decibels(self, tmp_path, factor):
        samples = white_noise(32_000)
        before = labels.loudness(sound(tmp_path / "a.wav", samples, 16_000))
        after = labels.loudness(sound(tmp_path / "b.wav", factor * samples, 16_000))
        assert after - before == pytest.approx(20 * np.log10(factor), abs=0.01)

    def test_pauses_do_not_make_a_recording_quieter(self, tmp_path):
        tone = 0.5 * np.sin(2 * np.pi * 500 * seconds_of(3.0, 16_000))
        gated = np.concatenate([tone, white_noise(48_000, 1e-4)])
        before = labels.loudness(sound(tmp_path / "a.wav", tone, 16_000))
        after = labels.loudness(sound(tmp_path / "b.wav", gated, 16_000))
        # The mean over the whole would be 3 dB less.
        assert after == pytest.approx(before, abs=0.5)

    @pytest.mark.parametrize("sample_rate", [8_000, 11_025, 16_000, 44_100])
    def test_less_than_the_window_has_none(self, tmp_path, sample_rate):
        window = math.ceil(0.4 * sample_rate)
        short = sound(tmp_path / "a.wav", white_noise(window - 1), sample_rate)
        assert math.isnan(labels.loudness(short))
        enough = sound(tmp_path / "b.wav", white_noise(window), sample_rate)
        assert math.isfinite(labels.loudness(enough))

    def test_what_nobody_hears_has_none(self, tmp_path):
        faint = sound(tmp_path / "a.wav", white_noise(16_000, 1e-6), 16_000)
        assert math.isnan(labels.loudness(faint))

    def test_silence_has_none(self, tmp_path):
        silent = sound(tmp_path / "a.wav", np.zeros(16_000), 16_000)
        with pytest.warns(UserWarning, match="digital silence"):
            assert math.isnan(labels.loudness(silent))


def simulated_speech(n_samples, ratio, seed):
    """Return what WADA-SNR assumes: amplitudes of a gamma distribution, and Gaussian noise."""
    generator = np.random.default_rng(seed)
    speech = generator.gamma(0.4, size=n_samples) * generator.choice([-1, 1], size=n_samples)
    noise = generator.normal(size=n_samples)
    return speech + noise * np.sqrt(np.mean(speech**2) / 10 ** (ratio / 10))


class TestSnr:
    @pytest.mark.parametrize("ratio", [-5, 0, 5.5, 10, 20, 30])
    def test_the_ratio_of_simulated_speech_is_found(self, ratio):
        signal = simulated_speech(4_000_000, ratio, seed=1)
        assert _acoustics.wada_snr(signal, 16_000) == pytest.approx(ratio, abs=0.15)

    @pytest.mark.parametrize(
        ("ratio", "published"), [(0, 0.46221), (10, 0.66751), (20, 0.95655), (30, 1.19704)]
    )
    def test_the_curve_is_the_published_one(self, ratio, published):
        ratios, statistics = _acoustics.wada_curve()
        assert np.interp(ratio, ratios, statistics) == pytest.approx(published, abs=0.004)

    def test_the_curve_rises_between_noise_and_clean_speech(self):
        ratios, statistics = _acoustics.wada_curve()
        assert (np.diff(statistics) > 0).all()
        assert (ratios[0], ratios[-1]) == (-20, 100)
        # ln E|z| - E ln|z| of Gaussian noise, and of gamma-distributed amplitudes.
        gaussian = np.log(np.sqrt(2 / np.pi)) + (np.euler_gamma + np.log(2)) / 2
        assert statistics[0] == pytest.approx(gaussian, abs=1e-3)
        assert statistics[-1] == pytest.approx(np.log(0.4) - digamma(0.4), abs=0.02)

    @pytest.mark.parametrize("factor", [1e-3, 0.5, 2.0])
    def test_the_level_does_not_matter(self, tmp_path, factor):
        samples = 0.1 * simulated_speech(50_000, 10, seed=2)
        before = labels.snr(sound(tmp_path / "a.wav", samples, 16_000))
        after = labels.snr(sound(tmp_path / "b.wav", factor * samples, 16_000))
        assert after == pytest.approx(before, abs=1e-3)

    def test_it_never_leaves_its_range(self, tmp_path):
        noise = labels.snr(sound(tmp_path / "a.wav", white_noise(50_000), 16_000))
        peaks = np.zeros(50_000)
        peaks[::100] = np.logspace(-8, 0, 500)
        clean = labels.snr(sound(tmp_path / "b.wav", peaks, 16_000))
        flat = labels.snr(sound(tmp_path / "c.wav", np.full(50_000, 0.5), 16_000))
        assert -20 <= noise < 0
        assert (clean, flat) == (100, -20)

    def test_samples_of_zero_are_left_out(self, tmp_path):
        samples = 0.1 * simulated_speech(50_000, 10, seed=3)
        padded = np.concatenate([np.zeros(20_000), samples])
        before = labels.snr(sound(tmp_path / "a.wav", samples, 16_000))
        after = labels.snr(sound(tmp_path / "b.wav", padded, 16_000))
        assert after == pytest.approx(before, abs=1e-6)

    def test_silence_has_none(self, tmp_path):
        silent = sound(tmp_path / "a.wav", np.zeros(16_000), 16_000)
        with pytest.warns(UserWarning, match="digital silence"):
            assert math.isnan(labels.snr(silent))

    @pytest.mark.shared
    def test_noise_added_to_real_speech_is_heard(self, spoken):
        ratios = np.array([0, 5, 10, 15, 20])
        for original in list(spoken)[::8]:
            signal = original.signal(16_000).astype(float)
            noise = white_noise(len(signal), np.sqrt(np.mean(signal**2)))
            found = [
                _acoustics.wada_snr(signal + noise * 10 ** (-ratio / 20), 16_000)
                for ratio in ratios
            ]
            assert (np.diff(found) > 2).all()
            np.testing.assert_allclose(found[:3], ratios[:3], atol=3)

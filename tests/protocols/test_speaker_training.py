"""Speaker networks trained from scratch: what they learn, and runs that are stopped anywhere."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import speechprobe as sp
from speechprobe.datasets import Corpus, make_trials
from speechprobe.extractors import MelSpectrogram, load_voxceleb_trainer, standardise
from speechprobe.extractors.nets import ResNetSE34L
from speechprobe.metrics import cosine_scores, equal_error_rate
from speechprobe.probes.losses import AngleProto
from speechprobe.protocols._speaker.batches import batches, plan_epoch
from speechprobe.protocols._speaker.files import find
from speechprobe.protocols.speaker_training import SpeakerTraining, train_speaker_net

RATE = 16_000
MELS = MelSpectrogram(24, n_fft=512, log_offset=1e-6)
SMALL = SpeakerTraining(
    epochs=4, n_speakers=4, crop_seconds=0.3, rounds=2, held_out=0.25, n_trials=40, seed=3
)


class Small(nn.Module):
    """Two convolutions, dropout, the mean over time."""

    def __init__(self, dropout=0.1):
        super().__init__()
        self.conv1 = nn.Conv1d(24, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv1d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, 8)

    def forward(self, features):
        x = self.bn1(torch.relu(self.conv1(features.mT)))
        x = torch.relu(self.conv2(self.dropout(x)))
        return self.fc(x.mean(-1))


class Scaled(Small):
    """Embeddings that are none: NaN, or zeros."""

    def __init__(self, scale):
        super().__init__()
        self._scale = scale

    def forward(self, features):
        return super().forward(features) * self._scale


def write_voices(root, n_speakers, n_files, *, seed=0, seconds=0.7, rate=RATE):
    """Write noise through two resonances of each speaker's own, at a level of each file's own."""
    generator = np.random.default_rng(seed)
    rows = {}
    for speaker in range(n_speakers):
        tones = generator.uniform(300, 3500, size=2)
        for file in range(n_files):
            time = np.arange(round(seconds * rate)) / rate
            phases = generator.uniform(0, 2 * np.pi, size=(2, 1))
            hum = np.sin(2 * np.pi * tones[:, None] * time + phases).sum(0)
            signal = hum + generator.normal(scale=1.0, size=len(time))
            path = root / f"s{speaker}-{file}.wav"
            soundfile.write(path, 0.05 * generator.uniform(0.5, 2) * signal, rate)
            rows[path.stem] = {"path": str(path), "speaker": f"s{speaker}"}
    return Corpus("voices", pd.DataFrame.from_dict(rows, orient="index"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_voices(tmp_path_factory.mktemp("voices"), 12, 4)


def train(corpus, settings=SMALL, net=Small, loss="softmaxproto", **more):
    return train_speaker_net(corpus, net, loss, settings=settings, frontend=MELS, **more)


def weights(study):
    return {name: value.clone() for name, value in study.network.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def tensors_of(folder):
    with safe_open(folder / "checkpoint.safetensors", framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def told_by(folder):
    with safe_open(folder / "checkpoint.safetensors", framework="pt") as opened:
        return json.loads(opened.metadata()["speechprobe"])


def recordings_of(corpus):
    recordings = find(corpus, RATE, progress=False)
    codes = pd.factorize(pd.Series(recordings.speakers), sort=True)[0]
    return recordings, [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]


class Stops(nn.Module):
    """AngleProto that is interrupted, or turns to NaN, at its nth batch."""

    def __init__(self, batch=0, value=None):
        super().__init__()
        self.inner, self.calls = AngleProto(), 0
        self._batch, self._value = batch, value  # private: no part of what makes the run

    def forward(self, embeddings, speakers):
        self.calls += 1
        if self.calls == self._batch and self._value is None:
            raise KeyboardInterrupt
        found = self.inner(embeddings, speakers)
        nan = self.calls == self._batch
        return found._replace(loss=found.loss * self._value) if nan else found


# What is learnt


def test_a_trained_network_tells_voices_it_never_heard_better_than_its_untrained_twin(
    corpus, tmp_path
):
    others = write_voices(tmp_path, 8, 4, seed=9)
    study = train(corpus, replace(SMALL, epochs=15, n_speakers=8, learning_rate=1e-2))
    table = study.table().set_index("network")
    assert table.loc["trained", "eer"] < table.loc["untrained", "eer"]
    trials = make_trials(others, 60)
    rates = {}
    for extractor in (study.extractor, study.untrained):
        features = sp.extract(others, extractor, progress=False)
        pairs = [features.items.index.get_indexer(trials[side]) for side in ("enrol", "test")]
        scores = cosine_scores(features["fc"], np.stack(pairs, axis=1))
        rates[extractor.name] = equal_error_rate(trials["same"], scores)
    assert rates["Small-trained"] < rates["Small-untrained"] - 0.1
    losses = study.table("curves").query("split == 'train'")["loss"]
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]


def test_an_epoch_is_adam_on_the_planned_crops(corpus):
    settings = replace(SMALL, epochs=1, held_out=0, weight_decay=0.01)
    net = Small(dropout=0.0)
    study = train(corpus, settings, net, lambda *_: AngleProto())
    recordings, rows = recordings_of(corpus)
    plan = plan_epoch(rows, recordings.n_samples, 4800, settings, 1)
    loss = AngleProto()
    adam = torch.optim.Adam([*net.parameters(), *loss.parameters()], lr=1e-3, weight_decay=0.01)
    net.train()
    found = []
    for speakers, files, starts in zip(*plan, strict=True):
        crops = [
            soundfile.read(recordings.paths[file], 4800, start, dtype="float32")[0]
            for file, start in zip(files.ravel(), starts.ravel(), strict=True)
        ]
        embeddings = net(MELS(torch.from_numpy(np.stack(crops))))
        value = loss(embeddings.reshape(4, 2, -1), torch.from_numpy(speakers)).loss
        adam.zero_grad()
        value.backward()
        adam.step()
        found.append(value.item())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(study.network.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert study.table("curves")["loss"].item() == pytest.approx(np.mean(found), rel=1e-5)


def test_the_learning_rate_falls_step_by_step(corpus):
    settings = replace(SMALL, epochs=3, learning_rate=0.01, decay=0.5, decay_every=2)
    curves = train(corpus, settings).table("curves").query("split == 'train'")
    assert curves["learning_rate"].tolist() == [0.01, 0.01, 0.005]
    assert (curves["gradient_norm"] > 0).all()


def test_gradients_are_scaled_down_to_the_most_that_is_allowed(corpus):
    # With plain steps of 1 x gradient the weights move by its norm; Adam hides it, so look inside.
    settings = replace(SMALL, epochs=1, max_gradient_norm=1e-3, held_out=0)
    norms = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Small()

        def forward(self, features):
            return self.net(features)

    net = Watched()
    step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        found = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(nn.utils.get_total_norm([g for g in found if g is not None])))
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", spy)
        study = train(corpus, settings, net)
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-2)
    assert study.table("curves")["gradient_norm"].item() > 0.1


def test_the_epoch_with_the_lowest_error_comes_back(corpus):
    study = train(corpus, replace(SMALL, epochs=6))
    rates = study.table("curves").query("split == 'validation' and epoch > 0").set_index("epoch")
    best = rates["eer"].idxmin()
    row = study.table().set_index("network").loc["trained"]
    assert (row["epoch"], row["eer"]) == (best, rates["eer"].min())
    assert row["low"] <= row["eer"] <= row["high"]
    shorter = train(corpus, replace(SMALL, epochs=int(best)))
    assert equal(weights(study), weights(shorter))


def test_validation_comes_every_few_epochs_and_at_the_end(corpus):
    curves = train(corpus, replace(SMALL, epochs=5, evaluate_every=2)).table("curves")
    assert curves.query("split == 'validation'")["epoch"].tolist() == [0, 2, 4, 5]


def test_bfloat16_stays_inside_the_network(corpus):
    kinds = set()

    class Watched(Small):
        def forward(self, features):
            kinds.add((features.dtype, self.training))
            embedding = super().forward(features)
            kinds.add((embedding.dtype, self.training))
            return embedding

    study = train(corpus, replace(SMALL, epochs=2, precision="bf16"), Watched)
    assert kinds == {(torch.float32, True), (torch.bfloat16, True), (torch.float32, False)}
    assert {value.dtype for value in study.network.parameters()} == {torch.float32}
    exact = train(corpus, replace(SMALL, epochs=2)).table("curves")["loss"]
    np.testing.assert_allclose(study.table("curves")["loss"], exact, rtol=0.05)


# The same numbers


def test_the_same_seed_gives_the_same_bits_and_leaves_the_callers_state(corpus):
    torch.random.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002 the global state is what must not change
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    net = Small()
    start = {name: value.clone() for name, value in net.state_dict().items()}
    torch.set_rng_state(before[0])
    first = train(corpus)
    copied = train(corpus, net=net)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.get_default_dtype() == torch.float32
    assert equal(net.state_dict(), start)
    torch.rand(5)
    again = train(corpus)
    assert equal(weights(first), weights(again))
    assert not equal(weights(first), weights(copied))
    assert not equal(weights(first), weights(train(corpus, replace(SMALL, seed=4))))
    pd.testing.assert_frame_equal(
        *(study.table("curves").drop(columns="seconds") for study in (first, again))
    )
    assert first.provenance["weights_sha256"] == again.provenance["weights_sha256"]


def test_crops_read_from_the_disk_teach_the_same_as_those_in_memory(corpus):
    in_memory, on_disk = (train(corpus, replace(SMALL, most_bytes=n)) for n in (4 << 30, 0))
    assert equal(weights(in_memory), weights(on_disk))


def test_a_run_that_goes_on_ends_at_the_same_weights(corpus, tmp_path):
    straight = train(corpus, folder=tmp_path / "straight")
    train(corpus, replace(SMALL, epochs=2), folder=tmp_path / "halved")
    assert told_by(tmp_path / "halved")["epoch"] == 2
    torch.rand(3)
    halved = train(corpus, folder=tmp_path / "halved")
    assert equal(weights(straight), weights(halved))
    assert equal(tensors_of(tmp_path / "straight"), tensors_of(tmp_path / "halved"))
    assert any(name.startswith("adam.") for name in tensors_of(tmp_path / "halved"))


@pytest.mark.parametrize("batch", [1, 2, 6, 7])
def test_a_run_killed_within_an_epoch_ends_at_the_same_weights(batch, corpus, tmp_path):
    train(corpus, loss=lambda *_: Stops(), folder=tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        train(corpus, loss=lambda *_: Stops(batch), folder=tmp_path / "killed")
    train(corpus, loss=lambda *_: Stops(), folder=tmp_path / "killed")
    assert equal(tensors_of(tmp_path / "straight"), tensors_of(tmp_path / "killed"))


def test_a_run_killed_while_it_writes_keeps_the_checkpoint_before(corpus, tmp_path, monkeypatch):
    train(corpus, replace(SMALL, epochs=2), folder=tmp_path)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()

    def killed(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            train(corpus, folder=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept
    done = train(corpus, folder=tmp_path)
    assert equal(weights(done), weights(train(corpus)))


def test_a_finished_run_is_read_and_not_trained_again(corpus, tmp_path):
    first = train(corpus, folder=tmp_path)
    stamp = (tmp_path / "checkpoint.safetensors").stat().st_mtime_ns
    again = train(corpus, folder=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").stat().st_mtime_ns == stamp
    assert equal(weights(first), weights(again))
    pd.testing.assert_frame_equal(first.table("curves"), again.table("curves"))
    with pytest.raises(ValueError, match="has 4 epochs already, and epochs=3"):
        train(corpus, replace(SMALL, epochs=3), folder=tmp_path)


def test_a_folder_of_another_run_is_refused_and_what_differs_is_named(corpus, tmp_path):
    train(corpus, replace(SMALL, epochs=1), folder=tmp_path)
    other = replace(SMALL, learning_rate=0.5, seed=3)
    with pytest.raises(ValueError, match=r"another run: learning_rate is 0\.001 there and 0\.5"):
        train(corpus, other, folder=tmp_path)
    with pytest.raises(ValueError, match="loss is 'SoftmaxProto .* now.*another folder"):
        train(corpus, folder=tmp_path, loss="softmax")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"not empty and holds no run\.json"):
        train(corpus, folder=tmp_path / "mine")


def test_a_broken_checkpoint_is_named(corpus, tmp_path):
    train(corpus, replace(SMALL, epochs=1), folder=tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"12")
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is no checkpoint .* delete it"):
        train(corpus, folder=tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"identity": 3}'])
def test_a_broken_record_is_named(text, corpus, tmp_path):
    train(corpus, replace(SMALL, epochs=1), folder=tmp_path)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is no record of a run .* another folder"):
        train(corpus, folder=tmp_path)


def test_a_checkpoint_without_its_curves_is_named(corpus, tmp_path):
    train(corpus, replace(SMALL, epochs=1), folder=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    save_file(tensors_of(tmp_path), path, metadata={"speechprobe": '{"epoch": 1}'})
    with pytest.raises(ValueError, match=r"is no checkpoint of a run \(KeyError: 'curves'\)"):
        train(corpus, folder=tmp_path)


def test_a_loss_that_is_not_a_number_stops_and_the_epochs_before_are_kept(corpus, tmp_path):
    straight = train(corpus, loss=lambda *_: Stops(), folder=tmp_path / "straight")
    with pytest.raises(FloatingPointError, match=r"epoch 3, batch 1: the loss is nan.*are kept in"):
        train(corpus, loss=lambda *_: Stops(9, float("nan")), folder=tmp_path / "broken")
    assert told_by(tmp_path / "broken")["epoch"] == 2
    assert all(value.isfinite().all() for value in tensors_of(tmp_path / "broken").values())
    mended = train(corpus, loss=lambda *_: Stops(), folder=tmp_path / "broken")
    assert equal(weights(straight), weights(mended))


def test_a_rate_that_is_far_too_high_ends_in_one_clear_message(corpus):
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        train(corpus, replace(SMALL, learning_rate=1e30, epochs=20))


@pytest.mark.parametrize(
    ("held_out", "where"),
    [
        (0.25, "epoch 0: Scaled gives 's.*', of a held-out"),
        (0, "epoch 1, batch 1: the loss is nan"),
    ],
)
def test_a_network_that_is_not_finite_from_the_start_is_no_matter_of_the_rate(
    held_out, where, corpus
):
    with pytest.raises(FloatingPointError, match=f"{where}.*; nothing is learnt yet, so look at"):
        train(corpus, replace(SMALL, held_out=held_out), lambda: Scaled(float("nan")))


def test_a_held_out_file_with_an_embedding_of_zeros_is_named(corpus):
    with pytest.raises(ValueError, match=r"Scaled gives 's\d+-\d', of a held-out .* all zeros"):
        train(corpus, net=lambda: Scaled(0.0))


# Batches


def test_every_round_takes_every_speaker_once_and_files_in_turn(corpus):
    recordings, rows = recordings_of(corpus)
    settings = replace(SMALL, rounds=4)
    plan = plan_epoch(rows, recordings.n_samples, 4800, settings, 1)
    assert plan.files.shape == (12, 4, 2)
    for batch in range(0, 12, 3):  # three batches of four are a round of the twelve
        assert sorted(plan.speakers[batch : batch + 3].ravel()) == list(range(12))
    for speaker, own in enumerate(rows):
        files = plan.files[plan.speakers == speaker]
        # Two rounds go through the four files of a speaker; then they come again.
        assert all(sorted(part) == own.tolist() for part in files.reshape(2, 4))
    assert plan.starts.min() >= 0
    assert (plan.starts + 4800 <= recordings.n_samples[plan.files]).all()
    assert len(np.unique(plan.starts)) > 80
    other = plan_epoch(rows, recordings.n_samples, 4800, settings, 2)
    assert not np.array_equal(plan.starts, other.starts)


def test_an_epoch_hears_the_median_speakers_files_once(corpus):
    recordings, rows = recordings_of(corpus)
    plan = plan_epoch(rows, recordings.n_samples, 4800, replace(SMALL, rounds=None), 1)
    assert np.unique(plan.files, return_counts=True)[1].tolist() == [1] * 48


def test_crops_of_one_file_keep_apart_where_it_is_long_enough(corpus):
    recordings, rows = recordings_of(corpus)
    first = [own[:1] for own in rows]
    settings = replace(SMALL, n_utterances=3, rounds=50)
    for n_crop, apart in ((3000, True), (5000, False)):
        plan = plan_epoch(first, recordings.n_samples, n_crop, settings, 1)
        gaps = np.diff(np.sort(plan.starts.reshape(-1, 3)), axis=1)
        assert (gaps >= n_crop).all() == apart
        assert (plan.starts + n_crop <= 11_200).all()


def test_batches_are_the_samples_of_the_files(corpus):
    recordings, rows = recordings_of(corpus)
    plan = plan_epoch(rows, recordings.n_samples, 4800, SMALL, 1)
    for place in (recordings, recordings.loaded(1 << 30, progress=False)):
        for number, (waveforms, speakers) in enumerate(batches(place, plan, 4800)):
            file, start = plan.files[number, 2, 1], plan.starts[number, 2, 1]
            wanted = soundfile.read(recordings.paths[file], dtype="float32")[0][start:][:4800]
            assert np.array_equal(waveforms[5].numpy(), wanted)
            assert speakers.tolist() == plan.speakers[number].tolist()


def test_the_mean_of_two_channels_is_read_alike_from_disk_and_memory(tmp_path):
    generator = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.flac", generator.uniform(-1, 1, size=(5000, 2)), RATE)
    table = pd.DataFrame({"path": [str(tmp_path / "a.flac")], "speaker": ["a"]}, index=["a"])
    on_disk = find(Corpus("stereo", table), RATE, progress=False)
    in_memory = on_disk.loaded(1 << 20, progress=False)
    assert in_memory.sounds is not None
    assert np.array_equal(on_disk.crop(0, 700, 6000), in_memory.crop(0, 700, 6000))
    assert np.array_equal(on_disk.crop(0, 0, 6000)[5000:], on_disk.crop(0, 0, 1000))


# What comes back


def test_the_extractor_gives_the_networks_layers_and_embedding(corpus):
    study = train(corpus, replace(SMALL, epochs=1))
    signal = next(iter(corpus)).signal()
    layers = study.extractor(signal)
    assert list(layers) == ["conv1", "bn1", "dropout", "conv2", "fc"]
    assert study.extractor.module is study.network
    assert not study.network.training
    with torch.no_grad():
        wanted = study.network(MELS(torch.from_numpy(signal)[None]))
    np.testing.assert_allclose(layers["fc"], wanted, rtol=1e-5)
    features = sp.extract(corpus, study.extractor, progress=False)
    scores = sp.probe_layers(
        features.with_labels(corpus.label("low", [u["speaker"] < "s5" for u in corpus])),
        target="low", groups="speaker", probe=sp.probes.LogisticProbe(),
        metrics=sp.metrics.accuracy, n_folds=3, n_shuffles=0, progress=False,
    )  # fmt: skip
    assert [record.layer for record in scores.records] == list(layers)


@pytest.mark.filterwarnings("ignore:.*groups are few.*:UserWarning")
def test_what_is_saved_loads_as_voxceleb_trainers(corpus, tmp_path):
    settings = SpeakerTraining(
        epochs=1, n_speakers=2, crop_seconds=0.3, rounds=1, held_out=0, seed=1
    )
    some = corpus.select(lambda u: u["speaker"] in ("s0", "s1", "s2", "s3"))
    study = train_speaker_net(some, ResNetSE34L, "angleproto", settings=settings)
    study.save(tmp_path / "mine.model")
    signal = next(iter(corpus)).signal()
    loaded = load_voxceleb_trainer(tmp_path / "mine.model")
    ours, theirs = study.extractor(signal), loaded(signal)
    assert list(ours) == list(theirs)
    np.testing.assert_allclose(ours["fc"], theirs["fc"], rtol=1e-4, atol=1e-6)
    state = torch.load(tmp_path / "mine.model", weights_only=True)
    assert {"__L__.w", "__L__.b", "__S__.conv1.weight"} <= state.keys()
    assert study.provenance["n_parameters"] == 1_437_078
    assert study.provenance["n_parameters_of_loss"] == 2
    assert list(study.pictures) == ["curves"]
    study.save(tmp_path / "again.model")
    saved = [(tmp_path / f"{name}.model").read_bytes() for name in ("mine", "again")]
    assert saved[0] == saved[1]


def test_tables_and_pictures_are_written(corpus, tmp_path):
    study = train(corpus, replace(SMALL, epochs=2))
    names = {path.name for path in study.write(tmp_path)}
    pictures = {"curves.svg", "scores.svg", "det.svg"}
    assert names == pictures | {
        *("results.csv", "curves.csv", "speakers.csv", "left_out.csv", "study.json")
    }
    told = json.loads((tmp_path / "study.json").read_text())
    assert told["provenance"]["settings"]["learning_rate"] == 1e-3
    assert told["provenance"]["n_train_speakers"] == 9
    assert [axes.get_ylabel() for axes in study.picture("curves").axes] == [
        *("loss (cross-entropy in nats)", "accuracy (fraction)", "equal error rate (fraction)"),
        *("learning rate", "gradient norm", "duration of the epoch (s)"),
    ]
    uses = study.table("speakers")["use"].value_counts().to_dict()
    assert uses == {"train": 9, "validation": 3}


def test_what_the_trainer_does_otherwise_is_told_unless_settings_undo_it(corpus):
    told = " | ".join(train(corpus, replace(SMALL, epochs=1)).deviations)
    for words in (
        "an epoch has 2; the trainer's takes all files",
        "crops of 0.3 s; the trainer's have 2.015 s",
        "falls every epoch; the trainer's every 10",
    ):
        assert words in told
    slower = train(corpus, replace(SMALL, epochs=1, decay_every=10))
    assert "learning rate" not in " | ".join(slower.deviations)


def test_speakers_to_validate_on_can_be_given(corpus, tmp_path):
    others = write_voices(tmp_path, 3, 2, seed=9)
    others = others.label("speaker", [f"other {u['speaker']}" for u in others])
    study = train(corpus, replace(SMALL, epochs=1, n_speakers=12), validation=others)
    uses = study.table("speakers").groupby("use")["speaker"].apply(sorted)
    assert uses["validation"] == ["other s0", "other s1", "other s2"]
    assert len(uses["train"]) == 12
    with pytest.raises(ValueError, match="12 speakers of the validation corpus are trained on: s0"):
        train(corpus, validation=corpus)


# Too little, or not what is needed


def test_one_file_a_speaker_serves_by_its_crops_and_the_study_says_so(corpus):
    single = corpus.select([f"s{speaker}-0" for speaker in range(12)])
    with pytest.raises(ValueError, match=r"12 speakers have fewer than n_utterances=2 .* s0 \(1\)"):
        train(single)
    with pytest.raises(ValueError, match="there are 0 of the 12"):
        train(single, replace(SMALL, few_files="leave_out"))
    study = train(single, replace(SMALL, epochs=1, few_files="reuse"))
    assert any("12 speakers have fewer than 2 files" in each for each in study.deviations)
    assert any("trials are pieces of files" in each for each in study.deviations)
    # 0.7 s gives two pieces of 0.3 s: three pairs of one speaker, three speakers held out.
    assert study.table()["n_trials"].tolist() == [6, 6]


def test_short_files_are_named_left_out_or_repeated(corpus, tmp_path):
    short = write_voices(tmp_path, 1, 3, seconds=0.2)
    table = short.table.assign(speaker=["s0", "s12", "s12"])
    table.index = ["short0", "short1", "short2"]
    mixed = Corpus("mixed", pd.concat([corpus.table, table]))
    with pytest.raises(ValueError, match=r"3 files are shorter .* short0 \(0\.20\).* s12 \(0\)"):
        train(mixed)
    dropped = train(mixed, replace(SMALL, epochs=1, few_files="leave_out"))
    assert dropped.table("left_out")["id"].tolist() == ["short0", "short1", "short2"]
    reused = train(mixed, replace(SMALL, epochs=1, few_files="reuse"))
    assert reused.table("left_out")["id"].tolist() == ["short0"]
    assert any("2 files shorter than a crop are repeated" in each for each in reused.deviations)


def test_a_corpus_with_one_speaker_is_refused(corpus):
    with pytest.raises(ValueError, match="speakers are told apart.* 1 of the 1 in the corpus"):
        train(corpus.select(lambda u: u["speaker"] == "s1"))


def test_fewer_speakers_than_a_batch_are_refused(corpus):
    with pytest.raises(ValueError, match="n_speakers=10, but of 12 .* 9 are left .* 3 held out"):
        train(corpus, replace(SMALL, n_speakers=10))


def test_another_sample_rate_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"4 of 4 files have not the 16000 Hz.*s0-0\.wav has 8000"):
        train(write_voices(tmp_path, 2, 2, rate=8000))


def test_missing_files_are_counted(corpus, tmp_path):
    paths = [str(tmp_path / "gone.wav"), *corpus.column("path")[1:]]
    with pytest.raises(ValueError, match=r"1 of 48 files cannot be read: .*gone\.wav"):
        train(corpus.label("path", paths))


def test_an_utterance_without_a_speaker_is_named(corpus):
    speakers = [None, *corpus.column("speaker")[1:]]
    with pytest.raises(ValueError, match="1 of 48 utterances of 'voices' have no speaker.*s0-0"):
        train(corpus.label("speaker", speakers))


class NoEmbedding(Small):
    def forward(self, features):
        return self.conv1(features.mT)


def frozen():
    return Small().requires_grad_(requires_grad=False)


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (nn.Flatten, ValueError, "Flatten cannot be trained: it has no parameters"),
        (frozen, ValueError, "its 8 parameters are frozen"),
        (NoEmbedding, ValueError, r"must give embeddings \(B, n_dims\); it gives \(1, 16, 31\)"),
        ("ResNetSE34L", TypeError, "a module or a function that makes one, got 'ResNetSE34L'"),
        (dict, TypeError, "net must make a module, got dict"),
    ],
)
def test_networks_that_cannot_learn_are_refused(net, error, message, corpus):
    with pytest.raises(error, match=message):
        train(corpus, net=net)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ("arcface", ValueError, "loss must be one of .*'aamsoftmax'.* got 'arcface'"),
        (AngleProto(), TypeError, r"a function \(n_dims, n_speakers\)"),
        (lambda *_: 3, TypeError, "loss must make a module, got 3"),
    ],
)
def test_losses_that_are_none_are_refused(loss, error, message, corpus):
    with pytest.raises(error, match=message):
        train(corpus, loss=loss)


def test_a_network_without_a_known_front_end_needs_one(corpus):
    with pytest.raises(ValueError, match="no front end is known for Small; give one"):
        train_speaker_net(corpus, Small, "softmax", settings=SMALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [("corpus", "data/voices"), ("corpus", None), ("validation", "data"), ("settings", {})],
)
def test_arguments_of_another_type_are_named(name, value, corpus):
    given = {"corpus": corpus, "settings": SMALL, name: value}
    with pytest.raises(TypeError, match=f"{name} must be a .*got {type(value).__name__}"):
        train_speaker_net(net=Small, loss="softmax", frontend=MELS, **given)


def test_a_front_end_of_other_dimensions_than_the_networks_is_named(corpus):
    with pytest.raises(ValueError, match=r"Small cannot take features \(1, 31, 40\).*n_mels=40"):
        train_speaker_net(
            corpus, Small, "softmax", settings=SMALL, frontend=MelSpectrogram(40, n_fft=512)
        )


def test_a_layer_that_is_not_there_is_named_before_training(corpus):
    with pytest.raises(ValueError, match="conv9"):
        train(corpus, layers=["conv9"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("epochs", 0), ("n_speakers", 1), ("rounds", 0), ("learning_rate", 0.0), ("decay", 0)),
        *(("held_out", 1.0), ("crop_seconds", -1), ("precision", "fp16"), ("few_files", "drop")),
        *(("seed", -1), ("learning_rate", "0.1"), ("learning_rate", None), ("weight_decay", None)),
        *(("held_out", "0.1"), ("n_trials", 1), ("rounds", 1.5), ("most_bytes", -1)),
    ],
)
def test_settings_out_of_their_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} .* got {value!r}"):
        replace(SMALL, **{name: value})


# Real speech


@pytest.mark.shared
@pytest.mark.slow
def test_a_minute_on_251_speakers_beats_the_untrained_twin_on_ten_others(shared):
    root = shared / "data" / "LibriSpeech"
    own = sp.datasets.load_librispeech(root, ["train-clean-100"], transcripts="optional")
    others = sp.datasets.load_librispeech(root, ["test-other"])
    mels = MelSpectrogram(40, n_fft=512, window="hamming", log_offset=1e-6, normalise=standardise)
    settings = SpeakerTraining(epochs=2, rounds=4, few_files="reuse")
    study = train_speaker_net(
        own,
        lambda: sp.extractors.nets.ECAPATDNN(n_mels=40, n_channels=64),
        "softmaxproto",
        settings=settings,
        frontend=mels,
        layers=["layer?", "linear"],
    )
    pairs = np.stack(np.triu_indices(len(others), 1), axis=1)
    speakers = others.column("speaker")
    same = speakers[pairs[:, 0]] == speakers[pairs[:, 1]]
    rates = {}
    for extractor in (study.untrained, study.extractor):
        features = sp.extract(others, extractor, layers=["linear"], progress=False)
        rates[extractor.name] = equal_error_rate(same, cosine_scores(features["linear"], pairs))
    assert rates["ECAPATDNN-trained"] < rates["ECAPATDNN-untrained"] - 0.05

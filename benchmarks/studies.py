"""The measured tables of docs/studies, from the real speech that they name.

    python -m benchmarks.studies training LIBRISPEECH [folder]
    python -m benchmarks.studies verification LIBRISPEECH WHISPER

LIBRISPEECH is a folder with parts of train-clean-100 and test-other, WHISPER one of a Whisper
encoder. SERAB's table is printed by examples/serab.py, those of speaking rate and gender by
examples/speaking_rate_study.py and examples/gender_study.py.

`training` trains for about five minutes of one core, in a folder from which a second call goes on.
"""

import argparse
import os
import platform
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch

import speechprobe as sp
from speechprobe.extractors import MelSpectrogram, nets, standardise
from speechprobe.protocols import SpeakerTraining, train_speaker_net

EMBEDDING = "linear"


def training(librispeech: Path, folder: Path) -> None:
    """Train ECAPA-TDNN on train-clean-100 and compare it with its untrained twin on test-other."""
    train = sp.datasets.load_librispeech(librispeech, ["train-clean-100"], transcripts="optional")
    test = sp.datasets.load_librispeech(librispeech, ["test-other"])
    started = time.process_time()
    study = train_speaker_net(
        train,
        lambda: nets.ECAPATDNN(n_mels=40, n_channels=64),
        "softmaxproto",
        settings=SpeakerTraining(epochs=6, rounds=4, decay=0.9, few_files="reuse"),
        frontend=MelSpectrogram(
            40, n_fft=512, window="hamming", log_offset=1e-6, normalise=standardise
        ),
        layers=["layer?", "conv", "pool", EMBEDDING],
        folder=folder,
    )
    print(f"{(time.process_time() - started) / 60:.1f} minutes of processor time")
    print(study.table("curves").round(4).to_string())
    models = {"untrained": study.untrained, "trained": study.extractor}
    features = {name: sp.extract(test, each) for name, each in models.items()}
    features["log-mel"] = sp.extract(test, sp.extractors.LogMel(n_mels=40), pool="mean_std")
    scores = {}
    for name, each in features.items():
        for layer in each.layers:
            pairs, same, groups = all_pairs(each.items)
            scores[name, layer] = sp.metrics.cosine_scores(each[layer], pairs)
            rate = sp.metrics.equal_error_rate(same, scores[name, layer])
            interval = sp.metrics.bootstrap_interval(
                same, scores[name, layer], sp.metrics.equal_error_rate, groups=groups
            )
            print(f"{name} {layer}: EER {percent(rate)} ({', '.join(map(percent, interval))})")
    own, twin = (scores[name, EMBEDDING] for name in ("trained", "untrained"))
    print(sp.metrics.paired_test(same, own, twin, sp.metrics.equal_error_rate, groups=groups))
    for name in models:
        for target, group, probe_metric in (
            ("speaker", None, sp.metrics.accuracy),
            ("gender", "speaker", sp.metrics.uar),
        ):
            found = sp.probe_layers(
                features[name],
                target=target,
                groups=group,
                probe=sp.probes.LogisticProbe(),
                metrics=probe_metric,
                n_shuffles=3,
            )
            print(f"\n{target}, {name}:\n{found.table().to_string()}")


def verification(librispeech: Path, whisper: Path) -> None:
    """Verify speakers of test-other by every layer of GE2E and of Whisper."""
    test = sp.datasets.load_librispeech(librispeech, ["test-other"])
    others = sp.datasets.load_librispeech(librispeech, ["train-clean-100"], transcripts="optional")
    trials = sp.datasets.make_trials(test, 900, seed=0)
    encoder = sp.extractors.TransformerExtractor(whisper)
    untrained = sp.extractors.TransformerExtractor(whisper, untrained=True)
    plain = [("cosine", {}), ("vox-trainer-10crop", {})]
    normalised = [
        ("cosine", {"cohort": others, "subtract_mean": True}),
        ("as-norm", {"cohort": others}),
    ]
    both = ("as-norm", {"cohort": others, "subtract_mean": True})
    whole = [plain[0], *normalised]
    studies = [
        ("GE2E, whole files", sp.extractors.load_ge2e(), plain),
        ("GE2E, partials", sp.extractors.load_ge2e(partials=True), [*plain, *normalised, both]),
        ("GE2E, untrained", sp.extractors.load_ge2e(untrained=True), plain),
        ("Whisper", encoder, whole),
        ("Whisper, untrained", untrained, plain[:1]),
        ("Whisper, first 2 s", sp.extractors.Cropped(encoder, max_seconds=2.0), plain[:1]),
        ("log-mel", sp.extractors.LogMel(), whole),
        ("log-mel, first 2 s", sp.extractors.Cropped(sp.extractors.LogMel(), max_seconds=2.0),
         plain[:1]),
    ]  # fmt: skip
    for name, model, scorings in studies:
        with tempfile.TemporaryDirectory() as store:  # so that a cohort is extracted once
            for scoring, more in scorings:
                study = sp.protocols.voxceleb(
                    model, test, trials, scoring=scoring, store=store, **more
                )
                print(f"\n{name}, {scoring}, {', '.join(more)}")
                print(study.table("layers").to_string())


def all_pairs(items):
    """Return all ordered pairs of items, whether each is of one speaker, and who is enrolled."""
    speakers = items["speaker"].to_numpy()
    first, second = np.where(~np.eye(len(items), dtype=bool))
    same = (speakers[first] == speakers[second]).astype(int)
    return np.stack([first, second], axis=1), same, speakers[first]


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f} %"


def main() -> None:
    """Run one study."""
    parser = argparse.ArgumentParser(description="The measured tables of docs/studies")
    parser.add_argument("study", choices=["training", "verification"])
    parser.add_argument("librispeech", type=Path)
    parser.add_argument("second", type=Path, nargs="?", default=Path("results/speaker_training"))
    given = parser.parse_args()
    print(
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    {"training": training, "verification": verification}[given.study](
        given.librispeech, given.second
    )


if __name__ == "__main__":
    main()

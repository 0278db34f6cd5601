"""The gender study of LibriTTS: a small network over mel bands, and its rivals.

    python examples/gender_study.py TRAIN TEST [--train-subset train-clean-100]
        [--test-subset test-clean] [--trials 20] [--no-images] [--engine ray] [--out FOLDER]

TRAIN and TEST are LibriTTS or LibriSpeech folders (they may be the same) with the subsets named;
no transcripts are needed. Settings are chosen on a fifth of the speakers of the first, and scored
on the second. Features are stored, so a second run starts from there.
"""

import argparse
from pathlib import Path

import speechprobe as sp
from speechprobe.protocols.gender_study import ALTERNATIVES, GenderSettings, gender, mel_extractor

_SHOWN = ["model", "feature", "accuracy", "accuracy_low", "accuracy_high", "uar", "shuffled",
          "validation", "chosen"]  # fmt: skip


def main() -> None:
    """Read the arguments, run the study, print its results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--train-subset", default="train-clean-100")
    parser.add_argument("--test-subset", default="test-clean")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--no-images", action="store_true", help="leave the 2-D network out")
    parser.add_argument("--engine", choices=["ray"])
    parser.add_argument("--out", type=Path, default=Path("results/gender"))
    arguments = parser.parse_args()
    train = load(arguments.train, arguments.train_subset)
    study = gender(
        train,
        load(arguments.test, arguments.test_subset),
        alternatives=ALTERNATIVES[:-1] if arguments.no_images else ALTERNATIVES,
        mel=mel_extractor(int(train.column("sample_rate").max())),
        store=arguments.out / "features",
        engine=arguments.engine,
        settings=GenderSettings(n_trials=arguments.trials),
    )
    study.write(arguments.out / "study")
    for deviation in study.deviations:
        print(f"- {deviation}")
    print(study.table()[_SHOWN].round(3).to_string(index=False))
    print(study.table("overfitting").round(3).to_string(index=False))


def load(root: Path, subset: str) -> sp.datasets.Corpus:
    """Load a subset of LibriTTS or LibriSpeech, whichever the folder holds."""
    is_libritts = any((root / subset).glob("*/*/*.wav"))
    if is_libritts:
        return sp.datasets.load_libritts(root, subsets=[subset])
    return sp.datasets.load_librispeech(root, subsets=[subset], transcripts="optional")


if __name__ == "__main__":
    main()

"""The speaking-rate study of WeSpeaker's networks, on LibriSpeech and EmoDB.

    python examples/speaking_rate_study.py [--librispeech ROOT] [--emodb ROOT] [--whisper MODEL ...]
        [--byol CHECKPOINT] [--wespeaker FOLDER ...] [--edition original] [--limit N] [--out FOLDER]

ROOT is a LibriSpeech folder with test-other, or EmoDB's; MODEL a Whisper encoder (a folder, or a
name on the hub), CHECKPOINT the 512-d BYOL-S, FOLDER a WeSpeaker model (`config.yaml`,
`avg_model.pt`). Without FOLDER the SimAM-ResNet34 has random weights. CREPE and log-mel are there
in any case. One fold a speaker. Features are stored, so a second run, or one that was killed,
starts from there. Needs: pip install 'speechprobe[demo,transformers,vad]'.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import speechprobe as sp
from speechprobe.extractors.mel import MelSpectrogram
from speechprobe.protocols.speaking_rate_study import SpeakingRateSettings, speaking_rate

_CONFIG = "model: SimAM_ResNet34_ASP\nmodel_args:\n  in_planes: 64\n  embed_dim: 256\n"


def main() -> None:
    """Read the arguments and run the study on every corpus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--librispeech", type=Path)
    parser.add_argument("--emodb", type=Path)
    parser.add_argument("--whisper", type=Path, nargs="*", default=[])
    parser.add_argument("--byol", type=Path)
    parser.add_argument("--wespeaker", type=Path, nargs="*", default=[])
    parser.add_argument("--edition", choices=["original", "corrected"], default="corrected")
    parser.add_argument("--limit", type=int, help="use at most so many utterances of each corpus")
    parser.add_argument("--out", type=Path, default=Path("results/speaking_rate"))
    arguments = parser.parse_args()
    for name, corpus in corpora(arguments).items():
        n_speakers = corpus.table["speaker"].nunique()
        study = speaking_rate(
            corpus,
            models(arguments, corpus),
            edition=arguments.edition,
            store=arguments.out / "features" / name,
            settings=SpeakingRateSettings(n_folds=n_speakers),
        )
        folder = arguments.out / f"{name}-{arguments.edition}"
        study.write(folder)
        print(f"\n{name}, edition {study.edition}: {folder}")
        for deviation in study.deviations:
            print(f"- {deviation}")
        print(r2_by_layer(study).to_string())


def corpora(arguments: argparse.Namespace) -> dict[str, sp.datasets.Corpus]:
    """Load what was named."""
    found = {}
    if arguments.librispeech:
        found["test-other"] = sp.datasets.load_librispeech(
            arguments.librispeech, subsets=["test-other"]
        )
    if arguments.emodb:
        found["emodb"] = sp.datasets.load_emodb(arguments.emodb)
    if not found:
        raise SystemExit("name a corpus: --librispeech ROOT, --emodb ROOT, or both")
    limit = arguments.limit
    return {
        name: each.sample(limit, seed=0) if limit and len(each) > limit else each
        for name, each in found.items()
    }


def models(
    arguments: argparse.Namespace, corpus: sp.datasets.Corpus
) -> dict[str, sp.extractors.Extractor]:
    """Load what was named, and what needs no name."""
    found = {path.name: sp.extractors.TransformerExtractor(path) for path in arguments.whisper}
    if arguments.byol:
        mean, std = log_mel_moments(corpus)
        found["BYOL-S"] = sp.extractors.load_byol_a(arguments.byol, mean=mean, std=std)
    found["CREPE"] = sp.extractors.load_crepe("tiny")
    found |= {path.name: sp.extractors.load_wespeaker(path) for path in arguments.wespeaker}
    if not arguments.wespeaker:
        folder = arguments.out / "SimAM-ResNet34"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(_CONFIG)
        network = sp.extractors.load_wespeaker(folder, untrained=True)
        found[network.name] = network
    return found | {"log-mel": sp.extractors.LogMel(n_mels=128)}


def log_mel_moments(corpus: sp.datasets.Corpus) -> tuple[float, float]:
    """Return the two constants of BYOL-S: mean and deviation of each file's log-mel, averaged."""
    mel = MelSpectrogram(
        64, low_hz=60, high_hz=7800, n_fft=1024, log_offset=float(np.finfo(np.float32).eps)
    )
    frames = sp.extract(corpus, mel, pool="frames")["mel"]
    return (
        float(np.mean([each.mean() for each in frames])),
        float(np.mean([each.std() for each in frames])),
    )


def r2_by_layer(study: sp.protocols.Study) -> pd.DataFrame:
    """Return R2 of each layer: ridge, perceptron, and the next steps."""
    columns = {}
    for table in ("layer_metrics", "articulation_rate", "beyond_duration", "duration"):
        found = study.table(table).query("metric == 'r2'")
        for probe, rows in found.groupby("probe", sort=False):
            name = f"{table}, {probe}"
            columns[name] = rows.set_index(["model", "layer"])["score"].round(2)
    return pd.DataFrame(columns)


if __name__ == "__main__":
    main()

"""What a Whisper encoder knows of speaking rate, sex and emotion, on LibriSpeech and EmoDB.

    python examples/whisper_librispeech.py ROOT MODEL [--emodb EMODB] [--limit N] [--out FOLDER]

ROOT is a LibriSpeech folder with test-other and, without transcripts if need be, train-clean-100;
MODEL a Whisper encoder (a folder, or a name on the hub). Speaking rate is predicted for speakers
the probe was not fitted on, ten folds; sex is fitted on train-clean-100 and tested on test-other;
EmoDB's emotion, sex and speaking rate by folds of its actors. Features are stored, so a second
run, or one that was killed, starts from there. Needs: pip install 'speechprobe[transformers]'.
"""

import argparse
import os
import platform
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

import speechprobe as sp


def main() -> None:
    """Read the arguments and run all studies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--emodb", type=Path)
    parser.add_argument("--limit", type=int, help="use at most so many utterances of each corpus")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    started = time.perf_counter()

    model = sp.extractors.TransformerExtractor(arguments.model)
    study = Study(model, arguments.out / model.name, arguments.limit)
    scores = {
        "LibriSpeech test-other: speaking rate": study.librispeech_rate(arguments.root),
        "LibriSpeech train-clean-100 to test-other: sex": study.librispeech_sex(arguments.root),
    }
    if arguments.emodb:
        scores |= study.emodb(arguments.emodb)
    for title, models in scores.items():
        print(f"\n{title}\n{table(models).to_string()}")
    figure = sp.plots.plot_layers(list(scores.values()))
    figure.savefig(study.folder / "layers.png", dpi=100)
    page = sp.reports.html(list(scores.values()), study.folder / "layers.html", title=model.name)
    write_markdown(scores, study.folder / "layers.md")
    print(f"\n{time.perf_counter() - started:.0f} s. {page}")


class Study:
    """One model over the corpora, beside log-mel."""

    def __init__(self, model: sp.extractors.Extractor, folder: Path, limit: int | None) -> None:
        self.models = {model.name: model, "log-mel": sp.extractors.LogMel(n_mels=128)}
        self.folder, self.limit = folder, limit

    def features(self, corpus: sp.datasets.Corpus, name: str) -> dict[str, sp.Features]:
        """Extract with every model, each into its own store."""
        if self.limit and len(corpus) > self.limit:
            corpus = corpus.sample(self.limit, seed=0)
        return {
            model: sp.extract(
                corpus, extractor, store=self.folder / f"{name}-{model}-{len(corpus)}"
            )
            for model, extractor in self.models.items()
        }

    def librispeech_rate(self, root: Path) -> dict[str, sp.LayerScores]:
        """Speaking rate in test-other, one fold a speaker."""
        corpus = sp.datasets.load_librispeech(root, subsets=["test-other"])
        corpus = corpus.label("rate", sp.datasets.labels.speaking_rate)
        return {
            model: sp.probe_layers(
                features,
                target="rate",
                groups="speaker",
                probe=sp.probes.RidgeProbe(alphas=np.logspace(0, 5, 16)),
                metrics=sp.metrics.r2,
                n_folds=features.items["speaker"].nunique(),
            )
            for model, features in self.features(corpus, "test-other").items()
        }

    def librispeech_sex(self, root: Path) -> dict[str, sp.LayerScores]:
        """Sex, fitted on 251 speakers of train-clean-100, tested on those of test-other."""
        both = sp.datasets.load_librispeech(
            root, subsets=["train-clean-100", "test-other"], transcripts="optional"
        )
        parts = [
            both.select(both.column("subset") == name) for name in both.table["subset"].unique()
        ]
        if self.limit:
            parts = [part.sample(min(self.limit // 2, len(part)), seed=0) for part in parts]
        both = sp.datasets.Corpus("librispeech", pd.concat([part.table for part in parts]))
        return {
            model: self._sex_by_subset(features)
            for model, features in self.features(both, "both").items()
        }

    @staticmethod
    def _sex_by_subset(features: sp.Features) -> sp.LayerScores:
        split = sp.datasets.splits.predefined(
            features.items, column="subset", train=["train-clean-100"], test=["test-other"]
        )
        return sp.probe_layers(
            features,
            target="gender",
            groups="speaker",
            probe=sp.probes.LogisticProbe(C=0.01),
            metrics=sp.metrics.accuracy,
            split=split,
        )

    def emodb(self, root: Path) -> dict[str, dict[str, sp.LayerScores]]:
        """Emotion, sex and speaking rate of EmoDB, five folds of two actors."""
        corpus = sp.datasets.load_emodb(root)
        corpus = corpus.label("rate", sp.datasets.labels.speaking_rate)
        features = self.features(corpus, "emodb")
        wanted = {
            "emotion": ("emotion", sp.probes.LogisticProbe(), sp.metrics.uar),
            "sex": ("gender", sp.probes.LogisticProbe(), sp.metrics.uar),
            "speaking rate": ("rate", sp.probes.RidgeProbe(), sp.metrics.r2),
        }
        return {
            f"EmoDB: {title}": {
                model: sp.probe_layers(
                    each, target=target, groups="speaker", probe=probe, metrics=metric
                )
                for model, each in features.items()
            }
            for title, (target, probe, metric) in wanted.items()
        }


def table(models: dict[str, sp.LayerScores]) -> pd.DataFrame:
    """Return the tables of all models, one under the other."""
    return pd.concat({name: each.table() for name, each in models.items()}, names=["model"])


def write_markdown(scores: dict[str, dict[str, sp.LayerScores]], path: Path) -> None:
    """Write one table, a row a layer and a column a study, with machine and date."""
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    versions = f"torch {version('torch')}, transformers {version('transformers')}"
    heads = [f"{title}, {next(iter(m.values())).metrics[0]}" for title, m in scores.items()]
    lines = [
        f"Measured on {date.today():%Y-%m-%d} with `examples/whisper_librispeech.py` on {machine}, "
        f"{versions}. Each cell: score (interval; floor).",
        "",
        f"| model | layer | {' | '.join(heads)} |",
        "|---" * (2 + len(heads)) + "|",
    ]
    for name in next(iter(scores.values())):
        columns = [models[name].by_metric() for models in scores.values()]
        for records in zip(*columns, strict=True):
            cells = [f"{r.score:.2f} ({r.low:.2f} to {r.high:.2f}; {r.floor:.2f})" for r in records]
            lines.append(f"| {name} | `{records[0].layer}` | {' | '.join(cells)} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

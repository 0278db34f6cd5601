"""Ask which layer of CREPE knows how fast somebody speaks, and the sex of the speaker.

Makes 320 utterances of 40 synthetic voices, takes every layer of a real pretrained network, of
its untrained twin and of log-mel, and probes each. Needs no download: pip install
'speechprobe[demo]'. Writes results/quickstart.png and results/quickstart.html.
"""

import time
from pathlib import Path

import pandas as pd

import speechprobe as sp

HOP_SECONDS = 0.05  # CREPE's frames of 64 ms just cover the signal at this step
NEXT = """\
your sounds: corpus = sp.datasets.load_folder("my_sounds", labels=lambda path: {"age": ...})
your model:  model = sp.extractors.TransformerExtractor("my_model"), or ModuleExtractor(net, ...)
your label:  sp.probe_layers(sp.extract(corpus, model), target="age", groups="speaker", ...)"""
results = Path("results")


def main() -> None:
    """Run the whole study."""
    started = time.perf_counter()
    corpus = sp.datasets.load_synthetic(results / "synthetic", n_voices=40, n_utterances=8, seed=0)
    corpus = corpus.label("rate", sp.datasets.labels.speaking_rate)
    print(f"{corpus}: {corpus.column('duration').sum() / 60:.1f} minutes of speech\n")

    models = {
        "trained": sp.extractors.load_crepe("tiny", hop_seconds=HOP_SECONDS),
        "untrained": sp.extractors.load_crepe("tiny", hop_seconds=HOP_SECONDS, untrained=True),
        "log-mel": sp.extractors.LogMel(n_mels=80),
    }
    features = {name: sp.extract(corpus, model) for name, model in models.items()}
    rate = {name: probe_rate(each) for name, each in features.items()}
    sex = {name: probe_sex(each) for name, each in features.items()}

    print_table("speaking rate (characters per second), R2", rate)
    print_table("sex, unweighted average recall", sex)
    sp.plots.plot_layers([rate, sex]).savefig(results / "quickstart.png", dpi=120)
    page = sp.reports.html([rate, sex], results / "quickstart.html", title="What CREPE-tiny knows")
    print(f"{time.perf_counter() - started:.0f} s. Pictures and tables: {page}\n")
    print(NEXT)


def probe_rate(features: sp.Features) -> sp.LayerScores:
    """Predict the speaking rate of voices that the probe was not fitted on."""
    return sp.probe_layers(
        features,
        target="rate",
        groups="speaker",
        probe=sp.probes.RidgeProbe(),
        metrics=sp.metrics.r2,
    )


def probe_sex(features: sp.Features) -> sp.LayerScores:
    """Predict the sex of voices that the probe was not fitted on."""
    return sp.probe_layers(
        features,
        target="gender",
        groups="speaker",
        probe=sp.probes.LogisticProbe(),
        metrics=sp.metrics.uar,
    )


def print_table(title: str, scores: dict[str, sp.LayerScores]) -> None:
    """Print score, interval and floor of each layer of each model."""
    tables = {name: each.table().drop(columns="metric") for name, each in scores.items()}
    print(f"{title}\n{pd.concat(tables, names=['model']).to_string()}\n")


if __name__ == "__main__":
    main()

"""SERAB on the corpora at hand: emotions from a BYOL network and from openSMILE, side by side.

    python examples/serab.py byol-s-512.pth emodb=data/emodb ravdess=data/ravdess

Needs pip install 'speechprobe[opensmile]'. Writes results/serab.csv, which grows by a model and a
task with every call, results/serab.svg, and a folder of tables for each model.
"""

import argparse
from pathlib import Path

import speechprobe as sp
from speechprobe.protocols import compare_serab, plot_serab, serab

results = Path("results")


def main() -> None:
    """Run both models on every corpus that is given, and compare them with what was published."""
    given = arguments()
    roots = dict(pair.split("=", maxsplit=1) for pair in given.corpora)
    # The two constants are of a corpus; the protocol puts in those of each.
    models = [
        sp.extractors.load_byol_a(given.checkpoint, mean=0.0, std=1.0),
        sp.extractors.OpenSmile(given.feature_set),
    ]
    for model in models:
        result = serab(
            model,
            roots,
            edition=given.edition,
            tasks=list(roots),
            model_selection=None if given.no_grid else "predefined",
            classifiers=["LR", "RF", "SVC"],
            store=results / "serab-features",
        )
        print(f"{model.name}: missing {result.missing}, failed {result.failed}")
        result.write(results / f"serab-{model.name}-{given.edition}")
        result.to_csv(results / "serab.csv")
    table = compare_serab(results / "serab.csv", published_too=True)
    print(table.round(1).to_string())
    plot_serab(results / "serab.csv").savefig(results / "serab.svg")


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description="SERAB with a BYOL network and openSMILE")
    parser.add_argument("checkpoint", type=Path, help="weights of a BYOL network")
    parser.add_argument("corpora", nargs="+", metavar="task=folder")
    parser.add_argument("--edition", default="corrected", choices=["corrected", "2021"])
    parser.add_argument("--feature-set", default="ComParE_2016")
    parser.add_argument("--no-grid", action="store_true", help="classifiers as they are")
    return parser.parse_args()


if __name__ == "__main__":
    main()

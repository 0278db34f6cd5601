"""Which trial list this is, told from its numbers, and what was published on VoxCeleb1-O."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from speechprobe.datasets import trials as published_lists

OWN = "own list"

# System, scoring, equal error rate in percent, and where it stands. The last three were trained
# for a study that repeated the trainer with few epochs, not by its authors.
_PUBLISHED = (
    ("ResNetSE34L (SAP, AngleProto, 40 mels)", 2.1792, "Chung et al. 2020"),
    ("ResNetSE34V2 (ASP, softmaxproto, 64 mels)", 1.1771, "Kwon et al. 2021"),
    ("ResNetSE34L (AM-softmax, 5 epochs)", 35.7, "trained from scratch in the study"),
    ("VGGVox (256 dims)", 44.6, "trained from scratch in the study"),
    ("VGGVox (larger)", 42.7, "trained from scratch in the study"),
)


class TrialList(NamedTuple):
    """What a list of trials is.

    Parameters
    ----------
    name
        "VoxCeleb1-O", "VoxCeleb1-O-cleaned" and so on, or "own list".
    n_trials, n_target, n_files, n_speakers
        Its numbers; speakers are the first folders of ids, as in VoxCeleb, else -1.
    note
        What to know of it, in words.
    """

    name: str
    n_trials: int
    n_target: int
    n_files: int
    n_speakers: int
    note: str


def describe(trials: pd.DataFrame) -> TrialList:
    """Return what a list of trials is, told from its published numbers.

    Examples
    --------
    >>> describe(pd.DataFrame({"enrol": ["a/1"], "test": ["b/1"], "same": [False]})).name
    'own list'
    """
    files = set(map(str, pd.unique(pd.concat([trials["enrol"], trials["test"]]))))
    in_folders = all("/" in name for name in files)
    n_speakers = len({name.split("/")[0] for name in files}) if in_folders else -1
    counts = (len(trials), int(trials["same"].sum()), len(files), n_speakers)
    for name, facts in published_lists.PUBLISHED.items():
        if facts.n_trials != len(trials):
            continue
        wrong = [
            f"{found} {what} where it has {expected}"
            for what, found, expected in (
                ("speakers", n_speakers, facts.n_speakers),
                ("files", counts[2], facts.n_files),
            )
            if expected is not None and found != expected
        ]
        if not wrong:
            return TrialList(f"VoxCeleb1-{name}", *counts, f"{facts.file}: {_of(name)}")
        note = f"has as many trials as VoxCeleb1-{name}, but {' and '.join(wrong)}"
        return TrialList(OWN, *counts, note)
    return TrialList(OWN, *counts, "none of VoxCeleb1's lists has as many trials")


def _of(name: str) -> str:
    kind = "without the labels found wrong" if name.endswith("cleaned") else "the original list"
    return kind if name.startswith("O") else f"{kind}; reads dev and test folders"


def with_published(
    *, system: str, scoring: str, trials: TrialList, eer: float, low: float, high: float
) -> pd.DataFrame:
    """Return the published equal error rates, in percent, and the measured one below them."""
    rows = [
        {
            "system": name,
            "trials": "VoxCeleb1-O",
            "scoring": "vox-trainer-10crop",
            "eer_percent": rate,
            "source": source,
        }
        for name, rate, source in _PUBLISHED
    ]
    measured = {
        "system": system,
        "trials": trials.name,
        "scoring": scoring,
        "eer_percent": round(100 * eer, 4),
        "low": round(100 * low, 4),
        "high": round(100 * high, 4),
        "source": "measured here",
    }
    return pd.DataFrame([*rows, measured])

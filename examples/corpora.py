"""A corpus of one's own: labels of the sound, a saved split, a search for leaks, trials, a CSV.

Makes 80 small sounds of ten voices, so it needs no download: pip install
'speechprobe[pitch,loudness]'. Writes results/tones, results/tones.csv and results/tones.json.
"""

import shutil
from pathlib import Path

import numpy as np

import speechprobe as sp
from speechprobe.datasets import labels, splits

results = Path("results")


def main() -> None:
    """Label the sounds, split them, search for leaks, draw trials and write the table."""
    make_sounds(results / "tones")
    corpus = sp.datasets.load_folder(results / "tones", labels=gender)
    corpus = corpus.label("pitch", labels.median_pitch).label("lufs", labels.loudness)
    print(f"{corpus}\n{corpus.table.groupby('gender')[['pitch', 'lufs']].mean().round(1)}\n")

    split = splits.stratified_by_group(corpus.table, label="gender", fractions=(0.4, 0.2, 0.4))
    split.save(results / "tones.json", corpus.table, groups="speaker")
    split = splits.load(results / "tones.json", corpus.table)
    for name, rows in split._asdict().items():
        print(f"{name}: {corpus.table['gender'].iloc[rows].value_counts().sort_index().to_dict()}")

    # The same sound under two names is a leak that speakers do not show.
    train, test = (corpus.column("path")[rows[0]] for rows in (split.train, split.test))
    shutil.copy(train, test)
    report = splits.leakage_report(corpus, split)
    print(f"\n{report}\n{report.same_audio}\n")

    trials = sp.datasets.make_trials(corpus, 100, seed=0, within="gender")
    print(f"{len(trials)} trials, {trials['same'].sum()} of the same speaker:\n{trials.head(3)}\n")
    corpus.to_csv(results / "tones.csv")
    print(f"{results / 'tones.csv'}: {(results / 'tones.csv').read_text().splitlines()[0]}")


def gender(path: Path) -> dict[str, str]:
    """Return the sex that a voice's name begins with."""
    return {"gender": path.parent.name[0]}


def make_sounds(root: Path) -> None:
    """Write eight tones of each of ten voices, a little noise beneath them."""
    generator = np.random.default_rng(0)
    time = np.arange(16_000) / 16_000
    for number in range(10):
        sex, pitch = ("F", 200) if number % 2 else ("M", 110)
        (root / f"{sex}{number}").mkdir(parents=True, exist_ok=True)
        for take in range(8):
            base = pitch * generator.uniform(0.9, 1.1)
            tone = sum(np.sin(2 * np.pi * base * k * time) / k for k in range(1, 10))
            noise = generator.normal(scale=0.01, size=len(time))
            sp.audio.write(root / f"{sex}{number}" / f"{take}.flac", 0.1 * tone + noise, 16_000)


if __name__ == "__main__":
    main()

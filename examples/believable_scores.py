"""What makes a probe's number worth believing: floors, controls, differences, choices.

The four layers are made up, so that the truth is known: `absent` holds nothing of the speaking
rate, `linear` holds it plainly, `quadratic` only as the product of two dimensions, and `length`
only as far as fast utterances are short. Nothing is downloaded; it takes some seconds.
"""

import numpy as np
import pandas as pd
from scipy.stats import loguniform

import speechprobe as sp

N_SPEAKERS, N_EACH, N_DIMS = 40, 12, 8


def planted() -> tuple[sp.Features, sp.Features]:
    """Return the four layers, and the same layers of a twin that was not trained: noise."""
    draw = np.random.default_rng(0)
    n_items = N_SPEAKERS * N_EACH
    rate = draw.normal(size=n_items)
    duration = draw.normal(size=n_items) - rate
    items = pd.DataFrame(
        {
            "speaker": np.repeat([f"s{number:02d}" for number in range(N_SPEAKERS)], N_EACH),
            "rate": rate,
            "duration": duration,
        }
    )
    layers = {name: draw.normal(size=(n_items, N_DIMS)) for name in ("absent", "linear")}
    layers["linear"][:, 0] += rate
    layers["quadratic"] = draw.normal(size=(n_items, N_DIMS))
    factor = layers["quadratic"][:, 0]
    layers["quadratic"][:, 1] = rate / np.where(np.abs(factor) < 0.3, 0.3, factor)
    layers["length"] = draw.normal(size=(n_items, N_DIMS))
    layers["length"][:, 0] += 2 * duration
    noise = {name: draw.normal(size=(n_items, N_DIMS)) for name in layers}
    return sp.Features(layers, items), sp.Features(noise, items)


def main() -> None:
    """Ask which layers know the speaking rate, and ask the answers back."""
    features, untrained = planted()
    asked = {"target": "rate", "groups": "speaker", "metrics": sp.metrics.r2}
    ridge = sp.probes.RidgeProbe()
    mlp = sp.probes.TorchMLPRegressor((32,), learning_rate=3e-3, epochs=30)

    by_ridge = sp.probe_layers(features, probe=ridge, floor=untrained, **asked)
    by_mlp = sp.probe_layers(features, probe=mlp, floor=untrained, **asked)
    print("A linear probe, and its gap to the highest floor:", by_ridge.floors(), sep="\n")
    print("\nA perceptron finds what is not linear:", by_mlp.table()["score"], sep="\n")

    best = by_mlp.best()
    print(f"\nChosen on validation items: {best.layer}, R2 {best.score:.2f} on test items")
    pairs = by_mlp.differences()[["layer", "other", "difference", "low", "high", "p_holm"]]
    print("\nIs another layer worse than it? Corrected for their number:", pairs, sep="\n")

    beyond = sp.probe_layers(features, probe=ridge, control_for=["duration"], **asked)
    print("\nBeyond the duration:", beyond.table()[["score", "low", "high", "gap"]], sep="\n")

    curve = sp.learning_curve(features, probe=mlp, widths=[2, 32], n_folds=3, **asked).table()
    print("\nWith more speakers, and a wider probe:")
    print(curve.loc["quadratic", ["n_train_groups", "width", "score"]].to_string(index=False))

    layer, rate = features["quadratic"], features.items["rate"].to_numpy()
    space = {"learning_rate": loguniform(1e-5, 1e-1), "epochs": [10, 40]}
    speaker = features.items["speaker"].to_numpy()
    found = sp.probes.tune(mlp, space, layer, rate, groups=speaker)
    print(f"\nSettings chosen on held-out speakers: {found.best}")

    fast = np.where(rate > 0, "fast", "slow")
    for name in ("absent", "linear"):
        told = sp.probes.mdl(features[name], fast, probe=sp.probes.LogisticProbe(), groups=speaker)
        print(f"fast or slow, given {name}: {told.bits:.0f} of {told.uniform_bits:.0f} bits")


if __name__ == "__main__":
    main()

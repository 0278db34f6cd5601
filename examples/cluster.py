"""Extract and probe on a Ray cluster; without one, on two workers of this machine.

    python examples/cluster.py [--address ADDRESS] [--workers N] [--gpus PART] [--store FOLDER]

ADDRESS is what `ray.init` takes: "auto" on a machine of the cluster. The store must then be a
folder, or an address such as s3://bucket/features, that all machines see. Stop it whenever you
like: the same call goes on where it stopped. Needs pip install 'speechprobe[demo,ray]'.
"""

import argparse

import speechprobe as sp

HOP_SECONDS = 0.05


def main() -> None:
    """Extract two models on the cluster, then probe the layers of both at once."""
    parser = argparse.ArgumentParser(description="Extraction and probing on Ray")
    parser.add_argument("--address")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of a worker")
    parser.add_argument("--store", default="results/cluster")
    parser.add_argument("--voices", type=int, default=20)
    given = parser.parse_args()

    engine = sp.engines.Ray(given.workers, num_gpus_per_worker=given.gpus, address=given.address)
    corpus = sp.datasets.load_synthetic(
        "results/synthetic_cluster", n_voices=given.voices, n_utterances=6, seed=0
    )
    corpus = corpus.label("rate", sp.datasets.labels.speaking_rate)
    models = {
        "trained": sp.extractors.load_crepe("tiny", hop_seconds=HOP_SECONDS),
        "untrained": sp.extractors.load_crepe("tiny", hop_seconds=HOP_SECONDS, untrained=True),
    }
    features = {
        name: sp.extract(corpus, model, store=f"{given.store}/{name}", engine=engine)
        for name, model in models.items()
    }
    for name, each in features.items():
        told = each.provenance
        print(
            f"{name}: {told['sound_seconds']:.0f} s of sound in {told['seconds']:.1f} s, the start "
            f"of the workers included; they waited {told['seconds_waiting']:.1f} s for files and "
            f"held {told['worker_peak_memory_bytes'] or 0:,} bytes at most"
        )
    scores = sp.probe_layers(
        features,
        target="rate",
        groups="speaker",
        probe=sp.probes.RidgeProbe(),
        metrics=sp.metrics.r2,
        engine=engine,
    )
    for name, each in scores.items():
        print(f"\nspeaking rate, {name}\n{each.table().to_string()}")


if __name__ == "__main__":
    main()

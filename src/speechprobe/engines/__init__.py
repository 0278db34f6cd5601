"""Runs an extractor over utterances: reads ahead with threads, batches by length, names culprits.

Utterances are taken in windows of some hundreds in the order of the corpus, sorted by length
inside a window and packed into batches, so that what is finished is always close to a prefix of
the corpus and a batch wastes little padding. How much sound a batch holds is measured on the first
of them where it is "auto", see `speechprobe.engines.batching`.

`Ray` spreads an extraction, a probing or a search over a cluster.
"""

from speechprobe._ray import Ray
from speechprobe.engines.batching import pack, resolve_batch_seconds
from speechprobe.engines.protocol import Engine, check_engine, has_gpus
from speechprobe.engines.reading import Source, resolve_workers
from speechprobe.engines.serial import Done, Serial

__all__ = [
    "Done",
    "Engine",
    "Ray",
    "Serial",
    "Source",
    "check_engine",
    "has_gpus",
    "pack",
    "resolve_batch_seconds",
    "resolve_workers",
]

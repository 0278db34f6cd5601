r"""The store of features: a folder of shards that survives being killed anywhere.

Layout
------
``features.json``
    What made the features (extractor, weights hash, layers, pooling), what it cost, the type of
    each label column, what failed.
``failures-00000.json``, ...
    What failed in each of several processes, until the last of them ends.
``items.csv``
    The labels, one row an item; a text that is missing is written ``\N``, a list as JSON.
``part-00000.safetensors``, ...
    One tensor (n_rows, n_dims) a layer, float32; the metadata entry ``ids`` is the JSON list of
    the ids of the rows, ``durations`` the lengths of their recordings in seconds, ``layers`` the
    names of the layers in depth order.

Of a ragged pooling, such as every frame, a layer's tensor holds the rows of all items one behind
the other, (total_frames, n_dims) in float32 or float16, and the tensor ``LAYER:n_frames`` (n_rows,)
says how many each item has, in the order of ``ids``. Where items are spans of recordings, the
metadata entry ``spans`` is the JSON list of their (start, end) in seconds.

Every file is written under a temporary name, flushed to the disk and then renamed, so a file with
its final name is whole; in an object store it is one put. Rows are found by id: a run that was
killed goes on with the ids that no shard holds. A store belongs to one extractor with one pooling;
another is refused.

Several processes may write one store at once. A shard has one writer, and its number tells whose
turn it was: of `world_size` processes, process `rank` takes the numbers that leave `rank` when
divided by `world_size`. The one that finds everything done writes the labels and the record.
"""

from speechprobe.store.arrays import RaggedLayer, StoredLayer, StoredRaggedLayer
from speechprobe.store.folder import FORMAT, Store, as_json, read_items, read_layers, read_record
from speechprobe.store.items import as_stored
from speechprobe.store.places import Place, place_of
from speechprobe.store.shards import Rows, write_shard

__all__ = [
    "FORMAT",
    "Place",
    "RaggedLayer",
    "Rows",
    "Store",
    "StoredLayer",
    "StoredRaggedLayer",
    "as_json",
    "as_stored",
    "place_of",
    "read_items",
    "read_layers",
    "read_record",
    "write_shard",
]

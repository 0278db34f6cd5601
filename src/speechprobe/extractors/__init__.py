"""Extractors: anything that turns a signal into frames per layer.

An extractor has a `name`, a `sample_rate` and is called with one signal; see `Extractor`. Ours
also take batches and pool on the device, inside the forward hook; see `BatchExtractor`. Any
`torch.nn.Module` becomes one with `ModuleExtractor`.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

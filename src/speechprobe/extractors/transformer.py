"""Speech transformers from Hugging Face: wav2vec 2.0 and its kin, w2v-BERT, Whisper, AST.

Known families: wav2vec 2.0 (base, large, XLS-R, MMS), HuBERT, WavLM, data2vec-audio, UniSpeech,
UniSpeech-SAT, wav2vec 2.0 conformer, SEW, SEW-D, w2v-BERT 2.0, Whisper's encoder and the audio
spectrogram transformer. Parts are found by their structure, so others may work as well.

Conventions
-----------
Layers are module paths, as the library names them. ``encoder.layers.0:input`` is what enters the
first block (the stem plus positions), ``encoder.layers.k`` what block k gives out,
``encoder.layer_norm`` what leaves the final norm, where one follows the blocks. The library's
`hidden_states` but the last are the input of block 0 and every block but the last. Its
`last_hidden_state` is the last block where no norm follows, and otherwise the final norm (wav2vec
2.0 large and its kin, conformer, Whisper, AST); the last block before that norm, which the library
gives for AST alone, is a layer here. For SEW and SEW-D it is neither, but the last block upsampled
to twice the frame rate (``encoder.upsample``).

Each signal is normalised by the feature extractor saved with the model, once, and alone. A mask is
given only where that feature extractor wants one. `transformer_inputs` says which frames are those
of a signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from speechprobe._optional import require
from speechprobe.extractors.base import check_signals
from speechprobe.extractors.hooks import require_eval
from speechprobe.extractors.layout import Layout, with_arithmetic
from speechprobe.extractors.module import ModuleExtractor
from speechprobe.extractors.padding import noise
from speechprobe.extractors.transformer_inputs import Window, front_end
from speechprobe.extractors.transformer_layers import find_final_norm, frame_rules, named_layers
from speechprobe.extractors.transformer_loading import (
    find_folder,
    load_features,
    load_network,
    of_network,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TransformerExtractor(ModuleExtractor):
    """Layers of a Hugging Face speech transformer.

    Parameters
    ----------
    model
        A folder as `save_pretrained` writes it (with its `preprocessor_config.json`), the name of a
        repository of the hub, which is fetched once, or a network of the library in eval mode. The
        feature extractor of a network is that of the folder or repository it was loaded from, and
        its family's with default settings where it comes from none.
    layers
        Parts of the network by name, module paths or patterns, in any mix. "blocks", the default:
        the input of the first block, every block, and the final norm where it comes after the
        blocks. "conv": each layer of the convolutional stem. "attention" and "feed_forward": what
        each block's attention and feed-forward network give out, before they are added.
    name
        Short name; the folder's by default.
    device, dtype, padding
        As in `ModuleExtractor`.
    untrained
        The same architecture with fresh random weights (seed 0).
    revision
        Branch, tag or commit of the hub's repository.

    Attributes
    ----------
    max_seconds : float or None
        The longest signal, for networks that see one window: 30 s for Whisper, 10.24 s for AST.

    Raises
    ------
    ImportError
        If transformers is not installed.
    FileNotFoundError
        If there is no such folder or repository, or it lacks settings or weights.
    ValueError
        If the folder holds weights of other names than the network needs, which the library
        would fill with random numbers; if a file of weights holds more than tensors; or if the
        network needs code of the repository.

    Examples
    --------
    A tiny network with random weights; ``TransformerExtractor("openai/whisper-base")`` is a trained
    one.

    >>> import tempfile
    >>> from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor
    >>> folder = tempfile.mkdtemp()
    >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "conv_dim": [8] * 7}
    >>> config = Wav2Vec2Config(num_hidden_layers=2, num_attention_heads=2, **sizes)
    >>> config.save_pretrained(folder)
    >>> _ = Wav2Vec2FeatureExtractor().save_pretrained(folder)
    >>> extractor = TransformerExtractor(folder, untrained=True)
    >>> extractor.layers
    ('encoder.layers.0:input', 'encoder.layers.0', 'encoder.layers.1')
    >>> extractor(np.zeros(16_000, np.float32))["encoder.layers.1"].shape
    (49, 16)
    """

    def __init__(
        self,
        model: str | Path | nn.Module,
        *,
        layers: str | Sequence[str] = "blocks",
        name: str | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        padding: Literal["measure", "never", "allow"] = "measure",
        untrained: bool = False,
        revision: str | None = None,
    ) -> None:
        transformers = require("transformers", extra="transformers")
        network: Any
        if isinstance(model, nn.Module):
            network, features, path = of_network(
                transformers, model, untrained=untrained, revision=revision
            )
        else:
            folder = find_folder(model, revision=revision, weights=not untrained)
            network = load_network(transformers, folder, untrained=untrained)
            features, path = load_features(transformers, folder), Path(model)
        require_eval(network)  # layer drop would hide a block from what is looked for below
        self._front = front_end(features, network.config, frame_rules(network))
        final_norm = find_final_norm(network, self._front([noise(self._front.sample_rate)]))
        super().__init__(
            network,
            layers=named_layers(network, layers, final_norm=final_norm),
            sample_rate=self._front.sample_rate,
            name=name or path.name + ("-untrained" if untrained else ""),
            device=device,
            dtype=dtype,
            padding=padding,
        )
        self._final_norm = final_norm
        longest = self._front.max_samples
        self.max_seconds = longest / self.sample_rate if longest else None

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers: weights, layers, front end, padding."""
        settings = self._front.features.to_dict()
        plain = {
            key: value for key, value in settings.items() if isinstance(value, str | int | float)
        }
        return super().provenance | {"preprocess": plain}

    def _find_layouts(self) -> dict[str, Layout]:
        if isinstance(self._front, Window):
            shapes = self._dry_run(2, self.sample_rate)
            return {layer: self._front.window_layout(layer, x) for layer, x in shapes.items()}
        # Finding the arithmetic by dry runs alone takes half a minute for large networks. The rules
        # of these are known, and two dry runs tell which layer follows which.
        lengths = (self.sample_rate, 4 * self.sample_rate // 3 + 7)
        seen = {n: self._dry_run(1, n) for n in lengths}
        layouts = {
            layer: self._front.layout(layout, {n: seen[n][layer] for n in lengths})
            for layer, layout in super()._find_layouts().items()
        }
        rest = {layer: each for layer, each in layouts.items()
                if each.time_axis is not None and not each.stride}  # fmt: skip
        return layouts | (with_arithmetic(rest, self._dry_run, self.sample_rate) or {})

    def _inputs(self, signals: Sequence[NDArray[np.float32]]) -> dict[str, Tensor]:
        check_signals(signals)
        for signal in signals:
            self._require_length(len(signal))
        inputs = self._front(signals)
        return {key: value.to(self.device) for key, value in inputs.items()}

    def _may_batch(self) -> bool:
        return True  # tested for every family: each signal is normalised over itself

    def _may_pad(self) -> bool:
        if isinstance(self._front, Window) and self.padding != "never":
            # Any signal is filled up to the same window, alone and in a batch: nothing to measure.
            self.padding_error = dict.fromkeys(self._layouts, 0.0)
            return True
        return super()._may_pad()

    def _forward(self, inputs: Any) -> None:
        # Some versions of the library draw for LayerDrop in eval mode, too.
        with torch.random.fork_rng(devices=[]):
            super()._forward(inputs)

    def _require_length(self, n_samples: int) -> None:
        shortest, longest = self._front.min_samples, self._front.max_samples
        if n_samples < shortest:
            raise ValueError(
                f"a signal of {n_samples} samples is too short for {self.name}, which needs "
                f"{shortest} ({1000 * shortest / self.sample_rate:.0f} ms) for one frame"
            )
        if longest and n_samples > longest:
            raise ValueError(
                f"{self.name} sees {self.max_seconds:g} s, a signal has "
                f"{n_samples / self.sample_rate:.1f} s; wrap it in speechprobe.extractors."
                f"Windowed(extractor, window_seconds={self.max_seconds:g})"
            )

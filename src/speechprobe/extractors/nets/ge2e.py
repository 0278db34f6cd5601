"""Resemblyzer's speaker encoder: three LSTM layers, trained with the GE2E loss.

Wan, Wang, Papir, Lopez Moreno: "Generalized end-to-end loss for speaker verification", ICASSP
2018, https://arxiv.org/abs/1710.10467.

Conventions
-----------
Features are (B, T, n_mels), the power in mel bands without a logarithm. Each LSTM layer is a module
of its own, ``lstm.0`` to ``lstm.2``, so that its output (B, T, n_hidden) can be captured;
`from_resemblyzer` renames the weights of Resemblyzer's one module. An LSTM only looks back, so what
stands behind a row's end changes nothing before it, and a padded batch gives what single utterances
give.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from speechprobe.extractors.nets.masking import masked_mean
from speechprobe.extractors.nets.resnet import valid_lengths

PARTIAL = 160  # frames of a partial utterance: 1.6 s
STEP = 77  # frames from one to the next: 1.3 of them a second
_IN_TRAINING = ("similarity_weight", "similarity_bias")


class _Encoder(nn.Module):
    """LSTM layers, Linear and ReLU of the last valid frame."""

    def __init__(
        self, n_mels: int = 40, n_hidden: int = 256, n_layers: int = 3, n_dims: int = 256
    ) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.lstm = nn.ModuleList(
            nn.LSTM(n_hidden if number else n_mels, n_hidden, batch_first=True)
            for number in range(n_layers)
        )
        self.linear = nn.Linear(n_hidden, n_dims)

    def _at_the_end(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Return vectors (B, n_dims), of any Euclidean length."""
        x = features
        for layer in self.lstm:
            x, _ = layer(x)
        rows = torch.arange(len(x), device=x.device)
        last = x[:, -1] if lengths is None else x[rows, lengths.to(x.device) - 1]
        return torch.relu(self.linear(last))

    def _require_bands(self, features: Tensor, fewest: int) -> None:
        if features.ndim != 3 or features.shape[-1] != self.n_mels or features.shape[1] < fewest:
            raise ValueError(
                f"expected features (B, T, {self.n_mels}) of T >= {fewest} frames, got "
                f"{tuple(features.shape)}"
            )


class GE2E(_Encoder):
    """The encoder of whole utterances.

    Parameters
    ----------
    n_mels
        Mel bands.
    n_hidden
        Dimensions of an LSTM layer.
    n_layers
        Number of LSTM layers.
    n_dims
        Dimensions of the embedding.

    Raises
    ------
    ValueError
        When called, if the features have another shape or a length is not from 1 to T.

    Examples
    --------
    >>> network = GE2E()
    >>> sum(parameter.numel() for parameter in network.parameters())
    1423616
    >>> network.eval()(torch.zeros(2, 160, 40)).shape
    torch.Size([2, 256])
    """

    def __init__(
        self, n_mels: int = 40, n_hidden: int = 256, n_layers: int = 3, n_dims: int = 256
    ) -> None:
        super().__init__(n_mels, n_hidden, n_layers, n_dims)
        self.embedding = UnitLength()

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings (B, n_dims) of features (B, T, n_mels) with `lengths` (B,) frames."""
        self._require_bands(features, 1)
        lengths = valid_lengths(features, lengths)
        embedding: Tensor = self.embedding(self._at_the_end(features, lengths))
        return embedding


class PartialGE2E(_Encoder):
    """The encoder over partial utterances, as Resemblyzer embeds a whole one.

    160 frames (1.6 s) at a time, 77 frames (0.77 s) apart, are embedded each on their own
    (``partials``); the mean, brought to unit length, is the utterance's ``embedding``. The LSTM
    layers give (B n_partials, 160, n_hidden).

    Parameters
    ----------
    n_mels, n_hidden, n_layers, n_dims
        As in `GE2E`.

    Raises
    ------
    ValueError
        When called, if the features have another shape or fewer than 160 frames.

    Examples
    --------
    >>> PartialGE2E().eval()(torch.zeros(2, 400, 40)).shape
    torch.Size([2, 256])
    """

    def __init__(
        self, n_mels: int = 40, n_hidden: int = 256, n_layers: int = 3, n_dims: int = 256
    ) -> None:
        super().__init__(n_mels, n_hidden, n_layers, n_dims)
        self.partials = UnitLength()
        self.embedding = UnitLength()

    def forward(self, features: Tensor, n_partials: Tensor | None = None) -> Tensor:
        """Return embeddings (B, n_dims) of features (B, T, n_mels), `n_partials` (B,) of each."""
        self._require_bands(features, PARTIAL)
        cut = features.unfold(1, PARTIAL, STEP).transpose(2, 3)
        vectors = self._at_the_end(cut.flatten(0, 1), None)
        partials = self.partials(vectors.reshape(*cut.shape[:2], -1))
        embedding: Tensor = self.embedding(masked_mean(partials.transpose(1, 2), n_partials))
        return embedding


class UnitLength(nn.Module):
    """Vectors brought to Euclidean length 1; a vector of zeros stays as it is.

    Examples
    --------
    >>> UnitLength()(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """

    def forward(self, vectors: Tensor) -> Tensor:
        """Return vectors (..., n_dims) of unit length."""
        return nn.functional.normalize(vectors, dim=-1)


def from_resemblyzer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return Resemblyzer's weights under the names of `GE2E`.

    Parameters
    ----------
    state
        Its ``model_state``: ``lstm.weight_ih_l0``, ..., ``linear.weight``, and the scale and offset
        of the loss, which are left out.

    Examples
    --------
    >>> state = {"lstm.bias_hh_l2": torch.zeros(1024), "similarity_bias": torch.zeros(1)}
    >>> list(from_resemblyzer(state))
    ['lstm.2.bias_hh_l0']
    """
    return {
        re.sub(r"^lstm\.(\w+)_l(\d+)$", r"lstm.\2.\1_l0", name): value
        for name, value in state.items()
        if name not in _IN_TRAINING
    }

"""Tells torchaudio's speech transformers where each row of a padded batch ends.

wav2vec 2.0 (Baevski et al., NeurIPS 2020, https://arxiv.org/abs/2006.11477) and its kin look over
a signal's end in three places: the group norm behind the first convolution of the base networks,
the convolution that gives the positions, and attention. Given lengths, torchaudio masks the last
two in wav2vec 2.0 and HuBERT, and refuses them in WavLM. Hooks for one forward pass mask all three
in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from speechprobe.extractors.nets.masking import mask, masked_mean, through, valid


@contextmanager
def masked_inside(network: nn.Module, n_samples: Tensor) -> Iterator[None]:
    """Let the rows of a padded batch give what they give alone, inside the block.

    Parameters
    ----------
    network
        A `torchaudio.models.Wav2Vec2Model`, called with waveforms (B, n_samples) alone.
    n_samples
        Valid samples of each row, shape (B,).
    """
    with ExitStack() as stack:
        n_frames = n_samples
        for convolution in _parts(network, "feature_extractor.conv_layers"):
            n_frames = _counted(n_frames, convolution)
            if isinstance(convolution.layer_norm, nn.GroupNorm):
                _replace_output(stack, convolution.layer_norm, _group_norm(n_frames))
        projection = network.get_submodule("encoder.feature_projection")
        # Zeros are what the positions' convolution sees behind the end of a signal alone.
        _replace_output(stack, projection, lambda _module, _x, y: mask(y.mT, n_frames).mT)
        for block in _parts(network, "encoder.transformer.layers"):
            add_mask = _attention_mask(n_frames)
            handle = block.attention.register_forward_pre_hook(add_mask, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _parts(network: nn.Module, path: str) -> list[Any]:
    return list(network.get_submodule(path).children())


def _counted(lengths: Tensor, convolution: Any) -> Tensor:
    counted = through(lengths, convolution.conv)
    assert counted is not None
    return counted


def _replace_output(stack: ExitStack, part: nn.Module, hook: Callable[..., Tensor]) -> None:
    # First of all hooks, so that the layer is captured as the next part sees it.
    stack.callback(part.register_forward_hook(hook, prepend=True).remove)


def _group_norm(n_frames: Tensor) -> Callable[..., Tensor]:
    """Return a hook that gives a group norm over the valid frames of each row."""

    def masked(norm: nn.GroupNorm, args: tuple[Tensor], _output: Tensor) -> Tensor:
        x = args[0].float()
        groups = x.reshape(len(x), norm.num_groups, -1, x.shape[-1])
        centred = groups - masked_mean(groups, n_frames).mean(-1)[..., None, None]
        variance = masked_mean(centred.square(), n_frames).mean(-1)[..., None, None]
        normal = (centred / (variance + norm.eps).sqrt()).flatten(1, 2)
        return torch.addcmul(norm.bias[:, None], normal, norm.weight[:, None])

    return masked


def _attention_mask(n_frames: Tensor) -> Callable[..., Any]:
    """Return a hook that hides the frames behind each row's end from attention."""

    def masked(
        attention: Any, args: tuple[Tensor, ...], settings: dict[str, Any]
    ) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        n_rows, longest = args[0].shape[:2]
        inside = valid(args[0].mT, n_frames)
        if hasattr(attention, "gru_rel_pos"):  # WavLM's adds its mask to the position bias
            hidden = torch.zeros(n_rows, longest, device=inside.device)
            hidden.masked_fill_(~inside[:, 0], -torch.inf)
            return args, settings | {"key_padding_mask": hidden}
        seen = inside[:, None].expand(n_rows, 1, longest, longest)
        return args, settings | {"attention_mask": seen}

    return masked

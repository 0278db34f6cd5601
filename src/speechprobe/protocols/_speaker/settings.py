"""How a speaker network is trained: settings that say what they allow, and losses by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import nn

from speechprobe.probes import losses

MakeLoss = Callable[[int, int], nn.Module]

LOSSES: dict[str, MakeLoss] = {
    "softmax": losses.Softmax,
    "amsoftmax": losses.AMSoftmax,
    "aamsoftmax": losses.AAMSoftmax,
    "angleproto": lambda n_dims, n_speakers: losses.AngleProto(),  # noqa: ARG005 one call for all
    "softmaxproto": losses.SoftmaxProto,
    "ge2e": lambda n_dims, n_speakers: losses.GE2ELoss(),  # noqa: ARG005 one call for all
}

# Whole numbers from the least; None, where it is the default, is no number to check.
_WHOLE = {"epochs": 1, "decay_every": 1, "n_speakers": 2, "n_utterances": 1, "rounds": 1,
          "evaluate_every": 1, "n_trials": 2, "seed": 0}  # fmt: skip
_POSITIVE = ("learning_rate", "decay", "crop_seconds", "max_gradient_norm")
_NOUGHT_OR_MORE = ("weight_decay", "held_out", "most_bytes")
_NONE_ALLOWED = ("rounds", "max_gradient_norm")
_CHOICES = {"precision": ("float32", "bf16"), "few_files": ("raise", "leave_out", "reuse")}


@dataclass(frozen=True, kw_only=True)
class SpeakerTraining:
    """How `train_speaker_net` trains.

    Parameters
    ----------
    epochs
        Passes over the speakers; see `rounds`.
    n_speakers, n_utterances
        Speakers of a batch, and crops of each.
    crop_seconds
        Length of a crop; where it starts is drawn anew each time.
    rounds
        How often an epoch takes every speaker, `n_utterances` crops each time. None takes as many
        as let the median speaker's files be heard once. Speakers are shuffled for each round, and
        those beyond its last whole batch are left out of it.
    learning_rate, weight_decay
        Of Adam.
    decay, decay_every
        The learning rate is multiplied by `decay` after every `decay_every` epochs.
    max_gradient_norm
        Gradients longer than this are scaled down to it; None leaves them. Their norm before that
        stands in the curves.
    precision
        "bf16" runs the network under autocast; features, loss and weights stay as they are.
    held_out
        Share of the speakers that validation is made from, at least two; 0 does without.
    evaluate_every
        Epochs from one validation to the next; the last epoch always has one.
    n_trials
        Trials of validation, half of them of one speaker; fewer where there are not so many pairs.
    few_files
        What to do with files shorter than a crop, and speakers with fewer than `n_utterances`
        files. "raise" lists them. "leave_out" drops such files, then such speakers. "reuse" lets
        crops of one file serve as several utterances, without overlap where the file is long
        enough; short files are dropped where the speaker has others, and repeated up to a crop
        where not.
    most_bytes
        Samples are kept in memory, as 16-bit integers, if they take no more than this; otherwise
        every crop is read from its file.
    seed
        Of everything that is drawn.

    Raises
    ------
    ValueError
        If a setting is out of its range.

    Examples
    --------
    >>> settings = SpeakerTraining(learning_rate=0.001, decay=0.5, decay_every=2)
    >>> [settings.rate(epoch) for epoch in (1, 2, 3, 4, 5)]
    [0.001, 0.001, 0.0005, 0.0005, 0.00025]
    """

    epochs: int = 20
    n_speakers: int = 32
    n_utterances: int = 2
    crop_seconds: float = 2.0
    rounds: int | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    decay: float = 0.95
    decay_every: int = 1
    max_gradient_norm: float | None = None
    precision: Literal["float32", "bf16"] = "float32"
    held_out: float = 0.1
    evaluate_every: int = 1
    n_trials: int = 2000
    few_files: Literal["raise", "leave_out", "reuse"] = "raise"
    most_bytes: int = 4 << 30
    seed: int = 0

    def __post_init__(self) -> None:
        given = {
            name: value
            for name, value in vars(self).items()
            if value is not None or name not in _NONE_ALLOWED
        }
        for name, least in _WHOLE.items():
            value = given.get(name, least)
            if not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")
        for name in _POSITIVE:
            value = given.get(name, 1)
            if not _is_number(value) or not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a number above 0 and finite, got {value!r}")
        for name in _NOUGHT_OR_MORE:
            if not _is_number(given[name]) or not given[name] >= 0:
                raise ValueError(f"{name} must be a number, 0 or more, got {given[name]!r}")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share of the speakers, below 1, got {self.held_out!r}")
        for name, allowed in _CHOICES.items():
            if given[name] not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {given[name]!r}")

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 1."""
        return self.learning_rate * self.decay ** ((epoch - 1) // self.decay_every)


def make_loss(loss: str | MakeLoss, n_dims: int, n_speakers: int) -> nn.Module:
    """Return a loss of a name, or what the function of (n_dims, n_speakers) makes.

    Raises
    ------
    ValueError
        If there is no such name.
    TypeError
        If it is neither, or makes no module.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {list(LOSSES)} or a function, got {loss!r}")
        return LOSSES[loss](n_dims, n_speakers)
    if isinstance(loss, nn.Module) or not callable(loss):
        raise TypeError(
            "loss must be a name or a function (n_dims, n_speakers) -> module, for the number of "
            f"speakers is known only then; got {_shown(loss)}. Try: "
            "lambda n_dims, n_speakers: AMSoftmax(n_dims, n_speakers, margin=0.2)"
        )
    made = loss(n_dims, n_speakers)
    if not isinstance(made, nn.Module):
        raise TypeError(f"loss must make a module, got {_shown(made)}")
    return made


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)


def _shown(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})" if value is not None else "None"

"""One run of training: a network, its loss and Adam, epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from speechprobe._files import hide_progress
from speechprobe.extractors.untrained import local_seed
from speechprobe.protocols._speaker.batches import Plan, batches
from speechprobe.protocols._speaker.files import Recordings
from speechprobe.protocols._speaker.settings import SpeakerTraining

_DROPOUT = 3  # begins the seed of what a network draws, so that it is independent of all others
_NETWORK, _LOSS, _ADAM = "network.", "loss.", "adam."

Tensors = dict[str, Tensor]
Row = dict[str, Any]


class Run:
    """Trains a network in place.

    Parameters
    ----------
    network
        Takes features (B, T, n_dims) and gives embeddings (B, n_dims).
    loss
        Called as the losses of `speechprobe.probes.losses`.
    frontend
        Waveforms (B, n_samples) to features.
    settings
        How to train.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        frontend: Callable[[Tensor], Tensor],
        settings: SpeakerTraining,
    ) -> None:
        self.network, self.loss, self.frontend, self.settings = network, loss, frontend, settings
        self._place = next(network.parameters())
        loss.to(self._place)
        self._learning = [
            each for part in (network, loss) for each in part.parameters() if each.requires_grad
        ]
        self._adam = torch.optim.Adam(
            self._learning,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def learn(
        self, recordings: Recordings, plan: Plan, n_crop: int, epoch: int, *, progress: bool
    ) -> Row:
        """Train for an epoch; return its means over the batches, as a row of the curves.

        Raises
        ------
        FloatingPointError
            If the loss or a gradient is not finite. The weights are those before that step.
        """
        began = time.perf_counter()
        rate = self.settings.rate(epoch)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self.network.train()
        self.loss.train()
        found = []
        with _own_draws(self.settings.seed, epoch, self._place.device):
            steps = batches(recordings, plan, n_crop)
            for number, batch in enumerate(
                tqdm(steps, f"epoch {epoch}", len(plan.speakers), disable=hide_progress(progress))
            ):
                found.append(self._step(*batch))
                _require_finite(found[-1], epoch, number + 1, rate)
                self._adam.step()
        loss, accuracy, norm = np.mean(found, axis=0).tolist()
        return {
            "epoch": epoch,
            "split": "train",
            "loss": loss,
            "accuracy": accuracy,
            "learning_rate": rate,
            "gradient_norm": norm,
            "seconds": time.perf_counter() - began,
        }

    @torch.enable_grad()
    def _step(self, waveforms: Tensor, speakers: Tensor) -> tuple[float, float, float]:
        """Return loss, accuracy and the norm of the gradients, which are left in place."""
        settings, device = self.settings, self._place.device
        with torch.no_grad():
            features = self.frontend(waveforms.to(device)).to(self._place.dtype)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            embeddings = self.network(features)
        embeddings = embeddings.to(self._place.dtype)
        grouped = embeddings.reshape(len(speakers), settings.n_utterances, -1)
        loss, accuracy = self.loss(grouped, speakers)
        self._adam.zero_grad()
        loss.backward()
        gradients = [each.grad for each in self._learning if each.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if settings.max_gradient_norm is not None:
            nn.utils.clip_grads_with_norm_(self._learning, settings.max_gradient_norm, norm)
        return float(loss.detach()), float(accuracy), float(norm)

    def state(self) -> Tensors:
        """Return the weights and the moments of Adam, copied to the CPU."""
        moments = {
            f"{_ADAM}{number}.{name}": value
            for number, found in self._adam.state_dict()["state"].items()
            for name, value in found.items()
        }
        return self.weights() | _copied(moments)

    def weights(self) -> Tensors:
        """Return the weights of network and loss, copied to the CPU."""
        own = {_NETWORK + name: value for name, value in self.network.state_dict().items()}
        other = {_LOSS + name: value for name, value in self.loss.state_dict().items()}
        return _copied(own | other)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` or `weights` gave."""
        self.network.load_state_dict(_under(_NETWORK, state))
        self.loss.load_state_dict(_under(_LOSS, state))
        moments: dict[int, Tensors] = {}
        for name, value in _under(_ADAM, state).items():
            number, _, kind = name.partition(".")
            moments.setdefault(int(number), {})[kind] = value
        if moments:
            groups = self._adam.state_dict()["param_groups"]
            self._adam.load_state_dict({"state": moments, "param_groups": groups})


def _under(prefix: str, state: Mapping[str, Tensor]) -> Tensors:
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def _copied(state: Mapping[str, Any]) -> Tensors:
    # Copies: weights that are tied share their memory, which a safetensors file does not allow.
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


@contextmanager
def _own_draws(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Let what the network draws (dropout) depend on seed and epoch, and nothing else change."""
    number = int(np.random.SeedSequence([_DROPOUT, seed, epoch]).generate_state(1)[0])
    with local_seed(number):
        if device.type != "cuda":
            yield
            return
        with torch.random.fork_rng([device]), torch.cuda.device(device):
            torch.cuda.manual_seed(number)
            yield


def _require_finite(found: tuple[float, float, float], epoch: int, batch: int, rate: float) -> None:
    loss, _, norm = found
    if not np.isfinite([loss, norm]).all():
        raise FloatingPointError(
            f"epoch {epoch}, batch {batch}: the loss is {loss:.4g} and the norm of the gradients "
            f"{norm:.4g}, at a learning rate of {rate:.3g}; {remedy(learnt=epoch > 1 or batch > 1)}"
        )


def remedy(*, learnt: bool) -> str:
    """Return what to do where numbers are not finite, before the first step or after it."""
    if learnt:
        return "lower learning_rate or set max_gradient_norm"
    return "nothing is learnt yet, so look at the weights of the network and at the front end"

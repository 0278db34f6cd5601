"""Losses that teach a network to tell speakers apart.

Conventions
-----------
Every loss is a module, called ``loss(embeddings, speakers)``: `embeddings` (n_speakers,
n_utterances, n_dims), the utterances of one speaker in each row, and `speakers` (n_speakers,), the
number of each row's speaker among those trained on, from 0. No speaker may stand in two rows. It
gives a `BatchLoss`: the mean cross-entropy in nats and the share of right choices in [0, 1].

==============  =======================================  =================  ====================
loss            one choice is                            among              parameters
==============  =======================================  =================  ====================
`Softmax`       an utterance                             all speakers       n_all (n_dims + 1)
`AMSoftmax`     an utterance, a margin off its cosine    all speakers       n_all n_dims
`AAMSoftmax`    an utterance, a margin onto its angle    all speakers       n_all n_dims
`AngleProto`    the first utterance of a row             the batch's        2
`GE2ELoss`      an utterance                             the batch's        2
`SoftmaxProto`  as `Softmax`, and `AngleProto` added     as these           n_all (n_dims + 1) + 2
==============  =======================================  =================  ====================

The last three compare the speakers of a batch, so it must have two or more, with two utterances or
more of each. The scale of a prototypical loss is held at 1e-6 or more, as both papers want it
positive.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechprobe.probes._losses_base import (
    BatchLoss,
    SpeakerLoss,
    cosines_of,
    judged,
    repeated,
    require,
    require_sizes,
)

_LEAST_SCALE = 1e-6
_LEAST_SQUARE = 1e-7  # of a sine, whose root has no slope at 0


class Softmax(SpeakerLoss):
    """Cross-entropy of a linear layer over all speakers.

    Parameters
    ----------
    n_dims
        Dimensions of the embeddings.
    n_speakers
        Speakers trained on.

    Examples
    --------
    >>> loss = Softmax(2, 3)
    >>> _ = nn.init.zeros_(loss.fc.weight), nn.init.zeros_(loss.fc.bias)
    >>> round(loss(torch.ones(3, 1, 2), torch.arange(3)).loss.item(), 4)  # log 3
    1.0986
    """

    def __init__(self, n_dims: int, n_speakers: int) -> None:
        super().__init__()
        require_sizes(n_dims, n_speakers)
        self.n_dims, self.n_speakers = n_dims, n_speakers
        self.fc = nn.Linear(n_dims, n_speakers)

    def _of(self, embeddings: Tensor, speakers: Tensor) -> BatchLoss:
        return judged(self.fc(embeddings.flatten(0, 1)), repeated(embeddings, speakers))


class AMSoftmax(SpeakerLoss):
    """Additive margin: scale (cos - margin at the true speaker), cross-entropy over all speakers.

    The cosine is that of an embedding and the speaker's weights. Wang, Cheng, Liu, Liu: "Additive
    margin softmax for face verification", IEEE Signal Processing Letters 2018,
    https://arxiv.org/abs/1801.05599, equation 5. The accuracy is that of the logits with the
    margin, so it is below that of the cosines alone.

    Parameters
    ----------
    n_dims
        Dimensions of the embeddings.
    n_speakers
        Speakers trained on.
    scale
        Of the cosines, above 0.
    margin
        Taken off the true speaker's cosine, 0 or more; 0.3 is that of the VoxCeleb study.

    Examples
    --------
    >>> loss = AMSoftmax(2, 2, scale=1.0, margin=0.5)
    >>> _ = loss.weight.data.copy_(torch.eye(2))
    >>> found = loss(torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([0, 1]))
    >>> round(found.loss.item(), 4)  # log(1 + exp(0 - 0.5))
    0.4741
    """

    def __init__(
        self, n_dims: int, n_speakers: int, *, scale: float = 30.0, margin: float = 0.3
    ) -> None:
        super().__init__()
        require_sizes(n_dims, n_speakers)
        require(scale, margin)
        self.n_dims, self.n_speakers = n_dims, n_speakers
        self.scale, self.margin = scale, margin
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_speakers, n_dims)))

    def _of(self, embeddings: Tensor, speakers: Tensor) -> BatchLoss:
        truth = repeated(embeddings, speakers)
        cosines = cosines_of(embeddings.flatten(0, 1), self.weight)
        here = functional.one_hot(truth, len(self.weight)).to(cosines)
        return judged(self.scale * (cosines - self.margin * here), truth)

    def extra_repr(self) -> str:
        """Return the settings, for `repr`."""
        return f"scale={self.scale}, margin={self.margin}"


class AAMSoftmax(SpeakerLoss):
    """Additive angular margin (ArcFace): scale cos(angle + margin) at the true speaker.

    Deng, Guo, Xue, Zafeiriou: "ArcFace: additive angular margin loss for deep face recognition",
    CVPR 2019, https://arxiv.org/abs/1801.07698, equation 3. Cos(angle + margin) rises again where
    the angle is above pi - margin, which would reward the worst embeddings. There the cosine minus
    margin sin(margin) takes its place; the step at the joint is less than margin sin(margin). With
    `easy_margin`, only angles below pi / 2 get a margin and all others keep their cosine.

    Parameters
    ----------
    n_dims
        Dimensions of the embeddings.
    n_speakers
        Speakers trained on.
    scale
        Of the cosines, above 0.
    margin
        Added to the true speaker's angle, in radians, 0 to pi / 2. ArcFace took 0.5 and a scale of
        64 for faces; 0.2 and 30 are usual for speakers.
    easy_margin
        As above.

    Examples
    --------
    >>> loss = AAMSoftmax(2, 2, scale=1.0, margin=torch.pi / 6)
    >>> _ = loss.weight.data.copy_(torch.eye(2))
    >>> found = loss(torch.tensor([[[1.0, 1.0]]]), torch.tensor([0]))
    >>> round(found.loss.item(), 4)  # log(1 + exp(cos 45 - cos 75)), angles in degrees
    0.9422
    """

    def __init__(
        self,
        n_dims: int,
        n_speakers: int,
        *,
        scale: float = 30.0,
        margin: float = 0.2,
        easy_margin: bool = False,
    ) -> None:
        super().__init__()
        require_sizes(n_dims, n_speakers)
        require(scale, margin)
        if margin > math.pi / 2:
            raise ValueError(f"margin is an angle from 0 to pi / 2, got {margin}")
        self.n_dims, self.n_speakers = n_dims, n_speakers
        self.scale, self.margin = scale, margin
        self.easy_margin = easy_margin
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_speakers, n_dims)))

    def _of(self, embeddings: Tensor, speakers: Tensor) -> BatchLoss:
        truth = repeated(embeddings, speakers)
        cosines = cosines_of(embeddings.flatten(0, 1), self.weight)
        own = cosines.gather(1, truth[:, None])
        return judged(self.scale * cosines.scatter(1, truth[:, None], self._moved(own)), truth)

    def _moved(self, cosine: Tensor) -> Tensor:
        sine = (1 - cosine.square()).clamp(min=_LEAST_SQUARE).sqrt()
        moved = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.easy_margin:
            return torch.where(cosine > 0, moved, cosine)
        below = cosine - self.margin * math.sin(self.margin)
        return torch.where(cosine > -math.cos(self.margin), moved, below)

    def extra_repr(self) -> str:
        """Return the settings, for `repr`."""
        return f"scale={self.scale}, margin={self.margin}, easy_margin={self.easy_margin}"


class AngleProto(SpeakerLoss):
    """Angular prototypical: the first utterance of a speaker against the mean of the others.

    Logits are cosine w + b, with w and b learned; cross-entropy over the speakers of the batch.
    Chung et al.: "In defence of metric learning for speaker recognition", Interspeech 2020,
    https://arxiv.org/abs/2003.11982, section 2.2. The mean is that of the embeddings as they come,
    not of their directions.

    Parameters
    ----------
    scale, offset
        What w and b begin at.

    Examples
    --------
    >>> loss = AngleProto()
    >>> embeddings = torch.eye(2)[:, None].repeat(1, 3, 1)  # two speakers at right angles
    >>> found = loss(embeddings, torch.tensor([4, 7]))
    >>> round(found.loss.item(), 6), found.accuracy.item()  # log(1 + exp(-10))
    (4.5e-05, 1.0)
    """

    least_speakers = 2
    least_utterances = 2

    def __init__(self, *, scale: float = 10.0, offset: float = -5.0) -> None:
        super().__init__()
        require(scale)
        self.w = nn.Parameter(torch.tensor(float(scale)))
        self.b = nn.Parameter(torch.tensor(float(offset)))

    def _of(self, embeddings: Tensor, speakers: Tensor) -> BatchLoss:
        cosines = cosines_of(embeddings[:, 0], embeddings[:, 1:].mean(1))
        truth = torch.arange(len(speakers), device=cosines.device)
        return judged(cosines * self.w.clamp(min=_LEAST_SCALE) + self.b, truth)


class GE2ELoss(SpeakerLoss):
    """Generalised end-to-end loss, the softmax variant: each utterance against all centroids.

    Logits are cosine w + b, with w and b learned; a speaker's own centroid leaves the utterance
    out. Wan, Wang, Papir, Lopez Moreno: "Generalized end-to-end loss for speaker verification",
    ICASSP 2018, https://arxiv.org/abs/1710.10467, equations 5, 6 and 8. Embeddings are brought to
    length 1 before the centroids are made, as there. The paper adds the losses of a batch up; here
    it is their mean.

    Parameters
    ----------
    scale, offset
        What w and b begin at.

    Examples
    --------
    >>> loss = GE2ELoss()
    >>> embeddings = torch.eye(2)[:, None].repeat(1, 3, 1)
    >>> round(loss(embeddings, torch.arange(2)).loss.item(), 6)  # log(1 + exp(-10))
    4.5e-05
    """

    least_speakers = 2
    least_utterances = 2

    def __init__(self, *, scale: float = 10.0, offset: float = -5.0) -> None:
        super().__init__()
        require(scale)
        self.w = nn.Parameter(torch.tensor(float(scale)))
        self.b = nn.Parameter(torch.tensor(float(offset)))

    def _of(self, embeddings: Tensor, speakers: Tensor) -> BatchLoss:
        n_utterances = embeddings.shape[1]
        units = functional.normalize(embeddings, dim=-1)
        others = (units.sum(1, keepdim=True) - units) / (n_utterances - 1)
        own = functional.cosine_similarity(units, others, dim=-1)
        cosines = cosines_of(units.flatten(0, 1), units.mean(1))
        truth = torch.arange(len(speakers), device=cosines.device).repeat_interleave(n_utterances)
        cosines = cosines.scatter(1, truth[:, None], own.flatten()[:, None])
        return judged(cosines * self.w.clamp(min=_LEAST_SCALE) + self.b, truth)


class SoftmaxProto(SpeakerLoss):
    """Sum of `Softmax` and `AngleProto`; the accuracy is that of `Softmax`.

    Kwon, Heo, Lee, Chung: "The ins and outs of speaker recognition: lessons from VoxSRC 2020",
    ICASSP 2021, https://arxiv.org/abs/2010.15809.

    Parameters
    ----------
    n_dims
        Dimensions of the embeddings.
    n_speakers
        Speakers trained on.

    Examples
    --------
    >>> sum(parameter.numel() for parameter in SoftmaxProto(512, 5994).parameters())
    3074924
    """

    least_speakers = 2
    least_utterances = 2

    def __init__(self, n_dims: int, n_speakers: int) -> None:
        super().__init__()
        require_sizes(n_dims, n_speakers)
        self.n_dims, self.n_speakers = n_dims, n_speakers
        self.softmax = Softmax(n_dims, n_speakers)
        self.angleproto = AngleProto()

    def _of(self, embeddings: Tensor, speakers: Tensor) -> BatchLoss:
        chosen = self.softmax(embeddings, speakers)
        return BatchLoss(chosen.loss + self.angleproto(embeddings, speakers).loss, chosen.accuracy)

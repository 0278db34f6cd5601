"""openSMILE's hand-made acoustic features as an extractor: ComParE, (e)GeMAPS and others.

Eyben, Wöllmer, Schuller: "openSMILE: the Munich versatile and fast open-source audio feature
extractor", ACM Multimedia 2010; ComParE 2016: Schuller et al., Interspeech 2016; eGeMAPS: Eyben et
al., IEEE Transactions on Affective Computing 7(2), 2016.

Conventions
-----------
Numbers are those of the opensmile package, for the same file to the last bit. It works on 16-bit
samples, so what is finer than 1/32768 is cut off. A sample at or above full scale becomes the
largest, 32767 (there it wraps around to -32768).

"eGeMAPS" and "GeMAPS" are today's versions, v02 and v01b. In the package these two names mean the
first versions, v01a, which it calls deprecated; ask for them as "eGeMAPSv01a" and "GeMAPSv01a".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speechprobe import _optional
from speechprobe.extractors.base import select_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The longest window of each set in seconds: no shorter signal has a frame.
_WINDOWS = {
    "ComParE_2016": 0.060,
    "GeMAPSv01a": 0.060,
    "GeMAPSv01b": 0.060,
    "eGeMAPSv01a": 0.060,
    "eGeMAPSv01b": 0.060,
    "eGeMAPSv02": 0.060,
    "emobase": 0.040,
    "IS09": 0.025,
    "IS10": 0.070,
    "IS11": 0.070,
    "IS12": 0.070,
    "IS13": 0.060,
}
_TODAYS = {"eGeMAPS": "eGeMAPSv02", "GeMAPS": "GeMAPSv01b"}
_LEVELS = {
    "lld": "LowLevelDescriptors",
    "lld_de": "LowLevelDescriptors_Deltas",
    "functionals": "Functionals",
}
_FULL_SCALE = 32768


class OpenSmile:
    """Features of openSMILE, by default the 6373 functionals of ComParE 2016.

    It may be called from several threads at once, pickled, and needs no network.

    Parameters
    ----------
    feature_set
        "ComParE_2016", "eGeMAPSv02", "GeMAPSv01b", "emobase", "IS09" to "IS13", or another name of
        the opensmile package; "eGeMAPS" is eGeMAPSv02 and "GeMAPS" is GeMAPSv01b.
    level
        Which layers: one or several of "lld" (low-level descriptors, 100 frames a second), "lld_de"
        (their slopes; no GeMAPS set has them) and "functionals" (statistics over the whole
        signal, one frame), or "*" for all. Each costs a run of openSMILE.
    sample_rate
        Samples per second that it wants. Features depend on it.

    Attributes
    ----------
    name : str
        "opensmile-" and the feature set.
    layers : tuple of str
        The levels, in the order above.
    feature_names : dict of str to tuple of str
        openSMILE's name of each dimension, for every layer.

    Raises
    ------
    ImportError
        If opensmile is not installed.
    ValueError
        If the feature set or a level is unknown; when called, if a signal is shorter than the
        set's longest window (60 ms; emobase 40, IS09 25, IS10 to IS12 70) or holds NaN or infinity.
    TypeError
        When called, if the signal is not floats of shape (n_samples,).

    Examples
    --------
    >>> smile = OpenSmile("eGeMAPS", level=["lld", "functionals"])
    >>> layers = smile(np.random.default_rng(0).normal(scale=0.1, size=16_000))
    >>> {layer: frames.shape for layer, frames in layers.items()}
    {'lld': (96, 25), 'functionals': (1, 88)}
    >>> smile.feature_names["functionals"][0]
    'F0semitoneFrom27.5Hz_sma3nz_amean'
    """

    def __init__(
        self,
        feature_set: str = "ComParE_2016",
        level: str | Sequence[str] = "functionals",
        *,
        sample_rate: int = 16_000,
    ) -> None:
        self.feature_set = _TODAYS.get(feature_set, feature_set)
        if self.feature_set not in _WINDOWS:
            raise ValueError(
                f"feature_set must be one of {[*_WINDOWS, *_TODAYS]}, got {feature_set!r}"
            )
        without_slopes = "GeMAPS" in self.feature_set
        offered = [name for name in _LEVELS if not (without_slopes and name == "lld_de")]
        self.layers = tuple(select_layers(offered, level))
        self.sample_rate = int(sample_rate)
        self.name = f"opensmile-{self.feature_set}"
        package = _optional.require("opensmile", extra="opensmile")
        self._version = str(package.__version__)
        self._runs = {layer: _run_of(package, self.feature_set, layer) for layer in self.layers}
        self.feature_names = {layer: tuple(run.feature_names) for layer, run in self._runs.items()}

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the numbers: openSMILE's version, the feature set, its levels."""
        return {
            "name": self.name,
            "package": f"opensmile {self._version}",
            "feature_set": self.feature_set,
            "sample_rate": self.sample_rate,
            "layers": list(self.layers),
        }

    def __repr__(self) -> str:
        return f"OpenSmile({self.feature_set!r}, {list(self.layers)})"

    def __call__(self, signal: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the features of one signal.

        Parameters
        ----------
        signal
            Floats (n_samples,), full scale at 1.0, at `sample_rate`.

        Returns
        -------
        layers
            {layer: (n_frames, n_dims)}, float32.
        """
        samples = self._samples(signal)
        layers = {}
        for layer, run in self._runs.items():
            layers[layer] = run(samples, self.sample_rate)[0].T
            if not np.isfinite(layers[layer]).all():
                raise ValueError(
                    f"{self.name}: openSMILE gave NaN or infinity in {layer!r} of a signal of "
                    f"{len(samples)} samples; it may be too short"
                )
        return layers

    def _samples(self, signal: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what openSMILE's conversion to 16 bits cannot spoil, or say what is wrong."""
        given = np.asarray(signal)
        if given.ndim != 1 or not np.issubdtype(given.dtype, np.floating):
            raise TypeError(
                f"{self.name}: a signal must be floats of shape (n_samples,) with full scale at "
                f"1.0, got {given.dtype} of shape {given.shape}; divide 16-bit samples by 32768"
            )
        shortest = _WINDOWS[self.feature_set]
        if len(given) < shortest * self.sample_rate:
            raise ValueError(
                f"{self.name}: a signal of {len(given)} samples is shorter than the longest "
                f"window, {1000 * shortest:g} ms at {self.sample_rate} Hz"
            )
        # openSMILE would turn NaN into some whole number.
        if not np.isfinite(given).all():
            raise ValueError(f"{self.name}: the signal holds NaN or infinity")
        return given.clip(-1, (_FULL_SCALE - 1) / _FULL_SCALE).astype(np.float32)


def _run_of(package: Any, feature_set: str, layer: str) -> Any:
    """Return the package's own object for one level; it keeps no state between calls."""
    return package.Smile(package.FeatureSet[feature_set], package.FeatureLevel[_LEVELS[layer]])

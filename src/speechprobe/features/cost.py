"""What a run costs while it goes on and after it: sound a minute, time left, memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from speechprobe._files import hide_progress

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from speechprobe.engines import Serial, Source
    from speechprobe.features.spreading import Spread


class Progress:
    """A bar over the sound of a corpus, which tells utterances, hours of sound a minute, time left.

    Parameters
    ----------
    sources
        What is to be run.
    name
        Stands before the bar.
    shown
        Whether to show it, where the output is a terminal or a notebook.
    """

    def __init__(self, sources: Sequence[Source], name: str, *, shown: bool) -> None:
        self.n_utterances, self._n_done, self._sound = len(sources), 0, 0.0
        self._started = time.perf_counter()
        self._bar = tqdm(
            total=sum(source.duration for source in sources),
            desc=name,
            disable=hide_progress(shown),
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )

    def update(self, sources: Sequence[Source]) -> None:
        """Note what was run since the last call."""
        self._n_done += len(sources)
        sound = sum(source.duration for source in sources)
        self._sound += sound
        hours_a_minute = self._sound / 60 / max(1e-9, time.perf_counter() - self._started)
        self._bar.set_postfix_str(
            f"{self._n_done}/{self.n_utterances} utterances, {hours_a_minute:.2f} h of sound/min",
            refresh=False,
        )
        self._bar.update(sound)

    def cost(self, engine: Serial | Spread, extractor: Any) -> dict[str, Any]:
        """Return what the run has cost, for the provenance.

        `peak_memory_bytes` is the most that the process has held since its start, and
        `peak_device_bytes` the most that torch has held on a CUDA device.
        """
        seconds = time.perf_counter() - self._started
        told = {
            "seconds": round(seconds, 3),
            "seconds_waiting": round(engine.seconds_waiting, 3),
            "sound_seconds": round(self._sound, 3),
            "sound_seconds_per_second": round(self._sound / max(1e-9, seconds), 3),
            "batch_seconds": engine.batch_seconds,
            "peak_memory_bytes": peak_memory(),
        }
        device = getattr(extractor, "device", None)
        if getattr(device, "type", None) == "cuda":
            import torch

            told["peak_device_bytes"] = torch.cuda.max_memory_allocated(device)
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()


def peak_memory() -> int | None:
    """Return the most memory that this process has held, in bytes; None where nothing tells."""
    status = Path("/proc/self/status")  # Linux; getrusage there tells the parent's, if it is more
    if status.is_file():
        told = status.read_text(encoding="ascii", errors="replace").partition("VmHWM:")[2]
        if told:
            return 1024 * int(told.split()[0])
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most

"""How long a batch has taken, without what other programs have taken of the processor meanwhile."""

from __future__ import annotations

import time

# The thread's own time counts where it did the work: this share of the process's, so that other
# threads did not, and this share of the time on the clock, so that nothing was waited for.
_SHARE_OF_PROCESS, _SHARE_OF_CLOCK = 0.4, 0.25


class Stopwatch:
    """Runs from the moment it is made.

    Parameters
    ----------
    on_cpu
        Whether the work is done by the processor; of a device's work only the clock knows.
    """

    def __init__(self, *, on_cpu: bool) -> None:
        self._on_cpu = on_cpu
        self._began = time.perf_counter(), time.thread_time(), time.process_time()

    def seconds(self) -> float:
        """Return the seconds since then: of this thread's work where that can be told."""
        now = time.perf_counter(), time.thread_time(), time.process_time()
        clock, own, process = (
            after - before for after, before in zip(now, self._began, strict=True)
        )
        did_the_work = own >= _SHARE_OF_PROCESS * process and own >= _SHARE_OF_CLOCK * clock
        return own if self._on_cpu and did_the_work else clock

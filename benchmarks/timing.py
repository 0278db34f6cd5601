"""Times on a machine that others use too."""

import time
from collections.abc import Callable

REPEATS = 21


def least_seconds(
    *functions: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Return the least seconds of each function over runs taken in turns.

    Other programs only ever add to a run, so on a busy machine the least is what is measured again.
    What runs on one thread is best told by `time.process_time`: waiting for a core does not count.
    """
    least = [float("inf")] * len(functions)
    for _ in range(REPEATS):
        for place, function in enumerate(functions):
            started = clock()
            function()
            least[place] = min(least[place], clock() - started)
    return least

"""What all benchmarks share: clocks, peak memory, and the rows of the one table.

A module of benchmarks has ``rows(*, quick: bool = False) -> list[Row]``; `quick` takes fewer runs
and smaller inputs, to see that the script works. ``python -m benchmarks`` makes one table of all
rows, ``python -m benchmarks.NAME`` one of the module's own, kept in results/NAME.md.

`Row.wanted` is read by `Row.met`. It holds one or several of these, joined by commas or "and":

=====================  =========================================
"at least 20 times"    other / ours is 20 or more
"at most 1.05 times"   ours / other is 1.05 or less
"under 3 s"            ours is below 3, whatever the unit says
"1.00 +- 0.05"         ours is within 0.05 of 1
=====================  =========================================

Anything else, or nothing, is not judged. A number that does not exist is NaN: `other` of a row
without a peer, `ours` of what could not be measured.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

REPEATS = 21  # of runs of which the least counts
TURNS = 7  # of runs of which the median counts
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "torchaudio")
NAN = float("nan")

_NUMBER = r"([0-9]+(?:[.,][0-9]+)*)"
_WANTED: dict[str, Callable[[Row, float, float], bool]] = {
    rf"at least {_NUMBER}()": lambda row, wanted, _: row.ratio >= wanted,
    rf"at most {_NUMBER}()": lambda row, wanted, _: row.ours / row.other <= wanted,
    rf"under {_NUMBER}()": lambda row, wanted, _: row.ours < wanted,
    rf"{_NUMBER} \+- {_NUMBER}": lambda row, wanted, off: abs(row.ours - wanted) <= off,
}


class Row(NamedTuple):
    """Ours against a peer or a limit, on the same input in the same run.

    Parameters
    ----------
    what
        What was measured against what, with the unit where it is not seconds.
    ours, other
        Medians.
    wanted
        The target, see the module.
    note
        Why a target is missed, the limit, or the size of the input.
    """

    what: str
    ours: float
    other: float
    wanted: str
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times ours the other is: above 1, ours is faster or smaller."""
        return self.other / self.ours if self.ours else NAN

    @property
    def met(self) -> bool | None:
        """Say whether the target is met; None where nothing is wanted or measured."""
        if math.isnan(self.ours):
            return None
        found = [
            judge(self, *(float(each.replace(",", "") or "nan") for each in match.groups()))
            for pattern, judge in _WANTED.items()
            for match in re.finditer(pattern, self.wanted)
        ]
        return all(found) if found else None


def table(rows: Iterable[Row]) -> str:
    """Return the rows in Markdown."""
    lines = [
        "| what (seconds where no unit is named) | ours | peer or limit | peer / ours | wanted | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        verdict = {True: "met", False: "**missed**", None: ""}[row.met]
        told = ". ".join(part for part in (verdict, row.note) if part)
        values = (_shown(row.ours), _shown(row.other), _shown(row.ratio, 3))
        lines.append(f"| {row.what} | {' | '.join(values)} | {row.wanted} | {told} |")
    return "\n".join(lines)


def _shown(value: float, digits: int = 4) -> str:
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def machine(*packages: str) -> str:
    """Return one line: date, processor, threads, load, Python and the versions of packages."""
    found = [f"Python {platform.python_version()}"]
    for package in packages or PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return (
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, load average "
        f"{os.getloadavg()[0]:.1f}. {', '.join(found)}."
    )


def clock() -> Callable[[], float]:
    """Return the processor's time where one thread is asked for, else that on the wall.

    Waiting for a core that another program has does not count as processor time; with several
    threads it cannot be told from waiting for each other, and the machine must be quiet.
    """
    single = os.environ.get("OMP_NUM_THREADS") == "1"
    return time.process_time if single else time.perf_counter


def in_turns(
    *functions: Callable[[], object],
    repeats: int = TURNS,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """Return the median seconds of each function over runs taken in turns.

    In turns, so that a busy moment of the machine falls on all of them.
    """
    return tuple(map(statistics.median, _runs(functions, repeats, clock)))


def least_seconds(
    *functions: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Return the least seconds of each function over runs taken in turns.

    Other programs only ever add to a run, so on a busy machine the least is what is measured again.
    """
    return list(map(min, _runs(functions, REPEATS, clock)))


def _runs(
    functions: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> list[list[float]]:
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for times, function in zip(taken, functions, strict=True):
            started = clock()
            function()
            times.append(clock() - started)
    return taken


def peak_mib() -> float:
    """Return the most memory that this process has held, in MiB; NaN where nothing tells."""
    from speechprobe.features.cost import peak_memory

    return (peak_memory() or NAN) / 2**20


def alone(call: str, *, threads: int | None = None) -> Any:
    """Return what a function gives in a process of its own, as JSON can tell it.

    Parameters
    ----------
    call
        Module, colon, and the call: "benchmarks.growth:one_size(1000)".
    threads
        Of BLAS and torch; None for as many as this process was given.
    """
    module, called = call.split(":", 1)
    code = (
        f"import json, sys, {module} as module\n"
        f"found = module.{called}\n"
        "sys.stdout.write(chr(10) + json.dumps(found))"
    )
    limits = {} if threads is None else {name: str(threads) for name in _LIMITS}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | limits,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run(name: str, rows: Callable[..., list[Row]], *, what: str = "") -> None:
    """Measure the rows of one module, print their table and keep it in results/NAME.md.

    With ``--quick`` nothing is kept.
    """
    quick = "--quick" in sys.argv[1:]
    header = machine()
    text = f"{header}\n`python -m benchmarks.{name}`. {what}".strip()
    text += f"\n\n{table(rows(quick=quick))}\n"
    print(text)
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")

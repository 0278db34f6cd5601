"""Measure everything and make one table: ours, the peer or the limit, the ratio, what is wanted.

    python -m benchmarks                      all, into results/cpu.md
    python -m benchmarks metrics probes       some of them
    python -m benchmarks --json results.json  the same as JSON too
    python -m benchmarks --quick              smaller inputs and fewer runs, kept nowhere

Both sides of a row run in turns on the same input in the same run, and medians count. Each module
runs in a process of its own, so that neither its memory nor its threads reach the next. With
``OMP_NUM_THREADS=1`` most times are those of the processor, which other programs do not disturb.
What fails stands in the table as such, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from benchmarks.timing import NAN, RESULTS, Row, alone, machine, table

MODULES = (
    "extraction",
    "one_by_one",
    "serab_way",
    "frontends",
    "channels",
    "probes",
    "large_probe",
    "similarity",
    "metrics",
    "growth",
    "imports",
)


def rows_of(name: str, *, quick: bool) -> list[Row]:
    """Return the rows of a module, or one that says that it failed."""
    call = f"benchmarks.{name}:rows({'quick=True' if quick else ''})"
    try:
        return [Row(*each) for each in alone(call)]
    except subprocess.CalledProcessError:
        return [Row(f"`benchmarks.{name}`", NAN, NAN, "", "**failed**, see above")]


def as_json(rows: dict[str, list[Row]], header: str) -> str:
    """Return machine and rows as JSON, where what does not exist is null."""
    listed = [
        row._asdict() | {"module": name, "ratio": row.ratio, "met": row.met}
        for name, each in rows.items()
        for row in each
    ]
    known = [
        {key: None if value != value else value for key, value in row.items()}  # NaN is not itself
        for row in listed
    ]
    return json.dumps({"machine": header, "rows": known}, indent=2, allow_nan=False) + "\n"


def main() -> int:
    """Run, print, keep; return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("modules", nargs="*", help="all by default")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    unknown = set(given.modules) - set(MODULES)
    if unknown:
        parser.error(f"no benchmarks {sorted(unknown)}; there are {', '.join(MODULES)}")
    header = machine()
    found = {}
    for name in given.modules or MODULES:
        found[name] = rows_of(name, quick=given.quick)
        print(f"{name}\n{table(found[name])}\n", flush=True)
    every = [row for each in found.values() for row in each]
    text = f"{header}\n`python -m benchmarks`\n\n{table(every)}\n"
    if not given.quick and not given.modules:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "cpu.md").write_text(text, encoding="utf-8")
    if given.json:
        given.json.write_text(as_json(found, header), encoding="utf-8")
    print(text)
    return int(any("**failed**" in row.note for row in every))


if __name__ == "__main__":
    raise SystemExit(main())

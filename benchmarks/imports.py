"""What `import speechprobe` costs a new process.

python -m benchmarks.imports
"""

import json
import subprocess
import sys

from benchmarks.timing import Row, in_turns, run

HEAVY = ("torch", "pandas", "matplotlib", "sklearn")


def rows(*, quick: bool = False) -> list[Row]:
    """Return a process that imports, against one that does not; medians of the wall clock."""

    def python(code: str) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    loaded = json.loads(
        python("import json, sys, speechprobe; print(json.dumps(sorted(sys.modules)))")
    )
    found = sorted(set(HEAVY) & set(loaded))
    ours, bare = in_turns(
        lambda: python("import speechprobe"), lambda: python("pass"), repeats=5 if quick else 15
    )
    told = f"loads {', '.join(found)}" if found else f"loads none of {', '.join(HEAVY)}"
    name = "A new Python that imports speechprobe, against one that imports nothing"
    return [Row(name, ours, bare, "under 0.15 s", told)]


if __name__ == "__main__":
    run("imports", rows)

"""What `import speechprobe` costs, and that every name it promises is there."""

import subprocess
import sys

import speechprobe as sp


def test_the_import_is_light():
    code = (
        "import sys, speechprobe; speechprobe.plots, speechprobe.reports; "
        "heavy = {'torch', 'pandas', 'matplotlib', 'sklearn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_name_loads():
    packages = (
        sp, sp.datasets, sp.extractors, sp.metrics, sp.probes, sp.layers, sp.plots, sp.reports,
        sp.protocols, sp.engines,
    )  # fmt: skip
    for package in packages:
        for name in package.__all__:
            assert getattr(package, name) is not None

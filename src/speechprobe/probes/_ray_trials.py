"""Trials run by Ray Tune, stopped by its asynchronous successive halving (ASHA)."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pandas as pd

from speechprobe._optional import require
from speechprobe._ray import Ray, connected
from speechprobe.probes._attempts import Attempt
from speechprobe.probes._trials import Evaluation, Study, rungs

# Ray's scheduler compares numbers; a trial that failed reports this and ends.
FAILED = -1e300


def run_ray(study: Study, engine: Ray, *, eta: int, min_epochs: int) -> list[Evaluation]:
    """Return all evaluations, trial after trial.

    Each trial reports after the epochs of each rung. Ray's own results are written to a temporary
    folder. A Ray that runs already is used and left running; else one is started and ended.

    Raises
    ------
    ImportError
        If Ray Tune is not installed.
    """
    tune = require("ray.tune", extra="ray")
    steps = rungs(study, eta=eta, min_epochs=min_epochs)
    scheduler = require("ray.tune.schedulers", extra="ray").ASHAScheduler(
        time_attr="epochs_run",
        metric="score",
        mode="max",
        max_t=steps[-1],
        grace_period=steps[0],
        reduction_factor=eta,
    )

    def trainable(config: dict[str, int], study: Study) -> None:
        _climb(study, config["trial"], steps, tune.report)

    # Ray tells of the experiment even where it is asked to be silent.
    silent = redirect_stdout(io.StringIO())
    ray = connected(engine.address, engine.runtime_env)
    with ray, tempfile.TemporaryDirectory(prefix="speechprobe-") as folder, silent:
        results = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trainable, study=study), _resources(study.probe, engine)
            ),
            param_space={"trial": tune.grid_search(list(range(len(study.settings))))},
            tune_config=tune.TuneConfig(
                scheduler=scheduler, max_concurrent_trials=engine.num_workers
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        found = {result.config["trial"]: result for result in results}
    return [done for trial in sorted(found) for done in _evaluations(trial, found[trial])]


def _climb(study: Study, trial: int, steps: list[int], report: Any) -> None:
    """Evaluate a trial rung by rung, reporting each, until its own epochs or a failure."""
    own = study.epochs(trial)
    for epochs in sorted({min(step, own) for step in steps}):
        (found,) = study.evaluate([trial], epochs)
        told = found.attempt._asdict() | {"epochs_run": epochs}
        told["score"] = FAILED if found.attempt.failure else found.attempt.score
        told["curves"] = found.curves.to_json(orient="table", index=False, double_precision=15)
        report(told)
        if found.attempt.failure:
            return


def _evaluations(trial: int, result: Any) -> Iterator[Evaluation]:
    """Yield what a trial reported, or the error that it ended with before."""
    reports = result.metrics_dataframe
    if reports is None or reports.empty or "score" not in reports:
        failed = Attempt(np.nan, np.nan, f"Ray: {result.error}", "")
        yield Evaluation(trial, 0, failed, pd.DataFrame())
        return
    for told in reports.to_dict("records"):
        score = np.nan if told["failure"] else float(told["score"])
        seconds, warning = float(told["seconds"]), str(told["warning"])
        found = Attempt(score, seconds, str(told["failure"]), warning)
        curves = pd.read_json(io.StringIO(told["curves"]), orient="table", precise_float=True)
        yield Evaluation(trial, int(told["epochs_run"]), found, curves)


def _resources(probe: Any, engine: Ray) -> dict[str, float]:
    devices = [value for name, value in probe.get_params().items() if name.endswith("device")]
    on_gpu = any(str(device).startswith("cuda") for device in devices)
    n_gpus = engine.num_gpus_per_worker or float(on_gpu)
    return {"cpu": engine.num_cpus_per_worker} | ({"gpu": n_gpus} if n_gpus else {})

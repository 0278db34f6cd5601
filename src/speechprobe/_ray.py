"""Ray as an engine: work is spread over the actors of a cluster, and goes on where one is lost."""

from __future__ import annotations

import pickle
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from speechprobe._optional import require

Item = TypeVar("Item")
Result = TypeVar("Result")

# An item that has ended so many workers is to blame itself.
_ATTEMPTS = 3
_STARTS_IN_A_ROW = 5
_LOOK_EVERY = 1.0  # seconds
_NONE: Any = object()


@dataclass(frozen=True)
class Ray:
    """A Ray cluster, as the `engine` of `extract`, of `probe_layers` and of `probes.tune`.

    Each worker is an actor with its own copy of the network or the probe. Where a worker or its
    node is lost, what it was at is given to another, and a new worker starts as soon as there is
    room for one; nodes that join are used. Needs the extra `ray`.

    Parameters
    ----------
    num_workers
        Number of workers; as many as the cluster has room for at the start by default.
    num_cpus_per_worker, num_gpus_per_worker
        What a worker takes; a part of a GPU lets several workers share it. With a GPU the network
        is moved there. PyTorch gets as many threads as a worker has cores.
    address
        Of the cluster, as `ray.init` takes it: "auto" for the one this machine belongs to,
        "ray://head:10001" from outside. By default one is started on this machine and ended when
        the work is done. A Ray that this process is connected to already is used, and left running.
    runtime_env
        What workers need (packages, environment variables), as `ray.init` takes it.
    start_timeout
        Seconds to wait while no worker can start.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> import speechprobe as sp
    >>> sp.engines.Ray(num_workers=4, num_gpus_per_worker=0.5)
    Ray(num_workers=4, num_cpus_per_worker=1, num_gpus_per_worker=0.5, address=None, ...)
    """

    num_workers: int | None = None
    num_cpus_per_worker: float = 1
    num_gpus_per_worker: float = 0
    address: str | None = None
    runtime_env: Mapping[str, Any] | None = None
    start_timeout: float = 600.0

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(f"num_workers must be 1 or more, got {self.num_workers}")
        if not self.num_cpus_per_worker > 0 or not self.num_gpus_per_worker >= 0:
            raise ValueError(
                "a worker needs more than 0 CPUs and at least 0 GPUs, got "
                f"num_cpus_per_worker={self.num_cpus_per_worker} and "
                f"num_gpus_per_worker={self.num_gpus_per_worker}"
            )

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
        """Yield ``work(item)`` of each item once, in the order in which they are done.

        Parameters
        ----------
        work
            Sent to each worker once. What it keeps in itself stays with that worker.
        items
            Drawn one by one, when a worker is free.

        Raises
        ------
        ImportError
            If Ray is not installed.
        TypeError
            If `work` cannot be sent.
        RuntimeError
            If workers die at their start, or an item ends every worker that it is given to.
        TimeoutError
            If no worker can start.
        Exception
            What `work` raises.
        """
        with connected(self.address, self.runtime_env) as ray:
            workers = _Workers(ray, self, work)
            try:
                yield from workers.run(items)
            finally:
                workers.end()


@contextmanager
def connected(
    address: str | None = None, runtime_env: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """Give the package `ray`, connected: as it is already, or until the end of the block."""
    ray = require("ray", extra="ray")
    if ray.is_initialized():
        yield ray
        return
    started_here = {} if address else {"include_dashboard": False}
    ray.init(
        address, log_to_driver=False, logging_level="error",
        runtime_env=dict(runtime_env) if runtime_env else None, **started_here,
    )  # fmt: skip
    try:
        yield ray
    finally:
        ray.shutdown()


class _Told(NamedTuple):
    """What a worker gives back: a result, or the error and where it arose."""

    result: Any
    error: Exception | None = None
    trace: str = ""


class _Worker:
    """Lives in a process of the cluster."""

    def __init__(self, work: list[Any]) -> None:
        # Behind a reference: an error in unpickling it must reach the caller, not end the worker.
        self._reference = work[0]
        self._work: Any = None

    def start(self) -> None:
        """Return when the worker is there."""

    def run(self, item: Any) -> _Told:
        """Return what the work gives for an item, or the error."""
        try:
            if self._work is None:
                self._work = require("ray", extra="ray").get(self._reference)
            return _Told(self._work(item))
        except Exception as error:
            return _Told(None, as_picklable(error), traceback.format_exc())


class _Workers:
    """The actors of one `map`: who is starting, who is at what, who is free."""

    def __init__(self, ray: Any, engine: Ray, work: Any) -> None:
        self._ray, self._engine = ray, engine
        try:
            self._work = ray.put(work)
        except (TypeError, pickle.PicklingError) as error:
            raise TypeError(f"the workers cannot be sent what they need: {error}") from error
        self._actor = ray.remote(_Worker).options(
            num_cpus=engine.num_cpus_per_worker, num_gpus=engine.num_gpus_per_worker
        )
        self._starting: dict[Any, Any] = {}  # reference of what is awaited -> worker
        self._running: dict[Any, tuple[Any, Any]] = {}  # reference -> worker, item
        self._free: list[Any] = []
        self._again: deque[Any] = deque()  # items whose worker was lost
        self._attempts: Counter[int] = Counter()  # of those, by identity
        self._failed_starts = 0

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        left = iter(items)
        for _ in range(self._engine.num_workers or self._room()):
            self._start()
        since = time.monotonic()
        while self._give(left) or self._running:
            reference = self._next_done()
            if reference is None:
                self._require_worker(since)
                continue
            since = time.monotonic()
            if reference in self._starting:
                self._note_start(reference)
                continue
            worker, item = self._running.pop(reference)
            try:
                told = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                # Errors of the work are values: the worker is gone, or what it gave.
                self._replace(worker, item, error)
                continue
            self._free.append(worker)
            self._attempts.pop(id(item), None)
            if told.error is not None:
                told.error.add_note(f"In a worker:\n{told.trace}")
                raise told.error
            yield told.result

    def end(self) -> None:
        """End all workers."""
        busy = [worker for worker, _ in self._running.values()]
        for worker in [*self._starting.values(), *self._free, *busy]:
            self._ray.kill(worker)

    def _room(self) -> int:
        """Return how many workers fit into the cluster as it is."""
        there, each = self._ray.cluster_resources(), self._engine
        room = there.get("CPU", 0) // each.num_cpus_per_worker
        if each.num_gpus_per_worker:
            room = min(room, there.get("GPU", 0) // each.num_gpus_per_worker)
        return max(1, int(room))

    def _start(self) -> None:
        worker = self._actor.remote([self._work])
        self._starting[worker.start.remote()] = worker

    def _note_start(self, reference: Any) -> None:
        worker = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts == _STARTS_IN_A_ROW:
                raise RuntimeError(
                    f"{_STARTS_IN_A_ROW} workers in a row died at their start, the last with: "
                    f"{error}"
                ) from error
            self._ray.kill(worker)
            self._start()
        else:
            self._failed_starts = 0
            self._free.append(worker)

    def _replace(self, worker: Any, item: Any, error: Exception) -> None:
        """Start another worker, and have an item done again."""
        self._attempts[id(item)] += 1
        if self._attempts[id(item)] == _ATTEMPTS:
            raise RuntimeError(
                f"{item} ended {_ATTEMPTS} workers, the last with: {error}"
            ) from error
        self._again.append(item)
        self._ray.kill(worker)
        self._start()

    def _give(self, left: Iterator[Any]) -> bool:
        """Give items to those who are free; say whether some may be left."""
        while self._free:
            item = self._again.popleft() if self._again else next(left, _NONE)
            if item is _NONE:
                return False
            worker = self._free.pop()
            self._running[worker.run.remote(item)] = (worker, item)
        return True

    def _next_done(self) -> Any | None:
        awaited = [*self._running, *self._starting]
        done, _ = self._ray.wait(awaited, num_returns=1, timeout=_LOOK_EVERY)
        return done[0] if done else None

    def _require_worker(self, since: float) -> None:
        if not self._running and time.monotonic() - since > self._engine.start_timeout:
            each = self._engine
            raise TimeoutError(
                f"no worker could start in {each.start_timeout:g} s: each takes "
                f"{each.num_cpus_per_worker:g} CPUs and {each.num_gpus_per_worker:g} GPUs, and the "
                f"cluster has {_listed(self._ray.cluster_resources())}, of which "
                f"{_listed(self._ray.available_resources())} are free"
            )


def as_picklable(error: Exception) -> Exception:
    """Return an error, or where it cannot travel between processes one that tells of it."""
    try:
        back = pickle.loads(pickle.dumps(error))  # noqa: S301 it was made a line ago
        whole = str(back) == str(error)
    except Exception:
        whole = False
    return error if whole else RuntimeError(f"{type(error).__name__}: {error}")


def _listed(resources: Mapping[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"

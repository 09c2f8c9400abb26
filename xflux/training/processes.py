"""Members side by side: processes of their own, one a core, that train what they are given.

They are new interpreters and not copies of the user's process: a script needs no ``__main__``
guard, a notebook works, and no thread of torch is copied in the middle of its work. In them, and
not in the user's process, memory that an LSTM frees is kept for its next step in place of being
given back to the system and asked for anew.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch
from dask.system import cpu_count

from xflux.errors import ModelError, TrainingStopped
from xflux.features import Inputs
from xflux.training.checkpoint import Reached
from xflux.training.jobs import Job, Report
from xflux.training.settings import Settings
from xflux.training.windows import Tensors, batches_in_epoch
from xflux.training.worker import write_tensors

LONG_ENOUGH = 20.0
"""Seconds of training, as `expected_seconds` counts them, from which processes are started."""


def expected_seconds(tensors: Tensors, settings: Settings, *, networks: int) -> float:
    """A rough guess of how long a training takes on one core of the year 2020.

    For each batch some milliseconds, and the six operations that each weight takes part in at each
    step, forward and backward.
    """
    columns = tensors.drivers.shape[-1] + tensors.characteristics.shape[-1]
    weights = 4 * settings.hidden * (columns + settings.hidden) * 2
    steps = settings.batch * (settings.window + settings.spin_up)
    batches = networks * settings.epochs * batches_in_epoch(tensors, settings)
    return batches * (0.006 + steps * weights / 8e9)


def choose_processes(
    workers: int | None, device: torch.device, *, networks: int, seconds: float
) -> int:
    """How many processes train; 0 is none but the user's own.

    Parameters
    ----------
    workers : int, optional
        As asked for. By default one a core for a training of `LONG_ENOUGH` seconds or more; cores
        are those that this process may use.
    device : torch.device
        On a GPU all networks are trained by the user's process.
    networks : int
        Networks that can be trained at the same time.
    seconds : float
        What the training takes on one core.

    Raises
    ------
    ModelError
    """
    if workers is not None and workers < 1:
        raise ModelError(f"workers={workers!r} must be at least 1")
    if device.type != "cpu":
        if workers is not None and workers > 1:
            raise ModelError(
                f"workers={workers} are for the CPU, and the device is {device}: leave workers "
                'out, or name device="cpu"'
            )
        return 0
    if workers is None:
        worth = seconds >= LONG_ENOUGH and bool(sys.executable)
        return min(cpu_count(), networks) if worth else 0
    return min(workers, networks) if workers > 1 else 0


def environment() -> dict[str, str]:
    """What the processes find around them: where modules are, one thread, memory that is kept.

    The C library of Linux gives blocks of 32 MB and more back to the system as soon as they are
    free, and the system fills each with zeros before it hands it out again; that takes longer than
    the training of a large LSTM itself. Other C libraries know nothing of these two names.
    """
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(entry) or os.getcwd() for entry in sys.path),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
    }


@dataclass(frozen=True, eq=False)
class _Child:
    """A process, and the file that it writes its complaints to."""

    process: subprocess.Popen[bytes]
    complaints: IO[bytes]

    def ask(self, what: object) -> None:
        """Send something; a process that is gone is noticed by whoever listens to it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(what, self.process.stdin)
            self.process.stdin.flush()

    def listen(self, heard: queue.SimpleQueue[tuple[_Child, Any]]) -> None:
        """Put all that it says into a queue, and None when it has ended."""
        assert self.process.stdout is not None
        try:
            while True:
                heard.put((self, pickle.load(self.process.stdout)))
        except (EOFError, pickle.UnpicklingError, OSError):
            heard.put((self, None))

    def how_it_ended(self) -> str:
        """In words."""
        code = self.process.wait()
        if code == -getattr(signal, "SIGKILL", code + 1):
            return "was killed (SIGKILL), most often because the memory was full"
        self.complaints.seek(0)
        last = self.complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
        return f"ended with exit code {code}" + (f" ({last})" if last else "")

    def end(self) -> None:
        """Whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.complaints):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


class Crew:
    """Processes that train, for as long as the ``with`` block lasts.

    They end with it however it ends, and also when the user's process is killed.

    Parameters
    ----------
    count : int
    tensors : Tensors
        All towers, on the CPU; handed over in one file.
    inputs : Inputs
    checkpoint : Path, optional
        Where the states are kept that the processes send.
    """

    def __init__(
        self, count: int, tensors: Tensors, inputs: Inputs, checkpoint: Path | None
    ) -> None:
        self.count, self.tensors, self.inputs = count, tensors, inputs
        self.checkpoint = checkpoint
        self._children: list[_Child] = []
        self._heard: queue.SimpleQueue[tuple[_Child, Any]] = queue.SimpleQueue()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Crew:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="xflux-", ignore_cleanup_errors=True)
            )
            path = Path(folder) / "towers.safetensors"
            write_tensors(path, self.tensors)
            for _ in range(self.count):
                self._children.append(_start(path))
                stack.callback(self._children[-1].end)
                self._children[-1].ask((self.inputs, self.checkpoint is not None))
                threading.Thread(
                    target=self._children[-1].listen, args=(self._heard,), daemon=True
                ).start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(self, jobs: Iterable[Job], reached: Mapping[str, Reached], report: Report) -> None:
        """Train jobs to their last epoch, each from where it has come, in any order.

        Raises
        ------
        TrainingStopped
            A process ended before it was done.
        XfluxError, Exception
            What a process raised.
        """
        waiting, busy = deque(jobs), dict[_Child, Job]()

        def next_job(child: _Child) -> None:
            busy.pop(child, None)
            if waiting:
                busy[child] = waiting.popleft()
                child.ask((busy[child], reached[busy[child].name]))

        for child in self._children:
            next_job(child)
        while busy:
            child, answer = self._next()
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                raise self._stopped(child, busy.get(child))
            job = busy[child]
            if answer.epochs == job.settings.last_epoch:
                next_job(child)
            report(job, answer)

    def _next(self) -> tuple[_Child, Any]:
        """What is heard next; Windows lets Ctrl-C through between two waits only."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._heard.get(timeout=1.0)

    def _stopped(self, child: _Child, job: Job | None) -> TrainingStopped:
        what = f"the process that trained {job.title}" if job else "a process that waited for work"
        kept = (
            'nothing was kept: name a file, checkpoint="training.safetensors", and the same call '
            "goes on after a stop"
            if self.checkpoint is None
            else f"{self.checkpoint} holds every epoch that was done: make the same call again"
        )
        fewer = ", with fewer processes at a time (workers=1 trains in your own)"
        return TrainingStopped(f"{what} {child.how_it_ended()}. {kept[0].upper()}{kept[1:]}{fewer}")


def _start(path: Path) -> _Child:
    complaints = tempfile.TemporaryFile()
    process = subprocess.Popen(
        [sys.executable, "-m", "xflux.training.worker", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        env=environment(),
    )
    return _Child(process, complaints)

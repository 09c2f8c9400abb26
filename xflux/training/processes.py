"""Members side by side: processes of their own, one a core, that train what they are given.

They are new interpreters and not copies of the user's process: a script needs no ``__main__``
guard, a notebook works, and no thread of torch is copied in the middle of its work. In them, and
not in the user's process, memory that an LSTM frees is kept for its next step in place of being
given back to the system and asked for anew.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import torch
from dask.system import cpu_count

from xflux.errors import ModelError, TrainingStopped
from xflux.features import Inputs
from xflux.training.checkpoint import Reached
from xflux.training.jobs import Job, Report, Runner
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


@contextlib.contextmanager
def crew(count: int, tensors: Tensors, inputs: Inputs, checkpoint: Path | None) -> Iterator[Runner]:
    """Processes that train, for as long as the ``with`` block lasts.

    They end with it however it ends, and also when the user's process is killed.

    Parameters
    ----------
    count : int
    tensors : Tensors
        All towers, on the CPU; handed over in one file, which all processes map.
    inputs : Inputs
    checkpoint : Path, optional
        Where the states are kept; None where the processes need not send any.

    Yields
    ------
    Runner
        Raises what a process raised, and `TrainingStopped` where one ended before it was done.
    """
    heard: Heard = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="xflux-", ignore_cleanup_errors=True)
        path = Path(stack.enter_context(folder)) / "towers.safetensors"
        write_tensors(path, tensors)
        children = []
        for _ in range(count):
            complaints = stack.enter_context(tempfile.TemporaryFile())
            children.append(_Child(path, complaints, heard))
            stack.callback(children[-1].end)
            children[-1].ask((inputs, checkpoint is not None))
        yield functools.partial(_run, children, heard, checkpoint)


class _Child:
    """A process that trains; what it answers goes into a queue, and None when it has ended."""

    def __init__(self, path: Path, complaints: IO[bytes], heard: Heard) -> None:
        self.complaints, self.heard = complaints, heard
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xflux.training.worker", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment(),
        )
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def ask(self, what: object) -> None:
        """Send something; that a process is gone is heard by its listener."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(what, self.process.stdin)
            self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        try:
            while True:
                self.heard.put((self, pickle.load(self.process.stdout)))
        except (EOFError, pickle.UnpicklingError):
            self.heard.put((self, None))
        except Exception as error:
            self.heard.put((self, error))

    def how_it_ended(self) -> str:
        """In words, for an error."""
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            memory = ", most often because memory was full" if name == "SIGKILL" else ""
            return f"was killed ({name}){memory}"
        self.complaints.seek(0)
        last = self.complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
        return f"ended with exit code {code}" + (f" ({last})" if last else "")

    def end(self) -> None:
        """End it, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self.listener.join()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


Heard = queue.SimpleQueue[tuple[_Child, Reached | Exception | None]]


def _run(
    children: Sequence[_Child],
    heard: Heard,
    checkpoint: Path | None,
    jobs: Iterable[Job],
    reached: Mapping[str, Reached],
    report: Report,
) -> None:
    """Give every process a job, and the next one when it is done, until none is left."""
    waiting, busy = deque(jobs), dict[_Child, Job]()

    def next_job(child: _Child) -> None:
        busy.pop(child, None)
        if waiting:
            busy[child] = waiting.popleft()
            child.ask((busy[child], reached[busy[child].name]))

    for child in children:
        next_job(child)
    while busy:
        try:
            child, answer = heard.get(timeout=1.0)
        except queue.Empty:  # on Windows, Ctrl-C comes through between two waits only
            continue
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise TrainingStopped(_stopped(child, busy.get(child), checkpoint))
        job = busy[child]
        if answer.epochs == job.settings.last_epoch:
            next_job(child)
        report(job, answer)


def _stopped(child: _Child, job: Job | None, checkpoint: Path | None) -> str:
    """What is said of a process that is gone."""
    which = f"that trained {job.title}" if job else "that waited for work"
    kept = (
        f"{checkpoint} holds the epochs that were done: make the same call again"
        if checkpoint
        else "Nothing was kept. Make the call again, with a checkpoint=file to go on from"
    )
    return (
        f"the process {which} {child.how_it_ended()}. {kept}; workers=1 trains one member at a "
        "time, in your own process"
    )

"""A process that trains: ``python -m xflux.training.worker FILE``, started by `processes.Crew`.

It reads jobs from its standard input and answers on its standard output, as pickles: both ends are
the same program. When its input ends, because the training is over or because the process that
started it is gone, it removes the file and ends at once.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from xflux.errors import XfluxError
from xflux.training.checkpoint import Reached
from xflux.training.jobs import Job, run_job
from xflux.training.windows import Tensors


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Put all towers into a file, once for all processes."""
    parts = {"": tensors} if tensors.world is None else {"": tensors, "world.": tensors.world}
    named = {
        f"{prefix}{name}": torch.as_tensor(values).contiguous()
        for prefix, part in parts.items()
        for name, values in vars(part).items()
        if name != "world"
    }
    save_file(named, path)


def read_tensors(path: Path) -> Tensors:
    """Map the file of all towers into memory, which the processes share."""
    named = load_file(path)
    of_world = {n: named.pop(n) for n in list(named) if n.startswith("world.")}
    world = {name.removeprefix("world."): values for name, values in of_world.items()}
    return _tensors(named, world=_tensors(world) if world else None)


def _tensors(named: dict[str, torch.Tensor], *, world: Tensors | None = None) -> Tensors:
    records, target = named.pop("records").numpy(), named.pop("target").numpy()
    return Tensors(**named, records=records, target=target, world=world)


def main(path: Path) -> None:
    """Train what is asked for, until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for who started this process
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what anything prints is no answer
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked, path), daemon=True).start()
    torch.set_num_threads(1)

    def answer(message: Reached | Exception) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody is there: the listener ends all
            pickle.dump(message, answers)
            answers.flush()

    def report(job: Job, reached: Reached) -> None:
        answer(reached)

    inputs, keep = asked.get()
    tensors = read_tensors(path)
    while True:
        job, reached = asked.get()
        try:
            run_job(job, tensors, inputs, reached, report, keep=keep)
        except Exception as error:
            answer(_portable(error))


def _listen(asked: queue.SimpleQueue[Any], path: Path) -> None:
    """Hand on what is asked for, and end the process when the input ends."""
    try:
        while True:
            asked.put(pickle.load(sys.stdin.buffer))
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()
        os._exit(0)


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note, or its text alone where it cannot be sent."""
    if not isinstance(error, XfluxError):
        error.add_note(f"In a process that trains:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(traceback.format_exc())
    return error


if __name__ == "__main__":
    main(Path(sys.argv[1]))

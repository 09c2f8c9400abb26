"""Damaged and hostile files, thousands of them, to the readers of towers and of models.

Run from the root of the project:

    python benchmarks/fuzz.py [--cases 20000] [--seed 0] [--real ../shared/data] [--keep FOLDER]

A case is a file of tests/damaged_files.py, damaged in one of many ways. Each must lead to an error
of xflux.errors in clear words or to what stands in the file; never to another exception, a crash, a
hang, or more memory than the file warrants. Cases run in a child process with limits; where it
dies, the case is noted and another child goes on. Printed are counts by format and outcome, and
the cases that failed, which are kept with their files.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import resource
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from multiprocessing.connection import Connection
from pathlib import Path

import xflux

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import damage_outcome  # noqa: E402
import damaged_files  # noqa: E402

SLOW = 4.0  # processor seconds
HANG = 60.0  # seconds
MEMORY = 300 * 2**20  # bytes beyond those of the file, unpacked


def small_model() -> bytes:
    """A model file, trained for moments only."""
    towers = xflux.datasets.load("simulated-towers", sites=8, years=2, time_step="monthly")
    model = towers.flux.train(members=2, epochs=2, hidden=8, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        return model.save(Path(folder) / "model.safetensors").read_bytes()


def peak(reset: bool = False) -> int:
    """The most memory that this process has held since it was reset, in bytes."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def child(pipe: Connection, wholes: list[damaged_files.Whole], seed: int) -> None:
    """Judge the cases whose numbers come through the pipe."""
    size = 1024 * int(Path("/proc/self/statm").read_text().split()[0]) * 4
    resource.setrlimit(resource.RLIMIT_AS, (size + 3 * 2**30, size + 3 * 2**30))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = {whole.kind: damage_outcome.read_whole(whole, folder) for whole in wholes}
        pipe.send(None)
        while True:
            case = damaged_files.case(wholes, seed, pipe.recv())
            before, start = peak(reset=True), time.process_time()
            what, words = damage_outcome.outcome(case, read, folder)
            seconds, grown = time.process_time() - start, peak() - before
            for left in folder.iterdir():
                left.unlink()
            if seconds > SLOW:
                what = f"slow ({what})"
            library = 2**30 if "netCDF" in case.kind else 0  # HDF5 believes the sizes that it reads
            if grown > MEMORY + library + 20 * len(case.content):
                what = f"{grown // 2**20} MB ({what})"
            pipe.send((case.kind, what, words))


class Children:
    """One child at a time; another where it dies or hangs."""

    def __init__(self, wholes: list[damaged_files.Whole], seed: int) -> None:
        self.arguments = (wholes, seed)
        self.start()

    def start(self) -> None:
        """Begin a child, and wait until it is ready."""
        self.pipe, theirs = mp.Pipe()
        self.process = mp.get_context("fork").Process(
            target=child, args=(theirs, *self.arguments), daemon=True
        )
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def judge(self, number: int) -> tuple[str, str, str]:
        """Kind of a case, and what becomes of it."""
        self.pipe.send(number)
        try:
            if self.pipe.poll(HANG):
                return self.pipe.recv()
            what = "hang"
        except EOFError:
            self.process.join()
            what = f"crash (signal {-(self.process.exitcode or 0)})"
        self.close()
        self.start()
        return damaged_files.case(*self.arguments, number).kind, what, ""

    def close(self) -> None:
        """End the child."""
        self.process.kill()
        self.process.join()


def main() -> None:
    """Run the campaign; the exit status is 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "xflux-fuzz")
    options = parser.parse_args()
    folder = options.real / "formats"
    wholes = damaged_files.wholes(small_model(), folder if folder.is_dir() else None)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    children = Children(wholes, options.seed)
    failed = done = 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for number in range(options.first, options.first + options.cases):
        try:
            kind, what, words = children.judge(number)
        except KeyboardInterrupt:  # what was found until then is told
            break
        done += 1
        counts[kind][what] += 1
        if what not in damage_outcome.GOOD:
            case = damaged_files.case(wholes, options.seed, number)
            failed += 1
            words = " ".join(words.split())[:300]
            print(f"{number}: {case.kind}, {case.change}: {what}: {words}", flush=True)
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"{options.seed}-{number}-{case.name}").write_bytes(case.content)
    children.close()
    print(f"\n{done} cases from {options.first} on, seed {options.seed}; {failed} failed")
    outcomes = sorted({what for count in counts.values() for what in count})
    print(f"| format | cases | {' | '.join(outcomes)} |")
    print(f"| --- | {'--- | ' * (len(outcomes) + 1)}")
    for kind, count in sorted(counts.items()):
        print(f"| {kind} | {count.total()} | {' | '.join(str(count[w]) for w in outcomes)} |")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

"""Kill -9 at any moment: the store is never half there, and nothing is computed twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from xflux.model import FluxModel

pytest.importorskip("zarr")
KILLS = 20
BLOCKS = (10, 20)
"""Of the two layouts of `killing.py`."""
HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_twenty_kills(daily_model: FluxModel, tmp_path: Path) -> None:
    model = daily_model.save(tmp_path / "model.safetensors")
    command = [sys.executable, str(HERE / "killing.py"), str(model), str(tmp_path), str(KILLS)]
    path = os.pathsep.join(map(str, (HERE.parent, HERE)))
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written: set[tuple[str, ...]] = set()
    lost: Counter[str] = Counter()
    finished: Counter[str] = Counter()
    begun: dict[str, set[tuple[str, ...]]] = {}
    for line in (tmp_path / "log").read_text().splitlines():
        what, store, *block = line.split()
        assert what in ("begun", "done", "killed", "finished"), line
        if what == "begun":
            assert (store, *block) not in written, f"{line}: it was written before"
            begun.setdefault(store, set()).add((store, *block))
        elif what == "done":
            written.add((store, *block))
        elif what == "killed":
            lost[store] += 1
        else:
            finished[store] += 1
    assert sum(lost.values()) == KILLS
    assert len(lost) > 1
    for store, blocks in begun.items():
        assert finished[store] == 1
        layout = int(store.removesuffix(".zarr").rpartition("-")[2]) % 2
        assert len(blocks) == BLOCKS[layout]
        assert not (tmp_path / f"{store}.part").exists()

"""What every test and every doctest of xflux starts with."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("llvmlite") is None:  # compiled code is an extra of xflux
    collect_ignore = [
        f"xflux/prediction/{name}.py" for name in ("fused", "fused_step", "vector_code")
    ]


def pytest_configure() -> None:
    """One thread for torch and a matplotlib that draws to files, also in subprocesses."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")
    if importlib.util.find_spec("matplotlib") is not None:
        os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Hold torch to one thread where a test module has imported it already."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the downloads of the tests out of the cache of the person who runs them."""
    folder = tmp_path_factory.mktemp("xflux-data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XFLUX_DATA_DIR", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def names_in_doctests(doctest_namespace: dict[str, Any]) -> None:
    """Let doctests use ``np``, ``xr`` and ``xflux`` as the reader of the docs would."""
    import numpy as np
    import xarray as xr

    import xflux

    doctest_namespace.update(np=np, xr=xr, xflux=xflux)

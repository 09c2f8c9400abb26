"""The shape of the package: which way imports go, what `import xflux` costs, how long files are."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "xflux"
MODULES = sorted(PACKAGE.rglob("*.py"))
AIM, LIMIT = 350, 420

# From the ground up: a module may import from its own layer and from those listed before it,
# never from those listed after it. A folder that is listed by its own name is one place; of the
# others each module has its place.
LAYERS = (
    ("errors",),
    (
        "cf",
        "simulated",
        "skill",
        "networks",
        "training",
        "prediction",
    ),  # a line of words each
    ("cf.units", "whole"),
    ("cf.variable",),
    ("cf.derived",),
    ("training.knowledge",),
    ("cf.variables", "cf.timestep", "cf.aggregation"),
    ("cf.targets",),
    ("cf.metadata",),
    ("training.settings", "training.prior"),
    ("cf.matching",),
    ("cf.schema", "cf.alignment"),
    ("cf.display",),
    (
        "simulated.earth",
        "simulated.law",
        "simulated.world",
        "readers",
        "datasets",
        "skill.clusters",
        "skill.splits",
        "skill.timescales",
        "skill.metrics",
        "skill.comparison",
    ),
    ("features",),
    ("batches",),
    ("cf.entities",),
    ("training.towers", "training.windows", "training.world"),
    ("training.domains",),
    ("drivers",),
    ("networks.ct_lstm",),
    ("networks.metaflux", "networks.tam_rl", "physics"),
    ("networks.building",),
    (
        "training.losses",
        "training.headwise",
        "prediction.kernel",
        "prediction.transfer",
        "prediction.vector_code",
    ),
    ("prediction.fused_step",),
    ("prediction.fused",),
    ("prediction.engine_metaflux", "prediction.engine_physics", "prediction.engine_tam_rl"),
    ("prediction.engines",),
    ("training.labels", "training.terms"),
    ("prediction.ensemble",),
    ("training.checkpoint", "training.recipe"),
    ("training.informed", "training.meta", "training.task_aware"),
    ("training.methods",),
    ("progress",),
    ("training.supervised",),
    ("training.gradual", "training.newtargets"),
    ("training.jobs",),
    ("training.worker", "training.validation"),
    ("training.processes",),
    ("training.members",),
    ("prediction.carried", "prediction.calibration"),
    ("prediction.conformal", "prediction.dissimilarity"),
    ("prediction.outputs",),
    ("prediction.blocks", "prediction.state"),
    ("prediction.support", "prediction.absent", "prediction.extrapolation", "prediction.run"),
    ("prediction.context",),
    ("prediction.streaming",),
    ("prediction.beforehand",),
    ("prediction.inference",),
    ("prediction.cutting", "prediction.folder"),
    ("prediction.reading", "prediction.unfinished"),
    ("prediction.writing",),
    ("prediction.scheduling",),
    ("prediction.to_zarr",),
    ("soundness",),
    ("model",),
    ("pretrained", "training.fitting", "training.finetuning"),
    ("skill.evaluation",),
    ("skill.reference", "skill.calibrating"),
    ("audit",),
    ("styles",),
    ("plotting",),
    ("accessor",),
    ("demo",),
    ("__init__", "__main__"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def name_of(path: Path) -> str:
    """The name under which LAYERS knows a file: `cf.schema` for cf/schema.py, `readers`."""
    folder, *rest = path.relative_to(PACKAGE).with_suffix("").parts
    dotted = ".".join((folder, *rest)).removesuffix(".__init__")
    return dotted if dotted in RANK or not (rest and folder in RANK) else folder


def dotted_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports, functions included."""
    package = ("xflux", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join((*above, *((node.module,) if node.module else ())))
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and layer name of every import of xflux itself; the version is free to all."""
    for line, dotted in dotted_imports(path):
        first, _, rest = dotted.partition(".")
        if first == "xflux" and rest != "__version__":
            yield line, module_of(rest)


def module_of(dotted: str) -> str:
    """The layer name of what an import names; a name that no file has is one of `__init__`."""
    parts = dotted.split(".")
    for length in (2, 1):
        path = PACKAGE.joinpath(*parts[:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if len(parts) >= length and file.is_file():
                return name_of(file)
    return "__init__"


def python(code: str) -> str:
    """What a fresh Python prints for some code, run from the project's root."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_go_one_way(path: Path) -> None:
    assert name_of(path) in RANK, (
        f"{relative(path)} has no place yet: add {name_of(path)!r} to LAYERS "
        f"in {relative(Path(__file__))}, just after the modules that it builds on"
    )
    wrong = [
        f"line {line}: imports {other}"
        for line, other in imports_of(path)
        if RANK.get(other, len(LAYERS)) > RANK[name_of(path)]
    ]
    assert not wrong, f"{relative(path)} imports from a later layer: {'; '.join(wrong)}"


def test_no_two_modules_import_each_other() -> None:
    waiting = {
        name: {other for path in MODULES if name_of(path) == name for _, other in imports_of(path)}
        - {name}
        for name in {name_of(path) for path in MODULES}
    }
    while ready := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
    assert not waiting, f"these import each other in a circle: {sorted(waiting)}"


def test_only_batches_imports_xbatcher() -> None:
    users = {
        relative(path)
        for path in MODULES
        for _, dotted in dotted_imports(path)
        if dotted.partition(".")[0] == "xbatcher"
    }
    assert users <= {"xflux/batches.py"}


def test_import_leaves_torch_alone() -> None:
    assert python("import sys, xflux; print('torch' in sys.modules)") == "False"


def test_import_registers_flux_alone() -> None:
    code = """
import xarray as xr
def accessors():
    return {
        (kind.__name__, name, held._accessor.__module__.partition(".")[0])
        for kind in (xr.Dataset, xr.DataArray, xr.DataTree)
        for name, held in vars(kind).items()
        if type(held).__name__ == "_CachedAccessor"
    }
before = accessors()
import xflux
print(sorted(found for found in accessors() - before if found[2] != "cf_xarray"))
"""
    assert python(code) == str([("Dataset", "flux", "xflux")])


@pytest.mark.slow
def test_import_takes_less_than_twice_the_time_of_xarray() -> None:
    def seconds(module: str) -> float:
        clock = "from time import perf_counter as now; start = now()"
        return float(python(f"{clock}; import {module}; print(now() - start)"))

    seconds("xflux")  # the first run also reads the files from the disk
    ratio = statistics.median(seconds("xflux") / seconds("xarray") for _ in range(5))
    assert ratio < 2, f"import xflux takes {ratio:.2f} times as long as import xarray"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LIMIT, f"{relative(path)} has {lines} lines; aim for {AIM}, one idea a file"


def public_definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Public functions, classes and their public methods, by dotted name."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.startswith("_") or any(
                "overload" in ast.dump(d) for d in node.decorator_list
            ):
                continue
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix}{node.name}.")


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_everything_public_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = [name for name, node in public_definitions(tree.body) if not ast.get_docstring(node)]
    assert ast.get_docstring(tree), f"{relative(path)} does not say what it is for"
    assert not bare, f"{relative(path)}: no docstring on {', '.join(bare)}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_public_signatures_are_explicit(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loose = [
        name
        for name, node in public_definitions(tree.body)
        if isinstance(node, ast.FunctionDef) and (node.args.vararg or node.args.kwarg)
    ]
    assert not loose, f"{relative(path)}: *args or **kwargs in {', '.join(loose)}"


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert not [relative(path) for path in MODULES if path.stem in drawers]


def test_nothing_is_left_to_do() -> None:
    marks = ("TO" + "DO", "FIX" + "ME")
    folders = ("xflux", "tests", "benchmarks", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = [
        relative(path) for path in files if any(mark in path.read_text("utf-8") for mark in marks)
    ]
    assert not found

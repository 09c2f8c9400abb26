"""Damaged files of every format: a case is made of a kind and a seed, the same each time."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import damage
import numpy as np
import pandas as pd
import tower_files

DAILY = "FLX_XX-One_FLUXNET2015_FULLSET_DD_2005-2005_1-4.csv"
MONTHLY = DAILY.replace("_DD_", "_MM_")
PLAIN = "plain.csv"
NETCDF = "XX-One_2005-2005_FLUXNET2015_Met.nc"


@dataclass(frozen=True)
class Case:
    """One file, damaged.

    Attributes
    ----------
    kind : str
    change : str
        What was done to it.
    name : str
    content : bytes
    lossless : bool
        Whether it must read as the file of its kind that is whole.
    """

    kind: str
    change: str
    name: str
    content: bytes
    lossless: bool = False


@dataclass
class Whole:
    """A file that is whole, and how to damage it beside the ways that bytes have."""

    kind: str
    name: str
    content: bytes
    own: tuple[Callable[[random.Random, bytes], bytes], ...] = ()
    text: bool = False
    weight: float = 1.0
    rows: damage.Rows = field(default_factory=list)

    def damaged(self, rng: random.Random) -> Case:
        """Damage it in one way, at times in two."""
        draw = rng.random()
        if self.text and draw < 0.3:
            change = rng.choice(damage.LOSSLESS)
            content = change(rng, [list(row) for row in self._rows()])
            return Case(self.kind, change.__name__, self.name, content, lossless=True)
        if self.text and draw < 0.75:
            change = rng.choice(damage.LOSSY)
            content = change(rng, [list(row) for row in self._rows()])
        elif self.own and draw < 0.6:
            change = rng.choice(self.own)
            content = change(rng, self.content)
        else:
            change = rng.choice(damage.BYTES)
            content = change(rng, self.content)
        names = change.__name__
        if rng.random() < 0.1:
            change = rng.choice(damage.BYTES)
            content, names = change(rng, content), f"{names}, {change.__name__}"
        return Case(self.kind, names, self.name, content)

    def _rows(self) -> damage.Rows:
        if not self.rows:
            self.rows = damage.rows_of(self.content)
        return self.rows


# --- archives --------------------------------------------------------------------------------


def _zip(members: dict[str, bytes], *, packed: bool = True) -> bytes:
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def names_that_lead_out(rng: random.Random, content: bytes) -> bytes:
    lead = rng.choice(("../", "/", "a/../../", "C:\\", "..\\", "\\\\host\\", "./../", "~/", "//"))
    return _zip({lead + name: held for name, held in _members(content).items()})


def bomb(rng: random.Random, content: bytes) -> bytes:
    fill = rng.choice((b"\0", b"1,", b"\n", b'"', b"#\n"))
    return _zip({DAILY: fill * (rng.choice((2**25, 2**26)) // len(fill))})


def nested(rng: random.Random, content: bytes) -> bytes:
    for level in range(rng.choice((1, 2, 20))):
        content = _zip({rng.choice((f"{level}.zip", f"XX-One_{level}.csv")): content})
    return content


def sizes_that_lie(rng: random.Random, content: bytes) -> bytes:
    out = bytearray(content)
    at = content.rfind(b"PK\x01\x02") + rng.choice((16, 20, 24, 28, 30, 42))
    struct.pack_into("<I", out, at, rng.choice((0, 1, 2**31, 2**32 - 1, rng.randrange(2**32))))
    return bytes(out)


def members_twice(rng: random.Random, content: bytes) -> bytes:
    import warnings

    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")
        for name, held in _members(content).items():
            archive.writestr(name, held)
            archive.writestr(name, rng.choice(damage.BYTES)(rng, held))
    return out.getvalue()


def many_members(rng: random.Random, content: bytes) -> bytes:
    name, held = next(iter(_members(content).items()))
    return _zip({f"{i}/{name}": held for i in range(8)} | {f"{i}.csv": b"" for i in range(30)})


def members_damaged(rng: random.Random, content: bytes) -> bytes:
    members = _members(content)
    name = rng.choice(sorted(members))
    return _zip({**members, name: rng.choice(damage.BYTES)(rng, members[name])})


def members_of_another_name(rng: random.Random, content: bytes) -> bytes:
    ends = (".csv", ".CSV", ".xlsx", ".nc", "", "/", ".csv.exe", ".csv\n", "\udcff.csv", ".txt")
    held = next(iter(_members(content).values()))
    return _zip({("XX-Two" + rng.choice(ends)).encode("utf-8", "replace").decode(): held})


ZIP = (
    names_that_lead_out,
    nested,
    sizes_that_lie,
    members_twice,
    many_members,
    members_damaged,
    members_of_another_name,
)


# --- spreadsheets ----------------------------------------------------------------------------


def sheet_damaged(rng: random.Random, content: bytes) -> bytes:
    members = _members(content)
    name = rng.choice(sorted(n for n in members if n.endswith((".xml", ".rels"))))
    return _zip({**members, name: rng.choice(damage.BYTES)(rng, members[name])})


def sheet_of_hostile_cells(rng: random.Random, content: bytes) -> bytes:
    members = _members(content)
    name = "xl/worksheets/sheet1.xml"
    text = members[name].decode()
    old, new = rng.choice(
        (
            ("<v>", rng.choice(("<v>1e999", "<v>x", "<v>-", "<v>nan", "<v>9" * 1))),
            ('t="n"', rng.choice(('t="e"', 't="b"', 't="s"', 't="d"', 't="str"'))),
            ('r="A1"', 'r="XFD1048576"'),
            ("<row ", '<row hidden="1" '),
            ('<row r="2"', '<row r="1048576"'),
            ("<sheetData>", "<!DOCTYPE a [<!ENTITY b 'c'>]><sheetData>"),
            ("</sheetData>", ""),
        )
    )
    text = text.replace(old, new, rng.choice((1, 5, -1)))
    return _zip({**members, name: text.encode()})


def entities_without_end(rng: random.Random, content: bytes) -> bytes:
    """The billion laughs."""
    members = _members(content)
    name = rng.choice(("xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/workbook.xml"))
    lines = [f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10)]
    doctype = f'<!DOCTYPE lolz [<!ENTITY l0 "lol">{"".join(lines)}]>'
    text = members.get(name, b"<sst>").decode()
    head, _, rest = text.partition("?>") if text.startswith("<?xml") else ("", "", text)
    start = f"{head}?>" if head else ""
    return _zip({**members, name: f"{start}{doctype}{rest.replace('<v>', '<v>&l9;', 1)}".encode()})


XLSX = (sheet_damaged, sheet_of_hostile_cells, entities_without_end)


# --- netCDF ----------------------------------------------------------------------------------


def netcdf(rng: random.Random | None = None, content: bytes = b"") -> bytes:
    """A small Met file; with a random generator, one whose shapes, units or times are hostile."""
    import netCDF4

    def one(usual: Any, *others: Any) -> Any:
        return usual if rng is None or rng.random() < 0.8 else rng.choice(others)

    held = netCDF4.Dataset("a.nc", "w", memory=4096, format=one("NETCDF4", "NETCDF3_CLASSIC"))
    size = one(96, 1, 2, 3, 95, 1000)  # 0 would be unlimited
    held.createDimension("time", size)
    for dim in ("x", "y"):
        held.createDimension(dim, one(1, 1, 2))
    time = held.createVariable(one("time", "t", "Time"), one("f8", "f4", "i4", "S1"), ("time",))
    units = ("", "seconds", "seconds since 0000-00-00", "days since 2005-01-01", "x since y", 7)
    time.units = one("seconds since 2005-01-01 00:00:00", *units, "months since 2005-01-01")
    time.calendar = one("standard", "noleap", "360_day", "julian", "maya", 3, "")
    stamps = np.arange(float(size)) * one(1800, 3600, 60, 0, -1800, 1e300, np.nan, 86400)
    if time.dtype.kind != "S" and np.isfinite(stamps).all() and np.abs(stamps).max(initial=0) < 1e9:
        time[:] = stamps
    for name, unit in (("Tair", "K"), ("SWdown", "W/m2"), ("VPD", "hPa"), ("Precip", "kg/m2/s")):
        dims = one(("time", "y", "x"), ("time",), ("x", "time", "y"), ("x",), ())
        kind = one("f4", "f8", "i2", "S1", "i1")
        held.createVariable(one(name, name.lower(), f"{name}_qc"), kind, dims)
        units = ("", "m", "degC", "K" * 5000, "g C m-2 d-1", 5, "1e999 K", "K K K")
        variable = held.variables[list(held.variables)[-1]]
        if kind in ("f4", "f8") and size and "time" in dims:
            variable[:] = one(280.0, 1.0, 1e5, -9999.0)
        variable.units = one(unit, *units)
        variable.setncattr(
            one("long_name", "scale_factor", "valid_range", "missing_value", "coordinates"),
            one("a name", 0.0, "text", [1, 2, 3], np.nan),
        )
    held.site_code = one("XX-One", "", "../../etc", 7, "x" * 10_000, "\u202e")
    return bytes(held.close())


# --- models ----------------------------------------------------------------------------------

VALUES = (
    *(None, True, 0, -1, 2**31, 2**63, 1e308, float("inf"), float("nan"), "", "text", "<b>x</b>"),
    *("../x", "\x00", "\udcff", "TA", [], [[]], [1, "a", None], {}, {"a": {"b": []}}, "9" * 400),
)


def _nodes(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = (
        list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    )
    return [p for key in keys for p in ((*path, key), *_nodes(tree[key], (*path, key)))]


def _changed(rng: random.Random, tree: Any) -> Any:
    for _ in range(rng.choice((1, 1, 1, 3))):
        nodes = _nodes(tree)
        if not nodes:
            break
        *path, last = rng.choice(nodes)
        inner = tree
        for key in path:
            inner = inner[key]
        draw = rng.random()
        if draw < 0.75:
            inner[last] = rng.choice(VALUES)
        elif draw < 0.9:
            del inner[last]
        elif isinstance(inner, dict):
            inner["more"] = rng.choice(VALUES)
        else:
            inner.append(rng.choice(VALUES))
    return tree


def _taken_apart(content: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _put_together(header: Any, rest: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "replace")
    return len(text).to_bytes(8, "little") + text + rest


def header_hostile(rng: random.Random, content: bytes) -> bytes:
    header, rest = _taken_apart(content)
    return _put_together(_changed(rng, header), rest)


def offsets_hostile(rng: random.Random, content: bytes) -> bytes:
    header, rest = _taken_apart(content)
    tensors = [name for name in header if name != "__metadata__"]
    about = header[rng.choice(tensors)]
    huge = (2**31, 2**62, 2**64, -1, 0, 1)
    about.update(
        rng.choice(
            (
                {"data_offsets": [rng.choice(huge), rng.choice(huge)]},
                {"data_offsets": header[rng.choice(tensors)]["data_offsets"]},
                {"shape": [rng.choice(huge)] * rng.choice((0, 1, 3, 2000))},
                {"dtype": rng.choice(("F64", "F16", "BF16", "I8", "BOOL", "F8_E4M3", "X", "", 3))},
            )
        )
    )
    return _put_together(header, rest)


def header_text_hostile(rng: random.Random, content: bytes) -> bytes:
    header, rest = _taken_apart(content)
    text = json.dumps(header)
    name = next(name for name in header if name != "__metadata__")
    twice = f'{{"{name}": {json.dumps(header[name])}, {text[1:]}'
    deep = text[:-1] + f', "a": {"[" * 50_000}{"]" * 50_000}}}'
    texts = (twice, deep, text + " " * 10**6, "[" * 10**5, text.replace('"', "'"), text * 2, "")
    return _put_together(rng.choice(texts).encode(), rest)


def length_hostile(rng: random.Random, content: bytes) -> bytes:
    length = rng.choice((0, 1, 2**20, 2**31, 2**63, 2**64 - 1, rng.randrange(2**16)))
    return length.to_bytes(8, "little") + content[8:]


def forged(rng: random.Random, content: bytes) -> bytes:
    """A description with hostile values, under a hash that is right."""
    from xflux import model

    header, _ = _taken_apart(content)
    about = _changed(rng, json.loads(header["__metadata__"]["xflux"]))
    return model.write_file(model.parse_model(content, "").members.data, json.dumps(about))


MODEL = (header_hostile, offsets_hostile, header_text_hostile, length_hostile, forged, forged)


# --- all of them -----------------------------------------------------------------------------


def plain_table() -> str:
    """Months of two towers under names of xflux, with their places."""
    rng = np.random.default_rng(5)
    time = pd.date_range("2004-01-01", periods=24, freq="MS")
    parts = []
    for i, site in enumerate(("XX-One", "XX-Two")):
        columns = {"site": site, "time": time.strftime("%Y-%m-%d"), "lat": 50.0 + i, "lon": 7.5}
        numbers = {name: rng.uniform(0, 9, 24).round(3) for name in ("TA [degC]", "SW_IN", "NEE")}
        parts.append(pd.DataFrame({**columns, "igbp": "DBF", **numbers}))
    return pd.concat(parts).to_csv(index=False)


def spreadsheet(rows: int = 30) -> bytes:
    """The first days of a FULLSET as a spreadsheet."""
    out = io.BytesIO()
    tower_files.fullset("DD").iloc[:rows, :9].to_excel(out, index=False)
    return out.getvalue()


def wholes(model: bytes, real: Path | None = None) -> list[Whole]:
    """A whole file of each kind; with the folder of real ones, the first lines of those as well."""
    daily = tower_files.fullset("DD").iloc[:90].to_csv(index=False).encode()
    monthly = tower_files.fullset("MM", years=2).to_csv(index=False).encode()
    facts = tower_files.bif().encode()
    archive = _zip({DAILY: daily, "XX-One_BIF.csv": facts})
    found = [
        Whole("FLUXNET days", DAILY, daily, text=True, weight=3),
        Whole("FLUXNET months", MONTHLY, monthly, text=True, weight=3),
        Whole("AmeriFlux BASE", "AMF_XX-One_BASE_HH_1-5.csv", tower_files.base(days=2).encode(),
              text=True, weight=3),
        Whole("BADM", "XX-One_BIF.csv", facts, text=True, weight=2),
        Whole("plain table", PLAIN, plain_table().encode(), text=True, weight=3),
        Whole("zip", "FLX_XX-One.zip", archive, ZIP, weight=3),
        Whole("zip bomb", "FLX_XX-One.zip", archive, (bomb,), weight=0.1),
        Whole("xlsx", DAILY.replace("csv", "xlsx"), spreadsheet(), XLSX, weight=1.5),
        Whole("netCDF", NETCDF, netcdf(), (netcdf,), weight=3),
        Whole("model", "own.safetensors", model, MODEL, weight=4),
    ]  # fmt: skip
    return found + (_real(real) if real else [])


def _real(folder: Path) -> list[Whole]:
    found = []
    for path in sorted(folder.glob("*.csv")):
        step = next((f" {s}" for s in ("HH", "DD", "MM") if f"_{s}_" in path.name), "")
        content = b"".join(path.read_bytes().splitlines(keepends=True)[:60])
        found.append(
            Whole(f"real {path.name[:10]}{step}", path.name, content, text=True, weight=0.7)
        )
    for path in sorted(folder.glob("*.nc")):
        found.append(Whole("real netCDF", path.name, path.read_bytes(), weight=0.4))
    for path in sorted(folder.glob("BIF*.xlsx")):
        found.append(Whole("real BADM sheet", path.name, path.read_bytes(), XLSX, weight=0.1))
    return found


def case(found: list[Whole], seed: int, number: int) -> Case:
    """The case of a number."""
    rng = random.Random(f"{seed}/{number}")
    whole = rng.choices(found, [w.weight for w in found])[0]
    return whole.damaged(rng)

"""One physical variable: its names, unit and range, and what implausible values look like.

The hints end in the line to type: a value that is out of range nearly always has one of a few
causes, and its size tells which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from xflux.cf.units import CANONICAL

Role = Literal["driver", "characteristic", "target", "quality", "precursor"]


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One physical variable: how to find it, its unit inside xflux, and its plausible range."""

    name: str
    role: Role
    quantity: str
    long_name: str
    standard_name: str | None = None
    standard_names: tuple[str, ...] = ()
    misspelt: tuple[str, ...] = ()
    cell_methods: str = "time: mean"
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    low: float = float("-inf")
    high: float = float("inf")
    hints: tuple[tuple[float, float, str], ...] = ()

    @property
    def units(self) -> str:
        """Unit of this variable inside xflux."""
        return CANONICAL[self.quantity]

    @property
    def known_standard_names(self) -> tuple[str, ...]:
        """CF standard names by which this variable is recognised."""
        own = (self.standard_name,) if self.standard_name else ()
        return own + self.standard_names

    def matches(self, standard_name: str | None, cell_methods: str | None) -> bool:
        """Whether a standard name and cell methods describe this variable.

        Daily mean, minimum and maximum temperature share one standard name: the
        ``cell_methods`` attribute tells them apart (CF 1.11, section 7.3).
        """
        if standard_name not in self.known_standard_names:
            return False
        statistic = next((m for m in ("minimum", "maximum") if m in (cell_methods or "")), "mean")
        wanted = next((m for m in ("minimum", "maximum") if m in self.cell_methods), "mean")
        return statistic == wanted

    def explain(self, low: float, high: float) -> str:
        """Say what values from ``low`` to ``high`` look like when they are out of range."""
        for at_least, at_most, words in self.hints:
            if at_least <= (high if high > self.high else low) <= at_most:
                return words
        return "check the units and the fill value"


_KEEP = 'mask it, ds["{variable}"] = ds["{variable}"].where(ds["{variable}"] '
FILL = (
    (-10000.0, -9990.0, f"looks like a fill value: {_KEEP}> -9990)"),
    (-7000.0, -6990.0, f"looks like a fill value: {_KEEP}> -6990)"),
    (1e15, float("inf"), f"looks like a fill value: {_KEEP}< 1e15)"),
)
KELVIN = (150.0, 350.0, 'looks like kelvin: ds["{variable}"].attrs["units"] = "K"')
ABSOLUTE = (
    -400.0,
    -180.0,
    'looks like degrees Celsius called kelvin: ds["{variable}"].attrs["units"] = "degC"',
)
JOULE = (
    1e4,
    1e14,
    'looks like energy per step, not a flux: ds["{variable}"].attrs["units"] = "J m-2"',
)
PASCAL = (100.0, 12000.0, 'looks like pascal: ds["{variable}"].attrs["units"] = "Pa"')
MODIS = (
    15.0,
    255.0,
    "looks like unscaled MODIS (0-100, fills 249-255): mask the fills and scale, "
    'ds["{variable}"] = ds["{variable}"].where(ds["{variable}"] < 249) * 0.1',
)
SCALED = (
    1.5,
    32767.0,
    'looks like unscaled MODIS: ds["{variable}"] = ds["{variable}"] * 0.0001, its fills masked',
)
FRACTION = (
    1.01,
    255.0,
    "looks like unscaled MODIS (0-100, fills 249-255): mask the fills and scale, "
    'ds["{variable}"] = ds["{variable}"].where(ds["{variable}"] < 249) * 0.01',
)
PERCENT = (115.0, 12000.0, 'looks like percent called 1: ds["{variable}"].attrs["units"] = "%"')
FLAGS = (
    1.0,
    100.0,
    "looks like flags, not a share from 0 (all filled) to 1 (all measured); where 0 and 1 are the "
    'good flags, ds["{variable}"] = (ds["{variable}"] <= 1).astype("float32")',
)

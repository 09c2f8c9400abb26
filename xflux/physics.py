"""Domain knowledge as structure: fluxes are a law of the weather times what a network learns.

The law is a factor on the fluxes after the networks, computed from the drivers in physical units.
What the networks of a `Member` put out is then the efficiency of light use [g MJ-1] and the base
rate of respiration [g m-2 d-1], and an untrained member is the law itself. `docs/physics.md` tells
where each formula is from, and where it breaks.

Shapes: ``...`` any dimensions, ``D`` driver columns, ``K`` characteristic columns, ``M`` members.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from xflux.features import Inputs
from xflux.networks.ct_lstm import Member, State, Steps, pick
from xflux.training.knowledge import RESPONSES, Physics

DRIVERS = ("TA", "SW_IN", "TA_MIN", "LAI", "EVI", "NDVI", "FAPAR")
"""Drivers that the law and the terms of the loss look at, where they are there."""

WARM = ("TA", "TA_MIN", "TA_MAX")
"""Drivers that are temperatures."""

PAR_SHARE = 0.45
"""Of shortwave radiation that plants can use: Running et al. 2004,
doi:10.1641/0006-3568(2004)054[0547:ACSMOG]2.0.CO;2."""

MEGAJOULES = 0.0864
"""MJ m-2 d-1 in one W m-2."""

EXTINCTION = 0.5
"""Of light in leaves, after Beer's law: Monteith 1972, doi:10.2307/2401901."""

REFERENCE, ZERO = 15.0, -46.02
"""Temperatures of Lloyd and Taylor 1994 [degC], doi:10.2307/2389824: of the base rate, and the one
at which respiration ends."""

STEEPEST = math.log(4.0) / 10.0
"""Largest relative growth of respiration [K-1]: a factor of 4 in 10 K."""

LARGEST_E0 = STEEPEST * ZERO**2
"""Of Lloyd and Taylor [K]: at it respiration grows by `STEEPEST` at 0 degC."""

HALF = math.log(2.0)
"""What a softplus head says before it has learned."""


class Weather(NamedTuple):
    """Drivers in physical units, as the law sees them; each (...).

    Attributes
    ----------
    temperature, coldest : Tensor
        TA and TA_MIN [degC]; TA where there is no minimum.
    light : Tensor
        Photosynthetically active radiation [MJ m-2 d-1].
    fapar, most_fapar : Tensor
        Share of it that leaves absorb: the geometric mean of the estimates that there are, and the
        largest of them.
    leafless : Tensor
        Whether leaf area is there and below 0.1.
    """

    temperature: Tensor
    coldest: Tensor
    light: Tensor
    fapar: Tensor
    most_fapar: Tensor
    leafless: Tensor


class Law(nn.Module):
    """The law of the weather, with its few learned numbers.

    GPP follows absorbed light, a hyperbola with its half at ``half_light``, and a logistic ramp of
    temperature; Reco follows leaves and the response to temperature. Everything needed to read
    normalised columns in physical units is in buffers, so that weights alone say all.

    Parameters
    ----------
    inputs : Inputs
        Of the model, with their normalisation.
    physics : Physics
    """

    column: Tensor
    flag: Tensor
    centre: Tensor
    scale: Tensor
    switches: Tensor
    usual_fapar: Tensor

    def __init__(self, inputs: Inputs | None = None, physics: Physics | None = None) -> None:
        super().__init__()
        for name, value in fixed(inputs, physics or Physics()).items():
            self.register_buffer(name, value)
        self.register_buffer("usual_fapar", torch.tensor([0.5]))
        self.sensitivity = nn.Parameter(torch.tensor([0.0]))
        self.half_light = nn.Parameter(torch.tensor([math.log(5.0)]))
        self.cold = nn.Parameter(torch.tensor([1.0]))
        self.leafless_rate = nn.Parameter(torch.tensor([math.log(0.1)]))

    @property
    def e0(self) -> Tensor:
        """Temperature sensitivity after Lloyd and Taylor [K], from 0 to `LARGEST_E0`."""
        return LARGEST_E0 * torch.sigmoid(self.sensitivity)

    @property
    def q10(self) -> Tensor:
        """Growth of respiration in 10 K at the reference temperature, 1 to 4."""
        if int(self.switches[2]) == RESPONSES.index("lloyd-taylor"):
            return torch.exp(10.0 * self.e0 / (REFERENCE - ZERO) ** 2)
        return torch.exp(10.0 * STEEPEST * torch.sigmoid(self.sensitivity - 0.9))

    def weather(self, drivers: Tensor) -> Weather:
        """Read normalised columns (..., D) in physical units."""
        seen = {
            name: self._read(drivers, i) for i, name in enumerate(DRIVERS) if self.column[i] >= 0
        }
        temperature, _ = seen["TA"]
        coldest, known = seen.get("TA_MIN", seen["TA"])
        light = PAR_SHARE * MEGAJOULES * seen["SW_IN"][0].clamp(min=0.0)
        area, measured = seen.get("LAI", (torch.ones_like(light), torch.zeros_like(light)))
        mean, most = self._absorbed(seen, light)
        return Weather(
            temperature,
            torch.where(known > 0, coldest, temperature),
            light,
            mean,
            most,
            (measured > 0) & (area < 0.1),
        )

    def forward(self, drivers: Tensor) -> Tensor:
        """Factors on GPP [MJ m-2 d-1] and Reco [1] for normalised columns (..., D): (..., 2)."""
        return self.factors(self.weather(drivers))

    def factors(self, weather: Weather) -> Tensor:
        """Factors on GPP and Reco, (..., 2); 1 for what is switched off."""
        gpp, reco = torch.ones_like(weather.light), torch.ones_like(weather.light)
        light, warmth, response, leaves = (int(v) for v in self.switches)
        if light:
            gpp = weather.fapar * saturating(weather.light, self.half_light.exp())
        if warmth:
            gpp = gpp * torch.sigmoid((weather.temperature - self.cold) / 3.0)
        if RESPONSES[response] == "lloyd-taylor":
            reco = lloyd_taylor(weather.temperature, self.e0)
        elif RESPONSES[response] == "q10":
            reco = self.q10 ** ((weather.temperature - REFERENCE) / 10.0)
        if leaves:
            reco = reco * (self.leafless_rate.exp() + weather.fapar)
        return torch.stack([gpp, reco], dim=-1)

    def _read(self, drivers: Tensor, i: int) -> tuple[Tensor, Tensor]:
        value = drivers[..., int(self.column[i])] * self.scale[i] + self.centre[i]
        if self.flag[i] < 0:
            return value, torch.ones_like(value)
        return value, drivers[..., int(self.flag[i])]

    def _absorbed(
        self, seen: Mapping[str, tuple[Tensor, Tensor]], like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Geometric mean and largest of the estimates of fAPAR; the usual one without any."""
        total, count, most = torch.zeros_like(like), torch.zeros_like(like), torch.zeros_like(like)
        for name, estimate in FAPAR.items():
            if name in seen:
                value, there = seen[name]
                share = estimate(value).clamp(0.01, 1.0)
                total, count = total + there * share.log(), count + there
                most = torch.maximum(most, there * share)
        usual = self.usual_fapar.expand_as(like)
        mean = torch.where(count > 0, torch.exp(total / count.clamp(min=1.0)), usual)
        return mean, torch.where(count > 0, most, torch.ones_like(like))


FAPAR = {
    "LAI": lambda area: 1.0 - torch.exp(-EXTINCTION * area),
    "EVI": lambda index: 1.25 * (index - 0.1),
    "NDVI": lambda index: index,
    "FAPAR": lambda share: share,
}
"""Absorbed share of light from what satellites see: Beer's law; Zhang et al. 2017,
doi:10.1038/sdata.2017.165, for EVI; Running et al. 2004 for NDVI."""


def saturating(light: Tensor, half: Tensor) -> Tensor:
    """Light that is put to use [MJ m-2 d-1]: a hyperbola, one to one in dim light.

    After Lasslop et al. 2010, doi:10.1111/j.1365-2486.2009.02041.x, over a day.
    """
    return light / (1.0 + light / half)


def lloyd_taylor(temperature: Tensor, e0: Tensor) -> Tensor:
    """Response of respiration to temperature, 1 at 15 degC (Lloyd and Taylor 1994)."""
    above = (temperature - ZERO).clamp(min=6.0)
    return torch.exp(e0 * (1.0 / (REFERENCE - ZERO) - 1.0 / above))


def fixed(inputs: Inputs | None, physics: Physics) -> dict[str, Tensor]:
    """What the inputs and settings of a model say of its law, by name, (len(DRIVERS),) or (4,)."""
    table: dict[str, list[float]] = {**_readout(inputs), "switches": _switches(physics)}
    return {name: torch.tensor(values) for name, values in table.items()}


def _switches(physics: Physics) -> list[float]:
    return [
        float(physics.light),
        float(physics.warmth),
        float(RESPONSES.index(physics.respiration)),
        float(physics.leaf_respiration),
    ]


def _readout(inputs: Inputs | None) -> dict[str, list[float]]:
    """Column, flag column (-1 for none), centre and scale of each of `DRIVERS`."""
    table = {name: [fill] * len(DRIVERS) for name, fill in _UNREAD.items()}
    if inputs is None:
        return table
    for i, name in enumerate(DRIVERS):
        if name not in inputs.drivers:
            continue
        column = inputs.drivers.index(name)
        table["column"][i] = float(column)
        table["centre"][i], table["scale"][i] = inputs.centre[column], inputs.scale[column]
        if name in inputs.optional:
            flags = len(inputs.drivers) + len(inputs.derived)
            table["flag"][i] = float(flags + inputs.optional.index(name))
    return table


_UNREAD = {"column": -1.0, "flag": -1.0, "centre": 0.0, "scale": 1.0}


class PhysicsMember(Member):
    """A member whose fluxes are multiplied by a `Law`; `build` makes one."""

    width: int
    law: Law
    warm_columns: tuple[int, ...] | None = None
    """Columns of temperature, where GPP and Reco are to have networks of their own."""

    @torch.no_grad()
    def keep_apart(self) -> None:
        """Set to zero what would join the networks of GPP and Reco, or show Reco the temperature.

        The first half of the hidden units is for GPP, the second for Reco. With the weights between
        the halves at zero these are two networks, in the shape of one: prediction need not know.
        """
        if self.warm_columns is None:
            return
        lstm, direct, half = self.recurrent.lstm, self.direct, self.hidden // 2
        gates = (dict(lstm.named_parameters())[f"weight_{k}_l0"] for k in ("ih", "hh"))
        seen, carried = (weight.view(4, self.hidden, -1) for weight in gates)
        seen[:, half:, list(self.warm_columns)] = 0.0
        carried[:, half:, :half] = 0.0
        carried[:, :half, half:] = 0.0
        varying = seen.shape[-1] - (lstm.input_size - self.width)
        averaged = [c for c in self.warm_columns if c < self.averaged]
        spans = range(len(self.running.spans))
        of_means = [varying + s * self.averaged + c for s in spans for c in averaged]
        direct.first.weight[2 * half :, [*self.warm_columns, *of_means]] = 0.0
        direct.second.weight[2 * half :, : 2 * half] = 0.0
        direct.second.weight[: 2 * half, 2 * half :] = 0.0
        for heads, edge in ((self.recurrent.heads, half), (direct.heads, 2 * half)):
            heads.weight[0, edge:] = 0.0
            heads.weight[1, :edge] = 0.0

    def forward(
        self,
        drivers: Tensor,
        characteristics: Tensor,
        state: State | None = None,
        *,
        steps: Steps | None = None,
        undisturbed: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """As `Member.forward`; in training the law sees the drivers without their disturbance.

        Parameters
        ----------
        drivers, characteristics, state, steps
            As `Member.forward`.
        undisturbed : Tensor, optional
            Shape (B, T, D): the same drivers before random offsets.
        """
        learned, state = super().forward(drivers, characteristics, state, steps=steps)
        law = self.law(drivers if undisturbed is None else undisturbed)
        return learned * pick(law, steps), state


def build(
    inputs: Inputs, physics: Physics, *, hidden: int, spans: tuple[float, ...], dropout: float = 0.0
) -> PhysicsMember:
    """An untrained member with a law."""
    member = PhysicsMember(
        inputs.width,
        len(inputs.drivers),
        inputs.characteristic_width,
        hidden,
        spans=spans,
        dropout=dropout,
    )
    member.law, member.width = Law(inputs, physics), inputs.width
    if physics.cool_base_rate:
        warm = [inputs.columns_of(name) for name in WARM if name in inputs.drivers]
        member.warm_columns = tuple(sorted({column for columns in warm for column in columns}))
        member.keep_apart()
    return member


def split(
    weights: Mapping[str, npt.NDArray[np.generic]],
) -> tuple[dict[str, npt.NDArray[np.generic]], Law]:
    """Weights of a member without its law, and the law."""
    law = Law()
    law.load_state_dict(
        {
            name.removeprefix("law."): torch.from_numpy(np.array(values))
            for name, values in weights.items()
            if name.startswith("law.")
        }
    )
    return {n: values for n, values in weights.items() if not n.startswith("law.")}, law

"""Domain knowledge as terms of the loss: each is zero wherever the knowledge holds.

None needs a measured flux, so each can be asked of any weather. All are in physical units and
divided by the spread of the flux, or are relative.
"""

from __future__ import annotations

from torch import Tensor

from xflux.physics import STEEPEST, Weather

DARK = 0.1
"""MJ m-2 d-1 of light, below which no carbon is taken up."""

FROZEN = -10.0
"""degC of the coldest hour, below which no carbon is taken up."""

SMALL = 0.1
"""g m-2 d-1 that is added before a logarithm, so that small fluxes do not rule it."""


def light_excess(gpp: Tensor, weather: Weather, eps_max: float) -> Tensor:
    """GPP above what absorbed light can pay for [g m-2 d-1], after Monteith 1972.

    The largest estimate of fAPAR counts, and all light where there is none.
    """
    return (gpp - eps_max * weather.most_fapar * weather.light).clamp(min=0.0)


def light_cap(gpp: Tensor, weather: Weather, spread: Tensor, eps_max: float) -> Tensor:
    """Mean of `light_excess` in units of the spread of GPP."""
    return light_excess(gpp, weather, eps_max).mean() / spread


def resting(weather: Weather) -> Tensor:
    """Where no carbon can be taken up: in the dark, in hard frost, without leaves."""
    return (weather.light < DARK) | (weather.coldest < FROZEN) | weather.leafless


def zero(gpp: Tensor, weather: Weather, spread: Tensor) -> Tensor:
    """Mean GPP where plants rest, in units of its spread; zero where none does."""
    mask = resting(weather).to(gpp.dtype)
    return (mask * gpp.abs()).sum() / mask.sum().clamp(min=1.0) / spread


def growth(reco: Tensor, warmer: Tensor) -> Tensor:
    """Relative growth of Reco with one more kelvin on the same day [K-1]."""
    return (warmer + SMALL).log() - (reco + SMALL).log()


def temperature(reco: Tensor, warmer: Tensor, celsius: Tensor) -> Tensor:
    """How far the growth of Reco is from 0 to a factor of 4 in 10 K, relative to that.

    Only above freezing. Drought breaks it as well, but is no driver: the weight is small.

    Parameters
    ----------
    reco, warmer : Tensor
        Reco of a day, and of the same day one kelvin warmer after the same past.
    celsius : Tensor
        Temperature of the day, which broadcasts to them.
    """
    slope = growth(reco, warmer)
    wrong = (-slope).clamp(min=0.0) + (slope - STEEPEST).clamp(min=0.0)
    mask = (celsius > 0.0).to(reco.dtype).expand_as(reco)
    return (mask * wrong).sum() / mask.sum().clamp(min=1.0) / STEEPEST


def law(fluxes: Tensor, lawful: Tensor) -> Tensor:
    """Mean square of the logarithm of fluxes over what the law alone says, (..., 2) each."""
    return ((fluxes + SMALL).log() - (lawful + SMALL).log()).square().mean()

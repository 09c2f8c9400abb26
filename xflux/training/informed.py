"""How knowledge enters a training: it begins at a law, and is asked about any weather.

The terms of `xflux.training.terms` are evaluated on *world batches*: random windows of drivers, of
the towers whether labelled or not, and of a world that has no labels at all.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xflux import physics
from xflux.errors import DataError
from xflux.features import Inputs
from xflux.networks.ct_lstm import Steps
from xflux.physics import HALF, PhysicsMember
from xflux.training import terms
from xflux.training.knowledge import Physics
from xflux.training.recipe import Loss, Recipe, begin_at_spread, both_networks
from xflux.training.settings import Settings
from xflux.training.windows import Batch, Tensors, disturb, gather

USUAL = (1.5, 2.0)
"""Efficiency [g MJ-1] and base rate [g m-2 d-1] where the towers cannot tell them."""

FITTED = 20_000
"""Labelled steps, spread over all, to which a law is fitted."""

DRAWN = 0.01
"""How strongly the numbers of a law are drawn to where they began."""

SCORED = {"daily": 30, "monthly": 2}
"""Steps of a window of a world batch after its spin-up."""


def begin_at_law(network: PhysicsMember, tensors: Tensors, spread: Tensor) -> None:
    """Fit the law to the towers, and let the member begin there.

    The usual fAPAR is that of the towers. The learned numbers of the law are found by L-BFGS, with
    the efficiency and the base rate that fit best at each step of it (variable projection: Golub
    and Pereyra 1973, doi:10.1137/0710036), and drawn weakly to where they began. The loss is the
    multi-loss, with the NEE of the law being its Reco - GPP; so labels of NEE alone are enough.
    """
    law = network.law
    labelled = torch.nonzero((tensors.weight > 0).any(dim=-1).flatten())[:, 0]
    some = labelled[:: max(1, len(labelled) // FITTED)]
    drivers = tensors.drivers.flatten(0, 1)[some]
    weight = tensors.weight.flatten(0, 1)[some].double()
    weight = weight / (spread.double() ** 2 * weight.sum(dim=0).clamp(min=1.0))
    target = torch.nan_to_num(tensors.targets.flatten(0, 1)[some].double())
    weather = law.weather(drivers)
    seen = weather.most_fapar < 1.0
    if bool(seen.any()):
        law.usual_fapar.copy_(weather.fapar[seen].mean())
        weather = law.weather(drivers)
    free = list(law.parameters())
    start = [parameter.detach().clone() for parameter in free]
    search = torch.optim.LBFGS(free, max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        factors = law.factors(weather).double()
        closed = _closed(factors * _best(factors, target, weight))
        drawn = sum((p - p0).square().sum() for p, p0 in zip(free, start, strict=True))
        return (weight * (closed - target).square()).sum() + DRAWN * drawn

    def closure() -> Tensor:
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        search.step(closure)
    search.zero_grad(set_to_none=True)
    with torch.no_grad():
        if not all(bool(torch.isfinite(parameter).all()) for parameter in free):
            for parameter, value in zip(free, start, strict=True):
                parameter.copy_(value)
        network.spread.copy_(_best(law.factors(weather).double(), target, weight) / HALF)


def _closed(fluxes: Tensor) -> Tensor:
    """GPP, Reco and NEE from GPP and Reco."""
    gpp, reco = fluxes.unbind(-1)
    return torch.stack([gpp, reco, reco - gpp], dim=-1)


def _best(factors: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Efficiency and base rate of least squares, (2,); the usual ones where nothing tells them."""
    parts = torch.stack([_closed(factors * side) for side in torch.eye(2).to(factors)], dim=-1)
    matrix = torch.einsum("nti,nt,ntj->ij", parts, weight, parts)
    right = torch.einsum("nti,nt,nt->i", parts, weight, target)
    ridge = 1e-9 * matrix.diagonal().sum() + 1e-12
    found = torch.linalg.solve(matrix + ridge * torch.eye(2).to(matrix), right)
    good = torch.isfinite(found) & (found > 0)
    return torch.where(good, found, torch.tensor(USUAL).to(found))


def parameter_groups(network: torch.nn.Module, settings: Settings) -> list[dict[str, object]]:
    """Groups for the optimiser: the few numbers of a law learn ten times as fast, without decay."""
    of_law = [p for name, p in network.named_parameters() if name.startswith("law.")]
    others = [p for name, p in network.named_parameters() if not name.startswith("law.")]
    groups: list[dict[str, object]] = [
        {"params": others, "weight_decay": settings.weight_decay, "pace": 1.0}
    ]
    if of_law:
        groups.append({"params": of_law, "weight_decay": 0.0, "pace": 10.0})
    return groups


@dataclass(frozen=True, kw_only=True)
class Known:
    """The terms of the loss, for one training.

    Attributes
    ----------
    physics : Physics
    inputs : Inputs
    settings : Settings
    sources : tuple of Tensors
        Towers, and the world without labels where one was given.
    spread : Tensor
        Shape (3,), of the targets.
    """

    physics: Physics
    inputs: Inputs
    settings: Settings
    sources: tuple[Tensors, ...]
    spread: Tensor

    def loss(self, network: PhysicsMember, done: float, generator: np.random.Generator) -> Tensor:
        """Weighted sum of the terms on a new world batch; zero when all weights are.

        Parameters
        ----------
        network : PhysicsMember
        done : float
            Share of the training that has passed: weights rise over the first ``ramp`` of it.
        generator : numpy.random.Generator
        """
        weights = self.physics.terms
        total = self.spread.new_zeros(())
        rise = min(1.0, done / self.physics.ramp) if self.physics.ramp > 0 else 1.0
        if not weights or rise == 0.0:
            return total
        found = self.terms(network, self._windows(generator))
        for name, weight in weights.items():
            total = total + rise * weight * found[name]
        return total

    def terms(self, network: PhysicsMember, batch: Batch) -> dict[str, Tensor]:
        """Each term that is in use on some windows, by name; every window ends with its batch."""
        assert batch.undisturbed is not None
        now, clean = batch.drivers[:, -1:], batch.undisturbed
        past, state = network(
            batch.drivers[:, :-1], batch.characteristics, undisturbed=clean[:, :-1]
        )
        today, _ = network(now, batch.characteristics, state, undisturbed=clean[:, -1:])
        scored = SCORED[self.inputs.time_step]
        fluxes = torch.cat([past, today], dim=2)[:, :, -scored:]
        weather = network.law.weather(clean[:, -scored:])
        gpp = fluxes[..., 0]
        found: dict[str, Tensor] = {}
        used = self.physics.terms
        if "light_cap" in used:
            found["light_cap"] = terms.light_cap(gpp, weather, self.spread[0], self.physics.eps_max)
        if "zero" in used:
            found["zero"] = terms.zero(gpp, weather, self.spread[0])
        if "temperature" in used:
            kelvin = one_kelvin(self.inputs).to(now.device)
            warm, _ = network(
                now + kelvin, batch.characteristics, state, undisturbed=clean[:, -1:] + kelvin
            )
            celsius = weather.temperature[:, -1:]
            found["temperature"] = terms.temperature(today[..., 1], warm[..., 1], celsius)
        if "law" in used:
            lawful = network.law.factors(weather) * network.spread * HALF
            found["law"] = terms.law(fluxes, lawful.expand_as(fluxes))
        return found

    def _windows(self, generator: np.random.Generator) -> Batch:
        """Random windows of all sources, each source by the length of its records."""
        length = self.settings.spin_up + SCORED[self.inputs.time_step]
        lengths = [np.ptp(source.records[:, 1:], axis=1) for source in self.sources]
        share = np.array([steps.sum() for steps in lengths], dtype=float)
        counts = generator.multinomial(self.physics.world_batch, share / share.sum())
        batches = []
        for source, steps, count in zip(self.sources, lengths, counts, strict=True):
            if count:
                windows = random_windows(source.records, steps, int(count), length, generator)
                batches.append(gather(source, windows))
        return disturb(joined(batches), self.inputs, self.settings, generator)


def random_windows(
    records: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int64],
    count: int,
    length: int,
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Windows of one length, (count, 4), drawn from records by their steps; shorter if all are."""
    length = min(length, int(steps.max()))
    long = np.flatnonzero(steps >= length)
    chosen = generator.choice(long, size=count, p=steps[long] / steps[long].sum())
    start = records[chosen, 1] + generator.integers(0, steps[chosen] - length + 1)
    end = start + length
    return np.stack([records[chosen, 0], start, start, end], axis=1)


def joined(batches: list[Batch]) -> Batch:
    """Batches as one, cut at the beginning to the shortest of them."""
    length = min(batch.drivers.shape[1] for batch in batches)
    drivers, targets, weight = (
        torch.cat([getattr(batch, name)[:, -length:] for batch in batches])
        for name in ("drivers", "targets", "weight")
    )
    return Batch(drivers, torch.cat([b.characteristics for b in batches]), targets, weight)


def one_kelvin(inputs: Inputs) -> Tensor:
    """What one kelvin is in the normalised columns, shape (D,)."""
    step = torch.zeros(inputs.width)
    for name in physics.WARM:
        if name in inputs.drivers:
            column = inputs.drivers.index(name)
            step[column] = 1.0 / inputs.scale[column]
    return step


@torch.no_grad()
def diagnose(network: PhysicsMember, known: Known, *, windows: int = 200) -> dict[str, float]:
    """How far a trained member keeps to what is known, on undisturbed windows.

    Returns
    -------
    dict of str to float
        Share of days with GPP above the light cap by more than 1 % of its spread; share of days
        above freezing with a Q10 outside 1 to 4; median Q10 there; the Q10 of the law.
    """
    quiet = dataclasses.replace(
        known.settings, driver_offset=0.0, characteristic_noise=0.0,
        characteristic_dropout=0.0, driver_dropout=0.0,
    )  # fmt: skip
    settings = dataclasses.replace(known.physics, world_batch=windows)
    asked = dataclasses.replace(known, settings=quiet, physics=settings)
    batch = asked._windows(np.random.default_rng(0))
    network.eval()
    _, state = network(batch.drivers[:, :-1], batch.characteristics)
    now, kelvin = batch.drivers[:, -1:], one_kelvin(known.inputs).to(batch.drivers.device)
    today, _ = network(now, batch.characteristics, state)
    warm, _ = network(now + kelvin, batch.characteristics, state)
    mean, warmer = today.mean(dim=0)[:, 0], warm.mean(dim=0)[:, 0]
    weather = network.law.weather(now[:, 0])
    excess = terms.light_excess(mean[:, 0], weather, known.physics.eps_max)
    above = weather.temperature > 0.0
    slope = terms.growth(mean[:, 1], warmer[:, 1])[above]
    odd = (slope < 0.0) | (slope > physics.STEEPEST)
    q10 = torch.exp(10.0 * slope)
    return {
        "light_cap_violations": float((excess > 0.01 * known.spread[0]).float().mean()),
        "q10_outside_1_to_4": float(odd.float().mean()) if len(slope) else 0.0,
        "q10_median": float(q10.median()) if len(slope) else float("nan"),
        "q10_of_the_law": float(network.law.q10),
    }


def knowledge(tensors: Tensors, inputs: Inputs, settings: Settings, spread: Tensor) -> Known:
    """The terms that ``ct-lstm-physics`` adds to the loss.

    Raises
    ------
    DataError
        There are no two successive steps with drivers.
    """
    assert settings.physics is not None
    sources = (tensors,) if tensors.world is None else (tensors, tensors.world)
    if any(np.ptp(source.records[:, 1:], axis=1).max(initial=0) < 2 for source in sources):
        raise DataError(
            "no entity has drivers at two successive steps: fill their gaps first, "
            'ds = ds.interpolate_na("time", limit=3)'
        )
    return Known(
        physics=settings.physics, inputs=inputs, settings=settings, sources=sources, spread=spread
    )


def _begin(network: PhysicsMember, tensors: Tensors, spread: Tensor) -> None:
    begin_at_spread(network, tensors, spread)
    begin_at_law(network, tensors, spread)


def _loss(tensors: Tensors, inputs: Inputs, settings: Settings, spread: Tensor) -> Loss:
    """The multi-loss, with a law that sees the drivers undisturbed, and the terms."""
    known = knowledge(tensors, inputs, settings, spread)

    def loss(
        network: PhysicsMember, batch: Batch, done: float, generator: np.random.Generator
    ) -> Tensor:
        steps = Steps.where(batch.scored)
        fluxes, _ = network(
            batch.drivers, batch.characteristics, steps=steps, undisturbed=batch.undisturbed
        )
        labelled = both_networks(fluxes, batch, steps, spread, settings)
        return labelled + known.loss(network, done, generator)

    return loss


PHYSICS = Recipe(begin=_begin, loss=_loss, after_step=PhysicsMember.keep_apart)

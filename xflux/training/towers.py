"""From a Dataset with labels to the arrays that training needs.

The same steps as prediction takes (schema, units, ranges, gaps, derived drivers, normalisation),
with targets and their quality beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux import features
from xflux.batches import ENTITY, entity_blocks, stack_entities
from xflux.cf import timestep
from xflux.cf.derived import DERIVED, vapour_pressure_deficit
from xflux.cf.entities import entity_labels, entity_values
from xflux.cf.schema import Schema
from xflux.cf.variables import BY_NAME, CATEGORIES, DRIVERS, TARGETS
from xflux.errors import DataError, ModelError, SchemaError, warn
from xflux.features import Array, Characteristic, Inputs, Mask

COMPULSORY = ("TA", "SW_IN")
"""Drivers that every model needs; each other one a model may learn to do without."""


@dataclass(frozen=True, kw_only=True)
class Towers:
    """All towers of a training in memory: N entities, T steps.

    Attributes
    ----------
    drivers : dict of str to numpy.ndarray
        Shape (N, T) each, in xflux's units, NaN where missing.
    characteristics : dict of str to numpy.ndarray
        Shape (N,) each: those that the model is to see.
    targets : numpy.ndarray
        Shape (N, T, 3): GPP, Reco, NEE in g m-2 d-1, NaN where missing or of poor quality; or
        (N, T, targets) of other ones, in their own units.
    latitude, longitude : numpy.ndarray
        Shape (N,), NaN where unknown.
    year_fraction : numpy.ndarray
        Shape (T,).
    labels : tuple of str
        A name for each entity, for messages and the model card.
    """

    time_step: str
    drivers: dict[str, Array]
    characteristics: dict[str, npt.NDArray[np.generic]]
    targets: Array
    latitude: Array
    longitude: Array
    year_fraction: Array
    labels: tuple[str, ...]
    period: tuple[str, str]

    def subset(self, chosen: Mask) -> Towers:
        """The same with only the chosen entities, a boolean array of shape (N,)."""
        return replace(
            self,
            drivers={name: values[chosen] for name, values in self.drivers.items()},
            characteristics={name: v[chosen] for name, v in self.characteristics.items()},
            targets=self.targets[chosen],
            latitude=self.latitude[chosen],
            longitude=self.longitude[chosen],
            labels=tuple(label for label, keep in zip(self.labels, chosen, strict=True) if keep),
        )

    @property
    def labelled(self) -> Mask:
        """Steps with at least one target, shape (N, T)."""
        return np.asarray(np.isfinite(self.targets).any(axis=-1))


def read_towers(
    ds: xr.Dataset,
    schema: Schema,
    *,
    drivers: Sequence[str] | None = None,
    characteristics: Sequence[str] | None = None,
    qc: float = 0.5,
    few: bool = False,
    targets: Sequence[str] | None = None,
) -> Towers:
    """Load a Dataset for training, check its values, and drop towers without labels.

    Parameters
    ----------
    ds : xr.Dataset
        Towers or cells with drivers and at least one of GPP, Reco, NEE.
    schema : Schema
        What `xflux.cf.schema.resolve` understood of it.
    drivers : sequence of str, optional
        Drivers to use, by xflux's names; all that are there by default.
    characteristics : sequence of str, optional
        Characteristics to use; land cover and latitude by default, where they are there.
    qc : float
        Steps whose NEE_QC is below this are not used.
    few : bool
        Take any number of labels: they are to tune a model that has learned already.
    targets : sequence of str, optional
        Targets in place of GPP, Reco and NEE, in their own units; NEE_QC does not concern them.

    Returns
    -------
    Towers

    Raises
    ------
    SchemaError
        Something that training needs is missing or ambiguous.
    DataError
        Values out of range, a driver missing at a whole tower, no labels, or too few.
    """
    if not 0.0 <= qc <= 1.0:
        raise ModelError(f"qc={qc:g} is no share of good steps: give one from 0 to 1, qc=0.5")
    wanted = tuple(drivers) if drivers is not None else schema.drivers
    described = _characteristics(schema, characteristics)
    fluxes = [name for name in targets or TARGETS if name in schema.matches]
    disputed = schema.disputed((*(DRIVERS if drivers is None else ()), *TARGETS, "NEE_QC"))
    schema.require((*COMPULSORY, *wanted, *described, *fluxes, *disputed, "lat"), task="training")
    if not fluxes:
        raise SchemaError(
            ["no targets: at least one of GPP, Reco and NEE is needed, with labels of towers"],
            where="the Dataset for training",
        )
    _check_time_step(ds, schema)
    values = load_drivers(ds, schema, wanted, also=(*fluxes, "NEE_QC"))
    labels = entity_labels(ds, schema.entity_dims)
    statics = {name: entity_values(ds, schema, name) for name in (*described, "lat")}
    longitude = (
        entity_values(ds, schema, "lon")
        if "lon" in schema.matches
        else np.full(len(labels), np.nan)
    )
    assert schema.time is not None and schema.time_step is not None
    time = ds[schema.time]
    towers = Towers(
        time_step=schema.time_step,
        drivers={name: values[name] for name in wanted},
        characteristics={name: statics[name] for name in described},
        targets=_targets(values, qc, targets),
        latitude=np.asarray(statics["lat"], dtype=np.float32),
        longitude=np.asarray(longitude, dtype=np.float32),
        year_fraction=timestep.year_fraction(time, schema.time_step).astype(np.float32),
        labels=labels,
        period=(str(time.values[0])[:10], str(time.values[-1])[:10]),
    )
    return _checked(towers, few)


def _characteristics(schema: Schema, said: Sequence[str] | None) -> tuple[str, ...]:
    if said is not None:
        return tuple(said)
    usual = [name for name in ("igbp", "lat") if name in schema.matches]
    own = [n for n in schema.names("characteristic") if n not in BY_NAME]
    return (*usual, *own)


def _check_time_step(ds: xr.Dataset, schema: Schema) -> None:
    if schema.time_step in timestep.RESAMPLE:
        return
    known = {"sub-daily": "daily", "weekly": "monthly"}.get(str(schema.time_step))
    line = to_step(ds, schema, known) if known else "give daily or monthly data"
    raise ModelError(
        f"the time step is {schema.time_step}; xflux learns daily and monthly fluxes: {line}"
    )


def to_step(ds: xr.Dataset, schema: Schema, step: str) -> str:
    """The line that brings a Dataset to a coarser time step: means, but sums of amounts a step."""
    amounts = [m.variable for m in schema.matches.values() if m.conversion.per_step]
    texts = [str(name) for name, array in ds.data_vars.items() if array.dtype.kind not in "fiubMm"]
    return timestep.resample_line(str(schema.time), step, amounts=amounts, texts=texts)


def _sources(schema: Schema, wanted: Sequence[str]) -> tuple[str, ...]:
    return tuple(s for name, needs in schema.derivable.items() if name in wanted for s in needs)


def warn_derived(schema: Schema) -> None:
    """Say that VPD comes from means, and what that means for its size."""
    source = " and ".join(schema.derivable["VPD"][1:])
    warn(
        f"VPD is derived from {schema.time_step} means of TA and {source}; it comes out lower than "
        "the mean of hourly VPD: give VPD itself where you have it",
    )


def load_drivers(
    ds: xr.Dataset, schema: Schema, wanted: Sequence[str], *, also: Sequence[str] = ()
) -> dict[str, Array]:
    """Load drivers, those that are derived from others too, and what else is there, (N, T) each."""
    names = dict.fromkeys((*wanted, *_sources(schema, wanted), *also))
    values = _load(ds, schema, [name for name in names if name in schema.matches])
    derived = {name: vapour_pressure_deficit(values) for name in schema.derivable if name in wanted}
    if derived:
        warn_derived(schema)
    return values | derived


def _load(ds: xr.Dataset, schema: Schema, names: Sequence[str]) -> dict[str, Array]:
    """Load variables in blocks of entities, in xflux's units, shape (N, T) each."""
    assert schema.time is not None and schema.time_dim is not None
    days = timestep.step_days(ds[schema.time], schema.time_step or "daily")
    chosen = ds[[schema.matches[name].variable for name in names]]
    sizes = {dim: ds.sizes[dim] for dim in (*schema.entity_dims, schema.time_dim)}
    template = xr.DataArray(
        np.broadcast_to(np.float32(0), tuple(sizes.values())), dims=tuple(sizes)
    )
    broadcast = xr.Dataset(
        {name: chosen[name].broadcast_like(template) for name in chosen.data_vars}
    )
    stacked = stack_entities(broadcast, schema.entity_dims)
    shape = (stacked.sizes[ENTITY], stacked.sizes[schema.time_dim])
    loaded = {name: np.empty(shape, dtype=np.float32) for name in names}
    for where, block in entity_blocks(stacked):
        for name in names:
            match = schema.matches[name]
            array = block[match.variable].transpose(ENTITY, schema.time_dim)
            loaded[name][where] = to_canonical(array.values, match.conversion, days)
    problems = [
        text
        for name in names
        if (text := features.out_of_range(name, schema.matches[name].variable, loaded[name]))
    ]
    if problems:
        raise SchemaError(problems)
    return loaded


def to_canonical(
    values: npt.NDArray[np.generic], rule: tuple[float, float, bool], days: npt.NDArray[np.float64]
) -> Array:
    """Values in xflux's unit as native float32, infinite ones missing; last axis is time.

    The unit is converted in double precision, so that a file in kelvin and the same in degrees
    Celsius give the same numbers to rounding.
    """
    return np.ascontiguousarray(in_unit(values, rule, days), dtype=np.float32)


def in_unit(
    values: npt.NDArray[np.generic],
    rule: tuple[float, float, bool],
    days: npt.NDArray[np.float64] | float,
) -> npt.NDArray[np.float64]:
    """Values in xflux's unit in double precision, infinite ones missing.

    ``days`` is the length of the steps, and fits the shape of the values.
    """
    factor, offset, per_step = rule
    number = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    number = number * factor + offset
    if per_step:
        number = number / days
    number[~np.isfinite(number)] = np.nan
    return np.asarray(number)


def _targets(values: Mapping[str, Array], qc: float, other: Sequence[str] | None = None) -> Array:
    """GPP, Reco and NEE, (N, T, 3), the third from the other two; or other targets as they are."""
    if other is not None:
        return np.stack([values[name] for name in other], axis=-1)
    gpp, reco, nee = (values.get(name) for name in TARGETS)
    some = next(v for v in (gpp, reco, nee) if v is not None)
    empty = np.full_like(some, np.nan)
    if nee is None:
        nee = reco - gpp if gpp is not None and reco is not None else empty
    elif gpp is not None and reco is None:
        reco = nee + gpp
    elif reco is not None and gpp is None:
        gpp = reco - nee
    stacked = np.stack([empty if v is None else v for v in (gpp, reco, nee)], axis=-1)
    if "NEE_QC" in values:
        stacked[~(values["NEE_QC"] >= qc)] = np.nan
    _warn_signs(gpp, reco, nee)
    return stacked.astype(np.float32)


def _warn_signs(gpp: Array | None, reco: Array | None, nee: Array | None) -> None:
    """Say when fluxes seem to have the other sign: GPP and Reco positive, NEE = Reco - GPP."""
    for name, flux in (("GPP", gpp), ("Reco", reco)):
        if flux is not None and np.isfinite(flux).any() and float(np.nanmedian(flux)) < 0:
            warn(
                f"the median {name} is {float(np.nanmedian(flux)):.3g} g m-2 d-1; xflux takes it "
                f'as positive: if yours has the other sign, turn it, ds["{name}"] = -ds["{name}"]',
            )
    if gpp is None or reco is None or nee is None:
        return
    same, turned = np.abs(nee - (reco - gpp)), np.abs(nee + (reco - gpp))
    both = np.isfinite(same)
    if both.any() and float(turned[both].sum()) < 0.5 * float(same[both].sum()):
        warn(
            "NEE looks like GPP - Reco; xflux takes NEE as Reco - GPP, positive to the "
            'atmosphere: if yours is positive downwards, turn it, ds["NEE"] = -ds["NEE"]',
        )


def _checked(towers: Towers, few: bool = False) -> Towers:
    """Stop at what would spoil training; drop towers without labels, saying which."""
    problems = []
    keep = np.ones(len(towers.labels), dtype=bool)
    usable = np.ones(towers.targets.shape[:2], dtype=bool)
    for name in COMPULSORY:
        usable &= np.isfinite(towers.drivers[name])
    labelled = towers.labelled
    keep = np.asarray(labelled.any(axis=1))
    for name in COMPULSORY:
        empty = ~np.isfinite(towers.drivers[name]).any(axis=1) & keep
        if empty.any():
            problems.append(
                f"driver {name} is missing at {_some(towers.labels, empty)}: give it, or leave "
                "these out"
            )
    if problems:
        raise SchemaError(problems, where="the Dataset for training")
    keep &= (labelled & usable).any(axis=1)
    if not keep.any():
        raise DataError(
            "no step has both drivers and a target of good quality: check NEE_QC (a share from 0 "
            "to 1; steps below qc=0.5 are not used) and that drivers and targets overlap in time"
        )
    if not keep.all():
        warn(
            f"{int((~keep).sum())} entities have no usable targets and are left out: "
            f"{_some(towers.labels, ~keep)}",
        )
    kept = towers.subset(keep)
    if few:
        return kept
    _warn_whole_gaps(kept)
    least = {"daily": 30, "monthly": 12}[towers.time_step]
    count = int((kept.labelled & usable[keep]).sum())
    if count < least:
        raise DataError(
            f"only {count} steps with labels; at least {least} are needed to train a "
            f"{towers.time_step} model: give longer series or more entities, or use a bundled one, "
            f'xflux.load_model("{towers.time_step}")'
        )
    if count < {"daily": 180, "monthly": 24}[towers.time_step]:
        warn(
            f"only {count} steps with labels: the model will hardly know the seasons; "
            f'xflux.load_model("{towers.time_step}") does',
        )
    return kept


def _warn_whole_gaps(towers: Towers) -> None:
    for name, values in towers.drivers.items():
        if name in COMPULSORY:
            continue
        empty = np.asarray(~np.isfinite(values).any(axis=1))
        if empty.any() and not empty.all():
            warn(
                f"driver {name} is missing at {_some(towers.labels, empty)}; the model learns "
                "there to do without it",
            )


def _some(labels: Sequence[str], which: Mask) -> str:
    names = [label for label, hit in zip(labels, which, strict=True) if hit]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def describe_inputs(
    towers: Towers,
    *,
    derived: Sequence[str],
) -> Inputs:
    """Choose the columns of a model and learn their normalisation from its towers.

    A driver that is missing everywhere is left out; a characteristic of text, or one that is
    known to be a class, becomes a category of the classes that occur.
    """
    present = tuple(name for name, values in towers.drivers.items() if np.isfinite(values).any())
    inputs = Inputs(
        time_step=towers.time_step,
        drivers=present,
        required=tuple(name for name in present if name in COMPULSORY),
        derived=tuple(name for name in derived if set(DERIVED[name].needs) <= set(present)),
        characteristics=tuple(
            _describe(name, values) for name, values in towers.characteristics.items()
        ),
    )
    used = np.ones(towers.targets.shape[:2], dtype=bool)
    for name in inputs.required:
        used &= np.isfinite(towers.drivers[name])
    _warn_constant(towers, present, used)
    return features.fit(
        inputs,
        towers.drivers,
        towers.characteristics,
        towers.latitude,
        towers.year_fraction,
        used,
    )


def _warn_constant(towers: Towers, drivers: Sequence[str], used: Mask) -> None:
    """A driver that never varies teaches nothing; its normalisation keeps a scale of 1."""
    for name in drivers:
        values = towers.drivers[name][used]
        values = values[np.isfinite(values)]
        if values.size and float(values.max()) == float(values.min()):
            warn(
                f"driver {name} is {float(values[0]):g} at every step of every entity: nothing can "
                f"be learnt from it; leave it out, drivers={[n for n in drivers if n != name]}",
            )


def _describe(name: str, values: npt.NDArray[np.generic]) -> Characteristic:
    if name in CATEGORIES or values.dtype.kind in "OUSTb":
        classes = sorted(c for c in set(features.as_text(values)) if c not in ("", "nan", "None"))
        return Characteristic(name=name, classes=tuple(classes))
    return Characteristic(name=name, absolute=name == "lat")

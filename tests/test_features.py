"""From physical values to what the network sees: gaps, derived drivers, normalisation, classes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xflux import features
from xflux.cf import derived
from xflux.features import Characteristic, Inputs

NAN = math.nan


def series(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def bridged_in_a_loop(row: np.ndarray, limit: int) -> np.ndarray:
    """One series, step by step: a value is carried on over no more than ``limit`` steps."""
    out, value, ago = row.copy(), NAN, 0
    for step, here in enumerate(row):
        value, ago = (here, 0) if np.isfinite(here) else (value, ago + 1)
        out[step] = value if ago <= limit else NAN
    return out


any_gaps = st.lists(st.booleans(), min_size=1, max_size=40).map(
    lambda gone: np.where(gone, np.nan, np.arange(len(gone), dtype=np.float32))
)


@given(row=any_gaps, limit=st.integers(0, 5))
def test_gaps_are_bridged_as_in_a_loop(row: np.ndarray, limit: int) -> None:
    values = row[None].astype(np.float32)
    before = values.copy()
    found = features.bridge_gaps(values, limit)
    np.testing.assert_array_equal(found[0], bridged_in_a_loop(row, limit))
    np.testing.assert_array_equal(values, before)


@given(row=any_gaps, limit=st.integers(0, 5), step=st.integers(0, 40))
def test_bridging_goes_on_from_the_steps_before(row: np.ndarray, limit: int, step: int) -> None:
    values = row[None].astype(np.float32)
    step = min(step, len(row))
    whole = features.bridge_gaps(values, limit)
    earlier = np.concatenate([np.full((1, limit), NAN, np.float32), values[:, :step]], axis=1)
    earlier = earlier[:, earlier.shape[1] - limit :]
    np.testing.assert_array_equal(features.bridge_gaps(values[:, :step], limit), whole[:, :step])
    after = features.bridge_gaps(values[:, step:], limit, earlier)
    np.testing.assert_array_equal(after, whole[:, step:])


def test_infinite_values_are_gaps_too() -> None:
    found = features.bridge_gaps(series([[1, math.inf, -math.inf, 4, NAN, NAN, NAN]]), 2)
    np.testing.assert_array_equal(found, series([[1, 1, 1, 4, 4, 4, NAN]]))


@given(
    usable=st.lists(st.booleans(), min_size=1, max_size=30).map(np.array),
    steps=st.integers(0, 8),
)
def test_settling_follows_gaps_inside_a_series_only(usable: np.ndarray, steps: int) -> None:
    found = features.settle(features.course(usable[None]), steps)[0]
    begun, since = False, math.inf
    for step, here in enumerate(usable):
        if begun and not here:
            since = 0
        elif here:
            begun, since = True, since + 1
        assert found[step] == (here and since <= steps)


@given(
    usable=st.lists(st.booleans(), min_size=2, max_size=30).map(np.array), cut=st.integers(1, 29)
)
def test_the_course_goes_on_from_the_step_before(usable: np.ndarray, cut: int) -> None:
    cut = min(cut, len(usable) - 1)
    whole = features.course(usable[None])
    first = features.course(usable[None, :cut])
    second = features.course(
        usable[None, cut:], run=first.run[:, -1], interrupted=first.interrupted[:, -1]
    )
    for part, rest, both in zip(first, second, whole, strict=True):
        np.testing.assert_array_equal(np.concatenate([part, rest], axis=1), both)


@given(usable=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=4))
def test_stretches_are_the_usable_steps_and_are_unbroken(usable: list[list[bool]]) -> None:
    mask = np.array(usable)
    rebuilt = np.zeros_like(mask)
    for row, start, end in features.stretches(mask):
        assert start < end
        assert not rebuilt[row, start:end].any()
        assert start == 0 or not mask[row, start - 1]
        assert end == 7 or not mask[row, end]
        rebuilt[row, start:end] = True
    np.testing.assert_array_equal(rebuilt, mask)


# --- derived drivers --------------------------------------------------------------------------


def test_season_is_shifted_by_half_a_year_in_the_south() -> None:
    fraction = np.linspace(0, 1, 13, dtype=np.float32)
    latitude = np.array([50.0, -50.0, 0.0], dtype=np.float32)
    for name, wave in (("season_sin", np.sin), ("season_cos", np.cos)):
        found = derived.DERIVED[name].function({}, latitude, fraction)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0], wave(2 * np.pi * fraction), atol=1e-6)
        np.testing.assert_allclose(found[1], -found[0], atol=1e-6)
        np.testing.assert_array_equal(found[2], found[0])


def test_absorbed_light_by_hand() -> None:
    drivers = {"SW_IN": series([[200.0]]), "LAI": series([[2.0]]), "TA": series([[5.0]])}
    nothing = np.zeros(1, np.float32)
    light = 200 * (1 - math.exp(-1.0))
    for name, expected in (
        ("absorbed_light", light),
        ("warm_absorbed_light", light / 2),
        ("respiration_response", math.exp(0.35)),
    ):
        found = derived.DERIVED[name].function(drivers, nothing, nothing)
        assert float(found[0, 0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("celsius", "expected"),
    [(0.0, 6.112), (20.0, 23.39), (40.0, 73.8), (-10.0, 2.86)],
)
def test_saturation_pressure_of_the_tables(celsius: float, expected: float) -> None:
    """Values of the Smithsonian tables (over water), to half a percent."""
    found = float(derived.saturation_pressure(np.float32(celsius)))
    assert found == pytest.approx(expected, rel=5e-3)


def test_deficit_is_the_same_from_every_source() -> None:
    warm, dew = np.float32(25.0), np.float32(12.0)
    saturated, actual = (float(derived.saturation_pressure(t)) for t in (warm, dew))
    pressure = 950.0
    sources = {
        "TD": {"TD": dew},
        "RH": {"RH": 100 * actual / saturated},
        "EA": {"EA": actual},
        "QA": {"QA": 0.622 * actual / (pressure - 0.378 * actual), "PA": pressure},
    }
    for values in sources.values():
        arrays = {k: series([[v]]) for k, v in ({"TA": warm} | values).items()}
        found = derived.vapour_pressure_deficit(arrays)
        assert found.dtype == np.float32
        assert float(found[0, 0]) == pytest.approx(saturated - actual, rel=1e-4)


def test_deficit_is_never_negative() -> None:
    found = derived.vapour_pressure_deficit({"TA": series([[5.0]]), "TD": series([[8.0]])})
    assert float(found[0, 0]) == 0.0


# --- ranges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("TA", [280.0, 290.0], "kelvin"),
        ("TA", [-9999.0, 3.0], "fill"),
        ("VPD", [850.0, 3.0], "pascal"),
        ("SW_IN", [1.7e7], "energy"),
        ("EVI", [4500.0], "MODIS"),
        ("P", [1e20], "fill"),
    ],
)
def test_implausible_values_are_explained(name: str, values: list[float], word: str) -> None:
    text = features.out_of_range(name, "of the user", series([values]))
    assert text is not None
    assert "'of the user'" in text
    assert word in text


@pytest.mark.parametrize("values", [[-30.0, 45.0], [NAN, 20.0], [NAN, NAN], []])
def test_plausible_values_pass(values: list[float]) -> None:
    assert features.out_of_range("TA", "t", series([values])) is None
    assert features.out_of_range("something else", "t", series([[1e30]])) is None


# --- the columns of the network ---------------------------------------------------------------

INPUTS = Inputs(
    time_step="daily",
    drivers=("TA", "SW_IN", "LAI"),
    required=("TA", "SW_IN"),
    derived=("season_sin", "absorbed_light"),
    characteristics=(
        Characteristic(name="igbp", classes=("DBF", "ENF")),
        Characteristic(name="lat", absolute=True),
    ),
)
LATITUDE = np.array([50.0, -10.0], dtype=np.float32)
FRACTION = np.linspace(0.1, 0.3, 6, dtype=np.float32)
STATICS = {"igbp": np.array(["ENF", "GRA"]), "lat": LATITUDE}


def drivers(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "TA": rng.normal(10, 5, (2, 6)).astype(np.float32),
        "SW_IN": rng.uniform(50, 300, (2, 6)).astype(np.float32),
        "LAI": rng.uniform(0, 5, (2, 6)).astype(np.float32),
    }


def assemble(
    values: dict[str, np.ndarray], inputs: Inputs = INPUTS, **more: bool
) -> features.Assembled:
    return features.assemble(inputs, values, STATICS, LATITUDE, FRACTION, **more)


def fitted(values: dict[str, np.ndarray]) -> Inputs:
    used = np.isfinite(values["TA"]) & np.isfinite(values["SW_IN"])
    return features.fit(INPUTS, values, STATICS, LATITUDE, FRACTION, used)


def test_columns_are_drivers_derived_and_flags() -> None:
    values = drivers()
    block = assemble(values)
    assert block.drivers.shape == (2, 6, INPUTS.width) == (2, 6, 6)
    for i, name in enumerate(INPUTS.drivers):
        np.testing.assert_array_equal(block.drivers[..., i], values[name])
    light = values["SW_IN"] * (1 - np.exp(-0.5 * values["LAI"]))
    np.testing.assert_allclose(block.drivers[..., 4], light, rtol=1e-6)
    assert (block.drivers[..., 5] == 1).all()
    assert block.usable.all()
    assert not block.bridged.any()
    np.testing.assert_array_equal(block.characteristics, [[0, 1, 50], [0, 0, 10]])


def test_normalised_columns_have_mean_zero_and_spread_one() -> None:
    values = drivers()
    block = assemble(values, fitted(values))
    np.testing.assert_allclose(block.drivers[..., :5].mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(block.drivers[..., :5].std(axis=(0, 1)), 1, atol=1e-5)
    np.testing.assert_allclose(block.characteristics[:, 2].mean(), 0, atol=1e-6)


def test_ranges_of_training_are_kept_in_physical_units() -> None:
    values = drivers()
    found = fitted(values)
    assert found.low == tuple(float(values[name].min()) for name in INPUTS.drivers)
    assert found.high == tuple(float(values[name].max()) for name in INPUTS.drivers)


def test_a_column_that_never_varies_does_not_blow_up() -> None:
    values = drivers() | {"LAI": np.full((2, 6), 3.0, np.float32)}
    found = fitted(values)
    assert found.scale[2] == 1.0
    other = assemble(values | {"LAI": np.full((2, 6), 4.0, np.float32)}, found)
    np.testing.assert_allclose(other.drivers[..., 2], 1.0)


def test_missing_steps_do_not_count_for_the_normalisation() -> None:
    values = drivers()
    values["LAI"][0, :] = np.nan
    found = fitted(values)
    assert found.centre[2] == pytest.approx(float(values["LAI"][1].mean()), rel=1e-5)
    assert found.scale[2] == pytest.approx(float(values["LAI"][1].std()), rel=1e-5)


def test_an_absent_driver_is_zero_with_all_that_follows_from_it() -> None:
    values = drivers()
    inputs = fitted(values)
    block = assemble({name: values[name] for name in ("TA", "SW_IN")}, inputs)
    assert INPUTS.columns_of("LAI") == (2, 4, 5)
    assert (block.drivers[..., list(INPUTS.columns_of("LAI"))] == 0).all()
    assert block.usable.all()
    here = assemble(values, inputs).drivers
    np.testing.assert_array_equal(block.drivers[..., [0, 1, 3]], here[..., [0, 1, 3]])


def test_a_gap_in_an_optional_driver_is_a_gap_at_prediction_but_not_in_training() -> None:
    values = drivers() | {"P": np.ones((2, 6), np.float32)}
    values["P"][0, 1:6] = np.nan
    inputs = replace(INPUTS, drivers=(*INPUTS.drivers, "P"))
    limit = features.GAP_LIMIT[INPUTS.time_step]
    usable = assemble(values, inputs).usable[0].tolist()
    assert usable == [True] * (1 + limit) + [False] * (5 - limit)
    assert assemble(values, inputs, training=True).usable.all()


def test_a_gap_in_what_is_seen_from_space_is_none() -> None:
    values = drivers()
    values["LAI"][0, 1:6] = np.nan
    limit = features.GAP_LIMIT[INPUTS.time_step]
    assert assemble(values).usable.all()
    training = assemble(values, training=True)
    assert training.usable.all()
    assert (training.drivers[0, 1 + limit :][:, [2, 4, 5]] == 0).all()
    values["TA"][1, 1:6] = np.nan
    assert not assemble(values, training=True).usable[1, 1 + limit :].any()


def test_bridged_steps_are_flagged() -> None:
    values = drivers()
    values["TA"][0, 2:4] = np.nan
    block = assemble(values)
    np.testing.assert_array_equal(block.bridged, [[0, 0, 1, 1, 0, 0], [0] * 6])
    assert block.usable.all()
    assert (block.drivers[0, 2:4, 0] == values["TA"][0, 1]).all()


def test_nothing_is_ever_nan_and_the_input_stays() -> None:
    values = drivers()
    values["TA"][0, :], values["LAI"][1, 3] = np.nan, np.inf
    before = {name: array.copy() for name, array in values.items()}
    block = assemble(values, fitted(drivers()))
    assert np.isfinite(block.drivers).all()
    assert block.drivers.dtype == block.characteristics.dtype == np.float32
    assert not block.usable[0].any()
    for name, array in values.items():
        np.testing.assert_array_equal(array, before[name])


# --- characteristics --------------------------------------------------------------------------


def test_an_unknown_class_is_a_row_of_zeros_and_a_missing_number_the_mean() -> None:
    wanted = (
        Characteristic(name="igbp", classes=("DBF", "ENF")),
        Characteristic(name="elevation", centre=500.0, scale=100.0),
    )
    values = {"igbp": np.array(["DBF", "???", ""]), "elevation": np.array([600.0, np.nan, 500.0])}
    found = features.encode(wanted, values, 3)
    np.testing.assert_array_equal(found, [[1, 0, 1], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    "values",
    [
        np.array(["1", "4"]),
        np.array([1, 4]),
        np.array([1.0, 4.0]),
        np.array(["1", "4"], dtype=object),
        np.array([1, 4], dtype="int8"),
        np.array([1.0, 4.0], dtype="f4"),
    ],
    ids=str,
)
def test_classes_mean_the_same_in_every_dtype(values: np.ndarray) -> None:
    assert features.as_text(values).tolist() == ["1", "4"]


def test_bytes_and_missing_classes_are_text() -> None:
    assert features.as_text(np.array([1.0, np.nan])).tolist() == ["1", ""]


def test_latitude_counts_by_its_distance_from_the_equator() -> None:
    item = Characteristic(name="lat", absolute=True)
    found = features.encode((item,), {"lat": np.array([-30.0, 30.0])}, 2)
    assert found.tolist() == [[30.0], [30.0]]
    assert item.label == "|lat|"
    assert replace(item, absolute=False).label == "lat"


def test_no_characteristics_are_no_columns() -> None:
    assert features.encode((), {}, 4).shape == (4, 0)

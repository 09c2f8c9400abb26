"""Whether errors at towers never seen rise with ``dissimilarity``, and what it costs.

Each fold is predicted by a model that has not seen it, and compared with the towers that this model
has seen::

    python benchmarks/applicability.py --data ../shared/data --models output/cross_validation/...

Printed, for drivers alone (what ``applicability=True`` gives) and with season and characteristics
too: the Spearman correlation of dissimilarity with the size of the error over steps, and with RMSE
over towers, RMSE (g m-2 d-1) by quartile of dissimilarity, and RMSE within and outside of the area
of applicability. Then the time of a prediction on a simulated grid, alone, with quantiles and with
dissimilarity, paired rounds on one core.
"""

from __future__ import annotations

import time

import numpy as np
import xarray as xr
from held_out import TARGETS, HeldOut, arguments, held_out
from scipy.stats import spearmanr

import xflux
from xflux.cf.schema import resolve
from xflux.cf.targets import CARBON
from xflux.prediction.calibration import Calibration, Extra, Reference
from xflux.skill.calibrating import collect, training_towers
from xflux.skill.reference import make_reference

ROUNDS = 5


def index(held: HeldOut, drivers_alone: bool) -> tuple[np.ndarray, np.ndarray, xr.Dataset]:
    """Dissimilarity and applicable at every tower, shape (N, T), and the prediction."""
    parts = []
    for k, model in enumerate(held.models):
        train, test = held.ds.isel(site=held.fold != k), held.ds.isel(site=held.fold == k)
        schema = resolve(train)
        towers = training_towers(train, schema, model)
        folds = dict(zip(held.ds.site.values.tolist(), held.fold.tolist(), strict=True))
        reference = make_reference(
            model,
            towers,
            np.array([folds[label] for label in towers.labels]),
            drivers_alone=drivers_alone,
        )
        parts.append(predict(model, test, reference))
    both = xr.concat(parts, "site").sel(site=held.ds.site).transpose("site", "time")
    return both.dissimilarity.values, both.applicable.values, both


def predict(model: xflux.FluxModel, ds: xr.Dataset, reference: Reference) -> xr.Dataset:
    """Fluxes with dissimilarity to a reference."""
    known = Calibration(bands=(), reference=reference, entities=1, clusters=1, steps=1)
    extra = Extra(calibration=known, applicability=True)
    return model.advance(ds, resolve(ds), extra=extra)[0]


def print_errors(held: HeldOut, drivers_alone: bool) -> None:
    """Correlations and quartiles."""
    found, flag, predicted = index(held, drivers_alone)
    means, _, labels = collect(predicted, held.observed, CARBON, "site")
    there = np.isfinite([*means.values(), *labels.values()]).all(axis=0)
    chosen = there.sum(axis=1) >= (100 if held.models[0].time_step == "daily" else 12)
    print(f"\n{'drivers alone' if drivers_alone else 'season and characteristics too'}: "
          f"{100 * (flag[there] == 0).mean():.1f} % of steps outside; at "
          f"{int(chosen.sum())} towers")  # fmt: skip
    quartile = np.digitize(found, np.quantile(found[there], [0.25, 0.5, 0.75]))
    mean = np.array([found[i][there[i]].mean() if c else np.nan for i, c in enumerate(chosen)])
    of_tower = np.digitize(mean[chosen], np.quantile(mean[chosen], [0.25, 0.5, 0.75]))
    for t in TARGETS:
        error = labels[t] - means[t]

        def rmse(some: np.ndarray, error: np.ndarray = error) -> float:
            return float(np.sqrt((error[some & there] ** 2).mean()))

        towers = np.array([rmse(np.arange(len(there))[:, None] == i) for i in chosen.nonzero()[0]])
        print(
            f"{t:5} steps: Spearman {spearmanr(found[there], abs(error[there]))[0]:.2f}, RMSE by "
            f"quartile {', '.join(f'{rmse(quartile == q):.2f}' for q in range(4))}; inside "
            f"{rmse(flag == 1):.2f}, outside {rmse(flag == 0):.2f}\n      towers: Spearman "
            f"{spearmanr(mean[chosen], towers)[0]:.2f}, RMSE by quartile "
            f"{', '.join(f'{towers[of_tower == q].mean():.2f}' for q in range(4))}"
        )


def print_cost(time_step: str) -> None:
    """Processor time of a prediction on a grid, with and without what is given beside it."""
    model = xflux.load_model(time_step)
    if model.calibration is None or model.calibration.reference is None:
        print(f"\nthe bundled {time_step} model is not calibrated: no cost")
        return
    grid = xflux.datasets.load("simulated-grid", shape=(40, 40), years=1, time_step=time_step)
    asked = {
        "fluxes alone": {},
        "with quantiles": {"quantiles": [0.05, 0.5, 0.95]},
        "with dissimilarity": {"applicability": True},
    }
    least = dict.fromkeys(asked, np.inf)
    for _ in range(ROUNDS):
        for name, options in asked.items():
            start = time.process_time()
            grid.flux.predict(model, **options)
            least[name] = min(least[name], time.process_time() - start)
    print("\nprocessor time on a simulated grid, relative to fluxes alone")
    for name, seconds in least.items():
        print(f"{name:20}{seconds / least['fluxes alone']:6.2f}  ({seconds:.2f} s)")


def main() -> None:
    """Compare, predict, print."""
    args = arguments(__doc__).parse_args()
    held = held_out(args)
    for drivers_alone in (True, False):
        print_errors(held, drivers_alone)
    print_cost(args.time_step)


if __name__ == "__main__":
    main()

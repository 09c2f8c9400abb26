"""Train the ensembles that come with xflux, and write them with their cards.

First the cross-validation, whose scores go into the card, then the training on all towers::

    python benchmarks/cross_validation.py --data ../shared/data --time-step daily
    python benchmarks/train_bundled.py --data ../shared/data --time-step daily
    python benchmarks/calibrate_bundled.py --data ../shared/data --time-step daily

The last writes what the cross-validation knows of errors into the same file.
Nothing but the towers of that folder is seen. The same commands give the same weights on the same
machine; on another they differ by rounding.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import warnings
from pathlib import Path

from cross_validation import load

import xflux
from xflux.cf.schema import resolve
from xflux.training.fitting import fit_towers
from xflux.training.settings import EPOCHS
from xflux.training.towers import read_towers

ATTRIBUTION = {
    "data": [
        "FLUXNET2015 Tier 1 (Pastorello et al. 2020, doi:10.1038/s41597-020-0534-3), CC-BY-4.0",
        "MODIS leaf area index and enhanced vegetation index (Myneni et al. 2015, "
        "doi:10.5067/MODIS/MCD15A2H.006; Didan 2015, doi:10.5067/MODIS/MOD13Q1.006), no "
        "restriction on use",
    ],
    "data_source": {
        "daily": "half-hourly FLUXNET2015 averaged to days (EXCITED-CO2/zarr-fluxnet2015 at "
        "d8ab6f51); precipitation, LAI and EVI monthly, from leap-stc/metaflux at 088f93b4",
        "monthly": "leap-stc/metaflux at 088f93b4, with LAI and EVI put back in calendar order; "
        "weather from downscaled ERA-Interim as FLUXNET2015 gives it",
    },
    "licence": "BSD-3-Clause for the weights; the data are CC-BY-4.0 and must be cited",
}

NOT_FOR = [
    "evergreen broadleaf forest: level and season are poorly known (few towers)",
    "cropland: sowing, harvest and rotation are not among the drivers",
    "level of respiration of drained, burnt, planted or cleared land: carbon pools are not seen",
    "open water, cities and bare ground without vegetation",
    "trends in atmospheric CO2: it is not a driver",
    "steps shorter than the model's; drivers far outside the training ranges",
]


def main() -> None:
    """Train on all towers and save with a card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--time-step", choices=("daily", "monthly"), required=True)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--scores", type=Path, default=Path("output/cross_validation"))
    parser.add_argument("--output", type=Path, default=Path("xflux/pretrained"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)

    ds, _ = load(args.data, args.time_step)
    epochs = args.epochs or EPOCHS[args.time_step]
    run = f"{args.time_step}-members{args.members}-seed{args.seed}-epochs{epochs}-h{args.hidden}"
    scores = json.loads((args.scores / run / "card_scores.json").read_text())
    model = fit_towers(
        read_towers(ds, resolve(ds)),
        epochs=epochs,
        name=args.time_step,
        progress=True,
        checkpoint=args.scores / run / "bundled.checkpoint",
        settings={"members": args.members, "seed": args.seed, "hidden": args.hidden},
    )
    card = {
        **model.card,
        **{key: text for key, text in ATTRIBUTION.items() if key != "data_source"},
        "data_source": ATTRIBUTION["data_source"][args.time_step],
        "where_not_to_use": NOT_FOR,
        "cross_validation": scores,
        "scores": scores["rmse"],
    }
    path = dataclasses.replace(model, card=card).save(args.output / f"{args.time_step}.safetensors")
    print(f"{path}: {path.stat().st_size / 2**20:.2f} MB")
    print(xflux.load_model(path))


if __name__ == "__main__":
    main()

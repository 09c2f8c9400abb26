"""Write the calibration of a bundled ensemble into its file; weights and card stay as they are.

The errors are those of the cross-validation, whose fold models are taken or trained::

    python benchmarks/calibrate_bundled.py --data ../shared/data --time-step daily

After ``train_bundled.py``, which writes a file without a calibration.
"""

from __future__ import annotations

from pathlib import Path

from held_out import arguments, held_out

import xflux
from xflux.cf.schema import resolve
from xflux.skill.calibrating import calibrated, training_towers


def main() -> None:
    """Predict the folds, calibrate, save."""
    parser = arguments(__doc__)
    parser.add_argument("--pretrained", type=Path, default=Path("xflux/pretrained"))
    args = parser.parse_args()
    path = args.pretrained / f"{args.time_step}.safetensors"
    model, held = xflux.load_model(path), held_out(args)
    labels = held.ds.site.values.tolist()
    calibrated(
        model,
        held.predict(),
        held.observed,
        dim="site",
        groups=held.cluster,
        towers=training_towers(held.ds, resolve(held.ds), model),
        fold=dict(zip(labels, held.fold.tolist(), strict=True)),
    ).save(path)
    after = xflux.load_model(path)
    if after.sha256 != model.sha256:
        raise RuntimeError("the weights have changed")
    print(f"{path}: {path.stat().st_size / 2**20:.2f} MB, {after.calibration}")


if __name__ == "__main__":
    main()

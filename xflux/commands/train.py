"""``python -m xflux train``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from xflux.commands import options
from xflux.commands.group import examples


@click.command(
    epilog=examples(
        [
            "python -m xflux train FLX_*.zip -o carbon.safetensors",
            "python -m xflux train towers.nc -o carbon.safetensors --checkpoint run.ckpt",
            "python -m xflux train simulated-towers -o try.safetensors --members 2 --epochs 3",
        ]
    ),
    short_help="Train an ensemble on towers.",
)
@click.argument("towers", nargs=-1, required=True)
@options.output("Model file to write (.safetensors).")
@click.option("--method", default="ct-lstm", show_default=True, help="See docs/methods.md.")
@options.members
@options.seed
@click.option("--epochs", type=click.IntRange(1), help="[default: chosen on towers kept out]")
@click.option("--hidden", type=click.IntRange(1), help="Hidden units of each network.")
@options.qc
@click.option("--checkpoint", metavar="PATH", help="The same line goes on from here after a kill.")
@click.option("--device", metavar="DEVICE", help="cpu or cuda.  [default: a GPU if there is one]")
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one for each core]")
@options.time_step
@options.meaning
@options.overwrite
@options.quiet
def train(
    towers: tuple[str, ...],
    output: str,
    method: str,
    members: int,
    seed: int,
    epochs: int | None,
    hidden: int | None,
    qc: float,
    checkpoint: str | None,
    device: str | None,
    workers: int | None,
    time_step: str | None,
    meaning: Mapping[str, Any],
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train an ensemble on TOWERS and write it to one file.

    TOWERS are tower files as the networks publish them, a folder or zip archives of them, one
    netCDF or zarr file with all towers, or the name of a dataset of xflux.
    """
    from xflux.commands.opening import flux, open_any

    options.free(output, overwrite)
    progress = False if quiet else None
    ds = open_any(towers, time_step=time_step, progress=progress)
    model = flux(ds).train(
        method=method,
        members=members,
        seed=seed,
        epochs=epochs,
        hidden=hidden,
        qc=qc,
        checkpoint=checkpoint,
        device=device,
        workers=workers,
        progress=progress,
        **meaning,
    )
    model.save(output)
    click.echo(f"{model}\n\nwritten: {output}")

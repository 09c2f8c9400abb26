"""``python -m xflux models``."""

from __future__ import annotations

import click

from xflux.commands.group import examples
from xflux.pretrained import bundled_models, load_model


@click.command(
    epilog=examples(["python -m xflux models", "python -m xflux models --names"]),
    short_help="Show the ensembles that come with xflux.",
)
@click.option("--names", is_flag=True, help="Names alone.")
def models(names: bool) -> None:
    """Show the ensembles that come with xflux."""
    for name in bundled_models():
        click.echo(name if names else f"{name}\n{load_model(name)}\n")

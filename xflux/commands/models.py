"""``python -m xflux models`` and ``python -m xflux card``."""

from __future__ import annotations

import click

from xflux.commands import options
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


@click.command(
    epilog=examples(
        ["python -m xflux card daily", "python -m xflux card carbon.safetensors > carbon.md"]
    ),
    short_help="Print the card of a model.",
)
@click.argument("model")
@options.sha256
def card(model: str, sha256: str | None) -> None:
    """Print the card of MODEL, a file, a URL or a bundled name, as Markdown.

    What it needs, in which units, what it learned from, how good it is, where not to use it.
    """
    found = load_model(model, sha256=sha256)
    said = f'"{model}"' if sha256 is None else f'"{model}", sha256="{sha256}"'
    click.echo(found.card_page(load=f"xflux.load_model({said})"), nl=False)

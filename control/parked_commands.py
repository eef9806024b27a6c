"""`tailrace parked …`: the part of the command line about rows that a target refused."""

from __future__ import annotations

from typing import Annotated

import typer

from control.arguments import AsJson, Config, Target, load_and_reach, print_json

app = typer.Typer(help="Rows that a target refused, and what waits behind them.", no_args_is_help=True)

Identifier = Annotated[str, typer.Argument(metavar="ID", help="As `tailrace parked list` prints it.")]


@app.command("list")
def list_(config: Config, target: Target, as_json: AsJson = False) -> None:
    """List parked keys: how many records wait, and why."""
    from control import parked, render

    rows = parked.listing(load_and_reach(config, target), target)
    if as_json:
        print_json([row.to_document() for row in rows])
    else:
        render.parked(rows)


@app.command("show")
def show(config: Config, target: Target, identifier: Identifier) -> None:
    """Print the records of one parked key, values included."""
    from control import parked

    print_json(parked.show(load_and_reach(config, target), target, identifier))


@app.command("retry")
def retry(config: Config, target: Target, identifier: Identifier) -> None:
    """Let the appliers try a parked key's records again, in order."""
    from control import parked

    typer.echo(parked.retry(load_and_reach(config, target), target, identifier))


@app.command("skip")
def skip(config: Config, target: Target, identifier: Identifier) -> None:
    """Drop the record that was refused, and apply what waits behind it."""
    from control import parked

    typer.echo(parked.skip(load_and_reach(config, target), target, identifier))


@app.command("edit")
def edit(
    config: Config,
    target: Target,
    identifier: Identifier,
    changes: Annotated[list[str], typer.Option("--set", metavar="COLUMN=JSON", help="A column of the new row.")],
) -> None:
    """Apply a parked record with other values. What waits with it follows, in order. Bytes are in hexadecimal."""
    from control import parked

    typer.echo(parked.edit(load_and_reach(config, target), target, identifier, changes))


@app.command("audit")
def audit(config: Config, target: Target) -> None:
    """Print what became of parked records. All that was parked, answered and released, in order, and who said so."""
    from control import parked

    print_json(parked.audit(load_and_reach(config, target), target))

"""`tailrace debug …`: the part of the command line that looks under the hood."""

from __future__ import annotations

from typing import Annotated

import typer

from control.arguments import Config, load, load_and_reach
from runtime import exit_codes

app = typer.Typer(help="Look under the hood.", no_args_is_help=True)


@app.command("codec")
def codec(
    config: Config,
    table: Annotated[str, typer.Argument(metavar="SCHEMA.TABLE")],
    decoder: Annotated[bool, typer.Option("--decoder", help="Print the decoder instead.")] = False,
) -> int:
    """Print the code that is generated for a table's rows."""
    from control import codec_source

    typer.echo(codec_source.text(load(config), table, decoder=decoder))
    return exit_codes.OK


@app.command("read")
def read(
    config: Config,
    topic: Annotated[str, typer.Argument(metavar="TOPIC")],
    records_max: Annotated[int, typer.Option("--max", metavar="N", min=1, help="End after so many records.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes.")] = False,
) -> int:
    """Print records of a data topic as JSON, whatever its format. One line each."""
    from control import record_reader

    settings = load_and_reach(config)
    for line in record_reader.lines(settings, topic, records_max, follow=follow):
        typer.echo(line)
    return exit_codes.OK

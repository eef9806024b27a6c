"""`tailrace debug …`: the part of the command line that looks under the hood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime import exit_codes

if TYPE_CHECKING:
    from schemas.settings import Settings

app = typer.Typer(help="Look under the hood.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The replication's configuration file (YAML or JSON).")]


@app.command("codec")
def codec(
    config: Config,
    table: Annotated[str, typer.Argument(metavar="SCHEMA.TABLE")],
    decoder: Annotated[bool, typer.Option("--decoder", help="Print the decoder instead.")] = False,
) -> int:
    """Print the code that is generated for a table's rows."""
    from control import codec_source

    typer.echo(codec_source.text(_settings(config), table, decoder=decoder))
    return exit_codes.OK


@app.command("read")
def read(
    config: Config,
    topic: Annotated[str, typer.Argument(metavar="TOPIC")],
    records_max: Annotated[int, typer.Option("--max", metavar="N", min=1, help="End after so many records.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes.")] = False,
) -> int:
    """Print the records of a data topic as JSON lines, whatever its format."""
    from control import contact, reading

    settings = _settings(config)
    contact.reach_kafka(settings)
    for line in reading.lines(settings, topic, records_max, follow=follow):
        typer.echo(line)
    return exit_codes.OK


def _settings(config: Path) -> Settings:
    from runtime.configuration import load

    return load(config)

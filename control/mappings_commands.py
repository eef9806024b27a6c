"""`tailrace mappings …`: the part of the command line that explains table mappings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from control.arguments import Config, Target, load
from runtime import exit_codes

app = typer.Typer(help="Table mappings of AWS DMS: what they say, what they do.", no_args_is_help=True)


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table-mapping document (JSON).")],
) -> int:
    """Explain each rule in words. Says what is wrong or not supported, by the rule's id."""
    from control import render
    from control.mappings import explain
    from runtime.configuration import read_json
    from schemas.mappings.rules import parse

    explained = explain(parse(read_json(file, "table mappings"), f"the table mappings {file}"))
    render.mappings(explained)
    return exit_codes.CONFIGURATION if any(one.blocks for one in explained) else exit_codes.OK


@app.command("preview")
def preview(
    config: Config,
    target: Target,
    tables: Annotated[
        list[str] | None,
        typer.Option("--table", metavar="PATTERN", help="Only these tables; left out: all that a rule concerns."),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=1, max=100, help="How many rows of each table.")] = 5,
) -> int:
    """Show what the rules make of the first rows of each table. Changes nothing."""
    from control import render
    from control.mappings import preview as previews

    is_any = False
    for one in previews(load(config, target), target, tables or [], rows):
        is_any = True
        render.preview(one)
    if not is_any:
        typer.echo("no rule concerns a captured table: all go as they are (`--table '*.*'` shows them)")
    return exit_codes.OK

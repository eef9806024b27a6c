"""`tailrace signal …`: the part of the command line that tells running services what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from control.arguments import Config, load_and_reach
from runtime import exit_codes

if TYPE_CHECKING:
    from schemas.settings import Settings
    from schemas.signals import Signal

app = typer.Typer(help="Commands to running services, through the signals topic.", no_args_is_help=True)

Target = Annotated[
    str | None, typer.Option("--target", metavar="NAME", help="The appliers of this target, instead of capture.")
]
Id = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="Names the command: sent twice, it is carried out once.")
]
Wait = Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long the answer is waited for.")]


@app.command("pause")
def pause(
    config: Config,
    target: Target = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="now|POSITION", help="Capture goes on to this position first.")
    ] = None,
    identifier: Id = None,
    wait_s: Wait = 30.0,
) -> int:
    """Let capture, or a target's appliers, stand still. They do until they are resumed, restarts included."""
    from control import signals

    settings = load_and_reach(config)
    return _tell(settings, signals.pause(settings, target, at, identifier), wait_s)


@app.command("resume")
def resume(config: Config, target: Target = None, identifier: Id = None, wait_s: Wait = 30.0) -> int:
    """Let what was paused go on."""
    from control import signals

    settings = load_and_reach(config)
    return _tell(settings, signals.resume(settings, target, identifier), wait_s)


@app.command("reload")
def reload(
    config: Config,
    tables: Annotated[
        list[str],
        typer.Option("--table", metavar="SCHEMA.TABLE", help="The table to publish again; may be repeated."),
    ],
    lower: Annotated[
        list[str] | None,
        typer.Option("--above", metavar="KEY", help="Only keys above this one; once for each column of the key."),
    ] = None,
    upper: Annotated[
        list[str] | None,
        typer.Option("--up-to", metavar="KEY", help="Only keys up to and with this one; as --above."),
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Targets empty the table before.")] = False,
    identifier: Id = None,
    wait_s: Wait = 30.0,
) -> int:
    """Publish tables' rows, or a range of one's keys, again. Changes go on meanwhile."""
    from control import signals

    settings = load_and_reach(config)
    sent = signals.reload(
        settings,
        tables,
        tuple(lower) if lower else None,
        tuple(upper) if upper else None,
        empty=empty,
        identifier=identifier,
    )
    return max(_tell(settings, signal, wait_s) for signal in sent)


def _tell(settings: Settings, signal: Signal, wait_s: float) -> int:
    from control import signals

    outcome = signals.wait(settings, signal, wait_s)
    typer.echo(f"{signal.id}: {outcome or 'sent; nobody has answered yet'}")
    return exit_codes.CONFIGURATION if outcome is not None and outcome.startswith("refused") else exit_codes.OK

"""The command line: each command loads the configuration, calls its module, prints, and ends with a documented code.

Commands import their modules when they run: `tailrace --help` answers at once, and an engine's driver is loaded only
where it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from control import debug_commands, mappings_commands, parked_commands, service_commands, signal_commands
from control.arguments import AsJson, Config, load, load_and_reach, print_json
from runtime import exit_codes, garbage
from schemas.errors import ErrorKind, TailraceError

if TYPE_CHECKING:
    from schemas.settings import Settings

app = typer.Typer(
    name="tailrace",
    help="Move a database through Kafka: capture it into topics, apply the topics to targets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
settings_app = typer.Typer(help="The configuration file's schema and reference.", no_args_is_help=True)
dev_app = typer.Typer(help="Local servers to try Tailrace with.", no_args_is_help=True)
for name, child in (
    ("capture", service_commands.capture_app),
    ("apply", service_commands.apply_app),
    ("parked", parked_commands.app),
    ("signal", signal_commands.app),
    ("mappings", mappings_commands.app),
    ("debug", debug_commands.app),
    ("settings", settings_app),
    ("dev", dev_app),
):
    app.add_typer(child, name=name)


def main() -> None:
    """Run the command line. The entry point of `tailrace`."""
    garbage.collect_rarely()
    sys.exit(guarded(lambda: app(standalone_mode=False)))


def guarded(command: Callable[[], object]) -> int:
    """Call `command` and return the exit code: every error is printed once, as a sentence, without a traceback."""
    try:
        result = command()
    except TailraceError as error:
        _complain(error)
        return exit_codes.of(error)
    except typer.Exit as error:
        return error.exit_code
    except TyperException as error:
        show = getattr(error, "show", None)
        if callable(show):
            show()
        return exit_codes.CONFIGURATION
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("Interrupted.", err=True)
        return exit_codes.INTERNAL
    except BrokenPipeError:
        # The reader of our output went away: `tailrace topics … | head`.
        sys.stderr.close()
        return exit_codes.OK
    return result if isinstance(result, int) else exit_codes.OK


def _complain(error: TailraceError) -> None:
    typer.echo(f"error ({error.kind}): {error.message}", err=True)
    for name, value in (("table", error.table), ("position", error.position), ("remedy", error.remedy)):
        if value:
            typer.echo(f"  {name}: {value}", err=True)


def _only_target(settings: Settings, target: str | None) -> str:
    """Return the target asked for, or the only one there is."""
    if target is None and len(settings.targets) == 1:
        return next(iter(settings.targets))
    if target is None:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the configuration has several targets or none",
            remedy="say which with --target NAME",
        )
    settings.target(target)
    return target


def _agrees(question: str) -> bool:
    try:
        return typer.confirm(question)
    except (typer.Abort, RuntimeError):
        if sys.stdin is not None and sys.stdin.isatty():
            raise
        typer.echo(err=True)
        raise TailraceError(
            ErrorKind.CONFIGURATION, "nothing was changed: there is no terminal to answer at", remedy="give --yes"
        ) from None


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"tailrace {version('tailrace')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


@app.command("plan")
def plan_command(
    config: Config,
    as_json: AsJson = False,
    columns: Annotated[
        bool, typer.Option("--columns", help="List every column's mapping, not only the lossy.")
    ] = False,
    grants: Annotated[bool, typer.Option("--grants", help="Print SQL for least-privilege roles, and end.")] = False,
    ddl_trigger: Annotated[
        bool, typer.Option("--ddl-trigger", help="Print SQL that brings the text of DDL to the ddl topic, and end.")
    ] = False,
    cutover: Annotated[
        bool, typer.Option("--cutover", help="Print SQL for targets that applications are to write, and end.")
    ] = False,
) -> int:
    """Check every prerequisite and list what would be done. Changes nothing. Exit code 2 when something blocks."""
    from control import plan, render

    settings = load(config)
    for is_wanted, sql in ((ddl_trigger, plan.ddl_trigger), (grants, plan.grants), (cutover, plan.cutover)):
        if is_wanted:
            typer.echo(sql(settings))
            return exit_codes.OK
    report = plan.make(settings)
    if as_json:
        print_json(report.to_document())
    else:
        render.plan(report, columns=columns)
    return exit_codes.CONFIGURATION if report.blocked else exit_codes.OK


@app.command("status")
def status_command(
    config: Config,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until interrupted.")] = False,
    interval_s: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.2, help="Seconds between refreshes.")
    ] = 2.0,
    as_json: AsJson = False,
) -> int:
    """Show phase, progress and lag of capture and of every target."""
    from control import render, status

    with status.Observer(load_and_reach(config)) as observer:
        if watch and not as_json:
            render.watch_status(observer.look, interval_s)
        elif as_json:
            print_json(observer.look().to_document())
        else:
            render.status(observer.look())
    return exit_codes.OK


@app.command("verify")
def verify_command(
    config: Config,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="The target; may be left out if there is one.")
    ] = None,
    tables: Annotated[
        list[str] | None, typer.Option("--table", metavar="PATTERN", help="Only tables that match; may be repeated.")
    ] = None,
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", help="Seconds to wait, each try, for the target to catch up.")
    ] = 60.0,
    tries: Annotated[
        int, typer.Option("--tries", metavar="N", min=1, help="How often a differing key is compared again.")
    ] = 5,
    keys_max: Annotated[
        int, typer.Option("--keys", metavar="N", help="Print at most so many differing keys of a table.")
    ] = 20,
    as_json: AsJson = False,
) -> int:
    """Compare source and target. Both databases compute checksums. Exit code 4: differences; 5: undecided."""
    from control import render, verify

    settings = load_and_reach(config)
    chosen = _only_target(settings, target)
    limits = verify.Limits(wait_s=wait_s, tries=tries, keys_max=keys_max)
    with render.verify_progress(enabled=not as_json) as progress:
        report = verify.compare(settings, chosen, tables or [], limits, progress)
    if as_json:
        print_json(report.to_document())
    else:
        render.verify(report)
    if report.undecided:
        return exit_codes.UNDECIDED
    return exit_codes.OK if report.equal else exit_codes.DIFFERENT


@app.command("topics")
def topics_command(
    config: Config,
    as_json: AsJson = False,
    ddl: Annotated[
        str | None, typer.Option("--ddl", metavar="flink|ksql", help="Print tables of Flink SQL or ksqlDB instead.")
    ] = None,
) -> int:
    """List the replication's topics. Prints the stock commands that read them, too."""
    from control import render, topics

    if ddl is not None:
        typer.echo(topics.ddl(load_and_reach(config), ddl), nl=False)
        return exit_codes.OK
    report = topics.survey(load_and_reach(config), config)
    if as_json:
        print_json(report.to_document())
    else:
        render.topics(report)
    return exit_codes.OK


@app.command("reset")
def reset_command(
    config: Config,
    keep_topics: Annotated[
        bool, typer.Option("--keep-topics", help="Leave the data topics and their records.")
    ] = False,
    keep_source: Annotated[bool, typer.Option("--keep-source", help="Leave slot and publication.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="The checkpoints topic, too: for a name that never comes back.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Forget a replication. Removes checkpoints, topics, groups, slot, and the targets' offsets; target tables stay."""
    from control import reset

    settings = load_and_reach(config)
    steps = reset.plan(settings, keep_topics=keep_topics, keep_source=keep_source, purge=purge)
    for step in steps:
        typer.echo(f"will {step.description}")
    if not yes and not _agrees("Go on?"):
        typer.echo("nothing was changed")
        return exit_codes.OK
    for line in reset.run(steps):
        typer.echo(line)
    return exit_codes.OK


@settings_app.command("schema")
def settings_schema() -> int:
    """Print the JSON schema of the configuration file."""
    from schemas.reference import json_schema

    print_json(json_schema())
    return exit_codes.OK


@settings_app.command("reference")
def settings_reference() -> int:
    """Print every setting, its type, default and meaning as Markdown."""
    from schemas import reference

    typer.echo(reference.markdown(), nl=False)
    return exit_codes.OK


@settings_app.command("types")
def settings_types() -> int:
    """Print the logical types and their wire forms, as Markdown."""
    from control import wire_types

    typer.echo(wire_types.types_page(), nl=False)
    return exit_codes.OK


@settings_app.command("check")
def settings_check(config: Config) -> int:
    """Read a configuration file and say what is wrong with it. Connects to nothing."""
    settings = load(config)
    typer.echo(f"{config}: replication {settings.name}, {len(settings.targets)} target(s)")
    return exit_codes.OK


@dev_app.command("up")
def dev_up(
    directory: Annotated[
        Path | None,
        typer.Option("--directory", metavar="PATH", help="Where data and logs go; default: the cache folder."),
    ] = None,
) -> int:
    """Start Kafka and two PostgreSQL servers on 127.0.0.1. Prints a configuration for them."""
    from control import dev

    for line in dev.up(directory):
        typer.echo(line)
    return exit_codes.OK


@dev_app.command("down")
def dev_down(
    directory: Annotated[Path | None, typer.Option("--directory", metavar="PATH", help="As given to `dev up`.")] = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove the data too.")] = False,
) -> int:
    """Stop the servers that `dev up` started."""
    from control import dev

    for line in dev.down(directory, wipe=wipe):
        typer.echo(line)
    return exit_codes.OK


if __name__ == "__main__":
    main()

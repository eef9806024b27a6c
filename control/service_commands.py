"""`tailrace capture run` and `tailrace apply run`: the part of the command line that runs the services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from control.arguments import Config, Target, load
from runtime import garbage
from schemas.errors import ErrorKind, TailraceError

if TYPE_CHECKING:
    from runtime.lifecycle import StopRequest
    from schemas.settings import Settings

capture_app = typer.Typer(help="The capture service: one database into Kafka topics.", no_args_is_help=True)
apply_app = typer.Typer(help="The apply service: Kafka topics into one target.", no_args_is_help=True)

MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        metavar="PORT",
        min=0,
        max=65535,
        help="Serve /metrics and /healthz on this port; 0: one that is free.",
    ),
]
MetricsAddress = Annotated[
    str,
    typer.Option(
        "--metrics-address",
        metavar="ADDRESS",
        help="The address to serve them on, 127.0.0.1 by default. All of a machine's: 0.0.0.0, or :: with IPv6.",
    ),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error."),
]


@capture_app.command("run")
def capture_run(
    config: Config,
    stop_at: Annotated[
        str | None, typer.Option("--stop-at", metavar="now|POSITION", help="End when the log is published up to here.")
    ] = None,
    metrics_port: MetricsPort = None,
    metrics_address: MetricsAddress = "127.0.0.1",
    log_level: LogLevel = "info",
) -> int:
    """Publish the source's rows and changes until stopped. A second instance waits as a standby."""
    garbage.defer()
    from capture import service
    from schemas.topics import capture_group

    settings = _settings(config, log_level)
    with _stoppable(settings, capture_group(settings.name)) as stop:
        metrics_at = _place(metrics_address, metrics_port)
        return service.run(settings, stop_at=stop_at, metrics_at=metrics_at, stop=stop)


@apply_app.command("run")
def apply_run(
    config: Config,
    target: Target,
    stop_at: Annotated[
        str | None, typer.Option("--stop-at", metavar="now", help="End when what the topics hold now is applied.")
    ] = None,
    metrics_port: MetricsPort = None,
    metrics_address: MetricsAddress = "127.0.0.1",
    log_level: LogLevel = "info",
) -> int:
    """Write the topics' changes to a target until stopped. Several instances share the work."""
    garbage.defer()
    from apply import service
    from schemas.topics import apply_group

    settings = _settings(config, log_level, target)
    if stop_at not in (None, "now"):
        raise TailraceError(ErrorKind.CONFIGURATION, "apply run --stop-at takes only `now`")
    with _stoppable(settings, apply_group(settings.name, target)) as stop:
        metrics_at = _place(metrics_address, metrics_port)
        return service.run(settings, target, stop_at=stop_at, metrics_at=metrics_at, stop=stop)


def _place(address: str, port: int | None) -> tuple[str, int] | None:
    return None if port is None else (address, port)


def _settings(config: Path, log_level: str, target: str | None = None) -> Settings:
    """Load the configuration of a service; services log, commands do not."""
    from runtime import logging

    settings = load(config, target)
    logging.configure(level=log_level)
    return settings


@contextmanager
def _stoppable(settings: Settings, group: str) -> Iterator[StopRequest]:
    """Let SIGTERM and SIGINT end a service: in order while Kafka answers, in any case soon when it does not."""
    from runtime.kafka.outage import outage
    from runtime.lifecycle import StopRequest
    from runtime.stop_guard import StopGuard

    with StopRequest() as stop, StopGuard(partial(outage, settings.kafka, group)):
        yield stop

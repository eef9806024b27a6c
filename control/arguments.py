"""What the commands share: arguments that mean the same everywhere, and the configuration they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.settings import Settings

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The replication's configuration file (YAML or JSON).")]
Target = Annotated[str, typer.Option("--target", metavar="NAME", help="A name under `targets` of the configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def load(path: Path, target: str | None = None) -> Settings:
    """Load the configuration of a command; raise CONFIGURATION if it has no such target.

    Only services log below errors: what a command has to say, it prints.
    """
    from runtime import configuration, logging

    logging.configure(level="error")
    settings = configuration.load(path)
    if target is not None:
        settings.target(target)
    return settings


def load_and_reach(path: Path, target: str | None = None) -> Settings:
    """Return the configuration of a command that asks Kafka, once that answers; raise TRANSPORT soon if it does not."""
    from control import contact

    settings = load(path, target)
    contact.reach_kafka(settings)
    return settings


def print_json(document: object) -> None:
    """Print a document for programs."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))

"""`tailrace dev up|down`: a Kafka broker, two PostgreSQL servers, and a configuration that fits them."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import psycopg

from control.program import program
from control.topics import SCRIPTS
from deploy.local import stack
from deploy.local.cache import LocalServerError
from deploy.local.kafka import write_scripts
from deploy.local.postgresql import PostgresqlAddress
from schemas.errors import ErrorKind, TailraceError

DATABASES = {"source": "shop", "target": "replica"}


def up(directory: Path | None) -> list[str]:
    """Start what does not run, and return what to tell. Raises PREREQUISITE when a server cannot be had."""
    root = directory or stack.stack_directory()
    try:
        running = stack.up(root)
    except LocalServerError as error:
        raise TailraceError(
            ErrorKind.PREREQUISITE, str(error), remedy="`make preflight` says what is missing"
        ) from error
    _create_database(running.source, DATABASES["source"])
    _create_database(running.target, DATABASES["target"])
    tools = _tools(root) if "kafka" in running.processes else []
    configuration = root / "tailrace.yaml"
    configuration.write_text(_configuration(running), encoding="utf-8")
    return [
        f"kafka   {running.kafka.bootstrap}",
        f"source  {running.source.dsn(DATABASES['source'])}",
        f"target  {running.target.dsn(DATABASES['target'])}",
        f"A configuration for them: {configuration}",
        *tools,
        f"Make some tables in the source (psql {shlex.quote(running.source.dsn(DATABASES['source']))}), then:",
        *commands(configuration, directory),
    ]


def commands(configuration: Path, directory: Path | None) -> list[str]:
    """Return what to do next, ready to paste; `directory` as it was given."""
    tailrace, path = program(), shlex.quote(str(configuration))
    where = f" --directory {shlex.quote(str(directory))}" if directory else ""
    return [
        f"  {tailrace} plan {path}",
        f"  {tailrace} capture run {path}",
        f"  {tailrace} apply run {path} --target replica",
        f"`{tailrace} dev down{where}` stops the servers.",
    ]


def down(directory: Path | None, *, wipe: bool) -> list[str]:
    """Stop the servers, and return what to tell."""
    root = directory or stack.stack_directory()
    lines = [f"stopped {name}" for name in stack.down(root)] or ["nothing was running"]
    if wipe:
        shutil.rmtree(root, ignore_errors=True)
        lines.append(f"removed {root}")
    return lines


def _tools(root: Path) -> list[str]:
    """Leave Kafka's tools beside the servers, which were started from its jars alone; return what to tell."""
    scripts = root / SCRIPTS
    write_scripts(scripts)
    return [
        "Kafka's own tools, as `tailrace plan` and `tailrace topics` name them:",
        f"  export PATH={shlex.quote(str(scripts))}:$PATH",
    ]


def _create_database(server: PostgresqlAddress, name: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        there = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
        if there is None:
            connection.execute(f"create database {name}".encode())


def _configuration(running: stack.Stack) -> str:
    return (
        "# Written by `tailrace dev up`: local servers, to play with.\n"
        "name: shop\n"
        f'kafka: {{bootstrap.servers: "{running.kafka.bootstrap}"}}\n'
        "source:\n"
        f"{_connection(running.source, DATABASES['source'], '  ')}"
        '  tables: ["public.*"]\n'
        "targets:\n"
        "  replica:\n"
        f"{_connection(running.target, DATABASES['target'], '    ')}"
    )


def _connection(server: PostgresqlAddress, database: str, indent: str) -> str:
    settings = {
        "engine": "postgresql",
        "host": server.host,
        "port": server.port,
        "database": database,
        "user": server.user,
        "password": server.password,
    }
    return "".join(f"{indent}{name}: {value}\n" for name, value in settings.items())

"""Reference pages that are made from the code, and the check that the files in `docs/reference` are up to date.

`python -m control.reference` rewrites them; a unit test compares.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer.main

from control.mapping_page import mapping_page
from control.record_page import records_page
from control.wire_types import types_page
from runtime import exit_codes
from runtime.failpoints import markdown as failpoints_page
from runtime.metrics import markdown as metrics_page
from schemas.endpoint_settings.page import markdown as endpoint_settings_page
from schemas.errors import ACTIONS, ErrorKind
from schemas.mappings.standings import markdown as mappings_page
from schemas.reference import markdown as settings_page
from schemas.task_settings.page import markdown as task_settings_page

DIRECTORY = Path(__file__).resolve().parent.parent / "docs" / "reference"


def exit_codes_page() -> str:
    """Return the page of exit codes and error kinds."""
    source = inspect.getsource(exit_codes)
    lines = ["# Exit codes", "", "Made from `runtime/exit_codes.py`; do not edit.", ""]
    lines += ["| code | name | meaning |", "|---|---|---|"]
    for name, code, text in re.findall(r'^([A-Z]+) = (\d+)\n"""(.*?)"""', source, re.MULTILINE | re.DOTALL):
        lines.append(f"| {code} | `{name.lower()}` | {' '.join(text.split())} |")
    lines += ["", "# Error kinds", "", "Made from `schemas/errors.py`. Every error names its kind.", ""]
    lines += ["| kind | what a service does | exit code if it ends by it |", "|---|---|---|"]
    for kind in ErrorKind:
        configuration = kind in {ErrorKind.CONFIGURATION, ErrorKind.PREREQUISITE}
        code = exit_codes.CONFIGURATION if configuration else exit_codes.STOPPED
        lines.append(f"| `{kind}` | {ACTIONS[kind]} | {code} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return the page of all commands with their arguments and options."""
    from control.cli import app

    lines = ["# Commands", "", "Made from `control/cli.py`; do not edit. Every command has `--help`.", ""]
    _describe(typer.main.get_command(app), "tailrace", lines)
    return "\n".join(lines).rstrip() + "\n"


def _describe(command: Any, path: str, lines: list[str]) -> None:
    # Typer brings a click of its own, without public types: commands and parameters are taken as they come.
    if hasattr(command, "commands"):
        for name in sorted(command.commands):
            _describe(command.commands[name], f"{path} {name}", lines)
        return
    arguments = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
    lines += [f"## `{' '.join([path, *arguments])}`", "", " ".join((command.help or "").split()), ""]
    options = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{_option(option)}` | {' '.join((option.help or '').split())} |" for option in options]
        lines.append("")


def _option(option: Any) -> str:
    name = max(option.opts, key=len)
    return name if option.is_flag else f"{name} {option.metavar}"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "task-settings.md": task_settings_page,
    "table-mappings.md": mappings_page,
    "endpoint-settings.md": endpoint_settings_page,
    "types.md": types_page,
    "type-mappings.md": mapping_page,
    "records.md": records_page,
    "exit-codes.md": exit_codes_page,
    "commands.md": commands_page,
    "metrics.md": metrics_page,
    "failpoints.md": failpoints_page,
}


def write() -> None:
    """Rewrite every reference page."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (DIRECTORY / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write()

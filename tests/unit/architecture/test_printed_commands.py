"""Every command that the documents print is there as it is printed, and a test runs it; or it is said why none does."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from control.cli import app
from tests.unit.architecture.tree import ROOT, files, text

PAGES = [
    path
    for path in files()
    if path.suffix == ".md" and path.parts[:2] not in {("docs", "decisions"), ("docs", "reference")}
    if path.parts[0] in {"README.md", "docs"}
]
PROGRAMS = ("tailrace", "make", "python", "pip", "docker", "java", "kcat", "kafka-", "curl", "psql", "PUT ", "GET ")

SERVICES = "tests/integration/services.py"
TOOLING = "tests/integration/test_tooling.py"

RUN_BY: dict[str, tuple[str, ...]] = {
    "apply run": (SERVICES, TOOLING),
    "capture run": (SERVICES, TOOLING),
    "debug read": (TOOLING,),
    "dev down": ("tests/integration/deploy/test_local_servers.py",),
    "dev up": ("tests/integration/deploy/test_local_servers.py",),
    "mappings check": ("tests/integration/test_mappings.py",),
    "mappings preview": ("tests/integration/test_mappings.py",),
    "parked audit": ("tests/integration/test_mappings.py",),
    "parked edit": ("tests/integration/test_failpoints.py",),
    "parked list": ("tests/integration/test_mappings.py",),
    "parked retry": ("tests/integration/test_failpoints.py",),
    "parked show": ("tests/integration/test_mappings.py",),
    "parked skip": ("tests/integration/test_mappings.py",),
    "plan": (TOOLING, "tests/integration/test_schema_changes.py", "tests/integration/test_roles.py"),
    "reset": ("tests/integration/test_debezium.py",),
    "settings check": ("tests/unit/control/test_cli.py",),
    "settings schema": ("tests/unit/control/test_cli.py",),
    "signal pause": ("tests/integration/test_signals.py",),
    "signal reload": ("tests/integration/test_signals.py",),
    "signal resume": ("tests/integration/test_signals.py",),
    "status": (TOOLING,),
    "topics": (TOOLING,),
    "verify": (TOOLING, "tests/integration/test_mappings.py"),
}
"""Commands of ours, and the tests that run them with the options that the documents name."""

OTHERS: dict[str, str] = {
    "docker compose up": "tests/unit/architecture/test_packaging.py reads the file; no containers run where tests do",
    "docker build": "tests/unit/architecture/test_packaging.py reads the container file",
    "docker push": "to a registry of the reader's",
    "kubectl": "tests/unit/architecture/test_kubernetes.py reads the files that are applied; there is no cluster",
    "java": TOOLING,
    "kafka-consumer-groups.sh --describe": TOOLING,
    "kafka-consumer-groups.sh --reset-offsets": "tests/integration/mongodb_sink/test_offsets.py: goes by them; "
    "tests/integration/test_by_hand.py: one that does not",
    "PUT /connectors": "tests/works_with/test_jdbc_sink.py",
    "GET /connectors": "tests/works_with/test_debezium_mysql.py",
    "python read_topic.py": TOOLING,
    "python -m control.reference": "tests/unit/control/test_cli.py compares what it writes with what is there",
    "python -m benchmarks": "measures, and is read by somebody",
    "make": "the targets are looked for in the Makefile; those that play or measure are run by hand",
    "pip install": "the extras are looked for in pyproject.toml",
    "python3 -m venv": "before anything of ours is there",
}
"""How other commands begin, and the test that runs them, or why none does."""


def _commands() -> Iterator[tuple[Path, str]]:
    for path in PAGES:
        page = text(path)
        for block in re.findall(r"^ *```(?:sh|bash|shell|console)\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                if command := re.split(r"\s+#\s", line.strip())[0].removeprefix(".venv/bin/"):
                    yield path, command
        prose = re.sub(r"^ *```.*?^ *```", "", page, flags=re.DOTALL | re.MULTILINE)
        for command in re.findall(r"`([^`\n]+)`", prose):
            if command.startswith(PROGRAMS) and " " in command:
                yield path, command


COMMANDS = sorted({(str(path), command) for path, command in _commands()})
OURS = [(page, command) for page, command in COMMANDS if command.startswith("tailrace ")]
FOREIGN = [(page, command) for page, command in COMMANDS if not command.startswith("tailrace ")]


@cache
def _program() -> Any:
    return get_command(app)


def _resolved(command: str) -> tuple[str, set[str], set[str]]:
    """Return a command's name, its options as they are printed, and those that it has."""
    words = command.split()[1:]
    found = _program()
    name = []
    while hasattr(found, "commands"):
        assert words, f"{command!r} is no whole command"
        assert words[0] in found.commands, f"there is no command {command!r}"
        name.append(words[0])
        found = found.commands[words.pop(0)]
    printed = {word.strip("[]").partition("=")[0] for word in words if word.lstrip("[").startswith("--")}
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return " ".join(name), printed, known


@cache
def _words(path: str) -> frozenset[str]:
    """Return the words in a test's strings."""
    strings = (node.value for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.Constant))
    return frozenset(word for string in strings if isinstance(string, str) for word in string.split())


def test_there_are_commands_to_look_at() -> None:
    assert len(OURS) > 40
    assert len(FOREIGN) > 20


@pytest.mark.parametrize(("page", "command"), OURS)
def test_a_command_of_ours_is_as_printed_and_run(page: str, command: str) -> None:
    name, printed, known = _resolved(command)
    assert printed <= known, f"{page}: {command!r} has no option {printed - known}"
    assert name in RUN_BY, f"{page}: no test is named that runs {command!r}"
    words = frozenset[str]().union(*map(_words, RUN_BY[name]))
    assert {*name.split(), *printed} <= words, f"{page}: nothing in {RUN_BY[name]} runs {command!r}"


@pytest.mark.parametrize(("page", "command"), FOREIGN)
def test_a_command_of_others_is_run_or_it_is_said_why_not(page: str, command: str) -> None:
    whys = [OTHERS[start] for start in OTHERS if command.startswith(start)]
    assert len(whys) == 1, f"{page}: no test is named that runs {command!r}, nor why there is none"
    (why,) = whys
    if why.startswith("tests/"):
        assert (ROOT / why.split()[0].rstrip(":")).is_file()
    if command.startswith("make "):
        assert f"\n{command.split()[1]}:" in text(Path("Makefile")), f"{page}: there is no target for {command!r}"
    if command.startswith("pip install"):
        extras = tomllib.loads(text(Path("pyproject.toml")))["project"]["optional-dependencies"]
        assert {extra for named in re.findall(r"\[(.*?)\]", command) for extra in named.split(",")} <= set(extras)


def test_nothing_is_listed_that_no_page_prints() -> None:
    assert set(RUN_BY) == {_resolved(command)[0] for _, command in OURS}
    assert [start for start in OTHERS if not any(command.startswith(start) for _, command in FOREIGN)] == []

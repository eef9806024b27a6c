"""What is outside of Python agrees with it: make targets, the compose file, the commands that documents name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from control.cli import app
from runtime import configuration
from tests.unit.architecture.tree import ROOT, files, text

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def commands() -> set[str]:
    """Return all commands of `tailrace`: `capture run`, `plan`."""
    root = typer.main.get_command(app)
    found = set()
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        found |= {f"{name} {child}" for child in getattr(command, "commands", {})} or {name}
    return found


def _documents() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def test_the_compose_file_runs_commands_that_exist() -> None:
    there = commands()
    for name in ("capture", "apply"):
        assert " ".join(COMPOSE["services"][name]["command"][:2]) in there
    for name in ("sample", "writer"):
        module = COMPOSE["services"][name]["entrypoint"][2]
        assert (ROOT / Path(*module.split("."))).with_suffix(".py").is_file()


def test_the_compose_file_publishes_on_the_loopback_only() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_configuration_of_the_compose_file_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "secret")
    settings = configuration.load(ROOT / "deploy" / "docker" / "shop.yaml")
    assert set(settings.targets) == {"replica"}


def test_the_image_contains_every_room() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (ROOT / "deploy/docker/Dockerfile").read_text(), re.MULTILINE))
    assert copied == {path.parts[0] for path in files() if path.name == "__init__.py" and path.parts[0] != "tests"}


def test_documents_name_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {(path, word) for path in _documents() for word in re.findall(r"`make ([a-z-]+)", text(path))}
    assert [f"{path}: make {word}" for path, word in sorted(named) if word not in targets] == []


def test_documents_name_commands_that_exist() -> None:
    there = commands()
    known = there | {command.split()[0] for command in there}
    faults = []
    for path in _documents():
        for words in re.findall(
            r"^ *(?:\$ )?tailrace ([a-z-]+(?: [a-z-]+)?)|`tailrace ([a-z-]+(?: [a-z-]+)?)", text(path), re.MULTILINE
        ):
            named = words[0] or words[1]
            if named not in known and named.split()[0] not in {c for c in there if " " not in c}:
                faults.append(f"{path}: tailrace {named}")
    assert faults == []


def test_ci_runs_what_people_run() -> None:
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -eu", 'cd "$(dirname "$0")/.."', "make lint", "make test"]

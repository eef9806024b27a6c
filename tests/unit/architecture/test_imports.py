"""Who may import whom: the contracts of pyproject.toml, checked by import-linter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.architecture.tree import ROOT


def test_the_rooms_import_in_one_direction() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


DRIVERS = ("boto3", "httpx", "psycopg", "pymongo", "pymysql", "pyarrow", "rich")
OF_SERVICES = ("confluent_kafka", "importlib.metadata", "prometheus_client", "typer", "yaml")


@pytest.mark.parametrize(
    ("service", "others"),
    [
        ("capture.service", DRIVERS),
        ("apply.service", DRIVERS),
        ("capture.full_load.worker", (*DRIVERS, *OF_SERVICES)),
    ],
)
def test_services_import_nothing_that_they_may_not_need(service: str, others: tuple[str, ...]) -> None:
    """Each is a good part of the time that passes before they do anything."""
    program = f"import sys, {service}; print(*(name for name in {others!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr

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


@pytest.mark.parametrize("service", ["capture.service", "apply.service", "capture.full_load.worker"])
def test_services_import_nothing_that_they_may_not_need(service: str) -> None:
    """Each is a good part of the time that passes before they do anything."""
    drivers = ("boto3", "httpx", "psycopg", "pymongo", "pymysql", "pyarrow", "rich")
    program = f"import sys, {service}; print(*(name for name in {drivers!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr

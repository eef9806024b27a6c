"""An installation where there is no C compiler: it succeeds, and Python does the twin's work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.architecture.tree import ROOT

TIMEOUT_S = 600


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of what is built, without what was built of it before."""
    shutil.copy(ROOT / "setup.py", tmp_path)
    twin = tmp_path / "schemas" / "twin"
    shutil.copytree(ROOT / "schemas" / "twin", twin, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(ROOT / "schemas" / "__init__.py", twin.parent)
    return tmp_path


def test_without_a_compiler_nothing_is_built_and_nothing_fails(sources: Path) -> None:
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", "built", "--build-temp", "objects"]
    environment = {**os.environ, "CC": "no-such-compiler", "PYTHONPATH": ""}
    done = subprocess.run(
        command, cwd=sources, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "schemas.twin.rows is not built, generated Python will do its work" in done.stdout + done.stderr
    assert not list(sources.rglob("*.so"))

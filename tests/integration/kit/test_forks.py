"""A command that is forked is as one that is started: what it says, how it ends, what it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from deploy.local.process import free_port
from runtime.failpoints import VARIABLE
from tests.kit import forks

pytestmark = pytest.mark.integration


def test_what_a_command_says_and_its_exit_code_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = forks.run(["--version"], 60)
    assert (said.returncode, said.stdout.split()[0], said.stderr) == (0, "tailrace", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.json").write_text("{")
    refused = forks.run(["plan", "shop.json"], 60)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "shop.json" in refused.stderr
    assert "error (configuration)" in refused.stderr


def test_a_service_has_an_environment_of_its_own_and_is_killed(tmp_path: Path) -> None:
    source = {"engine": "postgresql", "host": "127.0.0.1", "database": "none", "user": "u", "tables": ["*.*"]}
    kafka = {"bootstrap.servers": f"127.0.0.1:{free_port()}"}
    configuration, log = tmp_path / "shop.json", tmp_path / "log"
    configuration.write_text(json.dumps({"name": "shop", "kafka": kafka, "source": source, "targets": {}}))
    words = ["capture", "run", str(configuration)]
    with log.open("wb") as file:
        refused = forks.Command(words, stdout=file, stderr=file, env={**os.environ, VARIABLE: "nowhere"})
        assert refused.wait(60) == 2
        assert "names no failpoint" in log.read_text()
        # Nobody answers it.
        waiting = forks.Command(words, stdout=file, stderr=file)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.1)
        assert waiting.poll() is None
        waiting.kill()
        assert waiting.wait(60) == -signal.SIGKILL

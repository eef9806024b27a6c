"""An engine that a package brings: found by its entry point, captured and applied as any other."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from deploy.local.kafka import KafkaAddress
from schemas.table import TableName
from tests.integration.services import SESSION_TIMEOUT_S
from tests.kit import ledger_plugin

ENTRIES = 1000
DEADLINE_S = 240


def install(directory: Path) -> None:
    """Install the plug-in as a package of its own."""
    wheel = directory / "ledger_plugin-1-py3-none-any.whl"
    facts = "ledger_plugin-1.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(ledger_plugin.__file__, "ledger_plugin.py")
        archive.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: ledger-plugin\nVersion: 1\n")
        archive.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        groups = "[tailrace.sources]\nledger = ledger_plugin\n\n[tailrace.sinks]\nledger = ledger_plugin\n"
        archive.writestr(f"{facts}/entry_points.txt", groups)
        archive.writestr(f"{facts}/RECORD", "")
    options = ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", "--target", str(directory / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, timeout=DEADLINE_S)


def test_a_plugins_source_is_applied_to_a_plugins_target(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress
) -> None:
    install(tmp_path)
    ledger, copy, configuration = tmp_path / "ledger", tmp_path / "copy", tmp_path / "ledger.json"
    document: dict[str, Any] = {
        "name": replication,
        "kafka": kafka_server.settings,
        "source": {"engine": "ledger", "database": "books", "tables": ["*.*"], "options": {"path": str(ledger)}},
        "targets": {"copy": {"engine": "ledger", "options": {"path": str(copy)}}},
        "capture": {"session_timeout_s": SESSION_TIMEOUT_S},
        "apply": {"session_timeout_s": SESSION_TIMEOUT_S},
    }

    def run(*words: str, code: int = 0, path: str = str(tmp_path / "site")) -> str:
        configuration.write_text(json.dumps(document))
        command = [sys.executable, "-m", "control.cli", *words[:-1], str(configuration), *words[-1].split()]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path, *sys.path])}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def write(begin: int, end: int) -> None:
        with ledger.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps([number, f"entry {number}"]) + "\n" for number in range(begin, end))

    write(0, ENTRIES)
    assert "there is no target engine 'ledger'; known: " in run("plan", "", code=2, path="")
    document["targets"]["copy"]["options"]["paht"] = ""
    assert "targets.copy.options: a ledger takes" in run("plan", "", code=2)
    del document["targets"]["copy"]["options"]["paht"]
    planned = json.loads(run("plan", "--json"))
    assert (planned["blocked"], planned["tables"][0]["rows_estimated"]) == (False, ENTRIES)
    # The first run loads, the second one goes on in the log.
    for begin, end in ((ENTRIES, 2 * ENTRIES), (2 * ENTRIES, 2 * ENTRIES)):
        run("capture", "run", "--stop-at now")
        run("apply", "run", "--target copy --stop-at now")
        write(begin, end)
    target = pickle.loads(copy.read_bytes())
    assert target.read(TableName("ledger", "entries")) == sorted(
        ((number, f"entry {number}") for number in range(2 * ENTRIES)), key=repr
    )
    assert "there is no way to read back a target of the engine ledger" in run("verify", "--target copy", code=2)
    assert f"removed {copy}" in run("reset", "--yes")

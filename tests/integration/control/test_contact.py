"""Commands whose servers do not answer: soon, with what was waited for, and with the documented exit code."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from control import cli, contact


def test_commands_say_whom_they_wait_for_and_give_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contact, "KAFKA_TIMEOUT_S", 0.5)
    monkeypatch.setattr(contact, "TELL_AFTER_S", 0.05)
    # They take connections and say nothing.
    with socket.create_server(("127.0.0.1", 0)) as database, socket.create_server(("127.0.0.1", 0)) as broker:
        kafka, port = f"127.0.0.1:{broker.getsockname()[1]}", database.getsockname()[1]
        place = {"host": "127.0.0.1", "port": port, "database": "shop", "password": "x", "connect_timeout_s": 2}
        configuration = tmp_path / "shop.json"
        document = {
            "name": "shop",
            "kafka": {"bootstrap.servers": kafka},
            "source": {"engine": "postgresql", "user": "capture", "tables": ["public.*"], **place},
            "targets": {"replica": {"engine": "postgresql", "user": "apply", **place}},
        }
        configuration.write_text(json.dumps(document))
        code = cli.guarded(lambda: cli.app(["plan", str(configuration), "--json"], standalone_mode=False))
        said = capsys.readouterr()
        assert code == 2
        blocks = [(f["place"], f["code"]) for f in json.loads(said.out)["findings"] if f["severity"] == "blocks"]
        assert blocks == [
            ("kafka", "transport"),
            ("source", "source-connection"),
            ("target replica", "target-connection"),
        ]
        assert said.err.splitlines() == [
            f"waiting for Kafka at {kafka}, at most 0.5 s …",
            f"waiting for the source at 127.0.0.1:{port}, at most 2 s …",
            f"waiting for target replica at 127.0.0.1:{port}, at most 2 s …",
        ]
        code = cli.guarded(lambda: cli.app(["status", str(configuration)], standalone_mode=False))
        said = capsys.readouterr()
        assert code == 3
        assert said.err.startswith(f"waiting for Kafka at {kafka}")
        assert "error (transport): reaching Kafka failed" in said.err

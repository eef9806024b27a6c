"""A stand-in of Kinesis whose streams are split and merged as Kinesis's are: kinesis-local, a package of Node.js.

A shard that was split keeps its records, and is closed; what comes later goes to its children. On 127.0.0.1, in memory.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from deploy.local.aws import REGION, AwsServer
from deploy.local.npm import node, package
from deploy.local.process import free_port

VERSION = "0.6.2"
PRELOAD = Path(__file__).resolve().parent.parent / "kinesis" / "preload.js"
_CHANGES = ("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS")


def kinesis_package() -> Path:
    """Return the package's directory, downloaded once. Raises DownloadError."""
    return package("kinesis-local", VERSION)


class KinesisServer(AwsServer):
    """One stand-in; what it holds ends with it. A change of a stream takes it a moment, as at Kinesis."""

    title = "the stand-in of Kinesis"
    # It takes no notice of other signals.
    stop_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def _prepare(self) -> None:
        kinesis_package()

    def _command(self) -> list[str]:
        program = kinesis_package() / "node_modules" / "kinesis-local" / "main.js"
        return [node(), "-r", str(PRELOAD), str(program)]

    def _environment(self) -> Mapping[str, str]:
        ports = {"KINESIS_MOCK_PLAIN_PORT": str(self.port), "KINESIS_MOCK_TLS_PORT": str(free_port())}
        durations = {f"{change}_DURATION": "300ms" for change in _CHANGES}
        return {**ports, **durations, "AWS_REGION": REGION, "LOG_LEVEL": "WARN"}

    def _ready(self) -> bool:
        return self._answers("/healthcheck")

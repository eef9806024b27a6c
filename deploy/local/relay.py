"""A server and an object store with a bucket, and before them a relay that reads the bucket: a process of its own."""

from __future__ import annotations

import socket
import sys
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from deploy.local.s3 import S3Server
from deploy.local.server import LocalServer

ROOT = Path(__file__).resolve().parents[2]


class RelayServer(LocalServer):
    """The object store and the relay: `module`, run with its port and `_arguments`. The server is the subclass's."""

    module: ClassVar[str]
    bucket: ClassVar[str]

    def __init__(self, directory: Path, *, port: int | None = None, detached: bool = False) -> None:
        super().__init__(directory, port=port, detached=detached)
        self.s3 = S3Server(self.directory / "s3", detached=detached)

    @abstractmethod
    def _arguments(self) -> list[str]:
        """Return where the relay finds the server and the object store."""

    def _prepare(self) -> None:
        self.s3.start()
        client = self.s3.client("s3")
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=self.bucket)
        client.close()

    def _forget(self) -> None:
        self.s3.stop()

    def _command(self) -> list[str]:
        return [sys.executable, "-m", self.module, str(self.port), *self._arguments()]

    def _environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def _ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False

"""A stand-in of MongoDB that speaks its protocol and keeps its data on 127.0.0.1: SecantusDB, a process of its own.

Its packages are unpacked beside ours, never installed with them: it is under another licence, and ours must not use it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.cache import cached, download
from deploy.local.server import LocalServer

VERSION = "0.7.0b3"


def secantus_packages() -> Path:
    """Return the directory of its packages, downloaded once. Raises DownloadError."""

    def make(directory: Path) -> None:
        options = ["--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--pre", "--target", str(directory)]
        download([sys.executable, "-m", "pip", "install", *options, f"secantusdb=={VERSION}"], "SecantusDB")

    return cached(f"secantusdb-{VERSION}-{sys.version_info.major}.{sys.version_info.minor}", make)


class SecantusServer(LocalServer):
    """One server with its databases in `directory`."""

    title = "SecantusDB"

    def _prepare(self) -> None:
        secantus_packages()
        (self.directory / "data").mkdir(exist_ok=True)

    def _command(self) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--storage-path", str(self.directory / "data")]
        return [sys.executable, "-m", "secantus", *where, "--sync-on-commit"]

    def _environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(secantus_packages())}

    def _ready(self) -> bool:
        # Its client comes with the project's extra, which whoever wants this server has installed.
        from pymongo import MongoClient
        from pymongo.errors import PyMongoError

        with MongoClient[dict[str, object]]("127.0.0.1", self.port, serverSelectionTimeoutMS=1000) as client:
            try:
                return client.admin.command("ping").get("ok") == 1
            except PyMongoError:
                return False

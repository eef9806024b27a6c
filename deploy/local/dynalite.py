"""A stand-in of DynamoDB that keeps its limits and its data: dynalite, a package of Node.js, on 127.0.0.1.

It has no transactions; moto has them, and no durability (see `deploy.local.moto`).
"""

from __future__ import annotations

from pathlib import Path

from deploy.local.aws import AwsServer
from deploy.local.npm import node, package

VERSION = "4.0.0"


def dynalite_package() -> Path:
    """Return the package's directory, downloaded once. Raises DownloadError."""
    return package("dynalite", VERSION)


class DynaliteServer(AwsServer):
    """One stand-in with its tables in `directory`."""

    title = "dynalite"

    def _prepare(self) -> None:
        dynalite_package()

    def _command(self) -> list[str]:
        program = str(dynalite_package() / "node_modules" / "dynalite" / "cli.js")
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--path", str(self.directory / "tables")]
        return [node(), program, *where, "--createTableMs", "0", "--deleteTableMs", "0", "--updateTableMs", "0"]

    def _ready(self) -> bool:
        return self._answers()

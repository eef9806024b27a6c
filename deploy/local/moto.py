"""An imitation of AWS's services on 127.0.0.1, without authentication, in memory: moto, a Python package.

`deploy.local.moto_server` says in what it is not moto as it comes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.local.aws import AwsServer

PROGRAM = Path(__file__).with_name("moto_server.py")
"""Run without its directory on the path (`-P`), where a module is called like moto itself."""


class MotoServer(AwsServer):
    """One imitation of all services."""

    title = "the imitation of AWS"

    def _command(self) -> list[str]:
        return [sys.executable, "-P", str(PROGRAM), "-H", "127.0.0.1", "-p", str(self.port)]

    def _ready(self) -> bool:
        return self._answers("/moto-api/data.json", refusals=())

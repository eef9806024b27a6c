"""An imitation of AWS's services on 127.0.0.1, without authentication, in memory: moto, a Python package."""

from __future__ import annotations

import sys
import urllib.request

from deploy.local.aws import AwsServer


class MotoServer(AwsServer):
    """One imitation of all services."""

    title = "the imitation of AWS"

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/moto-api/data.json", timeout=5):
                return True
        except OSError:
            return False

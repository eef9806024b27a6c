"""An HTTP service that takes whatever is posted to it, and keeps nothing: the other end of the target `webhook`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from deploy.local.server import LocalServer

ROOT = Path(__file__).resolve().parent.parent


class Receiver(LocalServer):
    """Such a service in a process of its own."""

    title = "the receiver of webhooks"

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "benchmarks.receiver", str(self.port)]

    def _environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def _ready(self) -> bool:
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self.port)) == 0


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        pass


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()

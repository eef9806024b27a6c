"""A real OpenSearch in a JVM on 127.0.0.1, one node, without the security plugin. Its jars come by Maven.

A class of a few lines starts it (`deploy/opensearch/Launcher.java`), which Java compiles by itself.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from deploy.local.java import find_java
from deploy.local.maven import jars
from deploy.local.server import LocalServer

HOME = Path(__file__).resolve().parent.parent / "opensearch"
HEAP = "-Xmx512m"


def opensearch_jars() -> Path:
    """Return the directory of the jars, downloaded once. Raises DownloadError."""
    return jars("opensearch", HOME / "pom.xml", "OpenSearch")


class OpensearchServer(LocalServer):
    """One node with its indices in `directory`."""

    title = "OpenSearch"
    start_timeout_s = 300.0

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        opensearch_jars()

    def _command(self) -> list[str]:
        options = [HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{opensearch_jars()}/*"]
        return [find_java(), *options, str(HOME / "Launcher.java"), str(self.directory / "node"), str(self.port)]

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_cluster/health", timeout=5) as answer:
                return json.loads(answer.read())["status"] in ("green", "yellow")
        except (OSError, ValueError):
            return False

"""A real Gremlin Server in a JVM on 127.0.0.1, the stand-in of Amazon Neptune: its graph is in memory. Jars by Maven.

A class of a few lines starts it (`deploy/gremlin/Launcher.java`), which Java compiles by itself.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from deploy.local.java import find_java
from deploy.local.maven import jars
from deploy.local.server import LocalServer

HOME = Path(__file__).resolve().parent.parent / "gremlin"
HEAP = "-Xmx256m"


def gremlin_jars() -> Path:
    """Return the directory of the jars, downloaded once. Raises DownloadError."""
    return jars("gremlin", HOME / "pom.xml", "Gremlin Server")


class GremlinServer(LocalServer):
    """One server; what it holds ends with it."""

    title = "Gremlin Server"
    start_timeout_s = 300.0

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """What a target's section says to reach it."""
        return {"url": self.url, "language": "gremlin-lang"}

    def _prepare(self) -> None:
        gremlin_jars()

    def _command(self) -> list[str]:
        options = [HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{gremlin_jars()}/*"]
        return [find_java(), *options, str(HOME / "Launcher.java"), str(HOME / "server.yaml"), str(self.port)]

    def _ready(self) -> bool:
        body = json.dumps({"gremlin": "g.V().count()", "language": "gremlin-lang"}).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/gremlin", body, timeout=5) as answer:
                return bool(json.loads(answer.read())["status"]["code"] == 200)
        except (OSError, ValueError):
            return False

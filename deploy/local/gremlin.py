"""A real Gremlin Server in a JVM on 127.0.0.1, Amazon Neptune's stand-in: its graph is in memory. Jars by Maven."""

from __future__ import annotations

import json
import urllib.request

from deploy.local.jvm import LauncherServer


class GremlinServer(LauncherServer):
    """One server; what it holds ends with it."""

    title = "Gremlin Server"
    name = "gremlin"
    heap = "-Xmx1g"
    """A vertex with its properties takes kilobytes."""

    @property
    def settings(self) -> dict[str, str]:
        """What a target's section says to reach it."""
        return {"url": self.url, "language": "gremlin-lang"}

    def _arguments(self) -> list[str]:
        return [str(self.home() / "server.yaml"), str(self.port)]

    def _ready(self) -> bool:
        body = json.dumps({"gremlin": "g.V().count()", "language": "gremlin-lang"}).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/gremlin", body, timeout=5) as answer:
                return bool(json.loads(answer.read())["status"]["code"] == 200)
        except (OSError, ValueError):
            return False

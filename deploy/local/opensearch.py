"""A real OpenSearch in a JVM on 127.0.0.1, one node, without the security plugin. Its jars come by Maven."""

from __future__ import annotations

import json
import urllib.request

from deploy.local.jvm import LauncherServer


class OpensearchServer(LauncherServer):
    """One node with its indices in `directory`."""

    title = "OpenSearch"
    name = "opensearch"
    heap = "-Xmx512m"

    def _arguments(self) -> list[str]:
        return [str(self.directory / "node"), str(self.port)]

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_cluster/health", timeout=5) as answer:
                return json.loads(answer.read())["status"] in ("green", "yellow")
        except (OSError, ValueError):
            return False

"""A real schema registry with Confluent's HTTP interface on this machine: Apicurio Registry, by Maven."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

import httpx

from deploy.local.cache import cached
from deploy.local.java import find_java
from deploy.local.maven import copy_artifact
from deploy.local.server import LocalServer

VERSION = "3.0.9"
"""The last that runs on Java 17 is of the series 3.0."""

_ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"


class RegistryServer(LocalServer):
    """One registry, with its schemas in `directory`."""

    title = f"Apicurio Registry {VERSION}"
    start_timeout_s = 600.0

    @property
    def url(self) -> str:
        """The base of Confluent's interface."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def _prepare(self) -> None:
        registry_programs()

    def _command(self) -> list[str]:
        options = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self.port,
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:file:{self.directory / 'data' / 'registry'};WRITE_DELAY=0",
            # Its default of twenty connections at once cannot be met while a slow machine makes the database.
            "apicurio.datasource.jdbc.initial-size": 1,
            "apicurio.datasource.jdbc.min-size": 1,
            'quarkus.log.category."io.apicurio".level': "WARN",
            "quarkus.http.access-log.enabled": "false",
        }
        java = [find_java(), "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        jar = registry_programs() / f"apicurio-registry-app-{VERSION}-runner.jar"
        return [*java, *(f"-D{name}={value}" for name, value in options.items()), "-jar", str(jar)]

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/subjects", timeout=10, trust_env=False).is_success
        except httpx.TransportError:
            return False


def registry_programs() -> Path:
    """Return the registry's directory, downloaded once. Raises DownloadError."""

    def make(directory: Path) -> None:
        with tempfile.TemporaryDirectory() as box:
            archive = copy_artifact(_ARTIFACT, Path(box), RegistryServer.title)
            with tarfile.open(archive) as packed:
                packed.extractall(directory, filter="data")

    return cached(f"apicurio-{VERSION}", make)

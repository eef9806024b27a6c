"""A real Kafka Connect on this machine, standalone, with Debezium's connectors: other people's half of a pipeline.

Jars come by Maven from the poms of `deploy/connect`: the worker, and one folder for each plug-in.
"""

from __future__ import annotations

import json
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.local.cache import LocalServerError
from deploy.local.java import find_java
from deploy.local.kafka import QUICK_JVM
from deploy.local.maven import jars
from deploy.local.process import log_tail
from deploy.local.registry import RegistryServer
from deploy.local.server import LocalServer

POMS = Path(__file__).resolve().parent.parent / "connect"
LOGGING = Path(__file__).resolve().parent.parent / "kafka" / "log4j2.properties"
HEAP_MB = 512
REQUEST_TIMEOUT_S = 10.0
AVRO_CONVERTER = "io.apicurio.registry.utils.converter.AvroConverter"
ANNOUNCED = {"apicurio-converter": ("org.apache.kafka.connect.storage.Converter", AVRO_CONVERTER)}
"""Classes of plug-ins whose jars do not announce them: a worker would have to look through all classes else."""

Properties = Mapping[str, str | int | bool]


class ConnectWorker(LocalServer):
    """One standalone worker and its connectors, each of which is configured by its properties and has its `name`.

    Offsets are kept in the server's directory: a worker that is killed and started again goes on from there. It is of
    use when its REST interface answers; what the connectors do then, `state` says.
    """

    title = "Kafka Connect"
    start_timeout_s = 240.0

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        connectors: Sequence[Properties],
        *,
        plugins: Sequence[str],
        heap_mb: int = HEAP_MB,
        jvm_options: Sequence[str] = QUICK_JVM,
        offset_flush_interval_ms: int = 1000,
        settings: Properties | None = None,
    ) -> None:
        """`plugins` are the names of poms in `deploy/connect`; `settings` are more properties of the worker."""
        super().__init__(directory)
        self.connectors = list(connectors)
        self._bootstrap = bootstrap
        self._plugins = list(plugins)
        self._heap_mb = heap_mb
        self._jvm_options = list(jvm_options)
        self._offset_flush_interval_ms = offset_flush_interval_ms
        self._settings = dict(settings or {})

    def state(self, connector: str) -> str:
        """Return `RUNNING`, or what else a connector or its first task is in; its trace where it has failed."""
        try:
            said = self._get(f"/connectors/{connector}/status")
        except OSError:
            return "UNASSIGNED"
        for part in (said["connector"], *said["tasks"][:1]):
            if part["state"] != "RUNNING":
                return f"{part['state']} {part.get('trace', '')}".strip()
        return "RUNNING" if said["tasks"] else "UNASSIGNED"

    def check(self) -> None:
        """Raise LocalServerError if a connector has failed, or the worker has ended."""
        if self._process is None or not self._process.running:
            raise LocalServerError(f"{self.title} has ended; its log ends:\n{log_tail(self.log)}")
        for connector in self.connectors:
            state = self.state(str(connector["name"]))
            if state.startswith("FAILED"):
                raise LocalServerError(f"connector {connector['name']}: {state}")

    def offsets(self, connector: str) -> list[dict[str, Any]]:
        """Return the offsets that a source connector has noted, as the REST interface tells them."""
        return list(self._get(f"/connectors/{connector}/offsets")["offsets"])

    def stop_connector(self, connector: str) -> None:
        """End a connector's tasks, and have it noted how far they got; the worker goes on."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/connectors/{connector}/stop", method="PUT")
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S):
            pass

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=REQUEST_TIMEOUT_S) as answer:
            return json.load(answer)

    def _ready(self) -> bool:
        try:
            self._get("/")
        except OSError:
            return False
        return True

    def _command(self) -> list[str]:
        worker = self._write(
            "worker",
            {
                "bootstrap.servers": self._bootstrap,
                "key.converter": "org.apache.kafka.connect.json.JsonConverter",
                "value.converter": "org.apache.kafka.connect.json.JsonConverter",
                "plugin.path": str(self._plugin_path()),
                "plugin.discovery": "service_load",
                "offset.storage.file.filename": str(self.directory / "offsets"),
                "offset.flush.interval.ms": self._offset_flush_interval_ms,
                "listeners": f"http://127.0.0.1:{self.port}",
                **self._settings,
            },
        )
        files = [self._write(str(connector["name"]), connector) for connector in self.connectors]
        classes = jars("connect", POMS / "worker.xml", "Kafka Connect")
        options = [
            f"-Xmx{self._heap_mb}m",
            *self._jvm_options,
            f"-Dlog4j2.configurationFile={LOGGING}",
            "-cp",
            f"{classes}/*",
        ]
        return [find_java(), *options, "org.apache.kafka.connect.cli.ConnectStandalone", worker, *files]

    def _plugin_path(self) -> Path:
        """Return a folder with one for each plug-in, of links: what else is in the cache is not to be loaded."""
        path = self.directory / "plugins"
        for plugin in self._plugins:
            folder = path / plugin
            if folder.exists():
                continue
            folder.mkdir(parents=True)
            for jar in jars(plugin, POMS / f"{plugin}.xml", f"the plug-in {plugin}").iterdir():
                (folder / jar.name).symlink_to(jar)
            if plugin in ANNOUNCED:
                service, name = ANNOUNCED[plugin]
                with zipfile.ZipFile(folder / "announced.jar", "w") as packed:
                    packed.writestr(f"META-INF/services/{service}", name + "\n")
        return path

    def _write(self, name: str, properties: Properties) -> str:
        path = self.directory / f"{name}.properties"
        lines = [
            f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in properties.items()
        ]
        path.write_text("\n".join(lines) + "\n")
        return str(path)


def json_converters(*, schemas: bool) -> dict[str, str | bool]:
    """Return a connector's properties that write keys and values as JSON."""
    properties: dict[str, str | bool] = {}
    for part in ("key", "value"):
        properties[f"{part}.converter"] = "org.apache.kafka.connect.json.JsonConverter"
        properties[f"{part}.converter.schemas.enable"] = schemas
    return properties


def avro_converters(registry: RegistryServer) -> dict[str, str | bool]:
    """Return a connector's properties that read and write keys and values as Avro in Confluent's wire format.

    The converter is Apicurio's (`apicurio-converter` of the plug-ins), by the ids that its registry's Confluent
    interface gives: so others who use that interface read and write the same.
    """
    properties: dict[str, str | bool] = {}
    for part in ("key", "value"):
        converter = f"{part}.converter"
        properties |= {
            converter: AVRO_CONVERTER,
            f"{converter}.apicurio.registry.url": registry.url.replace("/apis/ccompat/v7", "/apis/registry/v2"),
            f"{converter}.apicurio.registry.auto-register": True,
            f"{converter}.apicurio.registry.find-latest": True,
            # Ids in front of the content, of four bytes, and not in headers.
            f"{converter}.apicurio.registry.headers.enabled": False,
            f"{converter}.apicurio.registry.as-confluent": True,
            f"{converter}.apicurio.registry.use-id": "contentId",
        }
    return properties

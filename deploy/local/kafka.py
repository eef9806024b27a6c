"""A real Apache Kafka on this machine: KRaft, one node or a cluster of several, 127.0.0.1 only.

Looked for in this order: a cluster that `TAILRACE_KAFKA=host:port` names (`find_kafka`), an unpacked distribution in
`KAFKA_HOME`, the jars of `deploy/kafka/pom.xml` by Maven.
"""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from deploy.local.cache import LocalServerError, cached, edition
from deploy.local.java import find_java
from deploy.local.maven import jars
from deploy.local.process import free_port
from deploy.local.server import LocalServer

CONFIGURATION = Path(__file__).resolve().parent.parent / "kafka"
HEAP_MB = 512
QUICK_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""For a broker that lives for a test: it starts with two thirds of the work, and is slower when it has run for long."""
TOOLS = {
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
}
"""The class behind each of the distribution's scripts that we name."""


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Where a cluster is reached."""

    bootstrap: str
    """`host:port`, or several with commas."""

    @property
    def settings(self) -> dict[str, str | int | bool]:
        """The `kafka` section of a configuration."""
        return {"bootstrap.servers": self.bootstrap}


class Member(NamedTuple):
    """What a node of a cluster must know of the others."""

    node: int
    """Its number, from 1."""
    controller_ports: tuple[int, ...]
    cluster: str


def named_kafka() -> KafkaAddress | None:
    """Return the cluster that `TAILRACE_KAFKA` names, if it does."""
    named = os.environ.get("TAILRACE_KAFKA")
    return KafkaAddress(named) if named else None


def kafka_jars() -> str:
    """Return the class path of a broker and its tools, downloaded if need be."""
    if home := os.environ.get("KAFKA_HOME"):
        if not (Path(home) / "libs").is_dir():
            raise LocalServerError(f"KAFKA_HOME={home} has no `libs` directory: it is no unpacked Kafka distribution")
        return f"{home}/libs/*"
    return f"{jars('kafka', CONFIGURATION / 'pom.xml', 'Apache Kafka')}/*"


class KafkaServer(LocalServer):
    """One broker, controller included. It is of use when it answers a metadata request with itself in it."""

    title = "the broker"
    start_timeout_s = 240.0

    def __init__(
        self,
        directory: Path,
        *,
        heap_mb: int = HEAP_MB,
        jvm_options: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        member: Member | None = None,
        reached_by: Callable[[int], int] = int,
        port: int | None = None,
        detached: bool = False,
    ) -> None:
        """`reached_by` returns the port by which others reach one of the node's: that of a proxy in front of it."""
        super().__init__(directory, port=port, detached=detached)
        self._member = member
        self._reached_by = reached_by
        self._controller_port: int | None = None
        self._jvm_options = [
            f"-Xmx{heap_mb}m",
            f"-Xms{min(heap_mb, 256)}m",
            "-XX:+ExitOnOutOfMemoryError",
            *jvm_options,
        ]
        self._settings = dict(settings or {})

    @property
    def address(self) -> KafkaAddress:
        """Where clients reach the broker. Known once it was started."""
        return KafkaAddress(f"127.0.0.1:{self._reached_by(self.port)}")

    def _command(self) -> list[str]:
        # The other nodes of a cluster know this one's controller by its port.
        self._controller_port = self._member.controller_ports[self._member.node - 1] if self._member else free_port()
        java, classes = find_java(), kafka_jars()
        properties = self._write_properties()
        if not (self._data / "meta.properties").is_file():
            self._format(java, classes)
        command = [java, *self._jvm_options]
        command += [f"-Dlog4j2.configurationFile={CONFIGURATION / 'log4j2.properties'}", "-cp", classes]
        return [*command, "kafka.Kafka", str(properties)]

    def _ready(self) -> bool:
        return _answers(self.port)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _controller_ports(self) -> Sequence[int]:
        return self._member.controller_ports if self._member else [self._controller_port or 0]

    def _write_properties(self) -> Path:
        voters = [self._reached_by(port) for port in self._controller_ports]
        words = {
            "NODE": str(self._member.node if self._member else 1),
            "VOTERS": ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(voters, 1)),
            "PORT": str(self.port),
            "REACHED_BY": str(self._reached_by(self.port)),
            "CONTROLLER_PORT": str(self._controller_port),
            "DATA": str(self._data),
            "REPLICAS": str(len(self._controller_ports)),
        }
        text = (CONFIGURATION / "server.properties").read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        lines = [text, *(f"{name}={value}" for name, value in self._settings.items())]
        path = self.directory / "server.properties"
        path.write_text("\n".join(lines) + "\n")
        return path

    def _format(self, java: str, classes: str) -> None:
        """Give the node empty storage. Kafka's tool has made it once: a second Java for each node takes seconds."""

        def make(directory: Path) -> None:
            node = KafkaServer(directory, port=free_port())
            node._controller_port = free_port()
            arguments = ["format", "-t", _new_id(), "-c", str(node._write_properties())]
            done = run_tool(java, classes, "kafka.tools.StorageTool", arguments)
            if done.returncode:
                raise LocalServerError(f"the broker's storage could not be formatted:\n{done.stdout}{done.stderr}")

        programs = edition(" ".join(sorted(jar.name for jar in Path(classes).parent.glob("*.jar"))))
        shutil.copytree(cached(f"kafka-storage-{programs}", make) / "data", self._data)
        identity = {
            "version": "1",
            "cluster.id": self._member.cluster if self._member else _new_id(),
            "node.id": str(self._member.node if self._member else 1),
            "directory.id": _new_id(),
        }
        lines = [f"{name}={value}\n" for name, value in identity.items()]
        (self._data / "meta.properties").write_text("".join(lines))


class KafkaCluster:
    """Several nodes, each broker and controller: partitions have a replica on each, two of which must have a record."""

    def __init__(self, directory: Path, *, nodes: int = 3, **options: Any) -> None:
        ports = [free_port() for _ in range(2 * nodes)]
        cluster = _new_id()
        settings = {
            "default.replication.factor": str(nodes),
            "min.insync.replicas": str(nodes // 2 + 1),
            "transaction.state.log.min.isr": str(nodes // 2 + 1),
            # A paused node must be found out within seconds.
            "broker.session.timeout.ms": "6000",
            "replica.lag.time.max.ms": "6000",
            "controller.quorum.election.timeout.ms": "1000",
            "controller.quorum.fetch.timeout.ms": "4000",
        }
        self.nodes = [
            KafkaServer(
                directory / f"node-{index + 1}",
                port=ports[index],
                settings=settings,
                member=Member(index + 1, tuple(ports[nodes:]), cluster),
                **options,
            )
            for index in range(nodes)
        ]

    @property
    def address(self) -> KafkaAddress:
        """Where clients reach the cluster."""
        return KafkaAddress(",".join(node.address.bootstrap for node in self.nodes))

    def __enter__(self) -> Self:
        # A node answers once a majority of them is up: all are started before any is waited for.
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            try:
                list(pool.map(KafkaServer.start, self.nodes))
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        # Without a majority a node does not end in an orderly way, and nothing in them is of worth.
        for node in self.nodes:
            node.kill()


def _new_id() -> str:
    # A leading hyphen would be taken for an option, which is why Kafka's own ids have none (`Uuid.randomUuid`): the
    # first six bits, which are the first letter, are made zero ("A").
    random = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([random[0] & 0b11]) + random[1:]).rstrip(b"=").decode()


def run_tool(
    java: str, classes: str, tool: str, arguments: list[str], standard_input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of Kafka's command-line tools by its class name."""
    command = [*_tool_command(java, classes, tool), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, input=standard_input)


def write_scripts(directory: Path) -> None:
    """Write each of `TOOLS` into a directory as a script that runs here, where Kafka may be nothing but its jars."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, tool in TOOLS.items():
        script = directory / name
        script.write_text(f'#!/bin/sh\nexec {shlex.join(_tool_command(find_java(), kafka_jars(), tool))} "$@"\n')
        script.chmod(0o755)


def _tool_command(java: str, classes: str, tool: str) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={CONFIGURATION / 'tools-log4j2.properties'}"
    return [java, "-Xmx256m", *QUICK_JVM, logging, "-cp", classes, tool]


def _answers(port: int) -> bool:
    """Whether the broker at `port` answers a Metadata request (version 1) that lists a broker, and the controller.

    The layout is that of Kafka's protocol guide, "Metadata API": request header version 1 and an empty topic list;
    response: correlation id, then the array of brokers. A broker lists itself once the controller has unfenced it.
    """
    client = b"tailrace"
    body = struct.pack(">hhih", 3, 1, 7, len(client)) + client + struct.pack(">i", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.settimeout(10)
            connection.sendall(struct.pack(">i", len(body)) + body)
            head = _receive(connection, 12)
    except OSError:
        return False
    _, correlation, broker_count = struct.unpack(">iii", head)
    return bool(correlation == 7 and broker_count > 0)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionError("closed")
        received += piece
    return received

"""Further targets of the demo, by the names that `TARGETS=` takes: each with a server of its own, where it needs one.

To add one is a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from deploy.local.gremlin import GremlinServer
from deploy.local.moto import MotoServer
from deploy.local.neptune import NeptuneServer
from deploy.local.opensearch import OpensearchServer
from deploy.local.redshift import RedshiftServer
from deploy.local.s3 import S3Server
from deploy.local.secantus import SecantusServer
from deploy.local.server import LocalServer

Section = dict[str, Any]

BUCKET, STREAM = "shop-landing", "shop"
GATHER_S = 5
"""How long changes wait for their file: nobody wants to watch a minute go by."""


class Kind(NamedTuple):
    """A kind of target."""

    title: str
    server: type[LocalServer] | None
    section: Callable[[Any, Path, str], Section]
    """From the running server, a directory, and the address of Kafka to the section of the configuration."""


def _s3(server: S3Server, _: Path, __: str) -> Section:
    client = server.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.close()
    files = {"data_format": "parquet", "cdc_max_batch_interval": GATHER_S}
    return {"engine": "s3", "bucket_name": BUCKET, **files, **server.settings}


def _files(_: None, directory: Path, __: str) -> Section:
    directory.mkdir(parents=True)
    files = {"data_format": "json", "cdc_max_batch_interval": GATHER_S}
    return {"engine": "files", "directory": str(directory), **files}


def _opensearch(server: OpensearchServer, _: Path, __: str) -> Section:
    settings = {"index.number_of_replicas": 0, "index.number_of_shards": 1}
    return {"engine": "opensearch", "url": server.url, "index_settings": settings}


def _kinesis(server: MotoServer, _: Path, __: str) -> Section:
    client = server.client("kinesis")
    client.create_stream(StreamName=STREAM, ShardCount=4)
    arn = client.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
    client.close()
    more = {"message_format": "json-unformatted", "partition_include_schema_table": True}
    return {"engine": "kinesis", "stream_arn": arn, **more, **server.settings}


def _dynamodb(server: MotoServer, _: Path, __: str) -> Section:
    return {"engine": "dynamodb", **server.settings}


def _kafka(_: None, __: Path, bootstrap: str) -> Section:
    address = {"bootstrap.servers": bootstrap}
    form = {"message_format": "json-unformatted", "include_control_details": True}
    return {"engine": "kafka", "kafka": address, "topic": "{name}.copy.{table}", **form}


def _mongodb(server: SecantusServer, _: Path, __: str) -> Section:
    return {"engine": "mongodb", "host": "127.0.0.1", "port": server.port, "tls": "disable"}


def _redshift(server: RedshiftServer, _: Path, __: str) -> Section:
    return {"engine": "redshift", **server.settings}


def _neptune(server: GremlinServer, _: Path, __: str) -> Section:
    return {"engine": "neptune", **server.settings}


def _neptune_files(server: NeptuneServer, _: Path, __: str) -> Section:
    return {"engine": "neptune", "load_interval_s": GATHER_S, **server.settings}


KINDS: dict[str, Kind] = {
    "dynamodb": Kind("DynamoDB (an imitation of it)", MotoServer, _dynamodb),
    "files": Kind("files of JSON lines", None, _files),
    "kafka": Kind("other topics, in DMS's JSON", None, _kafka),
    "kinesis": Kind("Kinesis (an imitation of it)", MotoServer, _kinesis),
    "mongodb": Kind("MongoDB (an imitation of it)", SecantusServer, _mongodb),
    "neptune": Kind("Neptune (Gremlin Server, in memory)", GremlinServer, _neptune),
    "neptune-files": Kind("Neptune, loaded by files (a loader before Gremlin Server)", NeptuneServer, _neptune_files),
    "opensearch": Kind("OpenSearch", OpensearchServer, _opensearch),
    "redshift": Kind("Redshift (PostgreSQL and a bucket in its place)", RedshiftServer, _redshift),
    "s3": Kind("S3 (a gateway to local files), Parquet", S3Server, _s3),
}


class Running:
    """One target of a kind, with its server."""

    def __init__(self, name: str, kind: Kind, directory: Path) -> None:
        self.name = name
        self.kind = kind
        self._directory = directory
        self._server = self.kind.server(directory) if self.kind.server else None

    def start(self, bootstrap: str) -> Section:
        """Start the server and make what the target needs; return its section."""
        if self._server is not None:
            self._server.start()
        return self.kind.section(self._server, self._directory, bootstrap)

    def stop(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.stop()

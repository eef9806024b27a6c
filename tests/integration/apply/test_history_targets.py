"""Appliers that write files of changes are killed under flow: each change is in one file, once, in order."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.s3 import S3Server
from runtime.failpoints import VARIABLE
from schemas.settings import parse
from schemas.table import TableSchema
from schemas.topics import apply_group
from tests.conformance.changes import Seen, folded
from tests.conformance.sink_suite import EVENTS, ORDERS
from tests.integration.apply.publishing import Publisher, change_orders
from tests.integration.apply.test_kills import start
from tests.integration.s3_sink.test_conformance import make_bucket
from tests.kit import documents, row_files
from tests.kit.groups import dismiss
from tests.kit.topics import read_raw

# A failure here breaks a promise: it is never run again in the hope of a better result.
pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.slow, pytest.mark.flaky(reruns=0)]

DEADLINE_S = 480
PARTITIONS = 3

FILES = {**row_files.SETTINGS, "data_format": "json", "cdc_max_batch_interval": 1}

Section = dict[str, Any]
Read = Callable[[TableSchema], list[Seen]]
"""Reads all changes of a table from a target."""


def _files(directory: Path) -> tuple[Section, Read]:
    directory.mkdir()
    together = {"preserve_transactions": True, "cdc_path": "cdc", "add_column_name": False}
    return {"engine": "files", "directory": str(directory), **FILES, **together}, partial(_read_files, directory)


def _s3(server: S3Server) -> tuple[Section, Read]:
    client, bucket = make_bucket(server)

    def read_objects(table: TableSchema) -> list[Seen]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="/".join(table.name) + "/")
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        contents = [(key, client.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys]
        return [change for name, content in contents for change in row_files.changes(name, content, table)]

    return {"engine": "s3", "bucket_name": bucket, **server.settings, **FILES}, read_objects


def _read_files(directory: Path, table: TableSchema) -> list[Seen]:
    """Return the changes of a table: those that were loaded from its files, the others from those of all tables."""
    contents = [(path.name, path.read_bytes()) for path in directory.joinpath(*table.name).glob("LOAD*")]
    paths = sorted((directory / "cdc").glob("CDC_TXN-*"), key=lambda path: path.name.split("-")[2])
    lines = [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]
    numbers = [int(line.split(b",")[3]) for line in lines]
    assert numbers == sorted(numbers), "they stand in the order of their commits, over all files"
    head = ",".join(["Op", "table_name", "database_schema_name", row_files.SEQUENCE, *table.column_names]) + "\n"
    mine = [line for line in lines if line.split(b",")[1].decode() == table.name.table]
    contents.append(("cdc.csv", b"".join([head.encode(), *mine])))
    found = [change for name, content in contents for change in row_files.changes(name, content, table)]
    return found + [seen for seen in found if seen.op == "t"] * (PARTITIONS - 1)


def _kafka(bootstrap: str, replication: str) -> tuple[Section, Read]:
    def read_records(table: TableSchema) -> list[Seen]:
        topic = f"{replication}.copy.{table.name.table}"
        partitions: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for _, partition, *_, value in read_raw(bootstrap, [topic]):
            if "control" not in (document := json.loads(value or b"")):
                partitions[partition].append(document)
        # The order is that of each partition: a truncate may be read from one of them before what it empties.
        found: list[Seen] = []
        for part in partitions.values():
            found += [seen for seen in documents.history(part, table) if seen not in found]
        # Nothing is there twice, but for truncates: they come once for each partition of the source.
        truncates = [seen for seen in found if seen.op == "t"] * (PARTITIONS - 1)
        assert len(found) + len(truncates) == sum(map(len, partitions.values()))
        return found + truncates

    section = {"engine": "kafka", "kafka": {"bootstrap.servers": bootstrap}, "topic": "{name}.copy.{table}"}
    more = {"message_format": "json-unformatted", "include_null_and_empty": True, "include_control_details": True}
    return section | more, read_records


def test_killed_appliers_write_each_change_once(
    document: dict[str, Any],
    s3_server: S3Server,
    kafka_server: KafkaAddress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three targets read the same topics, each by appliers that die at the same places."""
    assert document["topics"]["partitions"] == PARTITIONS
    targets = {
        "files": _files(tmp_path / "changes"),
        "s3": _s3(s3_server),
        "kafka": _kafka(kafka_server.bootstrap, document["name"]),
    }
    configs: list[Path] = []
    for name, (section, _) in targets.items():
        configs.append(tmp_path / f"{name}.json")
        configs[-1].write_text(json.dumps({**document, "targets": {name: section}}))
    chance = random.Random(11)
    rows: dict[int, tuple[Any, ...]] = {i: (i, "loaded", None) for i in range(500)}
    bag = 0
    # Before and after files are written, and when their offsets are committed: each dies there once.
    failpoints = ["apply.write.after", "apply.flush.before", "apply.flush.after", "apply.offsets.after"]
    with Publisher(parse({**document, "targets": {}})) as publisher:
        publisher.add(ORDERS, EVENTS)
        publisher.load(ORDERS, rows.values())
        for failpoint in failpoints:
            publisher.change(ORDERS, *change_orders(chance, rows, failpoint))
            publisher.change(EVENTS, *[("c", None, ("e", bag + n)) for n in range(20)])
            bag += 20
            monkeypatch.setenv(VARIABLE, failpoint)
            victims = [_start(config) for config in configs]
            publisher.change(ORDERS, *change_orders(chance, rows, failpoint))
            for config, victim in zip(configs, victims, strict=True):
                assert victim.wait(DEADLINE_S) == -signal.SIGKILL, _told(config)
                dismiss(kafka_server.bootstrap, apply_group(document["name"], config.stem))
        monkeypatch.delenv(VARIABLE)
        # Two of each share what is left, one of which ends when all is written.
        firsts = [_start(config) for config in configs]
        try:
            publisher.change(ORDERS, *change_orders(chance, rows, "two"))
            publisher.truncate(EVENTS)
            publisher.change(EVENTS, ("c", None, ("last", 0)))
            for config, last in [(config, _start(config, "now")) for config in configs]:
                assert last.wait(DEADLINE_S) == 0, _told(config)
        finally:
            for first in firsts:
                first.send_signal(signal.SIGTERM)
            codes = [first.wait(DEADLINE_S) for first in firsts]
    for config, code in zip(configs, codes, strict=True):
        assert code == 0, _told(config)
    for name, (_, read) in targets.items():
        history = read(ORDERS)
        assert len({seen.seq for seen in history}) == len(history), name
        assert set(folded(ORDERS, history)) == set(rows.values()), name
        events = read(EVENTS)
        # The truncate stands in every partition, under one commit sequence.
        inserted = [seen.values["weight"] for seen in sorted(events) if seen.op == "c"]
        assert inserted == [*range(bag), 0], name
        assert sum(seen.op == "t" for seen in events) == PARTITIONS, name


def _start(config: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return start(config, config.with_suffix(".log"), *arguments)


def _told(config: Path) -> str:
    return config.name + ": " + config.with_suffix(".log").read_text()[-4000:]

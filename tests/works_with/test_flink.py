"""Flink SQL runs the statements that `tailrace topics --ddl flink` prints, and its tables come to the source's rows."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deploy.local.java import find_java
from deploy.local.kafka import KafkaAddress
from deploy.local.maven import jars
from deploy.local.registry import RegistryServer
from tests.integration.services import Services
from tests.kit.servers import Database

pytestmark = pytest.mark.timeout(1800)

POM = Path(__file__).resolve().parents[2] / "deploy" / "flink" / "pom.xml"
LAUNCHER = Path(__file__).resolve().parent / "FlinkSql.java"
OPENED = ("java.util", "java.lang", "java.net", "java.io", "java.nio", "java.math", "java.text", "java.time")
"""Packages of Java's that Flink looks into."""

IN_AVRO = ("avro", "latest_avro")
TABLES = ("enveloped", "with_schema", "latest", *IN_AVRO)

COLUMNS = "`id`, `whole`, `small`, `yes`, `f8`, `note`, `ref`, `at`"
EXPECTED = "id, whole, small, yes, f8, note, ref, (extract(epoch from at) * 1000000)::bigint"
"""In JSON a decimal is base64, which Flink does not read as a number."""
BOUNDED = "/*+ OPTIONS('scan.bounded.mode' = 'latest-offset') */"


def test_flink_sql(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    registry_server: RegistryServer,
    source_database: Database,
    target_database: Database,
) -> None:
    source = source_database
    for table in TABLES:
        source.execute(
            f"""create table {table} (id bigint primary key, whole int, small smallint, yes boolean, f8 float8,
                note text, ref uuid, at timestamp, total numeric(12,2))""",
            f"alter table {table} replica identity full",
            f"""insert into {table} select n, n, n % 7, n % 2 = 0, n + 0.25, 'é😀 ' || n, md5(n::text)::uuid,
                '2024-01-02 03:04:05.678901'::timestamp + n * '1 h'::interval, n * 0.75 - 50
                from generate_series(1, 200) n""",
        )
    overrides = [
        {"tables": ["public.with_schema"], "format": "json-with-schema"},
        {"tables": ["public.latest*"], "shape": "row", "cleanup": "compact"},
        {"tables": ["public.avro", "public.latest_avro"], "format": "avro"},
    ]
    settings: dict[str, Any] = {
        "topics": {"format": "json", "overrides": overrides},
        "registry": {"url": registry_server.url},
    }
    with Services(tmp_path, replication, kafka_server, source, target_database, **settings) as services:
        services.start("capture")
        services.wait(lambda: services.status().get("phase") == "streaming", "the full load")
        for table in TABLES:
            source.execute(
                f"update {table} set note = 'other', whole = null where id <= 20",
                f"update {table} set id = id + 1000 where id between 50 and 60",
                f"delete from {table} where id between 70 and 80",
                f"insert into {table} (id) values (500)",
            )
        assert services.stop("capture") == 0
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == 0, services.log_tail("capture")
        printed = services.run("topics", "--ddl", "flink")
        assert printed.returncode == 0, printed.stderr
    (tmp_path / "tables.sql").write_text(printed.stdout)
    chosen = dict.fromkeys(IN_AVRO, (f"{COLUMNS}, `total`", f"{EXPECTED}, total"))
    columns = {table: chosen.get(table, (COLUMNS, EXPECTED)) for table in TABLES}
    queries = [f"select {columns[table][0]} from `public_{table}` {BOUNDED}" for table in TABLES]
    found = _run(tmp_path / "tables.sql", queries)
    for table, query in zip(TABLES, queries, strict=True):
        rows = source.rows(f"select {columns[table][1]} from {table}")
        assert found[query] == Counter("\t".join(map(_text, row)) for row in rows), table


def _run(statements: Path, queries: list[str]) -> dict[str, Counter[str]]:
    """Return what each query comes to in the end."""
    classes = jars("flink", POM, "Flink")
    opened = [word for package in OPENED for word in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")]
    command = [find_java(), "-Xmx768m", *opened, "-cp", f"{classes}/*", str(LAUNCHER), str(statements), *queries]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, Counter[str]] = {}
    rows: Counter[str] = Counter()
    for line in done.stdout.splitlines():
        if line.startswith("query "):
            rows = found.setdefault(line.removeprefix("query "), Counter())
        elif line[:2] in ("+I", "+U", "-U", "-D"):
            rows[line[3:]] += 1 if line[0] == "+" else -1
    return {query: +rows for query, rows in found.items()}


def _text(value: object) -> str:
    """Return a value as Java prints it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)

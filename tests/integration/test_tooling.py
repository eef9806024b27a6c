"""Every command and program that the documents print for topics is run, as it stands there, by the real tool."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from control.topics import SCRIPTS
from deploy.local.java import find_java
from deploy.local.kafka import TOOLS, KafkaAddress, kafka_jars, write_scripts
from schemas.topics import status_topic, transactions_topic
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import read_raw

PAGE = Path(__file__).resolve().parents[2] / "docs" / "topics.md"
ROWS = 20


def _program(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


def _tool(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_everything_that_the_documents_print_runs(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, source_database: Database, target_database: Database
) -> None:
    source, target = source_database, target_database
    source.execute(
        *(f"create table {table} (id bigint primary key, note text)" for table in ("avro", "json")),
        *(
            f"insert into {table} select n, 'note ' || n from generate_series(1, {ROWS}) n"
            for table in ("avro", "json")
        ),
    )
    topics = {"overrides": [{"tables": ["public.json"], "format": "json"}]}
    write_scripts(tmp_path / SCRIPTS)
    avro, json_ = f"{replication}.public.avro", f"{replication}.public.json"
    with Services(tmp_path, replication, kafka_server, source, target, topics=topics) as services:
        for service in ("capture", "apply"):
            services.start(service, "--stop-at", "now")
            assert services.join(service) == 0, services.log_tail(service)
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=60) == []
        verified = services.run("verify", "--table", "public.av*", "--tries", "8", "--wait", "120", "--json")
        assert (verified.returncode, len(json.loads(verified.stdout)["tables"])) == (0, 1), verified.stderr
        assert "-- target replica" in services.run("plan", "--cutover").stdout
        _watch(services, "capture")
        # Changes that are captured and not applied: the group's lag.
        source.execute("update avro set note = 'x' where id <= 7")
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == 0, services.log_tail("capture")

        said = {what: _run(services, command) for what, command in _commands(services)}
        lag = _lag(said["lag of target replica"], avro)
        assert 7 <= lag <= 7 + 3 * 4, "the records, and a marker of each transaction in each partition"
        assert _lag(said["lag of target replica"], json_) <= 4
        assert '"capture"' in said["state of all components"]
        assert len(said["changes of one table as JSON"].splitlines()) == ROWS
        assert '"schema"' in said["the Avro schemas"]
        read = services.run("debug read", json_)
        assert (read.returncode, len(read.stdout.splitlines())) == (0, ROWS), "a topic of another format than most"
        ddl = {engine: services.run("topics", "--ddl", engine).stdout for engine in ("flink", "ksql")}
        assert f"'topic' = '{avro}'" in ddl["flink"]
        assert f"KAFKA_TOPIC = '{json_}'" in ddl["ksql"]
        _spoil_topics(kafka_server, transactions_topic(replication), status_topic(replication))
        for place, code, remedy in _blocks(services):
            assert (place, code) == ("kafka", "topic-settings")
            # As the page says of the commands of `plan`: the tools are on the path.
            _tool("sh", "-ec", f"PATH={shlex.quote(str(tmp_path / SCRIPTS))}:$PATH\n{remedy}")
        assert _blocks(services) == []
        # Whether or not the server has come to analyse them.
        tables = json.loads(services.run("plan", "--json").stdout)["tables"]
        assert [table["rows_estimated"] for table in tables] == [ROWS, ROWS]

    (tmp_path / "read_topic.py").write_text(_program("python"))
    command = [sys.executable, str(tmp_path / "read_topic.py"), kafka_server.bootstrap, avro]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    assert len(done.stdout.splitlines()) == ROWS + 7
    assert "'note': 'x'" in done.stdout

    (tmp_path / "ReadTopic.java").write_text(_program("java"))
    command = [find_java(), "-cp", kafka_jars(), str(tmp_path / "ReadTopic.java"), kafka_server.bootstrap, json_]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert sorted(json.loads(line)["after"]["id"] for line in lines) == list(range(1, ROWS + 1))


def _watch(services: Services, words: str) -> None:
    """Let `status --watch` show itself on a terminal, as somebody who then interrupts it."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "control.cli", "status", str(services.configuration), "--watch"]
    # Where the tests themselves were started in the background, interrupts are ignored, by their children too.
    as_it_was = signal.signal(signal.SIGINT, signal.default_int_handler)
    watching = subprocess.Popen(command, stdout=theirs)
    signal.signal(signal.SIGINT, as_it_was)
    os.close(theirs)
    shown = b""
    while words.encode() not in shown:
        shown += os.read(ours, 4096)
    watching.send_signal(signal.SIGINT)
    assert watching.wait(60) == 0
    os.close(ours)


def _spoil_topics(kafka: KafkaAddress, first: str, second: str) -> None:
    """Give one topic another partition, and the other a clean-up that loses what is said on it."""
    admin = AdminClient(dict(kafka.settings))
    admin.create_partitions([NewPartitions(first, 2)])[first].result(60)
    entry = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, second, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(60)


def _blocks(services: Services) -> list[tuple[str, str, str]]:
    findings = json.loads(services.run("plan", "--json").stdout)["findings"]
    return [(f["place"], f["code"], f["remedy"]) for f in findings if f["severity"] == "blocks"]


def _commands(services: Services) -> list[tuple[str, str]]:
    report = json.loads(services.run("topics", "--json").stdout)
    return [(what, command) for what, command in report["commands"]]


def _run(services: Services, command: str) -> str:
    program, *words = shlex.split(command)
    if "debug" in words:
        name, sub, configuration, *rest = words[words.index("debug") :]
        assert Path(configuration).is_file()
        done = services.run(f"{name} {sub}", *rest)
        assert done.returncode == 0, done.stderr
        return done.stdout
    if Path(program).name == "kafka-console-consumer.sh":
        # Without a bound it goes on for ever, as it should.
        topic = words[words.index("--topic") + 1]
        bootstrap = words[words.index("--bootstrap-server") + 1]
        return _tool(program, *words, "--max-messages", str(sum(1 for _ in read_raw(bootstrap, [topic]))))
    if Path(program).name in TOOLS:
        return _tool(program, *words)
    assert program == "kcat", command
    if shutil.which(program) is None:
        pytest.skip("kcat is not installed; all else was run")
    ran = subprocess.run([program, *words], capture_output=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    # Keys in Avro are bytes, not text.
    return ran.stdout.decode(errors="replace")


def _lag(described: str, topic: str) -> int:
    """Return a topic's lag in what `kafka-consumer-groups --describe` prints."""
    lines = [line.split() for line in described.splitlines()]
    head = next(line for line in lines if "LAG" in line)
    return sum(int(line[head.index("LAG")]) for line in lines if topic in line and line[head.index("LAG")] != "-")

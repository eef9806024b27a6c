"""A real schema registry gives the ids: what it is asked, what it refuses, and what happens while it is out."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import fastavro
import httpx
import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.registry import RegistryServer
from runtime.registry import MEDIA_TYPE, Registry
from schemas.errors import ErrorKind, TailraceError
from schemas.topic_settings import RegistrySettings
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.gate import Gate
from tests.kit.servers import Database
from tests.kit.topics import data_topics, read_raw

BASIC = "Basic " + base64.b64encode(b"shop:secret").decode()


Connect = Callable[..., Registry]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A function that makes a client with some settings."""
    with contextlib.ExitStack() as stack:

        def make(**settings: object) -> Registry:
            return stack.enter_context(contextlib.closing(Registry(RegistrySettings.model_validate(settings))))

        yield make


def _schema(name: str, **fields: str) -> str:
    columns = [{"name": n, "type": ["null", t], "default": None} for n, t in fields.items()]
    return json.dumps({"type": "record", "name": "Key", "namespace": name, "fields": columns})


def _kind(registry: Registry, *arguments: str) -> ErrorKind:
    with pytest.raises(TailraceError) as caught:
        registry.identify(*arguments)
    assert "secret" not in str(caught.value)
    return caught.value.kind


def test_schemas_are_found_registered_or_refused_by_name(
    registry_server: RegistryServer, replication: str, connect: Connect
) -> None:
    topic, schema = f"{replication}.s.t", _schema(replication, a="long")
    url = registry_server.url
    strict = connect(url=url, auto_register=False)
    assert _kind(strict, topic, "key", schema) is ErrorKind.PREREQUISITE
    registry = connect(url=f"{url}/", compatibility="BACKWARD")
    first = registry.identify(topic, "key", schema)
    assert strict.identify(topic, "key", schema) == registry.identify(topic, "key", schema) == first
    assert json.loads(strict.text(first)) == json.loads(schema)
    assert registry.identify(topic, "key", _schema(replication, a="long", b="string")) != first
    with pytest.raises(TailraceError) as caught:
        registry.identify(topic, "key", _schema(replication, a="string", b="string"))
    assert caught.value.kind is ErrorKind.SOURCE_SCHEMA
    for words in (f"{topic}-key", "BACKWARD", "a was null or long and is null or string", "/config/"):
        assert words in str(caught.value)
    # Levels of the registry are left alone unless one is configured, and other subjects are others.
    for subjects, subject in (("record", f"{replication}.Key"), ("topic-record", f"{topic}-{replication}.Key")):
        connect(url=url, subjects=subjects).identify(topic, "key", schema)
        assert httpx.get(f"{url}/subjects/{subject}/versions").json() == [1]
        assert httpx.get(f"{url}/config/{subject}").json() == {"compatibilityLevel": "NONE"}
    with pytest.raises(TailraceError, match="no schema with the id") as missing:
        registry.text(2_000_000_000)
    assert missing.value.kind is ErrorKind.DECODE
    assert _kind(connect(url=f"{url}/nothing"), topic, "key", schema) is ErrorKind.CONFIGURATION


def test_logins_tls_and_outages_are_told_apart(
    registry_server: RegistryServer, replication: str, connect: Connect, servers_directory: Path
) -> None:
    call = (f"{replication}.s.t", "value", _schema(replication, a="long"))
    with Gate(registry_server.url, authorization=BASIC) as gate:
        assert _kind(connect(url=gate.url), *call) is ErrorKind.CONFIGURATION
        assert _kind(connect(url=gate.url, user="shop", password="wrong"), *call) is ErrorKind.CONFIGURATION
        right = connect(url=gate.url, user="shop", password="secret")
        schema_id = right.identify(*call)
        gate.is_down = True
        # What is known needs nobody.
        assert right.identify(*call) == schema_id
        assert _kind(right, *call[:2], _schema(replication, b="long")) is ErrorKind.TRANSPORT
        gate.is_down = False
        gate.authorization = "Bearer secret"
        assert connect(url=gate.url, token="secret").identify(*call) == schema_id
    assert _kind(connect(url=gate.url), *call) is ErrorKind.TRANSPORT
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make certificates with")
    files = {name: str(servers_directory / f"{replication}.{name}") for name in ("key", "pem")}
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = [openssl, *words, "-keyout", files["key"], "-out", files["pem"]]
    subprocess.run(made, check=True, capture_output=True)
    with Gate(registry_server.url, certificate=(files["pem"], files["key"])) as gate:
        assert connect(url=gate.url, tls={"ca": files["pem"]}).identify(*call) == schema_id
        assert _kind(connect(url=gate.url), *call) is ErrorKind.CONFIGURATION


def test_a_replication_lives_by_a_registry(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    registry_server: RegistryServer,
    source_database: Database,
    target_database: Database,
) -> None:
    source, target = source_database, target_database
    source.execute(
        "create table orders (id bigint primary key, note text)",
        "insert into orders select n, 'note ' || n from generate_series(1, 200) n",
    )

    def equal() -> None:
        assert wait_until_equal(source.dsn, target.dsn) == [], services.log_tail("capture")

    with (
        Gate(registry_server.url, authorization=BASIC) as gate,
        Services(tmp_path, replication, kafka_server, source, target) as services,
    ):
        services.start("apply")
        services.start("capture")
        equal()
        # Ids of our own making end where a registry begins.
        assert services.stop("capture") == 0
        document = json.loads(services.configuration.read_text())
        document["registry"] = {"url": gate.url, "user": "shop", "password": "secret", "compatibility": "BACKWARD"}
        services.configuration.write_text(json.dumps(document))
        services.start("capture")
        source.execute("insert into orders select n from generate_series(201, 300) n")
        equal()
        topic = f"{replication}.public.orders"
        assert _registered(kafka_server, registry_server, topic) == {None}
        read = services.run("debug read", topic, "--max", "1000")
        assert (read.returncode, len(read.stdout.splitlines())) == (0, 300), read.stderr

        # A new version waits for the registry, and loses nothing.
        gate.is_down = True
        source.execute("alter table orders add qty int", "insert into orders values (301, null, 1)")
        services.wait(lambda: gate.refused > 2, "the registry is asked again and again")
        services.wait(lambda: services.said("capture", "the schema registry"), "capture says so")
        gate.is_down = False
        equal()

        # What is registered needs no registry, not even at a start.
        gate.is_down, gate.refused = True, 0
        services.crash("capture")
        source.execute("update orders set qty = 7 where id < 10")
        equal()
        assert gate.refused == 0
        gate.is_down = False

        # A change that the level does not allow stops capture, which says what and where, until it is allowed.
        source.execute("alter table orders alter qty type text", "update orders set qty = 'many' where id = 1")
        assert services.join("capture") == 3
        for words in (f"{topic}-value", "BACKWARD", "qty was null or", "nothing is lost"):
            assert services.said("capture", words), services.log_tail("capture")
        level = httpx.put(
            f"{registry_server.url}/config/{topic}-value",
            content=b'{"compatibility": "NONE"}',
            headers={"Content-Type": MEDIA_TYPE},
        )
        assert level.is_success
        document["registry"]["compatibility"] = "NONE"
        services.configuration.write_text(json.dumps(document))
        services.start("capture")
        equal()
        assert services.stop("capture") == services.stop("apply") == 0
    assert not any(
        topic in (key or b"").decode() and json.loads(value or b"{}").get("version", 1) > 1
        for _, _, _, key, value in read_raw(kafka_server.bootstrap, ["_schemas"])
    )


def _registered(kafka: KafkaAddress, registry: RegistryServer, topic: str) -> set[str | None]:
    """Return the notes in a topic, read as anybody would who has a registry; other ids are passed over."""
    notes = set()
    assert topic in data_topics(kafka.bootstrap, topic.partition(".")[0])
    schemas: dict[int, object] = {}
    for _, _, _, _, value in read_raw(kafka.bootstrap, [topic]):
        assert value is not None
        schema_id = int.from_bytes(value[1:5], "big")
        if schema_id not in schemas:
            answer = httpx.get(f"{registry.url}/schemas/ids/{schema_id}")
            schemas[schema_id] = (
                fastavro.parse_schema(json.loads(answer.json()["schema"])) if answer.is_success else None
            )
        if schemas[schema_id] is not None:
            read = fastavro.schemaless_reader(io.BytesIO(value[5:]), schemas[schema_id], None)  # type: ignore[arg-type]
            notes.add(read["after"]["note"])  # type: ignore[index,call-overload]
    return notes

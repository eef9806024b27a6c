"""A real OpenSearch behind a gate that checks who asks, as the service does: who may is served, others are told why."""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from apply.sink import Arrival, Sink, TableBatch
from apply.sinks.opensearch.client import Client
from apply.sinks.opensearch.reader import OpensearchReader
from apply.sinks.opensearch.sink import OpensearchSink
from apply.sinks.opensearch.streams import DataStreamSink
from deploy.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from deploy.local.opensearch import OpensearchServer
from deploy.local.signatures import Key, SignatureChecker
from schemas.changes import UNCHANGED
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName
from tests.conformance.changes import Giver
from tests.conformance.sink_suite import ORDERS, ORDERS_2, P0
from tests.integration.opensearch_sink.test_conformance import sectioned
from tests.kit.gate import Gate
from tests.kit.roles import TokenService

pytestmark = pytest.mark.integration

ROLE = "arn:aws:iam::123456789012:role/search"
USER, PASSWORD = "shöp", "pass:wörd €"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
AWS = {"authentication": "aws", "region": REGION}
SIGNED = {**AWS, "access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY}
SERVERLESS = {**SIGNED, "service": "aoss"}
LOGIN = {"authentication": "basic", "user": USER, "password": PASSWORD}
ODD = replace(ORDERS, name=TableName("public", "Ördérs 100%~'(a)=b&c;+d!"))
"""An index's name whose characters are escaped in a path, or not, by one rule or another."""


@pytest.fixture
def prefix(opensearch_server: OpensearchServer) -> Iterator[str]:
    made = f"t{secrets.token_hex(5)}"
    yield made
    for path in ("_data_stream/{}-*", "_index_template/tailrace-{}-*", "{}-*"):
        answer = httpx.delete(f"{opensearch_server.url}/{path.format(made)}", timeout=60)
        assert answer.status_code in (200, 404)


@pytest.fixture(autouse=True)
def _only_what_a_test_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


def signed(server: OpensearchServer, service: str = "es", keys: dict[str, Key] | None = None) -> Gate:
    return Gate(server.url, signatures=SignatureChecker(service, keys, names_payload=service == "aoss"))


def write(sink: Sink, giver: Giver, batch: TableBatch) -> None:
    assert sink.apply(giver.given(batch, sink.capabilities)) == []


@pytest.mark.parametrize("index_kind", ["index", "data-stream"])
@pytest.mark.parametrize("login", [SIGNED, SERVERLESS, LOGIN], ids=["es", "aoss", "basic"])
def test_rows_are_loaded_changed_and_read_back(
    opensearch_server: OpensearchServer, prefix: str, login: dict[str, Any], index_kind: str
) -> None:
    gates = {"aws": lambda: signed(opensearch_server, login.get("service", "es"))}
    gate = gates.get(login["authentication"], lambda: Gate(opensearch_server.url, authorization=BASIC))()
    with gate:
        section = sectioned(gate.url, prefix, index_kind=index_kind, **login)
        history = index_kind == "data-stream"
        sink = DataStreamSink(section) if history else OpensearchSink("shop", "search", section)
        giver, later = Giver(), replace(ORDERS_2, name=ODD.name)
        with closing(sink), closing(OpensearchReader(section)) as reader:
            sink.prepare(ODD)
            sink.load_offsets([P0])
            assert isinstance(sink, DataStreamSink) or sink.is_empty(ODD)
            many = [(n, f"é{n}" * 40, None) for n in range(3, 3000)]
            write(sink, giver, TableBatch(ODD, upserts=[(1, "a", True), (2, "b", None), *many], fresh=True))
            sink.prepare(later)
            write(
                sink, giver, TableBatch(later, updates=[(1, UNCHANGED, "n")], deletes=[(2,), *((r[0],) for r in many)])
            )
            sink.flush()
            assert list(reader.rows(later)) == [(1, True, "n")]
            if not isinstance(sink, DataStreamSink):
                assert sink.arrive("shop.public.orders/7", P0, 1) is Arrival.READY
                sink.truncate([later])
                sink.pass_barrier("shop.public.orders/7")
                assert list(reader.rows(later)) == []
                sink.drop(later)
        assert {"POST /_search/scroll", "DELETE /_search/scroll"} <= set(gate.passed)
        assert any("%25~" in request for request in gate.passed)
        assert any(request.startswith("POST /_bulk?filter_path=errors%2Citems.%2A") for request in gate.passed)


def refused(gate: Gate, *quoted: str, **login: Any) -> TailraceError:
    """Return what a request comes to that is not taken, after a look at what is told of it."""
    section = sectioned(gate.url, "t", **login)
    messages: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda record: messages.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        with closing(Client(section)) as client, pytest.raises(TailraceError) as caught:
            client.request("GET", "/")
    finally:
        logging.getLogger().removeHandler(handler)
    assert gate.passed == []
    for secret in (*quoted, PASSWORD, SECRET_ACCESS_KEY, BASIC, "Canonical"):
        assert not any(secret in text for text in (str(caught.value), *messages))
    return caught.value


@pytest.mark.parametrize(
    ("wrong", "reason", "remedy"),
    [
        ({"secret_access_key": "wrong-secret"}, "the signature is wrong", "`secret_access_key`"),
        ({"access_key_id": "another"}, "the access key is not known", "`access_key_id`"),
        ({"region": "eu-west-1"}, "another region or service", "`region`"),
        ({"service": "aoss"}, "another region or service", "`service`"),
        ({"authentication": "none"}, "refuses (status 403)", "`tailrace plan`"),
    ],
)
def test_who_signs_otherwise_is_told_why(
    opensearch_server: OpensearchServer, wrong: dict[str, Any], reason: str, remedy: str
) -> None:
    with signed(opensearch_server) as gate:
        error = refused(gate, "wrong-secret", **{**SIGNED, **wrong})
    assert error.kind is ErrorKind.PREREQUISITE
    assert reason in error.message
    assert remedy in str(error.remedy)


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_wrong_clock_is_told(opensearch_server: OpensearchServer, minutes: int) -> None:
    with signed(opensearch_server) as gate:
        assert gate.signatures is not None
        gate.signatures.ahead = timedelta(minutes=minutes)
        error = refused(gate, **SIGNED)
    assert (error.kind, "clock is wrong" in error.message) == (ErrorKind.PREREQUISITE, True)


@pytest.mark.parametrize("wrong", [{"password": "pass:word"}, {"user": "shop"}, {"authentication": "none"}])
def test_a_wrong_password_is_told(opensearch_server: OpensearchServer, wrong: dict[str, Any]) -> None:
    with Gate(opensearch_server.url, authorization=BASIC) as gate:
        error = refused(gate, "pass:word", **{**LOGIN, **wrong})
    assert (error.kind, "`password`" in str(error.remedy)) == (ErrorKind.PREREQUISITE, True)


def test_a_session_has_its_token_and_ends(opensearch_server: OpensearchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"ASIA1": Key("session-secret", "session-token")}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "session-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token")
    with signed(opensearch_server, keys=keys) as gate:
        with closing(Client(sectioned(gate.url, "t", **AWS))) as client:
            assert client.request("GET", "/")["version"]
        gate.passed.clear()
        keys["ASIA1"] = Key("session-secret", "session-token", datetime.now(UTC) - timedelta(seconds=1))
        expired = refused(gate, "session-secret", "session-token", **AWS)
        keys["ASIA1"] = Key("other", "session-token")
        mismatched = refused(gate, "session-secret", "session-token", **AWS)
        monkeypatch.delenv("AWS_SESSION_TOKEN")
        unknown = refused(gate, "session-secret", "session-token", **AWS)
    for error, reason in ((expired, "session has expired"), (mismatched, "is wrong"), (unknown, "is not known")):
        assert (error.kind, reason in error.message) == (ErrorKind.PREREQUISITE, True)


def assuming(gate: Gate, prefix: str, **more: Any) -> OpensearchTarget:
    return sectioned(gate.url, prefix, **SIGNED, service_access_role_arn=ROLE, **more)


def test_credentials_of_a_role_are_renewed_in_the_midst(
    opensearch_server: OpensearchServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, Key] = {}
    with signed(opensearch_server, keys=keys) as gate:
        assert gate.signatures is not None
        with TokenService(ROLE, gate.signatures) as tokens:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.url)
            giver, section = Giver(), assuming(gate, prefix)
            with closing(OpensearchSink("shop", "search", section)) as sink:
                # Less than the library's margin: each look renews them.
                tokens.lifetime = timedelta(minutes=1)
                sink.prepare(ORDERS)
                first = len(tokens.given)
                assert first > 1
                tokens.lifetime = timedelta(hours=1)
                keys.clear()
                write(sink, giver, TableBatch(ORDERS, upserts=[(1, "a", True)]))
                assert len(tokens.given) == first + 1
                write(sink, giver, TableBatch(ORDERS, upserts=[(2, "b", None)]))
                assert len(tokens.given) == first + 1
            with closing(OpensearchReader(section)) as reader:
                assert {row[0] for row in reader.rows(ORDERS)} == {1, 2}
            assert len(tokens.given) == first + 2


def test_a_role_that_may_not_be_assumed_is_told(
    opensearch_server: OpensearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with signed(opensearch_server) as gate, TokenService("arn:aws:iam::1:role/other", SignatureChecker("es")) as tokens:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.url)
        role = {"service_access_role_arn": ROLE}
        error = refused(gate, **SIGNED, **role)
        assert (error.kind, "AccessDenied" in error.message) == (ErrorKind.PREREQUISITE, True)
        assert refused(gate, **{**SIGNED, **role, "secret_access_key": "x"}).kind is ErrorKind.PREREQUISITE
        assert refused(gate, **AWS, **role).kind is ErrorKind.CONFIGURATION
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        assert refused(gate, **AWS).kind is ErrorKind.CONFIGURATION


def test_a_blocked_index_is_waited_for(opensearch_server: OpensearchServer, prefix: str) -> None:
    """Amazon OpenSearch Service blocks writes while its disks are full: no row is to blame."""
    section = sectioned(opensearch_server.url, prefix)
    giver, batch = Giver(), TableBatch(ORDERS, upserts=[(1, "a", True)])
    with closing(OpensearchSink("shop", "search", section)) as sink:
        sink.prepare(ORDERS)
        settings = f"{opensearch_server.url}/{prefix}-{ORDERS.name}/_settings"
        httpx.put(settings, json={"index.blocks.write": True}, timeout=60).raise_for_status()
        with pytest.raises(TailraceError) as caught:
            sink.apply(giver.given(batch, sink.capabilities))
        assert caught.value.kind is ErrorKind.TARGET_THROTTLED
        httpx.put(settings, json={"index.blocks.write": False}, timeout=60).raise_for_status()
        write(sink, giver, batch)

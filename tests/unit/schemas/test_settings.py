"""The settings' models: defaults, refusals with hints, and that nothing secret is ever printed."""

from __future__ import annotations

import copy
import json
import re
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.endpoints.engines import TARGET_ENGINES, PluginSource, PluginTarget
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.endpoints.redshift import RedshiftTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.policies import DdlPolicies, DdlPolicy, TruncatePolicy
from schemas.reference import json_schema, markdown, meanings, sections
from schemas.routing import route
from schemas.settings import Mode, Settings, parse
from schemas.table import TableName
from schemas.topic_settings import Cleanup, TopicSettings

MINIMAL: dict[str, Any] = {
    "name": "shop",
    "kafka": {"bootstrap.servers": "127.0.0.1:9092"},
    "source": {"database": "shop", "user": "capture", "tables": ["public.*"]},
}


def document(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(MINIMAL), **changes}


def problems(bad: Any) -> list[str]:
    with pytest.raises(TailraceError) as caught:
        parse(bad)
    assert caught.value.kind is ErrorKind.CONFIGURATION
    return [line.strip() for line in caught.value.message.splitlines()[1:]]


def test_a_minimal_configuration_gets_the_defaults() -> None:
    settings = parse(MINIMAL)
    assert settings.mode is Mode.FULL_LOAD_AND_CDC
    assert settings.topics.format is Format.AVRO
    assert settings.ddl == DdlPolicies()
    assert settings.targets == {}
    assert (settings.slot, settings.publication) == ("tailrace_shop", "tailrace_shop")
    assert isinstance(settings.source, PostgresqlSource)
    assert settings.source.conninfo() == {
        "host": "127.0.0.1",
        "port": "5432",
        "dbname": "shop",
        "user": "capture",
        "sslmode": "prefer",
        "connect_timeout": "10",
    }


def test_connection_parameters_are_libpqs() -> None:
    source = {
        **MINIMAL["source"],
        "password": "p",
        "tls": {"mode": "verify-full", "ca": "/ca.pem", "cert": "/c.pem", "key": "/k.pem", "key_password": "q"},
        "parameters": {"channel_binding": "require"},
    }
    section = parse(document(source=source)).source
    assert isinstance(section, PostgresqlSource)
    conninfo = section.conninfo()
    assert conninfo["password"] == "p"
    assert {name: value for name, value in conninfo.items() if name.startswith("ssl")} == {
        "sslmode": "verify-full",
        "sslrootcert": "/ca.pem",
        "sslcert": "/c.pem",
        "sslkey": "/k.pem",
        "sslpassword": "q",
    }
    assert conninfo["channel_binding"] == "require"


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ({}, {"sslmode": "verify-full", "sslrootcert": "system"}),
        ({"ca": "/ca.pem"}, {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}),
        ({"tls": "require"}, {"sslmode": "require"}),
    ],
)
def test_redshift_is_reached_as_postgresql_is_but_for_the_authorities(
    tls: dict[str, str], expected: dict[str, str]
) -> None:
    base = {"engine": "redshift", "host": "h", "database": "d", "user": "u", "password": "p", "bucket_name": "bucket"}
    target = parse(document(targets={"r": base | tls})).target("r")
    assert isinstance(target, RedshiftTarget)
    reached = {"host": "h", "port": "5439", "dbname": "d", "user": "u", "password": "p", "connect_timeout": "10"}
    assert target.conninfo() == reached | expected


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tragets": {}}, "tragets: unknown setting; did you mean targets?"),
        ({"source": {**MINIMAL["source"], "tabels": []}}, "source.tabels: unknown setting; did you mean tables?"),
        (
            {"source": {**MINIMAL["source"], "tls": {"moode": 1}}},
            "source.tls.moode: unknown setting; did you mean mode?",
        ),
        (
            {"targets": {"r": {"database": "d", "user": "u", "pasword": "x"}}},
            "targets.r.pasword: unknown setting; did you mean password?",
        ),
        (
            {"topics": {"xyz": 1}},
            f"topics.xyz: unknown setting; known: {', '.join(TopicSettings.model_fields)}",
        ),
        ({"mode": "cdd"}, "mode: should be 'full-load-and-cdc', 'full-load' or 'cdc'"),
        ({"kafka": {}}, "kafka: bootstrap.servers is missing"),
        (
            {"kafka": {"bootstrap.servers": "b", "isolation.level": "read_uncommitted"}},
            "kafka: isolation.level is set by Tailrace: exactly-once delivery rests on it",
        ),
        ({"source": {"database": "d", "user": "u"}}, "source.tables: is required"),
        (
            {"source": {**MINIMAL["source"], "engine": "postgres"}},
            "source: the engine is none of ours (postgresql, mysql, debezium); did you mean postgresql?",
        ),
        (
            {"targets": {"r": {"engine": "kafka-streams", "host": "h"}}},
            (
                f"targets.r: the engine is none of ours ({', '.join(TARGET_ENGINES)}); "
                "what a plug-in needs stands under `options`"
            ),
        ),
        ({"source": {"engine": "sheets", "tables": ["a.b"]}}, "source.database: is required"),
        (
            {"source": {**MINIMAL["source"], "tables": ["orders"]}},
            "source.tables: 'orders' is not of the form schema.table",
        ),
        (
            {"source": {**MINIMAL["source"], "tables": ["!a.b"]}},
            "source.tables: all patterns exclude; name what to include first",
        ),
        ({"capture": {"chunk_rows": 0}}, "capture.chunk_rows: should be greater than or equal to 100"),
        ({"start_position": "now"}, "the document: start_position belongs to mode cdc; a full load decides its own"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_path_and_a_hint(changes: dict[str, Any], line: str) -> None:
    assert problems(document(**changes)) == [line]


def test_all_problems_are_reported_at_once() -> None:
    assert len(problems({"name": "a b", "kafka": {}, "source": {"hots": 1}, "mode": "x", "nmae": 1})) >= 6


@pytest.mark.parametrize("bad", [None, [], "text", 3])
def test_a_document_that_is_no_mapping_is_refused(bad: Any) -> None:
    with pytest.raises(TailraceError, match="mapping of settings"):
        parse(bad)


def test_no_error_and_no_print_shows_a_secret() -> None:
    secret = "hunter2-hunter2"
    source = {**MINIMAL["source"], "password": secret, "tls": {"key_password": secret}}
    kafka = {"bootstrap.servers": "b", "sasl.password": secret}
    good = parse(document(source=source, kafka=kafka))
    assert secret not in repr(good)
    assert secret not in str(good)
    for bad in (
        document(source={**source, "password": {"value": secret}}),
        document(source=source, kafka={**kafka, "sasl.password": [secret]}),
        document(source={**source, "port": secret}),
        document(targets={"r": {"database": "d", "user": "u", "password": [secret]}}),
    ):
        with pytest.raises(TailraceError) as caught:
            parse(bad)
        assert secret not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


@given(st.text(max_size=80))
def test_any_replication_name_is_refused_or_leads_to_a_valid_slot(name: str) -> None:
    try:
        settings = parse(document(name=name))
    except TailraceError:
        return
    assert re.fullmatch(r"[a-z0-9_]{1,63}", settings.slot)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*Settings.model_fields, "tables", "x"]) | st.text(max_size=5), inner, max_size=5
            )
        ),
        max_leaves=12,
    )
)
def test_no_document_leads_to_any_other_error(anything: Any) -> None:
    try:
        parse(anything)
    except TailraceError as error:
        assert error.kind is ErrorKind.CONFIGURATION  # noqa: PT017 - any other exception fails the test as it is


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ({}, False),
        ({"cleanup": "compact"}, True),
        ({"cleanup": "compact", "tombstones": False}, False),
        ({"tombstones": True}, True),
    ],
)
def test_tombstones_follow_the_cleanup_unless_said(topics: dict[str, Any], expected: bool) -> None:
    assert route(parse(document(topics=topics)), TableName("public", "t")).tombstones is expected


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ({}, False),
        ({"cleanup": "compact"}, True),
        ({"config": {"cleanup.policy": "compact,delete"}}, True),
        ({"cleanup": "compact", "overrides": [{"tables": ["public.*"], "cleanup": "delete"}]}, False),
    ],
)
def test_a_topic_is_known_to_be_compacted(topics: dict[str, Any], expected: bool) -> None:
    assert route(parse(document(topics=topics)), TableName("public", "t")).is_compacted is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, True), ({"mode": "cdc"}, False), ({"loopback_prevention": True}, False)],
)
def test_values_of_an_earlier_type_are_left_out_only_if_their_rows_come_again(
    changes: dict[str, Any], expected: bool
) -> None:
    """A side that an applier altered after the other one is not loaded again: its rows on the way are all there is."""
    assert parse(document(**changes)).rewritten_rows_come_again is expected


def test_an_unknown_target_is_refused_with_the_known_ones() -> None:
    target = {"database": "d", "user": "u"}
    settings = parse(document(targets={"b": target, "a": target}))
    assert settings.target("a").place == "127.0.0.1:5432"
    with pytest.raises(TailraceError, match="no target 'c'; known: a, b"):
        settings.target("c")


def test_a_start_position_may_be_a_time_with_a_zone() -> None:
    yaml_time = datetime(2026, 11, 29, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    for time in (yaml_time, "2026-11-29T13:00:00.000005+01:00", "2026-11-29 12:00:00.000005Z"):
        assert parse(document(mode="cdc", start_position=time)).start_time_us == 1_795_953_600_000_005
    assert parse(document(mode="cdc", start_position="0/16B3748")).start_time_us is None
    texts = ("2026-11-29", "2026-11-29T12:00:00", "2026-13-29T12:00:00Z", "2026-11-29x", "2026-11-29T12:00:00Zx")
    for bad in (date(2026, 11, 29), *texts):
        assert problems(document(mode="cdc", start_position=bad)) == [
            "start_position: a time is written like 2026-11-29T12:00:00Z, with its zone"
        ]


def test_an_engine_of_a_plugin_has_options_that_only_the_plugin_reads() -> None:
    section = {"engine": "sheets", "options": {"path": "x", "token": "hunter2"}}
    settings = parse(document(source={**section, "database": "d", "tables": ["a.*"]}, targets={"t": section}))
    assert isinstance(settings.source, PluginSource)
    assert isinstance(settings.target("t"), PluginTarget)
    assert settings.source.options == section["options"]
    assert "hunter2" not in repr(settings)
    page = markdown()
    assert "## `source` with `engine: postgresql`" in page
    assert "## `source` of a plug-in" in page


def test_every_setting_is_documented() -> None:
    page = markdown()
    for path, model in sections():
        assert (model.__doc__ or "").strip(), path
        for name in model.model_fields:
            assert meanings(model).get(name), f"{path}.{name}"
            assert f"| `{name}` |" in page
    assert "## `targets.<name>.tls`" in page
    (line,) = (line for line in page.splitlines() if line.startswith("| `chunk_rows`"))
    assert line.startswith("| `chunk_rows` | integer, 100 to 100000000 | `100000` | Rows of one chunk of a full load")


def test_the_json_schema_is_json_and_refuses_unknown_keys() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "kafka", "source"]
    assert all(d.get("additionalProperties") is False for d in schema["$defs"].values() if d["type"] == "object")
    assert schema["properties"]["name"]["description"]
    assert Cleanup.COMPACT in schema["$defs"]["Cleanup"]["enum"]


def test_schema_changes_have_a_policy_by_kind_or_one_word() -> None:
    assert parse(document(ddl="suspend")).ddl == DdlPolicies(altered=DdlPolicy.SUSPEND, dropped=DdlPolicy.SUSPEND)
    assert parse(document(ddl={"truncated": "stop"})).ddl == DdlPolicies(truncated=TruncatePolicy.STOP)
    (problem,) = problems(document(ddl={"truncated": "suspend"}))
    assert problem.startswith("ddl.truncated: should be 'apply', 'ignore' or 'stop'")

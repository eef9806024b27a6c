"""Endpoint settings of AWS DMS: none that its API has is unknown, and each does what the table says."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.endpoint_settings.document import findings
from schemas.endpoint_settings.endpoint import Role
from schemas.endpoint_settings.keys import EndpointKey
from schemas.endpoint_settings.table import GROUPS, SOURCES, groups
from schemas.endpoints.engines import AnySource, AnyTarget
from schemas.task_settings.keys import Standing

ADAPTERS: dict[Role, TypeAdapter[Any]] = {Role.TARGET: TypeAdapter(AnyTarget), Role.SOURCE: TypeAdapter(AnySource)}
TARGET = ADAPTERS[Role.TARGET]
DMS = botocore.session.get_session().get_service_model("dms")

SECTIONS: dict[str, dict[str, Any]] = {
    "docdb": {},
    "dynamodb": {},
    "kafka": {"kafka": {"bootstrap.servers": "127.0.0.1:9"}},
    "kinesis": {"stream_arn": "arn:aws:kinesis:eu-west-1:123456789012:stream/shop"},
    "mysql": {"user": "u"},
    "neptune": {"url": "https://graph.example:8182"},
    "opensearch": {"url": "https://search.example"},
    "postgresql": {"user": "u", "database": "d"},
    "redshift": {"host": "h", "database": "d", "user": "u", "bucket_name": "bucket"},
    "s3": {"bucket_name": "bucket"},
}
"""The least that a section of each engine says."""

VALUES: dict[str, Any] = {
    "StreamArn": "arn:aws:kinesis:eu-west-1:123456789012:stream/other",
    "CsvRowDelimiter": "\\r\\n",
    "CsvDelimiter": "|",
    "ExpectedBucketOwner": "123456789012",
    "DatePartitionTimezone": "Europe/Berlin",
    "EndpointUri": "other.example",
    "ServiceAccessRoleArn": "arn:aws:iam::123456789012:role/dms",
    "MessageMaxBytes": 2_000_000,
    "ConnectionTimeout": 20,
    "LoadTimeout": 60_000,
    "SlotName": "dms_slot",
    "SslMode": "verify-ca",
    "ConnectionTimeout of redshift": 20_000,
    "AfterConnectScript of postgresql": "SET session_replication_role='replica'",
    "AfterConnectScript of mysql": "SET FOREIGN_KEY_CHECKS=0;",
    "Initstmt of mysql": "SET FOREIGN_KEY_CHECKS=0",
}
"""Of settings that do not take just any text or number."""

ENDPOINTS = [(Role.TARGET, engine) for engine in sorted(GROUPS)] + [(Role.SOURCE, engine) for engine in sorted(SOURCES)]

ALONG: dict[str, dict[str, Any]] = {
    "GlueCatalogGeneration": {"data_format": "parquet"},
    "PreserveTransactions": {"cdc_path": "changes"},
    "S3BucketName": {"load_role_arn": "arn:aws:iam::123456789012:role/load"},
    "S3BucketFolder": {"s3_bucket_name": "graph", "load_role_arn": "arn:aws:iam::123456789012:role/load"},
}
"""What settings need beside them."""


SOURCE = {"user": "u", "database": "d", "tables": ["public.*"]}


def section(engine: str, role: Role = Role.TARGET, **more: Any) -> Any:
    least = SECTIONS[engine] if role is Role.TARGET else SOURCE
    return ADAPTERS[role].validate_python({"engine": engine, **least, **more})


def values(role: Role, engine: str, key: EndpointKey) -> list[Any]:
    """Return values that DMS takes for a setting: all of its list, if it has one."""
    for name in (f"{key.name} of {engine}", key.name):
        if name in VALUES:
            return [VALUES[name]]
    shape = DMS.shape_for(groups(role)[engine].name).members.get(key.name)
    if getattr(shape, "enum", None):
        # As the API has them, and as the guide writes many.
        return [form for word in shape.enum for form in (word, word.upper().replace("-", "_"))]
    kinds: dict[str, list[Any]] = {"boolean": [True, False, "y", "false"], "integer": [60, "60"], "string": ["other"]}
    return kinds[shape.type_name if shape is not None else "string"]


@pytest.mark.parametrize(("role", "engine"), ENDPOINTS)
def test_no_setting_of_the_api_is_unknown(role: Role, engine: str) -> None:
    group = groups(role)[engine]
    assert group.keys.keys() == DMS.shape_for(group.name).members.keys()
    assert not {name.lower() for name in group.beside} & {name.lower() for name in group.keys}


@pytest.mark.parametrize(("role", "engine"), ENDPOINTS)
def test_each_setting_does_what_the_table_says(role: Role, engine: str) -> None:
    for key in groups(role)[engine].all():
        for value in values(role, engine, key):
            # As documents have it, and as extra connection attributes do.
            for name in (key.name, key.name[0].lower() + key.name[1:]):
                if key.refuses(value):
                    with pytest.raises(ValidationError) as caught:
                        section(engine, role, endpoint_settings={name: value}, user="")
                    assert f"{key.name}: not supported with this value: {key.here}" in str(caught.value)
                else:
                    check(role, engine, key, name, value)


def check(role: Role, engine: str, key: EndpointKey, name: str, value: Any) -> None:
    """See that a value that is taken becomes a setting of ours that takes it, and is told where it should be."""
    own, _, inner = key.ours.partition(".")
    # What the section says itself would stand.
    sections = SECTIONS[engine] if role is Role.TARGET else SOURCE
    least = {name: said for name, said in sections.items() if name != own or inner}
    found = ADAPTERS[role].validate_python(
        {"engine": engine, **least, **ALONG.get(key.name, {}), "endpoint_settings": {name: value}}
    )
    assert found.endpoint_settings == {key.name: str(key.standing)}
    assert bool(key.ours) == (key.standing is Standing.HONOURED)
    if key.sets is not None:
        assert own in type(found).model_fields
        default = getattr(section(engine, role), own)
        is_default = {"y": "true"}.get(value, str(value)).lower().replace("_", "-") == str(default).lower()
        assert getattr(found, own) != default or is_default or inner == "bootstrap.servers", key.name
    told = findings(found.endpoint_settings, engine, role)
    assert len(told) == (key.standing in {Standing.DIFFERENTLY, Standing.MEANINGLESS})


def test_a_document_and_what_the_section_says_itself() -> None:
    document = {"S3Settings": {"BucketName": "lake", "CompressionType": "GZIP", "CsvRowDelimiter": "\\n"}}
    target = TARGET.validate_python(
        {"engine": "s3", "compression_type": "none", "endpoint_settings": json.dumps(document)}
    )
    assert (target.bucket_name, target.compression_type, target.csv_row_delimiter) == ("lake", "none", "\n")
    kafka = section(
        "kafka", endpoint_settings={"Broker": "other:9", "SecurityProtocol": "SASL_SSL", "SaslPassword": "s3"}
    )
    assert kafka.kafka["bootstrap.servers"] == "127.0.0.1:9"
    assert kafka.kafka["security.protocol"] == "sasl_ssl"
    assert "s3" not in repr(kafka)


@pytest.mark.parametrize(
    ("engine", "more", "said"),
    [
        ("s3", {"endpoint_settings": {"BucketNam": "x"}}, "BucketNam: unknown setting; did you mean BucketName?"),
        ("s3", {"rfc4180": False}, "rfc4180: refused"),
        ("s3", {"Rfc4180": False}, "Rfc4180: refused"),
        (
            "redshift",
            {"endpoint_settings": {"Port": None, "ConnectionTimeout": "soon"}},
            "ConnectionTimeout: is no value",
        ),
        ("redshift", {"endpoint_settings": '{"LoadTimeout": 1e999}'}, "LoadTimeout: is no value"),
        ("s3", {"endpoint_settings": "{"}, "is no JSON"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_name(engine: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        section(engine, **more)
    assert said in str(caught.value)


DEFAULTS: dict[str, dict[str, Any]] = {
    "mysql": {"TargetDbType": "specific-database", "DatabaseName": "d"},
    "redshift": {"CompUpdate": True, "ReplaceChars": "?", "MapBooleanAsBoolean": False, "DateFormat": "YYYY-MM-DD"},
    "s3": {"Rfc4180": True, "AddTrailingPaddingCharacter": False},
}
"""What DMS takes unless it is told something, of settings that are not honoured."""


@pytest.mark.parametrize("engine", sorted(DEFAULTS))
def test_a_document_that_states_defaults_of_dms_is_taken(engine: str) -> None:
    assert section(engine, endpoint_settings=DEFAULTS[engine]).endpoint_settings.keys() == DEFAULTS[engine].keys()


def test_targets_that_dms_has_not_take_no_such_document() -> None:
    with pytest.raises(ValidationError, match="no such target"):
        TARGET.validate_python({"engine": "stdout", "endpoint_settings": {}})
    with pytest.raises(ValidationError, match="no such target"):
        TARGET.validate_python({"engine": "of_a_plug_in", "endpoint_settings": {}})
    assert set(GROUPS) <= set(SECTIONS)


def test_a_limit_below_a_second_stays_a_limit() -> None:
    assert section("redshift", endpoint_settings={"LoadTimeout": 400}).statement_timeout_s == 1
    assert section("redshift", endpoint_settings={"LoadTimeout": 0}).statement_timeout_s == 0

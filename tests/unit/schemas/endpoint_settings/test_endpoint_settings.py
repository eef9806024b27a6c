"""Endpoint settings of AWS DMS: none that its API has is unknown, and each does what the table says."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.endpoint_settings.document import findings
from schemas.endpoint_settings.keys import EndpointKey
from schemas.endpoint_settings.table import GROUPS
from schemas.endpoints import AnyTarget
from schemas.task_settings.keys import Standing

TARGET: TypeAdapter[Any] = TypeAdapter(AnyTarget)
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
    "ConnectionTimeout": 20_000,
    "LoadTimeout": 60_000,
}
"""Of settings that do not take just any text or number."""

ALONG: dict[str, dict[str, Any]] = {
    "GlueCatalogGeneration": {"data_format": "parquet"},
    "PreserveTransactions": {"cdc_path": "changes"},
    "S3BucketName": {"load_role_arn": "arn:aws:iam::123456789012:role/load"},
    "S3BucketFolder": {"s3_bucket_name": "graph", "load_role_arn": "arn:aws:iam::123456789012:role/load"},
}
"""What settings need beside them."""


def section(engine: str, **more: Any) -> Any:
    return TARGET.validate_python({"engine": engine, **SECTIONS[engine], **more})


def values(engine: str, key: EndpointKey) -> list[Any]:
    """Return values that DMS takes for a setting: all of its list, if it has one."""
    shape = DMS.shape_for(GROUPS[engine].name).members[key.name]
    if key.name in VALUES:
        return [VALUES[key.name]]
    if getattr(shape, "enum", None):
        # As the API has them, and as the guide writes many.
        return [form for word in shape.enum for form in (word, word.upper().replace("-", "_"))]
    kinds: dict[str, list[Any]] = {"boolean": [True, False], "integer": [60], "string": ["other"]}
    return kinds[shape.type_name]


@pytest.mark.parametrize("engine", sorted(GROUPS))
def test_no_setting_of_the_api_is_unknown(engine: str) -> None:
    group = GROUPS[engine]
    assert group.keys.keys() == DMS.shape_for(group.name).members.keys()


@pytest.mark.parametrize("engine", sorted(GROUPS))
def test_each_setting_does_what_the_table_says(engine: str) -> None:
    for key in GROUPS[engine].keys.values():
        for value in values(engine, key):
            if key.refuses(value):
                with pytest.raises(ValidationError) as caught:
                    section(engine, endpoint_settings={key.name: value})
                assert f"{key.name}: not supported with this value: {key.here}" in str(caught.value)
            else:
                check(engine, key, value)


def check(engine: str, key: EndpointKey, value: Any) -> None:
    """See that a value that is taken becomes a setting of ours that takes it, and is told where it should be."""
    own, _, inner = key.ours.partition(".")
    # What the section says itself would stand.
    least = {name: said for name, said in SECTIONS[engine].items() if name != own or inner}
    found = TARGET.validate_python(
        {"engine": engine, **least, **ALONG.get(key.name, {}), "endpoint_settings": {key.name: value}}
    )
    assert found.endpoint_settings == {key.name: str(key.standing)}
    assert bool(key.ours) == (key.standing is Standing.HONOURED)
    if key.sets is not None:
        assert own in type(found).model_fields
        default = getattr(section(engine), own)
        is_default = str(value).lower().replace("_", "-") == str(default).lower()
        assert getattr(found, own) != default or is_default or inner == "bootstrap.servers", key.name
    told = findings(found.endpoint_settings, engine)
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
    assert set(GROUPS) <= set(SECTIONS)


def test_a_limit_below_a_second_stays_a_limit() -> None:
    assert section("redshift", endpoint_settings={"LoadTimeout": 400}).statement_timeout_s == 1
    assert section("redshift", endpoint_settings={"LoadTimeout": 0}).statement_timeout_s == 0

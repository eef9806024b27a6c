"""Endpoints as `aws dms describe-endpoints` shows them, and extra connection attributes as people write them, restated
for names of our own: each gives a section of ours, or an error that names what is not supported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runtime.configuration import load
from schemas.endpoint_settings import attributes
from schemas.endpoint_settings.endpoint import ENGINES, Role, opened
from schemas.endpoint_settings.table import groups
from schemas.errors import TailraceError
from schemas.settings import Settings, parse
from tests.unit.schemas.endpoint_settings.test_endpoint_settings import ADAPTERS, DMS, ENDPOINTS, SECTIONS, SOURCE

ROLE = "arn:aws:iam::123456789012:role/dms"


def endpoint(engine: str, role: str = "TARGET", **more: Any) -> dict[str, Any]:
    """Return an endpoint with what DMS tells of any."""
    return {
        "EndpointIdentifier": f"my-{engine}",
        "EndpointType": role,
        "EngineName": engine,
        "EngineDisplayName": "as the console calls it",
        "TransferFiles": False,
        "ReceiveTransferredFiles": False,
        "Status": "active",
        "KmsKeyId": "arn:aws:kms:eu-west-1:123456789012:key/1",
        "EndpointArn": "arn:aws:dms:eu-west-1:123456789012:endpoint:A1",
        "SslMode": "none",
    } | more


def target(document: Any, **more: Any) -> Any:
    return ADAPTERS[Role.TARGET].validate_python({"endpoint_settings": document} | more)


def source(document: Any, **more: Any) -> Any:
    return ADAPTERS[Role.SOURCE].validate_python({"endpoint_settings": document, "tables": ["*.*"]} | more)


LAKE = endpoint(
    "s3",
    # What the group says too, with a line end as two characters.
    ExtraConnectionAttributes="bucketFolder=landing;bucketName=corp-lake;compressionType=GZIP;csvDelimiter=,;"
    "csvRowDelimiter=\\n;datePartitionEnabled=true;",
    ServiceAccessRoleArn=ROLE,
    S3Settings={
        "ServiceAccessRoleArn": ROLE,
        "ExternalTableDefinition": "",
        "CsvRowDelimiter": "\\n",
        "CsvDelimiter": ",",
        "BucketFolder": "landing",
        "BucketName": "corp-lake",
        "CompressionType": "GZIP",
        "EncryptionMode": "SSE_S3",
        "DataFormat": "csv",
        "EncodingType": "rle-dictionary",
        "DictPageSizeLimit": 1048576,
        "RowGroupLength": 10000,
        "DataPageSize": 1048576,
        "ParquetVersion": "parquet-1-0",
        "EnableStatistics": True,
        "IncludeOpForFullLoad": True,
        "CdcInsertsOnly": False,
        "TimestampColumnName": "changed_at",
        "ParquetTimestampInMillisecond": False,
        "CdcInsertsAndUpdates": False,
        "DatePartitionEnabled": True,
        "DatePartitionSequence": "yyyymmddhh",
        "DatePartitionDelimiter": "slash",
        "UseCsvNoSupValue": False,
        "PreserveTransactions": False,
        "CdcPath": "",
        "UseTaskStartTimeForFullLoadTimestamp": False,
        "CannedAclForObjects": "none",
        "AddColumnName": False,
        "CdcMaxBatchInterval": 60,
        "CdcMinFileSize": 32000,
        "CsvNullValue": "",
        "IgnoreHeaderRows": 0,
        "MaxFileSize": 1048576,
        "Rfc4180": True,
        "DatePartitionTimezone": "",
        "AddTrailingPaddingCharacter": False,
        "GlueCatalogGeneration": False,
    },
)


def test_a_bucket() -> None:
    found = target(json.dumps({"Endpoints": [LAKE]}))
    assert (found.engine, found.bucket_name, found.bucket_folder) == ("s3", "corp-lake", "landing")
    assert (found.compression_type, found.csv_row_delimiter, found.csv_null_value) == ("gzip", "\n", "")
    assert (found.timestamp_column_name, found.date_partition_sequence) == ("changed_at", "YYYYMMDDHH")
    assert (found.cdc_path, found.date_partition_timezone, found.service_access_role_arn) == ("", "UTC", ROLE)


def test_a_cluster_of_kafka() -> None:
    settings: dict[str, Any] = {
        "Broker": "b-2.msk.example:9092, b-1.msk.example:9092",
        "Topic": "dms",
        "MessageFormat": "json",
    }
    settings |= {"MessageMaxBytes": 1000000, "IncludeNullAndEmpty": False, "NoHexPrefix": False}
    found = target({"Endpoint": endpoint("kafka", KafkaSettings=settings)})
    assert (found.engine, found.topic) == ("kafka", "dms")
    assert found.kafka["bootstrap.servers"] == "b-2.msk.example:9092,b-1.msk.example:9092"


def test_a_source_and_a_target_of_one_answer() -> None:
    shop = {"Username": "dms", "ServerName": "shop.example", "Port": 5433, "DatabaseName": "shop"}
    own = shop | {"HeartbeatEnable": True, "CaptureDdls": True, "SlotName": "shop_slot", "PluginName": "no-preference"}
    answer = [
        endpoint("aurora-postgresql", "SOURCE", **shop, SslMode="require", PostgreSQLSettings=own),
        endpoint("mariadb", Username="dms", ServerName="copy.example", Port=3306, MySQLSettings={"Port": 3306}),
    ]
    found = source(answer, password="s3cret")
    assert (found.engine, found.host, found.port, found.database) == ("postgresql", "shop.example", 5433, "shop")
    assert (found.user, found.slot, str(found.tls.mode)) == ("dms", "shop_slot", "require")
    copy = target({"Endpoints": answer, "Marker": None})
    assert (copy.engine, copy.host, copy.user, str(copy.tls.mode)) == ("mysql", "copy.example", "dms", "prefer")
    assert copy.connect_timeout_s == 10
    # DMS's word for nothing chosen switches nothing off, and what the section says stands.
    assert str(target({"Endpoints": answer}, tls={"mode": "disable"}).tls.mode) == "disable"


@pytest.mark.parametrize(
    ("engine", "group", "expected"),
    [
        (
            "redshift",
            {
                "RedshiftSettings": {
                    "AcceptAnyDate": False,
                    "CompUpdate": False,
                    "EmptyAsNull": False,
                    "ConnectionTimeout": 0,
                }
                | {"BucketName": "stage", "EncryptionMode": "sse-s3", "MaxFileSize": 32768, "ReplaceChars": "?"}
                | {"ServiceAccessRoleArn": ROLE, "TrimBlanks": False, "TruncateColumns": False, "LoadTimeout": 0},
                "ServerName": "dwh.example",
                "Port": 5439,
                "Username": "dms",
                "DatabaseName": "dwh",
            },
            {"host": "dwh.example", "user": "dms", "database": "dwh", "bucket_name": "stage", "copy_role_arn": ROLE},
        ),
        (
            "opensearch",
            {
                "ElasticsearchSettings": {
                    "EndpointUri": "s.example",
                    "FullLoadErrorPercentage": 10,
                    "ErrorRetryDuration": 300,
                }
            },
            {"url": "https://s.example"},
        ),
        (
            "kinesis",
            {
                "KinesisSettings": {"StreamArn": "arn:aws:kinesis:eu-west-1:123456789012:stream/shop"}
                | {"MessageFormat": "json-unformatted", "ServiceAccessRoleArn": ROLE, "IncludeControlDetails": True},
            },
            {"message_format": "json-unformatted", "include_control_details": True},
        ),
        ("dynamodb", {"DynamoDbSettings": {"ServiceAccessRoleArn": ROLE}}, {"service_access_role_arn": ROLE}),
        (
            "docdb",
            {
                "DocDbSettings": {"NestingLevel": "none", "ExtractDocId": False, "DocsToInvestigate": 1000}
                | {"Username": "dms", "ServerName": "docs.example", "Port": 27017, "DatabaseName": "shop"},
                "SslMode": "verify-full",
            },
            {"host": "docs.example", "user": "dms", "nesting_level": "none", "tls": "verify-full"},
        ),
        (
            "neptune",
            {
                "NeptuneSettings": {"S3BucketName": "graph", "S3BucketFolder": "", "ErrorRetryDuration": 250}
                | {"MaxFileSize": 1048576, "MaxRetryCount": 5, "IamAuthEnabled": True, "ServiceAccessRoleArn": ROLE},
            },
            {"s3_bucket_name": "graph", "iam_auth_enabled": True, "max_retry_count": 5},
        ),
    ],
)
def test_targets_of_other_engines(engine: str, group: dict[str, Any], expected: dict[str, Any]) -> None:
    more = {"url": "https://graph.example:8182", "load_role_arn": ROLE} if engine == "neptune" else {}
    found = target({"Endpoints": [endpoint(engine, **group)]}, **more)
    assert found.engine == engine
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(("role", "engine"), ENDPOINTS)
def test_what_nobody_has_chosen_states_nothing(role: Role, engine: str) -> None:
    """Nulls and empty texts, which the console and other programs write for what they offer."""
    group = groups(role)[engine]
    name = next(theirs for theirs, ours in ENGINES.items() if ours == engine)
    least = SECTIONS[engine] if role is Role.TARGET else SOURCE
    nothings: tuple[Any, ...] = (None, "", {})
    for nothing in nothings:
        empty = {key: nothing for key in group.keys if not group.keys[key].says_empty}
        whole = endpoint(name, role.upper(), **{group.name: empty}, ExtraConnectionAttributes="", Username=nothing)
        found = ADAPTERS[role].validate_python({"engine": engine, "endpoint_settings": whole} | least)
        assert found.endpoint_settings == ({"SslMode": "honoured"} if group.find("SslMode") else {})
        plain = ADAPTERS[role].validate_python({"engine": engine} | least)
        assert found.model_dump(exclude={"endpoint_settings"}) == plain.model_dump(exclude={"endpoint_settings"})


def test_no_part_of_an_endpoint_is_unknown() -> None:
    for shape in ("Endpoint", "CreateEndpointMessage", "ModifyEndpointMessage"):
        members = DMS.shape_for(shape).members
        whole = {name: {} if member.type_name == "structure" else "" for name, member in members.items()}
        whole |= {"EndpointType": "target", "EngineName": "s3"}
        whole.pop("ExactSettings", None)
        assert opened(whole, Role.TARGET).groups == []


def test_cloud_formations_capitals() -> None:
    template = {"EndpointType": "target", "EngineName": "mysql", "MySqlSettings": {"ServerTimezone": "UTC"}}
    assert target(template, user="u").endpoint_settings == {"ServerTimezone": "meaningless here"}


@pytest.mark.parametrize(
    ("text", "section", "expected"),
    [
        ("Initstmt=SET FOREIGN_KEY_CHECKS=0;", {"engine": "mysql", "user": "u"}, {"foreign_key_checks": False}),
        (
            "targetDbType=SPECIFIC_DATABASE;initstmt=set FOREIGN_KEY_CHECKS=0; set time_zone=UTC;parallelLoadThreads=1",
            {"engine": "mysql", "user": "u"},
            {"foreign_key_checks": False},
        ),
        (
            "afterConnectScript=SET session_replication_role='replica'",
            {"user": "u", "database": "d"},
            {"disable_triggers": True},
        ),
        (
            "maxFileSize=512;executeTimeout=100;ConnectionTimeout=30;loadUsingCSV=true;mapUnboundedNumericAsString=Y",
            {"user": "u", "database": "d"},
            {"statement_timeout_s": 100, "connect_timeout_s": 30},
        ),
        (
            "bucketname=my-bucket;csvrowdelimiter=\\n;csvdelimiter=;;cannedAclForObjects=BUCKET_OWNER_READ;addColumnName=y",
            {"engine": "s3"},
            {
                "bucket_name": "my-bucket",
                "csv_delimiter": ";",
                "canned_acl_for_objects": "bucket-owner-read",
                "add_column_name": True,
            },
        ),
        (
            "EndpointUri=search.example;errorRetryDuration=90",
            {"engine": "opensearch"},
            {"url": "https://search.example"},
        ),
    ],
)
def test_extra_connection_attributes(text: str, section: dict[str, Any], expected: dict[str, Any]) -> None:
    found = target(text, **section)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    "text",
    ["PluginName=PGLOGICAL;slotName=slot_name;", "heartbeatEnable=true;heartbeatFrequency=1;fetchCacheSize=10000;"],
)
def test_extra_connection_attributes_of_a_source(text: str) -> None:
    found = source(text, user="u", database="d")
    assert found.slot == ("slot_name" if "slot_name" in text else None)
    assert set(found.endpoint_settings) == {
        part.partition("=")[0][0].upper() + part.partition("=")[0][1:] for part in text[:-1].split(";")
    }


def test_a_text_that_is_no_attributes() -> None:
    with pytest.raises(ValueError, match="NAME=VALUE"):
        attributes.parse("oops;a=b")
    assert attributes.parse(" a=1; b = 2;;") == [("a", "1"), ("b", " 2")]


PG = {"user": "u", "database": "d"}


@pytest.mark.parametrize(
    ("document", "section", "said"),
    [
        (endpoint("oracle"), PG, "EngineName: oracle is none of ours"),
        (endpoint("babelfish"), PG, "EngineName: babelfish is none of ours"),
        (endpoint("mysql"), {"engine": "postgresql", **PG}, "EngineName: mysql is for mysql, and this section"),
        (endpoint("postgres", "SOURCE"), PG, "EndpointType: is source, and this is a target"),
        ([endpoint("s3"), endpoint("kafka")], PG, "one target endpoint in the document, and there are: my-s3, my-k"),
        ([endpoint("s3", "SOURCE")], PG, "there are: none"),
        (endpoint("postgres", RedshiftSettings={"Port": 1}), PG, "RedshiftSettings: no settings of this endpoint"),
        (endpoint("postgres", PostgresSQLSettings={"Port": 1}), PG, "did you mean PostgreSQLSettings?"),
        (endpoint("postgres", EndpointTyp="x"), PG, "EndpointTyp: unknown part of an endpoint; did you mean"),
        (endpoint("s3", ServerName="h"), {"bucket_name": "bucket"}, "ServerName: such an endpoint has none"),
        (endpoint("postgres", Port=1, PostgreSQLSettings={"Port": 2}), PG, "Port: is stated twice, with two values"),
        (endpoint("postgres", SslMode="verify"), PG, "SslMode: is no value of this setting"),
        (endpoint("postgres", CertificateArn="arn:aws:dms:1:cert:A"), PG, "CertificateArn: @"),
        ({"SecretsManagerSecretId": "arn:1"}, {"database": "d"}, "SecretsManagerSecretId: @say `user`"),
        ({"AfterConnectScript": "set role admin"}, PG, "AfterConnectScript: @`set session"),
        ("initstmt=SET NAMES latin1", {"engine": "mysql", "user": "u"}, "Initstmt: @`set foreign"),
        ("afterConectScript=x", PG, "afterConectScript: unknown setting; did you mean AfterConnectScript?"),
        ("bucketName=lake;oops", {"engine": "s3"}, "Attributes: behind bucketName stands what is no NAME=VALUE"),
        ("password=p;Rest=1", PG, "password: behind it stands no setting"),
        ({"SecretsManagerSecretId": ["arn"]}, {"database": "d"}, "SecretsManagerSecretId: @say `user`"),
        ({"AuthenticationMethod": "iam"}, PG, "AuthenticationMethod: @give `password`"),
        ({"DatabaseMode": "babelfish"}, PG, "DatabaseMode: @Babelfish"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(document: Any, section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        target(document, **section)
    assert said.replace("@", "not supported with this value: ") in str(caught.value)


def test_what_the_section_says_itself_serves_for_what_is_elsewhere_at_aws() -> None:
    secret = {"SecretsManagerAccessRoleArn": ROLE, "SecretsManagerSecretId": "arn:1", "DatabaseName": "shop"}
    whole = endpoint("postgres", SslMode="verify-ca", CertificateArn="arn:2", PostgreSQLSettings=secret)
    found = target(whole, host="h", user="u", password="p", tls={"ca": "rds.pem"})
    assert (found.host, found.database, found.tls.ca, str(found.tls.mode)) == ("h", "shop", "rds.pem", "verify-ca")
    kafka = target(
        endpoint("kafka", KafkaSettings={"Broker": "b:9", "SslCaCertificateArn": "arn:3"}),
        kafka={"ssl.ca.location": "ca.pem"},
    )
    assert kafka.kafka == {"bootstrap.servers": "b:9", "ssl.ca.location": "ca.pem"}


def _settings(**more: Any) -> Settings:
    return parse({"name": "shop", "kafka": {"bootstrap.servers": "b"}, "source": PG | {"tables": ["*.*"]}} | more)


def test_engines_are_known_wherever_a_configuration_asks_for_them() -> None:
    """Where a task is transactional, and where selection rules take views."""
    rules = {
        "rules": [
            {"rule-type": "selection", "rule-id": 1, "rule-action": "include", "object-locator": {"schema-name": "%"}}
        ]
    }
    document = {"TargetMetadata": {"BatchApplyEnabled": False}}
    mysql = endpoint("mysql", "SOURCE", Username="u", ServerName="h")
    lake = {"endpoint_settings": LAKE}
    found = _settings(source={"endpoint_settings": mysql}, mappings=rules, settings=document, targets={"lake": lake})
    assert (found.source.engine, found.apply.ordering) == ("mysql", "per-key")


def test_a_path_stands_for_a_document_in_sources_and_targets(tmp_path: Path) -> None:
    pair = [endpoint("postgres", "SOURCE", Username="u", DatabaseName="d"), LAKE]
    (tmp_path / "endpoints.json").write_text(json.dumps({"Endpoints": pair}))
    section = {"endpoint_settings": "endpoints.json"}
    configuration = {"name": "shop", "kafka": {"bootstrap.servers": "b"}, "source": section | {"tables": ["*.*"]}}
    attributes_alone = {"engine": "s3", "endpoint_settings": "bucketName=other"}
    configuration |= {"targets": {"lake": section, "other": attributes_alone}}
    (tmp_path / "shop.yaml").write_text(json.dumps(configuration))
    found = load(tmp_path / "shop.yaml", {})
    assert (found.source.engine, [target.engine for target in found.targets.values()]) == ("postgresql", ["s3", "s3"])
    (tmp_path / "endpoints.json").unlink()
    with pytest.raises(TailraceError, match="cannot read the endpoint settings"):
        load(tmp_path / "shop.yaml", {})


def test_a_document_may_be_a_text_and_a_path_may_have_an_equals_sign(tmp_path: Path) -> None:
    (tmp_path / "env=prod").mkdir()
    (tmp_path / "env=prod" / "settings.json").write_text(json.dumps({"ChangeProcessingTuning": {}}))
    section = {"endpoint_settings": json.dumps(json.dumps({"ServerName": "db"})), "user": "u", "database": "d"}
    rule = {"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include"}
    mappings = {"rules": [rule | {"object-locator": {"schema-name": "a", "table-name": "%"}}]}
    configuration = {"name": "shop", "kafka": {"bootstrap.servers": "b"}, "source": section}
    configuration |= {"mappings": json.dumps(mappings), "settings": "env=prod/settings.json"}
    (tmp_path / "shop.yaml").write_text(json.dumps(configuration))
    found = load(tmp_path / "shop.yaml", {})
    assert (found.source.place, found.source.tables) == ("db:5432", ["a.*"])
    for path in ("env=prod/db.json", "./env=prod/db", " env=prod/DB.JSON"):
        (tmp_path / path.strip()).write_text(json.dumps({"ServerName": path}))
        configuration["source"] = section | {"endpoint_settings": path.strip()}
        (tmp_path / "shop.yaml").write_text(json.dumps(configuration))
        assert load(tmp_path / "shop.yaml", {}).source.place == f"{path}:5432"
    configuration["source"] = section | {"endpoint_settings": "env=prod/db"}
    (tmp_path / "shop.yaml").write_text(json.dumps(configuration))
    with pytest.raises(TailraceError, match=r"env: unknown setting; .*the path of a file, begin it with \./"):
        load(tmp_path / "shop.yaml", {})


@pytest.mark.parametrize(
    "text", ["1=1;Password=s3cret", '"s3cret', '{"Password": "s3cret",}', "password=s3cret;s3cret=1"]
)
def test_a_text_that_is_wrong_is_never_shown(tmp_path: Path, text: str) -> None:
    section = {"endpoint_settings": text, "engine": "mysql", "user": "u", "host": "h", "tables": ["a.*"]}
    configuration = {"name": "shop", "kafka": {"bootstrap.servers": "b"}, "source": section}
    (tmp_path / "shop.yaml").write_text(json.dumps(configuration))
    with pytest.raises(TailraceError, match=r"endpoint.settings|password") as caught:
        load(tmp_path / "shop.yaml", {})
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__}"

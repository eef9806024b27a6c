"""Schema texts, ids and records: what stays the same must stay the same."""

from __future__ import annotations

import json

import fastavro
import pytest

from schemas.codecs import Format, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.registry import (
    TableVersion,
    check_ids,
    parse_registry_record,
    parse_table_record,
    registry_record,
    schema_id_of,
    subject_of,
    table_record,
)
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.topic_settings import SubjectNaming
from schemas.types import Family, LogicalType
from tests.kit.type_samples import SAMPLES

BIGINT = LogicalType(Family.INT64)
TEXT = LogicalType(Family.STRING)


def table(*names: str, version: int = 1, key: tuple[int, ...] = (0,)) -> TableSchema:
    columns = tuple(Column(name, BIGINT, "bigint") for name in names)
    return TableSchema(TableName("public", "orders"), columns, key, version=version)


def ids(schema: TableSchema, replication: str = "shop") -> tuple[int | None, int | None]:
    encoder = compile_encoder(schema, Format.AVRO, replication=replication, connector="postgresql", database="bench")
    return encoder.key_schema_id, encoder.value_schema_id


def test_ids_have_31_bits_and_are_never_zero() -> None:
    assert all(0 < schema_id_of(str(i)) < 1 << 31 for i in range(1000))


def test_ids_are_what_they_were_in_the_first_release() -> None:
    # A change of these numbers makes new schemas of old tables, and moves every key: it is a decision.
    assert ids(table("id", "a")) == (GOLDEN_KEY_ID, GOLDEN_VALUE_ID)


GOLDEN_KEY_ID = 639_956_158
GOLDEN_VALUE_ID = 26_751_574


def test_subjects_are_named_as_confluents_serializers_name_them() -> None:
    encoder = compile_encoder(table("id"), Format.AVRO, replication="shop", connector="postgresql", database="b")
    key, value = encoder.key_schema_text or "", encoder.value_schema_text or ""
    topic, record = "shop.public.orders", "shop.public.orders.Envelope"
    assert subject_of(SubjectNaming.TOPIC, topic, "key", key) == f"{topic}-key"
    assert subject_of(SubjectNaming.TOPIC, topic, "value", value) == f"{topic}-value"
    assert subject_of(SubjectNaming.RECORD, topic, "key", key) == "shop.public.orders.Key"
    assert subject_of(SubjectNaming.RECORD, topic, "value", value) == record
    assert subject_of(SubjectNaming.TOPIC_RECORD, topic, "value", value) == f"{topic}-{record}"


def test_another_version_of_a_table_has_another_value_schema_and_the_same_key_schema() -> None:
    key, value = ids(table("id", "a"))
    for later in (table("id", "a", version=2), table("id", "a", "b", version=2), table("id", "c", version=3)):
        later_key, later_value = ids(later)
        assert later_key == key
        assert later_value != value


def test_another_key_or_replication_has_another_key_schema() -> None:
    assert len({ids(table("id", "a"))[0], ids(table("id", "a", key=(1,)))[0], ids(table("id", "a"), "b")[0]}) == 3


def test_a_label_added_to_an_enum_leaves_the_key_schema_alone() -> None:
    def with_labels(*labels: str) -> TableSchema:
        column = Column("mood", LogicalType(Family.ENUM), "public.mood")
        types = (UserType("public", "mood", "enum", labels=labels),)
        return TableSchema(TableName("public", "moods"), (column,), (0,), user_types=types)

    before, after = ids(with_labels("a")), ids(with_labels("a", "b"))
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_table_without_a_key_has_no_key_schema() -> None:
    assert ids(table("id", key=()))[0] is None


def test_schemas_of_all_types_are_valid_avro_with_debeziums_names() -> None:
    columns = tuple(Column(f"{i} {s.native}", s.type, s.native) for i, s in enumerate(SAMPLES))
    schema = TableSchema(TableName("public schema", "1 table"), columns, tuple(range(len(columns))))
    encoder = compile_encoder(schema, Format.AVRO, replication="the-shop", connector="postgresql", database="b")
    for text in (encoder.key_schema_text, encoder.value_schema_text):
        assert text is not None
        fastavro.parse_schema(json.loads(text))
        for name in (
            "io.debezium.time.ZonedTimestamp",
            "io.debezium.data.Uuid",
            "org.apache.kafka.connect.data.Decimal",
        ):
            assert name in text
    value = json.loads(encoder.value_schema_text or "")
    assert (value["namespace"], value["name"]) == ("the_shop.public_schema._1_table", "Envelope")
    assert value["tailrace.version"] == 1
    assert [field["name"] for field in value["fields"]] == [
        *("op", "before", "after", "unavailable", "source", "ts_ms", "ts_us", "ts_ns", "transaction")
    ]


def test_columns_that_avro_would_confuse_get_names_of_their_own() -> None:
    encoder = compile_encoder(
        table("a b", "a-b", "a_b", "1", "世"), Format.AVRO, replication="s", connector="postgresql", database="b"
    )
    fields = json.loads(encoder.value_schema_text or "")["fields"][1]["type"][1]["fields"]
    assert [field["name"] for field in fields] == ["a_b_2", "a_b_3", "a_b", "_1", "_"]


def test_a_registry_record_has_the_layout_of_confluents_registry() -> None:
    record = registry_record("shop.public.orders-value", 3, 77, '"long"')
    assert record.key == b'{"keytype":"SCHEMA","subject":"shop.public.orders-value","version":3,"magic":1}'
    assert json.loads(record.value) == {
        "subject": "shop.public.orders-value",
        "version": 3,
        "id": 77,
        "schema": '"long"',
        "deleted": False,
    }
    assert parse_registry_record(*record) == ("shop.public.orders-value", 3, 77, '"long"', False)


def test_other_records_of_a_registry_are_passed_over() -> None:
    assert parse_registry_record(b'{"keytype":"NOOP","magic":0}', None) is None
    assert parse_registry_record(b'{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}', None) is None


def test_a_table_version_comes_back_from_its_record() -> None:
    columns = tuple(Column(f"c{i}", sample.type, sample.native) for i, sample in enumerate(SAMPLES))
    table = TableSchema(TableName("s", "t"), columns, (0, 2), version=7)
    for registered, topic in ((None, None), ((7, 8), "shop.s.t"), ((None, 8), None)):
        version = TableVersion(table, 5, 6, registered, topic)
        record = table_record(version)
        assert json.loads(record.key) == {"table": ["s", "t"], "version": 7}
        assert parse_table_record(record.value) == version


@pytest.mark.parametrize("noise", [b"", b"null", b"[]", b'{"table":1}', b"\xff", b'{"name":["a","b"]}', b"[" * 9999])
def test_noise_on_the_schemas_topics_is_a_decode_error(noise: bytes) -> None:
    for read in (parse_table_record, lambda b: parse_registry_record(b, b)):
        with pytest.raises(TailraceError) as caught:
            read(noise)
        assert caught.value.kind is ErrorKind.DECODE


def test_a_collision_of_ids_is_found() -> None:
    known: dict[int, str] = {}
    check_ids(known, 1, "a")
    check_ids(known, 1, "a")
    with pytest.raises(TailraceError, match="collide"):
        check_ids(known, 1, "b")

"""The bytes on the wire, as they were decided: a change here is a change of the product's interface."""

from __future__ import annotations

import json

import pytest

from schemas.changes import UNCHANGED, RowChanges, Transaction
from schemas.codecs import Format, compile_encoder, wire
from schemas.envelope import avro_name, avro_names
from schemas.errors import ErrorKind, TailraceError
from schemas.position import first_sequence
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TABLE = TableSchema(
    TableName("public", "orders"),
    (
        Column("id", LogicalType(Family.INT64), "bigint"),
        Column("amount", LogicalType(Family.DECIMAL, 12, 2), "numeric(12,2)"),
        Column("note", LogicalType(Family.STRING), "text"),
        Column("at", LogicalType(Family.TIMESTAMPTZ), "timestamptz"),
    ),
    (0,),
    version=3,
)
AT_US = 1_735_697_676_444_453
CHANGES = RowChanges(
    TABLE,
    Transaction("777", 777, 5, AT_US),
    ["c", "u", "u", "d"],
    [None, None, (2, UNCHANGED, UNCHANGED, UNCHANGED), (3, UNCHANGED, UNCHANGED, UNCHANGED)],
    [(1, 123_456, "first", AT_US), (1, -1, UNCHANGED, None), (3, 0, None, 0), None],
)
SOURCE = (
    '"source":{"version":"0.1","connector":"postgresql","name":"shop","ts_ms":1735697676444,"snapshot":"false",'
    '"db":"bench","sequence":null,"ts_us":1735697676444453,"ts_ns":1735697676444453000,"schema":"public",'
    '"table":"orders","txId":777,"lsn":98765,"xmin":null,"seq":%d,"schema_version":3},'
    '"ts_ms":1735697676500,"ts_us":1735697676500001,"ts_ns":1735697676500001000,"transaction":null}'
)


def records(format_: Format) -> list[tuple[bytes | None, bytes | None]]:
    encoder = compile_encoder(TABLE, format_, replication="shop", connector="postgresql", database="bench")
    block = encoder.block(snapshot="false", position_lsn=98_765, ts_us=AT_US, txid=777, now_us=1_735_697_676_500_001)
    return encoder.run(CHANGES, block, first_sequence(1), True)[0]


def test_the_json_of_a_run_is_as_decided() -> None:
    seq = first_sequence(1)
    rows = [
        (
            '{"op":"c","before":null,"after":{"id":1,"amount":"AeJA","note":"first","at":"2025-01-01T02:14:36.444453Z"},'
            '"unavailable":null,'
        ),
        '{"op":"u","before":null,"after":{"id":1,"amount":"/w==","note":null,"at":null},"unavailable":["note"],',
        '{"op":"d","before":{"id":2,"amount":null,"note":null,"at":null},"after":null,"unavailable":null,',
        (
            '{"op":"c","before":null,"after":{"id":3,"amount":"AA==","note":null,"at":"1970-01-01T00:00:00.000000Z"},'
            '"unavailable":null,'
        ),
        '{"op":"d","before":{"id":3,"amount":null,"note":null,"at":null},"after":null,"unavailable":null,',
    ]
    values = [(row + SOURCE % (seq + i)).encode() for i, row in enumerate(rows, 1)]
    assert records(Format.JSON) == [
        (b'{"id":1}', values[0]),
        (b'{"id":1}', values[1]),
        (b'{"id":2}', values[2]),
        (b'{"id":2}', None),
        (b'{"id":3}', values[3]),
        (b'{"id":3}', values[4]),
        (b'{"id":3}', None),
    ]


def test_json_with_schema_is_the_same_payload_behind_a_schema() -> None:
    plain = records(Format.JSON)
    for (key, value), (plain_key, plain_value) in zip(records(Format.JSON_WITH_SCHEMA), plain, strict=True):
        for wrapped, payload in ((key, plain_key), (value, plain_value)):
            if payload is not None:
                assert wrapped is not None
                document = json.loads(wrapped)
                assert document["payload"] == json.loads(payload)
                assert document["schema"]["type"] == "struct"
    key_schema = json.loads(records(Format.JSON_WITH_SCHEMA)[0][0] or b"")["schema"]
    assert key_schema == {
        "type": "struct",
        "name": "shop.public.orders.Key",
        "optional": False,
        "fields": [{"type": "int64", "optional": False, "field": "id"}],
    }


def test_the_avro_of_a_create_is_as_decided() -> None:
    key, value = records(Format.AVRO)[0]
    assert (key or b"").hex(" ") == GOLDEN_KEY
    assert (value or b"").hex(" ") == GOLDEN_VALUE


GOLDEN_KEY = "00 26 24 f4 be 02"
GOLDEN_VALUE = (
    "00 23 2b fd 52 02 63 00 02 02 02 02 06 01 e2 40 02 0a 66 69 72 73 74 02 36 32 30 32 35 2d 30 31 "
    "2d 30 31 54 30 32 3a 31 34 3a 33 36 2e 34 34 34 34 35 33 5a 00 06 30 2e 31 14 70 6f 73 74 67 72 "
    "65 73 71 6c 08 73 68 6f 70 b8 e2 a5 fa 83 65 0a 66 61 6c 73 65 0a 62 65 6e 63 68 00 ca 8c 89 b7 "
    "f3 a6 95 06 90 a2 8a 9f e6 f5 b7 96 30 0c 70 75 62 6c 69 63 0c 6f 72 64 65 72 73 02 92 0c 02 9a "
    "87 0c 00 82 80 80 80 80 80 80 80 02 06 02 a8 e3 a5 fa 83 65 02 c2 f0 8f b7 f3 a6 95 06 02 d0 83 "
    "87 d4 e6 f5 b7 96 30 00"
)


def test_schema_ids_and_versions_are_found_without_a_decoder() -> None:
    value = records(Format.AVRO)[0][1] or b""
    encoder = compile_encoder(TABLE, Format.AVRO, replication="shop", connector="postgresql", database="bench")
    assert wire.schema_id(value) == encoder.value_schema_id
    for format_ in (Format.JSON, Format.JSON_WITH_SCHEMA):
        assert wire.schema_version(records(format_)[0][1] or b"") == 3
    assert wire.schema_version(b'{"source":{"a":"}","schema_version" : 12},"after":null}') == 12


@pytest.mark.parametrize("noise", [b"", b"\0\0\0\0", b"\1\0\0\0\1\0", b"{}"])
def test_what_has_no_schema_id_or_version_is_a_decode_error(noise: bytes) -> None:
    for read in (wire.schema_id, wire.schema_version):
        with pytest.raises(TailraceError) as caught:
            read(noise)
        assert caught.value.kind is ErrorKind.DECODE


def test_names_are_made_legal_for_avro() -> None:
    assert [avro_name(name) for name in ("ok_1", "1a", "a.b", "é", "")] == ["ok_1", "_1a", "a_b", "_", "_"]
    assert avro_names(["a_b", "a b", "a.b", "a_b_2"]) == ["a_b", "a_b_3", "a_b_4", "a_b_2"]

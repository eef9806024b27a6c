"""Plain JSON of a capture of ours in a connector's topics: the same values as Debezium's, in each type that differs."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from struct import pack
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
import pytest

from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import compile_encoder
from schemas.debezium import columns, ours
from schemas.debezium.decoder import PLACEHOLDER, table_schema
from schemas.debezium.ours import Author, looks_alike
from schemas.debezium.reading import Reading, Sample, reading, table_of
from schemas.debezium.stated import Stated
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType
from schemas.types.calendar import INFINITY_US
from schemas.types.forms import NAMES

NAME = TableName("shop", "things")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "moving-from-debezium.md"
TXN = Transaction("777", 777, 5, 1_735_697_676_444_453)
DAY_US = 86_400_000_000
WKB = "AQEAAAAAAAAAAADwPwAAAAAAAATA"
EWKB = "0101000000000000000000F03F00000000000004C0"


class Case(NamedTuple):
    """A value of a type as both write it."""

    connector: str
    native: str
    type: LogicalType
    ours: Any
    """Canonical."""
    stated: str
    theirs: Any
    """In Debezium's plain JSON."""
    modes: Mapping[str, str] = MappingProxyType({})


def _b64(content: bytes) -> str:
    return b64encode(content).decode()


TEXT, STAMP, TIME = (LogicalType(family) for family in (Family.TEXT, Family.TIMESTAMP, Family.TIME))
AMOUNT, ZONED = LogicalType(Family.DECIMAL, 12, 2), LogicalType(Family.TIMESTAMPTZ)
SPAN, BYTES = LogicalType(Family.INTERVAL), LogicalType(Family.BYTES)
AT = "timestamp without time zone"
POINT = {"x": 1.0, "y": -2.5, "wkb": WKB, "srid": None}

POSTGRESQL: list[tuple[Any, ...]] = [
    ("money", TEXT, "-$1,234.50", "money", _b64((-123450).to_bytes(3, "big", signed=True))),
    ("money", TEXT, "$0.05", "numeric(19,2)", "BQ=="),
    ("bit(1)", TEXT, "1", "bit(1)", True),
    ("bit(3)", TEXT, "101", "bit(3)", "BQ=="),
    ("bit varying(12)", TEXT, "111100000011", "bit varying(12)", "Aw8="),
    ("point", TEXT, "(1.0,-2.5)", "point", POINT),
    ("geometry(Point)", TEXT, EWKB, "geometry", {"wkb": WKB, "srid": None}),
    ("geography(Point,4326)", TEXT, EWKB, "geography", {"wkb": WKB, "srid": None}),
    ("vector(2)", TEXT, "[1.5,2.25]", "vector", [1.5, 2.25]),
    ("integer[]", TEXT, "{1,NULL,3}", "int[]", [1, None, 3]),
    ("text[]", TEXT, '{a,"b\\"c"}', "text[]", ["a", 'b"c']),
    ("date[]", TEXT, "{2024-01-01,NULL}", "date[]", [19_723, None]),
    ("interval", SPAN, "PT90S", "interval", 90_000_000),
    ("time(3) without time zone", TIME, 45_296_789_000, "time(3)", 45_296_789),
    ("timestamp(3) without time zone", STAMP, 1_704_164_645_678_000, "timestamp(3)", 1_704_164_645_678),
    ("timestamp(0) without time zone", STAMP, -1_000_000, "timestamp(0)", -1000),
    ("timestamp with time zone", ZONED, 1_704_164_645_600_000, "timestamptz", "2024-01-02T03:04:05.6Z"),
    ("time with time zone", LogicalType(Family.TIMETZ), "10:34:56.5Z", "timetz", "10:34:56.5Z"),
    (AT, STAMP, 1_704_164_645_678_901, "timestamp", 1_704_164_645_678_901_000, {"times": "nanoseconds"}),
    (AT, STAMP, DAY_US + 500_000, "timestamp", "1970-01-02T00:00:00.5Z", {"times": "isostring"}),
    (AT, STAMP, 5000, "timestamp", 5, {"times": "connect"}),
    ("time without time zone", TIME, 7000, "time", 7, {"times": "connect"}),
    ("date", LogicalType(Family.DATE), 2, "date", "1970-01-03Z", {"times": "isostring"}),
    ("numeric(12,2)", AMOUNT, -1234, "numeric(12,2)", "-12.34", {"decimals": "string"}),
    ("numeric(12,2)", AMOUNT, 1250, "numeric(12,2)", 12.5, {"decimals": "double"}),
    ("bytea", BYTES, b"\x00\xff\xfe", "bytea", "AP_-", {"binary": "base64-url-safe"}),
    ("bytea", BYTES, b"\x00\xff\xfe", "bytea", "00fffe", {"binary": "hex"}),
]
MYSQL: list[tuple[Any, ...]] = [
    ("time(6)", SPAN, "PT-3020399.5S", "time", -3_020_399_500_000),
    ("datetime", STAMP, 1_704_164_645_000_000, "datetime", 1_704_164_645_000),
    ("datetime(3)", STAMP, 1_704_164_645_678_000, "datetime(3)", 1_704_164_645_678),
    ("timestamp", ZONED, 1_704_164_645_000_000, "timestamptz", "2024-01-02T03:04:05Z"),
    ("bit(13)", TEXT, "1000000000101", "bit(13)", "BRA="),
    ("bigint unsigned", LogicalType(Family.UINT64), 2**63 - 1, "bigint", 2**63 - 1),
    ("bigint unsigned", LogicalType(Family.UINT64), 2**64 - 1, "numeric(20)", "AP//////////"),
    ("point", BYTES, bytes(4) + bytes.fromhex(EWKB), "point", POINT),
    ("polygon", BYTES, bytes(4) + bytes.fromhex(EWKB), "geometry", {"wkb": WKB, "srid": None}),
    ("vector(2)", BYTES, pack("<2f", 1.1, -2.5), "vector", [1.1, -2.5]),
    ("decimal(12,2)", AMOUNT, -1234, "numeric(12,2)", "-12.34", {"decimals": "string"}),
    ("varbinary(20)", BYTES, b"\xff", "bytea", "ff", {"binary": "hex"}),
]
CASES = [Case("postgresql", *case) for case in POSTGRESQL] + [
    Case(connector, *case) for case in MYSQL for connector in ("mysql", "mariadb")
]

ALIKE = [
    ("boolean", LogicalType(Family.BOOLEAN), True),
    ("smallint", LogicalType(Family.INT16), -5),
    ("bigint", LogicalType(Family.INT64), 2**53 + 1),
    ("oid", LogicalType(Family.UINT32), 42),
    ("double precision", LogicalType(Family.FLOAT64), 1e300),
    ("numeric(12,2)", AMOUNT, 1234),
    ("text", LogicalType(Family.STRING), PLACEHOLDER),
    ("bytea", BYTES, b"\xde\xad"),
    ("date", LogicalType(Family.DATE), 19_782),
    ("time without time zone", TIME, 45_296_123_456),
    (AT, STAMP, 1_704_164_645_678_901),
    ("uuid", LogicalType(Family.UUID), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("jsonb", LogicalType(Family.JSON), '{"a": [1]}'),
    ("inet", TEXT, "10.0.0.1/24"),
]
"""Columns that need no statement."""


def version_of(*columns: Column, engine: str = "postgresql", types: tuple[UserType, ...] = ()) -> TableSchema:
    key = Column("id", LogicalType(Family.INT32), "integer", nullable=False)
    return TableSchema(NAME, (key, *columns), (0,), version=7, engine=engine, user_types=types)


def written(version: TableSchema, connector: str, *changes: tuple[str, Row | None, Row | None]) -> list[Sample]:
    """Return the records that a capture makes of changes."""
    encoder = compile_encoder(version, Format.JSON, replication="shop", connector=connector, database="shop")
    block = encoder.block(snapshot="false", position_lsn=9, ts_us=1, txid=7, now_us=2)
    ops, before, after = (list(part) for part in zip(*changes, strict=True))
    pairs, _ = encoder.run(RowChanges(version, TXN, ops, before, after), block, 1 << 56, False)
    return [Sample(key, value) for key, value in pairs if value is not None]


def theirs(**values: Any) -> Sample:
    """Return a record of the connector's."""
    source = {"version": "3.7.0.Final", "schema": "shop", "db": "shop", "table": "things", "ts_ms": 1}
    envelope = {"before": None, "after": {"id": 1, **values}, "source": source, "op": "c"}
    return Sample(b'{"id":1}', orjson.dumps(envelope))


def reader(connector: str, stated: Stated, version: TableSchema) -> Reading:
    def versions(author: Author) -> TableSchema:
        assert author == Author("shop", NAME, 7, 1)
        return version

    return reading(Format.JSON, connector, PLACEHOLDER, stated, None, versions)


def read(reads: Reading, connector: str, *samples: Sample) -> tuple[TableSchema, list[Any]]:
    """Return the table and the changes of records of one writer, as a catalog reads them."""
    name = table_of(reads.envelope(samples[0].value), connector)
    assert name == NAME
    written_by = reads.writer(samples[0], name)
    table = table_schema(name, written_by, connector, 1)
    decoder = reads.decoder(samples[0], written_by, table)
    many = decoder.decode_many([sample.value for sample in samples])
    assert repr(many) == repr([decoder.decode(sample.value) for sample in samples])
    return table, many


def stated_for(case: Case) -> Stated:
    times = "adaptive" if case.connector == "postgresql" else "adaptive_time_microseconds"
    return Stated({str(NAME): {"c": case.stated}}, **{"times": times, **case.modes})


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.connector}-{case.native}-{case.stated}")
def test_a_type_that_differs_is_the_same_from_both_once_it_is_stated(case: Case) -> None:
    version = version_of(Column("c", case.type, case.native), engine=case.connector)
    reads = reader(case.connector, stated_for(case), version)
    of_ours = written(version, case.connector, ("c", None, (1, case.ours)), ("c", None, (2, None)))
    table, (change, empty) = read(reads, case.connector, *of_ours)
    other, (debeziums,) = read(reads, case.connector, theirs(c=case.theirs))
    assert change == debeziums
    assert empty == ("c", None, (2, None))
    assert table == other, "the target's table stays as it is"
    assert reads.mark(*of_ours[0][:2]) != reads.mark(*theirs(c=case.theirs)[:2])
    # Unstated, nothing would show that it is something else.
    with pytest.raises(TailraceError, match=re.escape(f"c ({case.native})")) as caught:
        reader(case.connector, replace(stated_for(case), types={}), version).writer(of_ours[0], NAME)
    assert (caught.value.kind, "source.types" in (caught.value.remedy or "")) == (ErrorKind.CONFIGURATION, True)


def test_a_type_that_is_alike_needs_no_statement() -> None:
    columns = [Column(f"c{i}", type_, native) for i, (native, type_, _) in enumerate(ALIKE)]
    version = version_of(*columns)
    reads = reader("postgresql", Stated(), version)
    row = (1, *(value for _, _, value in ALIKE))
    (sample,) = written(version, "postgresql", ("c", None, row))
    after = {**orjson.loads(sample.value)["after"], "c6": "text"}
    del after["id"]
    debeziums = theirs(**after)
    one, other = read(reads, "postgresql", sample), read(reads, "postgresql", debeziums)
    assert one[0] == other[0]
    # Only Debezium writes something in the place of a value that the log did not hold.
    place = version.column_names.index("c6")
    assert (one[1][0][2][place], one[1][0][1:2]) == (PLACEHOLDER, (None,))


STATED = [
    ("boolean", Family.BOOLEAN, "boolean", True, True),
    ("smallint", Family.INT16, "smallint", -5, -5),
    ("oid", Family.UINT32, "bigint", 42, 42),
    ("real", Family.FLOAT32, "real", 1.5, 1.5),
    ("double precision", Family.FLOAT64, "double precision", math.inf, "Infinity"),
    ("numeric", Family.NUMERIC, "numeric", Decimal("1.50"), {"scale": 2, "value": "AJY="}),
    ("character varying(20)", Family.STRING, "varchar", "é", "é"),
    ("bytea", Family.BYTES, "bytea", b"\x01", "AQ=="),
    ("date", Family.DATE, "date", 2, 2),
    ("date", Family.DATE, "date", 2**31 - 1, -622_191_234),
    (AT, Family.TIMESTAMP, "timestamp", 5, 5),
    (AT, Family.TIMESTAMP, "timestamp", INFINITY_US, 2**63 - 1),
    ("timestamp with time zone", Family.TIMESTAMPTZ, "text", 0, "1970-01-01T00:00:00.000000Z"),
    ("time with time zone", Family.TIMETZ, "text", "10:34:56.5Z", "10:34:56.5Z"),
    ("uuid", Family.UUID, "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("jsonb", Family.JSON, "jsonb", "[1]", "[1]"),
    ("xml", Family.XML, "xml", "<a/>", "<a/>"),
    ("shop.mood", Family.ENUM, "enum", "ok", "ok"),
    ("hstore", Family.TEXT, "text", '"a"=>"b"', '"a"=>"b"'),
]
"""Columns that may be stated besides, with a value of ours and of Debezium's."""


@pytest.mark.parametrize(("native", "family", "statement", "value", "raw"), STATED)
def test_whatever_is_stated_is_the_same_from_both(
    native: str, family: Family, statement: str, value: object, raw: object
) -> None:
    version = version_of(Column("c", LogicalType(family), native))
    reads = reader("postgresql", Stated({str(NAME): {"c": statement}}), version)
    found = read(reads, "postgresql", *written(version, "postgresql", ("c", None, (1, value))))
    assert found == read(reads, "postgresql", theirs(c=raw))


def test_every_family_has_a_case() -> None:
    some = {row[1] for row in STATED} | {case.type.family for case in CASES} | {type_.family for _, type_, _ in ALIKE}
    assert some | {Family.INT32} == set(Family), "the key is of the one that is left"


def test_names_in_fragments_mean_one_thing() -> None:
    for names in (columns.NAMES, ours.NAMES):
        assert [name for name in names if NAMES.get(name, names[name]) is not names[name]] == []


def test_floats_and_numerics_look_as_debeziums_do() -> None:
    version = version_of(
        Column("f", LogicalType(Family.FLOAT32), "real"), Column("n", LogicalType(Family.NUMERIC), "numeric")
    )
    reads = reader("postgresql", Stated(), version)
    float32 = 1.100000023841858
    samples = written(version, "postgresql", ("c", None, (1, float32, Decimal("1.50"))))
    assert read(reads, "postgresql", *samples) == read(
        reads, "postgresql", theirs(f=1.1, n={"scale": 2, "value": "AJY="})
    )


def test_whatever_happens_to_a_row() -> None:
    columns = (Column("m", TEXT, "money"), Column("big", LogicalType(Family.STRING), "text"))
    for full in (False, True):
        version = replace(version_of(*columns), full_before=full)
        reads = reader("postgresql", Stated({str(NAME): {"m": "money"}}), version)
        old, new = (1, "$1.00", "large"), (1, "$2.00", UNCHANGED)
        whole = old if full else (1, UNCHANGED, UNCHANGED)
        samples = written(version, "postgresql", ("u", old if full else None, new), ("d", whole, None))
        _, (update, delete) = read(reads, "postgresql", *samples)
        # With whole old rows they have what the new row leaves out.
        assert update[2][1:] == (2, "large" if full else UNCHANGED)
        assert (delete[0], delete[1][0]) == ("d", 1)


def test_a_new_row_that_nobody_could_tell_says_so_itself() -> None:
    """Debezium's, of which it only did not look, is refused: its row is there."""
    version = version_of(Column("m", TEXT, "money"), Column("big", LogicalType(Family.STRING), "text"))
    reads = reader("postgresql", Stated({str(NAME): {"m": "money"}}), version)
    samples = written(version, "postgresql", ("c", None, (1, UNCHANGED, "small")))
    assert read(reads, "postgresql", *samples)[1] == [("c", None, (1, UNCHANGED, "small"))]


def test_a_version_of_another_life_of_the_capture_is_another_writer() -> None:
    version = version_of(Column("c", TEXT, "inet"))
    (sample,) = written(version, "postgresql", ("c", None, (1, "10.0.0.1")))
    later = sample.value.replace(b'"seq":%d' % ((1 << 56) + 1), b'"seq":%d' % ((2 << 56) + 1))
    assert later != sample.value
    reads = reader("postgresql", Stated(), version)
    assert reads.mark(sample.key, later) != reads.mark(sample.key, sample.value)


def test_a_domain_is_what_it_is_over() -> None:
    price = UserType("shop", "price", "domain", definition="money check ((value > '0'))")
    version = version_of(Column("c", TEXT, "shop.price"), types=(price,))
    (sample,) = written(version, "postgresql", ("c", None, (1, "$2.50")))
    with pytest.raises(TailraceError, match=r"c \(money"):
        reader("postgresql", Stated(), version).writer(sample, NAME)
    _, (change,) = read(reader("postgresql", Stated({str(NAME): {"c": "money"}}), version), "postgresql", sample)
    assert str(change[2][1]) == "2.50"


def test_a_domain_is_looked_through_whatever_its_name_and_its_constraints_are() -> None:
    """As the server prints them: quoted where need be, and what else a domain has behind its type."""
    more = " default 'a.b' not null constraint c check ((value <> 'a.b'))"
    for over in ("money", "public.hstore", "integer[]", "bit(3)"):
        types = (
            UserType("shop", "Inner", "domain", definition=over + more),
            UserType("shop", "outer", "domain", definition='shop."Inner"' + more),
        )
        for native in ('shop."Inner"', "shop.outer"):
            version = version_of(Column("c", TEXT, native), types=types)
            (sample,) = written(version, "postgresql", ("c", None, (1, None)))
            with pytest.raises(TailraceError, match=re.escape(f"c ({over})")):
                reader("postgresql", Stated(), version).writer(sample, NAME)
    texts = (UserType("shop", "plain", "domain", definition="text constraint c check ((value <> '{}'::text[]))"),)
    version = version_of(Column("c", LogicalType(Family.STRING), "shop.plain"), types=texts)
    (sample,) = written(version, "postgresql", ("c", None, (1, "a")))
    reader("postgresql", Stated(), version).writer(sample, NAME)


def test_a_statement_that_cannot_be_is_refused_by_name() -> None:
    for native, type_, value, statement in (
        ("money", TEXT, "$1.00", "date"),
        # These would take what looks otherwise with Debezium for the same.
        ("money", TEXT, "$1.00", "text"),
        ("timestamp(3) without time zone", STAMP, 1000, "bigint"),
    ):
        version = version_of(Column("c", type_, native))
        (sample,) = written(version, "postgresql", ("c", None, (1, value)))
        reads = reader("postgresql", Stated({str(NAME): {"c": statement}}), version)
        with pytest.raises(TailraceError, match=re.escape(f"c (stated {statement}, captured {native})")) as caught:
            reads.writer(sample, NAME)
        assert caught.value.kind is ErrorKind.CONFIGURATION


def test_types_are_not_inferred_from_the_captures_records() -> None:
    version = version_of(Column("c", TEXT, "inet"))
    (sample,) = written(version, "postgresql", ("c", None, (1, "10.0.0.1")))
    reads = reader("postgresql", Stated(), version)
    found = reads.writer(theirs(c=None)._replace(more=[sample.value, theirs(c=7).value]), NAME)
    assert found.fields[1]["type"] == "int64"


def test_the_page_names_every_type_that_differs() -> None:
    """Of the default modes; what other modes change is the modes' own matter, and said below the table."""
    rows = re.findall(r"^\| (`.+?`[^|]*)\|[^|]*\|[^|]*\|[^|]*\|$", PAGE.read_text(), re.MULTILINE)
    named = {word for row in rows for word in re.findall(r"`([a-z ]+)(?:\([a-z0-3, ]+\))?(?:\[\])?`", row)}
    differing = {
        re.split(r"[(\[]", case.native)[0].removesuffix(" without time zone")
        for case in CASES
        if not case.modes and not looks_alike(Column("c", case.type, case.native), case.connector, stated_for(case))
    }
    assert differing - {"integer", "text", "date"} <= named, "arrays have one row"
    assert all(case.modes or case.stated for case in CASES)

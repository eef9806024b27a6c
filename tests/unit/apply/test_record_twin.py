"""The compiled twin stages, and reads, what generated functions do: every type and operation, every byte; damage too.

It is held to that as it is built, if it is, and as Python runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orjson import dumps

from apply.sinks.mysql.rows import LineForm as TextForm
from apply.sinks.mysql.statements import usual_form as mysql_form
from apply.sinks.postgresql.rows import LineForm
from apply.sinks.postgresql.statements import usual_form as postgresql_form
from apply.sinks.postgresql.types import wire_of
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import Decoder, compile_decoder, compile_encoder
from schemas.codecs.generate import guarded_many
from schemas.codecs.record_twin import rows
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.row_forms import StagedForm
from schemas.table import Column, TableName, TableSchema
from schemas.twin import built, kinds
from schemas.twin.odd import LARGE_BYTES
from schemas.types import Family, LogicalType
from tests.kit.twin import Find, unbuilt
from tests.kit.type_samples import SAMPLES

FINDS = [pytest.param(cache(unbuilt), id="unbuilt"), pytest.param(built, id="built")]
SINKS: dict[str, Callable[[TableSchema], StagedForm]] = {"postgresql": postgresql_form, "mysql": mysql_form}
TXN = Transaction("1", 1, 2, 3)

CHOSEN = [
    *[sample for sample in SAMPLES if sample.type.scale != 500],
    *[
        type(SAMPLES[0])(LogicalType(Family.DECIMAL, precision, scale), "numeric", (0, 1, -1, 10**precision - 1, 9999))
        for precision, scale in ((18, 0), (18, 1), (18, 3), (18, 4), (18, 5), (18, 18))
    ],
]
"""The key, and a column of each sample of a type."""
COLUMNS = [Column("id", LogicalType(Family.INT64), "bigint")]
COLUMNS += [Column(f'c"{i}é', sample.type, sample.native) for i, sample in enumerate(CHOSEN)]
COUNT = len(COLUMNS)

US = st.integers(-(2**63), 2**63 - 1) | st.integers(-63_082_281_600_000_000, 252_455_616_000_000_000)
PLAIN = st.integers(0, 17) | st.integers(60, 140)
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text('\1\10\t\n\f\r\33"\\/é\u2028😀 a', max_size=20),
    # Eight bytes, or 64, are looked at together: what is odd stands at each place of them.
    st.tuples(PLAIN, st.sampled_from('\1\37 !"#[\\]\177é😀'), PLAIN).map(
        lambda text: "x" * text[0] + text[1] + "y" * text[2]
    ),
)
DRAWN: dict[Family, st.SearchStrategy[Any]] = {
    Family.INT64: st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**6), 10**6),
    Family.TIMESTAMP: US,
    Family.TIMESTAMPTZ: US,
    Family.UUID: st.uuids().map(str),
    Family.BYTES: st.binary(max_size=40),
    Family.STRING: TEXT,
    Family.FLOAT32: st.floats(width=32),
    Family.FLOAT64: st.floats(),
}


def _table(key: tuple[int, ...] = (0,), *, full_before: bool = False) -> TableSchema:
    return TableSchema(TableName("public", "t"), tuple(COLUMNS), key, full_before=full_before)


TABLES = [_table(), _table((0, 14)), _table(full_before=True)]


def _value(place: int) -> st.SearchStrategy[Any]:
    sample = CHOSEN[place - 1]
    # Long values go through whole in the tests of codecs.
    edges = st.sampled_from([value for value in sample.values if len(repr(value)) < 300])
    if sample.type.family is Family.DECIMAL and (sample.type.precision or 0) <= 18:
        bound = 10 ** (sample.type.precision or 0)
        return edges | st.integers(1 - bound, bound - 1)
    return edges | DRAWN.get(sample.type.family, st.nothing())


@st.composite
def _rows(draw: st.DrawFn, *, unchanged: bool) -> Row:
    """Draw a row of which a few columns are there: one that is odd makes the whole row so."""
    row: list[Any] = [draw(DRAWN[Family.INT64]), *[None] * (COUNT - 1)]
    for place in {14, *draw(st.sets(st.integers(1, COUNT - 1), max_size=4))}:
        row[place] = draw(_value(place))
    if unchanged:
        row[draw(st.integers(15, COUNT - 1))] = UNCHANGED
    return tuple(row)


@st.composite
def _values(draw: st.DrawFn, table: TableSchema, format_: Format) -> list[bytes]:
    """Draw the values of records as the encoder writes them."""
    run = RowChanges(table, TXN)
    for _ in range(draw(st.integers(1, 3))):
        op = draw(st.sampled_from("ccuud"))
        old, new = draw(_rows(unchanged=False)), draw(_rows(unchanged=draw(st.integers(0, 5)) == 0))
        if not table.full_before:
            old = tuple(value if i in table.key else UNCHANGED for i, value in enumerate(old))
        has_old = op == "d" or (op == "u" and table.full_before)
        run.add(op, old if has_old else None, None if op == "d" else new)
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    if draw(st.integers(0, 9)) == 0:
        return [encoder.truncate(block, 1)]
    if draw(st.integers(0, 3)) == 0:
        rows = [row for row in run.after if row is not None and UNCHANGED not in row]
        return [encoder.read(encoder.body(row), block, 5) for row in rows]
    return [value for _, value in encoder.run(run, block, 8190, False)[0] if value is not None]


JUNK = st.binary(max_size=4) | st.sampled_from(
    (
        b" ",
        b'"',
        b"\\",
        b"\\u00e9",
        b"\\/",
        b"null",
        b"true",
        b"1.0",
        b"-0",
        b"01",
        b"1e5",
        b"{}",
        b"[",
        b",",
        b"\n",
        b"A===",
        b"==",
    )
)


@st.composite
def _damaged(draw: st.DrawFn, value: bytes) -> bytes:
    # Most of what stands before and behind the row is not looked at.
    at = draw(st.integers(0, len(value)))
    junk = draw(JUNK)
    return draw(
        st.sampled_from([value[:at], value[:at] + junk + value[at:], value[:at] + junk + value[at + len(junk) :]])
    )


def _outcome(decoder: Decoder, stage: Callable[..., None], values: list[bytes]) -> str | ErrorKind:
    try:
        return repr(guarded_many(decoder.table, stage)(values))
    except TailraceError as error:
        return error.kind


@cache
def _form(sink: str, table: TableSchema) -> StagedForm:
    return SINKS[sink](table)


@cache
def _stages(decoder: Decoder, find: Find, sink: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return what the twin does, and what the generated function."""
    form, functions = _form(sink, decoder.table), decoder._functions
    return functions["staged_by_twin"](form, find), functions["staged_by_python"](form)


@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("sink", SINKS)
@given(st.data(), st.sampled_from(TABLES), st.sampled_from(list(Format)), st.booleans())
def test_the_twin_stages_what_the_generated_functions_stage(
    sink: str, find: Find, data: st.DataObject, table: TableSchema, format_: Format, damage: bool
) -> None:
    if find("records") is None:
        pytest.skip("it is not built: no compiler was there")
    values = data.draw(_values(table, format_))
    if damage:
        values = [data.draw(_damaged(value)) for value in values]
    decoder = compile_decoder(table, format_)
    twin, generated = _stages(decoder, find, sink)
    assert _outcome(decoder, twin, values) == _outcome(decoder, generated, values)


@cache
def _readers(decoder: Decoder, find: Find) -> tuple[Callable[..., None], Callable[..., None]]:
    functions = decoder._functions
    return functions["rows_by_twin"](find), functions["rows_by_python"]


@pytest.mark.parametrize("find", FINDS)
@given(st.data(), st.sampled_from(TABLES), st.sampled_from(list(Format)), st.booleans())
def test_the_twin_reads_the_rows_that_the_generated_functions_read(
    find: Find, data: st.DataObject, table: TableSchema, format_: Format, damage: bool
) -> None:
    if find("record_rows") is None:
        pytest.skip("it is not built: no compiler was there")
    values = data.draw(_values(table, format_))
    if damage:
        values = [data.draw(_damaged(value)) for value in values]
    decoder = compile_decoder(table, format_)
    twin, generated = _readers(decoder, find)
    assert _outcome(decoder, twin, values) == _outcome(decoder, generated, values)


USUAL: dict[Family, Any] = {
    **dict.fromkeys((Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.DECIMAL, Family.UINT64), 7),
    **dict.fromkeys((Family.FLOAT32, Family.FLOAT64), 0.5),
    **dict.fromkeys((Family.DATE, Family.TIME, Family.TIMESTAMP, Family.TIMESTAMPTZ), 20_000),
    Family.BOOLEAN: True,
    Family.BYTES: b"\0\1",
    Family.UUID: "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
}


def _usual(column: Column) -> Any:
    if column.type.family is Family.NUMERIC:
        return None
    return "{}" if column.native.endswith("[]") else USUAL.get(column.type.family, 'é"\\\n')


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("table", [TABLES[0], TABLES[2]], ids=["key", "full"])
def test_usual_rows_are_staged_without_a_second_reading(
    table: TableSchema, sink: str, find: Find, format_: Format
) -> None:
    """Old rows beside them are passed over; those that go are read."""
    if find("records") is None:
        pytest.skip("it is not built: no compiler was there")
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    decoder, form = compile_decoder(table, format_), _form(sink, table)
    row = tuple(_usual(column) for column in COLUMNS)
    old = [None, row if table.full_before else None, row]
    run = RowChanges(table, TXN, ["c", "u", "d"], old, [row, (row[0], *[None] * (COUNT - 1)), None])
    values = [value or b"" for _, value in encoder.run(run, block, 5, False)[0]]
    expected: list[Any] = []
    decoder._functions["staged_by_python"](form)(values, expected)
    assert [(op, before, type(line)) for op, before, line in expected[:2]] == [("c", None, bytes), ("u", None, bytes)]
    assert expected[2][0] == "d"
    found: list[Any] = []
    stage = decoder._functions["staged_by_twin"](form, find)
    with pytest.MonkeyPatch.context() as patch:
        # Without it no function for whole rows can be generated.
        patch.setattr(type(form), "names", None)
        stage(values, found)
    assert found == expected


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("sink", SINKS)
def test_an_insert_that_nobody_could_tell_is_a_row_whoever_reads_it(sink: str, find: Find, format_: Format) -> None:
    """Among whole ones, and where null is no value of its columns."""
    if find("records") is None:
        pytest.skip("it is not built: no compiler was there")
    table = TABLES[0]
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    decoder = compile_decoder(table, format_)
    row, untold = tuple(_usual(column) for column in COLUMNS), (2, *[UNCHANGED] * (COUNT - 1))
    run = RowChanges(table, TXN, ["c", "u", "c"], [None, (1, *[UNCHANGED] * (COUNT - 1)), None], [row, untold, row])
    values = [value or b"" for _, value in encoder.run(run, block, 5, False)[0]]
    for read in (*_stages(decoder, find, sink), *_readers(decoder, find)):
        out: list[Any] = []
        read(values, out)
        assert out[2] == ("c", None, untold)
        assert [(op, type(after)) for op, _, after in out[::3]] == [("c", type(out[0][2]))] * 2


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("table", [TABLES[0], TABLES[2]], ids=["key", "full"])
def test_usual_rows_are_read_without_a_second_reading(table: TableSchema, find: Find, format_: Format) -> None:
    if find("record_rows") is None:
        pytest.skip("it is not built: no compiler was there")
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    row, nulls = tuple(_usual(column) for column in COLUMNS), (7, *[None] * (COUNT - 1))
    run = RowChanges(table, TXN, ["u", "d"], [nulls if table.full_before else None, row], [nulls, None])
    values = [encoder.read(encoder.body(some), block, 5) for some in (row, nulls)]
    values += [value or b"" for _, value in encoder.run(run, block, 5, False)[0]]
    found: list[Any] = []
    read = rows(table, format_, lambda some, _: pytest.fail(f"{len(some)} were left to it"), find)
    read(values, found)
    old = row if table.full_before else tuple(v if i in table.key else UNCHANGED for i, v in enumerate(row))
    expected = [("r", None, row), ("r", None, nulls), ("u", run.before[0], nulls), ("d", old, None)]
    assert repr(found) == repr(expected)
    assert [type(value) for value in found[0][2]] == [type(value) for value in row]


@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("format_", [Format.JSON, Format.AVRO])
@pytest.mark.parametrize(
    ("family", "value"),
    [(Family.INT16, 1 << 15), (Family.INT32, 1 << 31), (Family.UINT32, -1), (Family.DATE, 1 << 31), (Family.TIME, -1)],
)
def test_numbers_beyond_a_type_are_left_to_the_generated_function(
    find: Find, format_: Format, family: Family, value: int
) -> None:
    if find("record_rows") is None:
        pytest.skip("it is not built: no compiler was there")
    written, read = (
        TableSchema(TableName("s", "t"), (COLUMNS[0], Column("v", LogicalType(type_), "x")), (0,))
        for type_ in (Family.INT64, family)
    )
    encoder = compile_encoder(written, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    values = [encoder.read(encoder.body((1, value)), block, 5)]
    decoder = compile_decoder(read, format_)
    twin, generated = _readers(decoder, find)
    assert _outcome(decoder, twin, values) == _outcome(decoder, generated, values)


@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("sink", SINKS)
def test_nulls_behind_a_space_are_nulls(sink: str, find: Find) -> None:
    if find("records") is None:
        pytest.skip("it is not built: no compiler was there")
    table = TABLES[0]
    encoder = compile_encoder(table, Format.JSON, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    value = encoder.read(encoder.body((1, *[None] * (COUNT - 1))), block, 5)
    twin, generated = _stages(compile_decoder(table, Format.JSON), find, sink)
    for name in table.column_names[1:]:
        text = dumps(name) + b":"
        spaced = value.replace(text + b"null", text + b" null")
        assert spaced != value
        found: list[Any] = []
        expected: list[Any] = []
        twin([spaced], found)
        generated([spaced], expected)
        assert found == expected, name


@pytest.mark.parametrize("format_", [Format.JSON, Format.JSON_WITH_SCHEMA])
@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("sink", SINKS)
def test_json_that_ends_behind_its_row_is_not_staged(sink: str, find: Find, format_: Format) -> None:
    if find("records") is None:
        pytest.skip("it is not built: no compiler was there")
    table = TableSchema(TableName("public", "t"), (COLUMNS[0],), (0,))
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    value = encoder.read(encoder.body((1,)), block, 5)
    ((_, placed),) = encoder.placed([(None, value)], "3", 0, 0)
    decoder = compile_decoder(table, format_)
    for whole in (value, placed or b""):
        for stage in _stages(decoder, find, sink):
            assert _outcome(decoder, stage, [whole]) == _outcome(decoder, stage, [whole + b"\n"])
            for end in range(whole.index(b',"source":{"version":'), len(whole)):
                assert _outcome(decoder, stage, [whole[:end]]) is ErrorKind.DECODE


def test_tables_of_values_that_only_python_reads_are_the_generated_functions() -> None:
    doubles = tuple(Column(f"c{i}", LogicalType(Family.FLOAT64), "float8") for i in range(2))
    table = TableSchema(TableName("s", "t"), (*COLUMNS[:1], *doubles), (0,))

    def careful(values: list[bytes], out: list[Any]) -> None:
        raise AssertionError

    assert rows(table, Format.JSON, careful, unbuilt) is careful
    assert rows(table, Format.AVRO, careful, unbuilt) is not careful


@pytest.mark.parametrize("find", FINDS)
def test_a_run_within_a_run_is_left_to_the_generated_function(find: Find) -> None:
    if find("record_rows") is None:
        pytest.skip("it is not built: no compiler was there")
    table = TableSchema(TableName("public", "t"), (COLUMNS[0],), (0,))
    encoder = compile_encoder(table, Format.AVRO, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    usual, odd = encoder.read(encoder.body((1,)), block, 5), b""
    within: list[Any] = []

    def careful(values: list[bytes], out: list[Any]) -> None:
        # As another thread would, which comes while Python runs.
        if values == [odd]:
            read([usual], within)
        out.append(len(values))

    read = rows(table, Format.AVRO, careful, find)
    out: list[Any] = []
    for _ in range(2):
        read([odd, usual], out)
    assert out == [1, ("r", None, (1,))] * 2
    assert within == [1] * 2


@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("format_", Format)
def test_rows_without_columns_are_left_to_the_generated_function(format_: Format, sink: str, find: Find) -> None:
    if find("records") is None:
        pytest.skip("it is not built: no compiler was there")
    table = TableSchema(TableName("public", "t"), (), ())
    assert compile_decoder(table, format_)._functions["staged_by_twin"](SINKS[sink](table), find) is None


def test_large_records_are_read_the_careful_way() -> None:
    module = unbuilt("copy_lines")
    table = TableSchema(TableName("public", "t"), (COLUMNS[0], Column("v", LogicalType(Family.STRING), "text")), (0,))
    encoder = compile_encoder(table, Format.AVRO, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    small, large = (encoder.read(encoder.body((1, "x" * size)), block, 5) for size in (100_000, LARGE_BYTES))
    writer = module.CopyLines(
        {
            "is_json": False,
            "is_wrapped": False,
            "names": [],
            "calls": {},
            "kinds": bytes((kinds.INT64, kinds.TEXT)),
            "sizes": bytes((8, 0)),
            "scales": bytes(2),
        }
    )
    out: list[Any] = []
    careful: list[bytes] = []
    writer.run([small, large, small], out, lambda values, _: careful.extend(values))
    assert careful == [large]
    assert [len(line) for _, _, line in out] == [12 + 4 + 100_000] * 2


def test_a_form_of_other_columns_is_not_the_twins() -> None:
    wires = [(i, wire_of(column.type)) for i, column in enumerate(COLUMNS)]
    types = [column.type for column in COLUMNS]
    assert LineForm(tuple(wires)).plan(types) is not None
    for fields in (wires[:-1], wires[1:], [*wires[:-1], None], [wires[1], wires[0], *wires[2:]], [*wires, wires[0]]):
        assert LineForm(tuple(fields)).plan(types) is None
    texts = list(mysql_form(TABLES[0]).fields)
    assert TextForm(tuple(texts)).plan(types) is not None
    for some in (texts[:-1], texts[1:], [texts[1], texts[0], *texts[2:]], [*texts, texts[0]]):
        assert TextForm(tuple(some)).plan(types) is None


def test_every_kind_is_met() -> None:
    types = [column.type for column in COLUMNS]
    copied, loaded = (_form(sink, TABLES[0]).plan(types) or [] for sink in ("postgresql", "mysql"))
    every = set(range(1, kinds.CALLED + 1))
    assert {kind for kind, _ in copied} == every
    assert {kind for kind, _ in loaded} == every - {kinds.FLOAT32, kinds.FLOAT64, kinds.VERSIONED}

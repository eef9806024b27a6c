"""The compiled twin writes what the generated functions write: every type, every operation, every byte; damage too.

It is held to that as it is built, if it is, and as Python runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from itertools import chain, repeat
from struct import pack
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.sources.postgresql.copying import CopyForm
from capture.sources.postgresql.pgoutput import TUPLE_AT, TableForm
from capture.sources.postgresql.types import TypeInfo, reader
from schemas.bundles import Pair
from schemas.changes import Transaction
from schemas.codecs import Format, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.row_forms import UnreadRows
from schemas.table import Column, TableName, TableSchema
from schemas.twin import built, kinds
from tests.kit.twin import unbuilt
from tests.unit.capture.postgresql import wire

MODULES = [pytest.param(unbuilt("rows"), id="unbuilt"), pytest.param(built("rows"), id="built")]

EDGES = (-(2**63), -(2**63) + 1, -1, 0, 1, 8191, 8192, 2**62, 2**63 - 946_684_800_000_000, 2**63 - 2, 2**63 - 1)
EIGHT = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from(EDGES), st.integers(-(10**15), 10**15))
ORDINARY_STAMP = st.integers(-63_082_281_600_000_000, 252_455_616_000_000_000)
DAYS = st.one_of(st.integers(-2_451_545, 2_145_031_948), st.sampled_from([-(2**31), 2**31 - 1]))
"""Of 4713 BC to 5874897 AD, what PostgreSQL has ("Date/Time Types", Table 8.9), from 2000 on, and both infinities."""
PLAIN = st.integers(0, 17) | st.integers(60, 140)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=90),
    st.text('\1\10\t\n\13\f\r\33"\\/é\u2028😀 a', max_size=20),
    # Eight bytes, or 64, are looked at together: what is odd stands at each place of them.
    st.tuples(PLAIN, st.sampled_from('\1\37 !"#[\\]\177é😀'), PLAIN).map(
        lambda text: "x" * text[0] + text[1] + "y" * text[2]
    ),
).map(str.encode)


def _numeric(groups: list[int], weight: int, sign: int, scale: int) -> bytes:
    return pack(">hhHH", len(groups), weight, sign, scale) + b"".join(pack(">H", group) for group in groups)


NUMERIC = st.one_of(
    st.builds(
        _numeric,
        st.lists(st.integers(0, 9999), max_size=6),
        st.integers(-3, 5),
        st.sampled_from([0, 0, 0, 0x4000, 0xC000]),
        st.integers(0, 12),
    ),
    st.builds(lambda n: wire.numeric(n, 2), st.integers(-(10**11), 10**11)),
)


def _n(size: int, values: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[bytes]:
    bound = 1 << 8 * size - 1
    return (st.integers(-bound, bound - 1) if values is None else values).map(
        lambda n: n.to_bytes(size, "big", signed=True)
    )


def _modifier(precision: int, scale: int) -> int:
    return (precision << 16 | scale) + 4


COLUMNS: list[tuple[str, int, st.SearchStrategy[bytes]]] = [
    ("int8", -1, _n(8, EIGHT)),
    ("text", -1, TEXTS),
    ("bool", -1, st.sampled_from([b"\0", b"\1"])),
    ("int2", -1, _n(2)),
    ("int4", -1, _n(4)),
    ("oid", -1, _n(4)),
    ("float4", -1, st.floats(width=32).map(lambda x: pack(">f", x))),
    ("float8", -1, st.floats().map(lambda x: pack(">d", x))),
    ("numeric", _modifier(12, 2), NUMERIC),
    ("numeric", _modifier(18, 9), NUMERIC),
    ("numeric", _modifier(30, 4), NUMERIC),
    ("numeric", -1, NUMERIC),
    ("varchar", 24, TEXTS),
    ("bytea", -1, st.binary(max_size=70)),
    ("date", -1, _n(4, DAYS)),
    ("time", -1, _n(8, st.integers(0, 86_400_000_000))),
    ("timetz", -1, st.integers(0, 86_400_000_000).map(lambda n: pack(">qi", n, -19800))),
    ("timestamp", -1, _n(8, EIGHT)),
    ("timestamptz", -1, _n(8, st.one_of(EIGHT, ORDINARY_STAMP, ORDINARY_STAMP))),
    ("interval", -1, st.integers(-(2**40), 2**40).map(lambda n: pack(">qii", n, 3, 14))),
    ("uuid", -1, st.binary(min_size=16, max_size=16)),
    ("json", -1, TEXTS),
    ("jsonb", -1, TEXTS.map(lambda text: b"\1" + text)),
    ("mood", -1, TEXTS),
    ("inet", -1, st.just(b"\2\x20\0\4\x7f\0\0\1")),
]
TYPES = {
    number: TypeInfo(number, "pg_catalog", name, "e" if name == "mood" else "b", f"{name}_send")
    for number, (name, _, _) in enumerate(COLUMNS)
}
COUNT = len(COLUMNS)


def _table(key: tuple[int, ...], *, full_before: bool) -> tuple[TableSchema, TableForm]:
    readers = [reader(TYPES, number, modifier) for number, (_, modifier, _) in enumerate(COLUMNS)]
    columns = tuple(Column(f'c"{i}', r.type, "x") for i, r in enumerate(readers))
    table = TableSchema(TableName("public", "t"), columns, key, full_before=full_before)
    return table, TableForm(readers, [i in key for i in range(COUNT)], binary=True)


CASES = [
    _table(key, full_before=full_before)
    for key, full_before in (((0,), False), ((1, 20, 8), False), ((20, 0), True), ((24, 10), True), ((), True))
]
USUAL = [
    pack(">q", 7),
    b"\n\xc3\xa9",
    b"\1",
    *(bytes(size) for size in (2, 4, 4, 4, 8)),
    *[wire.numeric(-12345, 2)] * 4,
]
USUAL += [b"", b"\1\2", *(bytes(size) for size in (4, 8, 12, 8, 8, 16, 16)), b"{}", b"\1{}", b"sad"]
USUAL += [b"\2\x20\0\4\x7f\0\0\1"]


@st.composite
def rows(draw: st.DrawFn, key: tuple[int, ...]) -> list[bytes]:
    """Draw the columns of a row of which a few are there: one that is odd makes the whole row so."""
    there = {*draw(st.sets(st.integers(0, COUNT - 1), max_size=4)), *key}
    return [wire.binary(draw(values) if i in there else None) for i, (_, _, values) in enumerate(COLUMNS)]


@st.composite
def changes(draw: st.DrawFn, key: tuple[int, ...], *, is_whole: bool) -> bytes:
    """Draw a message of a change of a table with this key."""
    op = draw(st.sampled_from("iud"))
    new, old = draw(rows(key)), draw(rows(key))
    if draw(st.booleans()):
        for i in key:
            old[i] = new[i]
    if draw(st.integers(0, 9)) == 0:
        new[draw(st.integers(0, COUNT - 1))] = draw(st.sampled_from([b"u", wire.text("1")]))
    if not is_whole:
        old = [column if i in key else b"n" for i, column in enumerate(old)]
    if op == "i":
        return wire.insert(1, wire.row(*new))
    if op == "d":
        return wire.delete(1, wire.row(*old), b"O" if is_whole else b"K")
    return wire.update(1, wire.row(*new), wire.row(*old) if is_whole else b"", b"O")


Outcome = tuple[list[Pair], int] | ErrorKind


def _outcome(run: Callable[..., tuple[list[Pair], int]], messages: list[bytes], *arguments: object) -> Outcome:
    try:
        return run(messages, *arguments)
    except TailraceError as error:
        return error.kind


@pytest.mark.parametrize("module", MODULES)
@given(st.data(), st.sampled_from(CASES), st.sampled_from(list(Format)), st.booleans())
def test_the_twin_writes_what_the_generated_functions_write(
    module: ModuleType | None, data: st.DataObject, case: tuple[TableSchema, TableForm], format_: Format, damage: bool
) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    table, form = case
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    functions = encoder._functions
    twin, generated = functions["logged_by_twin"](form, module), functions["logged_by_python"](form)
    assert twin is not None
    is_whole = table.full_before or not table.key
    messages = data.draw(st.lists(changes(table.key, is_whole=is_whole), min_size=1, max_size=3))
    if damage:
        messages = [data.draw(_damaged(message)) for message in messages]
    txn = Transaction("1", 1, 2, 3)
    block = encoder.block(snapshot="false", position_lsn=txn.commit, ts_us=2, txid=3, now_us=4)
    # Across the place where the sequence's high part changes.
    arguments = (block, 8190, data.draw(st.booleans()))
    try:
        expected: Outcome = generated(messages, *arguments)
    except TailraceError as error:
        if format_ is Format.AVRO and isinstance(error.__cause__, UnicodeDecodeError):
            # Avro's texts are copied as they are, since the server has checked them: only a row that is read tells.
            return
        expected = error.kind
    assert _outcome(twin, messages, *arguments) == expected


@st.composite
def _damaged(draw: st.DrawFn, message: bytes, first: int = TUPLE_AT - 2) -> bytes:
    """Draw a message that is cut, or in which the bytes of lengths, kinds or values are others."""
    # What tells the operations apart was looked at before (`TableForm.heads`).
    at = draw(st.integers(first, len(message)))
    junk = draw(st.binary(max_size=4))
    return draw(st.sampled_from([message[:at], message[:at] + junk + message[at + len(junk) :], message + junk]))


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("module", MODULES)
def test_usual_rows_are_written_without_a_second_reading(module: ModuleType | None, format_: Format) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    row, key = [wire.binary(value) for value in USUAL], [wire.binary(USUAL[0]), *[b"n"] * (COUNT - 1)]
    for case, messages in (
        (CASES[0], [wire.insert(1, wire.row(*row)), wire.update(1, wire.row(*row)), wire.delete(1, wire.row(*key))]),
        (CASES[2], [wire.update(1, wire.row(*row), wire.row(*row), b"O"), wire.delete(1, wire.row(*row), b"O")]),
    ):
        form = copy(case[1])
        encoder = compile_encoder(case[0], format_, replication="shop", connector="postgresql", database="shop")
        block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
        expected = encoder._functions["logged_by_python"](form)(messages, block, 1, True)
        form.read = None  # type: ignore[method-assign, assignment]
        write = encoder._functions["logged_by_twin"](form, module)
        assert write(messages, block, 1, True) == expected


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("module", MODULES)
def test_a_text_that_is_not_utf8_is_no_json(module: ModuleType | None, format_: Format) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    table, form = CASES[0]
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    twin, generated = encoder._functions["logged_by_twin"](form, module), encoder._functions["logged_by_python"](form)
    for i, before in ((1, b""), (12, b"a"), (21, b"{"), (22, b"\1{"), (23, b"sad")):
        for wrong in (b"\xff", b"\xc3", b"\xed\xa0\x80"):
            row = [wire.binary(before + wrong if at == i else value) for at, value in enumerate(USUAL)]
            messages = [wire.insert(1, wire.row(*row))]
            found = _outcome(twin, messages, block, 1, True)
            assert found == _outcome(generated, messages, block, 1, True)
            assert (found is ErrorKind.DECODE) == (format_ is not Format.AVRO)


def test_large_messages_and_such_as_find_no_memory_are_read_the_careful_way() -> None:
    module, (table, form) = unbuilt("rows"), (CASES[0][0], copy(CASES[0][1]))
    encoder = compile_encoder(table, Format.AVRO, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    small, middle, large = (
        wire.insert(1, wire.row(*[wire.binary(b"x" * size if i == 1 else value) for i, value in enumerate(USUAL)]))
        for size in (1, 100_000, module.MESSAGE_BYTES_MAX)
    )
    messages = [small, middle, middle, large, small]
    careful: list[bytes] = []
    read, left = form.read, chain([True], repeat(False))

    def counted(message: bytes) -> object:
        careful.append(message)
        return read(message)

    def bytearray_(size: int = 0) -> bytearray:
        if size > 1_000_000 and next(left):
            raise MemoryError
        return bytearray(size)

    form.read = counted  # type: ignore[method-assign, assignment]
    module.Writer.run.__globals__["bytearray"] = bytearray_
    expected = encoder._functions["logged_by_python"](form)(messages, block, 1, True)
    write = encoder._functions["logged_by_twin"](form, module)
    assert write(messages, block, 1, True) == expected
    assert careful == [middle, large]


def _packet(columns: list[bytes]) -> bytes:
    """Return a row as COPY sends it: no kinds, and a length of its own for null."""
    return pack(">h", COUNT) + b"".join(pack(">i", -1) if column == b"n" else column[1:] for column in columns)


def _encoded(run: Callable[[], object]) -> object:
    try:
        return run()
    except TailraceError as error:
        return error.kind
    except Exception as error:  # noqa: BLE001 - what generated code raises for a wrong row
        return type(error)


@pytest.mark.parametrize("module", MODULES)
@given(st.data(), st.sampled_from(CASES), st.sampled_from(list(Format)), st.booleans())
def test_the_twin_writes_rows_that_were_read_as_the_generated_functions_do(
    module: ModuleType | None, data: st.DataObject, case: tuple[TableSchema, TableForm], format_: Format, damage: bool
) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    table, form = case[0], CopyForm(case[0], case[1]._readers)
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    packets = [_packet(row) for row in data.draw(st.lists(rows(table.key), min_size=1, max_size=3))]
    if damage:
        # One only: of two, reading all before the first is written finds another one first.
        place = data.draw(st.integers(0, len(packets) - 1))
        packets[place] = data.draw(_damaged(packets[place], 0))
    twin = encoder._functions["copied_by_twin"](form, module)
    assert _encoded(lambda: twin(packets).apart()) == _encoded(lambda: encoder.rows(form.read(packets)))
    assert _encoded(lambda: encoder.loaded(UnreadRows(form, packets))) == _encoded(lambda: twin(packets))


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("module", MODULES)
def test_usual_rows_that_were_read_are_not_read_again(module: ModuleType | None, format_: Format) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    table, form = CASES[0][0], CopyForm(CASES[0][0], CASES[0][1]._readers)
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    packets = [
        _packet([wire.binary(value) for value in USUAL]),
        _packet([wire.binary(USUAL[0]), *[b"n"] * (COUNT - 1)]),
    ]
    expected = encoder.rows(form.read(packets))
    form.read = None  # type: ignore[method-assign, assignment]
    assert encoder._functions["copied_by_twin"](form, module)(packets).apart() == expected


@pytest.mark.parametrize("module", MODULES)
def test_numbers_of_any_count_of_digits_are_written(module: ModuleType | None) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    table, form = CASES[0][0], CopyForm(CASES[0][0], CASES[0][1]._readers)
    encoder = compile_encoder(table, Format.JSON, replication="shop", connector="postgresql", database="shop")
    numbers = [-(2**63), 2**63 - 1]
    numbers += [
        sign * n for width in range(19) for n in (10**width - 1, 10**width, 12 * 10**width // 7) for sign in (1, -1)
    ]
    packets = [_packet([wire.binary(pack(">q", n)), *[b"n"] * (COUNT - 1)]) for n in numbers]
    expected = encoder.rows(form.read(packets))
    form.read = None  # type: ignore[method-assign, assignment]
    assert encoder._functions["copied_by_twin"](form, module)(packets).apart() == expected


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("module", MODULES)
def test_rows_without_columns_are_rows(module: ModuleType | None, format_: Format) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    table = TableSchema(TableName("public", "t"), (), ())
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    assert encoder._functions["copied_by_twin"](CopyForm(table, []), module) is None
    assert encoder._functions["logged_by_twin"](TableForm([], [], binary=True), module) is None


def test_every_kind_is_met() -> None:
    form = CASES[0][1]
    assert {form.kind(i) for i in range(COUNT)} == set(range(1, kinds.CALLED + 1))
    assert TableForm(form._readers, form._key, binary=False).kind(0) is None

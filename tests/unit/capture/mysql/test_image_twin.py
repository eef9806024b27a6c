"""The compiled twin writes of MySQL's events what reading them and encoding rows writes: every byte, damage too.

It is held to that as it is built, if it is, and as Python runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.sources.mysql import binlog, types
from capture.sources.mysql.binary_json import json_text
from capture.sources.mysql.cells import CellForm
from capture.sources.mysql.images import ImageForm
from capture.sources.mysql.refusals import read_errors
from capture.sources.mysql.row_events import read_rows
from capture.sources.mysql.rows import MappedReader
from capture.sources.mysql.versions import Resolved
from schemas.bundles import Pair
from schemas.changes import Row, RowChanges, Transaction
from schemas.codecs import Encoder, Format, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.twin import built, kinds
from schemas.twin.odd import Odd
from schemas.types import Family
from schemas.types.forms import is_loose
from tests.kit.twin import unbuilt
from tests.unit.capture.mysql.images import COLUMNS, cell, image, mapped
from tests.unit.capture.mysql.test_binary_json import documents, encode

JSON = "json"
NATIVES = [*COLUMNS, JSON]
TXN = Transaction("3e11fa47-71ca-11e1-9e33-c80aa9429562:7", 0, 2, 3)


def _json(value: Any) -> bytes:
    kind, content = encode(value, large=False)
    document = bytes([kind]) + content
    return len(document).to_bytes(4, "little") + document


class Twin(NamedTuple):
    """The modules of the twin for MySQL's log."""

    cutting: Any
    images: ModuleType


def _twin(find: Callable[[str], ModuleType | None]) -> Twin | None:
    cutting, images = find("cutting"), find("images")
    return None if cutting is None or images is None else Twin(cutting, images)


MODULES = [pytest.param(_twin(unbuilt), id="unbuilt"), pytest.param(_twin(built), id="built")]


class Case(NamedTuple):
    """A table as the log has it."""

    natives: list[str]
    table: TableSchema
    columns: list[MappedReader]

    def form(self, twin: Twin) -> ImageForm:
        return ImageForm(self.columns, self.resolved.rows, twin.cutting)

    @property
    def resolved(self) -> Resolved:
        return Resolved(self.table, tuple(self.columns))

    def image(self, row: list[Any]) -> bytes:
        """Return a row's image; a document's value is its bytes."""
        return image(self.natives, row, set(range(len(row))))


COLUMNS_WITH_JSON = COLUMNS | {JSON: (documents, _json, 4)}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a table of a few columns of any types, of which some are virtual."""
    natives = draw(st.lists(st.sampled_from(NATIVES), min_size=1, max_size=9))
    virtual = draw(st.sets(st.integers(1, 8), max_size=2)) - {len(natives)} if len(natives) > 2 else set()
    columns, kept = mapped(natives, virtual, draw(st.sampled_from(["error", "null", "1970-01-02"])))
    table_columns = tuple(Column(f'c"{i}', columns[i].reader.type, natives[i]) for i in kept)
    fit = [i for i, column in enumerate(table_columns) if not is_loose(column.type.family)]
    key = tuple(sorted(draw(st.sets(st.sampled_from(fit), max_size=2)))) if fit else ()
    full_before = not key or draw(st.booleans())
    return Case(natives, TableSchema(TableName("s", "t"), table_columns, key, full_before=full_before), columns)


@st.composite
def events(draw: st.DrawFn, case: Case) -> tuple[str, bytes]:
    """Draw the operation and the rows of an event."""
    op = draw(st.sampled_from("cud"))
    keys = {i for i, column in enumerate(case.columns) if column.place in case.table.key}

    def row() -> list[Any]:
        values = [COLUMNS_WITH_JSON[native][0] for native in case.natives]
        # A key is seldom null, and that is an error.
        nulls = [st.just(None)] * 3
        return [draw(v) if i in keys else draw(st.one_of(v, v, *nulls[:1])) for i, v in enumerate(values)]

    content = b""
    for _ in range(draw(st.integers(1, 3))):
        old, new = row(), row()
        if draw(st.booleans()):
            new = [before if i in keys else after for i, (before, after) in enumerate(zip(old, new, strict=True))]
        content += case.image(old) + (case.image(new) if op == "u" else b"")
    return op, content


Outcome = tuple[list[Pair], int] | ErrorKind


def _outcome(run: Callable[[], tuple[list[Pair], int]]) -> Outcome:
    try:
        return run()
    except TailraceError as error:
        return error.kind


def _read(case: Case, op: str, event: bytes) -> list[tuple[str, Row | None, Row | None]]:
    """Read the rows of an event at once, as without the twin."""
    every = ((1 << len(case.columns)) - 1).to_bytes((len(case.columns) + 7) // 8, "little")
    read = case.resolved.rows(b"" if op == "c" else every, b"" if op == "d" else every)
    with read_errors(lambda: ""):
        before, after = read(event, 0, len(event))
    return [(op, *rows) for rows in zip(before, after, strict=True)]


@pytest.mark.parametrize("twin", MODULES)
@settings(max_examples=60, deadline=None)
@given(st.data(), cases(), st.sampled_from(list(Format)), st.booleans())
def test_the_twin_writes_what_reading_and_encoding_writes(
    twin: Twin | None, data: st.DataObject, case: Case, format_: Format, damage: bool
) -> None:
    if twin is None:
        pytest.skip("it is not built: no compiler was there")
    op, event = data.draw(events(case))
    if damage:
        at, junk = data.draw(st.integers(0, len(event))), data.draw(st.binary(max_size=4))
        event = data.draw(st.sampled_from([event[:at], event[:at] + junk + event[at + len(junk) :], event + junk]))
    form, tombstones = case.form(twin), data.draw(st.booleans())
    encoder = compile_encoder(case.table, format_, replication="shop", connector="mysql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=TXN.commit, ts_us=2, txid=None, now_us=4)
    write = encoder._functions["logged_by_twin"](form, twin.images)
    try:
        messages = form.cut(op, b"#" + event, 1, len(event) + 1)
    except ValueError:
        with pytest.raises(TailraceError):
            _read(case, op, event)
        return
    assert b"".join(message[1:] for message in messages) == event

    def by_reading() -> tuple[list[Pair], int]:
        # Across the place where the sequence's high part changes.
        pairs, seq = list[Pair](), 8190
        for message in messages:
            changes = RowChanges(case.table, TXN)
            changes.form, changes.messages = form, [message]
            changes.read()
            made, seq = encoder.run(changes, block, seq, tombstones)
            pairs += made
        return pairs, seq

    expected = _outcome(by_reading)
    assert write is not None
    assert _outcome(lambda: write(messages, block, 8190, tombstones)) == expected
    if not isinstance(expected, ErrorKind):
        assert [form.read(message) for message in messages] == _read(case, op, event)


def _usual(format_: Format) -> tuple[Case, Encoder]:
    natives = NATIVES
    columns, _ = mapped(natives, {3})
    table_columns = tuple(
        Column(f"c{c.place}", c.reader.type, native)
        for c, native in zip(columns, natives, strict=True)
        if c.place is not None
    )
    table = TableSchema(TableName("s", "t"), table_columns, (0, 7))
    encoder = compile_encoder(table, format_, replication="shop", connector="mysql", database="shop")
    return Case(natives, table, columns), encoder


def _usual_row(number: int) -> list[Any]:
    texts = {"time": "PT1H1S", "uuid": "01020304-0506-0708-0900-000000000000", "bit(11)": "01010101010"}
    document = {"a": [1, -2, 70_000, 2**40, 2.5, True, None, "x\né"], "b": {}}
    values: dict[str, Any] = {**texts, JSON: document, "bit(1)": True, "binary(4)": b"\1\0\0\0", "year": 2024}
    row = []
    for native in NATIVES:
        family = types.reader(native, "error").type.family
        empty: Any = b"ab" if family is Family.BYTES else "" if family in (Family.STRING, Family.ENUM) else number
        row.append(values.get(native, empty))
    return row


@pytest.fixture(autouse=True)
def _documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are written by their own test's encoder."""
    monkeypatch.setitem(COLUMNS, JSON, COLUMNS_WITH_JSON[JSON])


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("twin", MODULES)
def test_usual_changes_are_written_without_a_second_reading(twin: Twin | None, format_: Format) -> None:
    if twin is None:
        pytest.skip("it is not built: no compiler was there")
    case, encoder = _usual(format_)
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=None, now_us=4)
    form = case.form(twin)
    old, new = case.image(_usual_row(1)), case.image([*_usual_row(1)[:12], *_usual_row(1_000_000)[12:]])
    messages = [m for op, rows in (("c", new), ("u", old + new), ("d", old)) for m in form.cut(op, rows, 0, len(rows))]
    changes = RowChanges(case.table, TXN)
    changes.form, changes.messages = form, messages
    changes.read()
    expected = encoder.run(changes, block, 1, True)
    form.read = None  # type: ignore[method-assign, assignment]
    write = encoder._functions["logged_by_twin"](form, twin.images)
    assert write(messages, block, 1, True) == expected
    assert len(expected[0]) == 4


@pytest.mark.parametrize("twin", MODULES)
def test_changes_under_a_key_of_several_spellings_are_read(twin: Twin | None) -> None:
    if twin is None:
        pytest.skip("it is not built: no compiler was there")
    columns, _ = mapped(["double", "int"], set())
    table_columns = tuple(Column(f"c{i}", c.reader.type, "") for i, c in enumerate(columns))
    case = Case(["double", "int"], TableSchema(TableName("s", "t"), table_columns, (0,)), columns)
    encoder = compile_encoder(case.table, Format.AVRO, replication="shop", connector="mysql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=None, now_us=4)
    found: list[list[bytes | None]] = []
    for value in (0.0, -0.0):
        changes = RowChanges(case.table, TXN)
        changes.form, event = case.form(twin), case.image([value, 5])
        changes.messages = changes.form.cut("d", event, 0, len(event))
        pairs, _ = encoder.records(changes, block, 1, True)
        found.append([key for key, _ in pairs])
    assert len(found[0]) == 2
    assert found[0] == found[1]


def test_events_that_are_left_unread_are_joined_and_dropped_as_those_that_are_read() -> None:
    columns, _ = mapped(["int", "text"], set())
    table_columns = tuple(Column(f"c{i}", c.reader.type, "") for i, c in enumerate(columns))
    case = Case(["int", "text"], TableSchema(TableName("s", "t"), table_columns, (0,)), columns)
    unread, read = case.resolved, case.resolved
    unread.form = ImageForm(columns, unread.rows, unbuilt("cutting"))
    read.form = ImageForm(columns, read.rows, None)
    rows = [image(case.natives, [number, str(number)], {0, 1}) for number in range(4)]
    number_only = image(case.natives, [3, None], {0})
    events = [
        (binlog.WRITE_ROWS_1, b"\2\3" + rows[0] + rows[1]),
        (binlog.WRITE_ROWS_1, b"\2\3" + rows[2]),
        # Of a session whose images are minimal.
        (binlog.UPDATE_ROWS_1, b"\2\1\2" + number_only + image(case.natives, [None, "x"], {1})),
        (binlog.UPDATE_ROWS_1, b"\2\3\3" + rows[0] + rows[3]),
        (binlog.DELETE_ROWS_1, b"\2\3" + rows[3]),
    ]

    def changes(resolved: Resolved, skipped: int) -> list[tuple[str, Row | None, Row | None]]:
        runs: list[RowChanges] = []
        for kind, body in events:
            m = bytes(28) + body
            (run,) = read_rows(resolved, case.table, kind, m, len(m), TXN)
            count = min(skipped, run.count)
            skipped -= count
            run.drop(count)
            if run.count and not (runs and runs[-1].join(run)):
                runs.append(run)
        count = sum(run.count for run in runs)
        made = [change for run in runs for change in zip(run.ops, run.before, run.after, strict=True)]
        assert len(made) == count
        return made

    every = changes(read, 0)
    assert [op for op, _, _ in every] == ["c", "c", "c", "u", "u", "d"]
    for skipped in range(6):
        assert changes(unread, skipped) == changes(read, skipped) == every[skipped:]


def test_every_kind_of_the_log_is_met() -> None:
    found = {types.reader(native, "error").packing for native in NATIVES}
    # Others have a version before a JSON text, and no time of day.
    expected = set(range(1, kinds.DOCUMENT + 1)) - {kinds.VERSIONED, kinds.TIME}
    assert {packing.kind for packing in found} == expected
    assert {packing.reading for packing in found} | {kinds.SKIPPED} == set(range(1, kinds.SKIPPED + 1))


@pytest.mark.parametrize("twin", MODULES)
@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("0ff60404028132", "1.50"),
        ("0ff60404027ff8", "-0.07"),
        ("0100000000000000" + "00", "{}"),
        ("0b0000000000000080", "-0.0"),
        ("0b000050efe2d6e445", None),
        ("0affffffffffffffff", None),
        ("0ff60a0000", None),
        ("0c8580808000", None),
        ("0c016122", '"a"'),
        ("04ff", None),
    ],
)
def test_documents_are_written_or_left_to_their_reader(twin: Twin | None, content: str, text: str | None) -> None:
    if twin is None:
        pytest.skip("it is not built: no compiler was there")
    document = bytes.fromhex(content)
    columns = [MappedReader(types.reader(JSON, "error"), 0, 4)]
    table = TableSchema(TableName("s", "t"), (Column("d", columns[0].reader.type, JSON),), (), full_before=True)
    form = Case([JSON], table, columns).form(twin)
    encoder = compile_encoder(table, Format.JSON, replication="shop", connector="mysql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=None, now_us=4)
    called: list[str] = []
    value = form.value(0)

    def counted(message: bytes, p: int, q: int) -> str:
        called.append(value(message, p, q))
        return called[-1]

    form.value = lambda column: counted  # type: ignore[method-assign]
    event = b"\0" + len(document).to_bytes(4, "little") + document
    (message,) = form.cut("c", event, 0, len(event))
    write = encoder._functions["logged_by_twin"](form, twin.images)
    outcome = _outcome(lambda: write([message], block, 1, True))
    if text is None:
        assert called or outcome is ErrorKind.DECODE
    else:
        assert not called
        assert isinstance(outcome, tuple)
        assert encoder.unbody(outcome[0][0][1].split(b'"after":')[1].split(b',"unavailable"')[0]) == (text,)  # type: ignore[union-attr]


def test_a_damaged_document_is_not_written_beyond_its_bound() -> None:
    module = unbuilt("documents")
    # Arrays within arrays; the last one has many entries, most of which share a string, up to near the bound.
    strings, nulls, size, depth = 179, 63, 60, 100
    inner = b"".join(n.to_bytes(2, "little") for n in (strings + nulls, 0))
    inner += strings * (b"\x0c" + (4 + 3 * (strings + nulls)).to_bytes(2, "little")) + nulls * bytes((4, 0, 0))
    document = b"\2" + (depth - 1) * bytes((1, 0, 0, 0, 2, 7, 0)) + inner + bytes([size]) + size * b"a"
    limit = 8 * len(document) + 128
    assert len(json_text(document)) - depth < limit < len(json_text(document))
    out = bytearray(2 * limit)
    with pytest.raises(Odd):
        module.document(out, 0, limit, document, 0, len(document))
    assert not any(out[limit:])


def _packet(natives: list[str], row: list[Any]) -> bytes:
    """Return a row as a server sends it."""
    packet = b""
    for native, value in zip(natives, row, strict=True):
        if value is None:
            packet += b"\xfb"
            continue
        text = json_text(_json(value)[4:]).encode() if native == JSON else cell(native, value)
        size = len(text)
        packet += (bytes([size]) if size < 251 else b"\xfc" + size.to_bytes(2, "little")) + text
    return packet


def _encoded(run: Callable[[], object]) -> object:
    try:
        return run()
    except TailraceError as error:
        return error.kind
    except Exception as error:  # noqa: BLE001 - what generated code raises for a wrong row
        return type(error)


CELLS = [pytest.param(unbuilt("cells"), id="unbuilt"), pytest.param(built("cells"), id="built")]


@pytest.mark.parametrize("module", CELLS)
@settings(max_examples=60, deadline=None)
@given(st.data(), cases(), st.sampled_from(list(Format)), st.booleans())
def test_the_twin_writes_rows_that_were_sent_as_reading_and_encoding_does(
    module: ModuleType | None, data: st.DataObject, case: Case, format_: Format, damage: bool
) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    natives = [native for native, column in zip(case.natives, case.columns, strict=True) if column.place is not None]
    form = CellForm(case.table, [column.reader for column in case.columns if column.place is not None])
    encoder = compile_encoder(case.table, format_, replication="shop", connector="mysql", database="shop")
    values = [st.one_of(COLUMNS_WITH_JSON[native][0], st.none()) for native in natives]
    rows = [
        [data.draw(COLUMNS_WITH_JSON[n][0] if i in case.table.key else v) for i, (n, v) in enumerate(pairs)]
        for pairs in [list(zip(natives, values, strict=True))] * data.draw(st.integers(1, 3))
    ]
    packets = [_packet(natives, row) for row in rows]
    if damage:
        at, junk = data.draw(st.integers(0, len(packets[0]))), data.draw(st.binary(max_size=4))
        first = packets[0]
        packets[0] = data.draw(st.sampled_from([first[:at], first[:at] + junk + first[at + len(junk) :], first + junk]))
    write = encoder._functions["copied_by_twin"](form, module)
    assert _encoded(lambda: write(packets).apart()) == _encoded(lambda: encoder.rows(form.read(packets)))
    if not damage:
        # Not a row needs a second reading, unless it has what 64 bits do not hold.
        assert form.read(packets)


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("module", CELLS)
def test_usual_rows_that_were_sent_are_not_read_again(module: ModuleType | None, format_: Format) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    case, encoder = _usual(format_)
    kept = [i for i, column in enumerate(case.columns) if column.place is not None]
    natives = [NATIVES[i] for i in kept]
    form = CellForm(case.table, [case.columns[i].reader for i in kept])
    rows = [[_usual_row(number)[i] for i in kept] for number in (1, 20_000)]
    # Identifiers that hold a time are as long as they can be.
    rows[1][natives.index("bigint")] = rows[1][natives.index("bigint unsigned")] = 2**63 - 1
    packets = [_packet(natives, row) for row in rows]
    expected = encoder.rows(form.read(packets))
    form.read = None  # type: ignore[method-assign, assignment]
    assert encoder._functions["copied_by_twin"](form, module)(packets).apart() == expected

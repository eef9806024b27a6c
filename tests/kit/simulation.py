"""An in-memory source and loader for capture sessions, driven by one seeded random generator.

The source is multi-versioned: a committed transaction stands in the log at once, is readable there a little later, and
is seen by snapshots later or earlier still, as in PostgreSQL with asynchronous commit or a synchronous standby. What
is random comes from one generator, so a seed replays exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import Any

from capture.full_load import worker
from capture.full_load.worker import Answer, Ended, Failed, Opened, Planned, PlanRequest, ReadRequest, Request, Rows
from capture.source import WHOLE, Capabilities, Chunk
from schemas.bundles import Bundle
from schemas.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Heartbeat,
    Row,
    RowChanges,
    SchemaChange,
    Transaction,
    Truncate,
)
from schemas.codecs import compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.mappings.segments import Partition, Segment, cut, rule_of
from schemas.mappings.table_settings_rule import TableSettingsRule
from schemas.position import Position
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.simulated_kafka import Broker, Chaos

FORMAT = Format.AVRO
REPLICATION = "sim"
DATABASE = "simulated"
CONNECTOR = "postgresql"
STEP = 16
"""Distance of commit positions."""
INVISIBLE_MAX = 30
"""Transactions that can be in the log and invisible: the sessions of a server."""
KEYS = 24
"""Keys that rows fight for."""
UNTOLD_SHARE = 0.1
"""Of the rows that are looked up where there is chaos: what they hold cannot be told."""


def table_schema(table: str, *, keyed: bool, extra: int = 0, version: int = 1) -> TableSchema:
    """Return a table of an integer and texts."""
    columns = [Column("id", LogicalType(Family.INT64), "bigint", nullable=False)]
    columns += [Column(name, LogicalType(Family.STRING), "text") for name in ("a", "b")]
    columns += [Column(f"x{n}", LogicalType(Family.STRING), "text") for n in range(extra)]
    name = TableName("public", table)
    return TableSchema(
        name, tuple(columns), key=(0,) if keyed else (), version=version, primary_key=keyed, full_before=not keyed
    )


@dataclass(slots=True)
class SimSnapshot:
    """What was visible at some moment."""

    high: int
    visible: frozenset[int]
    oldest_invisible: int

    def sees(self, txn: Transaction) -> bool:
        return txn.xid in self.visible

    def settled(self, txn: Transaction) -> bool:
        return txn.xid < self.oldest_invisible


@dataclass(slots=True)
class Entry:
    """One change of a committed transaction: op, table version, before and after as stored, after as logged."""

    op: str
    table: TableSchema
    before: Row | None = None
    after: Row | None = None
    logged: Row | None = None


@dataclass(slots=True)
class SimTransaction:
    """A committed transaction."""

    facts: Transaction
    entries: list[Entry]


class Database:
    """The source's tables, as a list of committed transactions."""

    def __init__(self, random: Random, tables: Sequence[TableSchema]) -> None:
        self.random = random
        self.tables = {table.name: table for table in tables}
        self.log: list[SimTransaction] = []
        self.visible: set[int] = set()
        self.readable = 0
        self.slot_from: int | None = None
        self.discarded = 0
        """Up to where captures have said that the log may be given up: it is."""
        self._values = 0
        self.truncates = random.choice((0.0, 0.002, 0.02))
        self.ddl_at: dict[TableName, int] = {}
        self.forbidden: set[TableName] = set()
        """Tables that may not be read, as long as they are in it."""
        self.logs_whole = False
        """Whether the log holds all values of new rows."""
        self.modulus = 3
        """Into how many partitions tables are cut, by keys."""

    def partitions(self) -> list[Partition]:
        return [Partition(f"p{n}", identity=f"{n} of {self.modulus}") for n in range(self.modulus)]

    def repartition(self) -> None:
        """Cut tables into others; the lock that this takes makes everything before visible."""
        self.settle()
        self.modulus = self.random.choice([n for n in (1, 2, 3, 4) if n != self.modulus])

    def end(self) -> int:
        return len(self.log) * STEP

    def settle(self) -> None:
        """Everything is visible and readable."""
        self.visible.update(t.facts.xid for t in self.log)
        self.readable = len(self.log)

    def drift(self) -> None:
        """Some transactions become readable, some visible, in any order."""
        self.readable = self.random.randint(self.readable, len(self.log))
        for txn in self.log[-INVISIBLE_MAX:]:
            if self.random.random() < 0.1:
                self.visible.add(txn.facts.xid)
        for txn in self.log[:-INVISIBLE_MAX]:
            self.visible.add(txn.facts.xid)

    def snapshot(self) -> SimSnapshot:
        invisible = [t.facts.xid for t in self.log if t.facts.xid not in self.visible]
        return SimSnapshot(self.end(), frozenset(self.visible), min(invisible, default=len(self.log) + 1))

    def rows(self, name: TableName, visible: Iterable[int] | None = None) -> list[Row]:
        """Return a table's rows, in the form of its present version."""
        seen = None if visible is None else set(visible)
        width = len(self.tables[name].columns)
        state: list[Row] = []
        for txn in self.log:
            if seen is not None and txn.facts.xid not in seen:
                continue
            for entry in txn.entries:
                if entry.table.name != name:
                    continue
                if entry.op == "t":
                    state.clear()
                if entry.before is not None:
                    state.remove(_padded(entry.before, width))
                if entry.after is not None:
                    state.append(_padded(entry.after, width))
        return state

    def add_column(self, name: TableName) -> None:
        """Alter a table; the lock that this takes makes everything before visible."""
        self.settle()
        old = self.tables[name]
        extra = len(old.columns) - 3 + 1
        self.tables[name] = table_schema(name.table, keyed=bool(old.key), extra=extra, version=old.version + 1)
        # The statement itself is a transaction in the log, without rows.
        self.log.append(SimTransaction(self._facts(), []))
        self.settle()

    def transact(self) -> None:
        """Commit a random transaction."""
        entries: list[Entry] = []
        state = {name: self.rows(name) for name in self.tables}
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 8))):
            table = self.random.choice(list(self.tables.values()))
            entries.append(self._entry(table, state[table.name]))
        # Row locks: whoever changes a row has waited until its last change was visible.
        touched = {(e.table.name, row[0]) for e in entries for row in (e.before, e.after) if row is not None}
        emptied = {e.table.name for e in entries if e.op == "t"}
        for txn in self.log:
            for e in txn.entries:
                names_key = {(e.table.name, row[0]) for row in (e.before, e.after) if row is not None}
                if names_key & touched or e.table.name in emptied or e.op == "t":
                    self.visible.add(txn.facts.xid)
        self.log.append(SimTransaction(self._facts(), entries))

    def _facts(self) -> Transaction:
        number = len(self.log) + 1
        return Transaction(str(number), number, number * STEP, 1_000_000 + number)

    def _entry(self, table: TableSchema, state: list[Row]) -> Entry:
        roll = self.random.random()
        if roll < self.truncates:
            state.clear()
            return Entry("t", table)
        if not state or (roll < 0.35 and len(state) < KEYS - 4):
            return self._insert(table, state)
        row = self.random.choice(state)
        state.remove(row)
        if roll < 0.5:
            return Entry("d", table, before=row)
        if roll < 0.6:
            # A new key; the other values may be such as the log does not hold.
            identity = self._free_key(state)
            after = (identity, *row[1:])
            logged = (identity, row[1], UNCHANGED, *row[3:])
        elif roll < 0.8:
            after = (row[0], self._text(), *row[2:])
            logged = (row[0], after[1], UNCHANGED, *row[3:])
        else:
            after = (row[0], row[1], self._text(), *row[3:])
            logged = (row[0], UNCHANGED, after[2], *row[3:]) if self.random.random() < 0.5 else after
        if not table.key or self.logs_whole:
            logged = after
        state.append(after)
        return Entry("u", table, before=row, after=after, logged=logged)

    def _insert(self, table: TableSchema, state: list[Row]) -> Entry:
        row: Row = (self._free_key(state), self._text(), self._text(), *(self._text() for _ in table.columns[3:]))
        if not table.key and state and self.random.random() < 0.3:
            row = self.random.choice(state)
        state.append(row)
        return Entry("c", table, after=row, logged=row)

    def _free_key(self, state: list[Row]) -> int:
        taken = {row[0] for row in state}
        return self.random.choice([n for n in range(KEYS) if n not in taken])

    def _text(self) -> str:
        self._values += 1
        return f"v{self._values}"


class SimLog:
    """A log reader over a `Database`."""

    def __init__(self, database: Database, position: Position, tables: Sequence[TableSchema], chaos: Chaos) -> None:
        self._database = database
        self._chaos = chaos
        self._known = {table.name: table for table in tables}
        self._next = position.commit // STEP
        self._skip = position.row
        self._pieces: list[Change] = []
        self.acknowledged = position
        assert position.commit >= database.discarded, "the log is gone"

    def poll(self, timeout_s: float) -> Sequence[Change]:
        random = self._database.random
        changes: list[Change] = []
        for _ in range(random.choice((0, 1, 2, 5, 20))):
            if not self._pieces and self._next < self._database.readable:
                self._pieces = list(self._unpack(self._database.log[self._next]))
                self._next += 1
            if not self._pieces:
                # Some were sent before what came last, and say less.
                changes.append(Heartbeat(Position((self._next - self._next % 2) * STEP)))
                break
            changes.append(self._pieces.pop(0))
        self._chaos.strike("poll")
        return changes

    def acknowledge(self, position: Position) -> None:
        assert position >= self.acknowledged
        self.acknowledged = position
        self._database.discarded = position.commit
        self._chaos.strike("acknowledge")

    def close(self) -> None:
        return

    def _unpack(self, txn: SimTransaction) -> Iterator[Change]:
        skip, self._skip = self._skip, 0
        yield Begin(txn.facts)
        run: RowChanges | None = None
        for entry in txn.entries:
            known = self._known.get(entry.table.name)
            if known is None or known.column_names != entry.table.column_names:
                after = entry.table if known is None else replace(entry.table, version=known.version + 1)
                if run is not None:
                    yield run
                    run = None
                self._known[entry.table.name] = after
                yield SchemaChange(entry.table.name, known, after)
            if skip:
                skip -= 1
                continue
            table = self._known[entry.table.name]
            if entry.op == "t":
                if run is not None:
                    yield run
                    run = None
                yield Truncate([table], txn.facts)
                continue
            if run is not None and (run.table is not table or self._database.random.random() < 0.2):
                yield run
                run = None
            run = run or RowChanges(table, txn.facts)
            run.ops.append(entry.op)
            run.before.append(_logged_before(table, entry))
            run.after.append(entry.logged)
        if run is not None:
            yield run
        yield Commit(txn.facts, Position(txn.facts.commit))


def _logged_before(table: TableSchema, entry: Entry) -> Row | None:
    before, after = entry.before, entry.after
    if before is None or not table.key:
        return before
    if after is not None and before[0] == after[0]:
        return None
    return (before[0], *[UNCHANGED] * (len(before) - 1))


def _padded(row: Row, width: int) -> Row:
    return row + (None,) * (width - len(row))


class SimSource:
    """A `capture.source.Source` over a `Database`."""

    capabilities = Capabilities(engine="simulated", connector=CONNECTOR, truncates=True, schema_changes=True)

    def __init__(self, database: Database, chaos: Chaos) -> None:
        self.database = database
        self._chaos = chaos
        self._untold: set[TableName] = set()

    def identity(self) -> dict[str, str]:
        return {"system": "simulated"}

    def findings(self, tables: Sequence[TableSchema]) -> list[Any]:
        return []

    def tables(self) -> list[TableSchema]:
        return [replace(self.database.tables[name], version=1) for name in sorted(self.database.tables)]

    def readable(self) -> list[TableSchema]:
        return self.tables()

    def row_estimates(self, tables: Sequence[TableSchema]) -> dict[TableName, int]:
        return {table.name: 10 for table in tables if self.database.random.random() < 0.7}

    def prepare(self, tables: Sequence[TableSchema]) -> Position:
        if self.database.slot_from is None:
            # Making a slot waits for whoever is writing.
            self.database.settle()
            self.database.slot_from = self.database.end()
        return Position(self.database.slot_from)

    def check_position(self, stored: dict[str, str], position: Position) -> None:
        assert stored == self.identity()

    def find_position(self, committed_from_us: int) -> Position:
        raise NotImplementedError

    def marks(self, tables: Sequence[TableSchema]) -> dict[TableName, str]:
        """Nobody says which tables the log is of; see `Source.marks`."""
        return {}

    def check_published(self, tables: Sequence[TableSchema], marks: Mapping[TableName, str]) -> None:
        return

    def open_log(self, position: Position, tables: Sequence[TableSchema]) -> SimLog:
        return SimLog(self.database, position, tables, self._chaos)

    def current_position(self) -> Position:
        return Position(self.database.end())

    def visible_position(self) -> Position:
        return self.current_position()

    def has_table(self, name: TableName) -> bool:
        return name in self.database.tables

    def retained_bytes(self) -> int | None:
        return 0

    def log_left_bytes(self) -> int | None:
        return None

    def complete(self, changes: RowChanges) -> None:
        # An engine waits until its query sees the transaction.
        self.database.visible.add(changes.txn.xid)
        present = {row[0]: row for row in self.database.rows(changes.table.name, self.database.visible)}
        for index, (before, after) in enumerate(zip(changes.before, changes.after, strict=True)):
            if before is None or after is None or UNCHANGED not in after:
                continue
            row = present.get(after[0])
            if row is not None and self._chaos.rate and self.database.random.random() < UNTOLD_SHARE:
                self._untold.add(changes.table.name)
            elif row is not None:
                changes.after[index] = tuple(f if v is UNCHANGED else v for v, f in zip(after, row, strict=False))

    def untold(self) -> Collection[TableName]:
        untold, self._untold = self._untold, set()
        return untold

    def unseen(self, table: TableSchema) -> Collection[int]:
        return [txn.facts.xid for txn in self.database.log if txn.facts.xid not in self.database.visible]

    def format_position(self, position: Position) -> str:
        return f"{position.commit}+{position.row}"

    def parse_position(self, text: str) -> Position:
        return Position(int(text))

    def grants(self, tables: Sequence[TableSchema]) -> str:
        return ""

    def ddl_trigger(self) -> str:
        return ""

    def destroy(self) -> list[str]:
        return []

    def close(self) -> None:
        return


@dataclass(slots=True)
class SimWorker:
    """A loader that reads from a `Database`, a little with each look at it."""

    database: Database
    chaos: Chaos
    rules: Sequence[TableSettingsRule] = ()
    request: Request | None = None
    answers: list[Answer] = field(default_factory=list)
    dead: bool = False

    def send(self, request: Request) -> None:
        if self.dead:
            raise OSError
        self.request = request

    def receive(self) -> Answer | None:
        random = self.database.random
        if self.dead or random.random() < self.chaos.rate / 4:
            self.dead = True
            raise EOFError
        if random.random() < self.chaos.idleness:
            return None
        if self.request is not None:
            try:
                self.answers = list(self._serve(self.request))
            except TailraceError as error:
                self.answers = [Failed(error.kind, error.message, error.remedy)]
            self.request = None
        return self.answers.pop(0) if self.answers else None

    def close(self) -> None:
        self.dead = True

    def _serve(self, request: Request) -> Iterator[Answer]:
        random = self.database.random
        if isinstance(request, PlanRequest):
            return (yield Planned(self._plan(request.table)))
        if isinstance(request, worker.GroupRequest):
            uncut = [place for place, table in enumerate(request.tables) if rule_of(self.rules, table) is None]
            held = random.sample(uncut, random.randint(0, len(uncut)))
            yield worker.Held(held)
            for place in held:
                answers = [*self._serve(ReadRequest(request.tables[place], WHOLE))]
                yield from answers
                if isinstance(answers[-1], Failed):
                    break
            return
        if isinstance(request, worker.LookRequest):
            return (yield worker.Looked(self.database.snapshot()))
        assert isinstance(request, ReadRequest)
        if random.random() < self.chaos.rate:
            yield Failed(ErrorKind.SOURCE_CONNECTION, "scripted", None)
            return
        name = request.table.name
        if name in self.database.forbidden:
            yield Failed(ErrorKind.PREREQUISITE, "no right to read", None)
            return
        if self.database.tables[name].column_names != request.table.column_names:
            yield Failed(ErrorKind.SOURCE_SCHEMA, "columns differ", None)
            return
        segment = request.chunk.segment
        if (
            segment
            and segment.partition
            and segment[:2] not in [(p.name, p.identity) for p in self.database.partitions()]
        ):
            yield Failed(ErrorKind.SOURCE_SCHEMA, "partitions differ", None)
            return
        snapshot = self.database.snapshot()
        rows = [
            row
            for row in self.database.rows(name, snapshot.visible)
            if _within(row[0], request.chunk) and (segment is None or self._is_of(row, segment))
        ]
        encoder = compile_encoder(
            request.table, FORMAT, replication=REPLICATION, connector=CONNECTOR, database=DATABASE
        )
        yield Opened(snapshot)
        size = random.choice((1, 3, 100))
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            yield Rows(Bundle.of(*encoder.rows(part)))
        yield Ended()

    def _plan(self, table: TableSchema) -> list[Chunk]:
        random = self.database.random
        cuts = [(str(n),) for n in sorted(random.sample(range(KEYS), random.randint(0, 4)))]
        if not table.key:
            cuts = []
        bounds = [None, *cuts, None]
        rule = rule_of(self.rules, table)
        segments = cut(rule, table, self.database.partitions) if rule is not None else [None]
        pieces = [(*pair, segment) for segment in segments for pair in pairwise(bounds)]
        random.shuffle(pieces)
        return [Chunk(n, *piece) for n, piece in enumerate(pieces)]

    def _is_of(self, row: Row, segment: Segment) -> bool:
        if segment.partition:
            return segment.partition == f"p{row[0] % self.database.modulus}"
        is_above = all(row[1] >= bound for (bound,) in segment.above)
        return is_above and (segment.below is None or row[1] < segment.below[0])


def _within(key: int, chunk: Chunk) -> bool:
    above = chunk.lower is None or key > int(chunk.lower[0])
    return above and (chunk.upper is None or key <= int(chunk.upper[0]))


def replay(
    broker: Broker,
    topic: str,
    decoders: Mapping[int | None, Any],
    width: int,
    *,
    keyed: bool,
    begins: Sequence[int] = (0, 0, 0, 0),
    misses: bool = False,
) -> tuple[list[Row], list[int]]:
    """Apply a topic as a target would that is empty at `begins`; return the rows, and all commit sequences.

    `misses`: updates of rows that it lacks are left out.
    """
    from schemas.codecs.wire import schema_id

    rows: list[Row] = []
    sequences: list[int] = []
    for partition, begin in zip(broker.topics[topic], begins, strict=False):
        state: dict[int, Row] = {}
        bag: Counter[Row] = Counter()
        last = 0
        for _, value in partition[begin:]:
            assert value is not None
            decoder = decoders[schema_id(value)]
            op, before, after = decoder.decode(value)
            seq = decoder.facts(value).seq
            assert seq > last, "the commit sequence goes back"
            last = seq
            if op != "t":
                sequences.append(seq)
            before, after = (row if row is None else _padded(row, width) for row in (before, after))
            if op == "t":
                state.clear()
                bag.clear()
            elif not keyed:
                if before is not None:
                    assert bag[before] > 0, "a row is deleted that is not there"
                    bag[before] -= 1
                if after is not None:
                    bag[after] += 1
            elif after is None:
                assert before is not None
                state.pop(before[0], None)
            elif misses and op == "u" and after[0] not in state:
                continue
            elif op == "c" and UNCHANGED in after:
                # Nobody can tell the row: it is gone.
                state.pop(after[0], None)
            elif UNCHANGED not in after:
                state[after[0]] = after
            elif after[0] in state:
                old = state[after[0]]
                state[after[0]] = tuple(o if v is UNCHANGED else v for v, o in zip(after, old, strict=True))
        rows += [*state.values(), *bag.elements()]
    return rows, sequences

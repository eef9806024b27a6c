"""Which version of which table the log's rows belong to.

The log announces a table (a relation message) before its first row in a stream, and again after whatever may have
changed it. The announcement is right at its place in the log, the catalogue only now. So the columns come from the
announcement, and the catalogue adds what an announcement does not tell: nullability, defaults, indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from capture.source import Snapshot
from capture.sources.postgresql.catalog import Catalog, RelationFacts, composites_of
from capture.sources.postgresql.container_text import holds_composites
from capture.sources.postgresql.pgoutput import Relation, TableForm, TextNeeded
from capture.sources.postgresql.types import logical_type, reader
from schemas.changes import SchemaChange, Transaction
from schemas.matching import matches
from schemas.position import Position
from schemas.selection import Selection
from schemas.table import Column, TableName, TableSchema


@dataclass(slots=True)
class Resolved:
    """A relation as the stream goes on with it. `table` is None where the selection does not take it."""

    table: TableSchema | None
    form: TableForm
    key: tuple[int, ...] = ()
    narrow: Collection[frozenset[int]] = ()
    """The columns that old rows of partitions hold which keep less than the table's identity promises."""
    heads: frozenset[bytes] = frozenset()
    """See `TableForm.heads`."""
    old_form: TableForm | None = None
    """Where the table holds composites in binary form: what reads those from before their types' last changes."""
    types_at: Snapshot | None = None
    """A moment that the types are no older than; None: any."""

    @property
    def in_force(self) -> TableSchema:
        """The table's version, where the selection takes it."""
        assert self.table is not None
        return self.table

    def is_as_new_as(self, txn: Transaction) -> bool:
        """Tell whether the forms know the types as they were where `txn` is in the log, or later."""
        return self.types_at is not None and self.types_at.sees(txn)


class Versions:
    """The table versions in force at the place where the log is read."""

    def __init__(
        self,
        catalog: Catalog,
        selection: Selection,
        tables: Sequence[TableSchema],
        wait_until_visible: Callable[[Transaction], Snapshot | None],
        visible_position: Callable[[], Position],
    ) -> None:
        """`wait_until_visible` returns when the catalogue is no older than a transaction of the log: as of when.

        `visible_position` tells a place in the log that all that the catalogue shows comes before.
        """
        self._wait_until_visible = wait_until_visible
        self._visible_position = visible_position
        self._catalog = catalog
        self._selection = selection
        self._tables = {table.name: table for table in tables}
        self._oids = {name: table.number for name, table in self._tables.items()}
        self._names = {oid: name for name, oid in self._oids.items()}
        self._seen: set[int] = set()
        # By oid: what is proven of a version whose other numbers are guessed, and where in the log the guess is proven.
        # A restart forgets it; the load that a guess begins ends no earlier than there, and is not forgotten.
        self._guessed: dict[int, tuple[TableSchema, int]] = {}
        self._types_at: Snapshot | None = None

    def start_stream(self) -> None:
        """Forget what was announced: a new stream announces every table again."""
        self._seen.clear()

    def oids(self) -> dict[TableName, int]:
        """Return the tables that are in force, with their oids."""
        return {name: self._oids[name] for name in self._tables}

    def takes(self, relation: Relation) -> bool:
        """Tell whether the selection takes an announced table."""
        return self._selection.takes(TableName(relation.schema, relation.table))

    def narrow(self, table: TableSchema, announced: Iterable[Relation]) -> set[frozenset[int]]:
        """Return the columns of their old rows that partitions log which log less than their root promises.

        The log announces each partition right behind its root, and never says which one a row is of. What is announced
        and none of the tables in force, or was one before it was attached, is taken for one, and for one of this table.
        Where that has no key only what the catalogue calls its partition is: no row itself would say that it is none.
        """
        if not (table.partitions and (table.key or table.full_before)):
            return set()
        leaves, key = set(table.partitions), {table.columns[i].name for i in table.key}
        found = set()
        for relation in announced:
            is_other = table.key and TableName(relation.schema, relation.table) not in self._tables
            if relation.identity == "f" or not (is_other or relation.oid in leaves):
                continue
            held = {column.name for column in relation.columns if column.is_key}
            if table.full_before or not key <= held:
                found.add(frozenset(i for i, name in enumerate(table.column_names) if name in held))
        return found

    def resolve(self, relation: Relation, txn: Transaction, *, binary: bool) -> tuple[Resolved, list[SchemaChange]]:
        """Return how to go on with a relation, and the schema changes that come before its next row, which is `txn`'s.

        Raises TextNeeded.
        """
        name = TableName(relation.schema, relation.table)
        takes = self._selection.takes(name)
        form, old_form = self._forms(relation, binary=binary) if takes else (TableForm((), (), binary=binary), None)
        types_at = self._types_at
        changes: list[SchemaChange] = []
        before_name = self._names.get(relation.oid)
        if before_name not in (None, name) and self._oids.get(before_name) == relation.oid:
            # Renamed. (Unless another table has got its old name since.)
            del self._oids[before_name]
            changes.append(SchemaChange(before_name, self._tables.pop(before_name, None), None))
        self._names[relation.oid] = name
        if not takes:
            return Resolved(None, form), changes
        current = self._tables.get(name)
        if current is not None and self._oids[name] not in (0, relation.oid):
            # Dropped and made anew: what targets have of it is void.
            changes.append(SchemaChange(name, current, None))
            current = None
        self._oids[name] = relation.oid
        announced_again = relation.oid in self._seen
        self._seen.add(relation.oid)
        if current is None or announced_again or not self._fits(relation, current):
            self._wait_until_visible(txn)
            previous = self._proven(current, relation.oid, txn)
            described, proven, is_certain = self._catalog.consistently(lambda: self._describe(relation, name, previous))
            self._note_guess(described, proven)
            if current is None or described.fingerprint != current.fingerprint:
                described = replace(described, version=current.version + 1 if current else 1)
                changes.append(SchemaChange(name, current, described, is_certain))
                self._tables[name] = current = described
        return Resolved(current, form, current.key, old_form=old_form, types_at=types_at), changes

    def applied(self, event: str, name: TableName, txn: Transaction) -> list[SchemaChange]:
        """Return what to announce of a table that an applier has made, altered or dropped in `txn`."""
        current = self._tables.get(name)
        if event == "created":
            found = self._catalogued(name, txn) if current is None and self._selection.takes(name) else None
            if found is None:
                return []
            self._tables[name], self._oids[name], self._names[found.number] = found, found.number, name
            return [SchemaChange(name, None, found, is_applied=True)]
        if current is None or event not in ("altered", "dropped"):
            return []
        if event == "altered":
            return [SchemaChange(name, current, current, is_applied=True)]
        del self._tables[name]
        self._names.pop(self._oids.pop(name, 0), None)
        return [SchemaChange(name, current, None, is_applied=True)]

    def _catalogued(self, name: TableName, txn: Transaction) -> TableSchema | None:
        """Return a table as the catalogue has it after a transaction; None if it cannot be captured, or is gone."""
        self._wait_until_visible(txn)
        self._catalog.reload_user_types()

        def read() -> TableSchema | None:
            facts = self._catalog.find_relation(name)
            is_captured = facts is not None and facts.kind in "rp" and facts.persistence == "p" and not facts.refusal
            return self._catalog.read_tables([facts])[0] if facts is not None and is_captured else None

        return self._catalog.consistently(read)

    def renew_types(self, txn: Transaction) -> None:
        """Read the user-defined types again, as they are after a transaction, for what is resolved from now on."""
        self._types_at = self._wait_until_visible(txn)
        self._catalog.reload_user_types()

    def renewed(self, table: TableSchema, above: int) -> TableSchema:
        """Return a table with the user-defined types as they are now, and a number above `above`: in force from now on,
        if either is another, and it was.

        Rows are looked at when more of the log has been read: by then the table may have another name, or be gone.
        """
        self._catalog.reload_user_types()
        now = {(t.schema, t.name): t.labels for t in self._catalog.types.values() if t.kind == "e"}
        types = tuple(replace(t, labels=now.get((t.schema, t.name), t.labels)) for t in table.user_types)
        if types == table.user_types and table.version > above:
            return table
        found = replace(table, user_types=types, version=max(table.version, above) + 1)
        if self._tables.get(table.name) is table:
            self._tables[table.name] = found
        return found

    def _forms(self, relation: Relation, *, binary: bool) -> tuple[TableForm, TableForm | None]:
        """Return the relation's form, and the one for old composites, if there are any."""
        oids = [column.oid for column in relation.columns]
        self._catalog.load_types(oids)
        readers = [reader(self._catalog.types, column.oid, column.typmod) for column in relation.columns]
        if binary and not all(r.reads_binary for r in readers):
            raise TextNeeded
        key = [column.is_key for column in relation.columns]
        form = TableForm(readers, key, binary=binary)
        if not binary or not any(holds_composites(self._catalog.types, oid) for oid in oids):
            return form, None
        readers = [reader(self._catalog.types, column.oid, column.typmod, of_old=True) for column in relation.columns]
        return form, TableForm(readers, key, binary=True)

    def _fits(self, relation: Relation, table: TableSchema) -> bool:
        natives = self._catalog.natives([(c.oid, c.typmod) for c in relation.columns])
        if [(c.name, native) for c, native in zip(relation.columns, natives, strict=True)] != [
            (c.name, c.native) for c in table.columns
        ]:
            return False
        if composites_of(self._catalog.user_types(c.oid for c in relation.columns)) != composites_of(table.user_types):
            return False
        return _same_key(relation, table)

    def _proven(self, table: TableSchema | None, oid: int, txn: Transaction) -> TableSchema | None:
        """Return a table in force with 0 for the columns whose numbers are only guessed where `txn` is in the log."""
        guess = self._guessed.get(oid)
        return guess[0] if table is not None and guess is not None and txn.commit < guess[1] else table

    def _note_guess(self, described: TableSchema, proven: Sequence[int]) -> None:
        columns = tuple(replace(c, number=number) for c, number in zip(described.columns, proven, strict=True))
        if columns == described.columns:
            self._guessed.pop(described.number, None)
        else:
            self._guessed[described.number] = (replace(described, columns=columns), self._visible_position().commit)

    def _describe(
        self, relation: Relation, name: TableName, previous: TableSchema | None
    ) -> tuple[TableSchema, Sequence[int], bool]:
        """Return the table as it is announced, the numbers that are proven of its columns (others 0), and whether it is
        certain which columns of `previous` are which.
        """
        facts: RelationFacts | None = self._catalog.read_relation(relation.oid)
        now = self._catalog.read_tables([facts])[0] if facts is not None else None
        natives = self._catalog.natives([(c.oid, c.typmod) for c in relation.columns])
        announced = [(c.name, native) for c, native in zip(relation.columns, natives, strict=True)]
        proven, is_certain = identify(announced, previous, now, self._catalog.dropped_columns(relation.oid))
        numbers = proven
        likely = now or previous
        if likely is not None and announced == [(c.name, c.native) for c in likely.columns]:
            # Where the log is as far as the catalogue they are these; before, a column that is gone by now may have
            # stood under the name of one that came later. (Where the table is gone, nothing depends on it.)
            numbers = [c.number for c in likely.columns]
        known = {c.number: c for table in (previous, now) if table is not None for c in table.columns if c.number}
        columns = []
        for place, (column_name, native) in enumerate(announced):
            column = known.get(numbers[place])
            if column is None or column.native != native:
                kind = logical_type(self._catalog.types, relation.columns[place].oid, relation.columns[place].typmod)
                column = Column(column_name, kind, native)
            columns.append(replace(column, name=column_name, number=numbers[place]))
        if now is not None and now.name == name and tuple(columns) == now.columns and _same_key(relation, now):
            return now, proven, is_certain
        # The catalogue has gone on since: what it says of keys and indexes may name columns that are not here yet.
        base = previous or now
        key = _flagged(relation)
        if relation.identity in "fn":
            key = undoubted_key(columns, previous, now)
        described = TableSchema(
            name,
            tuple(columns),
            key,
            primary_key=base.primary_key if base is not None else True,
            full_before=relation.identity == "f",
            loose_key=base.loose_key if base is not None else False,
            partitions=base.partitions if base is not None else (),
            attached=base.attached if base is not None else (),
            placed=base.placed if base is not None else (),
            generated=base.generated if base is not None else (),
            indexes=previous.indexes if previous is not None else (),
            foreign_keys=previous.foreign_keys if previous is not None else (),
            user_types=self._catalog.user_types(column.oid for column in relation.columns),
            comment=base.comment if base is not None else None,
            number=relation.oid,
        )
        if previous is not None and keeps_types(previous, described):
            described = replace(described, storage=previous.storage, leaf_storage=previous.leaf_storage)
        return described, proven, is_certain


def identify(
    announced: Sequence[tuple[str, str]],
    previous: TableSchema | None,
    now: TableSchema | None,
    dropped: Collection[int],
) -> tuple[list[int], bool]:
    """Return the lasting numbers of announced columns (name, type), 0 where there is no proof, and whether it is
    certain which columns of `previous` they are.

    The log names columns, never numbers them, and the catalogue may be ahead of it. But numbers are given in ascending
    order and never again, columns are announced in their order, and the catalogue remembers those that were dropped.
    So what was there before and is there now was announced, and nothing was that is neither there now nor gone; if the
    lowest and the highest numbers that this allows agree on a place, the column there has that number. Names prove
    nothing: a column may have been renamed, or dropped and another added. `previous` has right numbers, or 0.
    """
    if now is None:
        return [0] * len(announced), False
    present = {c.number for c in now.columns}
    # A column without a number may be any of those that are there or gone.
    known = {c.number for c in previous.columns} if previous is not None else {0}
    last = max(known, default=0)
    stayed = known & present
    gone = {number for number in dropped if number in known or number > last or 0 in known}
    others = sorted((present | gone) - stayed)
    count = len(announced) - len(stayed)
    if not 0 <= count <= len(others):
        return [0] * len(announced), False
    lowest = sorted(stayed.union(others[:count]))
    highest = sorted(stayed.union(others[len(others) - count :]))
    numbers = [low if low == high else 0 for low, high in zip(lowest, highest, strict=True)]
    return numbers, 0 not in known and 0 not in numbers


def keeps_types(previous: TableSchema, table: TableSchema) -> bool:
    """Tell whether the columns that stayed are of the types that they were.

    The catalogue has gone on, so nothing tells yet whether another type has rewritten the rows; what else has, counts
    when catalogue and log agree again. Where the table is gone by now, no column has a number: then names count.
    """
    earlier = matches(table, previous)
    return all(one is None or one.native == column.native for one, column in zip(earlier, table.columns, strict=True))


def undoubted_key(columns: Sequence[Column], previous: TableSchema | None, now: TableSchema | None) -> tuple[int, ...]:
    """Return the key of announced columns where the log does not tell it (replica identity full).

    If the table has got another key since, nobody knows from where on: then none. Its rows are whole, and can be told
    apart by all that they hold; while a key that is none any more may hold equal values, of a type without equality.
    """
    found: tuple[int, ...] | None = None
    for table in (previous, now):
        if table is not None:
            places = tuple(_place(table.columns[i], columns) for i in table.key)
            if -1 in places or found not in (None, places):
                return ()
            found = places
    return found or ()


def _place(column: Column, columns: Sequence[Column]) -> int:
    for place, other in enumerate(columns):
        if column.number == other.number if column.number and other.number else column.name == other.name:
            return place
    return -1


def _flagged(relation: Relation) -> tuple[int, ...]:
    return tuple(i for i, column in enumerate(relation.columns) if column.is_key)


def _same_key(relation: Relation, table: TableSchema) -> bool:
    if (relation.identity == "f") != table.full_before:
        return False
    return relation.identity not in "di" or sorted(table.key) == list(_flagged(relation))

"""What the catalogue says of tables and types, read set-wise: a handful of queries whatever the number of tables.

`read_relations` returns everything that could be captured or is refused; `read_tables` makes table schemas of some.
The text of the queries is in `queries.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import psycopg

from capture.sources.postgresql import queries
from capture.sources.postgresql.connection import classified
from capture.sources.postgresql.types import TypeInfo, has_one_form, logical_type
from runtime.clock import sleep
from schemas.errors import TailraceError
from schemas.selection import Selection
from schemas.table import Column, ForeignKey, GeneratedColumn, Index, TableName, TableSchema, UserType

Connection = psycopg.Connection[tuple[object, ...]]

T = TypeVar("T")

ATTEMPTS_MAX = 8
"""How often the catalogue is read while definitions change under the reading."""

_ACTIONS = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}
_IDENTITIES = {"": "", "a": "always", "d": "by default"}


@dataclass(frozen=True, slots=True)
class RelationFacts:
    """One row of `pg_class`."""

    oid: int
    name: TableName
    kind: str
    """`relkind`: r table, p partitioned, v view, m materialised view, f foreign table."""
    persistence: str
    """`relpersistence`: p permanent, u unlogged, t temporary."""
    identity: str
    """`relreplident`: d default, n nothing, f full, i index."""
    ancestors: tuple[int, ...]
    """Of a partition: the oids of the partitioned tables above it."""
    row_estimate: int | None
    """None: the table was never analysed, and the server knows of no writes."""
    owner: str
    can_select: bool
    is_owner: bool
    refusal: str
    """Why the server refuses updates and deletes once the table is published: `nothing` (its replica identity),
    `no key`, `generated` (stored columns with replica identity full, from PostgreSQL 18 on); empty: it takes them.
    `partition`: it takes them, and their old rows lack the table's key, since a partition has another identity."""
    comment: str | None
    has_primary_key: bool
    storage: int
    """`relfilenode`: another number when all rows were written anew; 0 of what has no file."""
    inherits: bool = False
    """Whether it has parents or children by inheritance, other than as a partition."""
    narrow: tuple[TableName, ...] = ()
    """Of a partitioned table with replica identity full: partitions that have another, and log less of old rows."""

    @property
    def is_view(self) -> bool:
        """Whether it is a view or a materialised view."""
        return self.kind in "vm"


class ColumnType(NamedTuple):
    """The type of a column as `pg_attribute` has it."""

    oid: int
    typmod: int
    schema: str
    """The schema of the type, where its operators are."""


class _Leaf(NamedTuple):
    """One row of `queries.PARTITIONS`."""

    oid: int
    is_attached: bool
    placed: int
    storage: int


class ReadFacts(NamedTuple):
    """What the reading of a relation's rows needs to know."""

    oid: int
    kind: str
    """`relkind`, as in `RelationFacts`."""
    types: dict[str, ColumnType]
    """By column."""
    natives: dict[str, str]
    """Their names, with modifiers."""


class Catalog:
    """Reads the catalogue over a connection that `connection` returns, and keeps the types it has met."""

    def __init__(self, connection: Callable[[], Connection]) -> None:
        self._connection = connection
        self.types: dict[int, TypeInfo] = {}
        self.leaves: defaultdict[int, set[int]] = defaultdict(set)
        """By the oid of a partitioned table, the leaves that it has been seen with."""
        self._natives: dict[tuple[int, int], str] = {}
        self._printed: dict[tuple[str, int, int], str] = {}
        self._names_read: dict[int, list[str]] = {}
        """By oid, the columns of tables whose definitions were printed."""

    def consistently(self, read: Callable[[], T]) -> T:
        """Return what a function reads over several queries, all of one moment.

        The server's functions that print definitions look at the present all the same: where a table changes meanwhile
        they may fail, or name columns as nothing else does here. Then everything is read again.
        """
        for attempt in range(ATTEMPTS_MAX):
            is_last = attempt + 1 == ATTEMPTS_MAX
            self._names_read.clear()
            try:
                with classified("reading the catalogue"), self._connection().transaction():
                    self._connection().execute("set transaction isolation level repeatable read, read only")
                    found = read()
                if is_last or self._names_stand():
                    return found
            except TailraceError as error:
                if is_last or not isinstance(error.__cause__, psycopg.errors.InternalError_):
                    raise
            sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    def _names_stand(self) -> bool:
        """Tell whether columns still are called as they were when definitions that name them were printed."""
        if not self._names_read:
            return True
        rows = self._fetch("reading columns", queries.COLUMN_NAMES, {"oids": [*self._names_read]})
        return dict(rows) == self._names_read

    def read_relations(self, selection: Selection, views: Selection) -> list[RelationFacts]:
        """Return the selected relations, sorted by name: those that can be captured and those that cannot.

        Views are among them where either selection takes them.
        """
        found = [_relation(row) for row in self._fetch("reading the catalogue", queries.RELATIONS)]
        selected = (r for r in found if selection.takes(r.name) or (r.is_view and views.takes(r.name)))
        return sorted(selected, key=lambda r: r.name)

    def names(self) -> list[TableName]:
        """Return the names of all relations, selected or not."""
        return [_relation(row).name for row in self._fetch("reading the catalogue", queries.RELATIONS)]

    def read_relation(self, oid: int) -> RelationFacts | None:
        """Return one relation, or None where it is gone."""
        rows = self._fetch("reading the catalogue", queries.RELATIONS + " and c.oid = %(oid)s", {"oid": oid})
        return _relation(rows[0]) if rows else None

    def find_relation(self, name: TableName) -> RelationFacts | None:
        """Return one relation by its name, or None where it is gone."""
        condition = " and n.nspname = %(schema)s and c.relname = %(table)s"
        rows = self._fetch("reading the catalogue", queries.RELATIONS + condition, name._asdict())
        return _relation(rows[0]) if rows else None

    def oids(self, names: Iterable[TableName]) -> dict[TableName, int]:
        """Return the oids of those tables that exist."""
        names = list(names)
        parameters = {"schemas": [n.schema for n in names], "tables": [n.table for n in names]}
        rows = self._fetch("looking tables up", queries.OIDS, parameters)
        return {TableName(str(s), str(t)): oid for s, t, oid in rows}

    def read_tables(self, relations: Sequence[RelationFacts]) -> list[TableSchema]:
        """Return the schemas of these relations, in their order, version 1 each."""
        oids = {"oids": [r.oid for r in relations]}
        columns: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for row in self._fetch("reading columns", queries.COLUMNS, oids):
            columns[row[0]].append(row)
        self.load_types({row[2] for rows in columns.values() for row in rows})
        for rows in columns.values():
            self._natives.update({(row[2], row[3]): row[4] for row in rows})
        indexes: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for row in self._fetch("reading indexes", queries.INDEXES, oids):
            indexes[row[0]].append(row)
        foreign_keys: dict[int, list[ForeignKey]] = defaultdict(list)
        for row in self._fetch("reading foreign keys", queries.FOREIGN_KEYS, oids):
            foreign_keys[row[0]].append(_foreign_key(row))
        leaves: dict[int, list[_Leaf]] = defaultdict(list)
        if any(r.kind == "p" for r in relations):
            for root, *leaf in self._fetch("reading partitions", queries.PARTITIONS, oids):
                leaves[root].append(_Leaf(*leaf))
                self.leaves[root].add(leaf[0])
        self._names_read.update(
            (oid, [row[5] for row in rows])
            for oid, rows in columns.items()
            if indexes[oid] or any(row[9] for row in rows)
        )
        return [self._table(r, columns[r.oid], indexes[r.oid], foreign_keys[r.oid], leaves[r.oid]) for r in relations]

    def dropped_columns(self, oid: int) -> set[int]:
        """Return the numbers of a relation's columns that were dropped: they are never given again."""
        return {number for (number,) in self._fetch("reading columns", queries.DROPPED_COLUMNS, {"oid": oid})}

    def name_of(self, oid: int, before: TableName) -> tuple[TableName, str] | None:
        """Return what a relation is called now that was called `before`, and its `relkind`; None where it is gone, or
        in a schema that this role may not use.
        """
        rows = self._fetch("looking a table up", queries.NAME_OF, {"oid": oid, **before._asdict()})
        return (TableName(*rows[0][:2]), rows[0][2]) if rows else None

    def detached(self, root: int) -> dict[TableName, dict[str, ColumnType]]:
        """Return, with the types of their columns, what were leaves of a partitioned table, are no more, and may be
        read.
        """
        found: dict[TableName, dict[str, ColumnType]] = defaultdict(dict)
        parameters = {"root": root, "leaves": [*self.leaves[root]]}
        for schema, table, column, *kind in self._fetch("looking for partitions", queries.DETACHED, parameters):
            found[TableName(schema, table)][column] = ColumnType(*kind)
        return found

    def column_types(self, oid: int) -> dict[int, tuple[str, ColumnType]]:
        """Return the names and types of a relation's columns, by their lasting numbers."""
        rows = self._fetch("reading columns", queries.COLUMN_TYPES, {"oid": oid})
        return {number: (name, ColumnType(*kind)) for number, name, *kind in rows}

    def read_facts(self, names: Sequence[TableName]) -> dict[TableName, ReadFacts]:
        """Return what reading the rows of these tables needs, and meet their types; without those that are gone."""
        wanted = {"schemas": [n.schema for n in names], "tables": [n.table for n in names]}
        found: dict[TableName, ReadFacts] = {}
        for schema, table, oid, kind, name, *kind_of, native in self._fetch(
            "reading columns", queries.READ_TABLES, wanted
        ):
            facts = found.setdefault(TableName(schema, table), ReadFacts(oid, kind, {}, {}))
            if name is not None:
                facts.types[name] = ColumnType(*kind_of)
                facts.natives[name] = native
        self.load_types({t.oid for facts in found.values() for t in facts.types.values()})
        return found

    def load_types(self, oids: Iterable[int]) -> None:
        """Make sure that `types` knows these types and all that they are made of."""
        missing = [oid for oid in set(oids) if oid not in self.types]
        if not missing:
            return
        for row in self._fetch(
            "reading types", queries.types_query(self._connection().info.server_version), {"oids": missing}
        ):
            *plain, fields, attributes, labels, extension, definition = row
            parts = tuple((str(name), int(oid), int(typmod)) for name, oid, typmod in fields or ())
            values: Any = (*plain, parts, tuple(labels or ()), extension, definition or "", tuple(attributes or ()))
            self.types[row[0]] = TypeInfo(*values)

    def reload_user_types(self) -> None:
        """Read the types again that may have changed: an enum's labels, a composite's fields."""
        old = {oid: info for oid, info in self.types.items() if info.schema != "pg_catalog"}
        for oid in old:
            del self.types[oid]
        try:
            self.load_types(old)
        finally:
            # Those that are gone: the log may still hold values of them.
            for oid, info in old.items():
                self.types.setdefault(oid, info)

    def natives(self, pairs: Sequence[tuple[int, int]]) -> list[str]:
        """Return the names of types with their modifiers, as `format_type` writes them."""
        missing = [pair for pair in set(pairs) if pair not in self._natives]
        if missing:
            parameters = {"oids": [oid for oid, _ in missing], "typmods": [typmod for _, typmod in missing]}
            for oid, typmod, native in self._fetch("naming types", queries.NATIVES, parameters):
                self._natives[oid, typmod] = str(native)
        # A type that was dropped since has no name any more ("???"): its values still are text.
        return [self._natives.get(pair, "text") for pair in pairs]

    def user_types(self, oids: Iterable[int]) -> tuple[UserType, ...]:
        """Return the user-defined types behind these types, in an order in which they can be created."""
        made: dict[int, UserType] = {}
        for oid in oids:
            self._collect(oid, made, set())
        return tuple(made.values())

    def _collect(self, oid: int, made: dict[int, UserType], seen: set[int]) -> None:
        info = self.types.get(oid)
        if info is None or oid in seen or oid in made:
            return
        seen.add(oid)
        for part in (info.element, info.base, info.subtype, *(field[1] for field in info.fields)):
            self._collect(part, made, seen)
        if info.schema in ("pg_catalog", "information_schema"):
            return
        if info.extension:
            made[oid] = UserType(info.schema, info.name, "extension", definition=info.extension)
        elif info.kind in _KINDS and not (info.kind == "b" and info.element):
            made[oid] = UserType(info.schema, info.name, _KINDS[info.kind], info.labels, info.definition)

    def _table(
        self,
        relation: RelationFacts,
        rows: list[tuple[Any, ...]],
        index_rows: list[tuple[Any, ...]],
        foreign_keys: list[ForeignKey],
        leaves: Sequence[_Leaf],
    ) -> TableSchema:
        columns: list[Column] = []
        generated: list[GeneratedColumn] = []
        numbers: dict[int, int] = {}
        type_oids: list[int] = []
        loose: set[int] = set()
        for position, row in enumerate(rows):
            _, number, oid, typmod, native, name, not_null, default, identity, generation, *more = row
            collation, filling, exact = more
            if generation:
                if expression := self._printed_at_last(("column", relation.oid, number), default):
                    generated.append(GeneratedColumn(name, native, expression, position))
                continue
            numbers[number] = len(columns)
            type_oids.append(oid)
            if not exact or not has_one_form(self.types, oid, typmod):
                loose.add(number)
            # The target has no such sequence; the identity, where there is one, says the same without it.
            asks = default is not None and "nextval(" in default
            kept = None if asks or identity else default
            columns.append(
                Column(
                    name,
                    logical_type(self.types, oid, typmod),
                    native,
                    not not_null,
                    kept,
                    _IDENTITIES[identity],
                    collation,
                    number,
                    filling,
                    from_sequence=default if asks else None,
                )
            )
        key: tuple[int, ...] = ()
        key_is_primary = True
        loose_key = False
        indexes = []
        for _, oid, name, printed, unique, primary, is_identity, attributes, constraint, deferrable in index_rows:
            if is_identity or (primary and relation.identity != "i"):
                key = tuple(numbers[a] for a in attributes if a in numbers)
                key_is_primary = primary
                loose_key = not loose.isdisjoint(attributes)
            definition = self._printed_at_last(("index", oid, 0), printed)
            if not primary and definition:
                indexes.append(Index(name, unique, definition, constraint, deferrable))
        return TableSchema(
            relation.name,
            tuple(columns),
            key,
            primary_key=key_is_primary,
            full_before=relation.identity == "f",
            loose_key=loose_key,
            partitions=tuple(leaf.oid for leaf in leaves),
            attached=tuple(leaf.oid for leaf in leaves if leaf.is_attached),
            placed=tuple(leaf.placed for leaf in leaves),
            generated=tuple(generated),
            indexes=tuple(indexes),
            foreign_keys=tuple(foreign_keys),
            user_types=self.user_types(type_oids),
            comment=relation.comment,
            number=relation.oid,
            is_view=relation.is_view,
            storage=relation.storage,
            leaf_storage=tuple(leaf.storage for leaf in leaves),
        )

    def _printed_at_last(self, what: tuple[str, int, int], text: str | None) -> str | None:
        """Return a definition as the server printed it; where somebody is altering the table now, as it did before."""
        if text is not None:
            self._printed[what] = text
        return self._printed.get(what)

    def _fetch(self, doing: str, query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with classified(doing):
            return self._connection().execute(query, parameters).fetchall()


_KINDS = {"e": "enum", "d": "domain", "c": "composite", "r": "range"}


def composites_of(types: Iterable[UserType]) -> dict[tuple[str, str], str]:
    """Return the definitions of those that are composites."""
    return {(t.schema, t.name): t.definition for t in types if t.kind == "composite"}


def _relation(row: tuple[Any, ...]) -> RelationFacts:
    oid, schema, table, kind, persistence, identity, ancestors, *rest, narrow = row
    leaves = tuple(TableName(*leaf) for leaf in narrow)
    values: Any = (oid, TableName(schema, table), kind, persistence, identity, tuple(ancestors or ()), *rest, leaves)
    return RelationFacts(*values)


def _foreign_key(row: tuple[Any, ...]) -> ForeignKey:
    _, name, columns, schema, table, target_columns, on_delete, on_update, deferrable = row
    return ForeignKey(
        name,
        tuple(columns),
        TableName(schema, table),
        tuple(target_columns),
        _ACTIONS[on_delete],
        _ACTIONS[on_update],
        deferrable,
    )

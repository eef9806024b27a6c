"""What a table's rows become: vertices and edges, and the statements that write them.

An element belongs to its row. Where its id is made of the key's columns alone, it is found by its id; where other
columns take part, it may move, and is found by the row's key in a property of its own. A vertex whose id lacks columns
of the key is shared by rows: whoever wrote last has its say, and no row takes it away.

A vertex is there for as long as a row or an edge needs it. An edge that comes before the vertex at its end makes it,
bare; a vertex whose row goes before its edges is stripped, and goes with the last of them. So it does not matter in
which order the changes of several tables arrive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apply.sink_kinds.guarded import KeyTexts
from apply.sinks.neptune import gremlin
from apply.sinks.neptune.gremlin import Typed, text
from apply.sinks.neptune.values import Make, Template, kind_of, kind_wanted, natural, of_column, of_text
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.graph_mapping import RESERVED, EdgeDefinition, GraphMapping, GraphProperty, VertexDefinition
from schemas.table import TableSchema


@dataclass(slots=True)
class Statements:
    """What writes a row, in the order of three requests: what stood in another place is removed by the first, and what
    the row no longer is by the last.
    """

    first: list[str] = field(default_factory=list)
    then: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)
    leaves_orphans: bool = False

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(len(statement) + 1 for some in (self.first, self.then, self.last) for statement in some)


@dataclass(frozen=True, slots=True)
class Change:
    """What a statement has to know of a change, but for the row."""

    key: str
    """The row's key as a text."""
    seq: int
    at_s: int
    """When it is applied."""


class _Properties:
    """The properties that a definition gives to an element."""

    def __init__(self, table: TableSchema, mapped: Sequence[GraphProperty] | None) -> None:
        """Raises TARGET_SCHEMA."""
        self._made: list[tuple[str, Template, Make]] = []
        self.kinds: list[tuple[str, str]] = []
        """Each one's name and type, but for values that the type does not have: they are texts."""
        if mapped is None:
            for place, column in enumerate(table.columns):
                if column.name.startswith(RESERVED):
                    raise unfit(table, f"names of columns that begin with {RESERVED} are taken", "rename the column")
                template = Template.column(table, place)
                self._made.append((column.name, template, natural(column.type)))
                self.kinds.append((column.name, kind_of(column.type)))
            return
        for each in mapped:
            template = Template.parsed(table, each.property_value_template)
            wanted = each.property_value_type
            try:
                make = _maker(table, template, wanted)
            except ValueError as error:
                raise unfit(table, f"the property {each.property_name}: {error}", "change `graph_mapping`") from error
            self._made.append((each.property_name, template, make))
            self.kinds.append((each.property_name, kind_wanted(wanted)))

    def are_known(self, row: Row) -> bool:
        """Tell whether a row, of which a part may be known, tells all of them."""
        return not any(row[i] is UNCHANGED for _, template, _ in self._made for i in template.columns)

    def of_row(self, row: Row) -> dict[str, Typed | None]:
        """Return values by names; None for what is null; what is not known is left out. Raises ValueError."""
        found: dict[str, Typed | None] = {}
        for name, template, make in self._made:
            value = row[template.single] if template.single is not None else template.of_row(row)
            if value is UNCHANGED:
                if len(template.columns) > 1 and any(row[i] is not UNCHANGED for i in template.columns):
                    raise ValueError("a property is made of several columns, of which the log holds some only")
                continue
            found[name] = None if value is None else make(value)
        return found


class Element:
    """One definition: a vertex, or an edge, of each row."""

    def __init__(
        self,
        table: TableSchema,
        name: str,
        id_: Template,
        label: str | None,
        properties: _Properties,
        ends: tuple[tuple[Template, str | None], tuple[Template, str | None]] | None = None,
        stripped: str = "properties()",
    ) -> None:
        self.name = name
        self.label = label
        self.id = id_
        self.is_edge = ends is not None
        self.ends = ends
        self._properties = properties
        self._own_name, self._row_name = f"{gremlin.SEQUENCE}.{name}", f"{gremlin.ROW}.{name}"
        self._own, self._row = text(self._own_name), text(self._row_name)
        self._stripped = stripped
        key = frozenset(table.key)
        self.lacks_key = not key <= id_.columns
        """Whether several rows may have one id."""
        self.is_shared = not self.is_edge and self.lacks_key
        used = id_.columns.union(*(end.columns for end, _ in ends or ()))
        self.moves = not self.is_shared and not (id_.columns == key and used == key)

    @property
    def own(self) -> str:
        """The literal of the property that every element of the definition has, and no other."""
        return self._own

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """Name and type of each property that it may have."""
        own = [(self._own_name, "Long")]
        return [*self._properties.kinds, *own, *([(self._row_name, "String")] if self.moves else ())]

    @property
    def letter(self) -> str:
        """What a traversal over elements begins with."""
        return "E" if self.is_edge else "V"

    def place(self, row: Row) -> tuple[str, ...] | None:
        """Return its id, and an edge's ends; None for a row that has none. Raises ValueError where it is not known."""
        found = [self.id.of_row(row), *(end.of_row(row) for end, _ in self.ends or ())]
        if any(each is UNCHANGED for each in found):
            raise ValueError("an id is made of columns that the log does not hold")
        return None if any(each is None for each in found) else tuple(found)

    def values(self, row: Row, change: Change) -> dict[str, Typed | None]:
        """Return its properties, as far as a row tells them. Raises ValueError for one that cannot be."""
        values = self._properties.of_row(row)
        values[self._own_name] = Typed("Long", str(change.seq))
        if self.moves:
            values[self._row_name] = Typed("String", change.key)
        return values

    def write(self, row: Row, change: Change, into: Statements) -> None:
        """Add what writes a whole row. Raises ValueError for a value that a property cannot take."""
        place = self.place(row)
        if place is None:
            if not self.is_shared:
                self.delete(None, change, into)
            return
        values = self.values(row, change)
        guards = [f"__.{self.letter}({text(place[0])})"]
        if self.moves:
            guards.append(f"__.{self._of_row(change)}")
        begin = gremlin.unless_newer(guards, change.seq, self._own)
        if not self.is_shared:
            begin += gremlin.not_deleted(self._memory(change), change.seq)
        into.then.append(begin + self._made(place) + gremlin.properties(values, self._single) + ".iterate()")
        if self.is_edge and self.moves:
            ends = f"__.and(__.outV().hasId({text(place[1])}),__.inV().hasId({text(place[2])}))"
            into.first.append(gremlin.drop_edges(f"E({text(place[0])}).not({ends})", self._own, change.seq))
        if self.moves:
            into.last.append(self._remove(self._of_row(change), change.seq))
            into.leaves_orphans = True

    def update(self, row: Row, change: Change, found: tuple[str, ...] | None, into: Statements) -> None:
        """Add what writes a part of a row, whose element is where it was `found`. Raises ValueError."""
        if self.is_shared:
            # The row may belong to another vertex now, which nobody has made yet.
            self.write(row, change, into)
            return
        place = self.place(row)
        if self.moves and found is not None and place != found:
            raise ValueError(
                "an element moves with a row that the log holds a part of only (PostgreSQL: `replica identity full`)"
            )
        if place is None:
            return
        if self.moves and found is None:
            # The row had none so far, where a column was null; or it is deleted, which the guards know.
            if self._properties.are_known(row):
                self.write(row, change, into)
            return
        values = gremlin.properties(self.values(row, change), self._single)
        into.then.append(f"g.{self.letter}({text(place[0])}).has({self._own},lt({change.seq}L)){values}.iterate()")

    def delete(self, id_: str | None, change: Change, into: Statements) -> None:
        """Add what deletes the element of a row; `id_` is that of one that does not move."""
        if self.is_shared:
            return
        into.then.append(gremlin.remember(self._memory(change), change.seq, change.at_s))
        found = self._of_row(change) if self.moves or id_ is None else f"{self.letter}({text(id_)})"
        into.then.append(self._remove(found, change.seq))
        into.leaves_orphans = True

    def clear(self, count_max: int) -> str:
        """Return the statement that removes so many elements of the definition, whatever their rows are."""
        some = f"{self.letter}().has({self._own}).limit({count_max})"
        return self._remove(some, (1 << 63) - 1)

    def where_found(self, keys: Sequence[str]) -> str:
        """Return the statement that tells where the elements of rows are."""
        names, ends = ("'row','id'", "")
        if self.is_edge:
            names, ends = f"{names},'from','to'", ".by(__.outV().id()).by(__.inV().id())"
        of_rows = f"g.{self.letter}().has({self._row},within({','.join(map(text, keys))}))"
        return f"{of_rows}.project({names}).by({self._row}).by(T.id){ends}"

    @property
    def _single(self) -> str:
        return "" if self.is_edge else "single,"

    def _memory(self, change: Change) -> str:
        return text(f"tailrace/deleted/{self.name}/{change.key}")

    def _of_row(self, change: Change) -> str:
        return f"{self.letter}().has({self._row},{text(change.key)})"

    def _made(self, place: tuple[str, ...]) -> str:
        if self.ends is None:
            return f".{gremlin.merge_vertex(text(place[0]), self.label)}"
        ends = (text(place[1]), text(place[2]))
        vertices = "".join(
            f".sideEffect(__.{gremlin.merge_vertex(id_, label)})"
            for id_, (_, label) in zip(ends, self.ends, strict=True)
        )
        return vertices + gremlin.merge_edge(text(place[0]), self.label or "", ends)

    def _remove(self, found: str, seq: int) -> str:
        if self.is_edge:
            return gremlin.drop_edges(found, self._own, seq)
        return gremlin.strip_vertices(found, self._own, seq, self._stripped)


class Elements:
    """The elements of one version's rows."""

    def __init__(self, table: TableSchema, mapping: GraphMapping | None) -> None:
        """Raises TARGET_SCHEMA."""
        self.table = table
        self.keys = KeyTexts(table)
        if mapping is None:
            id_ = _RowId(table, self.keys)
            self.all: list[Element] = [Element(table, str(table.name), id_, table.name.table, _Properties(table, None))]
            return
        self.all = _mapped(table, mapping)
        if not self.all:
            raise unfit(table, "the graph mapping has no rule for it", "add one, or leave the table out of `tables`")

    def id_of_key(self, element: Element, key: Row) -> str | None:
        """Return the id of the element of a deleted row; None where the key alone does not tell."""
        if element.moves or element.is_shared:
            return None
        row: list[Any] = [UNCHANGED] * len(self.table.columns)
        for place, value in zip(self.table.key, key, strict=True):
            row[place] = value
        found = element.place(tuple(row))
        return found[0] if found is not None else None


class _RowId(Template):
    """The id of a row's vertex without a mapping: the table's name and the key."""

    def __init__(self, table: TableSchema, keys: KeyTexts) -> None:
        super().__init__([])
        self.columns = frozenset(table.key)
        self._name = str(table.name)
        self._keys = keys

    def of_row(self, row: Row) -> str:
        # Two keys never have one text: that of a compound key is a JSON array.
        return f"{self._name}/{self._keys.of_row(row)}"


def _mapped(table: TableSchema, mapping: GraphMapping) -> list[Element]:
    vertices = [vertex for rule in mapping.rules for vertex in rule.vertex_definitions]
    labels = {vertex.vertex_definition_id: vertex.vertex_label for vertex in vertices}
    added = [vertex for vertex in vertices if vertex.vertex_label is None]
    made: list[Element] = []
    for rule in mapping.rules:
        if rule.table_name not in (table.name.table, str(table.name)):
            continue
        made += [_vertex(table, vertex, added) for vertex in rule.vertex_definitions]
        for number, edge in enumerate(rule.edge_definitions):
            made.append(_edge(table, f"{rule.rule_id}.{number}", edge, labels))
    return made


def _vertex(table: TableSchema, vertex: VertexDefinition, added: Sequence[VertexDefinition]) -> Element:
    properties = _Properties(table, vertex.vertex_properties)
    id_ = Template.parsed(table, vertex.vertex_id_template)
    if vertex.vertex_label is None:
        stripped = f"properties({','.join(_literals(vertex))})"
    else:
        kept = ",".join(name for other in added for name in _literals(other))
        stripped = f"properties().hasKey(without({kept}))" if kept else "properties()"
    return Element(table, vertex.vertex_definition_id, id_, vertex.vertex_label, properties, stripped=stripped)


def _literals(vertex: VertexDefinition) -> list[str]:
    """Return literals of the names of all properties that a definition gives."""
    own = (f"{prefix}.{vertex.vertex_definition_id}" for prefix in (gremlin.SEQUENCE, gremlin.ROW))
    return [text(name) for name in (*own, *(each.property_name for each in vertex.vertex_properties))]


def _edge(table: TableSchema, name: str, edge: EdgeDefinition, labels: Mapping[str, str | None]) -> Element:
    begin, end = (
        (Template.parsed(table, each.vertex_id_template), labels[each.vertex_definition_id])
        for each in (edge.from_vertex, edge.to_vertex)
    )
    id_ = Template.parsed(table, edge.edge_id_template.template)
    properties = _Properties(table, edge.edge_properties)
    return Element(table, name, id_, edge.edge_id_template.label, properties, (begin, end))


def _maker(table: TableSchema, template: Template, wanted: str) -> Make:
    if template.single is not None:
        return of_column(table.columns[template.single].type, wanted)
    if wanted == "date":
        raise ValueError("the type Date is for one column of dates or times")
    return lambda value: of_text(value, wanted)


def unfit(table: TableSchema, message: str, remedy: str) -> TailraceError:
    """Return that a table can be no graph."""
    return TailraceError(ErrorKind.TARGET_SCHEMA, message, table=str(table.name), remedy=remedy)

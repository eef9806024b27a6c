"""Reads vertices back: the rows of a table, page by page, in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterator

from apply.sink_kinds.folding import fitting
from apply.sinks.neptune.client import Client
from apply.sinks.neptune.elements import Elements
from apply.sinks.neptune.gremlin import text
from schemas.changes import Row
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.types.plain import canonical

PAGE_VERTICES = 1_000


class NeptuneReader:
    """Implements `apply.row_reader.RowReader`, of tables whose rows are vertices with a property for each column."""

    def __init__(self, target: NeptuneTarget) -> None:
        """Raises CONFIGURATION for a target with a graph mapping: it does not keep rows."""
        if target.graph_mapping is not None:
            message = "a graph mapping keeps what it names of rows, and no rows: there is nothing to read back"
            raise TailraceError(ErrorKind.CONFIGURATION, message)
        self._client = Client(target)

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """See `RowReader`."""
        (element,) = Elements(table, None).all
        forms = [(column.name, fitting(canonical(column.type))) for column in table.columns]
        after = ""
        while True:
            which = f"g.V().has({element.own}){after}.order().by(T.id).limit({PAGE_VERTICES})"
            # Apart: a column may be called id.
            asked = f"{which}.project('vertex','row').by(T.id).by(__.valueMap())"
            page = self._client.send([asked], f"reading rows of {table.name}")
            for found in page:
                values = ((found["row"].get(name, [None])[0], form) for name, form in forms)
                yield tuple(None if value is None else form(value) for value, form in values)
            if len(page) < PAGE_VERTICES:
                return
            after = f".hasId(gt({text(page[-1]['vertex'])}))"

    def close(self) -> None:
        """See `RowReader`."""
        self._client.close()

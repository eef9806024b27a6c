"""Reads documents back, page by page: the rows of an index, or what the changes of a data stream come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from apply.sink_kinds.folding import Told, fitting, folded
from apply.sinks.opensearch.client import Client
from apply.sinks.opensearch.mapping import index_name
from apply.sinks.opensearch.streams import OPERATION, PARTITION, SEQUENCE
from schemas.changes import Row
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.types.plain import canonical

PAGE_DOCUMENTS = 2_000
PAGE_KEPT_FOR = "5m"
"""How long OpenSearch keeps the place between two pages."""


class OpensearchReader:
    """Implements `apply.row_reader.RowReader`."""

    def __init__(self, target: OpensearchTarget) -> None:
        self._target = target
        self._client = Client(target)

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """See `RowReader`."""
        index = quote(index_name(self._target.index_name, table.name), safe="")
        if not self._client.request("POST", f"/{index}/_refresh", absent=404):
            raise TailraceError(ErrorKind.TARGET_SCHEMA, f"there is no index {index}", table=str(table.name))
        forms = [(column.name, fitting(canonical(column.type))) for column in table.columns]
        if self._target.index_kind == "data-stream":
            yield from folded(table, self._changes(index, forms))
            return
        for source in self._sources(index, {"sort": ["_doc"], "_source": list(table.column_names)}):
            values = ((source.get(name), form) for name, form in forms)
            yield tuple(None if value is None else form(value) for value, form in values)

    def _changes(self, index: str, forms: list[tuple[str, Callable[[Any], Any]]]) -> Iterator[Told]:
        """Yield the changes of a data stream in the order of their commits."""
        for source in self._sources(index, {"sort": [{SEQUENCE: "asc"}]}):
            known = ((name, source[name], form) for name, form in forms if name in source)
            values = {name: None if value is None else form(value) for name, value, form in known}
            yield Told(source[OPERATION], values, source[PARTITION], source[SEQUENCE])

    def _sources(self, index: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        page = self._client.request("POST", f"/{index}/_search", {"size": PAGE_DOCUMENTS, **body}, scroll=PAGE_KEPT_FOR)
        try:
            while page["hits"]["hits"]:
                for hit in page["hits"]["hits"]:
                    yield hit["_source"]
                going_on = {"scroll": PAGE_KEPT_FOR, "scroll_id": page["_scroll_id"]}
                page = self._client.request("POST", "/_search/scroll", going_on)
        finally:
            self._client.request("DELETE", "/_search/scroll", {"scroll_id": page["_scroll_id"]}, absent=404)

    def close(self) -> None:
        """See `RowReader`."""
        self._client.close()

"""Reads documents back: the rows of an index, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from apply.sinks.opensearch.client import Client
from apply.sinks.opensearch.mapping import index_name
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.opensearch_target import OpensearchTarget
from schemas.table import TableSchema
from schemas.types.plain import canonical

PAGE_DOCUMENTS = 2_000
PAGE_KEPT_FOR = "5m"
"""How long OpenSearch keeps the place between two pages."""


class OpensearchReader:
    """Implements `apply.reading.RowReader`."""

    def __init__(self, target: OpensearchTarget) -> None:
        self._target = target
        self._client = Client(target)

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """See `RowReader`."""
        index = quote(index_name(self._target.index_name, table.name), safe="")
        if not self._client.request("POST", f"/{index}/_refresh", absent=404):
            raise TailraceError(ErrorKind.TARGET_SCHEMA, f"there is no index {index}", table=str(table.name))
        forms = [(column.name, canonical(column.type)) for column in table.columns]
        body = {"size": PAGE_DOCUMENTS, "sort": ["_doc"], "_source": list(table.column_names)}
        page = self._client.request("POST", f"/{index}/_search", body, scroll=PAGE_KEPT_FOR)
        try:
            while page["hits"]["hits"]:
                for hit in page["hits"]["hits"]:
                    source = hit["_source"]
                    values = ((source.get(name), form) for name, form in forms)
                    yield tuple(None if value is None else form(value) for value, form in values)
                going_on = {"scroll": PAGE_KEPT_FOR, "scroll_id": page["_scroll_id"]}
                page = self._client.request("POST", "/_search/scroll", going_on)
        finally:
            self._client.request("DELETE", "/_search/scroll", {"scroll_id": page["_scroll_id"]}, absent=404)

    def close(self) -> None:
        """See `RowReader`."""
        self._client.close()

"""The catalogue is read by several queries, and tables are altered between them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from capture.sources.mysql.catalog import READS_MAX, Catalog
from capture.sources.mysql.connection import Connection
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName


class Renaming:
    """A table whose key's column gets another name behind each of the first queries for columns."""

    def __init__(self, renames: int, index: str) -> None:
        self._left, self._index, self._name = renames, index, 0

    def rows(self, query: str) -> list[Any]:
        if "information_schema.tables" in query:
            return [("shop", "a", "BASE TABLE", "InnoDB", "7", "")]
        if "information_schema.statistics" in query:
            return [("shop", "a", self._index, "0", f"c{self._name}", None, "BTREE")]
        if "information_schema.columns" not in query:
            return []
        found = [("shop", "a", f"c{self._name}", "int(11)", None, "NO", None, "", None)]
        if self._left:
            self._left, self._name = self._left - 1, self._name + 1
        return found


def _catalog(server: Renaming) -> Catalog:
    return Catalog(lambda: cast("Connection", SimpleNamespace(rows=server.rows, is_mariadb=True)))


@pytest.mark.parametrize("index", ["PRIMARY", "other"])
def test_a_table_that_is_altered_meanwhile_is_read_again(index: str) -> None:
    """It ended capture, or had no key."""
    table = _catalog(Renaming(3, index)).find_table(TableName("shop", "a"))
    assert table is not None
    assert (table.column_names, table.key) == (("c3",), (0,))
    with pytest.raises(TailraceError) as caught:
        _catalog(Renaming(READS_MAX, index)).find_table(TableName("shop", "a"))
    assert caught.value.kind is ErrorKind.SOURCE_CONNECTION


def test_a_column_that_the_user_may_not_read_is_no_alteration() -> None:
    """MySQL shows such a column's index all the same: it was looked for for ever."""
    server = Renaming(0, "other")
    seen = server.rows
    server.rows = lambda query: [  # type: ignore[method-assign]
        *seen(query),
        *([("shop", "a", "hidden", "1", "w", None, "BTREE")] if "information_schema.statistics" in query else []),
    ]
    with pytest.raises(TailraceError, match="may not read the column w") as caught:
        _catalog(server).find_table(TableName("shop", "a"))
    assert (caught.value.kind, caught.value.table) == (ErrorKind.PREREQUISITE, "shop.a")
    assert "`shop`.`a`" in str(caught.value.remedy)

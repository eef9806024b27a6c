"""What a table gets after its load: secondary indexes, foreign keys, and what an engine has besides.

Made after the load because loading into indexes is slow, and because a foreign key wants its parents first. Foreign
keys are made only when both tables are loaded; whichever completes last makes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from apply.sink_kinds.relational.control_tables import RelationalControlTables
from apply.sink_kinds.relational.preparation import RelationalPreparation
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.table import ForeignKey, Index, TableName, TableSchema

log = get_logger(__name__)


class RelationalCompletion(ABC):
    """Completes loaded tables. Driver errors pass through."""

    code_name: ClassVar[str] = "code"
    """What a log calls the number or name of a server's error."""

    def __init__(
        self, control: RelationalControlTables, preparation: RelationalPreparation[Any, Any], *, foreign_keys_act: bool
    ) -> None:
        """With `foreign_keys_act` the source's actions are made with a foreign key: they do not act on our session."""
        self._control = control
        self._preparation = preparation
        self._foreign_keys_act = foreign_keys_act

    def complete(self, tables: Sequence[TableSchema]) -> None:
        """Make what is missing of tables, each of another name. May be repeated."""
        self._control.install()
        with self._control.alone():
            if len(tables) > 1:
                self._wait_for_nobody()
            recorded = self._control.recorded_all([table.name for table in tables])
            tables = [_newer(self._preparation.translated(table), recorded.get(table.name)) for table in tables]
            for table in tables:
                for index in table.indexes:
                    self._make_index(table, self._preparation.target_name(table.name), index)
            names = {table.name for table in tables}
            self._control.mark_loaded(*names)
            loaded = self._control.loaded_names()
            keys = [(table, key) for table in tables for key in table.foreign_keys if key.target in loaded]
            children = [child for child in self._control.loaded_referring_to(*names) if child.name not in names]
            keys += [(child, key) for child in children for key in child.foreign_keys if key.target in names]
            for child, key in keys:
                self._make_foreign_key(child, key)
            self._finish(tables, loaded)

    # What an engine does

    @abstractmethod
    def _wait_for_nobody(self) -> None:
        """Let the transaction fail rather than wait for others, if it keeps tables locked: they may wait for those."""

    @abstractmethod
    def _index_statements(self, name: TableName, index: Index) -> list[str]:
        """Return the statements that make an index; none if it is there."""

    @abstractmethod
    def _foreign_key_statement(self, name: TableName, key: ForeignKey, parent: TableName, actions: str) -> str:
        """Return the statement that makes a foreign key; empty if it is there. `actions` stand behind its columns."""

    @abstractmethod
    def _attempt(self, statements: Sequence[str]) -> Any:
        """Run statements, or none of them; return what the server objects to in them, or None.

        Raises what has nothing to do with them.
        """

    def _attempt_foreign_key(self, statement: str) -> Any:
        """Run the statement that makes a foreign key, without looking at the rows that are there if that can be."""
        return self._attempt([statement])

    @abstractmethod
    def _code(self, error: Any) -> str:
        """Return the number or name of a server's error."""

    def _is_spared(self, error: Any) -> bool:
        """Tell whether an index that is not unique may be left out for this objection."""
        return True

    @abstractmethod
    def _finish(self, tables: Sequence[TableSchema], loaded: set[TableName]) -> None:
        """Do what an engine has besides."""

    # The frame

    def _make_index(self, table: TableSchema, name: TableName, index: Index) -> None:
        statements = self._index_statements(name, index)
        error = self._attempt(statements) if statements else None
        if error is None:
            return
        if not index.unique and self._is_spared(error):
            self._warn("index left out", table.name, error, index=index.name)
            return
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"index {index.name!r} cannot be made at the target ({self._code(error)}, {type(error).__name__})",
            remedy=f"correct what stands in the way, then run: {statements[0]}",
            table=str(table.name),
        ) from error

    def _make_foreign_key(self, child: TableSchema, key: ForeignKey) -> None:
        name, parent = self._preparation.target_name(child.name), self._preparation.target_name(key.target)
        if not (self._preparation.exists(name) and self._preparation.exists(parent)):
            return
        # Rows that a cascade deleted at the source arrive as deletions of their own. A cascade here would run ahead of
        # other partitions and delete rows that have moved to another parent meanwhile. Where our session takes no part
        # in them, the actions rest until others write the target, and may be there from the start.
        actions = f" on delete {key.on_delete} on update {key.on_update}" if self._foreign_keys_act else ""
        statement = self._foreign_key_statement(name, key, parent, actions)
        error = self._attempt_foreign_key(statement) if statement else None
        if error is not None:
            self._warn("foreign key left out", child.name, error, key=key.name)

    def _warn(self, said: str, table: TableName, error: Any, **what: str) -> None:
        log.warning(said, table=str(table), **what, **{self.code_name: self._code(error)})


def _newer(table: TableSchema, recorded: TableSchema | None) -> TableSchema:
    return recorded if recorded is not None and recorded.version > table.version else table

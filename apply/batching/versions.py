"""Which version of a table the target is to have, and how rows that another version wrote are brought to it."""

from __future__ import annotations

from apply.batching.projection import Projection, same_shape
from apply.errors import FinalError
from apply.schema_catalog import SchemaCatalog
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import DdlPolicy
from schemas.table import TableSchema


class Versions:
    """The versions of all tables, as the policy for changes of tables lets one target have them."""

    def __init__(
        self,
        catalog: SchemaCatalog,
        *,
        ddl: DdlPolicy = DdlPolicy.APPLY,
        comes_again: bool = True,
        keeps_history: bool = False,
    ) -> None:
        """`comes_again`: what the source rewrites is published again (not so in mode `cdc`). A history has each change
        as its own version has it.
        """
        self.catalog = catalog
        self._ddl = ddl
        self._comes_again = comes_again
        self._keeps_history = keeps_history

    def target(self, topic: str, version: int | None = None) -> TableSchema:
        """Return the version of a topic's table that the target is to have, for rows that `version` wrote.

        Not one of a later life: the truncate between the two has yet to be reached by all partitions.
        """
        known = self.catalog.topics[topic]
        if self._keeps_history and version is not None:
            return known.versions[version]
        if self._ddl is not DdlPolicy.APPLY:
            return known.oldest
        return known.wanted(version)

    def projection(self, written: TableSchema, target: TableSchema) -> Projection:
        """Return what brings rows from one version to another. Raises TARGET_SCHEMA where that cannot be."""
        return Projection(written, target, comes_again=self._comes_again)

    def unfit(self, topic: str, table: TableSchema) -> TailraceError | None:
        """Return why rows of this version may not be written, where the policy forbids them; raise what ends all."""
        if self._ddl in {DdlPolicy.APPLY, DdlPolicy.IGNORE} or same_shape(table, self.catalog.topics[topic].oldest):
            return None
        error = TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"the source changed the table (version {table.version}); `ddl: {self._ddl}` does not let it change here",
            table=str(table.name),
            remedy="set `ddl` to `apply` or `ignore`, and start the applier again",
        )
        if self._ddl is DdlPolicy.STOP:
            raise FinalError(error.kind, error.message, remedy=error.remedy, table=error.table)
        return error

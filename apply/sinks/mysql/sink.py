"""The MySQL sink: rows and offsets over one connection; definitions, which commit by themselves, over another one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from apply.sink_kinds.relational.plan import filling_of
from apply.sink_kinds.relational.sink import Definitions, RelationalSink, plan_key
from apply.sinks.mysql.catalog import Reference, TargetColumn, TargetTable, referring
from apply.sinks.mysql.completion import Completion
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.ddl import filling
from apply.sinks.mysql.names import literal, qualified, quoted
from apply.sinks.mysql.preparation import Preparation
from apply.sinks.mysql.stages import Stages
from apply.sinks.mysql.statements import TablePlan, usual_form
from apply.sinks.mysql.writer import Writer
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import ExistingTables
from schemas.row_forms import StagedForm
from schemas.table import Column, TableName, TableSchema


class MysqlSink(RelationalSink[TablePlan, Link]):
    """One target server, as one appliers' process sees it."""

    capabilities = replace(RelationalSink.capabilities, stages=True)

    def __init__(
        self,
        replication: str,
        target_name: str,
        target: MysqlTarget,
        existing_tables: ExistingTables = ExistingTables.KEEP,
        *,
        marks: bool = False,
    ) -> None:
        """With `marks` the target's log tells what was written by this sink."""
        link, own = Link(target, marks=marks), Link(target, marks=marks)
        control = ControlTables(link, target.control_schema, replication, target_name)
        registry = ControlTables(own, target.control_schema, replication, target_name)
        self._checks_foreign_keys = target.foreign_key_checks
        self._preparation = Preparation(own, registry, target.schema_map, target.database, existing_tables)
        completion = Completion(own, registry, self._preparation, foreign_keys_act=not target.foreign_key_checks)
        definitions = Definitions(own, registry, self._preparation, completion)
        super().__init__(link, control, definitions, Writer(Stages(link, target.control_schema)))

    def staged_form(self, table: TableSchema) -> StagedForm | None:
        """Return what makes lines of whole rows; by a guess, until it is known what the target's table takes.

        None where the server loads no data of clients.
        """
        if self._link.generation and not self._link.loads_local:
            return None
        plan = self._plans.get(plan_key(table))
        return usual_form(table) if plan is None else plan.form

    def _qualified(self, name: TableName) -> str:
        return qualified(self._preparation.target_name(name))

    @staticmethod
    def _quoted(column: str) -> str:
        return quoted(column)

    def _make_plan(self, table: TableSchema, found: TargetTable, fillings: Mapping[str, str]) -> TablePlan:
        return TablePlan(
            *(table, found, fillings),
            foreign_key_checks=self._checks_foreign_keys,
            is_mariadb=self._link.is_mariadb,
        )

    @staticmethod
    def _filling(column: Column, found: TargetColumn, staged: Callable[[str], str]) -> str:
        return filling_of(column, partial(filling, column), staged, literal)

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Empty tables within the open transaction, row by row: `truncate` would commit it.

        Never cascades: the source names every table that it emptied. Raises ROW_CONFLICT while rows of other tables
        refer to these.
        """
        names = [self._preparation.target_name(table.name) for table in tables]
        with self._of_table("truncating", tables[0].name, *tables):
            self._link.begin()
            references = [r for name in names for r in referring(self._link, name) if r.child not in names]
            # The tables may refer to each other, and to themselves: what is left is asked for afterwards.
            with self._link.without_foreign_keys():
                for name in names:
                    self._link.run(f"delete from {qualified(name)}")
            if self._checks_foreign_keys:
                for reference in references:
                    self._refuse_orphans(reference, tables[0])

    def _definable(self, table: TableSchema) -> contextlib.AbstractContextManager[None]:
        """Raise ROW_CONFLICT where the open transaction has written the table: a definition would wait for itself."""
        if table.name in self._guarded:
            raise TailraceError(
                ErrorKind.ROW_CONFLICT,
                "the table changes in the midst of a transaction that has written it",
                table=str(table.name),
            )
        return contextlib.nullcontext()

    def _refuse_orphans(self, reference: Reference, table: TableSchema) -> None:
        """Raise ROW_CONFLICT where rows of another table refer to one that was emptied."""
        refers = " and ".join(f"{quoted(column)} is not null" for column in reference.columns)
        if self._link.value(f"select exists (select 1 from {qualified(reference.child)} where {refers})"):
            raise TailraceError(
                ErrorKind.ROW_CONFLICT,
                f"rows of {reference.child} refer to the table that is emptied",
                table=str(table.name),
            )

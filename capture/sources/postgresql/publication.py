"""The publication: made for the user, or theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg

from capture.source import RELOAD, LockedError
from capture.sources.postgresql.connection import classified, identifier, literal
from capture.sources.postgresql.locks import TO_PUBLISH, WRITERS, locking
from capture.sources.postgresql.queries import OIDS, published
from runtime.clock import monotonic, sleep
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName

Connection = psycopg.Connection[tuple[object, ...]]

_PUBLICATION = """
select pubviaroot, pubinsert and pubupdate and pubdelete and pubtruncate
  from pg_publication where pubname = %(name)s
"""
_OWNED = "select from pg_publication where pubname = %(name)s and pg_has_role(pubowner, 'usage')"
OPTIONS = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true"

_WRITERS_WAIT_S = 60

_GONE = psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName
"""What names a table that was there a moment ago, or its schema. PostgreSQL, "Error Codes", 42P01 and 3F000."""


_ENSURE = """\
do $$
declare
  missing regclass;
begin
  if not exists (select from pg_publication where pubname = {literal}) then
    {create};
  end if;
  for missing in
    select t from unnest(array[{members}]::regclass[]) as t
     where not exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
                        where p.pubname = {literal} and r.prrelid = t)
       and not exists (select from pg_publication_tables m
                        where m.pubname = {literal} and format('%I.%I', m.schemaname, m.tablename)::regclass = t)
  loop
    execute format('alter publication %I add table %s', {literal}, missing);
  end loop;
end
$$;"""
"""SQL has no `if not exists` for publications, nor for their tables."""


class Publication:
    """One publication, by name. `may_manage` tells whether we may make and alter it."""

    def __init__(self, connection: Callable[[], Connection], name: str, *, may_manage: bool) -> None:
        self._connection = connection
        self.name = name
        self._may_manage = may_manage
        self._memberships: dict[int, str] = {}
        """By which rows of the catalogue a table was a member when it was looked at last, by its oid."""
        self._waited_for: set[int] = set()
        """Tables, by oid, of which it is known who may have written them before they were published."""
        self._writers: set[str] = set()
        """Those, as virtual transactions."""

    def missing(self, tables: Sequence[TableName]) -> list[TableName]:
        """Return which of these tables the publication does not publish."""
        members = {TableName(str(s), str(t)) for s, t, *_ in self._members()}
        return [table for table in tables if table not in members]

    def ensure(self, tables: Sequence[TableName]) -> list[TableName]:
        """Make the publication, or add the tables that it lacks; return those. May be repeated.

        A table that is dropped meanwhile is left out.
        Raises PREREQUISITE with the statement to run where the role, or `manage_publication`, does not allow it.
        """
        try:
            return self._ensure(tables)
        except TailraceError as error:
            left = [*self._oids(tables)] if isinstance(error.__cause__, _GONE) else tables
            if len(left) == len(tables):
                raise
            return self.ensure(left)

    def _ensure(self, tables: Sequence[TableName]) -> list[TableName]:
        rows = self._fetch(_PUBLICATION)
        if not rows:
            self._run(create_statement(self.name, tables), tables)
            return list(tables)
        via_root, publishes_all = rows[0]
        if not via_root or not publishes_all:
            self._run(f"alter publication {identifier(self.name)} set ({OPTIONS})")
        missing = self.missing(tables)
        if missing:
            self._run(f"alter publication {identifier(self.name)} add table {table_list(missing)}", missing)
        return missing

    def marks(self, tables: Mapping[TableName, int]) -> dict[TableName, str]:
        """Return by which rows of the catalogue tables, named with their oids, are members, as it was seen first."""
        members = {TableName(str(s), str(t)): ids for s, t, ids, _ in self._members()}
        return {
            name: self._memberships.setdefault(members[name][0], _mark(members[name]))
            for name, oid in tables.items()
            if name in members and oid in (0, members[name][0])
        }

    def check(self, tables: Mapping[TableName, int], marks: Mapping[TableName, str] | None = None) -> None:
        """Raise PREREQUISITE unless all of these tables that still exist are published, and always were, since the
        `marks` were taken or we looked first: somebody changed it by hand.

        A table of the same name with another oid is another table: it was never published, and nothing is missing.
        """
        members = {TableName(str(s), str(t)): (ids, partial) for s, t, ids, partial in self._members()}
        for name, mark in (marks or {}).items():
            if name in members and tables.get(name) in (0, members[name][0][0]):
                self._memberships.setdefault(members[name][0][0], mark)
        self._check_members({name: member for name, member in members.items() if name in tables})
        missing = tables.keys() - members.keys()
        if not missing:
            return
        gone = sorted(name for name, oid in self._oids([*missing]).items() if tables[name] in (0, oid))
        if not gone:
            return
        if not self._fetch(_PUBLICATION):
            what, first = f"the publication {self.name} was dropped", f"{create_statement(self.name, gone)}; then "
        else:
            more = f" and {len(gone) - 1} more tables" if len(gone) > 1 else ""
            what = f"the publication {self.name} no longer publishes {gone[0]}{more}"
            first = f"alter publication {identifier(self.name)} add table {table_list(gone)}; then "
        # Where it is ours, the next start makes it.
        raise _lacking(what, gone[0], "" if self._may_manage else first)

    def _check_members(self, members: Mapping[TableName, tuple[list[int], bool]]) -> None:
        """Raise PREREQUISITE where the log is sent in part only, or was not sent for a while."""
        if not members:
            return
        ((via_root, publishes_all),) = self._fetch(_PUBLICATION) or [(False, False)]
        if not via_root or not publishes_all:
            what = "all kinds of changes" if not publishes_all else "partitions by the name of their root"
            statement = f"alter publication {identifier(self.name)} set ({OPTIONS}); then "
            raise _lacking(f"the publication {self.name} no longer publishes {what}", None, statement)
        for name, (ids, is_partial) in members.items():
            if is_partial:
                table = table_list([name])
                raise _lacking(
                    f"the publication {self.name} has a row filter or a column list for {name}",
                    name,
                    f"alter publication {identifier(self.name)} drop table {table}; "
                    f"alter publication {identifier(self.name)} add table {table}; then ",
                )
            if self._memberships.setdefault(ids[0], _mark(ids)) != _mark(ids):
                raise _lacking(f"{name} was taken out of the publication {self.name}, and put back", name, "")

    def drop(self) -> bool:
        """Drop the publication if it is there and ours: one that its owner made for us, as `plan` says, stays."""
        if not self._may_manage or not self._fetch(_OWNED):
            return False
        self._run(f"drop publication {identifier(self.name)}")
        return True

    def settle(self, tables: Sequence[TableName], added: Sequence[TableName]) -> None:
        """Wait until whoever may have written tables before they were added to the publication has ended: those that
        `ensure` has `added`, and once anything is captured all that are not captured yet, since a predecessor may have
        died before it could wait, or the user have added them. (For what was there before the slot, the server waited
        when it was made.)

        Raises LockedError after a minute; where it is asked again for the same tables, at once while they still write.
        The server decodes a change with the publication as it was at the change: what such a writer did before is in no
        log, so the load's snapshots have to see it. It may also leave the server's cache of published tables stale for
        everyone after (repaired in the minor releases of 2025); another alteration, after it has ended, renews that.
        """
        # What all tables, or those of a schema, are published by was there before they were.
        members = {TableName(str(s), str(t)): ids[0] for s, t, ids, _ in self._members() if ids[2]}
        wanted = tables if self._memberships else added
        oids = {name: members[name] for name in wanted if name in members and members[name] not in self._memberships}
        fresh = [name for name, oid in oids.items() if oid not in self._waited_for]
        self._writers |= self._writing(fresh).keys()
        self._waited_for |= {oids[name] for name in fresh}
        deadline = monotonic() + (_WRITERS_WAIT_S if fresh else 0)
        while present := {writer: pid for writer, pid in self._writing([*oids]).items() if writer in self._writers}:
            if monotonic() >= deadline:
                pids = ", ".join(sorted(str(pid or "a prepared transaction") for pid in present.values()))
                raise LockedError(
                    ErrorKind.PREREQUISITE,
                    f"tables wait for transactions that may have written them before they were added to the "
                    f"publication {self.name} (server processes: {pids})",
                    remedy="let them end, or end them: select pg_terminate_backend(…)",
                )
            sleep(0.1)
        if oids and self._may_manage:
            self._run(f"alter publication {identifier(self.name)} set (publish_via_partition_root = true)")

    def _writing(self, tables: Sequence[TableName]) -> dict[str, int | None]:
        """Return the virtual transactions that may have written tables, with their processes."""
        if not tables:
            return {}
        parameters = {"schemas": [t.schema for t in tables], "tables": [t.table for t in tables]}
        return {str(virtual): pid for virtual, pid in self._fetch(WRITERS, parameters)}

    def _run(self, statement: str, tables: Sequence[TableName] = ()) -> None:
        """Run a statement that locks these tables."""
        if not self._may_manage:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                f"the publication {self.name} does not publish what is selected, and source.manage_publication is off",
                remedy=f"{statement};",
            )
        connection = self._connection()
        doing, remedy = f"managing the publication {self.name}", f"{statement}; as the owner of the tables"
        with locking(connection, tables, TO_PUBLISH), classified(doing, remedy=remedy):
            connection.execute(statement)

    def _oids(self, tables: Sequence[TableName]) -> dict[TableName, Any]:
        """Return the oids of those tables that are there."""
        parameters = {"schemas": [t.schema for t in tables], "tables": [t.table for t in tables]}
        with classified("looking tables up"):
            rows = self._connection().execute(OIDS, parameters).fetchall()
        return {TableName(str(schema), str(table)): oid for schema, table, oid in rows}

    def _members(self) -> list[tuple[Any, ...]]:
        return self._fetch(published(self._connection().info.server_version))

    def _fetch(self, query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with classified("reading the publication"):
            return self._connection().execute(query, {"name": self.name, **(parameters or {})}).fetchall()


def _mark(ids: Sequence[int]) -> str:
    _, publication, member = ids
    return f"{publication}.{member}"


def _lacking(what: str, table: TableName | None, first: str) -> TailraceError:
    return TailraceError(
        ErrorKind.PREREQUISITE,
        f"{what}: what changed in the meantime is not in the log that we are sent",
        table=str(table) if table else None,
        remedy=first + RELOAD,
    )


def create_statement(name: str, tables: Sequence[TableName]) -> str:
    """Return the statement that makes a publication of these tables."""
    of = f" for table {table_list(tables)}" if tables else ""
    return f"create publication {identifier(name)}{of} with (publish_via_partition_root = true)"


def ensure_statement(name: str, tables: Sequence[TableName]) -> str:
    """Return SQL that makes a publication of these tables, or adds those that it does not publish."""
    members = ", ".join(literal(table_list([table])) for table in tables)
    return _ENSURE.format(literal=literal(name), create=create_statement(name, ()), members=members)


def table_list(tables: Sequence[TableName]) -> str:
    """Return quoted names, with commas between."""
    return ", ".join(f"{identifier(t.schema)}.{identifier(t.table)}" for t in tables)

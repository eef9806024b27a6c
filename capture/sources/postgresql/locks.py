"""Who is in the way where a lock is waited for in vain.

Of what others run the first words are told, no more: statements hold values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from capture.source import LockedError
from capture.sources.postgresql.connection import classified
from runtime.clock import monotonic
from schemas.errors import TailraceError
from schemas.table import TableName

Connection = psycopg.Connection[tuple[Any, ...]]

TOLD_MAX = 3
"""Of sessions, in one message."""

_LOCKS = """
with recursive tree(oid) as (
    select c.oid
      from unnest(%(schemas)s::text[], %(tables)s::text[]) as w(s, t)
      join pg_namespace n on n.nspname = w.s
      join pg_class c on c.relnamespace = n.oid and c.relname = w.t
    union all
    select i.inhrelid from tree t join pg_class p on p.oid = t.oid and p.relkind = 'p'
      join pg_inherits i on i.inhparent = t.oid
), locks as (
    select l.* from tree
      join pg_locks l on l.locktype = 'relation' and l.granted and l.relation = tree.oid and l.database = (
               select d.oid from pg_database d where d.datname = current_database())
     where l.pid is distinct from pg_backend_pid()
)
"""
"""What others hold of tables and of their partitions; a prepared transaction has no process."""

_TO_WRITE = "('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"

WRITERS = f"""{_LOCKS}
select distinct l.virtualtransaction, l.pid from locks l where l.mode in {_TO_WRITE}
"""
"""Virtual transactions that may have written to tables."""

UNSEEN = f"""{_LOCKS}
select distinct x.transactionid::text::int8
  from locks l join pg_locks x on x.virtualtransaction = l.virtualtransaction
   and x.locktype = 'transactionid' and x.mode = 'ExclusiveLock' and x.granted
 where l.mode in {_TO_WRITE}
   and not exists (select from pg_stat_activity a where a.pid = l.pid and a.wait_event = 'ClientRead')
"""
"""The numbers of those (and of their subtransactions). They keep all their locks until they are seen. Who waits for its
client (idle in transaction) is not committing, so nothing of it is in the log; it shows to roles that may see that."""

_HOLDERS = f"""{_LOCKS}
select distinct on (l.pid) l.pid, n.nspname::text || '.' || c.relname::text, a.usename::text, a.application_name,
       a.state, extract(epoch from now() - a.xact_start)::int8, left(a.query, 60)
  from locks l
  join pg_class c on c.oid = l.relation
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_stat_activity a on a.pid = l.pid
 where l.mode = any(%(modes)s::text[])
 order by l.pid
"""

_EXCLUSIVE = ["AccessExclusiveLock"]
TO_READ = _EXCLUSIVE
"""Modes of others that `access share` waits for (documentation, "Explicit Locking")."""
TO_PUBLISH = [*_EXCLUSIVE, "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock", "ShareUpdateExclusiveLock"]
"""Modes of others that `share update exclusive` waits for, which `alter publication` takes."""


@contextmanager
def locking(connection: Connection, tables: Sequence[TableName], modes: Sequence[str]) -> Iterator[None]:
    """Turn the end of a wait for a lock on one of these tables into LockedError, which says who holds it now.

    The transaction that waited is over afterwards.
    """
    began_s = monotonic()
    try:
        yield
    except TailraceError as error:
        if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            raise
        waited_s = monotonic() - began_s
        holders: list[tuple[Any, ...]] = []
        with suppress(TailraceError), classified("looking for locks"):
            connection.execute("rollback")
            names = {"schemas": [t.schema for t in tables], "tables": [t.table for t in tables]}
            holders = connection.execute(_HOLDERS, {**names, "modes": [*modes]}).fetchall()
        raise _locked(error, waited_s, holders) from error.__cause__


def _locked(error: TailraceError, waited_s: float, holders: Sequence[tuple[Any, ...]]) -> LockedError:
    told = "; ".join(_told(*holder) for holder in holders[:TOLD_MAX]) or "nobody is found who holds one now"
    pids = [holder[0] for holder in holders if holder[0] is not None]
    remedy = "let it end, or end it: " + "; ".join(f"select pg_terminate_backend({pid})" for pid in pids[:TOLD_MAX])
    return LockedError(
        error.kind,
        f"{error.message}. It waited {waited_s:.0f} s for a lock: {told}",
        remedy=remedy if pids else None,
        table=error.table,
    )


def _told(
    pid: int | None,
    table: str,
    user: str | None,
    program: str | None,
    state: str | None,
    age_s: int | None,
    query: str | None,
) -> str:
    """Say who holds a table: `public.t is held by process 4711 (bob, psql, ALTER TABLE, since 35 s)`."""
    if pid is None:
        return f"{table} is held by a prepared transaction"
    words = re.match(r"\s*([A-Za-z]+(?:\s+[A-Za-z]+)?)\b", query or "")
    facts = [user, program, state, words and words[1], f"since {age_s} s" if age_s is not None else None]
    told = ", ".join(fact for fact in facts if fact)
    return f"{table} is held by process {pid}" + (f" ({told})" if told else "")

"""Rows that are read as they come, not left to whoever asks: such as may lack something, or change what is known."""

from __future__ import annotations

from collections.abc import Callable

from capture.source import RELOAD
from capture.sources.postgresql import pgoutput
from capture.sources.postgresql.container_text import AnotherShape
from capture.sources.postgresql.position import format_lsn
from capture.sources.postgresql.versions import Resolved
from runtime.spool import SpooledMessage
from schemas.changes import Row, RowChanges, Transaction
from schemas.errors import ErrorKind, TailraceError


def is_read_at_once(m: bytes | SpooledMessage, resolved: Resolved) -> bool:
    """Tell whether a row is not left unread: what it lacks may have to be asked for (`Source.complete`)."""
    return _is_doubtful(m, resolved) or (m[25] == pgoutput.UPDATE and m[30] == pgoutput.KEY_TUPLE)


def _is_doubtful(m: bytes | SpooledMessage, resolved: Resolved) -> bool:
    return bool(resolved.narrow) and (m[30] != pgoutput.NEW_TUPLE or not resolved.key)


def add(m: bytes, run: RowChanges, resolved: Resolved, form: pgoutput.TableForm) -> None:
    """Read a row, and add it to a run. Raises DECODE, SOURCE_SCHEMA."""
    if not _is_doubtful(m, resolved):
        if m[25] == pgoutput.UPDATE and m[30] == pgoutput.KEY_TUPLE:
            run.add("u", *pgoutput.read_updated(m, form, resolved.key))
            return
        try:
            run.add(*form.read(m))
        except TailraceError as error:
            run.place(error)
            raise
        return
    op, before, after = pgoutput.read_doubtful(m, form, resolved.key, resolved.narrow)
    if op != "c" and _is_untold(before, resolved):
        raise TailraceError(
            ErrorKind.SOURCE_SCHEMA,
            "an old row lacks what tells rows apart: a partition has another replica identity than the table",
            table=str(run.table.name),
            position=format_lsn(run.txn.commit),
            remedy="let the partition's replica identity hold the table's key; if it has none, be full. What was "
            "changed before the log cannot tell: leave the table out of `source.tables` until capture is behind "
            f"this position, then take it again, which loads it anew; or {RELOAD}",
        )
    run.add(op, before, after)


def read_shaped(
    m: bytes, run: RowChanges, resolved: Resolved, renew: Callable[[Transaction], Resolved]
) -> tuple[RowChanges, pgoutput.TableForm]:
    """Read a row with composites. Return the run that it is in, which may be another one, and what has read it.

    Nothing in the log tells of a composite's new attributes but a value that has them: `renew` reads the types again
    before the first one, as they are after a transaction, and a new version of the table comes before its row.
    Raises TextNeeded besides what `add` raises.
    """
    try:
        add(m, run, resolved, resolved.form)
        return run, resolved.form
    except AnotherShape as error:
        if not resolved.is_as_new_as(run.txn):
            resolved = renew(run.txn)
            run = RowChanges(resolved.in_force, run.txn)
        form = resolved.old_form or resolved.form
        try:
            add(m, run, resolved, form)
        except AnotherShape:
            # The type is gone by now, and what it was last nobody knows but the server where it is in the log.
            raise pgoutput.TextNeeded from error
        return run, form


def _is_untold(before: Row | None, resolved: Resolved) -> bool:
    """Tell whether the row that was changed cannot be found: a key has no nulls, and without one all is to be there."""
    if resolved.key:
        return before is not None and any(before[i] is None for i in resolved.key)
    present = {i for i, value in enumerate(before or ()) if value is not None}
    return any(present <= held for held in resolved.narrow)

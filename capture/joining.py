"""Small transactions that a log has joined: published at once where nothing must look at each, else one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

from capture.publishing.transaction_limits import TransactionLimits
from capture.source import JoiningLog, LogReader, Source
from schemas.changes import Change, SmallTransactions
from schemas.position import Position

if TYPE_CHECKING:
    from capture.session import Session


def allow(log: LogReader, source: Source, *, metadata: bool) -> None:
    """Let a log that can join small transactions. With `metadata` each has records of its own."""
    if source.capabilities.joins and not metadata:
        cast("JoiningLog", log).joins = True


def each(changes: Iterable[Change], session: Session, limits: TransactionLimits) -> Iterator[Change]:
    """Yield changes, but for joined transactions that were published at once; such as cannot be, one by one."""
    for change in changes:
        if type(change) is not SmallTransactions:
            yield change
        elif not _publish(change, session, limits):
            yield from change.apart()


def _publish(changes: SmallTransactions, session: Session, limits: TransactionLimits) -> bool:
    (commit, ts_us, _, end), count = changes.facts[-1], len(changes.messages)
    fits = session.publisher.open_rows + count <= limits.rows
    if not fits or not session.bounds.is_beyond(commit) or not session.publisher.joined(changes):
        return False
    session.transaction_count += count
    session.commit_ts_us = ts_us
    session.position = Position(end)
    return True

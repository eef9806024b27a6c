"""Transactions of one row each, as messages that the log has sent one behind the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from operator import length_hint

from capture.sources.postgresql import pgoutput
from capture.sources.postgresql.versions import Resolved
from schemas.changes import SmallTransactions


def join(messages: Sequence[bytes], rest: Iterator[bytes], known: Mapping[bytes, Resolved]) -> SmallTransactions | None:
    """Take transactions from the message on that `rest`, an iterator of `messages`, has yielded last: those that are
    here as a whole, and have one row each of one known table. `rest` goes on behind them. None: there are none.
    """
    at = len(messages) - length_hint(rest) - 1
    resolved = known.get(messages[at + 1][26:30]) if at + 2 < len(messages) else None
    if resolved is None or resolved.table is None or resolved.old_form is not None or resolved.narrow:
        # (Rows with older forms, and of partitions that keep less, are looked at one by one.)
        return None
    heads, joined = resolved.heads, SmallTransactions(resolved.table, resolved.form)
    add_row, add_facts = joined.messages.append, joined.facts.append
    for place in range(at, len(messages) - 2, 3):
        begin, row, end = messages[place : place + 3]
        if begin[25:26] != b"B" or row[25:31] not in heads or end[25:26] != b"C":
            break
        add_facts((*pgoutput.facts_of(begin), pgoutput.parse_commit(end)))
        add_row(row)
    if not joined.messages:
        return None
    next(islice(rest, 3 * len(joined.messages) - 2, None))
    return joined

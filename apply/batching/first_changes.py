"""What each key of a segment began with: enough to say what is left of its net change without the first change.

A first change says what the target must hold: an insert that there is no such row, an update or delete that there is
one. Where the target holds otherwise, a policy may have the change left out; what follows it counts all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from typing import Any, NamedTuple

from apply.batching.net_change import Change, NetChanges, merge
from schemas.changes import UNCHANGED, Row


class FirstChange(NamedTuple):
    """What a key's changes begin with."""

    op: str
    """Empty: nothing is said of the row at the target."""
    records: list[Any]
    """The first change; of updates all up to an insert: they lack the same row."""
    deletes: list[Any]
    """The delete behind these updates, if there is one: it lacks it, too."""


class FirstChanges:
    """The first changes of one segment's keys, in order."""

    __slots__ = ("_again", "_born", "_ops", "_parts", "by_key")

    def __init__(self, ops: Collection[str] = "cud") -> None:
        """`ops` are the changes that say what the target must hold."""
        self._ops = ops
        self.by_key: dict[bytes, FirstChange] = {}
        self._again: set[bytes] = set()
        """Keys of which another change follows the first."""
        self._born: set[bytes] = set()
        """Keys that a later change than the first inserts."""
        self._parts: dict[bytes, Row] = {}
        """By key, what updates have changed since its insert, if none of them wrote the whole row."""

    def add(
        self,
        keys: Sequence[bytes | None],
        changes: Sequence[Change],
        records: Sequence[Any],
        begin: float,
        unjudged: Container[bytes | None] = (),
    ) -> None:
        """Take in a run of changes. Those before the offset `begin`, and of `unjudged` keys, contradict nothing."""
        by_key, again, born, parts, ops = self.by_key, self._again, self._born, self._parts, self._ops
        for key, (op, _, after), record in zip(keys, changes, records, strict=True):
            assert key is not None, "a table with a key has records with keys"
            first = by_key.get(key)
            if first is None:
                is_judged = op in ops and record.offset() >= begin and key not in unjudged
                by_key[key] = FirstChange(op if is_judged else "", [record], [])
                continue
            if op == "u" and after.__class__ is not bytes and UNCHANGED in after:
                if key in parts:
                    parts[key] = merge(parts[key], after)
                elif first.op == "c" and key not in again:
                    parts[key] = after
            else:
                parts.pop(key, None)
                if op in {"c", "r"}:
                    born.add(key)
            again.add(key)
            if first.op == "u" and key not in born:
                (first.deletes if op == "d" else first.records).append(record)

    def leave_out(self, net: NetChanges, key: bytes) -> None:
        """Let a key's first change, and those that lack the same row, have no part in the net changes."""
        op = self.by_key[key].op
        if op == "c" and key not in self._again:
            net.upserts.pop(key, None)
        elif op == "c" and key in self._parts:
            net.upserts.pop(key, None)
            net.updates[key] = self._parts[key]
        elif op == "u" and key not in self._born:
            net.upserts.pop(key, None)
            net.updates.pop(key, None)

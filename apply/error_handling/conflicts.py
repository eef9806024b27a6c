"""Changes that the target's rows contradict: an insert of a row that is there, an update or delete of one that is not.

AWS DMS user guide, "Error handling task settings": `ApplyErrorInsertPolicy`, `ApplyErrorUpdatePolicy`,
`ApplyErrorDeletePolicy`. By default nobody looks: an insert writes over what is there, an update brings the whole row.

Nothing is said of rows of a full load, nor of changes that came while it was under way: they meet it in the topic.
Nor of a change that may have been written before, and is read again since something before it waited.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

from apply.batching.batch import Record, Segment
from apply.schema_catalog import TopicSchemas
from apply.sink import FindingSink, Sink, TopicPartition
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

NEVER = float("inf")
_SAID = {
    "c": ("the row to insert is there already", "insert"),
    "u": ("the row to update is missing", "update"),
    "d": ("the row to delete is missing", "delete"),
}


@dataclass(frozen=True, slots=True)
class ConflictPolicies:
    """`skip`, `suspend` or `stop` for each kind, or None where nobody looks."""

    insert: str | None = None
    update: str | None = None
    delete: str | None = None

    def of(self, op: str) -> str | None:
        """Return the policy for a change."""
        return {"c": self.insert, "u": self.update, "d": self.delete}.get(op)

    @property
    def looks(self) -> bool:
        """Whether anything is to be looked for."""
        return any((self.insert, self.update, self.delete))


NOBODY_LOOKS = ConflictPolicies()


class Contradiction(NamedTuple):
    """A change that the target's rows contradict; with it, of updates, those that lack the same row."""

    policy: str
    error: TailraceError
    records: list[Record]


class Boundaries:
    """From where on a partition's changes say what the target must hold."""

    def __init__(
        self,
        topics: Mapping[str, TopicSchemas],
        ahead: Mapping[TopicPartition, int],
        *,
        loads: bool,
        is_partial: Callable[[TableName], bool] = lambda _name: False,
        is_compacted: Callable[[TableName], bool] = lambda _name: False,
    ) -> None:
        """`ahead` says up to where what is read may have been written before. `loads`: tables are loaded before; else
        changes are all that comes. `is_partial` says of which tables some rows only are captured, or loaded,
        `is_compacted` of which ones Kafka may keep the last change of a row only.
        """
        self._is_partial = is_partial
        self._is_compacted = is_compacted
        self._topics = topics
        self._ahead = ahead
        self._loads = loads

    def ops(self, table: TableSchema) -> str:
        """Return the changes of a table that may be judged.

        Where some rows only are captured (`capture.filters`) or loaded, only inserts: an update may bring a row that
        the target has not, and a delete what it never had. With compaction none: the change before is gone.
        """
        if self._is_compacted(table.name):
            return ""
        return "c" if self._is_partial(table.name) else "cud"

    def of(self, partition: TopicPartition, table: TableSchema) -> float:
        """Return the offset of the first change of a version that may be judged."""
        begin = self._ahead.get(partition, 0)
        if not self._loads:
            return begin
        known = self._topics[partition.topic]
        loaded = known.loaded
        if loaded is None or known.versions.get(loaded.version, table).life != table.life:
            return NEVER
        return max(begin, loaded.offsets.get(partition.partition, 0))


class Conflicts:
    """Looks for contradictions, and takes what is left out for them from the net changes."""

    def __init__(self, policies: ConflictPolicies) -> None:
        self._policies = policies
        self._ops = {op for op in _SAID if policies.of(op)}

    def find(self, sink: Sink, segment: Segment, refused: Collection[bytes]) -> list[Contradiction]:
        """Ask the target for the rows of a segment, once everything before it is written in the open transaction.

        Nothing is said of keys that were `refused` before: what follows goes with them, whatever becomes of them.
        Asked for the same segment again, as when a batch is tried in another way, it returns what it found.
        """
        firsts = segment.first_changes
        if firsts is None or not self._ops:
            return []
        if segment.contradictions is None:
            keys = [key for key, first in firsts.by_key.items() if first.op in self._ops and key not in refused]
            segment.contradictions = self._look(sink, segment, keys) if keys else []
        return segment.contradictions

    def _look(self, sink: Sink, segment: Segment, keys: list[bytes]) -> list[Contradiction]:
        firsts, read = segment.first_changes, segment.read_key
        assert firsts is not None
        assert read is not None, "a segment with first changes reads keys"
        there = cast("FindingSink", sink).present(segment.projection.table, [read(key) for key in keys])
        found = []
        for key, is_there in zip(keys, there, strict=True):
            first = firsts.by_key[key]
            if is_there is None or is_there != (first.op == "c"):
                continue
            firsts.leave_out(segment.net, key)
            for op, records in ((first.op, first.records), ("d", first.deletes)):
                policy = self._policies.of(op)
                if policy is not None and records:
                    found.append(Contradiction(policy, _error(op, segment.target), records))
        return found


def _error(op: str, table: TableSchema) -> TailraceError:
    message, name = _SAID[op]
    remedy = f"find who else writes the target's table, or set `apply.errors.{name}_conflict`"
    return TailraceError(ErrorKind.ROW_CONFLICT, message, remedy=remedy, table=str(table.name))

"""What the rules of mappings make of a batch: its rows in the target's terms, and whose they were.

A row with a value that cannot become what it should is refused as the sink would refuse it, and the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apply.sink import Origin, Rejection, TableBatch
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.expressions import Headers
from schemas.mappings.mapped_table import Change, MappedTable, Rows
from schemas.table import TableName
from schemas.types.calendar import zoned_text

Sequenced = list[tuple[str, Row | None, Row | None]]


class MappedBatch:
    """A batch of the target's table that was made of one of the source's, whose rows some rule touches."""

    def __init__(self, given: TableBatch, mapped: MappedTable, *, keeps_history: bool) -> None:
        self.refused: list[Rejection] = []
        """Rows of the batch given that cannot be made."""
        self._places: dict[str, list[int] | None] = {}
        """By list, which items of the batch given are left; None: all, in order."""
        rows: dict[str, Sequence[Row]] = {}
        for kind, change in (("upserts", mapped.rows), ("updates", mapped.rows), ("deletes", mapped.keys)):
            beside = _changes(given, kind) if mapped.needs_changes and kind != "deletes" else ()
            rows[kind], self._places[kind] = changed(kind, given, change, beside, self.refused)
        sequence, self._places["sequence"] = _sequence(given, mapped, self.refused)
        origins = {kind: _kept(found, self._places[kind]) for kind, found in given.origins.items()}
        made = TableBatch(
            mapped.table, rows["upserts"], rows["updates"], rows["deletes"], sequence, given.fresh, origins
        )
        self._updates = len(made.updates)
        self._folded: dict[str, list[int]] | None = None
        if mapped.indicators and not keeps_history:
            made = flag(made, mapped)
        if mapped.gains_key and not keeps_history:
            made, self._folded = fold(made)
        self.batch = made

    def of_source(self, rejection: Rejection) -> Rejection:
        """Return what the sink refuses as a refusal of the batch given."""
        kind, index = rejection.kind, rejection.index
        if self._folded is not None:
            kind, index = "sequence", self._folded[kind][index]
        elif kind == "updates" and index >= self._updates:
            # An update that says that the row is deleted.
            kind, index = "deletes", index - self._updates
        kept = self._places[kind]
        return replace(rejection, kind=kind, index=index if kept is None else kept[index])


def changed(
    kind: str, batch: TableBatch, change: Rows | None, beside: Sequence[Change], refused: list[Rejection]
) -> tuple[Sequence[Row], list[int] | None]:
    """Return the rows as they should be, and which ones they were; None: all, in order."""
    rows: Sequence[Row] = getattr(batch, kind)
    table = batch.table.name
    if change is None or not rows:
        return rows, None
    try:
        return change(rows, beside), None
    except ValueError:
        pass
    made, kept = [], []
    for index, row in enumerate(rows):
        try:
            made += change([row], beside[index : index + 1])
            kept.append(index)
        except ValueError as error:
            refused.append(Rejection(table, kind, index, _rejected(error, table)))
    return made, kept


def _sequence(batch: TableBatch, mapped: MappedTable, refused: list[Rejection]) -> tuple[Sequenced, list[int] | None]:
    made, kept = [], []
    change, change_old = mapped.rows, mapped.old_rows
    assert change is not None
    assert change_old is not None
    changes = _changes(batch, "sequence") if mapped.needs_changes else None
    for index, (op, before, after) in enumerate(batch.sequence):
        beside = changes[index : index + 1] if changes is not None else ()
        try:
            # An old row has no older one.
            old = None if before is None else change_old([before], [c._replace(before=None) for c in beside])[0]
            # An insert that lacks values is of a row that is gone: as in an old row, what is made of them is unknown.
            make = change_old if op == "c" and UNCHANGED in (after or ()) else change
            new = None if after is None else make([after], beside)[0]
        except ValueError as error:
            refused.append(Rejection(batch.table.name, "sequence", index, _rejected(error, batch.table.name)))
            continue
        made.append((op, old, new))
        kept.append(index)
    return made, kept


def fold(batch: TableBatch) -> tuple[TableBatch, dict[str, list[int]]]:
    """Return the net changes of a sequence by the key that its table has, and from where in it each item comes.

    Of rows with equal keys the last one counts: who gave the table its key says that there are none.
    """
    key = batch.table.key
    last: dict[Row, tuple[Row | None, int]] = {}
    for index, (_, before, after) in enumerate(batch.sequence):
        if before is not None:
            last[tuple([before[i] for i in key])] = (None, index)
        if after is not None:
            # A large value that did not change stands in the old row.
            known = before if before is not None else after
            row = tuple([k if a is UNCHANGED else a for a, k in zip(after, known, strict=True)])
            last[tuple([row[i] for i in key])] = (row, index)
    kept = [(row, index) for row, index in last.values() if row is not None]
    gone = [(key_values, index) for key_values, (row, index) in last.items() if row is None]
    made = TableBatch(batch.table, upserts=[row for row, _ in kept], deletes=[row for row, _ in gone])
    places = {"upserts": [place for _, place in kept], "deletes": [place for _, place in gone]}
    if batch.origins:
        origins = batch.origins["sequence"]
        made.origins = {kind: [origins[place] for place in found] for kind, found in places.items()}
        made.origins |= {"updates": [], "sequence": []}
    return made, places


def flag(batch: TableBatch, mapped: MappedTable) -> TableBatch:
    """Return a batch in which deleted rows are updates of those columns that say so. A missing row stays missing."""
    # As in `_changes`.
    told = batch.origins.get("updates", [])[: len(batch.updates)]
    gone = batch.origins.get("deletes", [])[: len(batch.deletes)]
    flags = [mapped.flagged(k, _headers(o, "DELETE")) for k, o in zip(batch.deletes, gone, strict=True)]
    origins = {**batch.origins, "updates": [*told, *gone], "deletes": []}
    return replace(batch, updates=[*batch.updates, *flags], deletes=[], origins=origins)


_OPERATIONS = {"r": "INSERT", "c": "INSERT", "u": "UPDATE", "d": "DELETE"}


def _changes(batch: TableBatch, kind: str) -> list[Change]:
    """Return what is known of the changes that a list of the batch comes from."""
    items, key = getattr(batch, kind), batch.table.key
    # Of a part of a batch they may be the origins of all of it, where the part has no item of a kind.
    origins = batch.origins.get(kind, [])[: len(items)]
    if kind != "sequence":
        items = [(origin.op, origin.before, row) for row, origin in zip(items, origins, strict=True)]
    return [
        Change(_headers(origin, _OPERATIONS.get(op)), _same_key(after, key) if op == "u" and before is None else before)
        for (op, before, after), origin in zip(items, origins, strict=True)
    ]


def _same_key(after: Row, key: tuple[int, ...]) -> Row:
    """Return what is known of the old row where the log holds none: an update whose key changes is no update here."""
    return tuple([value if i in key else UNCHANGED for i, value in enumerate(after)])


def _headers(origin: Origin, operation: str | None) -> Headers:
    time = zoned_text(origin.commit_ts_us).replace("T", " ").removesuffix("Z")
    return Headers(operation, time, origin.seq, str(origin.lsn) if origin.lsn is not None else None)


def _kept(origins: list[Origin], places: list[int] | None) -> list[Origin]:
    """Return the origins of the items that are left."""
    return origins if places is None else [origins[place] for place in places]


def _rejected(error: ValueError, table: TableName) -> TailraceError:
    return TailraceError(ErrorKind.ROW_REJECTED, f"the table mappings cannot be followed: {error}", table=str(table))

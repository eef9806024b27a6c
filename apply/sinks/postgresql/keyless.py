"""Tables without a key: rows are a multiset, and one deletion removes exactly one equal row.

The order of insertions and deletions does not matter to a multiset, so the changes of a batch collapse to a count per
row image. What is left is written set-wise: rows that go, then those that come, so that the values of unique indexes
can move; last what goes by an image that is known in part, which may be of a row that has just come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from apply.sink_kinds.relational.keyless import Entry, completed, known_columns
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.rows import HEADER, TRAILER
from apply.sinks.postgresql.stages import Stages
from apply.sinks.postgresql.statements import StagedColumn, TablePlan
from runtime.logging import get_logger
from schemas.changes import UNCHANGED, Row

log = get_logger(__name__)


def attempt_sequence(link: Link, stages: Stages, plan: TablePlan, stage: str, entries: Sequence[Entry]) -> list[str]:
    """Write (op, before, after) entries; return what is still to be run. Raises ROW_REJECTED for an update or delete
    that does not say which row it was.
    """
    whole, partial = net_counts(plan, entries)
    pieces = [HEADER]
    part = stages.next_part()
    inserted = [octets for octets, count in whole.items() for _ in range(count)]
    pieces += plan.numbered(inserted, part)
    steps: list[tuple[str, int]] = []
    """Statements, and how many rows each should find."""
    deleted = [octets for octets, count in whole.items() for _ in range(-count)]
    if deleted:
        number = stages.next_part()
        pieces += plan.numbered(deleted, number)
        steps.append((plan.delete_equal(stage, number, plan.columns), len(deleted)))
    if inserted:
        steps.append((plan.insert(stage, part), len(inserted)))
    for known, rows in partial.items():
        number = stages.next_part()
        pieces += plan.numbered(plan.update_encoder(known)(rows), number)
        steps.append((plan.delete_equal(stage, number, known), len(rows)))
    if steps:
        pieces.append(TRAILER)
        link.copy(plan.stage_copy(stage), pieces)
    for statement, wanted in steps:
        found = link.run(statement)
        if found < wanted:
            # A row that is not there stays missing: the target has been written by somebody else.
            log.warning("rows to delete were missing", table=str(plan.table.name), missing=wanted - found)
    return stages.emptying(plan, sum(wanted for _, wanted in steps))


def net_counts(
    plan: TablePlan, entries: Sequence[Entry]
) -> tuple[Counter[bytes], dict[tuple[StagedColumn, ...], list[Row]]]:
    """Return how many copies of each row image come or go, and the old rows that are known in part, by known columns.

    Images are the rows' lines: they tell apart what a comparison of values would not (1.0 and 1.00).
    """
    coming: list[Row] = []
    going: list[Row] = []
    partial: dict[tuple[StagedColumn, ...], list[Row]] = {}
    for op, before, after in entries:
        if op in {"u", "d"}:
            known = known_columns(plan, before)
            assert before is not None
            if UNCHANGED in before:
                partial.setdefault(known, []).append(before)
            else:
                going.append(before)
        if op != "d" and after is not None:
            coming.append(completed(plan, before, after))
    encode = plan.upsert_encoder()
    counts = Counter(encode(coming))
    counts.subtract(encode(going))
    return counts, partial

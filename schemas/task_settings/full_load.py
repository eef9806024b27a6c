"""The groups TargetMetadata and FullLoadSettings: what the target is, and how it is filled.

AWS DMS user guide, "Target metadata task settings", "Full-load task settings", "Setting LOB support".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.task_settings.keys import (
    FLAG,
    TEXT,
    Key,
    Stated,
    differently,
    honoured,
    integer,
    meaningless,
    one_of,
    refused,
    to,
)

_SHARED = "several appliers of a target share its topics' partitions: start as many as you like"
_SUBTASKS = to("capture.load_processes")

_ENDS = to("apply.stop_after_load", lambda ends: ends or None)
_ENDS_BEFORE = to("apply.stop_before_changes", lambda ends: ends or None)

_PREPARATION = {"DO_NOTHING": "keep", "TRUNCATE_BEFORE_LOAD": "empty", "DROP_AND_CREATE": "drop"}


def _lob_limit(limited: Any, stated: Stated) -> Mapping[str, Any]:
    is_full = stated.get("TargetMetadata.FullLobMode", False) or not limited
    return {"apply.values.lob_max_kb": None if is_full else stated.get("TargetMetadata.LobMaxSize", 32) or None}


def _ordering(enabled: Any, _stated: Stated) -> Mapping[str, Any]:
    return {"apply.ordering": "per-key" if enabled else "transactional"}


KEYS: tuple[Key, ...] = (
    honoured(
        "TargetMetadata.TargetSchema",
        TEXT,
        "",
        "schema of all tables at the target; empty: the source's",
        here="as a mapping rule that renames every schema; empty renames none",
    ),
    refused(
        "TargetMetadata.SupportLobs",
        FLAG,
        True,
        "whether columns of large objects are migrated",
        "large values always are; leave columns out by a mapping rule (`remove-column`)",
        idle=(True,),
    ),
    honoured(
        "TargetMetadata.FullLobMode",
        FLAG,
        False,
        "large objects are migrated whole, whatever their size",
        here="what Tailrace does anyway",
    ),
    meaningless(
        "TargetMetadata.LobChunkSize",
        integer(),
        64,
        "pieces in which large objects are looked up, in KB",
        "large values come with their rows, nothing is looked up at the source",
    ),
    honoured(
        "TargetMetadata.LimitedSizeLobMode",
        FLAG,
        False,
        "large objects are cut off at LobMaxSize",
        _lob_limit,
        here="columns of texts and bytes without a length, outside of keys; the topics hold values whole. Not where "
        "FullLobMode is true as well",
    ),
    honoured(
        "TargetMetadata.LobMaxSize",
        integer(0, 1 << 21),
        32,
        "where large objects are cut off, in KB; 0: nowhere",
        here="with LimitedSizeLobMode",
    ),
    meaningless(
        "TargetMetadata.InlineLobMaxSize",
        integer(0, 102_400),
        0,
        "size up to which large objects come with their rows, in KB",
        "large values come with their rows, nothing is looked up at the source",
    ),
    meaningless(
        "TargetMetadata.LoadMaxFileSize",
        integer(0, 100_000),
        0,
        "size of the CSV files that a load goes through, in KB",
        "rows are copied from memory, without files",
    ),
    differently(
        "TargetMetadata.ParallelLoadThreads", integer(0, 200), 0, "threads that load one table at the target", _SHARED
    ),
    meaningless(
        "TargetMetadata.ParallelLoadBufferSize",
        integer(0, 1000),
        50,
        "records that these threads buffer",
        "batches are bounded by `apply.batch_rows` and `apply.batch_bytes`",
    ),
    meaningless("TargetMetadata.ParallelLoadQueuesPerThread", integer(), 1, "queues of each of these threads", _SHARED),
    differently("TargetMetadata.ParallelApplyThreads", integer(), 0, "threads that apply changes to a target", _SHARED),
    meaningless(
        "TargetMetadata.ParallelApplyBufferSize",
        integer(),
        100,
        "records that these threads buffer",
        "batches are bounded by `apply.batch_rows` and `apply.batch_bytes`",
    ),
    meaningless(
        "TargetMetadata.ParallelApplyQueuesPerThread", integer(), 1, "queues of each of these threads", _SHARED
    ),
    honoured(
        "TargetMetadata.BatchApplyEnabled",
        FLAG,
        False,
        "changes are applied in optimised batches, not transaction by transaction",
        _ordering,
        here="true: `per-key` order. False: `transactional`; where a target has no transactions, or the source is "
        "Debezium's, `per-key` as well",
    ),
    differently(
        "TargetMetadata.TaskRecoveryTableEnabled",
        FLAG,
        False,
        "the target keeps a table of how far the task has come",
        "relational targets always do, in the transactions that write the rows: `offsets` in `control_schema`",
    ),
    honoured("TargetMetadata.MaxFullLoadSubTasks", integer(1, 49), 8, "as in FullLoadSettings", _SUBTASKS),
    honoured(
        "FullLoadSettings.TargetTablePrepMode",
        one_of(*_PREPARATION),
        "DO_NOTHING",
        "what becomes of a table that the target has before the load",
        to("apply.existing_tables", _PREPARATION.get),
        here="once for each table, when its first rows come; at targets that are no databases, nothing",
    ),
    differently(
        "FullLoadSettings.CreatePkAfterFullLoad",
        FLAG,
        False,
        "keys and unique indexes are made when the load is complete",
        "rows that come again, as by a reload in the midst of a load, and changes that come meanwhile find their rows "
        "by the key: it is made with the table. All other indexes, unique ones too, and foreign keys are made when the "
        "load is complete in any case",
    ),
    honoured(
        "FullLoadSettings.StopTaskCachedChangesApplied",
        FLAG,
        False,
        "the task stops when the load is complete and the changes since then are applied",
        _ENDS,
        here="appliers end; capture goes on, and the topics keep what they have not applied. To go on, state false and "
        "start them again",
    ),
    honoured(
        "FullLoadSettings.StopTaskCachedChangesNotApplied",
        FLAG,
        False,
        "the task stops when the load is complete, before the changes since then are applied",
        _ENDS_BEFORE,
        here="appliers end with each table as it was when its load was published; changes that overtook its rows until "
        "then are among them. Counts where StopTaskCachedChangesApplied is true as well. To go on, state false and "
        "start them again",
    ),
    honoured(
        "FullLoadSettings.MaxFullLoadSubTasks",
        integer(1, 49),
        8,
        "tables, or parts of one, that load at once",
        _SUBTASKS,
    ),
    differently("FullLoadSettings.ParallelLoadThreads", integer(0, 200), 0, "as in TargetMetadata", _SHARED),
    meaningless(
        "FullLoadSettings.TransactionConsistencyTimeout",
        integer(),
        600,
        "how long the load waits for open transactions, in seconds",
        "the load waits for none: what they commit comes from the log",
    ),
    honoured(
        "FullLoadSettings.CommitRate",
        integer(1, 50_000),
        10_000,
        "records that are written together in a load",
        to("apply.batch_rows"),
        here="the bound of a batch of changes, too",
    ),
    meaningless(
        "FullLoadSettings.PersistPartitionProgressForResumption",
        FLAG,
        None,
        "a load of partitions can be resumed",
        "each load is resumed where it was, in the midst of a table",
    ),
)

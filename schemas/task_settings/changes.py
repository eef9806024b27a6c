"""The groups about changes: tuning, DDL, loopback, characters, before images, stream buffers, time travel.

AWS DMS user guide, "Change processing tuning settings", "Task settings for change processing DDL handling", "Preventing
loopback", "Character substitution task settings", "Before image task settings", "Stream buffer task settings", "Time
Travel task settings".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.substitution import points
from schemas.task_settings.keys import (
    CODE_POINT,
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

_MB = 1 << 20
_BATCH_BYTES = 10 * _MB
"""The default of `apply.batch_bytes`; an applier takes some seven times as much."""
_COMMIT_BYTES = 64 * _MB
"""The default of `capture.commit_bytes`; a capture takes some four times as much."""
_SPILLED = "transactions of any size go through Kafka in pieces: nothing is kept in memory until they end"
_NO_TT = "there is no log in S3: the topics hold every change, and an `s3` target keeps each as a file"


def _is_batch(stated: Stated) -> bool:
    return bool(stated.get("TargetMetadata.BatchApplyEnabled", False))


def _batch_linger(seconds: Any, stated: Stated) -> Mapping[str, Any]:
    return {"apply.linger_ms": min(seconds * 1000, 60_000) if _is_batch(stated) else None}


def _linger_rows(rows: Any, stated: Stated) -> Mapping[str, Any]:
    return {"apply.linger_rows": max(2, min(rows, 1_000_000)) if not _is_batch(stated) else None}


def _linger(seconds: Any, stated: Stated) -> Mapping[str, Any]:
    waits = stated.get("ChangeProcessingTuning.MinTransactionSize", 1000) > 1
    return {"apply.linger_ms": min(seconds * 1000, 60_000) * waits if not _is_batch(stated) else None}


def _batch_memory(mb: Any, stated: Stated) -> Mapping[str, Any]:
    return {"apply.batch_bytes": max(65_536, min(_BATCH_BYTES, mb * _MB // 7)) if _is_batch(stated) and mb else None}


def _batch_rows(rows: Any, stated: Stated) -> Mapping[str, Any]:
    """0 is no limit, and `FullLoadSettings.CommitRate` limits the same batches."""
    others = stated.get("FullLoadSettings.CommitRate", 1_000_000)
    return {"apply.batch_rows": min(rows, others) if _is_batch(stated) and rows else None}


def _commit_bytes(mb: Any, _stated: Stated) -> Mapping[str, Any]:
    return {"capture.commit_bytes": max(_MB, min(_COMMIT_BYTES, mb * _MB // 4)) if mb else None}


def _replacements(_value: Any, stated: Stated) -> Mapping[str, Any]:
    return {"apply.values.characters": points(stated["CharacterSetSettings.CharacterReplacements"])}


def _before_image(enabled: Any, stated: Stated) -> Mapping[str, Any]:
    if not enabled:
        return {}
    return {
        "apply.before_image.field": stated.get("BeforeImageSettings.FieldName") or "before",
        "apply.before_image.columns": stated.get("BeforeImageSettings.ColumnFilter", "pk-only"),
    }


KEYS: tuple[Key, ...] = (
    meaningless(
        "ChangeProcessingTuning.BatchApplyPreserveTransaction",
        FLAG,
        True,
        "a batch holds whole transactions (Oracle targets only)",
        "there are no Oracle targets; `apply.ordering: transactional` keeps transactions whole",
    ),
    honoured(
        "ChangeProcessingTuning.BatchApplyTimeoutMin",
        integer(),
        1,
        "seconds that pass at least from batch to batch, with BatchApplyEnabled",
        _batch_linger,
        here="how long a batch waits for more records",
    ),
    differently(
        "ChangeProcessingTuning.BatchApplyTimeoutMax",
        integer(),
        30,
        "seconds after which a batch is applied, with BatchApplyEnabled",
        "BatchApplyTimeoutMin says it: a batch waits for nothing else",
    ),
    honoured(
        "ChangeProcessingTuning.BatchApplyMemoryLimit",
        integer(),
        500,
        "memory that batches may take, in MB, with BatchApplyEnabled",
        _batch_memory,
        here="a seventh of it, at most 10 MB of records: with that an applier stays below 300 MiB",
    ),
    honoured(
        "ChangeProcessingTuning.BatchSplitSize",
        integer(),
        0,
        "changes of one batch at most, with BatchApplyEnabled; 0: no limit",
        _batch_rows,
        here="0: the limit is `apply.batch_rows`",
    ),
    honoured(
        "ChangeProcessingTuning.MinTransactionSize",
        integer(),
        1000,
        "changes that a transaction at the target waits for, without BatchApplyEnabled",
        _linger_rows,
    ),
    honoured(
        "ChangeProcessingTuning.CommitTimeout",
        integer(),
        1,
        "seconds that it waits for them at most, without BatchApplyEnabled",
        _linger,
        here="nothing is waited for where MinTransactionSize is 0 or 1",
    ),
    honoured(
        "ChangeProcessingTuning.MemoryLimitTotal",
        integer(),
        1024,
        "memory for all transactions, in MB, before they go to disk",
        _commit_bytes,
        here="a quarter of it, at most 64 MB of records: with that a capture stays below 300 MiB. Nothing goes to disk",
    ),
    meaningless(
        "ChangeProcessingTuning.MemoryKeepTime",
        integer(),
        60,
        "seconds that a transaction stays in memory before it goes to disk",
        _SPILLED,
    ),
    meaningless(
        "ChangeProcessingTuning.StatementCacheSize",
        integer(0, 200),
        50,
        "prepared statements that the target keeps",
        "rows are merged set-wise, by a few statements for each table",
    ),
    meaningless(
        "ChangeProcessingTuning.RecoveryTimeout",
        integer(-1),
        -1,
        "minutes that a restart waits for the target's state",
        "the target's state is one row for each partition, in the target",
    ),
    *(
        honoured(
            f"ChangeProcessingDdlHandlingPolicy.HandleSourceTable{what.capitalize()}",
            FLAG,
            True,
            f"what the source {says} is {what} at the target, too",
            to(f"ddl.{what}", lambda handled: "apply" if handled else "ignore"),
        )
        for what, says in (("dropped", "drops"), ("truncated", "empties"), ("altered", "alters"))
    ),
    honoured(
        "LoopbackPreventionSettings.EnableLoopbackPrevention",
        FLAG,
        False,
        "changes that the opposite task has written are not sent back",
        to("loopback_prevention"),
        here="between databases of PostgreSQL (14 and later), MySQL and MariaDB",
    ),
    *(
        differently(
            f"LoopbackPreventionSettings.{name}",
            TEXT,
            "",
            f"schema of DMS's marker table at the {side}",
            "marks stand in the log; at MySQL in the table `tailrace_applied` of the target's `control_schema`",
        )
        for name, side in (("SourceSchema", "source"), ("TargetSchema", "target"))
    ),
    honoured(
        "CharacterSetSettings.CharacterReplacements.SourceCharacterCodePoint",
        CODE_POINT,
        None,
        "code point of a character to replace, in hexadecimal digits",
        _replacements,
        here="in all columns of texts, before any mapping rule",
    ),
    honoured(
        "CharacterSetSettings.CharacterReplacements.TargetCharacterCodePoint",
        CODE_POINT,
        None,
        "code point that it becomes; 0: it is taken out",
    ),
    honoured(
        "CharacterSetSettings.CharacterSetSupport.CharacterSet",
        TEXT,
        None,
        "character set in which texts must be valid",
        to("apply.values.character_set", lambda name: name or None),
        here="sets that Python knows; of UTF-16 characters of two bytes, as DMS has it",
    ),
    honoured(
        "CharacterSetSettings.CharacterSetSupport.ReplaceWithCharacterCodePoint",
        CODE_POINT,
        None,
        "code point that invalid characters become; 0: they are taken out",
        to("apply.values.character_replacement", str),
    ),
    honoured(
        "BeforeImageSettings.EnableBeforeImage",
        FLAG,
        False,
        "documents for streams hold the values before an update",
        _before_image,
        here="at Kafka and Kinesis in DMS's JSON, webhooks and standard output. Values of the key in any case, others "
        "where the source logs old rows; a key that changes is a delete, and an insert that has them, too. False: "
        "`before` holds what the source logs",
    ),
    honoured(
        "BeforeImageSettings.FieldName",
        TEXT,
        "",
        "name of the field that holds them",
        here="with EnableBeforeImage; empty: `before`",
    ),
    honoured(
        "BeforeImageSettings.ColumnFilter",
        one_of("pk-only", "all", "non-lob"),
        "pk-only",
        "which columns it holds",
        here="with EnableBeforeImage; `all` has large values, too",
    ),
    *(
        meaningless(f"StreamBufferSettings.{name}", integer(1), default, meaning, "Kafka stands between the two")
        for name, default, meaning in (
            ("StreamBufferCount", 3, "buffers between source and target"),
            ("StreamBufferSizeInMB", 8, "size of each of them, in MB"),
            ("CtrlStreamBufferSizeInMB", 5, "size of the buffer for control messages, in MB"),
        )
    ),
    refused("TTSettings.EnableTT", FLAG, False, "changes are logged in S3 (Time Travel)", _NO_TT),
    *(
        meaningless(f"TTSettings.{name}", kind, default, meaning, "only with TTSettings.EnableTT, which is refused")
        for name, kind, default, meaning in (
            ("FailTaskOnTTFailure", FLAG, False, "the task ends where the log cannot be written"),
            ("TTS3Settings.EncryptionMode", one_of("SSE_S3", "SSE_KMS"), "SSE_S3", "how the bucket encrypts"),
            ("TTS3Settings.ServerSideEncryptionKmsKeyId", TEXT, None, "the KMS key for it"),
            ("TTS3Settings.ServiceAccessRoleArn", TEXT, None, "the role to write with"),
            ("TTS3Settings.BucketName", TEXT, None, "the bucket"),
            ("TTS3Settings.BucketFolder", TEXT, None, "the folder there"),
            ("TTS3Settings.EnableDeletingFromS3OnTaskDelete", FLAG, False, "delete the log with the task"),
            ("TTRecordSettings.EnableRawData", FLAG, False, "log values, not only operations"),
            ("TTRecordSettings.RawDataFormat", one_of("TEXT", "HEX"), None, "how values are logged"),
            ("TTRecordSettings.OperationsToLog", TEXT, "ALL", "operations to log, with commas between them"),
            ("TTRecordSettings.MaxRecordSize", integer(), 64, "largest record of the log, in KB"),
        )
    ),
)

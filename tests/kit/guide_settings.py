"""The documents that the AWS DMS user guide's pages on task settings show, restated by what each says."""

from __future__ import annotations

from typing import Any

from tests.unit.schemas.task_settings.documented import SAVED

Document = dict[str, Any]

_CHANGED: Document = {
    "TargetMetadata": {
        "LobChunkSize": 64,
        "ParallelLoadQueuesPerThread": 1,
        "ParallelApplyBufferSize": 100,
        "ParallelApplyQueuesPerThread": 1,
    },
    "Logging": {"EnableLogging": False},
    "LoopbackPreventionSettings": {
        "EnableLoopbackPrevention": True, "SourceSchema": "LOOP-DATA", "TargetSchema": "loop-data",
    },
    "CharacterSetSettings": {
        "CharacterReplacements": [
            {"SourceCharacterCodePoint": 35, "TargetCharacterCodePoint": 52},
            {"SourceCharacterCodePoint": 37, "TargetCharacterCodePoint": 103},
        ],
        "CharacterSetSupport": {"CharacterSet": "UTF16_PlatformEndian", "ReplaceWithCharacterCodePoint": 0},
    },
    "BeforeImageSettings": {"EnableBeforeImage": False, "FieldName": "", "ColumnFilter": "pk-only"},
    "ErrorBehavior": {"DataErrorEscalationCount": 50, "TableErrorEscalationCount": 50, "RecoverableErrorCount": 0},
    "ValidationSettings": {"FailureMaxCount": 1000, "TableFailureMaxCount": 10000},
}  # fmt: skip
_BY_S3 = {
    "EncryptionMode": "SSE_KMS",
    "ServerSideEncryptionKmsKeyId": "arn:aws:kms:us-west-2:112233445566:key/ours",
    "ServiceAccessRoleArn": "arn:aws:iam::112233445566:role/ours",
    "BucketName": "ours",
    "BucketFolder": "travels",
    "EnableDeletingFromS3OnTaskDelete": False,
}
TIME_TRAVEL: Document = {
    "TTSettings": {
        "EnableTT": True,
        "TTS3Settings": _BY_S3,
        "TTRecordSettings": {"EnableRawData": True, "OperationsToLog": "DELETE,UPDATE", "MaxRecordSize": 64},
    }
}
"""Its page on time travel, which is refused by name."""

DOCUMENTS: dict[str, Document] = {
    "saved": SAVED,
    # Of the first page; but for time travel.
    "stated": {
        group: {**(SAVED[group] or {}), **_CHANGED.get(group, {})} if group in _CHANGED else value
        for group, value in SAVED.items()
    },
    # Of the pages on single groups, which contradict each other in nothing.
    "groups": {
        "BeforeImageSettings": {"EnableBeforeImage": True, "FieldName": "before-image", "ColumnFilter": "pk-only"},
        "ChangeProcessingTuning": {
            name: value for name, value in SAVED["ChangeProcessingTuning"].items() if name != "RecoveryTimeout"
        },
        "CharacterSetSettings": {
            "CharacterReplacements": [
                {"SourceCharacterCodePoint": 62, "TargetCharacterCodePoint": 61},
                {"SourceCharacterCodePoint": 42, "TargetCharacterCodePoint": 41},
            ],
            "CharacterSetSupport": {"CharacterSet": "UTF16_PlatformEndian", "ReplaceWithCharacterCodePoint": 0},
        },
        "ChangeProcessingDdlHandlingPolicy": SAVED["ChangeProcessingDdlHandlingPolicy"],
        "ValidationSettings": {
            "EnableValidation": True,
            "ThreadCount": 10,
            "HandleCollationDiff": True,
            "RecordFailureDelayLimitInMinutes": 30,
        },
        "Logging": {
            "EnableLogging": True,
            "LogComponents": [
                {"Id": "FILE_FACTORY", "Severity": "LOGGER_SEVERITY_DEFAULT"},
                {"Id": "TARGET_LOAD", "Severity": "LOGGER_SEVERITY_INFO"},
                {"Id": "TRANSFORMATION", "Severity": "LOGGER_SEVERITY_DEBUG"},
            ],
            "CloudWatchLogGroup": None,
            "CloudWatchLogStream": None,
        },
    },
}
"""By page: what runs."""

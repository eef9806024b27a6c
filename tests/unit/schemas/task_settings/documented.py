"""Facts from the AWS DMS user guide: the keys of task settings that its pages name, and a document as it is saved.

Pages are named by the last part of their file names. `saved` keys are such as DMS writes itself into a saved document.
"""

from __future__ import annotations

from typing import Any

BY_PAGE: dict[str, dict[str, str]] = {
    "TaskSettings.TargetMetadata": {
        "TargetMetadata": "TargetSchema SupportLobs FullLobMode LobChunkSize LimitedSizeLobMode LobMaxSize "
        "InlineLobMaxSize LoadMaxFileSize BatchApplyEnabled MaxFullLoadSubTasks ParallelLoadThreads "
        "ParallelLoadBufferSize ParallelLoadQueuesPerThread ParallelApplyThreads ParallelApplyBufferSize "
        "ParallelApplyQueuesPerThread"
    },
    "TaskSettings": {"TargetMetadata": "TaskRecoveryTableEnabled", "ValidationSettings": "MaxKeyColumnSize"},
    "TaskSettings.FullLoad": {
        "FullLoadSettings": "TargetTablePrepMode CreatePkAfterFullLoad StopTaskCachedChangesApplied "
        "StopTaskCachedChangesNotApplied MaxFullLoadSubTasks ParallelLoadThreads TransactionConsistencyTimeout "
        "CommitRate"
    },
    "TaskSettings.TimeTravel": {
        "TTSettings": "EnableTT TTS3Settings.EncryptionMode TTS3Settings.ServerSideEncryptionKmsKeyId "
        "TTS3Settings.ServiceAccessRoleArn TTS3Settings.BucketName TTS3Settings.BucketFolder "
        "TTS3Settings.EnableDeletingFromS3OnTaskDelete TTRecordSettings.EnableRawData TTRecordSettings.RawDataFormat "
        "TTRecordSettings.OperationsToLog TTRecordSettings.MaxRecordSize"
    },
    "TaskSettings.Logging": {
        "Logging": "EnableLogging LogComponents.Id LogComponents.Severity DeleteTaskLogs CloudWatchLogGroup "
        "CloudWatchLogStream EnableLogContext"
    },
    "TaskSettings.ControlTable": {
        "ControlTablesSettings": "ControlSchema HistoryTimeslotInMinutes HistoryTableEnabled "
        "SuspendedTablesTableEnabled StatusTableEnabled"
    },
    "TaskSettings.StreamBuffer": {
        "StreamBufferSettings": "StreamBufferCount StreamBufferSizeInMB CtrlStreamBufferSizeInMB"
    },
    "TaskSettings.ChangeProcessingTuning": {
        "ChangeProcessingTuning": "BatchApplyPreserveTransaction BatchApplyTimeoutMin BatchApplyTimeoutMax "
        "BatchApplyMemoryLimit BatchSplitSize MinTransactionSize CommitTimeout MemoryLimitTotal MemoryKeepTime "
        "StatementCacheSize RecoveryTimeout"
    },
    "TaskSettings.DDLHandling": {
        "ChangeProcessingDdlHandlingPolicy": "HandleSourceTableDropped HandleSourceTableTruncated "
        "HandleSourceTableAltered"
    },
    "Task.CDC": {"LoopbackPreventionSettings": "EnableLoopbackPrevention SourceSchema TargetSchema"},
    "TaskSettings.CharacterSubstitution": {
        "CharacterSetSettings": "CharacterReplacements.SourceCharacterCodePoint "
        "CharacterReplacements.TargetCharacterCodePoint CharacterSetSupport.CharacterSet "
        "CharacterSetSupport.ReplaceWithCharacterCodePoint"
    },
    "TaskSettings.BeforeImage": {"BeforeImageSettings": "EnableBeforeImage FieldName ColumnFilter"},
    "TaskSettings.ErrorHandling": {
        "ErrorBehavior": "DataErrorPolicy DataTruncationErrorPolicy DataErrorEscalationPolicy DataErrorEscalationCount "
        "EventErrorPolicy TableErrorPolicy TableErrorEscalationPolicy TableErrorEscalationCount RecoverableErrorCount "
        "RecoverableErrorInterval RecoverableErrorThrottling RecoverableErrorThrottlingMax "
        "RecoverableErrorStopRetryAfterThrottlingMax ApplyErrorDeletePolicy ApplyErrorInsertPolicy "
        "ApplyErrorUpdatePolicy ApplyErrorEscalationPolicy ApplyErrorEscalationCount ApplyErrorFailOnTruncationDdl "
        "FailOnNoTablesCaptured FailOnTransactionConsistencyBreached FullLoadIgnoreConflicts DataMaskingErrorPolicy"
    },
    "TaskSettings.DataValidation": {
        "ValidationSettings": "EnableValidation ValidationMode FailureMaxCount HandleCollationDiff "
        "RecordFailureDelayInMinutes RecordFailureDelayLimitInMinutes RecordSuspendDelayInMinutes SkipLobColumns "
        "TableFailureMaxCount ThreadCount ValidationOnly ValidationPartialLobSize PartitionSize "
        "ValidationQueryCdcDelaySeconds"
    },
    "TaskSettings.DataResyncSettings": {"ResyncSettings": "EnableResync ResyncSchedule MaxResyncTime ValidationTaskId"},
    "TaskSettings.Saving": {
        "ControlTablesSettings": "FullLoadExceptionTableEnabled",
        "": "PostProcessingRules FailTaskWhenCleanTaskResourceFailed",
    },
    "saved": {
        "FullLoadSettings": "PersistPartitionProgressForResumption",
        "ControlTablesSettings": "historyTimeslotInMinutes CommitPositionTableEnabled",
        "Logging": "LogConfiguration.EnableTraceOnError LogConfiguration.TraceOnErrorMb",
        "TTSettings": "FailTaskOnTTFailure",
        "PreMigrationAssessment": "Enable",
    },
}

PATHS: dict[str, str] = {
    f"{group}.{name}" if group else name: page
    for page, groups in BY_PAGE.items()
    for group, names in groups.items()
    for name in names.split()
}

SAVED: dict[str, Any] = {
    "TargetMetadata": {
        "TargetSchema": "",
        "SupportLobs": True,
        "FullLobMode": False,
        "LobChunkSize": 0,
        "LimitedSizeLobMode": True,
        "LobMaxSize": 32,
        "InlineLobMaxSize": 0,
        "LoadMaxFileSize": 0,
        "ParallelLoadThreads": 0,
        "ParallelLoadBufferSize": 0,
        "BatchApplyEnabled": False,
        "TaskRecoveryTableEnabled": False,
        "ParallelLoadQueuesPerThread": 0,
        "ParallelApplyThreads": 0,
        "ParallelApplyBufferSize": 0,
        "ParallelApplyQueuesPerThread": 0,
    },
    "FullLoadSettings": {
        "TargetTablePrepMode": "DO_NOTHING",
        "CreatePkAfterFullLoad": False,
        "StopTaskCachedChangesApplied": False,
        "StopTaskCachedChangesNotApplied": False,
        "MaxFullLoadSubTasks": 8,
        "TransactionConsistencyTimeout": 600,
        "CommitRate": 10000,
    },
    "Logging": {
        "EnableLogging": True,
        "LogComponents": [
            {"Id": "TRANSFORMATION", "Severity": "LOGGER_SEVERITY_DEFAULT"},
            {"Id": "TARGET_LOAD", "Severity": "LOGGER_SEVERITY_INFO"},
        ],
        "CloudWatchLogGroup": None,
        "CloudWatchLogStream": None,
        "EnableLogContext": False,
        "LogConfiguration": {"EnableTraceOnError": False, "TraceOnErrorMb": 10},
    },
    "ControlTablesSettings": {
        "historyTimeslotInMinutes": 5,
        "CommitPositionTableEnabled": False,
        "ControlSchema": "",
        "HistoryTimeslotInMinutes": 5,
        "HistoryTableEnabled": False,
        "SuspendedTablesTableEnabled": False,
        "StatusTableEnabled": False,
        "FullLoadExceptionTableEnabled": False,
    },
    "StreamBufferSettings": {"StreamBufferCount": 3, "StreamBufferSizeInMB": 8, "CtrlStreamBufferSizeInMB": 5},
    "ChangeProcessingDdlHandlingPolicy": {
        "HandleSourceTableDropped": True,
        "HandleSourceTableTruncated": True,
        "HandleSourceTableAltered": True,
    },
    "ErrorBehavior": {
        "DataErrorPolicy": "LOG_ERROR",
        "DataTruncationErrorPolicy": "LOG_ERROR",
        "DataErrorEscalationPolicy": "SUSPEND_TABLE",
        "DataErrorEscalationCount": 0,
        "TableErrorPolicy": "SUSPEND_TABLE",
        "TableErrorEscalationPolicy": "STOP_TASK",
        "TableErrorEscalationCount": 0,
        "RecoverableErrorCount": -1,
        "RecoverableErrorInterval": 5,
        "RecoverableErrorThrottling": True,
        "RecoverableErrorThrottlingMax": 1800,
        "RecoverableErrorStopRetryAfterThrottlingMax": True,
        "ApplyErrorDeletePolicy": "IGNORE_RECORD",
        "ApplyErrorInsertPolicy": "LOG_ERROR",
        "ApplyErrorUpdatePolicy": "LOG_ERROR",
        "ApplyErrorEscalationPolicy": "LOG_ERROR",
        "ApplyErrorEscalationCount": 0,
        "ApplyErrorFailOnTruncationDdl": False,
        "FullLoadIgnoreConflicts": True,
        "FailOnTransactionConsistencyBreached": False,
        "FailOnNoTablesCaptured": True,
        "EventErrorPolicy": "IGNORE",
        "DataMaskingErrorPolicy": "STOP_TASK",
    },
    "TTSettings": {"EnableTT": False, "FailTaskOnTTFailure": False, "TTS3Settings": None, "TTRecordSettings": None},
    "ValidationSettings": {
        "EnableValidation": False,
        "ValidationMode": "ROW_LEVEL",
        "ThreadCount": 5,
        "PartitionSize": 10000,
        "FailureMaxCount": 10000,
        "RecordFailureDelayInMinutes": 5,
        "RecordSuspendDelayInMinutes": 30,
        "MaxKeyColumnSize": 8096,
        "TableFailureMaxCount": 1000,
        "ValidationOnly": False,
        "HandleCollationDiff": False,
        "RecordFailureDelayLimitInMinutes": 0,
        "SkipLobColumns": False,
        "ValidationPartialLobSize": 0,
        "ValidationQueryCdcDelaySeconds": 0,
    },
    "ChangeProcessingTuning": {
        "BatchApplyPreserveTransaction": True,
        "BatchApplyTimeoutMin": 1,
        "BatchApplyTimeoutMax": 30,
        "BatchApplyMemoryLimit": 500,
        "BatchSplitSize": 0,
        "MinTransactionSize": 1000,
        "CommitTimeout": 1,
        "MemoryLimitTotal": 1024,
        "MemoryKeepTime": 60,
        "StatementCacheSize": 50,
        "RecoveryTimeout": -1,
    },
    "PostProcessingRules": None,
    "CharacterSetSettings": None,
    "LoopbackPreventionSettings": None,
    "BeforeImageSettings": None,
    "FailTaskWhenCleanTaskResourceFailed": False,
}
"""A document as DMS saves it ("Saving task settings"): every default stated, and what is in no page of the guide."""

"""Settings of endpoints that are sources: PostgreSQL and MySQL (AWS DMS user guide, its pages on both as sources)."""

from __future__ import annotations

from schemas.endpoint_settings.aws import SECRET
from schemas.endpoint_settings.keys import EndpointKey, differently, honoured, meaningless, refused
from schemas.endpoint_settings.others import BY_IAM, CONNECTING, EXACT_NUMBERS, HOST, LOGIN, NESTED_TLS, SOURCE_SCRIPT

TARGETS = "of targets"
_QUERIES = "chunks of the full load are read as long as they take, and a source that is gone is noticed by itself"

POSTGRESQL = (
    *LOGIN,
    *BY_IAM,
    refused("AfterConnectScript", f"{SOURCE_SCRIPT} (`alter role … set`)", ""),
    meaningless("MaxFileSize", TARGETS),
    meaningless("ExecuteTimeout", _QUERIES),
    refused("CaptureDdls", "leave it out, and say `ddl: ignore`: changes of tables are known without triggers", True),
    meaningless("DdlArtifactsSchema", "changes of tables are known without triggers and tables at the source"),
    meaningless("FailTasksOnLobTruncation", "capture cuts nothing off"),
    differently("HeartbeatEnable", "the slot moves on while tables are idle, without writing at the source"),
    meaningless("HeartbeatSchema", "nothing is written at the source"),
    meaningless("HeartbeatFrequency", "nothing is written at the source"),
    honoured("SlotName", "slot", here="of the plug-in pgoutput; it is made where it is missing (`manage_slot`)"),
    differently("PluginName", "changes are read by pgoutput, which every server has"),
    differently("TrimSpaceInChar", "values of `char(n)` arrive as they were"),
    differently("MapBooleanAsBoolean", "booleans are booleans in any case"),
    differently("MapJsonbAsClob", "JSON is JSON in any case"),
    differently("MapLongVarcharAs", "texts are texts, however long"),
    meaningless("DisableUnicodeSourceFilter", "filters compare columns as they are"),
    refused("DatabaseMode", "Babelfish has not been tried", "default"),
    refused("BabelfishDatabaseName", "Babelfish has not been tried", ""),
)
POSTGRESQL_BESIDE: tuple[EndpointKey, ...] = (
    *NESTED_TLS,
    CONNECTING,
    EXACT_NUMBERS,
    meaningless("FetchCacheSize", "see `capture.chunk_rows`"),
    differently("UnboundedVarcharMaxSize", "texts are texts, however long"),
    meaningless("ConsumeMonotonicEvents", "transactions are told apart by where they commit"),
)

MYSQL = (
    *HOST,
    differently("DatabaseName", "the selection says which databases are captured"),
    *SECRET,
    *BY_IAM,
    refused("AfterConnectScript", f"{SOURCE_SCRIPT} (`init_connect` of the server)", ""),
    meaningless("TargetDbType", TARGETS),
    meaningless("MaxFileSize", TARGETS),
    meaningless("ParallelLoadThreads", TARGETS),
    meaningless("ExecuteTimeout", _QUERIES),
    differently("CleanSourceMetadataOnMismatch", "the catalogue is read again whenever the log shows another table"),
    meaningless("EventsPollInterval", "the server sends what it logs at once"),
    differently("ServerTimezone", "a `timestamp` is an instant, and a `datetime` what it says, in any zone"),
)
MYSQL_BESIDE: tuple[EndpointKey, ...] = (
    *NESTED_TLS,
    CONNECTING,
    refused("Initstmt", f"{SOURCE_SCRIPT} (`init_connect` of the server)", ""),
    differently("CleanSrcMetadataOnMismatch", "the catalogue is read again whenever the log shows another table"),
    differently("SkipTableSuspensionForPartitionDdl", "operations on partitions suspend no table"),
    differently("IgnoreOpenXaTransactionsCheck", "XA transactions count when they commit, those open at the start too"),
)

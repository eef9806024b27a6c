"""Settings of endpoints that run elsewhere too: Kafka, DocumentDB and MongoDB, PostgreSQL, MySQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.endpoint_settings import scripts
from schemas.endpoint_settings.aws import MESSAGES, SECRET, SOURCES
from schemas.endpoint_settings.keys import EndpointKey, differently, honoured, meaningless, refused, same, word
from schemas.task_settings.keys import Standing


def _property(name: str, ours: str, convert: Callable[[Any], Any] = same) -> EndpointKey:
    """Return a setting that is a property of librdkafka's, under `kafka`."""
    return EndpointKey(name, Standing.HONOURED, "", f"kafka.{ours}", lambda value: {"kafka": {ours: convert(value)}})


_FILES = "certificates and keys are files: `ssl.ca.location`, `ssl.certificate.location`, `ssl.key.location` of `kafka`"
_PROTOCOLS = {"ssl-encryption": "ssl", "ssl-authentication": "ssl", "sasl-ssl": "sasl_ssl"}

KAFKA = (
    _property("Broker", "bootstrap.servers", lambda value: ",".join(one.strip() for one in str(value).split(","))),
    honoured("Topic", "topic"),
    *MESSAGES,
    honoured("IncludeTableAlterOperations", "include_table_alter_operations"),
    honoured("MessageMaxBytes", "message_max_bytes"),
    _property("SecurityProtocol", "security.protocol", lambda value: _PROTOCOLS.get(word(value), word(value))),
    refused("SslClientCertificateArn", _FILES, "", unless="kafka.ssl.certificate.location"),
    refused("SslClientKeyArn", _FILES, "", unless="kafka.ssl.key.location"),
    _property("SslClientKeyPassword", "ssl.key.password"),
    refused("SslCaCertificateArn", _FILES, "", unless="kafka.ssl.ca.location"),
    _property("SaslUsername", "sasl.username"),
    _property("SaslPassword", "sasl.password"),
    _property("SaslMechanism", "sasl.mechanism", lambda value: word(value).upper()),
    _property("SslEndpointIdentificationAlgorithm", "ssl.endpoint.identification.algorithm", word),
)

HOST = (
    honoured("Username", "user"),
    honoured("Password", "password"),
    honoured("ServerName", "host"),
    honoured("Port", "port"),
)
LOGIN = (*HOST, honoured("DatabaseName", "database"), *SECRET)

_MODES = ("require", "verify-ca", "verify-full")


def _tls(
    ours: str, certificates: str, none: str, why: str, sets: Callable[[str], dict[str, Any]]
) -> tuple[EndpointKey, ...]:
    """`none` is what DMS's word for nothing chosen means: encryption is not switched off by it."""

    def meant(value: Any) -> dict[str, Any]:
        if word(value) not in ("none", *_MODES):
            raise ValueError
        return sets(none if word(value) == "none" else word(value))

    return (
        EndpointKey("SslMode", Standing.HONOURED, f"`none`: `{none}`, {why}", ours, meant),
        refused("CertificateArn", f"the authority's certificate is a file: `{certificates}`", "", unless=certificates),
    )


NESTED_TLS = _tls(
    "tls.mode",
    "tls.ca",
    "prefer",
    "which encrypts where the server can, and verifies nothing",
    lambda mode: {"tls": {"mode": mode}},
)
FLAT_TLS = _tls(
    "tls",
    "ca",
    "verify-full",
    "which AWS's servers can; for one without a certificate say `tls: disable`",
    lambda mode: {"tls": mode},
)
CONNECTING = honoured("ConnectionTimeout", "connect_timeout_s")
EXACT_NUMBERS = differently("MapUnboundedNumericAsString", "numbers arrive with all their digits in any case")
_FROM_MEMORY = meaningless("LoadUsingCSV", "rows are loaded from memory, in bulk")

DOCUMENTS = (
    *LOGIN,
    honoured("NestingLevel", "nesting_level", word),
    meaningless("ExtractDocId", SOURCES),
    meaningless("DocsToInvestigate", SOURCES),
    meaningless("KmsKeyId", "the configuration is kept by you, encrypted or not"),
    meaningless("UseUpdateLookUp", SOURCES),
    refused("ReplicateShardCollections", "shard the collections at the target before the load"),
)

BY_IAM = (
    refused("ServiceAccessRoleArn", "give `password`: there is no login by IAM", ""),
    refused("AuthenticationMethod", "give `password`: there is no login by IAM", "password"),
)
_SCRIPT = "set parameters of the user at the target"
SOURCE_SCRIPT = "set parameters of the user at the source"
_FILES_OF_LOADS = meaningless("MaxFileSize", "rows are loaded from memory, without files")

POSTGRESQL = (
    *LOGIN,
    *BY_IAM,
    scripts.script(
        "AfterConnectScript",
        "disable_triggers",
        scripts.POSTGRESQL,
        f"`set session_replication_role = replica` and nothing else; {_SCRIPT} (`alter role … set`)",
    ),
    _FILES_OF_LOADS,
    honoured("ExecuteTimeout", "statement_timeout_s"),
    *(
        meaningless(name, SOURCES)
        for name in (
            "CaptureDdls",
            "DdlArtifactsSchema",
            "FailTasksOnLobTruncation",
            "HeartbeatEnable",
            "HeartbeatSchema",
            "HeartbeatFrequency",
            "SlotName",
            "PluginName",
            "TrimSpaceInChar",
            "MapBooleanAsBoolean",
            "MapJsonbAsClob",
            "MapLongVarcharAs",
            "DisableUnicodeSourceFilter",
        )
    ),
    refused("DatabaseMode", "Babelfish has not been tried", "default"),
    refused("BabelfishDatabaseName", "Babelfish has not been tried", ""),
)

POSTGRESQL_BESIDE = (*NESTED_TLS, CONNECTING, EXACT_NUMBERS, _FROM_MEMORY)

_STATEMENTS = (
    "`set foreign_key_checks = 0`, and `time_zone` as it is here (UTC), nothing else; "
    f"{_SCRIPT} (`init_connect` of the server)"
)
MYSQL = (
    *LOGIN,
    *BY_IAM,
    scripts.script("AfterConnectScript", "foreign_key_checks", scripts.MYSQL, _STATEMENTS),
    differently(
        "TargetDbType", "one database where `database` says which; else databases named like the source's schemas"
    ),
    _FILES_OF_LOADS,
    meaningless("ParallelLoadThreads", "start more appliers"),
    meaningless("ExecuteTimeout", SOURCES),
    meaningless("CleanSourceMetadataOnMismatch", SOURCES),
    meaningless("EventsPollInterval", SOURCES),
    meaningless("ServerTimezone", SOURCES),
)

MYSQL_BESIDE = (
    *NESTED_TLS,
    CONNECTING,
    scripts.script("Initstmt", "foreign_key_checks", scripts.MYSQL, _STATEMENTS),
    _FROM_MEMORY,
)

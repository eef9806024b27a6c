"""Settings of endpoints that run elsewhere too: Kafka, DocumentDB and MongoDB, PostgreSQL, MySQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.endpoint_settings.aws import MESSAGES, SECRETS, SOURCES
from schemas.endpoint_settings.keys import EndpointKey, differently, honoured, meaningless, refused, same, word
from schemas.task_settings.keys import Standing


def _property(name: str, ours: str, convert: Callable[[Any], Any] = same) -> EndpointKey:
    """Return a setting that is a property of librdkafka's, under `kafka`."""
    return EndpointKey(name, Standing.HONOURED, "", f"kafka.{ours}", lambda value: {"kafka": {ours: convert(value)}})


_FILES = "certificates and keys are files: `ssl.ca.location`, `ssl.certificate.location`, `ssl.key.location` of `kafka`"
_PROTOCOLS = {"ssl-encryption": "ssl", "ssl-authentication": "ssl", "sasl-ssl": "sasl_ssl"}

KAFKA = (
    _property("Broker", "bootstrap.servers"),
    honoured("Topic", "topic"),
    *MESSAGES,
    honoured("IncludeTableAlterOperations", "include_table_alter_operations"),
    honoured("MessageMaxBytes", "message_max_bytes"),
    _property("SecurityProtocol", "security.protocol", lambda value: _PROTOCOLS.get(word(value), word(value))),
    refused("SslClientCertificateArn", _FILES, ""),
    refused("SslClientKeyArn", _FILES, ""),
    _property("SslClientKeyPassword", "ssl.key.password"),
    refused("SslCaCertificateArn", _FILES, ""),
    _property("SaslUsername", "sasl.username"),
    _property("SaslPassword", "sasl.password"),
    _property("SaslMechanism", "sasl.mechanism", lambda value: word(value).upper()),
    _property("SslEndpointIdentificationAlgorithm", "ssl.endpoint.identification.algorithm", word),
)

_LOGIN = (
    honoured("Username", "user"),
    honoured("Password", "password"),
    honoured("ServerName", "host"),
    honoured("Port", "port"),
    honoured("DatabaseName", "database"),
    refused("SecretsManagerAccessRoleArn", SECRETS, ""),
    refused("SecretsManagerSecretId", SECRETS, ""),
)

DOCUMENTS = (
    *_LOGIN,
    honoured("NestingLevel", "nesting_level", word),
    meaningless("ExtractDocId", SOURCES),
    meaningless("DocsToInvestigate", SOURCES),
    meaningless("KmsKeyId", "the configuration is kept by you, encrypted or not"),
    meaningless("UseUpdateLookUp", SOURCES),
    refused("ReplicateShardCollections", "shard the collections at the target before the load"),
)

_BY_IAM = (
    refused("ServiceAccessRoleArn", "give `password`: there is no login by IAM", ""),
    refused("AuthenticationMethod", "give `password`: there is no login by IAM", "password"),
)
_SCRIPT = "set parameters of the user at the target"
_FILES_OF_LOADS = meaningless("MaxFileSize", "rows are loaded from memory, without files")

POSTGRESQL = (
    *_LOGIN,
    *_BY_IAM,
    refused("AfterConnectScript", f"{_SCRIPT} (`alter role … set`); for triggers there is `disable_triggers`", ""),
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

MYSQL = (
    *_LOGIN,
    *_BY_IAM,
    refused("AfterConnectScript", f"{_SCRIPT}'s server; for foreign keys there is `foreign_key_checks`", ""),
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

"""Settings of endpoints that are services of AWS: S3, DynamoDB, Kinesis, OpenSearch, Neptune, Redshift.

AWS DMS API reference (`S3Settings` and its like), and the user guide's page on each target.
"""

from __future__ import annotations

from math import ceil

from schemas.endpoint_settings.keys import (
    EndpointKey,
    differently,
    honoured,
    large,
    meaningless,
    refused,
    seconds,
    unescaped,
    word,
)

ROLE = honoured("ServiceAccessRoleArn", "service_access_role_arn")
RETRIES = "lost and busy targets are tried again by `retry` of the configuration"
_SECRETS = "say `user`, `password` and `host` in the section: `${file:PATH}` or `${ENV}` for what is secret"
SECRET = tuple(
    refused(name, _SECRETS, "", unless="user") for name in ("SecretsManagerAccessRoleArn", "SecretsManagerSecretId")
)
SOURCES = "of sources"
_ENCRYPTION = (
    honoured("EncryptionMode", "encryption_mode", word),
    honoured("ServerSideEncryptionKmsKeyId", "server_side_encryption_kms_key_id"),
)

S3 = (
    ROLE,
    meaningless("ExternalTableDefinition", SOURCES),
    honoured("CsvRowDelimiter", "csv_row_delimiter", unescaped),
    honoured("CsvDelimiter", "csv_delimiter", unescaped),
    honoured("BucketFolder", "bucket_folder"),
    honoured("BucketName", "bucket_name"),
    honoured("CompressionType", "compression_type", word),
    *_ENCRYPTION,
    honoured("DataFormat", "data_format", word),
    honoured("EncodingType", "encoding_type", word),
    honoured("DictPageSizeLimit", "dict_page_size_limit"),
    honoured("RowGroupLength", "row_group_length"),
    honoured("DataPageSize", "data_page_size"),
    honoured("ParquetVersion", "parquet_version", word),
    honoured("EnableStatistics", "enable_statistics"),
    honoured("IncludeOpForFullLoad", "include_op_for_full_load"),
    honoured("CdcInsertsOnly", "cdc_inserts_only"),
    honoured("TimestampColumnName", "timestamp_column_name"),
    refused("ParquetTimestampInMillisecond", "it would round: times have microseconds"),
    honoured("CdcInsertsAndUpdates", "cdc_inserts_and_updates"),
    honoured("DatePartitionEnabled", "date_partition_enabled"),
    honoured("DatePartitionSequence", "date_partition_sequence", large),
    honoured("DatePartitionDelimiter", "date_partition_delimiter", large),
    differently("UseCsvNoSupValue", "what the log did not hold never looks like null: see `csv_no_sup_value`"),
    honoured("CsvNoSupValue", "csv_no_sup_value"),
    honoured("PreserveTransactions", "preserve_transactions"),
    honoured("CdcPath", "cdc_path"),
    refused("UseTaskStartTimeForFullLoadTimestamp", "loaded rows have the time at which they were read"),
    honoured("CannedAclForObjects", "canned_acl_for_objects", word),
    honoured("AddColumnName", "add_column_name"),
    honoured("CdcMaxBatchInterval", "cdc_max_batch_interval"),
    honoured("CdcMinFileSize", "cdc_min_file_size"),
    honoured("CsvNullValue", "csv_null_value", says_empty=True),
    meaningless("IgnoreHeaderRows", SOURCES),
    honoured("MaxFileSize", "max_file_size"),
    refused("Rfc4180", "values that hold a delimiter always stand in quotes: nobody could read them else", True),
    honoured("DatePartitionTimezone", "date_partition_timezone"),
    refused("AddTrailingPaddingCharacter", "values arrive as they were"),
    honoured("ExpectedBucketOwner", "expected_bucket_owner"),
    honoured("GlueCatalogGeneration", "glue_catalog_generation"),
)

DYNAMODB = (ROLE,)

_MESSAGES = (
    honoured("MessageFormat", "message_format", word),
    honoured("IncludeTransactionDetails", "include_transaction_details"),
    honoured("IncludePartitionValue", "include_partition_value"),
    honoured("PartitionIncludeSchemaTable", "partition_include_schema_table"),
    honoured("IncludeControlDetails", "include_control_details"),
    honoured("IncludeNullAndEmpty", "include_null_and_empty"),
    differently("NoHexPrefix", "bytes are in base64, which has no prefix"),
    differently("UseLargeIntegerValue", "integers are written with all their digits in any case"),
)
"""What endpoints of messages share."""

KINESIS = (
    honoured("StreamArn", "stream_arn"),
    ROLE,
    *_MESSAGES,
    refused("IncludeTableAlterOperations", "nothing at a stream remembers what a table was before"),
)

OPENSEARCH = (
    EndpointKey(
        ROLE.name,
        ROLE.standing,
        "requests are signed by it (`authentication: aws`)",
        "service_access_role_arn",
        lambda role: {"service_access_role_arn": role, "authentication": "aws"},
    ),
    honoured("EndpointUri", "url", lambda uri: uri if "://" in str(uri) else f"https://{uri}"),
    differently("FullLoadErrorPercentage", "`apply.errors` says how many refused rows suspend their table"),
    differently("ErrorRetryDuration", RETRIES),
    meaningless("UseNewMappingType", "indices have had one type of documents since OpenSearch 1"),
)

NEPTUNE = (
    honoured(ROLE.name, ROLE.ours, here="assumed to sign requests and to write the bucket, and named to the loader"),
    honoured("S3BucketName", "s3_bucket_name"),
    honoured("S3BucketFolder", "s3_bucket_folder"),
    honoured("ErrorRetryDuration", "error_retry_duration"),
    honoured("MaxFileSize", "max_file_size"),
    honoured("MaxRetryCount", "max_retry_count"),
    honoured("IamAuthEnabled", "iam_auth_enabled"),
)

_AS_THEY_WERE = "values arrive as they were; one that its column does not hold parks its row"

REDSHIFT = (
    refused("AcceptAnyDate", _AS_THEY_WERE),
    refused("AfterConnectScript", "set parameters of the user at the target (`alter user`)", ""),
    honoured("BucketFolder", "bucket_folder"),
    honoured("BucketName", "bucket_name"),
    refused("CaseSensitiveNames", "names are as the cluster has them: `enable_case_sensitive_identifier`"),
    meaningless("CompUpdate", "a staging table is not worth an analysis of its compression"),
    honoured("ConnectionTimeout", "connect_timeout_s", lambda value: max(2, round(seconds(value)))),
    honoured("DatabaseName", "database"),
    refused("DateFormat", "staged dates are ISO 8601, whatever the source has", "auto", "", "YYYY-MM-DD"),
    refused("EmptyAsNull", _AS_THEY_WERE),
    *_ENCRYPTION,
    meaningless("ExplicitIds", "no column that is made has an identity"),
    meaningless("FileTransferUploadStreams", "one file a batch; start more appliers"),
    honoured("LoadTimeout", "statement_timeout_s", lambda value: ceil(seconds(value))),
    meaningless("MaxFileSize", "one file a batch: see `apply.batch_bytes`"),
    honoured("Password", "password"),
    honoured("Port", "port"),
    refused("RemoveQuotes", _AS_THEY_WERE),
    refused("ReplaceInvalidChars", _AS_THEY_WERE, ""),
    meaningless("ReplaceChars", "of ReplaceInvalidChars"),
    honoured("ServerName", "host"),
    EndpointKey(
        ROLE.name,
        ROLE.standing,
        "assumed to write the bucket, and named in `COPY`",
        "service_access_role_arn",
        lambda role: {"service_access_role_arn": role, "copy_role_arn": role},
    ),
    refused("TimeFormat", "staged times are ISO 8601, whatever the source has", "auto", ""),
    refused("TrimBlanks", _AS_THEY_WERE),
    refused("TruncateColumns", _AS_THEY_WERE),
    honoured("Username", "user"),
    meaningless("WriteBufferSize", "files are made in memory: see `apply.batch_bytes`"),
    *SECRET,
    differently("MapBooleanAsBoolean", "booleans are booleans in any case"),
)

MESSAGES = _MESSAGES

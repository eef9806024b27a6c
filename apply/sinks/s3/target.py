"""A bucket as a target: what `apply.sinks` asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from functools import partial

from apply import aws
from apply.sink_kinds.row_files.reader import FilesReader
from apply.sink_kinds.row_files.sink import RowFilesSink
from apply.sinks.s3.catalog import GlueCatalog, database_of
from apply.sinks.s3.store import BucketStore
from schemas.endpoints.files import S3Target
from schemas.findings import Finding
from schemas.mappings.tags import tags
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> RowFilesSink:
    """Return the sink of a target. Connects when it is first used."""
    section = settings.section(target, S3Target)
    catalog = GlueCatalog(section) if section.glue_catalog_generation else None
    return RowFilesSink(BucketStore(section), section, catalog, partial(tags, settings.taggings(target)))


def open_reader(settings: Settings, target: str) -> FilesReader:
    """Return what reads the rows back. The role needs `s3:ListBucket` and `s3:GetObject`, which it has."""
    section = settings.section(target, S3Target)
    return FilesReader(BucketStore(section), section)


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the bucket is there and may be seen. Never writes."""
    section = settings.section(target, S3Target)
    owner = {"ExpectedBucketOwner": section.expected_bucket_owner} if section.expected_bucket_owner else {}
    with closing(BucketStore(section)) as store:
        return aws.bucket_findings(store.client, section.bucket_name, **owner)


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the policy that the role needs, and nothing more."""
    section = settings.section(target, S3Target)
    bucket = f"arn:aws:s3:::{section.bucket_name}"
    folder = section.bucket_folder.strip("/")
    objects = ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload"]
    if section.canned_acl_for_objects != "none":
        objects.append("s3:PutObjectAcl")
    if settings.taggings(target):
        objects.append("s3:PutObjectTagging")
    statements: list[dict[str, object]] = [
        {"Effect": "Allow", "Action": objects, "Resource": f"{bucket}/{folder}/*" if folder else f"{bucket}/*"},
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": bucket},
    ]
    if section.encryption_mode == "sse-kms":
        key = section.server_side_encryption_kms_key_id or "*"
        statements.append({"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": key})
    if section.glue_catalog_generation:
        statements.append(_catalogue(section, tables))
    return [json.dumps({"Version": "2012-10-17", "Statement": statements})]


def _catalogue(section: S3Target, tables: Sequence[TableSchema]) -> dict[str, object]:
    databases = sorted({database_of(section, table.name) for table in tables})
    arn = f"arn:aws:glue:{section.region or '*'}:*:"
    resources = [f"{arn}catalog"]
    for database in databases:
        resources += [f"{arn}database/{database}", f"{arn}table/{database}/*"]
    made = ["CreateDatabase", "GetTable", "CreateTable", "UpdateTable", "CreatePartition"]
    return {"Effect": "Allow", "Action": [f"glue:{action}" for action in made], "Resource": resources}

"""The policies that `plan` prints for targets in AWS: each request that a sink makes is allowed, and nothing else is.

Which requests these are is read in the sinks' own text: every name there that one of the services of the AWS library
has as an operation.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import DataNotFoundError

from apply.sinks import target_grants
from schemas.settings import parse
from tests.conformance.sink_suite import ORDERS
from tests.unit.architecture.tree import parsed, python_files, text

LOGIN = {"region": "eu-central-1"}
BUCKET = {"bucket_name": "landing", "encryption_mode": "sse-kms"}
CLUSTER = {"engine": "redshift", "database": "shop", "user": "loader", "cluster_identifier": "shop", **BUCKET, **LOGIN}
GROUP = {"engine": "redshift", "database": "shop", "workgroup_name": "shop", **BUCKET, **LOGIN}
STREAM = "arn:aws:kinesis:eu-central-1:123456789012:stream/shop"
CATALOGUE = {"data_format": "parquet", "glue_catalog_generation": True}
GRAPH = {"s3_bucket_name": "graph", "load_role_arn": "arn:aws:iam::123456789012:role/load", "iam_auth_enabled": True}

SECTIONS: dict[str, list[dict[str, Any]]] = {
    "dynamodb": [{"engine": "dynamodb", **LOGIN}],
    "kinesis": [{"engine": "kinesis", "stream_arn": STREAM, **LOGIN}],
    "neptune": [{"engine": "neptune", "url": "https://graph:8182", "encryption_mode": "sse-kms", **GRAPH, **LOGIN}],
    "redshift": [
        CLUSTER | {"host": "shop", "iam_auth_enabled": True},
        GROUP | {"host": "shop", "iam_auth_enabled": True},
        CLUSTER | {"connect_by": "data-api"},
        GROUP | {"connect_by": "data-api", "secret_arn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x"},
    ],
    "s3": [{"engine": "s3", **CATALOGUE, "canned_acl_for_objects": "private", **BUCKET, **LOGIN}],
}
"""By engine, configurations that together make use of all that a sink can."""

SERVICES = {
    "dynamodb": ("dynamodb",),
    "kinesis": ("kinesis",),
    "neptune": ("s3",),
    "redshift": ("s3", "redshift-data", "redshift", "redshift-serverless"),
    "s3": ("s3", "glue"),
}
"""Those whose clients the sinks make."""

ACTIONS = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
}
"""Operations whose action has another name. Amazon S3 user guide, "Required permissions for S3 API operations"."""

IN_TRANSACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
"""What a transaction of DynamoDB needs for its actions. Developer guide, "DynamoDB transactions: IAM"."""

UNSEEN = {
    # What a service does for whoever asks, with the caller's rights.
    "kms:GenerateDataKey",
    "kms:Decrypt",
    "secretsmanager:GetSecretValue",
    # Of a header of the request that makes the object.
    "s3:PutObjectAcl",
    # Neptune is asked without the AWS library.
    "neptune-db:ReadDataViaQuery",
    "neptune-db:WriteDataViaQuery",
    "neptune-db:DeleteDataViaQuery",
    "neptune-db:StartLoaderJob",
    "neptune-db:GetLoaderJobStatus",
    "neptune-db:ListLoaderJobs",
}
"""Actions that no operation of the library stands for."""

TO_READ_BACK = {"kinesis": {"kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords"}}
"""Of `verify` alone: the page names them, the policy of an applier has none of them."""


@cache
def _operations(service: str) -> dict[str, str]:
    """Return the actions of a service's operations, by the names that a client has for these, and for its waiters."""
    session = botocore.session.get_session()
    found = {xform_name(name): f"{service}:{name}" for name in session.get_service_model(service).operation_names}
    try:
        waiters = session.get_waiter_model(service)
    except DataNotFoundError:
        return found
    return found | {
        xform_name(name): f"{service}:{waiters.get_waiter(name).operation}" for name in waiters.waiter_names
    }


def _names(tree: ast.AST) -> Iterator[str]:
    """Yield all that may be the name of an operation: of what is called, and texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _called(engine: str) -> set[str]:
    """Return the actions that a sink's requests need."""
    place = Path("apply/sinks")
    trees: list[ast.AST] = [
        parsed(p) for p in python_files() if (place / engine) in p.parents or p == place / f"{engine}.py"
    ]
    names = {name for tree in trees for name in _names(tree)}
    # What the sinks share.
    shared = (node for node in ast.walk(parsed(Path("apply/aws.py"))) if isinstance(node, ast.FunctionDef))
    names |= {name for function in shared if function.name in names for name in _names(function)}
    found = {made for service in SERVICES[engine] for name, made in _operations(service).items() if name in names}
    if "dynamodb:TransactWriteItems" in found:
        found.remove("dynamodb:TransactWriteItems")
        found |= {f"dynamodb:{action}" for name, action in IN_TRANSACTIONS.items() if name in names}
    return {ACTIONS.get(action, action) for action in found}


def _allowed(engine: str) -> set[str]:
    """Return the actions that an applier's policies allow. The first one is its own, a second that of a service."""
    found: set[str] = set()
    for section in SECTIONS[engine]:
        policies = [json.loads(line) for line in _grants(section) if line.startswith("{")]
        for statement in policies[0]["Statement"]:
            actions = statement["Action"]
            found |= {actions} if isinstance(actions, str) else set(actions)
    return found


def _grants(section: dict[str, Any]) -> list[str]:
    document = {
        "name": "shop",
        "kafka": {"bootstrap.servers": "127.0.0.1:9092"},
        "source": {"database": "shop", "user": "capture", "tables": ["public.*"]},
        "targets": {"there": section},
    }
    return target_grants(parse(document), "there", [ORDERS])


@pytest.mark.parametrize("engine", SECTIONS)
def test_a_policy_allows_what_the_sink_asks_for_and_nothing_else(engine: str) -> None:
    called, allowed, reading = _called(engine), _allowed(engine), TO_READ_BACK.get(engine, set())
    assert reading <= called
    assert called - reading - allowed == set(), "requests that would be refused"
    assert allowed - called - UNSEEN == set(), "actions that no request needs"


@pytest.mark.parametrize("engine", SECTIONS)
def test_the_page_of_a_target_names_each_action_of_its_policy(engine: str) -> None:
    page = text(Path(f"docs/targets/{engine}.md"))
    wanted = _allowed(engine) | TO_READ_BACK.get(engine, set())
    assert sorted(action for action in wanted if action.partition(":")[2] not in page) == []


def test_opensearch_is_asked_by_the_methods_that_its_policy_allows() -> None:
    policy, role = map(
        json.loads, _grants({"engine": "opensearch", "url": "https://domain", "index_kind": "data-stream"})
    )
    (statement,) = policy["Statement"]
    texts = {name for path in python_files("apply") if "opensearch" in path.parts for name in _names(parsed(path))}
    methods = texts & {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
    assert set(statement["Action"]) == {f"es:ESHttp{method.title()}" for method in methods}
    page = text(Path("docs/targets/opensearch.md"))
    names = [*statement["Action"], *role["cluster_permissions"], *role["index_permissions"][0]["allowed_actions"]]
    assert [name for name in names if name not in page] == []


def test_redshift_lets_the_role_log_in_as_nobody_else() -> None:
    """Of all clusters, users and secrets of an account those of the configuration."""
    for section in SECTIONS["redshift"]:
        policy = json.loads(next(line for line in _grants(section) if line.startswith("{")))
        found = {action: statement["Resource"] for statement in policy["Statement"] for action in statement["Action"]}
        places = [found.get("redshift:GetClusterCredentials"), found.get("secretsmanager:GetSecretValue")]
        assert places in (
            [
                [
                    "arn:aws:redshift:eu-central-1:*:dbuser:shop/loader",
                    "arn:aws:redshift:eu-central-1:*:dbname:shop/shop",
                ],
                None,
            ],
            [None, section.get("secret_arn")],
        )


def test_every_service_is_known_here() -> None:
    """A sink that makes a client of another service is to be looked at above."""
    made = {
        (path.parts[2].removesuffix(".py"), call.args[0].value)
        for path in python_files("apply")
        if path.parts[:2] == ("apply", "sinks")
        for call in ast.walk(parsed(path))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "aws.client"
        and isinstance(call.args[0], ast.Constant)
    }
    assert made
    assert sorted((engine, service) for engine, service in made if service not in SERVICES[engine]) == []

"""Requests whose bodies are written at once say what the library's own do, and are signed as they are sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError

from apply import aws
from apply.sinks import kinesis
from apply.sinks.dynamodb import client as dynamodb
from schemas.endpoints.dynamodb import DynamodbTarget
from schemas.errors import ErrorKind

TARGET = DynamodbTarget.model_validate(
    {
        "engine": "dynamodb",
        "endpoint_url": "http://127.0.0.1:1",
        "region": "eu-west-1",
        "access_key_id": "key",
        "secret_access_key": "secret",
    }
)
ITEM: dict[str, dict[str, Any]] = {
    "id": {"N": "1"},
    "word": {"S": 'ü"\n'},
    "raw": {"B": b"\0\xff"},
    "sub": {"M": {"yes": {"BOOL": True}}},
}
PUT = {"TableName": "t", "Item": ITEM, "ConditionExpression": "attribute_not_exists(id)"}
REQUESTS: list[tuple[str, str, dict[str, Any], Mapping[str, aws.Stand]]] = [
    (
        "dynamodb",
        "transact_write_items",
        {"TransactItems": [{"Put": PUT}] * 3, "ClientRequestToken": "1"},
        dynamodb.BULK,
    ),
    (
        "dynamodb",
        "batch_write_item",
        {
            "RequestItems": {
                "t": [{"PutRequest": {"Item": ITEM}}],
                "u": [{"DeleteRequest": {"Key": {"id": {"N": "1"}}}}],
            }
        },
        dynamodb.BULK,
    ),
    (
        "dynamodb",
        "batch_execute_statement",
        {
            "Statements": [
                {"Statement": "insert into \"t\" value {'id': ?, 'raw': ?}", "Parameters": [ITEM["id"], ITEM["raw"]]},
                {"Statement": "insert into \"t\" value {'sub': ?}", "Parameters": [ITEM["sub"]]},
            ]
        },
        dynamodb.BULK,
    ),
    (
        "kinesis",
        "put_records",
        {
            "StreamARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/shop",
            "Records": [{"Data": b'{"a":1}', "PartitionKey": "k"}, {"Data": b"\xff", "PartitionKey": "ü"}],
        },
        kinesis.BULK,
    ),
]


class Raw:
    def stream(self, **_: Any) -> list[bytes]:
        return [b"{}"]


def sent(service: str, operation: str, request: dict[str, Any], bulk: Any) -> AWSPreparedRequest:
    """Return the request that a client sends."""
    client = aws.client(service, TARGET, bulk=bulk)
    caught: list[AWSPreparedRequest] = []

    def catch(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        caught.append(request)
        return AWSResponse(request.url, 200, {}, Raw())

    client.meta.events.register("before-send", catch)
    getattr(client, operation)(**request)
    client.close()
    return caught[0]


def shape(request: AWSPreparedRequest) -> dict[str, str]:
    left_out = {"authorization", "x-amz-date", "content-length", "amz-sdk-invocation-id", "user-agent"}
    return {name.lower(): str(value) for name, value in request.headers.items() if name.lower() not in left_out}


@pytest.mark.parametrize(("service", "operation", "request_", "bulk"), REQUESTS)
def test_a_request_says_what_the_librarys_own_would(
    service: str, operation: str, request_: dict[str, Any], bulk: Any
) -> None:
    own, ours = sent(service, operation, request_, None), sent(service, operation, request_, bulk)
    assert json.loads(ours.body) == json.loads(own.body)
    assert (ours.url, ours.method, shape(ours)) == (own.url, own.method, shape(own))


def test_a_request_is_signed_as_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[bytes] = []
    payload = SigV4Auth.payload

    def sign(self: SigV4Auth, request: Any) -> Any:
        signed.append(request.body)
        return payload(self, request)

    monkeypatch.setattr(SigV4Auth, "payload", sign)
    body = sent(*REQUESTS[0]).body
    assert signed == [body]


def test_a_transaction_has_a_token_by_which_a_repetition_shows() -> None:
    service, operation, request, bulk = REQUESTS[0]
    without = {"TransactItems": request["TransactItems"]}
    tokens = {json.loads(sent(service, operation, without, bulk).body)["ClientRequestToken"] for _ in range(2)}
    assert len(tokens) == 2


def test_halves_of_surrogate_pairs_go_as_the_library_sends_them() -> None:
    item = {"id": {"S": "\ud800"}, "raw": {"B": b"\1"}}
    request = {"RequestItems": {"t": [{"PutRequest": {"Item": item}}]}}
    own, ours = (sent("dynamodb", "batch_write_item", request, bulk) for bulk in (None, dynamodb.BULK))
    assert json.loads(ours.body) == json.loads(own.body)


@pytest.mark.parametrize(
    ("code", "message", "status", "reason"),
    [
        # As DynamoDB and Kinesis answer, as S3 does, and as STS does.
        ("ExpiredTokenException", "The security token included in the request is expired", 400, "session has expired"),
        ("InvalidSignatureException", "Signature expired: T is now earlier than T (T - 5 min.)", 400, "clock is wrong"),
        ("InvalidSignatureException", "The request signature we calculated does not match", 400, "signature is wrong"),
        ("UnrecognizedClientException", "The security token included in the request is invalid.", 400, "not known"),
        ("ExpiredToken", "The provided token has expired.", 400, "session has expired"),
        ("RequestTimeTooSkewed", "The difference between the times is too large.", 403, "clock is wrong"),
        ("SignatureDoesNotMatch", "Signature not yet current: T is still later than T", 403, "clock is wrong"),
        ("AccessDeniedException", "User: arn is not authorized to perform: es:ESHttpPut", 403, "refuses (Acc"),
    ],
)
def test_who_is_not_taken_for_anybody_is_told_why(code: str, message: str, status: int, reason: str) -> None:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = aws.classify(ClientError(cast("Any", answer), "PutItem"), "writing")
    assert (error.kind, reason in error.message) == (ErrorKind.PREREQUISITE, True)
    assert error.remedy
    assert message not in str(error)

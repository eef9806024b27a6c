"""Requests to Neptune are signed so that who checks their signatures takes them, and no others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from apply import aws
from apply.sinks.neptune.client import Client
from deploy.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from deploy.local.neptune import ROLE, NeptuneLoader
from deploy.local.signatures import SignatureChecker
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError
from tests.kit.roles import TokenService

pytestmark = pytest.mark.integration

RIGHT = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "region": REGION}


@pytest.fixture
def loader() -> Iterator[NeptuneLoader]:
    # No load is carried out.
    made = NeptuneLoader("http://127.0.0.1:1", None)
    yield made
    made.close()


def asked(loader: NeptuneLoader, **more: Any) -> Any:
    section = {"engine": "neptune", "url": loader.url, "iam_auth_enabled": True, **RIGHT, **more}
    client = Client(NeptuneTarget.model_validate(section))
    try:
        return client.loads("?limit=5&details=true", "asking")
    finally:
        client.close()


def test_a_signed_request_is_taken(loader: NeptuneLoader) -> None:
    assert asked(loader) == {"loadIds": []}


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret_access_key": "another"},
        {"access_key_id": "another"},
        {"region": "eu-west-1"},
        {"iam_auth_enabled": False},
    ],
)
def test_any_other_one_is_refused(loader: NeptuneLoader, wrong: dict[str, Any]) -> None:
    with pytest.raises(TailraceError) as caught:
        asked(loader, **wrong)
    assert caught.value.kind is ErrorKind.PREREQUISITE


def test_a_role_is_assumed_once_and_its_refusal_is_told(loader: NeptuneLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    with TokenService(ROLE, loader.signatures) as tokens:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.url)
        section = {"engine": "neptune", "url": loader.url, "iam_auth_enabled": True, **RIGHT}
        client = Client(NeptuneTarget.model_validate({**section, "service_access_role_arn": ROLE}))
        for _ in range(3):
            assert client.loads("?limit=5&details=true", "asking") == {"loadIds": []}
        client.close()
        assert len(tokens.given) == 1
        with pytest.raises(TailraceError) as caught:
            asked(loader, service_access_role_arn=f"{ROLE}-of-others")
        assert caught.value.kind is ErrorKind.PREREQUISITE


def test_a_signature_is_of_one_request_alone() -> None:
    target = NeptuneTarget.model_validate({"engine": "neptune", "url": "http://127.0.0.1:1", **RIGHT})
    url, body = "http://127.0.0.1:8182/loader?limit=5", b"{}"
    headers = {"Host": "127.0.0.1:8182", **aws.Signer(target, "neptune-db").headers("POST", url, body)}
    refusal = SignatureChecker("neptune-db").refusal
    assert refusal("POST", url, headers, body) is None
    assert refusal("GET", url, headers, body)
    assert refusal("POST", url.replace("5", "6"), headers, body)
    assert refusal("POST", url, headers | {"Host": "other"}, body)
    assert refusal("POST", url, headers | {"X-Amz-Date": "20200101T000000Z"}, body)
    assert refusal("POST", url, headers | {"X-Amz-Security-Token": "other"}, body)
    assert refusal("POST", url, headers | {"X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()}, body)
    assert refusal("POST", url, headers, b"[]")


def test_a_payload_that_is_named_is_the_one_that_came() -> None:
    url, body = "http://127.0.0.1:8182/loader", b"{}"
    named = {"Host": "127.0.0.1:8182", "X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()}
    request = AWSRequest("POST", url, named, body)
    SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY), "neptune-db", REGION).add_auth(request)
    refusal = SignatureChecker("neptune-db", names_payload=True).refusal
    assert refusal("POST", url, dict(request.headers.items()), body) is None
    assert refusal("POST", url, dict(request.headers.items()), b"[]")

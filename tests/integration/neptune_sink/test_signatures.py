"""Requests to Neptune are signed so that who checks their signatures takes them, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from apply import aws
from apply.sinks.neptune.client import Client
from deploy.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from deploy.local.neptune import NeptuneLoader, is_signed
from schemas.errors import ErrorKind, TailraceError
from schemas.neptune_target import NeptuneTarget

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


def test_a_signature_is_of_one_request_alone() -> None:
    target = NeptuneTarget.model_validate({"engine": "neptune", "url": "http://127.0.0.1:1", **RIGHT})
    url, body = "http://127.0.0.1:8182/loader?limit=5", b"{}"
    headers = {"Host": "127.0.0.1:8182", **aws.signed(target, "neptune-db", "POST", url, body)}
    assert is_signed("POST", url, headers, body)
    assert not is_signed("GET", url, headers, body)
    assert not is_signed("POST", url.replace("5", "6"), headers, body)
    assert not is_signed("POST", url, headers | {"Host": "other"}, body)
    assert not is_signed("POST", url, headers | {"X-Amz-Date": "20200101T000000Z"}, body)
    assert not is_signed("POST", url, headers, b"[]")

"""What the answers of Neptune's loader mean, and what it is asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from apply.sinks.neptune import target
from apply.sinks.neptune.client import Client
from apply.sinks.neptune.loader import Loader, Refusal
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings

ROLE = "arn:aws:iam::123456789012:role/load"
BUCKET = {"s3_bucket_name": "graph", "load_role_arn": ROLE, "region": "eu-central-1", "s3_bucket_folder": "in/"}


def section(**more: Any) -> NeptuneTarget:
    return NeptuneTarget.model_validate({"engine": "neptune", "url": "http://127.0.0.1:1", **BUCKET, **more})


def told(status: str, *errors: str, **counts: int) -> dict[str, Any]:
    logs = [{"errorCode": code, "errorMessage": "a value", "fileName": "s3://graph/in/1.csv"} for code in errors]
    return {"overallStatus": {"status": status, "fullUri": "s3://graph/in/", **counts}, "errors": {"errorLogs": logs}}


class Service:
    """A loader that tells what it was given, in turn; the last one again and again."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []

    def load(self, document: dict[str, Any], doing: str) -> str:
        self.asked.append(document)
        return f"load-{len(self.asked)}"

    def loads(self, path: str, doing: str) -> dict[str, Any] | None:
        self.paths.append(path)
        if path.startswith("?"):
            return {"loadIds": [f"old-{n}" for n in range(len(self.answers))]}
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.clock.sleep", lambda _: None)


def run(service: Service, **more: Any) -> Refusal | None:
    return Loader(cast("Client", service), section(**more)).run("s3://graph/in/1/")


def test_a_load_is_waited_for() -> None:
    service = Service(told("LOAD_IN_QUEUE"), told("LOAD_NOT_STARTED"), told("LOAD_IN_PROGRESS"), told("LOAD_COMPLETED"))
    assert run(service, load_parallelism="LOW") is None
    (asked,) = service.asked
    assert asked == {
        "source": "s3://graph/in/1/",
        "format": "csv",
        "iamRoleArn": ROLE,
        "region": "eu-central-1",
        "mode": "NEW",
        "failOnError": "TRUE",
        "parallelism": "LOW",
        "updateSingleCardinalityProperties": "TRUE",
        "queueRequest": "TRUE",
    }
    assert [path.partition("?")[0] for path in service.paths] == ["/load-1"] * 4


def test_what_may_pass_is_tried_again_and_no_more_often_than_the_settings_say() -> None:
    passing = [told("LOAD_DATA_DEADLOCK"), told("LOAD_FAILED", "INTERNAL_ERROR", insertErrors=3)]
    service = Service(*passing, told("LOAD_COMPLETED"))
    assert run(service) is None
    assert len(service.asked) == 3
    service = Service(told("LOAD_S3_READ_ERROR"))
    with pytest.raises(TailraceError) as caught:
        run(service, max_retry_count=2)
    assert caught.value.kind is ErrorKind.TARGET_CONNECTION
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        (told("LOAD_FAILED", "PARSING_ERROR", parsingErrors=1), {"LOAD_FAILED", "PARSING_ERROR"}),
        (told("LOAD_FAILED", "ID_ASSIGNED_TO_MULTIPLE_EDGES"), {"LOAD_FAILED", "ID_ASSIGNED_TO_MULTIPLE_EDGES"}),
        (told("LOAD_CANCELLED_DUE_TO_ERRORS", datatypeMismatchErrors=1), {"LOAD_CANCELLED_DUE_TO_ERRORS"}),
    ],
)
def test_files_at_fault_are_refused_once(answer: dict[str, Any], codes: set[str]) -> None:
    service = Service(answer)
    refusal = run(service)
    assert refusal is not None
    assert set(refusal.codes) == codes
    assert refusal.files <= {"s3://graph/in/1.csv"}
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (told("LOAD_S3_ACCESS_DENIED_ERROR"), ErrorKind.PREREQUISITE),
        (told("LOAD_FAILED", "S3_ACCESS_DENIED_ERROR"), ErrorKind.PREREQUISITE),
        (told("LOAD_CANCELLED_BY_USER"), ErrorKind.TARGET_CONNECTION),
        (told("LOAD_FAILED", "FILE_MODIFICATION_OR_DELETION_ERROR"), ErrorKind.TARGET_CONNECTION),
        (told("LOAD_FAILED"), ErrorKind.TARGET_CONNECTION),
    ],
)
def test_other_ends_are_errors_that_quote_nothing(answer: dict[str, Any], kind: ErrorKind) -> None:
    with pytest.raises(TailraceError) as caught:
        run(Service(answer))
    assert caught.value.kind is kind
    assert "a value" not in str(caught.value)


def test_loads_of_others_are_waited_for() -> None:
    other = told("LOAD_IN_PROGRESS")
    other["overallStatus"]["fullUri"] = "s3://graph/other/"
    service = Service(
        told("LOAD_COMPLETED"), other, told("LOAD_IN_PROGRESS"), told("LOAD_IN_QUEUE"), told("LOAD_FAILED")
    )
    Loader(cast("Client", service), section()).wait_for_others("s3://graph/in/")
    waited = [path for path in service.paths if "errors" in path]
    assert [path.partition("?")[0] for path in waited] == ["/old-2", "/old-2"]


def test_the_policies_of_both_roles() -> None:
    settings = SimpleNamespace(section=lambda *_: section(encryption_mode="sse-kms"))
    ours, theirs = target.grants(cast("Settings", settings), "graph", [])
    for action in ("neptune-db:StartLoaderJob", "neptune-db:GetLoaderJobStatus", "neptune-db:ListLoaderJobs"):
        assert action in ours
        assert action not in theirs
    assert '"s3:DeleteObject"], "Resource": "arn:aws:s3:::graph/in/*"' in ours
    assert '"s3:GetObject"], "Resource": "arn:aws:s3:::graph/in/*"' in theirs
    assert "kms:Decrypt" in theirs

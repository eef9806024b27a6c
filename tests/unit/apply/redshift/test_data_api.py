"""What the Data API may answer at a bad moment: no service of AWS is asked here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from apply.sinks.redshift.data_api import DataApiLink
from runtime import clock
from schemas.endpoints.redshift import RedshiftTarget
from schemas.errors import Action, TailraceError

PROBE = ["begin", "create temporary table tailrace_probe (one integer)", "rollback"]

Told = dict[str, Any]


class Service:
    """Notes each statement with its session, and answers as `trouble` has it for some."""

    def __init__(self) -> None:
        self.sessions: list[list[str]] = []
        self.trouble: dict[str, Callable[[], Told]] = {}
        self._statements: list[str] = []

    def execute_statement(self, **request: Any) -> Told:
        if "SessionId" not in request:
            self.sessions.append([])
        self.kept_s = request["SessionKeepAliveSeconds"]
        number = int(request.get("SessionId", len(self.sessions) - 1))
        self.sessions[number].append(request["Sql"])
        self._statements.append(request["Sql"])
        return {"Id": str(len(self._statements) - 1), "SessionId": str(number)}

    def describe_statement(self, **request: Any) -> Told:
        statement = self._statements[int(request["Id"])]
        answer = self.trouble.pop(statement, lambda: {"Status": "FINISHED"})()
        return {"Id": request["Id"], "ResultRows": 1, "HasResultSet": statement.startswith("select"), **answer}

    def get_statement_result(self, **_: Any) -> Told:
        return {"Records": [[{"longValue": 0}]]}

    def close(self) -> None:
        return


TARGET = RedshiftTarget.model_validate(
    {"engine": "redshift", "connect_by": "data-api", "bucket_name": "shop-staging"}
    | {"database": "shop", "workgroup_name": "shop"}
)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def link(service: Service) -> DataApiLink:
    made = DataApiLink(TARGET, "test")
    made._made = service
    return made


def fail(error: Exception) -> Callable[[], Told]:
    def failing() -> Told:
        raise error

    return failing


def refusal(code: str) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "a text"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, "DescribeStatement")


@pytest.mark.parametrize("which", PROBE)
def test_a_session_that_was_not_proven_is_not_used(service: Service, link: DataApiLink, which: str) -> None:
    service.trouble[which] = lambda: {"Status": "FAILED"}
    with pytest.raises(TailraceError) as caught:
        link.run("update 1")
    assert caught.value.action is Action.RETRY
    link.rollback()
    assert link.run("update 2") == 1
    # Of the first one nothing more is asked: it may be in a transaction, and keep none.
    assert service.sessions[0] == PROBE[: PROBE.index(which) + 1]
    assert service.sessions[1][:3] == PROBE
    assert service.sessions[1][4:] == ["begin", "update 2"]


@pytest.mark.parametrize(
    "error",
    [
        refusal("ValidationException"),
        refusal("ActiveStatementsExceededException"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1"),
    ],
)
@pytest.mark.parametrize("statement", ["update 1", "commit"])
def test_a_session_that_is_lost_is_left(service: Service, link: DataApiLink, statement: str, error: Exception) -> None:
    service.trouble[statement] = fail(error)
    with pytest.raises(TailraceError) as caught, link.own_transaction():
        link.run("update 1")
    assert caught.value.action is Action.RETRY
    assert not link.begun
    link.run("update 2")
    link.commit()
    assert service.sessions[0][-1] == statement
    assert service.sessions[1][4:] == ["begin", "update 2", "commit"]


@pytest.mark.parametrize("code", ["ValidationException", "ResourceNotFoundException", "AccessDeniedException"])
def test_a_request_that_is_refused_from_the_start_ends_it(service: Service, link: DataApiLink, code: str) -> None:
    """No such cluster, database, workgroup or secret, or no right to it."""
    service.execute_statement = lambda **_: fail(refusal(code))()  # type: ignore[method-assign]
    with pytest.raises(TailraceError) as caught:
        link.run("update 1")
    assert caught.value.action is Action.STOP
    assert caught.value.remedy


def test_what_fails_again_with_the_same_words_ends_it(
    service: Service, link: DataApiLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right that is missing. Conflicts of a moment have no other words each time, either: "could not complete because
    of conflict with concurrent transaction".
    """
    actions, now = [], 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    for pause_s in (1, 1, 1, 56, 1, 1):
        now += pause_s
        service.trouble["update 1"] = lambda: {"Status": "FAILED", "Error": "ERROR: permission denied for a value"}
        with pytest.raises(TailraceError) as caught, link.own_transaction():
            link.run("update 1")
        actions.append(caught.value.action)
        assert "permission" not in str(caught.value)
    assert actions == [Action.RETRY] * 5 + [Action.STOP]
    assert "6 times" in caught.value.message
    assert "describe-statement" in str(caught.value.remedy)


def test_claims_between_do_not_hide_what_fails_again(
    service: Service, link: DataApiLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tries a batch again claims its partitions before, and commits that."""
    actions, now = list[Action](), 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    for _ in range(4):
        now += 25
        with link.own_transaction():
            link.run("claim", doing="claiming")
        service.trouble["insert 1"] = lambda: {"Status": "FAILED", "Error": "ERROR: permission denied"}
        with pytest.raises(TailraceError) as caught, link.own_transaction():
            link.run("insert 1", doing="merging")
        actions.append(caught.value.action)
    assert actions == [Action.RETRY] * 3 + [Action.STOP]
    # What is done in between has passed.
    for _ in range(4):
        now += 100
        with link.own_transaction():
            link.run("insert 1", doing="merging")
        service.trouble["insert 1"] = lambda: {"Status": "FAILED", "Error": "ERROR: permission denied"}
        with pytest.raises(TailraceError) as caught, link.own_transaction():
            link.run("insert 1", doing="merging")
        assert caught.value.action is Action.RETRY


def test_an_applier_that_is_started_while_the_database_is_restarted_waits_as_one_that_runs(
    service: Service, link: DataApiLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    said: Told = {"Status": "FAILED", "Error": "ERROR: the cluster is restarting"}
    for _ in range(90):
        now += 10
        service.trouble["begin"] = said.copy
        with pytest.raises(TailraceError) as caught, link.own_transaction():
            link.run("update 1")
        assert caught.value.action is Action.RETRY
        assert "describe-statement" in str(caught.value.remedy)
    # What fails once it answers was not failing all the while.
    service.trouble[PROBE[1]] = said.copy
    with pytest.raises(TailraceError) as caught, link.own_transaction():
        link.run("update 1")
    assert caught.value.action is Action.RETRY
    with link.own_transaction():
        assert link.run("update 1") == 1


@pytest.mark.parametrize("by_code", [False, True])
@pytest.mark.parametrize("idle_s", [1, 100])
def test_a_database_that_is_restarted_is_waited_for_whatever_it_says(
    service: Service, link: DataApiLink, by_code: bool, idle_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the open session, and then in new ones, with one text, or one code: for as long as `retry` says."""
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    with link.own_transaction():
        link.run("update 1")
    now += idle_s
    for _ in range(90):
        now += 10
        said: Told = {"Status": "FAILED", "Error": "ERROR: the cluster is restarting"}
        service.trouble["begin"] = fail(refusal("ValidationException")) if by_code else said.copy
        with pytest.raises(TailraceError) as caught, link.own_transaction():
            link.run("update 2")
        assert caught.value.action is Action.RETRY
    # The first session that answers again may meet its last moment.
    service.trouble[PROBE[1]] = said.copy
    with pytest.raises(TailraceError) as caught, link.own_transaction():
        link.run("update 2")
    assert caught.value.action is Action.RETRY
    with link.own_transaction():
        link.run("update 2")
    assert service.sessions[-1] == [*PROBE, service.sessions[-1][3], "begin", "update 2", "commit"]


def test_a_right_that_is_taken_away_meanwhile_ends_it(
    service: Service, link: DataApiLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions, now = list[Action](), 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    with link.own_transaction():
        link.run("update 1")
    for statement in ("update 2", PROBE[1]):
        actions.clear()
        for _ in range(4):
            now += 40
            service.trouble[statement] = lambda: {"Status": "FAILED", "Error": "ERROR: permission denied"}
            with pytest.raises(TailraceError) as caught, link.own_transaction():
                link.run("update 2")
            actions.append(caught.value.action)
        assert actions == [Action.RETRY, Action.RETRY, Action.STOP, Action.STOP], statement
    service.execute_statement = lambda **_: fail(refusal("AccessDeniedException"))()  # type: ignore[method-assign]
    with pytest.raises(TailraceError) as caught:
        link.run("update 2")
    assert caught.value.action is Action.STOP


@pytest.mark.parametrize("times", [1, 2])
def test_what_has_failed_once_or_twice_may_pass_however_late(
    service: Service, link: DataApiLink, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    for _ in range(times):
        now += 3600
        service.trouble["update 1"] = lambda: {"Status": "FAILED", "Error": "ERROR: x"}
        with pytest.raises(TailraceError) as caught, link.own_transaction():
            link.run("update 1")
        assert caught.value.action is Action.RETRY


def test_what_fails_in_other_words_or_after_a_commit_may_pass(service: Service, link: DataApiLink) -> None:
    answers = [
        *({"Status": "FAILED", "Error": f"ERROR: 1023 of transaction {number}"} for number in range(5)),
        *({"Status": "ABORTED"} for _ in range(5)),
        *({"Status": "FAILED", "Error": "ERROR: x"} for _ in range(2)),
        {"Status": "FINISHED"},
        *({"Status": "FAILED", "Error": "ERROR: x"} for _ in range(2)),
    ]
    for answer in answers:
        service.trouble["update 1"] = lambda answer=answer: answer  # type: ignore[misc]
        if answer["Status"] == "FINISHED":
            with link.own_transaction():
                link.run("update 1")
            continue
        with pytest.raises(TailraceError) as caught, link.own_transaction():
            link.run("update 1")
        assert caught.value.action is Action.RETRY, answer


def test_a_statement_that_failed_is_rolled_back_in_its_session(service: Service, link: DataApiLink) -> None:
    service.trouble["update 1"] = lambda: {"Status": "FAILED", "Error": "a value"}
    with pytest.raises(TailraceError) as caught:
        link.run("update 1")
    assert "a value" not in str(caught.value)
    link.rollback()
    link.run("update 2")
    assert [session[4:] for session in service.sessions] == [["begin", "update 1", "rollback", "begin", "update 2"]]


def test_a_reader_may_pause_for_longer_than_an_applier(service: Service, link: DataApiLink) -> None:
    link.run("update 1")
    applier_s = service.kept_s
    reading = DataApiLink(TARGET, "test", as_text=True)
    reading._made = service
    reading.run("declare rows")
    # Rows of a source come in buckets: one may take minutes, and a cursor ends with its session.
    assert applier_s == 60
    assert service.kept_s >= 1800

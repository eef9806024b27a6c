"""Putting status documents and lags together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from capture import checkpoints
from capture.checkpoints import Checkpoint
from control import render, status
from control.status import assemble, log_note
from schemas.position import Position
from schemas.settings import Settings

NOW = 1_700_000_000_000_000


def document(state: str = "running", age_s: float = 0.0, **facts: Any) -> dict[str, Any]:
    return {"state": state, "ts_us": NOW - int(age_s * 1e6), **facts}


def test_nothing_was_ever_started() -> None:
    report = assemble("shop", {}, {"replica": {}}, NOW)
    assert report.state == "never started"
    assert report.targets[0].state == "never started"
    assert report.targets[0].lag_records == 0


def test_capture_is_shown_with_its_tables_and_the_source() -> None:
    table = {"state": "loading", "rows_estimated": 10, "rows_loaded": 4, "chunks": 2, "chunks_done": 1}
    capture = document(phase="full-load", position="0/1", source_end="0/5", lag_bytes=4, tables={"public.t": table})
    report = assemble("shop", {"capture": capture}, {}, NOW)
    assert (report.state, report.phase) == ("running", "full-load")
    assert report.source == {"position": "0/1", "end": "0/5", "lag_bytes": 4}
    assert report.tables[0].rows_loaded == 4
    counts = document(position="a:1", source_end="a:5", lag_bytes=None, lag_transactions=4)
    report = assemble("shop", {"capture": counts}, {}, NOW)
    assert report.source == {"position": "a:1", "end": "a:5", "lag_transactions": 4}


def test_a_component_that_has_not_written_for_long_is_silent_unless_it_ended() -> None:
    documents = {"capture": document(age_s=60), "apply.replica.h.1": document("stopped", age_s=60)}
    report = assemble("shop", documents, {"replica": {}}, NOW)
    assert report.state == "silent"
    assert report.targets[0].state == "stopped"


def test_a_standby_is_counted_and_does_not_hide_the_active_one() -> None:
    documents = {"capture": document(), "capture.standby.h.7": document("standby")}
    report = assemble("shop", documents, {}, NOW)
    assert (report.state, report.standbys) == ("running", 1)


def test_a_target_adds_up_its_appliers_and_lists_the_topics_that_lag() -> None:
    documents = {
        "apply.replica.h.1": document(rows=10, rows_per_s=5.0, lag_ms=20),
        "apply.replica.h.2": document(rows=7, rows_per_s=1.0, lag_ms=900),
        "apply.replica.h.0": document(state="standby"),
        "apply.replica2.h.3": document(rows=1000),
    }
    target = assemble("shop", documents, {"replica": {"a": 3, "b": 0}}, NOW).targets[0]
    assert (target.rows, target.rows_per_s, target.lag_records, target.lag_ms) == (17, 6.0, 3, 900)
    assert target.topics == {"a": 3}
    assert len(target.instances) == 3
    assert target.state == "running"
    standby = {"apply.replica.h.0": document(state="standby")}
    assert assemble("shop", standby, {"replica": {}}, NOW).targets[0].state == "standby"


def test_a_target_that_has_everything_has_no_lag_whatever_an_applier_said_last() -> None:
    documents = {"apply.replica.h.1": document(lag_ms=5000)}
    assert assemble("shop", documents, {"replica": {"a": 0}}, NOW).targets[0].lag_ms == 0


def test_a_log_that_is_about_to_be_given_up_is_warned_of_in_time() -> None:
    gib = 1 << 30
    assert log_note({"retained_bytes": 5 * gib}) is None
    assert log_note({"retained_bytes": gib, "log_left_bytes": 9 * gib, "log_bytes_per_s": 1000.0}) is None
    # Within the hour, however much is left; or little is left, however slowly it goes.
    note = log_note({"retained_bytes": gib, "log_left_bytes": 9 * gib, "log_bytes_per_s": 5.0 * (1 << 20)})
    assert note is not None
    assert "in about 31 minutes" in note
    assert log_note({"retained_bytes": 7 * gib, "log_left_bytes": 3 * gib}) is not None
    assert log_note({"retained_bytes": 7 * gib, "log_left_bytes": -gib}) is not None


def test_what_was_said_long_ago_is_shown_with_its_age(capsys: pytest.CaptureFixture[str]) -> None:
    documents = {"capture": document(age_s=9), "apply.replica.h.1": document(age_s=0.5)}
    render.status(assemble("shop", documents, {"replica": {}}, NOW))
    printed = capsys.readouterr().out
    assert printed.count("last heard of 9.0 s ago") == 1
    render.status(assemble("shop", {"capture": document("stopped", age_s=9)}, {}, NOW))
    assert "last heard" not in capsys.readouterr().out


class _Source:
    """A source that is asked how far its log goes, and no more."""

    capabilities = SimpleNamespace(counts_bytes=True)

    def current_position(self) -> Position:
        return Position(1000)

    def format_position(self, position: Position) -> str:
        return str(position.commit)

    def retained_bytes(self) -> None:
        return None

    log_left_bytes = close = retained_bytes


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        (Checkpoint(identity={"system": "1"}, position=Position(400)), ("400", 600)),
        # Its first start failed: it is nowhere, and not as far behind as the log is long.
        (Checkpoint(), (None, None)),
    ],
)
def test_a_capture_that_failed_is_as_far_behind_as_its_checkpoint_says(
    checkpoint: Checkpoint, said: tuple[object, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "reach_source", lambda _: _Source())
    monkeypatch.setattr(checkpoints, "read", lambda _: checkpoint)
    document = {
        "name": "shop",
        "kafka": {"bootstrap.servers": "127.0.0.1:1"},
        "source": {"engine": "postgresql", "host": "h", "database": "d", "user": "u", "tables": ["public.*"]},
    }
    settings = Settings.model_validate(document)
    monkeypatch.setattr(status.Observer, "documents", lambda _: {"capture": {"state": "failed", "ts_us": NOW}})
    monkeypatch.setattr(status, "applied_topics", lambda _: [])
    report = status.Observer(settings).look()
    assert (report.state, report.source["end"]) == ("failed", "1000")
    assert (report.source.get("position"), report.source.get("lag_bytes")) == said

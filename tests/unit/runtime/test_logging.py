"""Logs as JSON, with libraries' lines, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from threading import Thread

import pytest
import structlog

from runtime.logging import bind, configure, get_logger


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    requests = logging.getLogger("httpx")
    of_requests = requests.level
    yield
    requests.setLevel(of_requests)
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_has_the_event_its_fields_and_what_is_bound(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=True, level="info")
    bind(replication="shop")
    log = get_logger("capture.service")
    log.debug("unseen")
    # Whatever thread writes it.
    thread = Thread(target=lambda: log.warning("slot inactive", slot="tailrace_shop", lag_bytes=12))
    thread.start()
    thread.join()
    (line,) = lines(capsys)
    assert line.pop("timestamp")
    assert line == {
        "event": "slot inactive",
        "level": "warning",
        "logger": "capture.service",
        "replication": "shop",
        "slot": "tailrace_shop",
        "lag_bytes": 12,
    }


def test_libraries_lines_look_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=True)
    logging.getLogger("urllib3").warning("retrying %s", "x")
    (line,) = lines(capsys)
    assert (line["event"], line["logger"], line["level"]) == ("retrying x", "urllib3", "warning")


@pytest.mark.parametrize("level", ["debug", "info"])
def test_requests_are_told_of_where_all_is(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not between the events of an applier that makes thousands of them."""
    configure(json=True, level=level)
    logging.getLogger("httpx").info("HTTP Request: POST /gremlin")
    logging.getLogger("httpx").warning("a warning")
    assert [line["level"] for line in lines(capsys)] == (["info", "warning"] if level == "debug" else ["warning"])


def test_fields_with_secret_names_are_blanked(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=True)
    get_logger("x").info("connecting", password="p", Sasl_Password="p", key_token="p", user="u")
    (line,) = lines(capsys)
    assert "p" not in line.values()
    assert line["user"] == "u"


def test_an_exception_is_part_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=True)
    try:
        raise ValueError("broken")
    except ValueError:
        get_logger("x").exception("failed")
    (line,) = lines(capsys)
    assert "broken" in json.dumps(line["exception"])


def test_a_terminal_gets_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=False)
    get_logger("x").info("ready", port=1)
    text = capsys.readouterr().err
    assert "ready" in text
    assert "port=1" in text

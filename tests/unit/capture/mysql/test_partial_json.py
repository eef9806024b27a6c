"""Changes of JSON documents, as the log holds them, applied to a document's text."""

from __future__ import annotations

import pytest

from capture.sources.mysql.partial_json import patched_text
from schemas.changes import UNCHANGED
from schemas.errors import ErrorKind, TailraceError

REPLACE, INSERT, REMOVE = range(3)
TRUE, SEVEN = b"\x04\x01", b"\x05\x07\x00"


def change(operation: int, path: str, value: bytes = b"") -> bytes:
    """Return one change: an operation, a path and a value, the latter two behind their lengths."""
    tail = b"" if operation == REMOVE else bytes([len(value)]) + value
    return bytes([operation, len(path.encode())]) + path.encode() + tail


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ('{"a": 1.10, "b": [1, 2]}', [change(REPLACE, "$.a", SEVEN)], '{"a": 7, "b": [1, 2]}'),
        ('{"b": [1, 1.10]}', [change(INSERT, "$.b[1]", TRUE)], '{"b": [1, true, 1.10]}'),
        (
            '{"b": 1e300}',
            [change(INSERT, "$.aa", SEVEN), change(INSERT, "$.a", TRUE)],
            '{"a": true, "b": 1e300, "aa": 7}',
        ),
        ('{"x y": {"q\\"": [0, 1]}}', [change(REMOVE, '$."x y"."q\\""[0]')], '{"x y": {"q\\"": [1]}}'),
        ('{"a": "1"}', [change(REPLACE, "$.a[0]", SEVEN)], '{"a": 7}'),
        ("[]", [change(REPLACE, "$", TRUE)], "true"),
    ],
)
def test_changes_make_the_document_that_the_server_has(before: str, changes: list[bytes], after: str) -> None:
    assert patched_text(before, b"".join(changes)) == after


@pytest.mark.parametrize(
    ("path", "operation"), [("$.b", REPLACE), ("$.b", REMOVE), ("$.a.b", INSERT), ("$.a[1]", INSERT), ("$[", REPLACE)]
)
def test_changes_that_do_not_fit_are_never_guessed(path: str, operation: int) -> None:
    with pytest.raises(ValueError):
        patched_text('{"a": 1}', change(operation, path, SEVEN))


def test_a_change_of_an_unknown_document_says_what_to_set() -> None:
    with pytest.raises(TailraceError) as refused:
        patched_text(UNCHANGED, change(REMOVE, "$.a"))
    assert refused.value.kind is ErrorKind.PREREQUISITE
    assert "binlog_row_image" in (refused.value.remedy or "")

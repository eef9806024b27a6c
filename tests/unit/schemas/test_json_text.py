"""JSON that people wrote: what stands twice in one object is told with its place, whatever stands around it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.configuration import load
from schemas.errors import TailraceError
from schemas.json_text import read

RULE = '{"rule-type": "selection", "rule-id": "1", "rule-action": "include",\n "object-locator": %s}'
LOCATOR = '{"schema-name": "a", "table-name": "%"}'
TWICE = '{"schema-name": "hunter2",\n  "table-name": "%", "schema-name": "b"}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', 'says "a" twice, with different values (line 1, column 10)'),
        ('{"x": [{"a": {}}, {}, ":{\\"", {"b": 1,\n "c": [1],\n  "b": 2}], "b": 3}', '"b" twice, with different'),
        ('{"a": {"b": 1}, "é": 1, "\\u00e9": true}', "twice, with different values (line 1, column 25)"),
        ('{"a": 1, "b": {"c": 1, "c": 2}, "a": 2}', '"c" twice'),
        ('{"a": [1], "a": [1, 2]}', '"a" twice'),
        ('{"a": 1, "a": 1, "a": 1.0}', '"a" twice'),
        ('{"a": 1', "is no JSON (line 1, column 8)"),
    ],
)
def test_what_is_twice_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(text)
    assert said in str(caught.value)


def test_twice_the_same_is_taken_as_the_guide_has_it() -> None:
    assert read('{"rule-action": "add-column", "value": {"b": 1, "a": 2}, "rule-action": "add-column"}') == {
        "rule-action": "add-column",
        "value": {"b": 1, "a": 2},
    }


LEAVES = st.text() | st.integers() | st.booleans() | st.none()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_other_document_is_read_as_json_reads_it(document: Any) -> None:
    text = json.dumps(document)
    assert read(text) == document
    with pytest.raises(ValueError, match=r"line 3, column 2\)"):
        read(f'{{"": {text},\n"x": 1,\n "x": 2}}')


def _configuration(directory: Path, **more: Any) -> Path:
    path = directory / "shop.json"
    source = {"engine": "postgresql", "database": "d", "user": "u"}
    path.write_text(json.dumps({"name": "s", "kafka": {"bootstrap.servers": "b"}, "source": source, **more}))
    return path


@pytest.mark.parametrize("is_file", [True, False])
def test_mappings_that_say_a_thing_twice_are_refused(tmp_path: Path, is_file: bool) -> None:
    text = f'{{"rules": [\n{RULE % TWICE}]}}'
    (tmp_path / "mappings.json").write_text(text)
    with pytest.raises(TailraceError, match=r'table mappings.* says "schema-name" twice') as caught:
        load(_configuration(tmp_path, mappings="mappings.json" if is_file else text), {})
    assert "line 4, column 22" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_so_are_task_settings_and_a_task_that_holds_such_as_a_text(tmp_path: Path) -> None:
    twice = '{"FullLoadSettings": {"CommitRate": 1}, "FullLoadSettings": {"CommitRate": 2}}'
    mappings = f'{{"rules": [{RULE % LOCATOR}]}}'
    task = json.dumps({"ReplicationTaskIdentifier": "t", "TableMappings": mappings, "ReplicationTaskSettings": twice})
    for text in (twice, task):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(TailraceError, match='"FullLoadSettings" twice'):
            load(_configuration(tmp_path, mappings=mappings, settings="settings.json"), {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ('{"a": 1,}', "is no JSON (line 1, column 9): a comma with nothing behind it"),
        ('["a",\n]', "is no JSON (line 2, column 1): a comma with nothing behind it"),
        ('{ // b\n"a": 1}', "is no JSON (line 1, column 3): JSON has no comments"),
        ("{\u201ca\u201d: 1}", "is no JSON (line 1, column 2): typographic quotation marks instead of straight ones"),
        ('{"a": 1}, {"b": 2}', "is no JSON (line 1, column 9): something stands behind the document's end"),
        ('{"a" 1}', "is no JSON (line 1, column 6): expecting ':' delimiter"),
    ],
)
def test_what_is_wrong_with_a_text_is_told(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        read(text)

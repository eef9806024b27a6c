"""Documents of AWS DMS in a configuration: what is wrong with them is told of all at once, each with its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.configuration import load
from schemas.errors import TailraceError
from schemas.settings import Mode, parse

PLACE = {"schema-name": "shop", "table-name": "%"}
SELECTION = {"rule-type": "selection", "rule-id": "1", "rule-action": "include", "object-locator": PLACE}
RENAME = {
    "rule-type": "transformation",
    "rule-id": "7",
    "rule-action": "rename",
    "rule-target": "table",
    "object-locator": PLACE,
    "value": "x",
}
OBJECTS = {
    "rule-type": "object-mapping",
    "rule-id": "8",
    "rule-action": "map-record-to-record",
    "object-locator": PLACE,
    "target-table-name": "t",
    "mapping-parameters": {"partition-key-name": "id"},
}
SERVER = {"engine": "postgresql", "database": "d", "user": "u"}


def without(rule: dict[str, Any], name: str) -> dict[str, Any]:
    return {member: value for member, value in rule.items() if member != name}


def failure(directory: Path, *, source: Any = SERVER, target: Any = SERVER, **more: Any) -> list[str]:
    """Return the lines of what is wrong with a configuration; texts of files are made of documents."""
    base = {"name": "s", "kafka": {"bootstrap.servers": "b"}, "source": source, "targets": {"t": target}}
    (directory / "shop.yaml").write_text(json.dumps(base | more))
    with pytest.raises(TailraceError) as caught:
        load(directory / "shop.yaml", {})
    return [line.strip() for line in caught.value.message.splitlines()]


def test_each_document_is_told_with_its_file_and_all_of_them_at_once(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(json.dumps({"rules": [SELECTION | {"rule-action": "inclde"}]}))
    (tmp_path / "own.json").write_text(json.dumps({"rules": [without(RENAME, "value")]}))
    (tmp_path / "task.json").write_text(json.dumps({"FullLoadSettings": {"ComitRate": 1}}))
    target = SERVER | {"mappings": "own.json"}
    head, *lines = failure(tmp_path, target=target, mappings="rules.json", settings="task.json")
    assert head == f"3 problems in the configuration {tmp_path / 'shop.yaml'}:"
    assert [line.partition(" (docs")[0] for line in lines] == [
        "settings (task.json): the task settings cannot be followed:",
        "FullLoadSettings.ComitRate: unknown setting; did you mean CommitRate?",
        "mappings (rules.json): 1 problem in the table mappings:",
        "rule 1: rule-action: did you mean include? It should be 'include', 'exclude' or 'explicit'",
        "targets.t.mappings (own.json): 1 problem in the table mappings:",
        "rule 7: rename needs value",
    ]
    # Each says where more is to be found.
    assert [line.count("(docs/") for line in lines] == [0, 1, 0, 1, 0, 1]
    # Also where two lack the same.
    lines = failure(tmp_path, target=target, targets={"t": target, "u": target})
    assert [line.partition(":")[0] for line in lines if "own.json" in line] == [
        "targets.t.mappings (own.json)",
        "targets.u.mappings (own.json)",
    ]


@pytest.mark.parametrize(
    ("rules", "of_target", "more", "said"),
    [
        ([SELECTION], [SELECTION], {}, "targets.t.mappings: rule 1 of own.json: selection rules say what is captured"),
        ([SELECTION], [OBJECTS], {}, "the document: rule 8 of own.json: targets.t knows no object mapping"),
        ([SELECTION, OBJECTS], [], {}, "the document: rule 8 of rules.json: object mapping, and no target"),
        ([RENAME], [], {"source": SERVER}, "source.tables: is required"),
        ([SELECTION], [], {"source": SERVER | {"tables": ["a.b"]}}, "mappings (rules.json): both source.tables and"),
        ([SELECTION | {"rule-action": "exclude"}], [], {}, "mappings (rules.json): the table mappings select"),
    ],
)
def test_so_is_what_does_not_go_with_the_rest(
    tmp_path: Path, rules: list[Any], of_target: list[Any], more: dict[str, Any], said: str
) -> None:
    (tmp_path / "rules.json").write_text(json.dumps({"rules": rules}))
    (tmp_path / "own.json").write_text(json.dumps({"rules": of_target}))
    target = SERVER | ({"mappings": "own.json"} if of_target else {})
    lines = failure(tmp_path, target=target, mappings="rules.json", **more)
    assert lines[1].startswith(said)


def test_a_rule_at_capture_in_a_targets_document_is_told_with_its_file(tmp_path: Path) -> None:
    mask = RENAME | {"rule-action": "data-masking-hash-mask", "rule-target": "column", "at": "capture"}
    mask = without(mask, "value") | {"object-locator": PLACE | {"column-name": "c"}}
    (tmp_path / "own.json").write_text(json.dumps({"rules": [mask]}))
    lines = failure(tmp_path, source=SERVER | {"tables": ["a.b"]}, target=SERVER | {"mappings": "own.json"})
    assert lines[1].startswith("the document: rule 7 of own.json: `at: capture` belongs")


def test_a_task_that_is_named_twice_is_told_once(tmp_path: Path) -> None:
    task = {"MigrationType": "cdc", "TableMappings": {"rules": [SELECTION]}, "ReplicationTaskSettings": {"Logging": {}}}
    (tmp_path / "task.json").write_text(json.dumps(task | {"CdcStopPosition": "server_time:2026-11-29T12:00:00"}))
    head, line = failure(tmp_path, mappings="task.json", settings="task.json")
    assert head.startswith("1 problem in ")
    assert line.startswith("settings (task.json): CdcStopPosition: ")
    (tmp_path / "task.json").write_text(json.dumps(task | {"SupplementalSettings": "{"}))
    head, line = failure(tmp_path, mappings="task.json", settings="task.json")
    assert line.startswith("settings (task.json): SupplementalSettings: is no JSON (line 1, column 2): ")


def test_endpoint_settings_are_told_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "endpoint.json").write_text(json.dumps({"EngineName": "mysql", "DatabasName": "d"}))
    section = SERVER | {"endpoint_settings": "endpoint.json"}
    lines = failure(tmp_path, source=section | {"tables": ["a.b"]}, target=section)
    assert [line.partition(": ")[0] for line in lines[1:]] == ["source", "targets.t"]
    assert all("endpoint_settings (endpoint.json): DatabasName: unknown part" in line for line in lines[1:])
    (tmp_path / "endpoint.json").write_text(json.dumps({"EngineName": "mysql", "DatabaseName": "d"}))
    lines = failure(tmp_path, source=SERVER | {"tables": ["a.b"]}, target=section)
    assert "endpoint_settings (endpoint.json): EngineName: mysql is for mysql" in lines[1]


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"mappings": "{"}, "table mappings in the configuration"),
        ({"target": SERVER | {"mappings": "{"}}, "table mappings in `targets.t` of the configuration"),
        ({"source": SERVER | {"endpoint_settings": "{"}}, "endpoint settings in `source` of the configuration"),
    ],
)
def test_a_text_that_is_no_json_is_told_with_its_place(tmp_path: Path, more: dict[str, Any], place: str) -> None:
    (line,) = failure(tmp_path, **more)
    assert f"the document of {place} {tmp_path / 'shop.yaml'} is no JSON (line 1, column 2)" in line


def test_documents_within_the_configuration_are_told_by_their_place() -> None:
    base = {"name": "s", "kafka": {"bootstrap.servers": "b"}, "source": SERVER}
    with pytest.raises(TailraceError, match=r"mappings: 1 problem in the table mappings:\n    rule 7: rename needs"):
        parse(base | {"mappings": {"rules": [without(RENAME, "value")]}})
    found = parse(base | {"mappings": {"MigrationType": "cdc", "TableMappings": {"rules": [SELECTION]}}})
    assert (found.mode, found.source.tables) == (Mode.CDC, ["shop.*"])

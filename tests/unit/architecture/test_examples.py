"""The configurations that the documents show are read as settings, whole or in the place of a whole one's sections."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.configuration import load
from schemas.errors import TailraceError
from schemas.settings import Settings
from tests.unit.architecture.tree import files, text
from tests.unit.schemas.test_task_document import MAPPINGS, task

WHOLE: dict[str, Any] = {
    "name": "shop",
    "kafka": {"bootstrap.servers": "kafka:9092"},
    "source": {"host": "db", "database": "shop", "user": "capture", "password": "p", "tables": ["public.*"]},
}
"""What stands around an example that is a part."""
ENDPOINTS = {
    "Endpoints": [
        {
            "EndpointIdentifier": role.lower(),
            "EndpointType": role,
            "EngineName": "postgres",
            "ServerName": "db",
            "Port": 5432,
            "DatabaseName": "shop",
            "Username": "dms",
        }
        for role in ("SOURCE", "TARGET")
    ]
}
UPPERCASE = {
    "rule-type": "transformation",
    "rule-id": "1",
    "rule-name": "1",
    "rule-target": "table",
    "object-locator": {"schema-name": "%", "table-name": "%"},
    "rule-action": "convert-uppercase",
}
VERTEX = {
    "rule_id": "1",
    "rule_name": "1",
    "table_name": "orders",
    "vertex_definitions": [{"vertex_id_template": "{id}", "vertex_label": "order", "vertex_definition_id": "1"}],
}
FILES: dict[str, Any] = {
    "table-mappings.json": MAPPINGS,
    "reports.json": {"rules": [UPPERCASE]},
    "items.json": {"rules": [UPPERCASE]},
    "task-settings.json": {},
    "tasks.json": {"ReplicationTasks": [task()]},
    "endpoints.json": ENDPOINTS,
    "graph.json": {"rules": [VERTEX]},
}
"""What the examples name, in the configuration's directory."""

EXAMPLES = [
    (path, textwrap.dedent(found[2]))
    for path in files()
    if path.suffix == ".md"
    for found in re.finditer(r"^( *)```yaml\n(.*?)^\1```$", text(path), re.DOTALL | re.MULTILINE)
]


def _within(whole: Any, part: Any) -> Any:
    """Return a document with a part in its place: over what is there, unless that is a section of another engine."""
    if not isinstance(whole, dict) or not isinstance(part, dict):
        return part
    if "engine" in part and part["engine"] != whole.get("engine", "postgresql"):
        return part
    return {**whole, **{name: _within(whole.get(name), value) for name, value in part.items()}}


def _completed(part: Any, around: Any) -> Any:
    """Return an example as a whole: one that has a name is that already."""
    if "name" in part:
        return part
    if not part.keys() & Settings.model_fields.keys():
        part = {"targets": dict.fromkeys(around["targets"], part)}
    return _within(around, part)


@pytest.mark.parametrize(("path", "example"), EXAMPLES, ids=[str(path) for path, _ in EXAMPLES])
def test_examples_of_configurations_are_read(path: Path, example: str, tmp_path: Path) -> None:
    for name, document in FILES.items():
        (tmp_path / name).write_text(json.dumps(document))
    # Parts of a page stand in the place of those of its first example.
    first = next(found for page, found in EXAMPLES if page == path)
    whole = json.dumps(_completed(yaml.safe_load(example), _completed(yaml.safe_load(first), WHOLE)))
    # A secret's file has its place on the reader's machine.
    whole = re.sub(r"\$\{file:/[^}]*\}", "p", whole)
    configuration = tmp_path / "shop.yaml"
    configuration.write_text(whole)
    load(configuration, dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", whole), "p"))


def test_examples_are_found() -> None:
    assert len(EXAMPLES) > 20


def test_an_example_with_a_setting_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TailraceError, match="no_setting: unknown setting"):
        test_examples_of_configurations_are_read(Path("docs/ordering.md"), "apply: {no_setting: 1}", tmp_path)

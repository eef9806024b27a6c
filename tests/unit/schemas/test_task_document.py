"""Whole tasks of AWS DMS, where one of their documents is named: `describe-replication-tasks`, serverless replications,
CloudFormation's resources.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.configuration import load
from schemas.errors import TailraceError
from schemas.mappings import rules
from schemas.settings import Settings, parse
from schemas.task_settings import document as task_settings

MAPPINGS = {
    "rules": [
        {
            "rule-type": "selection",
            "rule-id": "1",
            "rule-name": "1",
            "object-locator": {"schema-name": "crm", "table-name": "%"},
            "rule-action": "include",
        }
    ]
}
SETTINGS = {"FullLoadSettings": {"CommitRate": 700}, "Logging": {"EnableLogging": True, "CloudWatchLogGroup": "g"}}


def task(**more: Any) -> dict[str, Any]:
    """Return a task as DMS describes it: its documents are texts."""
    return {
        "ReplicationTaskIdentifier": "crm",
        "SourceEndpointArn": "arn:aws:dms:eu-west-1:123456789012:endpoint:S",
        "TargetEndpointArn": "arn:aws:dms:eu-west-1:123456789012:endpoint:T",
        "ReplicationInstanceArn": "arn:aws:dms:eu-west-1:123456789012:rep:I",
        "MigrationType": "cdc",
        "TableMappings": json.dumps(MAPPINGS, indent=1),
        "ReplicationTaskSettings": json.dumps(SETTINGS),
        "Status": "stopped",
        "StopReason": "Stop Reason NORMAL",
        "ReplicationTaskCreationDate": 1700000000.0,
        "RecoveryCheckpoint": "checkpoint:V1#1#0000#0#0#*#0#0",
        "ReplicationTaskArn": "arn:aws:dms:eu-west-1:123456789012:task:A",
        "ReplicationTaskStats": {"FullLoadProgressPercent": 100},
    } | more


def serverless(**more: Any) -> dict[str, Any]:
    return {
        "ReplicationConfigIdentifier": "crm",
        "ReplicationType": "full-load",
        "ComputeConfig": {"MaxCapacityUnits": 4, "MultiAZ": False},
        "ReplicationSettings": json.dumps(SETTINGS),
        "SupplementalSettings": "",
        "TableMappings": json.dumps(MAPPINGS),
    } | more


def settings(document: Any, **more: Any) -> Settings:
    source = {"user": "u", "database": "d"}
    base = {"name": "crm", "kafka": {"bootstrap.servers": "b"}, "source": source}
    return parse(base | {"mappings": document, "settings": document} | more)


@pytest.mark.parametrize(
    ("document", "mode"),
    [
        ({"ReplicationTasks": [task()], "Marker": "x"}, "cdc"),
        ({"ReplicationTask": task()}, "cdc"),
        (task(MigrationType="full-load-and-cdc"), "full-load-and-cdc"),
        ({"ReplicationConfigs": [serverless()]}, "full-load"),
        ({"ReplicationConfig": serverless(SupplementalSettings="{}")}, "full-load"),
        (task(TableMappings=MAPPINGS, ReplicationTaskSettings=SETTINGS), "cdc"),
    ],
)
def test_both_documents_and_the_kind_of_task_are_found(document: Any, mode: str) -> None:
    found = settings(document)
    assert (found.apply.batch_rows, found.source.tables, str(found.mode)) == (700, ["crm.*"], mode)
    # What the configuration says itself stands.
    assert str(settings(document, mode="full-load").mode) == "full-load"


def test_a_file_of_a_task_is_named_twice(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps({"ReplicationTasks": [task()]}))
    source = {"user": "u", "database": "d"}
    document = {"name": "crm", "kafka": {"bootstrap.servers": "b"}, "source": source}
    (tmp_path / "crm.yaml").write_text(json.dumps(document | {"mappings": "tasks.json", "settings": "tasks.json"}))
    assert load(tmp_path / "crm.yaml", {}).apply.batch_rows == 700


@pytest.mark.parametrize(
    ("document", "more", "said"),
    [
        ({"ReplicationTasks": [task(), task(ReplicationTaskIdentifier="hr")]}, {}, "there are: crm, hr"),
        ({"ReplicationTasks": []}, {}, "there are: none"),
        (task(TableMappings=None), {"settings": None}, "TableMappings: the task has none"),
        (task(ReplicationTaskSettings="{"), {}, "ReplicationTaskSettings: is no JSON (line 1, column 2)"),
        (task(CdcStartPosition="mysql-bin.000024:373"), {}, "CdcStartPosition: say it as `start_position`"),
        (task(CdcStopPosition="server_time:2026-11-29T12:00:00"), {}, "CdcStopPosition: `tailrace signal pause --at"),
        (serverless(SupplementalSettings='{"A": 1}'), {}, "SupplementalSettings: AWS documents nothing"),
        (task(MigrationType="everything"), {}, "mode: "),
    ],
)
def test_what_a_task_asks_for_and_is_not_done_is_named(document: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(TailraceError) as caught:
        settings(document, **more)
    assert said in caught.value.message


def test_a_start_counts_only_where_changes_alone_are_taken_and_is_said_once() -> None:
    started = task(CdcStartPosition="mysql-bin.000024:373")
    assert settings(started, start_position="now").start_position == "now"
    assert settings(started | {"MigrationType": "full-load"}).start_position is None


def test_commands_that_read_one_document_find_it_in_a_task() -> None:
    (rule,) = rules.parse({"ReplicationTasks": [task()]}).rules
    assert rule.rule_id == "1"
    assert task_settings.parse(serverless()).stated["FullLoadSettings.CommitRate"] == 700

"""Task settings of AWS DMS: every documented key has its standing; what a document means is what our settings say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runtime.configuration import load
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings, parse
from schemas.substitution import ValueSettings
from schemas.task_settings import document as task_settings
from schemas.task_settings import translation
from schemas.task_settings.keys import Standing
from schemas.task_settings.table import KEYS, LISTS
from tests.unit.schemas.task_settings.documented import PATHS, SAVED
from tests.unit.schemas.task_settings.honoured import HONOURED

SOURCE = {"engine": "postgresql", "database": "shop", "user": "u", "tables": ["public.*"]}
TARGET = {"engine": "postgresql", "database": "copy", "user": "u"}


def settings(document: dict[str, Any], **more: Any) -> Settings:
    base = {"name": "shop", "kafka": {"bootstrap.servers": "b"}, "source": SOURCE, "targets": {"copy": TARGET}}
    return parse(base | more | {"settings": document})


def failure(document: dict[str, Any]) -> str:
    with pytest.raises(TailraceError) as caught:
        task_settings.parse(document)
    assert caught.value.kind is ErrorKind.CONFIGURATION
    return caught.value.message


def test_every_documented_key_has_a_standing_and_no_other_key_is_known() -> None:
    assert PATHS.keys() == KEYS.keys()


def test_every_key_that_is_called_honoured_is_shown_to_be() -> None:
    """What it means, and where that is seen to happen: a test that is there and speaks of it."""
    assert HONOURED.keys() == {path for path, key in KEYS.items() if key.standing is Standing.HONOURED}
    tests = Path(__file__).parents[3]
    for path, meanings in HONOURED.items():
        for meaning in meanings:
            place, _, name = meaning.shown_by.partition("::")
            code = (tests / place).read_text(encoding="utf-8")
            assert re.search(rf"^def {name}\(", code, re.MULTILINE), f"{path}: no test {meaning.shown_by}"
            words = [path.rpartition(".")[2]]
            words += [meaning.setting.rpartition(".")[2]] if isinstance(meaning.setting, str) else []
            assert any(word in code for word in words), f"{path}: {place} does not speak of {words}"


@pytest.mark.parametrize("path", HONOURED)
def test_a_key_that_is_honoured_means_what_it_should(path: str) -> None:
    for meaning in HONOURED[path]:
        document: dict[str, Any] = {}
        for key, value in {path: meaning.value, **meaning.beside}.items():
            *groups, name = key.split(".")
            inner: Any = document
            for depth, group in enumerate(groups, 1):
                inner = inner.setdefault(group, [{}] if ".".join(groups[:depth]) in LISTS else {})
                inner = inner[0] if isinstance(inner, list) else inner
            inner[name] = value
        found: Any = settings(document)
        if not isinstance(meaning.setting, str):
            found = meaning.setting(found)
        else:
            for step in meaning.setting.split("."):
                found = getattr(found, step)
        assert found == meaning.expected, f"{path}: {meaning.value}"


@pytest.mark.parametrize("path", KEYS)
def test_a_key_says_what_it_means_and_takes_the_default_of_dms(path: str) -> None:
    key = KEYS[path]
    assert key.meaning
    assert key.here or key.standing is Standing.HONOURED
    # What DMS does of itself, Tailrace must not refuse.
    assert key.default is None or (key.kind.takes(key.default) and not key.refuses(key.default))


def test_a_document_as_dms_saves_it_runs(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(json.dumps(SAVED))
    configuration = {"name": "shop", "kafka": {"bootstrap.servers": "b"}, "source": SOURCE, "settings": "task.json"}
    (tmp_path / "shop.yaml").write_text(json.dumps(configuration))
    found = load(tmp_path / "shop.yaml", {})
    assert found.settings is not None
    assert (found.capture.load_processes, found.apply.batch_rows) == (8, 10_000)
    assert found.apply.ordering == "transactional"


def test_what_a_document_states_is_said_in_our_settings_and_nothing_else_is() -> None:
    plain = parse({"name": "shop", "kafka": {"bootstrap.servers": "b"}, "source": SOURCE, "targets": {"copy": TARGET}})
    nothing = settings({"TargetMetadata": None, "ErrorBehavior": {}})
    assert nothing.model_dump(exclude={"settings"}) == plain.model_dump(exclude={"settings"})
    batch = settings(
        {
            "TargetMetadata": {"BatchApplyEnabled": True},
            "ChangeProcessingTuning": {"BatchApplyTimeoutMin": 3, "BatchSplitSize": 500, "BatchApplyMemoryLimit": 35},
            "FullLoadSettings": {"CommitRate": 700},
            "ErrorBehavior": {"DataErrorPolicy": "STOP_TASK"},
        }
    ).apply
    assert (batch.ordering, batch.linger_ms, batch.batch_rows, batch.batch_bytes) == ("per-key", 3000, 500, 5 << 20)
    assert str(batch.errors.row_rejected) == "stop"
    assert str(batch.errors.row_conflict) == "park"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"Insert": "INSERT_RECORD", "Update": "UPDATE_RECORD"}, ("apply", "apply", "apply", 0, "suspend")),
        ({"Insert": "STOP_TASK", "Update": "SUSPEND_TABLE"}, ("stop", "suspend", "apply", 0, "suspend")),
        ({"Delete": "IGNORE_RECORD", "EscalationCount": 9}, ("apply", "apply", "apply", 0, "suspend")),
        (
            {"Delete": "IGNORE_RECORD", "EscalationCount": 9, "Escalation": "STOP_TASK"},
            ("apply", "apply", "skip", 9, "stop"),
        ),
        ({"Delete": "LOG_ERROR"}, ("apply", "apply", "skip", 0, "suspend")),
    ],
)
def test_conflicts_have_the_policies_that_the_document_says(
    stated: dict[str, Any], expected: tuple[str, str, str, int, str]
) -> None:
    keys = {f"ApplyError{name}" + ("" if name.endswith("Count") else "Policy"): v for name, v in stated.items()}
    found = settings({"ErrorBehavior": keys}).apply.errors
    assert (
        str(found.insert_conflict),
        str(found.update_conflict),
        str(found.delete_conflict),
        found.conflict_escalation_rows,
        str(found.conflict_escalation),
    ) == expected


def test_a_saved_document_means_what_it_states() -> None:
    saved = settings(SAVED)
    assert (saved.apply.linger_ms, saved.apply.linger_rows) == (1000, 1000)
    assert str(saved.apply.errors.row_rejected) == str(saved.apply.errors.row_conflict) == "skip"
    assert (saved.apply.errors.escalation_rows, str(saved.apply.errors.escalation)) == (0, "suspend")
    assert (saved.retry.interval_s, saved.retry.interval_max_s, saved.retry.ends_at_longest) == (5, 1800, True)
    assert (saved.retry.attempts_max, saved.apply.retry_for_s) == (None, 604_800)
    found = saved.apply.errors
    assert [str(p) for p in (found.insert_conflict, found.update_conflict, found.delete_conflict)] == [
        "skip", "skip", "apply",
    ]  # fmt: skip
    assert found.conflict_escalation_rows == 0
    assert saved.apply.values.lob_max_kb == 32
    assert {str(policy) for policy in saved.ddl.model_dump().values()} == {"apply"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"ErrorBehavior": {"ApplyErrorFailOnTruncationDdl": True}}, ("apply", "stop", "apply")),
        (
            {"ChangeProcessingDdlHandlingPolicy": {"HandleSourceTableTruncated": False}},
            ("apply", "ignore", "apply"),
        ),
        (
            {
                "ChangeProcessingDdlHandlingPolicy": {
                    "HandleSourceTableAltered": False,
                    "HandleSourceTableDropped": False,
                }
            },
            ("ignore", "apply", "ignore"),
        ),
    ],
)
def test_schema_changes_are_handled_as_the_document_says(
    document: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    found = settings(document).ddl
    assert (str(found.altered), str(found.truncated), str(found.dropped)) == expected
    # One word of the configuration's own stands against it.
    assert str(settings(document, ddl="suspend").ddl.altered) == "suspend"


def test_values_are_changed_as_the_document_says() -> None:
    characters = {
        "CharacterReplacements": [
            {"SourceCharacterCodePoint": 35, "TargetCharacterCodePoint": 52},
            {"SourceCharacterCodePoint": "2FB6", "TargetCharacterCodePoint": 0},
        ],
        "CharacterSetSupport": {"CharacterSet": "UTF16_PlatformEndian", "ReplaceWithCharacterCodePoint": 0},
    }
    lobs = {"LimitedSizeLobMode": True, "LobMaxSize": 64}
    values = settings({"CharacterSetSettings": characters, "TargetMetadata": lobs}).apply.values
    assert values == ValueSettings(
        lob_max_kb=64, characters={"35": "52", "2FB6": "0"}, character_set="UTF16_PlatformEndian"
    )
    assert settings({"TargetMetadata": lobs | {"FullLobMode": True}}).apply.values.lob_max_kb is None
    assert settings({"TargetMetadata": {"LobMaxSize": 64}}).apply.values.lob_max_kb is None
    (line,) = failure(
        {"CharacterSetSettings": {"CharacterReplacements": [{"SourceCharacterCodePoint": "x"}]}}
    ).splitlines()[1:]
    assert line.endswith("[0].SourceCharacterCodePoint: should be code point in hexadecimal digits")


def test_what_the_configuration_says_itself_stands_and_is_told() -> None:
    document = {"FullLoadSettings": {"CommitRate": 700, "MaxFullLoadSubTasks": 3}}
    found = settings(document, apply={"batch_rows": 5})
    assert (found.apply.batch_rows, found.capture.load_processes) == (5, 3)
    assert found.settings is not None
    (note,) = translation.findings(found.settings, found)
    assert note.message.startswith("FullLoadSettings.CommitRate: `apply.batch_rows` is 5")


@pytest.mark.parametrize("target", [{"engine": "stdout"}, {"engine": "files", "directory": "copies"}])
def test_transactions_are_kept_whole_where_all_targets_can(target: dict[str, Any]) -> None:
    document = {"TargetMetadata": {"BatchApplyEnabled": False}}
    found = settings(document, targets={"copy": TARGET, "other": target})
    assert found.apply.ordering == "per-key"
    assert found.settings is not None
    (note,) = translation.findings(found.settings, found)
    assert "BatchApplyEnabled" in note.message


def test_the_targets_schema_is_a_rule_that_renames_all() -> None:
    found = settings({"TargetMetadata": {"TargetSchema": "landing"}})
    (rule,) = found.transformations("copy")
    assert (rule.rule_target, rule.object_locator.schema_name, rule.value) == ("schema", "%", "landing")
    assert settings({"TargetMetadata": {"TargetSchema": ""}}).transformations("copy") == []


def test_what_is_not_understood_or_not_done_is_named_all_at_once() -> None:
    lines = failure(
        {
            "TargetMetadata": {"TargetShema": "x", "LobMaxSize": "big", "MaxFullLoadSubTask": 3, "CommitRate": 3},
            "FulLoadSettings": {},
            "FullLoadSettings": [],
            "Logging": {"LogComponents": [{"Id": "SORTER"}, {"Id": "SORTER", "Severty": "x"}]},
            "ValidationSettings": {"ValidationOnly": True},
            "ErrorBehavior": {"RecoverableErrorCount": True, "DataErrorPolicy": "STOP"},
        }
    ).splitlines()[1:]
    assert [line.strip() for line in lines] == [
        "TargetMetadata.TargetShema: unknown setting; did you mean TargetSchema?",
        "TargetMetadata.LobMaxSize: should be integer, 0 to 2097152",
        "TargetMetadata.MaxFullLoadSubTask: unknown setting; did you mean MaxFullLoadSubTasks?",
        "TargetMetadata.CommitRate: unknown setting; did you mean FullLoadSettings.CommitRate?",
        "FulLoadSettings: unknown setting; did you mean FullLoadSettings?",
        "FullLoadSettings: is a group of settings, not list",
        "Logging.LogComponents[1].Severty: unknown setting; did you mean Severity?",
        "ValidationSettings.ValidationOnly: not supported with this value: "
        + KEYS["ValidationSettings.ValidationOnly"].here,
        "ErrorBehavior.RecoverableErrorCount: should be integer, -1 or more",
        "ErrorBehavior.DataErrorPolicy: should be `IGNORE_RECORD`, `LOG_ERROR`, `SUSPEND_TABLE`, `STOP_TASK`",
    ]


def test_numbers_and_truths_may_be_texts() -> None:
    """As scripts write them that fill templates."""
    said = task_settings.parse({"TargetMetadata": {"LimitedSizeLobMode": "True", "LobMaxSize": "48"}})
    assert said.stated == {"TargetMetadata.LimitedSizeLobMode": True, "TargetMetadata.LobMaxSize": 48}
    assert "LobMaxSize: should be integer" in failure({"TargetMetadata": {"LobMaxSize": "-1"}})
    assert "SupportLobs: should be true or false" in failure({"TargetMetadata": {"SupportLobs": "yes"}})


def test_a_document_of_table_mappings_is_sent_to_its_place() -> None:
    with pytest.raises(TailraceError, match="are a document of table mappings") as caught:
        task_settings.parse({"rules": []})
    assert "`mappings`" in (caught.value.remedy or "")
    with pytest.raises(ValueError, match="name it at `mappings`"):
        task_settings.checked({"rules": []})


def test_no_value_is_repeated_in_what_plan_says() -> None:
    found = task_settings.findings(task_settings.parse(SAVED | {"TTSettings": {"TTS3Settings": {"BucketName": "b-1"}}}))
    assert found
    assert not any("b-1" in finding.message for finding in found)
    buffers = [f.message for f in found if "StreamBufferCount" in f.message]
    assert len(buffers) == 1
    assert buffers[0].startswith("StreamBufferSettings.StreamBufferCount, StreamBufferSettings.StreamBufferSizeInMB, ")
    assert buffers[0].endswith("CtrlStreamBufferSizeInMB: meaningless here: Kafka stands between the two")

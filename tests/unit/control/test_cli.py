"""The command line without servers: exit codes, messages, reference pages."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from control import cli, contact, dev, reference, reset, topics
from runtime import exit_codes
from runtime.configuration import load
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from tests.kit.command_line import process_restored, run

CONFIGURATION = """
name: shop
kafka: {bootstrap.servers: "127.0.0.1:9"}
source: {engine: postgresql, database: shop, user: capture, tables: ["public.*"]}
targets:
  replica: {engine: postgresql, database: replica, user: apply}
"""


@pytest.fixture(autouse=True)
def _process_restored() -> Iterator[None]:
    with process_restored():
        yield


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(CONFIGURATION)
    return path


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_of_error_has_an_exit_code_and_is_told(kind: ErrorKind, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise TailraceError(kind, "it broke", remedy="mend it", table="public.t", position="0/1")

    configuration = kind in {ErrorKind.CONFIGURATION, ErrorKind.PREREQUISITE}
    assert cli.guarded(fail) == (exit_codes.CONFIGURATION if configuration else exit_codes.STOPPED)
    told = capsys.readouterr().err
    assert "it broke" in told
    assert "mend it" in told
    assert "public.t" in told


def test_an_interrupted_command_says_so() -> None:
    def interrupt() -> None:
        raise typer.Abort

    assert cli.guarded(interrupt) == exit_codes.INTERNAL


def test_the_code_that_a_command_returns_is_the_exit_code() -> None:
    assert cli.guarded(lambda: exit_codes.DIFFERENT) == exit_codes.DIFFERENT
    assert cli.guarded(lambda: None) == exit_codes.OK


def test_a_configuration_is_checked_without_a_connection(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("settings", "check", str(configuration)) == exit_codes.OK
    assert "replication shop, 1 target" in capsys.readouterr().out


def test_nothing_but_a_commands_answer_is_on_its_output(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("settings", "check", str(configuration))
    capsys.readouterr()
    for name in ("runtime.kafka.client", "runtime.status"):
        get_logger(name).warning("a complaint")
        get_logger(name).error("an error")
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("an error") == 2
    assert "complaint" not in errors


def test_an_unknown_setting_is_refused_with_the_nearest_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(CONFIGURATION + "captrue: {commit_rows: 5}\n")
    assert run("settings", "check", str(path)) == exit_codes.CONFIGURATION
    assert "did you mean capture?" in capsys.readouterr().err


def test_an_unknown_target_is_refused_with_the_known_ones(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", "run", str(configuration), "--target", "nowhere") == exit_codes.CONFIGURATION
    assert "replica" in capsys.readouterr().err


def test_a_reset_that_is_not_confirmed_changes_nothing(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def step() -> list[str]:
        done.append("done")
        return done

    monkeypatch.setattr(contact, "reach_kafka", lambda _: None)
    monkeypatch.setattr(reset, "plan", lambda *_, **__: [reset.Step("remove it", step)])
    refused = CliRunner().invoke(cli.app, ["reset", str(configuration)], input="n\n", standalone_mode=False)
    assert (refused.return_value, done) == (exit_codes.OK, [])
    assert "nothing was changed" in refused.output
    agreed = CliRunner().invoke(cli.app, ["reset", str(configuration)], input="y\n", standalone_mode=False)
    assert (agreed.return_value, done) == (exit_codes.OK, ["done"])


@pytest.mark.parametrize("stdin", [io.StringIO(), None], ids=["empty", "closed"])
def test_a_reset_that_nobody_answers_says_what_to_give(
    configuration: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stdin: io.StringIO | None,
) -> None:
    monkeypatch.setattr(contact, "reach_kafka", lambda _: None)
    monkeypatch.setattr(reset, "plan", lambda *_, **__: [])
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("reset", str(configuration)) == exit_codes.CONFIGURATION
    said = capsys.readouterr().err
    assert "give --yes" in said
    assert "Interrupted" not in said


def test_printed_commands_are_called_as_this_one_was(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/tailrace", "dev", "up"])
    printed = dev.commands(configuration, Path("my data"))
    assert printed[0] == f"  .venv/bin/tailrace plan {configuration}"
    assert printed[-1] == "`.venv/bin/tailrace dev down --directory 'my data'` stops the servers."
    assert dev.commands(configuration, None)[-1] == "`.venv/bin/tailrace dev down` stops the servers."
    monkeypatch.setattr(sys, "argv", [str(cli.__file__), "dev", "up"])
    assert shlex.split(dev.commands(configuration, None)[0])[:4] == [sys.executable, "-m", "control.cli", "plan"]


def test_a_command_that_reads_a_topic_names_it_last(configuration: Path) -> None:
    shown = topics.commands(
        load(configuration), None, read="tailrace debug read shop.yaml", scripts=configuration.parent / "bin"
    )
    assert shown[0][1] == "tailrace debug read shop.yaml shop.SCHEMA.TABLE"


def test_an_unknown_option_is_a_configuration_error() -> None:
    assert run("plan", "--bogus") == exit_codes.CONFIGURATION


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == exit_codes.OK
    assert capsys.readouterr().out.startswith("tailrace ")


def test_the_json_schema_of_the_configuration_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("settings", "schema") == exit_codes.OK
    assert "source" in json.loads(capsys.readouterr().out)["properties"]


def test_every_command_has_help() -> None:
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    for name in ("capture", "apply", "plan", "status", "verify", "topics", "reset", "parked", "dev"):
        assert name in result.output


@pytest.mark.parametrize("group", ["", "capture", "apply", "parked", "signal", "mappings", "debug", "settings", "dev"])
def test_lists_of_commands_say_what_each_does_in_whole_sentences(group: str) -> None:
    """What does not fit into a line of 80 characters ends in dots."""
    told = CliRunner(env={"COLUMNS": "80"}).invoke(cli.app, [group, "--help"] if group else ["--help"]).output
    assert [line for line in told.splitlines() if line.endswith("...") and not line.startswith("Usage")] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metrics-port", "99999"), "--metrics-port"),
        (("--log-level", "loud"), "--log-level"),
        (("--target", "replcia"), "known: replica"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_by_name(
    arguments: tuple[str, ...], said: str, configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", "run", str(configuration), "--target", "replica", *arguments) == exit_codes.CONFIGURATION
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("service", [("capture",), ("apply", "--target", "replica")])
def test_metrics_are_served_at_the_address_that_is_asked_for(
    service: tuple[str, ...], configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that no machine has: a service says so before it asks for Kafka."""
    name, *target = service
    arguments = (name, "run", str(configuration), *target, "--metrics-port", "0", "--metrics-address", "192.0.2.1")
    assert run(*arguments) == exit_codes.CONFIGURATION
    assert "cannot serve metrics on 192.0.2.1:0" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "said"), [("", "is empty"), ("- a", "is no mapping"), ("# only this", "is empty")])
def test_a_file_without_settings_is_named(
    content: str, said: str, configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration.write_text(content)
    assert run("plan", str(configuration)) == exit_codes.CONFIGURATION
    told = capsys.readouterr().err
    assert f"{configuration} {said}" in told
    assert "remedy: docs/first-steps.md" in told


def test_a_document_of_rules_that_is_checked_by_itself_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.json"
    path.write_text('{"rules": [{"rule-type": "selection", "rule-id": "4"}]}')
    assert run("mappings", "check", str(path)) == exit_codes.CONFIGURATION
    told = " ".join(capsys.readouterr().err.split())
    assert f"2 problems in the table mappings {path}: rule 4: object-locator is missing" in told


def test_no_reference_page_shows_what_only_python_calls_so() -> None:
    inner = re.compile(r"PydanticUndefined|<class |None`")
    assert [name for name, page in reference.PAGES.items() if inner.search(page())] == []


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_the_reference_page_is_up_to_date(name: str) -> None:
    written = (reference.DIRECTORY / name).read_text(encoding="utf-8")
    assert written == reference.PAGES[name](), "run `python -m control.reference`"

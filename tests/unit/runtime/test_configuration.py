"""Reading configurations: references, and errors without values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runtime.configuration import load, resolve
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError

TEXT = """\
name: shop
kafka: {bootstrap.servers: "${HOST}:9092"}
source:
  database: shop
  user: capture
  port: ${PORT}
  password: ${file:secrets/password}
  tables: ["public.*", "!public.audit_*"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "password").write_text("s3cret\n")
    path = tmp_path / "shop.yaml"
    path.write_text(TEXT)
    return path


def failure(path: Path, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(TailraceError) as caught:
        load(path, environment or {})
    assert caught.value.kind is ErrorKind.CONFIGURATION
    return caught.value.message


def test_references_are_replaced_by_the_environment_and_by_files(config: Path) -> None:
    settings = load(config, {"HOST": "kafka", "PORT": "5433"})
    assert settings.kafka == {"bootstrap.servers": "kafka:9092"}
    assert isinstance(settings.source, PostgresqlSource)
    assert settings.source.port == 5433
    assert settings.source.password is not None
    assert settings.source.password.get_secret_value() == "s3cret"


def test_json_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    document = {**yaml.safe_load(TEXT), "kafka": {"bootstrap.servers": "b"}}
    document["source"] |= {"port": 5432, "password": "p"}
    path.write_text(json.dumps(document, indent="\t"))
    assert load(path, {}).name == "shop"


def test_every_reference_that_leads_nowhere_is_named(config: Path) -> None:
    (config.parent / "secrets" / "password").unlink()
    lines = failure(config).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == [
        "kafka.bootstrap.servers",
        "source.port",
        "source.password",
    ]
    assert "environment variable HOST is not set" in lines[0]
    assert "cannot read the file" in lines[2]


def test_a_dollar_brace_can_be_written(tmp_path: Path) -> None:
    assert resolve({"a": ["$${X} ${X} $X"]}, tmp_path, {"X": "1"}) == {"a": ["${X} 1 $X"]}


def test_a_value_is_never_resolved_again(tmp_path: Path) -> None:
    assert resolve("${X}", tmp_path, {"X": "${Y}"}) == "${Y}"


def test_a_malformed_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TailraceError, match="neither"):
        resolve("${a b}", tmp_path, {})


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nname: b\n")
    assert "'name' stands here twice" in failure(path)
    assert "line 2" in failure(path)


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(
        "name: s\nkafka: {bootstrap.servers: b}\n"
        "source: &db {database: d, user: u, tables: [a.b]}\n"
        "targets: {r: {<<: {database: d, user: u}, port: 1}}\n"
    )
    assert load(path, {}).target("r").place == "127.0.0.1:1"


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\t- x", "{", "a: !!python/object/new:os.system [x]", ""])
def test_malformed_text_is_a_configuration_error_that_quotes_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"password: hunter2\n{text}\n" if text else text)
    assert "hunter2" not in failure(path)


def test_a_missing_file_and_one_that_is_no_utf_8_are_configuration_errors(tmp_path: Path) -> None:
    assert "No such file" in failure(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    assert "not UTF-8" in failure(tmp_path / "latin.yaml")


@given(st.recursive(st.text() | st.integers() | st.none(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)))
def test_a_document_without_references_stays_as_it_is(document: Any) -> None:
    if "${" not in str(document):
        assert resolve(document, Path(), {}) == document

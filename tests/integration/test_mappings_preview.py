"""`tailrace mappings preview` with what people get wrong: each is told in words that name the rule and what to do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from control import render
from runtime import exit_codes
from tests.kit.command_line import process_restored, run
from tests.kit.servers import Database

pytestmark = pytest.mark.integration

PLACE = {"schema-name": "public", "table-name": "people"}
TAKE = {"rule-type": "selection", "rule-id": "1", "rule-action": "include", "object-locator": PLACE}


def _column(action: str, column: str, identifier: str = "2", **more: Any) -> dict[str, Any]:
    return {
        "rule-type": "transformation",
        "rule-id": identifier,
        "rule-target": "column",
        "rule-action": action,
        "object-locator": PLACE | {"column-name": column},
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


def _added(expression: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return _column("add-column", "%", value="made", expression=expression, data_type={"type": kind, **more})


def _filtered(column: str, value: str) -> dict[str, Any]:
    conditions = [{"filter-operator": "eq", "value": value}]
    return TAKE | {"filters": [{"filter-type": "source", "column-name": column, "filter-conditions": conditions}]}


class Wrong(NamedTuple):
    """Rules, or the text of a document, and what is said of them."""

    mappings: list[dict[str, Any]] | str
    said: str
    remedy: str = ""
    code: int = exit_codes.CONFIGURATION
    source: dict[str, Any] = {}  # noqa: RUF012 - never changed


ELSEWHERE = {"schema-name": "public", "table-name": "peple"}
WRONG = {
    "an unknown table": Wrong(
        [TAKE | {"object-locator": ELSEWHERE}], "there is no table public.peple, or this role may not see it; did you"
    ),
    "a rule about an unknown table": Wrong(
        [TAKE, _column("remove-column", "name") | {"object-locator": ELSEWHERE}],
        "rule 2 is about no captured table: public.peple; did you mean public.people?",
        code=exit_codes.OK,
    ),
    "a rule about an unknown column": Wrong(
        [TAKE, _column("data-masking-hash-mask", "nmae")],
        "rule 2 is about no column of public.people: nmae; did you mean name?",
        code=exit_codes.OK,
    ),
    "an expression with an unknown column": Wrong(
        [TAKE, _added("upper($nmae)")], "rule 2: the table has no column nmae; did you mean name?", "correct the"
    ),
    "an expression that is none": Wrong(
        [TAKE, _added("upper($name")], "rule 2: SQLite says of the expression: incomplete input"
    ),
    "an expression whose value does not fit": Wrong(
        [TAKE, _added("$name", "int4")],
        "rule 2: what the expression gives is no int32",
        "correct the rule, or the row",
        exit_codes.STOPPED,
    ),
    "an expression that fails": Wrong(
        [TAKE, _added("abs($low)", "int8")],
        "rule 2: the expression failed: integer",
        "correct the rule, or the row",
        exit_codes.STOPPED,
    ),
    "a type that values do not have": Wrong(
        [TAKE, _column("change-data-type", "name", data_type={"type": "date"})],
        "rule 2: column name: a value has no like in date",
        "correct the rule, or the row",
        exit_codes.STOPPED,
    ),
    "a filter by an unknown column": Wrong(
        [_filtered("nmae", "a")],
        "rule 1: public.people: filters.0.column-name: no column nmae to filter by; did you mean name?",
        "filters",
    ),
    "a filter with no value of its column": Wrong(
        [_filtered("id", "secret-value")],
        "rule 1: public.people: filters.0.filter-conditions.0.value: column id is bigint: eq cannot compare",
        "filters",
    ),
    "no JSON": Wrong('{"rules": [,]}', "is no JSON (line 1, column 12)"),
    "a name twice in one object": Wrong(
        '{"rules": [{"rule-id": "1", "rule-id": "2"}]}', 'says "rule-id" twice, with different values (line 1'
    ),
    "a rule-id twice": Wrong(
        [TAKE, _column("rename", "name", value="a"), _column("rename", "id", value="b")],
        "the rule-id 2 stands here twice",
    ),
    "two rules for one column": Wrong(
        [TAKE, _column("rename", "name", value="a"), _column("convert-uppercase", "%", "3")],
        "rules 2 and 3 both concern the column name of public.people",
        "AWS DMS heeds rule 2 alone, of the lowest rule-id",
    ),
    "two columns of one name": Wrong(
        [TAKE, _column("rename", "name", value="id")], "rule 2 gives two columns the name id", "give another name"
    ),
    "a key that is removed": Wrong(
        [TAKE, _column("remove-column", "id")], "rule 2 removes id, which rows are identified by"
    ),
    "a source that does not answer": Wrong([TAKE], "connecting to", "check", exit_codes.STOPPED, {"port": 9}),
    "a password that is none": Wrong(
        [TAKE], "28P01", "check `source.user` and `source.password`", source={"password": "secret-value"}
    ),
}


def test_what_is_wrong_is_said_in_words(
    tmp_path: Path, source_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    source_database.execute(
        "create table people (id bigint primary key, name text, low bigint default '-9223372036854775808')",
        "insert into people values (1, 'secret-value'), (2, null)",
    )
    failed = {}
    for name, wrong in WRONG.items():
        text = wrong.mappings if isinstance(wrong.mappings, str) else json.dumps({"rules": wrong.mappings})
        code, out, err = _preview(tmp_path, text, {**source_database.settings, **wrong.source}, capsys)
        said = " ".join((out if wrong.code == exit_codes.OK else err).split())
        if (code, wrong.said in said, wrong.remedy in said) != (wrong.code, True, True):
            failed[name] = f"{code}: {said}"
        if wrong.code != exit_codes.OK:
            assert "secret-value" not in out + err, name
        assert "Traceback" not in err, name
    assert failed == {}


def test_any_value_can_be_looked_at(
    tmp_path: Path, source_database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is large is shown in part, and what a terminal would obey in letters."""
    monkeypatch.setattr(render.console, "_width", 2000)
    source_database.execute(
        "create table people (id bigint primary key, name text, paper bytea)",
        "insert into people values (1, repeat('x', 3000000), decode(repeat('00', 1000000), 'hex')), "
        "(2, E'\\x1b[2Jgone\\n[red]', null)",
    )
    rules = json.dumps({"rules": [TAKE, _added("$name || '!'"), _column("data-masking-hash-mask", "name", "3")]})
    code, out, err = _preview(tmp_path, rules, source_database.settings, capsys)
    assert (code, err) == (exit_codes.OK, "")
    assert len(out) < 20_000
    assert "… (3,000,000 characters)" in out
    assert r"\x1b[2Jgone\n[red]" in out
    assert "∅" in out
    assert "\x1b" not in out
    assert hashlib.sha256(b"\x1b[2Jgone\n[red]").hexdigest().upper() in out


def _preview(
    directory: Path, mappings: str, source: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Return the exit code, and what was said."""
    (directory / "mappings.json").write_text(mappings)
    # It needs no target.
    target = {"engine": "postgresql", "host": "127.0.0.1", "port": 9, "database": "d", "user": "u"}
    document = {
        "name": "shop",
        "kafka": {"bootstrap.servers": "127.0.0.1:9"},
        "mappings": "mappings.json",
        "source": {**source, "connect_timeout_s": 5},
        "targets": {"replica": target},
    }
    path = directory / "shop.json"
    path.write_text(json.dumps(document))
    with process_restored():
        code = run("mappings", "preview", str(path), "--target", "replica")
    shown = capsys.readouterr()
    return code, shown.out, shown.err

"""Tables change in every way, and targets that are no databases of rows follow: `verify` reads them back."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.control.test_verify_read_back import TARGETS
from tests.integration.services import TARGET, Serve, Services
from tests.kit.servers import Database

pytestmark = pytest.mark.timeout(1200)

CHANGES = {
    "added": (
        "alter table added add column kind text default 'old', add column more integer",
        "insert into added (id, number, word, more) values (9, 9, 'nine', 9)",
    ),
    "idle": (
        "alter table idle add column flag boolean not null default true, add column cost numeric(9, 3) default 0.5",
    ),
    "dropped": ("alter table dropped drop column word", "update dropped set number = 7 where id = 1"),
    "again": (
        "alter table again drop column word",
        "update again set number = 7 where id = 1",
        "alter table again add column word text default 'new'",
        "update again set number = 8 where id = 2",
    ),
    "empty_again": (
        # Not the last one: then its number alone tells the new one from it, and nothing is in doubt.
        "alter table empty_again drop column number",
        "update empty_again set word = 'seven' where id = 1",
    ),
    "renamed": ("alter table renamed rename word to label", "update renamed set label = 'other' where id = 1"),
    "retyped": (
        "alter table retyped alter number type bigint, alter word type varchar(40)",
        "update retyped set number = 5000000000 where id = 1",
    ),
    "worded": ("alter table worded alter number type text using 'n' || number",),
    "emptied": ("truncate emptied", "insert into emptied values (1, 1, 'new')"),
    "reborn": (
        "drop table reborn",
        "create table reborn (id bigint primary key, word text)",
        "insert into reborn values (1, 'new')",
    ),
    "moved": ("alter table moved rename to moved_on", "insert into moved_on values (9, 9, 'nine')"),
    "rekeyed": (
        "alter table rekeyed drop constraint rekeyed_pkey, add primary key (number, id)",
        "update rekeyed set number = 70 where id = 1",
    ),
    "gone": ("drop table gone",),
}
LATER = {
    "empty_again": (
        "alter table empty_again add column number integer",
        "update empty_again set word = 'eight' where id = 2",
    ),
}
"""Once the target has what came of these."""

STATES = ("opensearch", "mongodb")
HISTORIES = ("json files", "kafka, DMS's JSON")
UNTOLD = {
    "added": {1, 2, 3, 4, 5},
    "idle": {1, 2, 3, 4, 5},
    "empty_again": {3, 4, 5},
    "renamed": {2, 3, 4, 5},
}
"""What a history does not say: rows that no change came to after a column had come with a value, under another name, or
under a dropped one's name. There they stand as they were. (In files a row keeps what its later version does not have.)
`again` is not among them: its column was the last one, which leaves in doubt which rows have it, so it is loaded again.
"""


@pytest.mark.parametrize("target", STATES)
def test_tables_change_in_every_way(
    target: str, request: pytest.FixtureRequest, serve: Serve, source_database: Database
) -> None:
    _make_tables(source_database)
    place = SimpleNamespace(target_settings=TARGETS[target](request.getfixturevalue))
    with serve(source_database, place, topics={"partitions": 2}) as services:
        _begin(services, source_database)
        for changes in (CHANGES, LATER):
            for statements in changes.values():
                source_database.execute(*statements)
            _come_to(services, {})
        _end(services)


@pytest.mark.parametrize("target", HISTORIES)
def test_a_history_says_what_changed_and_the_rest_when_loaded_again(
    target: str, request: pytest.FixtureRequest, serve: Serve, source_database: Database
) -> None:
    _make_tables(source_database)
    section = TARGETS[target](request.getfixturevalue)
    if is_files := section["engine"] in ("files", "s3"):
        section["cdc_max_batch_interval"] = 1
    else:
        # Truncates are told.
        section["include_control_details"] = True
    place = SimpleNamespace(target_settings=section)
    with serve(source_database, place, topics={"partitions": 2}) as services:
        _begin(services, source_database)
        for statements in (*CHANGES.values(), *LATER.values()):
            source_database.execute(*statements)
        _come_to(services, UNTOLD | ({"empty_again": {1, 3, 4, 5}} if is_files else {}))
        named = [word for table in UNTOLD for word in ("--table", f"public.{table}")]
        done = services.run("signal reload", *named, "--wait", "120")
        assert done.returncode == 0, done.stdout + done.stderr
        _come_to(services, {})
        _end(services)


def _make_tables(source: Database) -> None:
    source.tell_statements()
    for table in CHANGES:
        source.execute(
            f"create table {table} (id bigint primary key, number integer not null, word text)",
            f"insert into {table} select g, g * 2, 'w' || g from generate_series(1, 5) g",
        )


def _begin(services: Services, source: Database) -> None:
    for name in ("capture", "apply"):
        services.start(name)
    services.wait(lambda: services.completed() == len(CHANGES), "all tables are loaded")
    source.execute("create table fresh (id bigint primary key, word text)", "insert into fresh values (1, 'f')")


def _end(services: Services) -> None:
    for name in ("capture", "apply"):
        assert services.stop(name) == 0, services.log_tail(name)


def _come_to(services: Services, differing: dict[str, set[int]]) -> None:
    """Wait until the target has what the source has, but for rows of these keys."""
    said = [""]

    def has_come() -> bool:
        done = services.run("verify", "--target", TARGET, "--wait", "20", "--tries", "2", "--json")
        said[0] = done.stdout + done.stderr
        if done.returncode not in (0, 4):
            return False
        tables: list[dict[str, Any]] = json.loads(done.stdout)["tables"]
        found = {each["table"]: each for each in tables}
        kinds = {one["kind"] for each in tables for one in each["differences"]}
        keys = {name: {int(one["key"][0]) for one in each["differences"]} for name, each in found.items()}
        is_known = "public.fresh" in found and not any(each["error"] or each["unexamined"] for each in tables)
        wanted = {f"public.{table}": rows for table, rows in differing.items()}
        return is_known and kinds <= {"different"} and {name: rows for name, rows in keys.items() if rows} == wanted

    try:
        services.wait(has_come, "the target has what the source has")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{said[0]}") from None

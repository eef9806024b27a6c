"""Keys get other types, under which values have another order and other texts: `verify` compares what came of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.control.test_verify_read_back import TARGETS
from tests.integration.services import Serve
from tests.kit.servers import Database

pytestmark = pytest.mark.timeout(1200)

KEYS = {
    "wider": ("integer", "g", ["bigint"], "5000000000"),
    "spelled": ("bigint", "g", ["text"], "'b'"),
    "counted": ("varchar(9)", "g::text", ["bigint using k::bigint"], "5000000000"),
    "named": ("integer", "g", ["bigint", "text using 'k' || k"], "'a'"),
    "scaled": ("integer", "g", ["numeric(12, 3)"], "7.125"),
}
"""By table: the key's type, its values, the types that it gets one after the other, and a key of the last one."""

STATES = {
    "dated": ("text", "g::text", ["timestamp using to_timestamp(k::int) at time zone 'UTC'"], "'2027-01-01'"),
}
"""The same, where it does not take all that was ever told to know what is there."""

LIKE = {"files": "json files", "kafka": "kafka, DMS's JSON"}
"""Which of `TARGETS` is meant, where it has another name."""


def _section(name: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the section of a target."""
    databases = {"postgresql": "target_database", "mysql": "mysql_target"}
    if name in databases:
        section: dict[str, Any] = request.getfixturevalue(databases[name]).target_settings
        return section
    section = TARGETS[LIKE.get(name, name)](request.getfixturevalue)
    # Files are written at once, and truncates are told.
    more: dict[str, dict[str, Any]] = {
        "files": {"cdc_max_batch_interval": 1},
        "kafka": {"include_control_details": True},
    }
    return section | more.get(name, {})


@pytest.mark.parametrize(
    ("tables", "names"),
    [(KEYS | STATES, ("postgresql", "mysql", "opensearch", "mongodb")), (KEYS, ("files", "kafka"))],
    ids=["states", "histories"],
)
def test_tables_are_compared_under_their_new_keys(
    tables: dict[str, tuple[str, str, list[str], str]],
    names: tuple[str, ...],
    request: pytest.FixtureRequest,
    serve: Serve,
    source_database: Database,
) -> None:
    source_database.tell_statements()
    for table, (native, values, _, _) in tables.items():
        source_database.execute(
            f"create table {table} (k {native} primary key, v text)",
            f"insert into {table} select {values}, 'v' || g from generate_series(1, 25) g",
        )
    targets = {name: _section(name, request) for name in names}
    with serve(source_database, None, targets=targets, topics={"partitions": 2}) as services:
        services.start("capture")
        appliers = services.start_appliers(targets)
        services.wait_until_equal(targets)
        for name in appliers:
            services.kill(name)
        for table, (_, _, types, new) in tables.items():
            for native in types:
                source_database.execute(
                    f"alter table {table} alter k type {native}",
                    f"delete from {table} where v = 'v{len(native)}'",
                )
            source_database.execute(
                f"update {table} set k = {new} where v = 'v20'", f"update {table} set v = 'w' where v = 'v21'"
            )
        # Nobody applies: whatever differs may be mere lag, and nothing is refused.
        for target in targets:
            done = services.run("verify", "--target", target, "--wait", "2", "--tries", "2")
            assert done.returncode == 5, done.stdout + done.stderr
        services.start_appliers(targets)
        services.wait_until_equal(targets)
        for name in ("capture", *appliers):
            assert services.stop(name) == 0, services.log_tail(name)

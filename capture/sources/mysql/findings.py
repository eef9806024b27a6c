"""What an operator should know before a run: every prerequisite at the source, with the statement that repairs it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from capture.source import Finding
from capture.sources.mysql.catalog import DATES, RelationFacts, quoted
from capture.sources.mysql.compression import is_available
from capture.sources.mysql.quoting import any_table, literal
from capture.sources.mysql.server import LOG_RIGHTS, ServerFacts, are_files
from schemas.endpoints.mysql import MysqlSource
from schemas.findings import blocks, listed, note, warns
from schemas.selection import has_wildcard
from schemas.table import TableName, TableSchema

DAY_S = 86_400
VERSIONED = "the table is system-versioned, and left out: the log holds its history among the rows that are there"
PARTIAL = "the user may not read all columns of the table, which is left out"
NAMED_MAX = 5
"""Of transactions, in one finding."""
_WHOLE = (None, "full", "full_nodup")
"""Images of which nothing lacks: MariaDB's latter one has what an update leaves alone in the old row only."""


def find(
    settings: MysqlSource, facts: ServerFacts, relations: Sequence[RelationFacts], tables: Sequence[TableSchema]
) -> list[Finding]:
    """Return what stands in the way of capturing these tables, and what should be known about it."""
    logged = [table for table in tables if not table.is_view]
    views = {table.name for table in tables if table.is_view}
    return [
        *_server(settings, facts),
        *_not_logged(facts, logged),
        *_relations(relations, views),
        *_keys(facts, logged),
        *_cascades(facts, logged),
        *_zero_dates(settings.zero_dates, tables),
    ]


def undecided(names: Sequence[str]) -> list[Finding]:
    """Return what should be known of transactions of XA that are prepared and not decided."""
    if not names:
        return []
    shown = "; ".join(names[:NAMED_MAX]) + ("; …" if len(names) > NAMED_MAX else "")
    return [
        warns(
            "xa-prepared",
            f"{len(names)} transaction(s) of XA are prepared and not decided: {shown}. The log is needed from them on "
            "as long as they may commit",
            "where they stay, ask whoever began them; then `xa commit NAME` or `xa rollback NAME`",
        )
    ]


def locked(facts: ServerFacts, tables: Sequence[TableSchema]) -> dict[str, list[TableName]]:
    """Return the tables that are locked for an instant when their load begins, by database: those without a key, where
    a snapshot does not know its own place in the log.
    """
    found: dict[str, list[TableName]] = {}
    for table in tables:
        if not (facts.is_mariadb or table.key or table.is_view):
            found.setdefault(table.name.schema, []).append(table.name)
    return found


def not_lockable(settings: MysqlSource, facts: ServerFacts, tables: Sequence[TableName]) -> Finding:
    """Return what should be known of the tables `locked` of a database in which the user has no right to that."""
    return warns(
        "lock-tables",
        f"the user may not lock tables in database {tables[0].schema}: of those without a key ({listed(tables)}) a row "
        "that is written in the instant in which their load begins may come twice",
        _lock_right(settings, facts, tables[0].schema),
    )


def grants(settings: MysqlSource, facts: ServerFacts, tables: Sequence[TableSchema]) -> str:
    """Return the SQL that makes the user of `settings`, once its password stands there, and gives it what it needs to
    capture these tables, and nothing more. Without tables: those that the patterns may mean, whose keys nobody knows.
    """
    user = _user(settings, facts)
    statements = [f"grant {', '.join(LOG_RIGHTS[facts.is_mariadb])} on *.* to {user};"]
    if are_files(settings, is_mariadb=facts.is_mariadb, gtid_mode=facts.variables.get("gtid_mode", "")):
        statements.append(f"grant select on performance_schema.metadata_locks to {user};")
    selected = [quoted(table.name) for table in tables] or sorted(set(_asked_for(settings, facts)))
    statements += [f"grant select on {what} to {user};" for what in selected]
    statements += [f"{_lock_right(settings, facts, database)};" for database in sorted(locked(facts, tables))]
    return "\n".join([f"create user if not exists {user} identified by '…';", *statements])


def _lock_right(settings: MysqlSource, facts: ServerFacts, database: str) -> str:
    # There is no such right to one table.
    place = any_table(database, revokes_in_part=facts.revokes_in_part)
    return f"grant lock tables on {place} to {_user(settings, facts)}"


def _user(settings: MysqlSource, facts: ServerFacts) -> str:
    """Return the account that the server has logged the user in as, which may be for some hosts only."""
    name, _, host = facts.user.rpartition("@")
    return f"{literal(settings.user)}@{literal(host if name == settings.user else '%')}"


def _asked_for(settings: MysqlSource, facts: ServerFacts) -> Iterator[str]:
    """Yield what patterns name, for a user who may see no table yet: where they have wildcards, the database."""
    for pattern in (*settings.tables, *settings.views):
        database, _, table = pattern.partition(".")
        if pattern.startswith("!") or has_wildcard(database):
            continue
        if has_wildcard(table):
            yield any_table(database, revokes_in_part=facts.revokes_in_part)
        else:
            yield quoted(TableName(database, table))


def _server(settings: MysqlSource, facts: ServerFacts) -> Iterator[Finding]:
    have = facts.variables
    for right in facts.lacking:
        remedy = f"grant {right} on *.* to {_user(settings, facts)}"
        yield blocks("log-rights", f"the user has no right `{right}`", remedy)
    if have.get("log_bin") != "on":
        yield blocks("log-bin", "the server keeps no binary log", "start it with `log_bin`")
    if have.get("binlog_format", "row") != "row":
        yield blocks(
            "binlog-format",
            f"binlog_format is {have['binlog_format']}: statements are no rows",
            "set global binlog_format = 'ROW'; sessions that are connected keep theirs",
        )
    if not facts.is_mariadb and have.get("gtid_mode") != "on":
        how = (
            "set global enforce_gtid_consistency = ON; set global gtid_mode = OFF_PERMISSIVE; then ON_PERMISSIVE; "
            "then ON"
        )
        state = f"gtid_mode is {have.get('gtid_mode')}"
        if settings.positions == "gtid":
            yield blocks("gtid-mode", f"{state}, and source.positions is `gtid`", how)
        else:
            yield warns("gtid-mode", f"{state}: positions are files and offsets, which no replica can go on from", how)
    if not facts.is_mariadb and have.get("binlog_order_commits", "on") != "on":
        yield blocks(
            "binlog-order-commits",
            "binlog_order_commits is off: the log's order says nothing of what a snapshot sees",
            "set global binlog_order_commits = ON",
        )
    receives = facts.replicates or have.get("wsrep_on") == "on"
    if receives and "off" in (have.get("log_replica_updates"), have.get("log_slave_updates")):
        yield blocks(
            "replica-updates",
            "the server follows others, and its log does not hold what it replicates (log_slave_updates is off)",
            "start it with log_replica_updates (MariaDB: log_slave_updates), or capture from one that it follows",
        )
    if have.get("binlog_row_value_options", "") not in ("", "none") and have.get("binlog_row_image") != "full":
        yield blocks(
            "partial-json",
            "binlog_row_value_options is set, and binlog_row_image is not FULL: what a partial update of a JSON value "
            "makes of it is not in the log",
            "set global binlog_row_image = 'FULL', or binlog_row_value_options = ''",
        )
    if have.get("binlog_row_metadata") != "full":
        yield warns(
            "row-metadata",
            "binlog_row_metadata is not FULL: the log does not name its columns, and a renamed column cannot be told",
            "set global binlog_row_metadata = 'FULL'",
        )
    if have.get("binlog_row_image") not in _WHOLE:
        yield warns(
            "row-image",
            f"binlog_row_image is {have['binlog_row_image']}: values that a statement leaves alone are not in the log",
            "set global binlog_row_image = 'FULL', if consumers need whole rows",
        )
    if facts.is_mariadb and have.get("gtid_strict_mode") != "on":
        yield warns(
            "gtid-strict-mode",
            "gtid_strict_mode is off: a domain may count backwards, which would stop the capture",
            "set global gtid_strict_mode = ON",
        )
    expires = have.get("binlog_expire_logs_seconds")
    if expires is not None and 0 < int(float(expires)) < DAY_S:
        yield warns(
            "log-retention",
            f"the server keeps its log for {int(float(expires))} s only: a longer stop of the capture loses changes",
            "set global binlog_expire_logs_seconds = 604800",
        )
    if not is_available() and not facts.is_mariadb:
        yield warns(
            "zstd", "the system's zstd library is missing: compressed transactions cannot be read", "install libzstd"
        )


def _not_logged(facts: ServerFacts, tables: Sequence[TableSchema]) -> Iterator[Finding]:
    for database in sorted({table.name.schema for table in tables}):
        if not facts.logs(database):
            yield blocks(
                "binlog-filter",
                f"the server does not log the changes of database {database} (binlog_do_db, binlog_ignore_db)",
                "take the database out of binlog_ignore_db, or into binlog_do_db, and start the server again",
            )


def left_out(relation: RelationFacts) -> str | None:
    """Return why a table is not captured; None: it is, or it is none."""
    return VERSIONED if relation.is_versioned else PARTIAL if relation.is_partial else None


def _relations(relations: Sequence[RelationFacts], views: Collection[TableName]) -> Iterator[Finding]:
    for relation in relations:
        if relation.name in views:
            yield note(
                "view",
                "the rows of the view are loaded once, and not followed: no log tells how they change",
                f"to have them anew: tailrace signal reload CONFIG --table {relation.name}",
                relation.name,
            )
        elif relation.is_versioned:
            yield warns(
                "system-versioned",
                VERSIONED,
                f"exclude it: `!{relation.name}`; or, which deletes the history, "
                f"alter table {quoted(relation.name)} drop system versioning",
                relation.name,
            )
        elif relation.is_partial:
            yield warns(
                "columns-hidden",
                PARTIAL,
                f"grant select on {quoted(relation.name)} to the user: on all of it; or exclude it: `!{relation.name}`",
                relation.name,
            )
        elif not relation.is_table:
            leave = f"exclude it: `!{relation.name}`"
            once = f'"{relation.name}" in source.views loads its rows once, unless the mode is cdc; or {leave}'
            yield warns(
                "not-a-table",
                f"a {relation.kind.lower()} has no changes in the log, and is left out",
                once if relation.is_view else leave,
                relation.name,
            )
        elif relation.storage.lower() not in ("innodb", "myrocks", "rocksdb"):
            yield warns(
                "storage-engine",
                f"{relation.storage} has no transactions: a reader may see half a statement until the log completes "
                "it; of a table without a key a row that is written while it is loaded may come twice",
                "alter table … engine = InnoDB",
                relation.name,
            )


def _keys(facts: ServerFacts, tables: Sequence[TableSchema]) -> Iterator[Finding]:
    for table in tables:
        if table.key:
            continue
        if facts.variables.get("binlog_row_image") not in _WHOLE:
            yield blocks(
                "no-key",
                "the table has no key, and the log not the whole of its old rows",
                "give it a primary key, or set global binlog_row_image = 'FULL'",
                table.name,
            )
        else:
            yield note(
                "no-key",
                "the table has no key: its rows are told apart by all of their values",
                table=table.name,
            )


def _cascades(facts: ServerFacts, tables: Sequence[TableSchema]) -> Iterator[Finding]:
    if facts.variables.get("innodb_native_foreign_keys") == "off":
        # MySQL from 9.6 on: the server itself acts for the keys, row by row, and logs it.
        return
    for table in tables:
        acting = [k.name for k in table.foreign_keys if {k.on_delete, k.on_update} & {"cascade", "set null"}]
        if acting:
            yield warns(
                "cascades",
                f"foreign keys that act by themselves ({', '.join(acting)}): what they delete or change is done by the "
                "storage engine, and does not stand in the log",
                "delete and update the rows of this table by statements of your own",
                table.name,
            )


def _zero_dates(policy: str, tables: Sequence[TableSchema]) -> Iterator[Finding]:
    dated = [table.name for table in tables if any(column.type.family in DATES for column in table.columns)]
    if not dated:
        return
    what = {
        "error": "keep a table from being loaded, and end capture where the log has them",
        "null": "become null",
    }.get(policy, f"become {policy}")
    yield note(
        "zero-dates",
        f"dates with a zero part (`0000-00-00`), and days that no calendar has, {what}: there may be such in "
        f"{listed(dated)}",
        "source.zero_dates is `error`, `null`, or a date that stands for them",
    )

"""Tables that change, come and go while they are captured.

A new version is published before the first row that is written with it. What a change does to targets is theirs to
decide: capture only stops before it, if `ddl` is `stop`.
"""

from __future__ import annotations

import re

import orjson

from capture import checkpoints
from capture.load_state import TableLoad
from capture.loading import Loading
from capture.publisher import Feed, Publisher
from capture.schemas_topic import Catalogue
from capture.source import Source
from capture.tables import Tables
from runtime.failpoints import hit
from runtime.logging import get_logger
from schemas.changes import SchemaChange
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position
from schemas.settings import DdlPolicy, Mode, Settings
from schemas.table import TableName, TableSchema
from schemas.topics import check_distinct, checkpoints_topic, ddl_topic

log = get_logger(__name__)


class SchemaChanges:
    """Follows the changes of tables, as the log or the catalogue tells them."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        publisher: Publisher,
        tables: Tables,
        catalogue: Catalogue,
        loading: Loading,
    ) -> None:
        self._settings = settings
        self._source = source
        self._publisher = publisher
        self._tables = tables
        self._catalogue = catalogue
        self._loading = loading
        self._awaited: tuple[int, list[SchemaChange]] | None = None
        self.is_dirty = False
        """Whether the versions in force are others than the checkpoint says."""

    def follow(self, change: SchemaChange, position: Position) -> None:
        """Go on with what the log says of a table from here. Raises SOURCE_SCHEMA where the policy is to stop."""
        self._publisher.flush()
        if change.after is None:
            self._drop(change.name, position)
            return
        feed = self._publisher.feeds.get(change.name)
        table = self._catalogue.numbered(change.after)
        if feed is not None and table.version == feed.table.version:
            # Known already: looked up in the catalogue, or read again after a restart.
            feed.source_table = change.after
            return
        if feed is None:
            self._create(table, change.after, position)
        else:
            self._alter(feed, table, change.after, position)

    def begin_load(self, feed: Feed, position: Position, *, reborn: bool) -> None:
        """Load a table from the beginning. Where the topic holds rows of an earlier life, they are declared void."""
        load = TableLoad(feed.table, generation=self._catalogue.loaded.get(feed.table.name, 0) + 1)
        if reborn:
            self._publisher.void(feed, position.commit)
        self._loading.begin(feed, load)

    def look_up(self, load: TableLoad, position: Position) -> None:
        """Learn from the catalogue that a table has changed: its log has no row that would say so."""
        present = {table.name: table for table in self._source.tables()}
        self.follow(SchemaChange(load.name, load.table, present.get(load.name)), position)

    def look_around(self) -> None:
        """Read the catalogue. What it says is followed once the log is read up to now: older rows go out before."""
        if self._awaited is not None:
            return
        tables = self._source.tables()
        feeds = self._publisher.feeds
        present = {table.name: table for table in tables}
        if any(name not in feeds for name in present):
            # Their log from now on, and what is in them.
            check_distinct(self._settings.name, list(present))
            self._source.prepare(tables)
        known: dict[TableName, TableSchema | None] = {name: feed.source_table for name, feed in feeds.items()}
        found = [
            SchemaChange(name, known.get(name), present.get(name))
            for name in sorted(known.keys() | present.keys())
            if not _same(known.get(name), present.get(name))
        ]
        if found:
            self._awaited = (self._source.current_position().commit, found)

    def follow_catalogue(self, position: Position) -> None:
        """Go on with what `look_around` has found, if the log is that far and has not told it meanwhile."""
        if self._awaited is None or position.commit < self._awaited[0] or position.row:
            return
        _, found = self._awaited
        self._awaited = None
        for change in found:
            feed = self._publisher.feeds.get(change.name)
            if (feed.source_table if feed is not None else None) is change.before:
                self.follow(change, position)

    def _create(self, table: TableSchema, source_table: TableSchema, position: Position) -> None:
        reborn = table.name in self._catalogue.versions
        self._tables.add([(table, source_table)])
        self.is_dirty = True
        self._record("created", table, position)
        if self._settings.mode is not Mode.CDC:
            self.begin_load(self._publisher.feeds[table.name], position, reborn=reborn)

    def _alter(self, feed: Feed, table: TableSchema, source_table: TableSchema, position: Position) -> None:
        if self._settings.ddl is DdlPolicy.STOP:
            raise TailraceError(
                ErrorKind.SOURCE_SCHEMA,
                f"the table changed at the source to what would be version {table.version}, and `ddl` is `stop`",
                remedy="set `ddl` to another policy and start again; nothing is lost",
                table=str(table.name),
                position=self._source.format_position(position),
            )
        before, key_before = feed.table, _key_of(feed.table)
        hit("capture.schema.before")
        self._tables.add([(table, source_table)])
        self.is_dirty = True
        self._record("altered", table, position)
        hit("capture.schema.after")
        self._loading.table_changed(feed, key_before != _key_of(table), position.commit)
        if self._settings.ddl is DdlPolicy.APPLY and rewrites_rows(before, table):
            log.info("loads the table again: its rows were rewritten", table=str(table.name), version=table.version)
            self._loading.reload(feed, position.commit)

    def _drop(self, name: TableName, position: Position) -> None:
        feed = self._publisher.feeds.pop(name, None)
        if feed is None:
            return
        self.is_dirty = True
        self._loading.forget(name)
        if feed.held_back is not None:
            feed.held_back.close()
        self._record("dropped", feed.table, position)
        for key, value in checkpoints.load_tombstones(name):
            self._publisher.record(checkpoints_topic(self._settings.name), key, value)

    def _record(self, event: str, table: TableSchema, position: Position) -> None:
        log.info("table changed", what=event, table=str(table.name), version=table.version)
        document = {
            "version": 1,
            "event": event,
            "table": list(table.name),
            "table_version": table.version,
            "position": self._source.format_position(position),
            "seq": self._publisher.sequence,
            "ts_ms": self._publisher.now_us // 1000,
        }
        key = orjson.dumps({"database": self._settings.source.database})
        self._publisher.record(ddl_topic(self._settings.name), key, orjson.dumps(document))


def rewrites_rows(before: TableSchema, after: TableSchema) -> bool:
    """Tell whether existing rows may hold values now that a target cannot make by itself.

    A new column's default may be different in each row; a new type's values come of an expression that nobody tells.
    A constant default a target fills in as the source does.
    """
    by_number = {column.number: column for column in before.columns if column.number}
    by_name = {column.name: column for column in before.columns}
    for column in after.columns:
        earlier = by_number.get(column.number) if column.number and by_number else by_name.get(column.name)
        if earlier is not None:
            if earlier.native != column.native:
                return True
        elif column.identity or (not _CONSTANT.fullmatch(column.default) if column.default else not column.nullable):
            return True
    return False


_CONSTANT = re.compile(r"\(?(-?[\d.]+|'(?:[^']|'')*'|true|false|null)\)?(::[^']*)?", re.IGNORECASE)
"""A literal with or without casts. (Not null without a default: a serial's, which is left out of schemas.)"""


def _same(one: TableSchema | None, other: TableSchema | None) -> bool:
    return (one and one.fingerprint) == (other and other.fingerprint)


def _key_of(table: TableSchema) -> list[tuple[str, str]]:
    return [(table.columns[i].name, table.columns[i].native) for i in table.key]

"""Tables that change, come and go while they are captured.

A new version is published before the first row that is written with it. What a change does to targets is theirs to
decide: capture only stops before it, if `ddl` is `stop`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import orjson

from capture import checkpoints
from capture.full_load.loading import Loading
from capture.full_load.state import TableLoad
from capture.publishing.feed import Feed
from capture.publishing.publisher import Publisher
from capture.publishing.schemas_topic import Catalogue
from capture.source import LockedError, Source
from capture.table_versions import came_with_rows, changes_key, fills_rows, is_another, is_same, rewrites_rows
from capture.tables import Tables
from runtime.failpoints import hit
from runtime.logging import get_logger
from schemas.changes import SchemaChange, Truncate
from schemas.ddl import ddl_record
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.segments import loads_part
from schemas.policies import DdlPolicy, TruncatePolicy
from schemas.position import Position
from schemas.routing import check_routes
from schemas.settings import Mode, Settings
from schemas.table import TableName, TableSchema
from schemas.topics import checkpoints_topic, ddl_topic

log = get_logger(__name__)

CATALOGUE_INTERVAL_S = 20.0
"""How often the catalogue is asked for what the log does not tell: tables that have come to match the selection or are
gone, and changes that no row has followed."""

STATEMENT_PAUSE_S, TABLE_PAUSE_S = 2.0, 0.01
"""How long after a statement that the log has told the catalogue is asked at the latest; and longer for each table."""


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
        applied: Iterable[TableName] = (),
    ) -> None:
        """`applied` is what the checkpoint says of it."""
        self._settings = settings
        self._source = source
        self._publisher = publisher
        self._tables = tables
        self._catalogue = catalogue
        self._loading = loading
        self._look_at_s = -math.inf
        self._is_told = False
        """Whether the log has told of a statement since: a table may have changed, and stay without new rows."""
        self._awaited: tuple[int, list[SchemaChange]] | None = None
        self._seen: dict[TableName, TableSchema] = {}
        self.applied = set(applied)
        """Tables that an applier alters, after the side that our targets are on: they have its rows. The checkpoint has
        them too: what is found after a restart may be what the log told before it.
        """
        self._applied_before: set[TableName] = set()
        """Those of them that the catalogue was looked at after."""
        self._leaving: dict[TableName, TableSchema] = {}
        """Tables that an applier drops: where that is two statements the catalogue may have them still."""
        self.is_dirty = False
        """Whether the checkpoint says other versions than those in force, or others that an applier has altered."""

    def follow(self, change: SchemaChange, position: Position) -> None:
        """Go on with what the log says of a table from here. Raises SOURCE_SCHEMA where the policy is to stop."""
        self._publisher.flush()
        feed = self._publisher.feeds.get(change.name)
        if change.is_applied and change.before is not None and change.after is not None:
            # It says nothing of the version: of that the catalogue may have told already, and the log not yet.
            self.is_dirty |= change.name not in self.applied
            self.applied.add(change.name)
            self._applied_before.discard(change.name)
            return
        if feed is not None and (change.after is None or is_another(feed.table, change.after)):
            self._stop_if_told(self._settings.ddl.dropped, feed.table, "is gone", position)
            self._drop(feed, position, is_applied=change.is_applied)
            feed = None
        if change.after is None:
            return
        if feed is None:
            self._create(change.after, position, is_applied=change.is_applied)
        elif feed.table.fingerprint == change.after.fingerprint:
            # Known already: looked up in the catalogue, or read again after a restart.
            feed.source_table = change.after
        else:
            self._alter(feed, change, change.after, position)

    def number(self, source_table: TableSchema) -> TableSchema:
        """Return a table that is new to the replication as it is to be published.

        If the topic holds rows of an earlier life, it begins another one: the caller declares them `void`.
        """
        history = self._catalogue.versions.get(source_table.name)
        if not history:
            return self._catalogue.numbered(source_table)
        # Another table's rows, or rows whose later changes nobody has seen.
        is_void = self._settings.mode is not Mode.CDC or is_another(history[-1].table, source_table)
        return self._catalogue.numbered(source_table, anew=True, void=is_void)

    def begin(self, feed: Feed, position: Position) -> None:
        """Begin with a table that `number` gave."""
        history = self._catalogue.versions[feed.table.name]
        if len(history) > 1 and history[-2].table.life < feed.table.life:
            self._publisher.void(feed, position.commit)
        if self._settings.mode is not Mode.CDC:
            self.begin_load(feed)

    def begin_load(self, feed: Feed) -> None:
        """Load a table from the beginning."""
        self._loading.begin(feed, self._new_load(feed))

    def _new_load(self, feed: Feed) -> TableLoad:
        return TableLoad(feed.table, generation=self._catalogue.loaded.get(feed.table.name, 0) + 1)

    def check_catalogue(self, load: TableLoad, position: Position) -> None:
        """Learn from the catalogue that a table has changed: its log has no row that would say so.

        If it is what it is known to be, it is a segment that no longer fits it: it is cut anew.
        """
        present = {table.name: table for table in self._source.tables()}
        version = load.table
        self.follow(SchemaChange(load.name, load.table, present.get(load.name)), position)
        feed = self._publisher.feeds.get(load.name)
        is_cut = any(chunk.segment is not None for chunk in load.chunks)
        if is_cut and feed is not None and feed.table is version:
            log.info("loads the table again: its segments are others", table=str(load.name))
            self._loading.cut_again(feed, position.commit)

    def reload_incomplete(self, position: Position) -> None:
        """Load tables again of which the source could not tell values of rows that are published."""
        for name in self._source.untold():
            feed = self._publisher.feeds.get(name)
            if feed is not None and self._loading.load_again(feed, position.commit):
                said = "loads the table again: a key was changed in a row of which nothing tells all values"
                log.warning(said, table=str(name), **self._left_out(name))

    def _left_out(self, name: TableName) -> dict[str, str]:
        """Return what is to be done for rows that no load of a table brings."""
        if not loads_part(self._settings.load_rules, name):
            return {}
        where = f"tailrace signal reload CONFIG --table {name} --above KEY --up-to KEY"
        return {"remedy": f"if the row is in none of the partitions that are loaded (`partitions-list`): {where}"}

    def poll_catalogue(self, now_s: float) -> None:
        """Read the catalogue if it is time. What it says is followed once the log is read up to now: older rows go out
        before.
        """
        if self._is_told:
            self._is_told = False
            # Not at once: the catalogue may show a statement later than the log. Many tables take long to be read.
            pause_s = STATEMENT_PAUSE_S + TABLE_PAUSE_S * len(self._publisher.feeds)
            self._look_at_s = min(self._look_at_s, now_s + pause_s)
        if now_s < self._look_at_s or self._awaited is not None:
            return
        self._look_at_s = now_s + CATALOGUE_INTERVAL_S
        # What a version's fingerprint costs is paid once for each.
        tables = [seen if (seen := self._seen.get(t.name)) == t else t for t in self._source.tables()]
        self._seen = {table.name: table for table in tables}
        left = self._leaving
        self._leaving = {t.name: t for t in tables if t.name in left and not is_another(left[t.name], t)}
        tables = [table for table in tables if table.name not in self._leaving]
        known: dict[TableName, TableSchema | None] = {n: feed.table for n, feed in self._publisher.feeds.items()}
        present = {table.name: table for table in tables}
        waiting: set[TableName] = set()
        if new := {table.name for table in tables if is_another(known.get(table.name), table)}:
            # Their log from now on, and what is in them.
            check_routes(self._settings, list(present))
            try:
                self._source.prepare(tables)
            except LockedError as error:
                log.warning("new tables wait", tables=len(new), reason=str(error))
                waiting = new
        found = [
            SchemaChange(name, known.get(name), present.get(name))
            for name in sorted((known.keys() | present.keys()) - waiting)
            if not is_same(known.get(name), present.get(name))
        ]
        # Not of those found just now: they are followed later.
        done = self._applied_before - {change.name for change in found}
        self.is_dirty |= bool(done)
        self.applied -= done
        self._applied_before = set(self.applied)
        if found:
            self._awaited = (self._source.visible_position().commit, found)

    def follow_catalogue(self, position: Position) -> None:
        """Go on with what `poll_catalogue` has found, if the log is that far and has not told it meanwhile."""
        if self._awaited is None or position.commit < self._awaited[0] or position.row:
            return
        _, found = self._awaited
        self._awaited = None
        for change in found:
            feed = self._publisher.feeds.get(change.name)
            if (feed.table if feed is not None else None) is change.before:
                self.follow(change, position)

    def _create(self, source_table: TableSchema, position: Position, *, is_applied: bool) -> None:
        table = (
            self._catalogue.numbered(source_table, anew=True, is_applied=True)
            if is_applied
            else self.number(source_table)
        )
        self._tables.add([(table, source_table)])
        self._leaving.pop(table.name, None)
        self.is_dirty = True
        self._record("created", table, position)
        feed = self._publisher.feeds[table.name]
        if not is_applied:
            self.begin(feed, position)
            return
        # Its rows came from where they would go to.
        self._source.prepare([source_table])
        if self._settings.mode is not Mode.CDC:
            self._loading.skip(self._new_load(feed))

    def _alter(self, feed: Feed, change: SchemaChange, source_table: TableSchema, position: Position) -> None:
        before = feed.table
        if not source_table.differs_in_partitions_alone(before):
            self._stop_if_told(self._settings.ddl.altered, before, "changed", position)
        is_applied = before.name in self.applied
        # Another key sends rows to other partitions, out of order with what stands there: the table begins anew. Not
        # if the other side did so: that would empty what the rows here came from.
        is_void = not is_applied and changes_key(before, source_table) and before.name in self._loading.loads
        stored, former = self._stored(before), self._former_names(before)
        table = self._catalogue.numbered(source_table, void=is_void, is_applied=is_applied)
        hit("capture.schema.before")
        self._tables.add([(table, source_table)])
        self.is_dirty = True
        self._record("altered", table, position)
        hit("capture.schema.after")
        self._loading.table_changed(feed, position.commit, is_void=is_void)
        if gone := set(before.partitions) - set(table.partitions):
            log.warning("partitions were detached: their rows stay in targets", table=str(table.name), count=len(gone))
        is_uncertain = table.is_view or not change.is_certain or rewrites_rows(before, table, stored)
        has_more = is_uncertain or (
            fills_rows(before, table, former)
            and any(t.leaves_new_columns_empty for t in self._settings.targets.values())
        )
        if self._settings.ddl.altered is DdlPolicy.APPLY and has_more and not is_applied and not is_void:
            log.info("loads the table again: its rows have other values", table=str(table.name), version=table.version)
            self._loading.reload(feed, position.commit)
        elif not is_applied and not is_void and (came := came_with_rows(before, table)):
            log.info("loads partitions that were attached", table=str(table.name), count=len(came))
            self._loading.load_parts(feed, position.commit, came)

    def _stored(self, before: TableSchema) -> TableSchema | None:
        """Return the last version of which it was known where its rows are stored."""
        versions = (version.table for version in reversed(self._catalogue.versions[before.name]))
        return next((table for table in versions if table.number == before.number and table.knows_storage), None)

    def _former_names(self, before: TableSchema) -> set[str]:
        """Return the names of all columns that a table has had since targets were empty."""
        versions = (version.table for version in self._catalogue.versions[before.name])
        return {name for table in versions if table.life == before.life for name in table.column_names}

    def publishes(self, change: Truncate, position: Position) -> bool:
        """Tell whether a truncate is published. Raises SOURCE_SCHEMA where the policy is to stop before it."""
        for table in change.tables:
            self._stop_if_told(self._settings.ddl.truncated, table, "was emptied", position)
        if self._settings.ddl.truncated is TruncatePolicy.APPLY:
            return True
        log.warning("truncate ignored", tables=[str(table.name) for table in change.tables])
        return False

    def _stop_if_told(
        self, policy: DdlPolicy | TruncatePolicy, table: TableSchema, what: str, position: Position
    ) -> None:
        if policy == DdlPolicy.STOP:
            raise TailraceError(
                ErrorKind.SOURCE_SCHEMA,
                f"the table {what} at the source after version {table.version}, and `ddl` is to stop then",
                remedy="set `ddl` to another policy and start again; nothing is lost",
                table=str(table.name),
                position=self._source.format_position(position),
            )

    def _drop(self, feed: Feed, position: Position, *, is_applied: bool) -> None:
        name = feed.table.name
        if is_applied:
            self._leaving[name] = feed.table
        del self._publisher.feeds[name]
        self.is_dirty = True
        self._loading.forget(name)
        feed.let_go_held_back()
        # A table that is only not to be captured any more (unlogged, a partition of another) is none that was dropped.
        # And what the other side has dropped, or made anew by now, is not dropped there.
        is_gone = not is_applied and not self._source.has_table(name)
        self._record("dropped" if is_gone else "left", feed.table, position)
        if is_gone:
            self._publisher.record(*self._catalogue.note_dropped(feed.table))
        for key, value in checkpoints.load_tombstones(name):
            self._publisher.record(checkpoints_topic(self._settings.name), key, value)

    def note_statement(self, content: bytes, position: Position) -> None:
        """Put a statement's text on the ddl topic, as the log tells it. Nothing else depends on it but how soon the
        catalogue is looked at.
        """
        self._is_told = True
        try:
            said = orjson.loads(content)
            statement = {"tag": said["tag"], "statement": said["statement"], "objects": said["objects"] or []}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            log.warning("a log message is no DDL statement", position=self._source.format_position(position))
            return
        self._publish("statement", statement, position)

    def _record(self, event: str, table: TableSchema, position: Position) -> None:
        log.info("table changed", what=event, table=str(table.name), version=table.version)
        self._publish(event, {"table": list(table.name), "table_version": table.version}, position)

    def _publish(self, event: str, what: dict[str, Any], position: Position) -> None:
        record = ddl_record(
            self._settings.source.database,
            event,
            what,
            position=self._source.format_position(position),
            seq=self._publisher.sequence,
            ts_us=self._publisher.now_us,
        )
        self._publisher.record(ddl_topic(self._settings.name), *record)

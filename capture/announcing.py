"""What consumers are told of tables on the schemas topic once it is committed: that one is loaded, or gone."""

from __future__ import annotations

from collections.abc import Sequence

from capture.full_load.state import TableLoad
from capture.publishing.schemas_topic import Addition, Catalogue
from capture.tables import TopicAdmin
from runtime.failpoints import hit
from schemas.routing import route
from schemas.settings import Settings
from schemas.table import TableSchema


def announcements(
    settings: Settings,
    catalogue: Catalogue,
    topics: TopicAdmin,
    loads: Sequence[TableLoad],
    gone: Sequence[TableSchema],
) -> list[Addition]:
    """Return the records for loads that are complete, and for tables that were dropped. Each says where it was so."""
    hit("capture.load.announce")
    names = {load.name for load in loads} | {table.name for table in gone}
    ways = {name: route(settings, name).topic for name in names}
    # Not the ends of what is committed: a commit returns before its markers are written, so they may still stand in
    # front of the last transaction.
    ends: dict[str, dict[int, int]] = {}
    for (topic, number), end in topics.end_offsets(ways.values(), read_committed=False).items():
        ends.setdefault(topic, {})[number] = end
    return [
        *(catalogue.announce_loaded(load.table, load.generation, ends.get(ways[load.name], {})) for load in loads),
        *(catalogue.announce_dropped(table, ends.get(ways[table.name], {})) for table in gone),
    ]

"""Where an applier ends by itself: where every partition was when it began (`--stop-at now`), or where loads end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from apply.applier import Applier
from apply.completion import Completion
from apply.schema_catalog import SchemaCatalog
from apply.sink import Capabilities, TopicPartition
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Mode, Settings

Partition = tuple[str, int]


class Goal:
    """The ends of all partitions at the start, less those that are passed."""

    def __init__(self, ends: Mapping[Partition, int], begins: Mapping[Partition, int]) -> None:
        # A partition whose beginning is its end holds nothing.
        self.left = {TopicPartition(*p): end for p, end in ends.items() if end > begins.get(p, 0)}

    def pass_own(self, reached: Mapping[TopicPartition, int]) -> None:
        """Strike out what this applier has made durable."""
        for partition, offset in reached.items():
            if partition in self.left and offset >= self.left[partition]:
                del self.left[partition]

    def pass_others(self, committed: Mapping[Partition, int], owned: Mapping[TopicPartition, int]) -> None:
        """Strike out what other members of the group have committed."""
        for partition in list(self.left):
            if partition not in owned and committed.get(partition, -1) >= self.left[partition]:
                del self.left[partition]

    def kept(self, suspension: Callable[[TopicPartition], TailraceError | None]) -> list[TailraceError]:
        """Return why those partitions that are left, and suspended, do not get there."""
        return [error for partition in self.left if (error := suspension(partition)) is not None]


def ends_of_loads(
    settings: Settings, target: str, catalog: SchemaCatalog, capabilities: Capabilities
) -> Callable[[TopicPartition], int | None] | None:
    """Return what tells where the load of a table ends in a partition: None, until that is published. None where no
    changes are to be left out. Raises CONFIGURATION for a target that cannot leave some out.
    """
    # Of a connector's topics nobody says where loads end.
    loads = settings.mode is not Mode.CDC and not settings.by_debezium
    if not (settings.apply.stop_before_changes and loads):
        return None
    if capabilities.commit_order:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"target {target!r} takes changes in the order of commits alone: `apply.stop_before_changes` cannot leave "
            "some out",
            remedy="set `apply.stop_after_load`",
        )

    def end(partition: TopicPartition) -> int | None:
        known = catalog.topics.get(partition.topic)
        published = known.published if known is not None and known.versions else None
        return published.offsets.get(partition.partition, 0) if published is not None else None

    return end


def all_loaded(settings: Settings, completion: Completion, applier: Applier) -> bool:
    """Tell whether every table is loaded, as far as it is known; where nothing is loaded, all is.

    Only who has some of a table's partitions learns when it is complete: of tables that others have, capture's word
    counts that all is published.
    """
    topics = [t for t, known in applier.catalog.topics.items() if known.versions and not completion.is_over(t)]
    own = {partition.topic for partition in applier.cursors.positions}
    return settings.mode is Mode.CDC or all(
        completion.is_done(topic) or (own and topic not in own and completion.is_published(topic)) for topic in topics
    )

"""Forgetting a replication: an ordered list of actions that is shown before it is done.

The checkpoints come first, under capture's transactional id, so that a capture that still runs is fenced before
anything it needs disappears. The epoch of the commit sequence survives on the checkpoints topic, which is therefore
kept: guards that this life left in a target never block the next one. Tables at the targets are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from control.contact import reach_source
from control.status import data_topics
from runtime.kafka.admin import Topics
from schemas import topics as names
from schemas.errors import TailraceError
from schemas.settings import Settings


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a reset does."""

    description: str
    """An infinitive without `to`."""
    run: Callable[[], Sequence[str]]
    """Does it; returns what was done, in words."""


def plan(settings: Settings, *, keep_topics: bool, keep_source: bool, purge: bool = False) -> list[Step]:
    """Return what a reset would do, in order. Asks Kafka which topics there are.

    `purge` removes the checkpoints topic too, and with it the epoch: for a name that never comes back.
    """
    if settings.by_debezium:
        return _plan_of_appliers(settings, keep_topics=keep_topics)
    steps = [Step("fence a running capture and forget its checkpoints", lambda: _forget_checkpoints(settings))]
    if not keep_source:
        steps.append(
            Step(
                f"drop {settings.source.holdings(settings.name)}",
                lambda: _destroy(settings),
            )
        )
    if not keep_topics:
        doomed = _topics(settings)
        steps.append(Step(f"delete {len(doomed)} topics", lambda: _delete_topics(settings, doomed)))
    groups = [names.capture_group(settings.name)]
    groups += [names.apply_group(settings.name, target) for target in settings.targets]
    steps.append(Step(f"delete {len(groups)} consumer groups", lambda: _delete_groups(settings, groups)))
    steps += [_forget_step(settings, target) for target in settings.targets]
    if purge:
        last = names.checkpoints_topic(settings.name)
        steps.append(
            Step(f"delete {last} with the epoch of the commit sequence", lambda: _delete_topics(settings, [last]))
        )
    return steps


def _plan_of_appliers(settings: Settings, *, keep_topics: bool) -> list[Step]:
    """Return the steps where Debezium captures: its topics, and what it has at the source, are left alone."""
    steps: list[Step] = []
    if not keep_topics:
        doomed = _own_topics(settings)
        steps.append(Step(f"delete {len(doomed)} topics", lambda: _delete_topics(settings, doomed)))
    groups = [names.apply_group(settings.name, target) for target in settings.targets]
    steps.append(Step(f"delete {len(groups)} consumer groups", lambda: _delete_groups(settings, groups)))
    return steps + [_forget_step(settings, target) for target in settings.targets]


def run(steps: Sequence[Step]) -> Iterator[str]:
    """Do the steps; yield what was done. A step that fails does not keep the next ones; the first error is raised."""
    first: TailraceError | None = None
    for step in steps:
        try:
            yield from step.run()
        except TailraceError as error:
            yield f"could not {step.description}: {error.message}"
            first = first or error
    if first is not None:
        raise first


def _forget_step(settings: Settings, target: str) -> Step:
    from apply.sinks import forget

    return Step(f"forget the offsets kept in target {target}", lambda: forget(settings, target))


def _forget_checkpoints(settings: Settings) -> Sequence[str]:
    from capture import checkpoints

    return checkpoints.reset(settings)


def _destroy(settings: Settings) -> Sequence[str]:
    with closing(reach_source(settings)) as source:
        return source.destroy()


def _topics(settings: Settings) -> list[str]:
    existing = Topics(settings.kafka).list()
    return [*(topic for topic in data_topics(settings) if topic in existing), *_own_topics(settings)]


def _own_topics(settings: Settings) -> list[str]:
    own = [
        names.schemas_topic(settings.name),
        names.ddl_topic(settings.name),
        names.transactions_topic(settings.name),
        names.parts_topic(settings.name),
        names.signals_topic(settings.name),
        names.status_topic(settings.name),
        *(names.dead_letters_topic(settings.name, target) for target in settings.targets),
    ]
    existing = Topics(settings.kafka).list(settings.name)
    return [topic for topic in own if topic in existing]


def _delete_topics(settings: Settings, topics: Sequence[str]) -> list[str]:
    Topics(settings.kafka).delete(topics)
    return [f"deleted topic {topic}" for topic in topics]


def _delete_groups(settings: Settings, groups: Sequence[str]) -> list[str]:
    cluster = Topics(settings.kafka)
    return [f"deleted group {group}" for group in groups if cluster.delete_group(group)]

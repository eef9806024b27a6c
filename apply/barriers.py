"""Names of barriers, at which the appliers of a target wait for each other: no two are for the same."""

from __future__ import annotations


def barrier_of_truncate(topic: str, sequence: int) -> str:
    """Return the barrier's name: the same in every process and at every repetition."""
    return f"t:{topic}:{sequence}"


def barrier_of_load(topic: str, generation: int) -> str:
    """Return the name of the barrier behind which a load is complete."""
    return f"l:{topic}:{generation}"


def barrier_of_version(topic: str, version: int) -> str:
    """Return the name of the barrier behind which the indexes and foreign keys of a version are made."""
    return f"c:{topic}:{version}"


def barrier_of_drop(topic: str, version: int) -> str:
    """Return the name of the barrier behind which a table is dropped whose last version it was."""
    return f"d:{topic}:{version}"

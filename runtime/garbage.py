"""Python's collector of reference cycles, set up for services that move rows.

The data path makes millions of tuples and no cycles; by default each 700 of them are looked through, and now and then
all that was ever imported. That was 12 % of capture's time (`docs/benchmarks-notes.md`). What is not in a cycle is
freed at once all the same: memory stays bounded by the batches.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 50_000
"""How many more objects than before there must be for the young ones to be looked through."""


def collect_rarely() -> None:
    """Look for cycles when there are many more objects. Called before the most is imported, which is made to stay."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


def defer() -> None:
    """Collect nothing before `spare`: what a service imports is made to stay."""
    gc.disable()


def collect_young() -> None:
    """Free the cycles among what was made lately, as compiled functions are: where many are given up at once."""
    gc.collect(0)


def spare() -> None:
    """Leave what is loaded so far out of all collections, and collect rarely. Called once, when a service starts."""
    gc.freeze()
    collect_rarely()
    gc.enable()

"""Reading what stands besides the rows of many records: those of one source transaction differ in their sequence only.

So the record before is remembered by the bytes of its source before the commit sequence, and by all that follows it.
Where a record ends with the same, it is looked at no further: its sequence is what stands between. No row can be taken
for a source: the bytes are compared at the record's end, behind all rows, and hold the source whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from schemas.codecs.codec import Facts
from schemas.twin import built


class Places(NamedTuple):
    """Where things stand in a record."""

    source: int
    """Where its source begins, behind the rows."""
    seq: int
    """Where the commit sequence begins, as the format writes it."""
    end: int
    """Where that ends."""


def facts_reader(
    read: Callable[[bytes], Facts],
    places: Callable[[bytes], Places],
    sequence: Callable[[bytes], int | None],
    is_json: bool,
    find: Callable[[str], ModuleType | None] = built,
) -> Callable[[list[bytes], list[Facts]], None]:
    """Return a function that appends the facts of many values to a list.

    `read` reads those of any value, `places` raises ValueError for one that is to be read by itself, and `sequence`
    reads the bytes of a commit sequence: None, if they are something else. The compiled twin reads them itself.
    """
    module = find("facts")
    if module is not None:
        return partial(module.facts_many, read=read, places=places, make=partial(tuple.__new__, Facts), is_json=is_json)

    def many(values: list[bytes], out: list[Facts]) -> None:
        append = out.append
        head = tail = b""
        size = 0
        others: Sequence[Any] | None = None
        for value in values:
            end = len(value) - len(tail)
            if (
                others is not None
                and value.endswith(tail)
                and value.startswith(head, end - size)
                and (seq := sequence(value[end - size + len(head) : end])) is not None
            ):
                append(Facts(seq, *others))
                continue
            facts = read(value)
            append(facts)
            others = facts[1:]
            try:
                source, begin, end = places(value)
            except ValueError:
                others = None
            else:
                head, tail, size = value[source:begin], value[end:], end - source

    return many

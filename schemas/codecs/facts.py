"""Reading what stands besides the rows of many records: those of one source transaction differ in their sequence only.

So the record before is remembered by the bytes of its source before the commit sequence, and by all that follows it.
Where a record ends with the same, it is looked at no further: its sequence is what stands between. No row can be taken
for a source: the bytes are compared at the record's end, behind all rows, and hold the source whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from schemas.codecs.codec import Facts


class Places(NamedTuple):
    """Where things stand in a record."""

    source: int
    """Where its source begins, behind the rows."""
    seq: int
    """Where the commit sequence begins, as the format writes it."""
    end: int
    """Where that ends."""


def facts_reader(
    read: Callable[[bytes], Facts], places: Callable[[bytes], Places], sequence: Callable[[bytes], int | None]
) -> Callable[[list[bytes], list[Facts]], None]:
    """Return a function that appends the facts of many values to a list.

    `read` reads those of any value, `places` raises ValueError for one that is to be read by itself, and `sequence`
    reads the bytes of a commit sequence: None, if they are something else.
    """

    def many(values: list[bytes], out: list[Facts]) -> None:
        head = tail = b""
        head_size = tail_size = 0
        facts = None
        append = out.append
        size = 0
        for value in values:
            if facts is not None and value.endswith(tail):
                end = len(value) - tail_size
                if value.startswith(head, end - size):
                    seq = sequence(value[end - size + head_size : end])
                    if seq is not None:
                        append(Facts(seq, *others))
                        continue
            facts = read(value)
            append(facts)
            others = facts[1:]
            try:
                source, begin, end = places(value)
            except ValueError:
                facts = None
                continue
            head, tail = value[source:begin], value[end:]
            head_size, tail_size, size = begin - source, len(tail), end - source

    return many

"""Rows as files that Neptune's bulk loader reads: CSV with a header, one file for each definition.

Neptune user guide, "Gremlin load data format": RFC 4180 in UTF-8, vertices and edges apart, an empty field is no value.
What a file cannot say exactly (an empty text, a text where a number belongs) is not written by one: ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from apply.sinks.neptune.elements import Change, Element
from apply.sinks.neptune.gremlin import Typed
from schemas.changes import Row

_NAME = re.compile(r"[^\s,\"\\;()\[\]~\x00-\x1f\x7f]+")
"""Names of properties that a header can have; a colon is escaped. The page above, "Property column headers"."""
_LABEL = re.compile(r"[^;\x00-\x1f\x7f]+")
"""A semicolon would begin another label."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""RFC 4180 knows no control characters but tabs and line ends."""

Line = list[bytes]
"""The fields of a row."""


class FileForm:
    """How rows of one version become lines of one definition's files."""

    def __init__(self, element: Element) -> None:
        self.element = element
        self._names = [name for name, _ in element.kinds]
        self._kinds = dict(element.kinds)
        # Edges have one value of each property, and say nothing of it.
        single = "" if element.is_edge else "(single)"
        ends = ["~from", "~to"] if element.is_edge else []
        columns = [f"{name.replace(':', chr(92) + ':')}:{kind}{single}" for name, kind in element.kinds]
        self.header = line_of([each.encode() for each in ["~id", *ends, "~label", *columns]])
        self._label = _quoted(element.label or "")

    def line(self, row: Row, change: Change) -> Line | None:
        """Return a row's fields; None for one that has no such element. Raises ValueError for what no file can say."""
        place = self.element.place(row)
        if place is None:
            return None
        values = self.element.values(row, change)
        return [*map(_quoted, place), self._label, *(self._field(name, values.get(name)) for name in self._names)]

    def ends(self, row: Row) -> Iterable[tuple[bytes, bytes]]:
        """Return id and label of the vertices at a row's edge: the loader takes no edge whose ends are not there."""
        place = self.element.place(row)
        if place is None or self.element.ends is None:
            return ()
        labels = (label for _, label in self.element.ends)
        return [(_quoted(id_), _quoted(label or "")) for id_, label in zip(place[1:], labels, strict=True)]

    def _field(self, name: str, value: Typed | None) -> bytes:
        if value is None:
            return b""
        if value.kind != self._kinds[name]:
            raise ValueError("a property is a text here, and has another type")
        return _quoted(value.text) if value.kind == "String" else value.text.encode()


ENDS_HEADER = b"~id,~label\n"


def can_load(element: Element) -> bool:
    """Tell whether rows of a definition can go by files.

    The loader has no conditions, and writes in any order: what several rows may write, and what has its label from
    another definition, does not go by it.
    """
    labels = [element.label, *(label for _, label in element.ends or ())]
    names = [name for name, _ in element.kinds]
    return (
        not element.lacks_key
        and all(label is not None and _LABEL.fullmatch(label) for label in labels)
        and all(_NAME.fullmatch(name) for name in names)
        and len(set(names)) == len(names)
    )


def line_of(fields: Sequence[bytes]) -> bytes:
    """Return a line."""
    return b",".join(fields) + b"\n"


def _quoted(text: str) -> bytes:
    if not text:
        raise ValueError("an empty text is none to the loader")
    if _CONTROL.search(text):
        raise ValueError("a text has control characters")
    # Half of a surrogate pair is none of UTF-8: UnicodeEncodeError is a ValueError.
    return ('"' + text.replace('"', '""') + '"').encode()

"""Gremlin as text: literals, and the statements that write rows. Text of rows stands in literals alone.

The grammar is the one of Apache TinkerPop (`Gremlin.g4`), by which Neptune reads requests; it knows no variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

SEQUENCE = "tailrace_seq"
"""How properties begin that hold the commit sequence of a definition's last change."""
ROW = "tailrace_row"
"""How properties begin that hold the key of an element's row, where its id may change."""
ORPHAN = "tailrace_orphan"
"""Marks vertices that nothing but edges may need any more."""
DELETED = "tailrace_deleted"
"""Label of the vertices that remember deleted rows."""

# A backslash before `u` is undone before the grammar sees the text where Groovy reads it: a quote must not be one.
_ESCAPED = re.compile(r"[\\'\x00-\x1f\x7f-\uffff\U00010000-\U0010ffff]")
_SHORT = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def text(value: str) -> str:
    """Return a literal of a text, in ASCII."""
    return f"'{_ESCAPED.sub(_escape, value)}'" if not value.isalnum() or not value.isascii() else f"'{value}'"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


class Typed(NamedTuple):
    """A value of a property."""

    kind: str
    """Its type, by the name that the loader has for it: `Bool`, `Int`, `Long`, `Double`, `String`, `Date`."""
    text: str
    """The value as text: numbers in digits, a date in ISO 8601 with milliseconds and `Z`."""


_FORMS = {"Bool": "{}", "Int": "{}", "Long": "{}L", "Double": "{}d", "Date": "datetime('{}')"}


def literal(value: Typed) -> str:
    """Return a value's literal."""
    form = _FORMS.get(value.kind)
    return text(value.text) if form is None else form.format(value.text)


name = lru_cache(4_096)(text)
"""Return a literal of a property's name."""


def remember(memory: str, seq: int, at_s: int) -> str:
    """Return the statement that keeps the sequence of a deletion."""
    return (
        f"g.mergeV([(T.id):{memory}]).option(Merge.onCreate,[(T.label):'{DELETED}']).not(__.has('seq',gte({seq}L)))"
        f".property(single,'seq',{seq}L).property(single,'at',{at_s}L).iterate()"
    )


def unless_newer(guards: Sequence[str], seq: int, own: str) -> str:
    """Return how a statement begins that goes on only if none of these elements has the sequence, or a later one."""
    return "g.inject(1)" + "".join(f".not({guard}.has({own},gte({seq}L)))" for guard in guards)


def not_deleted(memory: str, seq: int) -> str:
    """Return a step that goes on only if no deletion of the row is known that is not older."""
    return f".not(__.V({memory}).has('seq',gte({seq}L)))"


def merge_vertex(id_: str, label: str | None) -> str:
    """Return a step to a vertex, which is made unless it is there."""
    made = f".option(Merge.onCreate,[(T.label):{text(label)}])" if label is not None else ""
    return f"mergeV([(T.id):{id_}]){made}"


def merge_edge(id_: str, label: str, ends: tuple[str, str]) -> str:
    """Return a step to an edge, which is made unless it is there; its ends are."""
    made = f"[(T.label):{text(label)},(Direction.from):{ends[0]},(Direction.to):{ends[1]}]"
    return f".mergeE([(T.id):{id_}]).option(Merge.onCreate,{made})"


def properties(values: Mapping[str, Typed | None], single: str) -> str:
    """Return steps that write properties, by their names; None: it is to go."""
    gone = ",".join(name(each) for each, value in values.items() if value is None)
    drop = f".sideEffect(__.properties({gone}).drop())" if gone else ""
    written = (f".property({single}{name(n)},{literal(v)})" for n, v in values.items() if v is not None)
    return drop + "".join(written)


def drop_edges(found: str, own: str, seq: int) -> str:
    """Return a statement that removes edges that are older, and marks vertices that had nothing but them."""
    mark = f"__.bothV().not(__.properties()).property(single,'{ORPHAN}',1)"
    return f"g.{found}.has({own},lt({seq}L)).sideEffect({mark}).drop().iterate()"


def strip_vertices(found: str, own: str, seq: int, stripped: str) -> str:
    """Return a statement that takes their properties from vertices that are older, and marks these."""
    strip = f".sideEffect(__.{stripped}.drop()).property(single,'{ORPHAN}',1)"
    return f"g.{found}.has({own},lt({seq}L)){strip}.iterate()"


def sweep() -> list[str]:
    """Return statements that remove marked vertices without properties and edges, and the marks of the others."""
    bare = f".not(__.bothE()).not(__.properties().hasKey(without('{ORPHAN}')))"
    return [
        f"g.V().has('{ORPHAN}',1){bare}.drop().iterate()",
        f"g.V().has('{ORPHAN}',1).properties('{ORPHAN}').drop().iterate()",
    ]

"""Partial updates of JSON values (`binlog_row_value_options = PARTIAL_JSON`): changes, applied to the old document.

The log holds a list of changes in place of the new value: `Json_diff_vector::write_binary` in `json_diff.cc`. Each is
an operation, a path, and a value unless something is removed. They are applied to the text of the old value, in which a
number keeps its spelling, and the result is printed as the server prints documents: members by length, then by bytes.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from typing import Any

from capture.sources.mysql.binary_json import json_text
from capture.sources.mysql.packets import length_at
from schemas.changes import UNCHANGED
from schemas.errors import ErrorKind, TailraceError

PARTIAL_JSON = 1
"""Bit of an event's value options: some values are lists of changes."""

_REPLACE, _INSERT, _REMOVE = range(3)
_LEG = re.compile(r'\.(?:"((?:[^"\\]|\\.)*)"|([^.\["]+))|\[(\d+)\]')


class _Number(str):
    """A number as it is spelled."""

    __slots__ = ()


def patched_text(before: Any, changes: bytes) -> str:
    """Return the text of a document after changes. Raises ValueError or IndexError where they do not fit it.

    Raises PREREQUISITE where the old document is not known.
    """
    if before is UNCHANGED:
        raise TailraceError(
            ErrorKind.PREREQUISITE,
            "the log holds a partial update of a JSON value without the old one",
            remedy="set global binlog_row_image = 'FULL', or binlog_row_value_options = ''; then load the table anew",
        )
    # Within a list, so that the whole document can be replaced like any part of it.
    root = [_parsed(before)]
    at = 0
    while at < len(changes):
        operation = changes[at]
        size, at = length_at(changes, at + 1)
        path = changes[at : at + size].decode()
        at += size
        value = None
        if operation != _REMOVE:
            size, at = length_at(changes, at)
            value = _parsed(json_text(changes[at : at + size]))
            at += size
        _apply(root, operation, _legs(path), value)
    return _printed(root[0])


def _parsed(text: str) -> Any:
    return json.loads(text, parse_int=_Number, parse_float=_Number)


def _legs(path: str) -> list[int | str]:
    legs: list[int | str] = []
    at = 1
    while at < len(path):
        found = _LEG.match(path, at)
        if found is None:
            raise ValueError("a path in a JSON document that cannot be read")
        quoted, name, place = found.groups()
        legs.append(int(place) if place is not None else name if name is not None else json.loads(f'"{quoted}"'))
        at = found.end()
    return legs


def _apply(root: list[Any], operation: int, legs: list[int | str], value: Any) -> None:
    holder: Any = root
    place: Any = 0
    for leg in legs:
        inner = holder[place]
        if isinstance(leg, int) and not isinstance(inner, list):
            # What is no array counts as one of one element.
            if leg:
                raise ValueError("a change of an element in what is no array")
            continue
        if isinstance(leg, str) and not isinstance(inner, dict):
            raise ValueError("a change of a member in what is no object")
        holder, place = inner, leg
    if operation == _INSERT and isinstance(holder, list):
        holder.insert(place, value)
        return
    if operation != _INSERT and isinstance(holder, dict) and place not in holder:
        raise ValueError("a change of a member that is not there")
    if operation == _REMOVE:
        del holder[place]
    elif operation in (_INSERT, _REPLACE):
        holder[place] = value
    else:
        raise ValueError("an unknown change of a JSON document")


def _printed(value: Any) -> str:
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: (len(name := member[0].encode()), name))
        return "{" + ", ".join(f"{encode_basestring(name)}: {_printed(part)}" for name, part in members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_printed, value)) + "]"
    if isinstance(value, _Number):
        return str(value)
    return encode_basestring(value) if isinstance(value, str) else {None: "null", True: "true", False: "false"}[value]

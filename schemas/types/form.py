"""The shape of a family's entry: everything that is said about its types, once.

An entry's fragments are source text. `schemas/codecs` pastes them into one function per table version. In a fragment of
an Avro writer, the value is in the variable that `v` names (never None), and the encoded value, *with* the union byte
`02` in front, is to be put into `o`. In a fragment of an Avro reader, the value begins at `p + at` in the buffer `b`;
the fragment puts it into `v` and moves `p` behind it. The scratch variables are `x`, `y`, `w`, `z`, `e`, `h`, `s` and
`t`. The names that fragments use stand in the module's `NAMES`.

A fragment may raise whatever the wrong kind of value makes Python raise: the function around it takes any exception as
a sign to look closer. So nothing is tested that would fail by itself; UNCHANGED above all must make a fragment fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.types.logical import Family, LogicalType

ConnectSchema = dict[str, Any]
"""A schema as Kafka Connect's JsonConverter writes it, without `optional` and `field`."""


@dataclass(frozen=True, slots=True)
class WireForm:
    """One family on the wire."""

    family: Family
    canonical: str
    """The Python value, in words."""
    range: str
    """What values there are, special ones included."""
    json: str
    """The JSON form, in words."""
    connect: Callable[[LogicalType], ConnectSchema]
    """The Connect schema; `name` is Debezium's or Connect's logical name. The Avro schema follows from it."""
    avro_write: Callable[[str, str], list[str]]
    """`(v, o)` to lines."""
    avro_read: Callable[[str, int], list[str]]
    """`(v, at)` to lines."""
    json_write: Callable[[str], str] | None
    """`v` to an expression of what `orjson` is to write, None included. None: the value as it is."""
    json_read: Callable[[str], list[str]]
    """`v` to lines that check `v`, parsed and not None, and make it canonical."""
    avro_write_utf8: Callable[[str, str], list[str]] | None = None
    """`avro_write` for a text that is given as UTF-8 bytes; None where the value is no text."""
    avro_read_utf8: Callable[[str, int], list[str]] | None = None
    """`avro_read` of a text as UTF-8 bytes; None where the value is no text."""
    key: str = "{v}"
    """The expression of what a record's key holds instead of `v`: the same for all values that a database holds equal,
    so that they are one key (1.0 and 1.00, 0.0 and -0.0). `{v}`: equal values look the same."""


def connect(type_: str, name: str | None = None, version: int = 1) -> Callable[[LogicalType], ConnectSchema]:
    """Return the schema maker of types without parameters."""
    schema: ConnectSchema = {"type": type_}
    if name:
        schema |= {"name": name, "version": version}
    return lambda _: dict(schema)


def expect(v: str, class_name: str) -> list[str]:
    """Return the check that a parsed JSON value has a class. `wrong` raises."""
    return [f"if {v}.__class__ is not {class_name}: wrong()"]


def wrong() -> None:
    """Raise the error that generated readers turn into DECODE."""
    raise ValueError

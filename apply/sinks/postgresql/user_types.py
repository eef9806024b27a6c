"""Domains and composites that the target has already: whether they take every value, and how they follow the source's.

A narrower one is refused when a table is prepared: PostgreSQL would round within it without a word, as it does in a
column. A composite's value is the text of its attributes in order, so their number and order must be the source's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from apply.sinks.postgresql.compatibility import type_holds
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.ddl import mapped_type
from apply.sinks.postgresql.names import quoted
from schemas.table import UserType

FOLLOWED = ("domain", "composite")

_KINDS = {"b": "base", "c": "composite", "d": "domain", "e": "enum", "r": "range", "m": "multirange"}

_PARTS = """
select t.typtype::text, case t.typtype
       when 'd' then json_build_array(json_build_array('', format_type(t.typbasetype, t.typtypmod)))
       when 'c' then (
           select json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod)) order by a.attnum)
             from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped)
       end
  from pg_type t where t.oid = to_regtype(%s)
"""

_MORE_OF_DOMAIN = re.compile(r" (?:collate|default|not null|constraint|check)\b")
"""What follows the type in a domain's definition."""

_PART = re.compile(r"""((?:"(?:[^"]|"")+"|\([^)]*\)|[^,"(])+)(?:, |$)""")
_NAME = re.compile(r'("(?:[^"]|"")+"|[^\s"]+) (.+)')


class Part(NamedTuple):
    """An attribute of a composite, or what a domain is over."""

    name: str
    type: str


class Alteration(NamedTuple):
    """What leads the target's type to the source's, or why nothing does."""

    statements: Sequence[str] = ()
    problem: str | None = None


def alteration(
    link: Link,
    user_type: UserType,
    sql_name: str,
    schema_map: Mapping[str, str],
    versions_of: Callable[[UserType], Sequence[UserType]],
) -> Alteration:
    """Compare a type that the target has with the source's. `versions_of` tells what the target has followed so far:
    any table may have brought it, and another one be the first that brings it on.
    """
    ((letter, found),) = link.rows(_PARTS, (sql_name,))
    if _KINDS[letter] != user_type.kind:
        return Alteration(
            problem=f"{sql_name} is of kind {_KINDS[letter]} at the target, and of kind {user_type.kind} at the source"
        )
    present = [Part(*part) for part in found or ()]
    wanted = [Part(name, mapped_type(type_, schema_map)) for name, type_ in parts(user_type)]
    if user_type.kind == "domain":
        return Alteration(problem=_narrow(sql_name, wanted[0], present[0]))
    if wanted == present:
        return Alteration()
    ours = {part.name for version in versions_of(user_type) for part in parts(version)}
    return _composite(sql_name, wanted, present, ours)


def parts(user_type: UserType) -> Iterator[Part]:
    """Take a definition apart, as the source prints it."""
    if user_type.kind == "domain":
        yield Part("", _MORE_OF_DOMAIN.split(user_type.definition, maxsplit=1)[0])
        return
    for text in _PART.findall(user_type.definition):
        named = _NAME.fullmatch(text)
        if named is not None:
            name, type_ = named.groups()
            yield Part(name[1:-1].replace('""', '"') if name.startswith('"') else name, type_)


def _composite(sql_name: str, wanted: Sequence[Part], present: Sequence[Part], ours: set[str]) -> Alteration:
    alter = f"alter type {sql_name}"
    if len(wanted) == len(present) and all(type_holds(w.type, p.type) for w, p in zip(wanted, present, strict=True)):
        # Its values go by their places. One of the user's own keeps its names.
        return Alteration(
            [
                f"{alter} rename attribute {quoted(p.name)} to {quoted(w.name)}"
                for w, p in zip(wanted, present, strict=True)
                if w.name != p.name and p.name in ours
            ]
        )
    names = {part.name for part in wanted}
    left = [part for part in present if part.name in names or part.name not in ours]
    statements = [f"{alter} drop attribute {quoted(part.name)}" for part in present if part not in left]
    for place, part in enumerate(left):
        if place >= len(wanted) or wanted[place].name != part.name:
            return Alteration(
                problem=f"{sql_name} has attribute {part.name!r} in another place at the target, or too many"
            )
        if problem := _narrow(f"{sql_name}, attribute {part.name!r},", wanted[place], part):
            return Alteration(problem=problem)
    added = [f"{alter} add attribute {quoted(part.name)} {part.type}" for part in wanted[len(left) :]]
    return Alteration([*statements, *added])


def _narrow(what: str, wanted: Part, found: Part) -> str | None:
    if type_holds(wanted.type, found.type):
        return None
    return f"{what} is of {found.type} at the target, too narrow for {wanted.type}"

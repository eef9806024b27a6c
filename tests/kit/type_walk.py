"""Tables that together hold every type in every place: as it is, in arrays, under domains, in composites.

Made of the shared samples (`postgresql_samples.py`), so a new sample is walked through everything at once. Each shape
has a table with a key and one without (replica identity full), and each row another value in every column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from tests.kit.postgresql_samples import SAMPLES, NativeSample
from tests.kit.servers import Database

SHAPES = ("plain", "arrays", "domains", "domain_arrays", "composites", "composite_arrays")


@dataclass(frozen=True, slots=True)
class WalkColumn:
    """A column's type, the expressions of its values, and the types that it needs: name and what makes it."""

    name: str
    native: str
    values: tuple[str, ...]
    types: tuple[tuple[str, str], ...] = ()


def usable_samples(connection: psycopg.Connection, target: Database) -> list[NativeSample]:
    """Make what the samples need; return those that both servers can have."""
    usable = []
    with target.connect() as other:
        major = min(connection.info.server_version, other.info.server_version) // 10000
        available = {name for (name,) in other.execute("select name from pg_available_extensions").fetchall()}
        has_xml = _has_xml(other)
    made: set[str] = set()
    connection.execute("set lc_monetary = 'C'")
    for sample in SAMPLES:
        if major < sample.since or not (sample.extension is None or sample.extension in available):
            continue
        if sample.native == "xml" and not has_xml:
            continue
        statements = [s for s in sample.setup if s not in made]
        if sample.extension:
            statements.insert(0, f"create extension if not exists {sample.extension}")
        try:
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement)
                for literal in sample.literals:
                    connection.execute(f"select {literal}::{sample.native}")
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
            # The wheels' servers have neither contrib modules nor libxml.
            if not (sample.extension or sample.native == "xml"):
                raise
            continue
        made.update(statements)
        usable.append(sample)
    return usable


def _has_xml(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("select '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def make_walk(connection: psycopg.Connection, samples: list[NativeSample]) -> list[str]:
    """Make and fill the tables; return their names."""
    tables = []
    for shape in SHAPES:
        made = [shaped(shape, i, sample) for i, sample in enumerate(samples)]
        columns = [column for column in made if column is not None]
        for column in columns:
            make_types(connection, column)
        body = ", ".join(f"{c.name} {c.native}" for c in columns)
        connection.execute(f"create table {shape} (id int primary key, {body})")
        connection.execute(f"create table {shape}_bag ({body})")
        connection.execute(f"alter table {shape}_bag replica identity full")
        for row in _rows(columns):
            names = ", ".join(c.name for c in columns)
            number = row[0]
            connection.execute(f"insert into {shape} (id, {names}) values ({number}, {', '.join(row[1])})")
        connection.execute(f"insert into {shape}_bag select {names} from {shape}, generate_series(1, 2)")
        tables += [shape, f"{shape}_bag"]
    return tables


def _rows(columns: list[WalkColumn]) -> Iterator[tuple[int, list[str]]]:
    yield 0, ["null"] * len(columns)
    for i in range(max(len(c.values) for c in columns)):
        yield i + 1, [c.values[i % len(c.values)] for c in columns]


def make_types(connection: psycopg.Connection, column: WalkColumn) -> None:
    """Make the types that a column needs, unless they are there."""
    for name, statement in column.types:
        found = connection.execute("select to_regtype(%s) is null", [name]).fetchone()
        if found == (True,):
            connection.execute(statement)


def shaped(shape: str, i: int, sample: NativeSample) -> WalkColumn | None:
    """Return a column with a sample's type in some place; `i` tells the samples apart. None: no such type."""
    native, literals = sample.native, [f"{literal}::{sample.native}" for literal in sample.literals]
    name = f"c{i}"
    is_array = native.endswith("]")
    domain = (f"public.dom_{i}", f"create domain public.dom_{i} as {native}")

    def arrays(of: str) -> tuple[str, ...]:
        cast = [f"{literal}::{of}" for literal in literals]
        return (
            f"array[{', '.join(cast)}]::{of}[]",
            f"array[null, {cast[0]}]::{of}[]",
            f"array[[{cast[0]}, null], [{cast[-1]}, {cast[0]}]]::{of}[][]",
            f"'{{}}'::{of}[]",
            f"array_fill({cast[-1]}, array[2, 1], array[-3, 7])",
        )

    if shape == "plain":
        return WalkColumn(name, native, tuple(literals))
    if shape == "arrays":
        return None if is_array else WalkColumn(name, f"{native}[]", arrays(native))
    if shape == "domains":
        values = tuple(f"{literal}::{domain[0]}" for literal in literals)
        return WalkColumn(name, domain[0], values, (domain,))
    if shape == "domain_arrays":
        return WalkColumn(name, f"{domain[0]}[]", arrays(domain[0])[:4], (domain,))
    listed = "text" if is_array else f"{native}[]"
    composite = f"public.comp_{i}"
    types = (domain, (composite, f'create type {composite} as (v {native}, "a ""list""" {listed}, d {domain[0]})'))
    many = ["null"] if is_array else [*arrays(native)]
    if shape == "composites":
        whole = [f"row({v}, {many[n % len(many)]}, {v})::{composite}" for n, v in enumerate(literals)]
        return WalkColumn(name, composite, (*whole, f"row(null, null, null)::{composite}"), types)
    parts = [f"row({v}, null, {v})::{composite}" for v in literals]
    both = (f"array[null, {', '.join(parts)}]::{composite}[]", f"'{{}}'::{composite}[]")
    return WalkColumn(name, f"{composite}[]", both, types)

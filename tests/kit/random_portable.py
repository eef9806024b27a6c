"""PostgreSQL's random tables without what MySQL and MariaDB have no place for: values that they refuse, and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation

import psycopg

from tests.kit.postgresql_samples import SCALARS, TEXTS
from tests.kit.random_postgresql import begin_writer as begin_postgresql
from tests.kit.random_tables import KEYS, Kind, PostgresqlDesigner
from tests.kit.random_writer import Writer

_NONE_OF_THEIRS = frozenset({"jsonb", "json", "integer[]", "xml"})
"""Types that are no keys there, or that not every server of PostgreSQL has."""
_TEMPORAL = ("date", "timestamp", "timestamptz")
_REAL = ("real", "double precision", "numeric")
_DIGITS_BEFORE_MAX, _DIGITS_BEHIND_MAX = 35, 30


def has_place(native: str, literal: str) -> bool:
    """Tell whether MySQL and MariaDB hold a literal's value in what the type becomes there."""
    text = literal.strip("'")
    if native.startswith(_TEMPORAL):
        return not re.search(r"infinity|BC|\b0001-01-01|\d{5,}-", text)
    if native.startswith(_REAL):
        try:
            _, digits, exponent = Decimal(text).as_tuple()
        except InvalidOperation:
            # An expression, of numbers that do.
            return True
        if not isinstance(exponent, int):
            return False
        return "numeric" not in native or (
            len(digits) + exponent <= _DIGITS_BEFORE_MAX and -exponent <= _DIGITS_BEHIND_MAX
        )
    if native.startswith("json"):
        return "1e400" not in text
    return True


class PortableDesigner(PostgresqlDesigner):
    """Tables of one schema, whose names have no characters beyond the first plane."""

    schemas = ("public",)
    keys = tuple(
        Kind(kind.native, tuple(value for value in kind.values if has_place(kind.native, value)))
        for kind in KEYS
        if kind.native not in _NONE_OF_THEIRS
    )

    def name(self, taken: Sequence[str]) -> str:
        """Return a name that both know."""
        name = super().name(taken)
        return name if all(ord(letter) <= 0xFFFF for letter in name) else self.name(taken)


def begin_writer(connection: psycopg.Connection, seed: int) -> Writer:
    """Make the first tables, with rows."""
    version = connection.info.server_version // 10000
    samples = [
        replace(sample, literals=literals)
        for sample in SCALARS + TEXTS
        if sample.since <= version
        and sample.printable
        # Arrays of domains over boxes: docs/targets/mysql.md.
        and not (sample.extension or sample.setup or sample.native in ("xml", "box", "box[]"))
        and (literals := tuple(one for one in sample.literals if has_place(sample.native, one)))
    ]
    connection.execute("set lc_monetary = 'C'")
    return begin_postgresql(connection, seed, samples, PortableDesigner)

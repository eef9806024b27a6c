"""Which tables a replication takes: patterns over `schema.table`, the last match wins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate

from schemas.table import TableName


class Selection:
    """Compiled table patterns.

    A pattern is `schema.table` with the wildcards `*` and `?`; a leading `!` excludes. The last pattern that matches a
    table decides; a table that none matches is not taken. Names stand as the database spells them, unquoted.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._rules = [(not p.startswith("!"), p.removeprefix("!")) for p in patterns]
        numbered = [(number, pattern) for number, (_, pattern) in enumerate(self._rules)]
        # Found, not compared one by one: a thousand tables may be named by themselves.
        self._names = {pattern: number for number, pattern in numbered if not has_wildcard(pattern)}
        self._last_first = [(n, re.compile(translate(p)).match) for n, p in reversed(numbered) if has_wildcard(p)]

    def takes(self, name: TableName | str) -> bool:
        """Tell whether a table, or whatever else has such a name, is selected."""
        text = str(name)
        named = self._names.get(text, -1)
        decides = next((n for n, matches in self._last_first if n > named and matches(text)), named)
        return decides >= 0 and self._rules[decides][0]

    def explicit(self) -> list[str]:
        """Return the included patterns without a wildcard that no later one excludes: tables that must exist."""
        return [p for include, p in self._rules if include and not has_wildcard(p) and self.takes(p)]

    def schemas(self) -> set[str]:
        """Return the schemas that included patterns name, of whose tables they leave something open."""
        split = (p.partition(".") for include, p in self._rules if include)
        return {schema for schema, _, table in split if has_wildcard(table) and not has_wildcard(schema)}


def has_wildcard(text: str) -> bool:
    """Tell whether a pattern, or a part of one, may mean several names."""
    return any(character in text for character in "*?[")

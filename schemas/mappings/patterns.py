"""The wildcards of table mappings: `%` any characters, `_` one, `[ab]` and `[a-d]` one of these, `[_]` a plain one.

Source: AWS DMS user guide, "Wildcards in table mapping".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

_SETS = re.compile(r"\[[^\]]+\]")


@cache
def matcher(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern, to be used with `fullmatch`. Case counts."""
    return re.compile("".join(_as_regex(*part) for part in _parts(pattern)), re.DOTALL)


def matches(pattern: str, name: str) -> bool:
    """Tell whether a name is of the pattern."""
    return matcher(pattern).fullmatch(name) is not None


def plain(name: str) -> str:
    """Return a name as a pattern of `source.tables` that matches it alone."""
    return _as_glob("text", name)


def names_one(pattern: str) -> bool:
    """Tell whether a pattern can be the name of one table: it has no `%` but as `[%]`."""
    return all(kind != "any" for kind, _ in _parts(pattern))


def unescaped(text: str) -> str:
    """Return the name that a rule for one table means: `_` is no wildcard there, and `[_]` says the same."""
    return re.sub(r"\[([_%])\]", r"\1", text)


def glob(pattern: str) -> str:
    """Return the pattern as `source.tables` writes it: `*`, `?` and sets."""
    return "".join(_as_glob(*part) for part in _parts(pattern))


def _parts(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield `text`, `any`, `one` and `set`, with their characters."""
    at = 0
    while at < len(pattern):
        found = _SETS.match(pattern, at)
        if found is not None:
            inside = found[0][1:-1]
            yield ("text", inside) if inside in ("_", "%") else ("set", inside)
            at = found.end()
            continue
        character = pattern[at]
        yield {"%": ("any", ""), "_": ("one", "")}.get(character, ("text", character))
        at += 1


def _as_regex(kind: str, characters: str) -> str:
    if kind == "set":
        return "[" + re.sub(r"([\\^\]\[&~|])", r"\\\1", characters) + "]"
    return {"any": ".*", "one": "."}.get(kind) or re.escape(characters)


def _as_glob(kind: str, characters: str) -> str:
    if kind == "set":
        # A set that begins with `!` would be all others there.
        first = characters.strip("!")[-1:] if characters.startswith("!") else ""
        return f"[{first}{characters}]" if first or not characters.startswith("!") else "!"
    if kind == "text":
        return "".join(f"[{c}]" if c in "*?[" else c for c in characters)
    return {"any": "*", "one": "?"}[kind]

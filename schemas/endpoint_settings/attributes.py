"""Extra connection attributes of AWS DMS: `name=value;name=value`, as they are written and as DMS shows them.

Nothing escapes a semicolon. Behind a script's name what does not look like an attribute is the script's next statement.
Two semicolons in a row, behind a name that has no value yet, are a value and its end: so DMS shows a delimiter that is
one.
"""

from __future__ import annotations

import re

_ATTRIBUTE = re.compile(r"\s*(?P<name>[A-Za-z][A-Za-z0-9_.]*)\s*=(?P<value>.*)", re.DOTALL)
_SCRIPTS = frozenset({"afterconnectscript", "initstmt"})


def parse(text: str) -> list[tuple[str, str]]:
    """Return names with their values. Raises ValueError, without any value, for what is no such text."""
    found: list[tuple[str, str]] = []
    for piece in text.strip().removesuffix(";").split(";"):
        match = _ATTRIBUTE.fullmatch(piece)
        name, value = found[-1] if found else ("", "")
        if match is not None:
            found.append((match["name"], match["value"]))
        elif name and not piece and not value:
            found[-1] = (name, ";")
        elif name.lower() in _SCRIPTS:
            found[-1] = (name, f"{value};{piece}")
        elif piece.strip():
            raise ValueError(f"behind {name} stands what is no NAME=VALUE" if name else "are no NAME=VALUE")
    return found


def is_like(text: str) -> bool:
    """Tell whether a text is such attributes, well written or not: not JSON, and not the path of a file.

    A path begins like one, or ends in `.json` without a semicolon, since no value of an attribute does.
    """
    begins_otherwise = text.lstrip().startswith(("{", "[", '"', "./", "../", "/", "~"))
    if begins_otherwise or (";" not in text and text.rstrip().lower().endswith(".json")):
        return False
    return _ATTRIBUTE.fullmatch(text.partition(";")[0]) is not None or (";" in text and "=" in text)

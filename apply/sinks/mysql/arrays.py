"""PostgreSQL's arrays as JSON: `{1,NULL,2}` becomes `[1, null, 2]`, `{{a},{b}}` becomes `[["a"], ["b"]]`.

Booleans become JSON's, and numbers where the servers keep them: MySQL reads a number of JSON as a 64-bit integer or a
double ("The JSON Data Type"). Everything else becomes its text. Lower bounds other than 1 are lost. Notation: "Array
Input and Output Syntax" in the PostgreSQL manual; boxes are parted by semicolons ("CREATE TYPE", delimiter).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache

_TOKENS = {
    delimiter: re.compile(rf'\{{|\}}|{delimiter}|"((?:[^"\\]|\\.)*)"|([^{{}}{delimiter}"]+)', re.DOTALL)
    for delimiter in ",;"
}
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_CHARACTERS_EXACT = 15
"""A number of so many characters without an exponent is a double, or an integer, that prints as it was."""
_NUMBERS = ("smallint", "integer", "bigint", "real", "double precision", "numeric", "oid")


def array_reader(native: str) -> str:
    """Return which reader an array of this type needs: `number`, `boolean`, `box` or `text`."""
    element = re.sub(r"(\([^)]*\))?(\[\])+$", "", native)
    return "number" if element in _NUMBERS else element if element in ("boolean", "box") else "text"


@cache
def array_json(reader: str) -> Callable[[str], str]:
    """Return the function that turns an array's text into JSON. It raises ValueError for what is no array."""
    element = {"number": _number, "boolean": _boolean, "box": _text, "text": _text}[reader]
    tokens = _TOKENS[";" if reader == "box" else ","]
    separator = re.compile(r"\[[-\d:\[\]]*\]=")

    def convert(value: str) -> str:
        bounds = separator.match(value)
        at = bounds.end() if bounds else 0
        pieces: list[str] = []
        while at < len(value):
            token = tokens.match(value, at)
            if token is None:
                raise ValueError("not an array")
            at = token.end()
            inside, bare = token[1], token[2]
            if inside is not None:
                pieces.append(element(re.sub(r"\\(.)", r"\1", inside, flags=re.DOTALL)))
            elif bare is not None:
                pieces.append("null" if bare.upper() == "NULL" else element(bare))
            else:
                pieces.append({"{": "[", "}": "]", ",": ", ", ";": ", "}[token[0]])
        return "".join(pieces)

    return convert


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text) or not (len(text) <= _CHARACTERS_EXACT or _is_kept(text)):
        return _text(text)
    return text


def _is_kept(text: str) -> bool:
    """Tell whether a 64-bit integer or a double has the value of a number."""
    if text.lstrip("-").isdigit():
        return len(text) <= len("-9223372036854775808") and -(2**63) <= int(text) < 2**64
    return Decimal(repr(float(text))) == Decimal(text)


def _boolean(text: str) -> str:
    return {"t": "true", "f": "false"}[text]


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

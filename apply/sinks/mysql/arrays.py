"""PostgreSQL's arrays as JSON: `{1,NULL,2}` becomes `[1, null, 2]`, `{{a},{b}}` becomes `[["a"], ["b"]]`.

Numbers and booleans become JSON's where JSON has them exactly as written, everything else its text. Lower bounds other
than 1 are lost. Notation: "Array Input and Output Syntax" in the PostgreSQL manual.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache

_TOKEN = re.compile(r'\{|\}|,|"((?:[^"\\]|\\.)*)"|([^{},"]+)', re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_NUMBERS = ("smallint", "integer", "bigint", "real", "double precision", "numeric", "oid")


def array_reader(native: str) -> str:
    """Return which reader an array of this type needs: `number`, `boolean` or `text`."""
    element = re.sub(r"(\([^)]*\))?(\[\])+$", "", native)
    return "number" if element in _NUMBERS else "boolean" if element == "boolean" else "text"


@cache
def array_json(reader: str) -> Callable[[str], str]:
    """Return the function that turns an array's text into JSON. It raises ValueError for what is no array."""
    element = {"number": _number, "boolean": _boolean, "text": _text}[reader]
    separator = re.compile(r"\[[-\d:\[\]]*\]=")

    def convert(value: str) -> str:
        bounds = separator.match(value)
        at = bounds.end() if bounds else 0
        pieces: list[str] = []
        while at < len(value):
            token = _TOKEN.match(value, at)
            if token is None:
                raise ValueError("not an array")
            at = token.end()
            inside, bare = token[1], token[2]
            if inside is not None:
                pieces.append(element(re.sub(r"\\(.)", r"\1", inside, flags=re.DOTALL)))
            elif bare is not None:
                pieces.append("null" if bare.upper() == "NULL" else element(bare))
            else:
                pieces.append({"{": "[", "}": "]", ",": ", "}[token[0]])
        return "".join(pieces)

    return convert


def _number(text: str) -> str:
    return text if _NUMBER.fullmatch(text) else _text(text)


def _boolean(text: str) -> str:
    return {"t": "true", "f": "false"}[text]


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

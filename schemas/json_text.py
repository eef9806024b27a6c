"""Reads JSON documents that people wrote: of two members of one name, json would keep the last one and say nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

_CURLY = "\u201c\u201d\u201e\u2018\u2019"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]', re.DOTALL)


class InFile(NamedTuple):
    """A document that stands in a file of its own."""

    content: Any
    file: str
    """The file's path, as whoever names it wrote it."""


def content_of(document: Any) -> Any:
    """Return a document, wherever it stands."""
    return document.content if isinstance(document, InFile) else document


def read(text: str) -> Any:
    """Return the document. Raises ValueError, with the place and without any value, for what is no JSON, and for a name
    that stands twice in one object with different values.

    Twice with one value is twice the same: AWS's own guide has such a rule.
    """
    ends = 0
    found: list[tuple[int, str]] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal ends
        document: dict[str, Any] = {}
        for name, value in pairs:
            if name in document and _form(document[name]) != _form(value):
                found.append((ends, name))
            document[name] = value
        ends += 1
        return document

    try:
        document = json.loads(text, object_pairs_hook=members)
    except json.JSONDecodeError as error:
        # Not chained: the error holds the text, and secrets may be in it.
        if not text.strip():
            raise ValueError("is empty") from None
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"is no JSON ({where}): {_reason(text, error)}") from None
    if found:
        end, name = found[0]
        places = next(islice(_objects(text), end, None))
        at = [place for given, place in places if given == name][1]
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise ValueError(f"says {json.dumps(name)} twice, with different values (line {line}, column {column})")
    return document


def _reason(text: str, error: json.JSONDecodeError) -> str:
    """Return what is wrong, without any value: as what people write by hand, or as the decoder says it."""
    found, before = text[error.pos : error.pos + 1], text[: error.pos].rstrip()[-1:]
    if found in "}]" and before == ",":
        return "a comma with nothing behind it"
    if found and found in "/#":
        return "JSON has no comments"
    if found and found in _CURLY:
        return "typographic quotation marks instead of straight ones"
    if error.msg == "Extra data":
        return "something stands behind the document's end"
    return (error.msg[0].lower() + error.msg[1:]).removesuffix(" at")


def _form(value: Any) -> str:
    """Return a value so that `1`, `1.0` and `true` are different."""
    return json.dumps(value, sort_keys=True)


def _objects(text: str) -> Iterator[list[tuple[str, int]]]:
    """Yield the names in each object of a text that is JSON, with their places, in the order in which objects end."""
    opened: list[list[tuple[str, int]]] = []
    last = ("", 0)
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                opened.append([])
            case "]":
                opened.pop()
            case "}":
                yield opened.pop()
            case ":":
                opened[-1].append((json.loads(last[0]), last[1]))
            case name:
                last = (name, token.start())

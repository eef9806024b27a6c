"""The servers' charsets as functions from bytes to `str`.

What a server converts to UTF-8 when rows are read, this does when they come in the log: so both must be the same
function. Unicode's encodings are Python's own. Of the others `tests/integration/mysql_source/test_charsets.py`
compares every code with the server's conversion; where a codec of Python's differs, the difference is listed here.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from functools import cache

_CODECS = {
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "ascii": "ascii",
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
    "latin1": "cp1252",
    "latin2": "iso8859_2",
    "latin5": "iso8859_9",
    "latin7": "iso8859_13",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1256": "cp1256",
    "cp1257": "cp1257",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp866": "cp866",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "macce": "mac_latin2",
    "macroman": "mac_roman",
    "tis620": "tis_620",
    "gbk": "gbk",
    "gb2312": "gb2312",
    "gb18030": "gb18030",
    "big5": "big5",
    "sjis": "shift_jis",
    "cp932": "cp932",
    "ujis": "euc_jp",
    "euckr": "cp949",
}

_DIFFERENCES: dict[str, dict[int, int | str]] = {
    "greek": {0x2018: 0x2BD, 0x2019: 0x2BC},
    "hebrew": {0xAF: 0x203E},
    "cp866": {0x2116: 0x207F, 0xA4: 0xB2},
    "koi8u": {0x2219: 0x2022},
    "sjis": {0xFF3C: 0x5C},
    "ujis": {0xFF3C: 0x5C},
    "gb18030": {0xE7C7: 0x1E3F, 0x1E3F: 0xE7C7},
}
"""Characters of the codec, and what the servers have in their place."""

_CONTROLS = "latin1"
"""The servers' latin1 is cp1252 with the five codes that it leaves out as control characters."""

UNSUPPORTED = frozenset({"armscii8", "dec8", "geostd8", "hp8", "keybcs2", "swe7", "eucjpms"})
"""Charsets that have no codec here: a table that uses one is refused by name."""

Decode = Callable[[bytes], str]


@cache
def decoder(charset: str) -> Decode:
    """Return the function that decodes a charset. It raises UnicodeDecodeError. Raises ValueError if there is none."""
    if charset not in _CODECS:
        raise ValueError(f"the charset {charset} is not supported")
    codec, differences = _CODECS[charset], _DIFFERENCES.get(charset)
    if charset == _CONTROLS:
        table = "".join(bytes([i]).decode(codec, "replace") for i in range(256))
        table = "".join(chr(i) if c == "\ufffd" else c for i, c in enumerate(table))
        return lambda content: codecs.charmap_decode(content, "strict", table)[0]
    if differences:
        return lambda content: content.decode(codec).translate(differences)
    return lambda content: content.decode(codec)


def expression(charset: str, content: str) -> tuple[str, dict[str, Decode]]:
    """Return source text that decodes the bytes that `content` stands for, and the names that it needs."""
    if _CODECS.get(charset) == "utf-8":
        return f"{content}.decode()", {}
    return f"decode_{charset}({content})", {f"decode_{charset}": decoder(charset)}


@cache
def begins_with_ascii(charset: str) -> bool:
    """Tell whether bytes below 128 are ASCII's characters, unless others come before them."""
    decode = decoder(charset)
    try:
        return all(decode(bytes([code])) == chr(code) for code in range(128))
    except UnicodeDecodeError:
        return False

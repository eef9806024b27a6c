"""The servers' charsets as functions from bytes to `str`.

What a server converts to UTF-8 when rows are read, this does when they come in the log: so both must be the same
function. Unicode's encodings are Python's own. Of the others `tests/integration/mysql_source/test_types.py` compares
every code with the server's conversion; where a codec of Python's differs, the difference is listed here.
"""

from __future__ import annotations

import codecs
import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import product

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
    "armscii8": "latin-1",
    "dec8": "latin-1",
    "geostd8": "latin-1",
    "hp8": "hp_roman8",
    "keybcs2": "cp437",
    "swe7": "ascii",
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
    "eucjpms": "euc_jp",
    "euckr": "cp949",
}


def _from(first: int, characters: str) -> dict[int, int]:
    return {first + i: ord(character) for i, character in enumerate(characters)}


_NOTHING = 0xFFFE
"""Stands for no character: decoding it is an error."""

_DIFFERENCES: dict[str, dict[int, int]] = {
    "armscii8": _from(
        0xA1, "❁§։)(»«—.՝,-՟…՜՛՞ԱաԲբԳգԴդԵեԶզԷէԸըԹթԺժԻիԼլԽխԾծԿկՀհՁձՂղՃճՄմՅյՆնՇշՈոՉչՊպՋջՌռՍսՎվՏտՐրՑցՒւՓփՔքՕօՖֆ’'"
    ),
    "dec8": str.maketrans("¨×Ý÷ý¤¦¬\xad®¯´¸¾ÐÞðþÿ", "¤ŒŸœÿ" + 14 * chr(_NOTHING)),
    "geostd8": dict.fromkeys((*range(0x80, 0xA0), *range(0xE6, 0x100)), _NOTHING)
    | str.maketrans("\x80\x82\x84\x85\x86\x87\x89\x8b\x91\x92\x93\x94\x95\x96\x97\x9b\xfd", "€‚„…†‡‰‹‘’“”•–—›№")
    | _from(0xC0, "აბგდევზჱთიკლმნჲოპჟრსტჳუფქღყშჩცძწჭხჴჯჰჵ"),
    "keybcs2": str.maketrans("ÇâàåçêëèïîìÅæÆòûùÿ¢£¥₧ƒñÑªº¿⌐¬½", "ČďĎŤčěĚĹÍľĺÁžŽÓůÚýŠĽÝŘťňŇŮÔšřŕŔ"),
    "swe7": str.maketrans("@[\\]^`{|}~\x7f", "ÉÄÖÅÜéäöåü" + chr(_NOTHING)),
    "greek": {0x2018: 0x2BD, 0x2019: 0x2BC},
    "hebrew": {0xAF: 0x203E},
    "cp866": {0x2116: 0x207F, 0xA4: 0xB2},
    "koi8u": {0x2219: 0x2022},
    "sjis": {0xFF3C: 0x5C},
    "ujis": {0xFF3C: 0x5C},
    "eucjpms": str.maketrans("〜‖−¢£¬¦", "～∥－￠￡￢￤"),
    "gb18030": {0xE7C7: 0x1E3F, 0x1E3F: 0xE7C7},
}
"""Characters of the codec, and what the servers have in their place."""

_CONTROLS = "latin1"
"""The servers' latin1 is cp1252 with the five codes that it leaves out as control characters."""

Decode = Callable[[bytes], str]


@cache
def decoder(charset: str) -> Decode:
    """Return the function that decodes a charset. It raises UnicodeDecodeError. Raises ValueError if there is none."""
    if charset not in _CODECS:
        raise ValueError(f"the charset {charset} is not supported")
    codec, differences = _CODECS[charset], _DIFFERENCES.get(charset, {})
    if codec == "euc_jp":
        return partial(_japanese, errors=charset, differences=differences)
    if charset == _CONTROLS or _NOTHING in differences.values():
        table = "".join(bytes([i]).decode(codec, "replace") for i in range(256)).translate(differences)
        table = "".join(
            chr(i if charset == _CONTROLS else _NOTHING) if c == "\ufffd" else c for i, c in enumerate(table)
        )
        return lambda content: codecs.charmap_decode(content, "strict", table)[0]
    if charset == "big5":
        return lambda content: content.decode(codec, charset)
    if differences:
        return lambda content: content.decode(codec).translate(differences)
    return lambda content: content.decode(codec)


def _japanese(content: bytes, errors: str, differences: dict[int, int]) -> str:
    if errors == "eucjpms":
        # A tilde twice as wide, which the codec takes for ASCII's.
        content = content.replace(b"\x8f\xa2\xb7", b"\xa1\xc1")
    return content.decode("euc_jp", errors).translate(differences)


def _users(error: UnicodeError) -> tuple[str, int]:
    """Return the character that a code of EUC means to whom it is left to (Unicode's private use), and its end."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    at = error.start
    is_long = error.object[at] == 0x8F
    row, column = error.object[at + is_long : at + is_long + 2].ljust(2, b"\0")
    if not (0xF5 <= row <= 0xFE and 0xA1 <= column <= 0xFE):
        raise error
    return chr((0xE3AC if is_long else 0xE000) + 94 * (row - 0xF5) + column - 0xA1), at + is_long + 2


def _vendors(error: UnicodeError) -> tuple[str, int]:
    """The same with NEC's and IBM's characters of Microsoft's Shift JIS, where they are in EUC."""
    if isinstance(error, UnicodeDecodeError):
        at = error.start
        if error.object[at] == 0xAD and (character := _nec(error.object[at + 1 : at + 2])):
            return character, at + 2
        number = int.from_bytes(error.object[at + 1 : at + 3], "big") if error.object[at] == 0x8F else 0
        row, column = divmod(number - 0xF3A1, 256)
        if 0 <= 94 * row + column - 82 < len(_ibm()) and column < 94:
            return _ibm()[94 * row + column - 82], at + 3
    return _users(error)


def _nec(column: bytes) -> str:
    """Return the character of row 13 with this column, or nothing."""
    code = column[0] - 0xA1 + 0x40 if column >= b"\xa1" else 0
    return _microsofts(0x87, code + (code >= 0x7F))


@cache
def _ibm() -> str:
    """Return IBM's characters in their order, but for those that the Japanese standards have."""
    found = "".join(_microsofts(row, column) for row in range(0xFA, 0xFD) for column in range(0x40, 0xFD))
    standard = {0xFFE2: 0xAC, 0xFFE4: 0xA6}
    return "".join(c for c in found if c == "№" or not c.translate(standard).encode("euc_jp", "ignore"))


def _microsofts(row: int, column: int) -> str:
    try:
        character = bytes([row, column]).decode("cp932")
    except UnicodeDecodeError:
        return ""
    return character if len(character) == 1 else ""


def _eten(error: UnicodeError) -> tuple[str, int]:
    """Return the character that ETEN added to Big5 at a code, and its end."""
    assert isinstance(error, UnicodeDecodeError)
    row, column = error.object[error.start : error.start + 2].ljust(2, b"\0")
    if row != 0xF9 or not 0xD6 <= column <= 0xDC:
        raise error
    return "碁銹裏墻恒粧嫺"[column - 0xD6], error.start + 2


codecs.register_error("big5", _eten)
codecs.register_error("ujis", _users)
codecs.register_error("eucjpms", _vendors)


def expression(charset: str, content: str) -> tuple[str, dict[str, Decode]]:
    """Return source text that decodes the bytes that `content` stands for, and the names that it needs."""
    if _CODECS.get(charset) == "utf-8":
        return f"{content}.decode()", {}
    return f"decode_{charset}({content})", {f"decode_{charset}": decoder(charset)}


SPELLINGS_MAX = 64
"""More than texts that people write have."""


def spellings(charset: str, text: str) -> list[bytes]:
    """Return all bytes that mean a text, where some of its characters have several codes in a charset; else nothing."""
    codes = _codes(charset)
    if any(character not in codes for character in text):
        return []
    options = [codes[character] for character in text]
    return [b"".join(parts) for parts in product(*options)] if 1 < math.prod(map(len, options)) <= SPELLINGS_MAX else []


@cache
def _codes(charset: str) -> Mapping[str, Sequence[bytes]]:
    """Return the codes of each character, of charsets that have several of some; of others nothing."""
    decode = decoder(charset)
    codes = [bytes([i]) for i in range(256)]
    codes += [bytes([i, j]) for i in range(0x81, 0xFF) for j in range(0x40, 0xFF)]
    if _CODECS[charset] == "euc_jp":
        codes += [bytes([0x8F, i, j]) for i in range(0xA1, 0xFF) for j in range(0xA1, 0xFF)]
    found: dict[str, list[bytes]] = {}
    for code in codes:
        with contextlib.suppress(UnicodeDecodeError):
            text = decode(code)
            if len(text) == 1:
                found.setdefault(text, []).append(code)
    return found if any(len(several) > 1 for several in found.values()) else {}


@cache
def begins_with_ascii(charset: str) -> bool:
    """Tell whether bytes below 128 are ASCII's characters, unless others come before them."""
    decode = decoder(charset)
    try:
        return all(decode(bytes([code])) == chr(code) for code in range(128))
    except UnicodeDecodeError:
        return False

"""Whatever travels as text, and bytes."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from typing import Any

from schemas.types.form import WireForm, connect, expect
from schemas.types.logical import Family
from schemas.types.numbers import counted2
from schemas.types.varints import long, read_length

LABEL_CACHE_MAX = 4096
"""Entries."""

labels: dict[str, bytes] = {}
"""Encoded enum values: there are few, and they come again and again."""


def label2(text: str) -> bytes:
    """Return, and remember, the Avro form of an enum's value behind a union byte."""
    if len(labels) >= LABEL_CACHE_MAX:
        labels.clear()
    found = labels[text] = counted2(text.encode())
    return found


def length2(n: int) -> bytes:
    """Return a length behind a union byte."""
    return b"\2" + long(n)


def base64_text(content: bytes | None) -> str | None:
    """Return the JSON form of bytes."""
    return None if content is None else b2a_base64(content, newline=False).decode()


def base64_of(text: str) -> bytes:
    """Read the JSON form of bytes. Raises ValueError or TypeError."""
    return a2b_base64(text, strict_mode=True) if text else b""


def write_text(v: str, o: str) -> list[str]:
    """Return the fragment that writes a string."""
    return [f"e = {v}.encode()", "x = len(e)", f"{o} = (SMALL2[x] if x < 8192 else length2(x)) + e"]


def write_bytes(v: str, o: str) -> list[str]:
    """Return the fragment that writes bytes, or a string that is encoded already."""
    return [f"x = len({v})", f"{o} = (SMALL2[x] if x < 8192 else length2(x)) + {v}"]


def read_text(v: str, at: int) -> list[str]:
    """Return the fragment that reads a string. Bytes that are no UTF-8 raise."""
    return [*read_length(at), f"{v} = b[p:e].decode()", "p = e"]


def read_utf8(v: str, at: int) -> list[str]:
    """Return the fragment that reads a string as bytes. Bytes that are no UTF-8 raise."""
    return [*read_length(at), f"{v} = b[p:e]", f"if not {v}.isascii(): {v}.decode()", "p = e"]


def text_form(family: Family, range_: str, name: str | None) -> WireForm:
    """Return the entry of a family whose values are strings."""
    return WireForm(
        family,
        canonical="str",
        range=range_,
        json="string",
        connect=connect("string", name),
        avro_write=write_text,
        avro_read=read_text,
        json_write=None,
        json_read=lambda v: expect(v, "str"),
        avro_write_utf8=write_bytes,
        avro_read_utf8=read_utf8,
    )


FORMS: list[WireForm] = [
    text_form(Family.STRING, "any text; the padding of char(n) is kept", None),
    text_form(Family.UUID, "lower case with hyphens", "io.debezium.data.Uuid"),
    text_form(Family.JSON, "JSON text as the source prints it", "io.debezium.data.Json"),
    text_form(Family.XML, "XML text as the source prints it", "io.debezium.data.Xml"),
    text_form(Family.TEXT, "a value in its engine's own notation; the column's native type says of what", None),
    WireForm(
        Family.ENUM,
        canonical="str",
        range="a label of the type",
        json="string",
        connect=connect("string", "io.debezium.data.Enum"),
        avro_write=lambda v, o: [f"{o} = labels.get({v}) or label2({v})"],
        avro_read=read_text,
        json_write=None,
        json_read=lambda v: expect(v, "str"),
        avro_write_utf8=write_bytes,
        avro_read_utf8=read_utf8,
    ),
    WireForm(
        Family.BYTES,
        canonical="bytes",
        range="any bytes",
        json="base64",
        connect=connect("bytes"),
        avro_write=write_bytes,
        avro_read=lambda v, at: [*read_length(at), f"{v} = b[p:e]", "p = e"],
        json_write=lambda v: f"base64_text({v})",
        json_read=lambda v: [*expect(v, "str"), f"{v} = base64_of({v})"],
    ),
]

NAMES: dict[str, Any] = {
    "labels": labels,
    "label2": label2,
    "length2": length2,
    "base64_text": base64_text,
    "base64_of": base64_of,
}

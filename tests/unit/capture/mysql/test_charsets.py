"""Charsets that no codec of Python is: integration tests compare each code with the servers' own conversion."""

from __future__ import annotations

import pytest

from capture.sources.mysql.charsets import begins_with_ascii, decoder, spellings


@pytest.mark.parametrize(
    ("charset", "content", "text"),
    [
        ("swe7", b"@[\\]^ a`{|}~", "ÉÄÖÅÜ aéäöåü"),
        ("dec8", b"\xa8\xd7\xdd\xf7\xfd\xe9", "¤ŒŸœÿé"),
        ("keybcs2", b"\x92lu\x9fou\x87k\x98 k\x96\xa4", "Žluťoučký kůň"),
        ("armscii8", b"\xb4\xb3\xf1\xbb\xf5", "Բարեւ"),
        ("geostd8", b"\xe5\xc0\x80\xfd", "ჵა€№"),
        ("hp8", b"\xc5\xbd", "é§"),
        # NEC's, IBM's, the users', a tilde twice as wide, and a character of the standard's second plane.
        (
            "eucjpms",
            b"a\xad\xa1\x8f\xf4\xac\xf5\xa1\x8f\xf5\xa1\x8f\xa2\xb7\xa1\xc1\x8f\xb0\xa1b",
            "a①№\ue000\ue3ac～～丂b",
        ),
        ("big5", b"a\xf9\xd6\xf9\xdc\xa4\xa4", "a碁嫺中"),
        ("ujis", b"\\\xa1\xc0\xf5\xa2\x8f\xfe\xfe", "\\\\\ue001\ue757"),
    ],
)
def test_bytes_are_the_text_that_they_are_at_the_server(charset: str, content: bytes, text: str) -> None:
    assert decoder(charset)(content) == text


@pytest.mark.parametrize(
    ("charset", "content"),
    [
        *[
            ("eucjpms", content)
            for content in (b"\xad", b"\xad\xff", b"\x8f\xf4", b"\x8f", b"\xf5", b"\xf5\xff", b"\xff")
        ],
        *[("ujis", content) for content in (b"\xad\xa1", b"\x8f\xf3\xf3", b"a\x8f\xf5")],
        *[("big5", content) for content in (b"\xf9", b"\xf9\xdd", b"\xf9\xfe", b"\xff")],
        ("dec8", b"\xa4"),
        ("swe7", b"\x80"),
        ("geostd8", b"\x81"),
    ],
)
def test_bytes_that_mean_nothing_are_refused(charset: str, content: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decoder(charset)(content)


@pytest.mark.parametrize(
    ("charset", "text", "found"),
    [
        ("eucjpms", "丂～", [b"\x8f\xb0\xa1\x8f\xa2\xb7", b"\x8f\xb0\xa1\xa1\xc1"]),
        ("cp932", "髙b", [b"\xee\xe0b", b"\xfb\xfcb"]),
        ("sjis", "\\", [b"\\", b"\x81\x5f"]),
        ("armscii8", "(", [b"(", b"\xa5"]),
        # Each character has one code, or the text has very many spellings.
        ("eucjpms", "日本", []),
        ("sjis", "\\" * 7, []),
        ("utf8mb4", "日本\\", []),
        ("gb18030", "\U0001f600", []),
    ],
)
def test_a_text_of_characters_with_several_codes_has_several_spellings(
    charset: str, text: str, found: list[bytes]
) -> None:
    assert sorted(spellings(charset, text)) == sorted(found)
    assert {decoder(charset)(spelling) for spelling in found} <= {text}


def test_a_charset_of_another_year_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="klingon"):
        decoder("klingon")
    assert not begins_with_ascii("swe7")
    assert begins_with_ascii("eucjpms")

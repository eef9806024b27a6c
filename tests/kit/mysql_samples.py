"""Every type of MySQL and MariaDB with its extremes: type, and pairs of a literal and its canonical value."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from struct import pack
from typing import Any

from tests.kit.mysql import MysqlDatabase

Sample = tuple[str, list[tuple[str, Any]]]


def _day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def _us(text: str) -> int:
    span = datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _unscaled(text: str, scale: int) -> int:
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    number = int("".join(map(str, digits)).ljust(len(digits) + scale + exponent, "0"))
    return -number if sign else number


def _shape(kind: int, *parts: tuple[float, float] | bytes) -> bytes:
    """Return what stands behind a shape's SRID: its kind, how many parts it has, and these."""
    bodies = [part if isinstance(part, bytes) else pack("<dd", *part) for part in parts]
    return pack("<BII", 1, kind, len(parts)) + b"".join(bodies)


def _stored(shape: bytes) -> bytes:
    return bytes(4) + shape


def _labels(letter: str, count: int) -> str:
    return ", ".join(f"'{letter}{n}'" for n in range(count))


_RING = pack("<I", 4) + b"".join(pack("<dd", x, y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 0)))
_LINE, _POLYGON = _shape(2, (0, 0), (1, -1.5)), _shape(3, _RING)
_POINT = pack("<BIdd", 1, 1, 1, 2)

_LARGE = "99999999999999999999999999999999999.999999999999999999999999999999"

_BOTH: list[Sample] = [
    ("tinyint", [("-128", -128), ("127", 127)]),
    ("tinyint(1)", [("-1", -1), ("1", 1)]),
    ("tinyint unsigned", [("255", 255)]),
    ("smallint", [("-32768", -32768), ("32767", 32767)]),
    ("smallint unsigned", [("65535", 65535)]),
    ("mediumint", [("-8388608", -8388608), ("8388607", 8388607)]),
    ("mediumint unsigned", [("16777215", 16777215)]),
    ("int", [("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)]),
    ("int(5) unsigned zerofill", [("4294967295", 2**32 - 1), ("7", 7)]),
    ("bigint", [("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)]),
    ("bigint unsigned", [("18446744073709551615", 2**64 - 1)]),
    ("decimal(65,30)", [(f"-{_LARGE}", _unscaled(f"-{_LARGE}", 30)), (_LARGE, _unscaled(_LARGE, 30)), ("0", 0)]),
    ("decimal(10,2)", [("-0.01", -1), ("12345678.90", 1234567890)]),
    ("decimal(5,0)", [("-99999", -99999)]),
    ("decimal(30,30)", [("-0.000000000000000000000000000001", -1)]),
    ("float", [("1.1", 1.100000023841858), ("-3.40282e38", -3.402820018375656e38), ("0", 0.0)]),
    ("float(7,4)", [("999.0001", 999.0001220703125)]),
    ("double", [("1.1", 1.1), ("-1.7976931348623157e308", -1.7976931348623157e308), ("5e-324", 5e-324)]),
    ("bit(1)", [("b'1'", True), ("b'0'", False)]),
    ("bit(9)", [("b'101010101'", "101010101")]),
    ("bit(64)", [("b'" + "1" * 64 + "'", "1" * 64), ("0", "0" * 64)]),
    ("year", [("1901", 1901), ("2155", 2155), ("0", 0)]),
    ("date", [("'1000-01-01'", _day("1000-01-01")), ("'9999-12-31'", _day("9999-12-31")), ("'0000-00-00'", None)]),
    ("date", [("'2020-00-10'", None), ("'2020-02-31'", None)]),
    ("time", [("'838:59:59'", "PT838H59M59S"), ("'-838:59:59'", "PT-838H-59M-59S"), ("'00:00:00'", "PT0S")]),
    ("time(1)", [("'-00:00:00.1'", "PT-0.1S")]),
    ("time(3)", [("'-00:00:01.5'", "PT-1.5S"), ("'23:59:59.999'", "PT23H59M59.999S")]),
    ("time(6)", [("'-838:59:58.999999'", "PT-838H-59M-58.999999S"), ("'-00:00:00.000001'", "PT-0.000001S")]),
    ("datetime", [("'1000-01-01 00:00:00'", _us("1000-01-01")), ("'0000-00-00 00:00:00'", None)]),
    ("datetime(2)", [("'2024-02-29 23:59:59.99'", _us("2024-02-29 23:59:59.990000"))]),
    ("datetime(6)", [("'9999-12-31 23:59:59.999999'", _us("9999-12-31 23:59:59.999999"))]),
    (
        "timestamp null",
        [("'1970-01-01 00:00:01'", 1_000_000), ("'2038-01-19 03:14:07'", 2147483647_000_000), ("0", None)],
    ),
    ("timestamp(3) null", [("'2024-02-29 12:00:00.123'", _us("2024-02-29 12:00:00.123000"))]),
    ("timestamp(6) null", [("'2024-02-29 12:00:00.123456'", _us("2024-02-29 12:00:00.123456"))]),
    ("char(5)", [("'a '", "a"), ("'é'", "é"), ("''", "")]),
    ("char(255)", [("'wide 😀'", "wide 😀")]),
    ("varchar(300)", [("'😀 é '", "😀 é "), ("''", ""), ("_utf8mb4 x'61006200'", "a\0b\0")]),
    ("varchar(10) character set latin1", [("x'80ff819d'", "€ÿ\x81\x9d")]),
    ("varchar(10) character set gbk", [("'中文'", "中文")]),
    ("varchar(10) character set sjis", [("'日本'", "日本"), (r"x'815f'", "\\"), ("x'5c'", "\\")]),
    ("varchar(10) character set cp932", [("x'eee0'", "髙"), ("x'fbfc'", "髙")]),
    ("varchar(10) character set ujis", [("'日本'", "日本"), (r"x'f5a18ff5a1'", "\ue000\ue3ac")]),
    ("varchar(10) character set eucjpms", [("'①日本～'", "①日本～"), (r"x'8ff4ac5c8fa2b7'", "№\\～")]),
    ("varchar(10) character set swe7", [("'Åäö'", "Åäö"), ("x'407e'", "Éü")]),
    ("varchar(10) character set keybcs2", [("'Žluť'", "Žluť")]),
    ("varchar(10) character set armscii8", [("'Բարի'", "Բարի"), ("x'28a5'", "((")]),
    ("varchar(10) character set euckr", [("'한국'", "한국")]),
    ("varchar(10) character set big5", [("'中文'", "中文")]),
    ("varchar(10) character set ucs2", [("'aé'", "aé")]),
    ("varchar(5) character set utf16", [("'😀'", "😀")]),
    ("varchar(5) character set utf16le", [("'😀'", "😀")]),
    ("varchar(5) character set utf32", [("'😀'", "😀")]),
    ("varchar(5) character set utf8mb3", [("'é'", "é")]),
    ("varchar(5) character set koi8r", [("'Ж'", "Ж")]),
    ("varchar(5) character set greek", [("x'a1'", "\u02bd")]),
    ("tinytext", [("'x'", "x")]),
    ("text character set latin2", [("'ž'", "ž")]),
    ("mediumtext", [("''", "")]),
    ("longtext", [("repeat('é', 70000)", "é" * 70000)]),
    ("binary(5)", [("x'010000'", b"\1\0\0\0\0"), ("x'0000000000'", bytes(5))]),
    ("varbinary(10)", [("x'00ff00'", b"\0\xff\0"), ("''", b"")]),
    ("tinyblob", [("x'00'", b"\0")]),
    ("blob", [("x'ff00'", b"\xff\0")]),
    ("mediumblob", [("''", b"")]),
    ("longblob", [("repeat(x'ab', 70000)", b"\xab" * 70000)]),
    ("enum('a','b''c','é') character set latin1", [("'é'", "é"), ("'b''c'", "b'c")]),
    ("set('x','y','z')", [("'x,z'", "x,z"), ("''", "")]),
    ("point", [("point(1, 2)", bytes.fromhex("000000000101000000000000000000f03f0000000000000040"))]),
    (
        "geometry",
        [("st_geomfromtext('point(0 0)', 4326)", bytes.fromhex("e6100000010100000000000000000000000000000000000000"))],
    ),
]

_MARIADB: list[Sample] = [
    (
        "uuid",
        [
            ("'00112233-4455-1677-8899-aabbccddeeff'", "00112233-4455-1677-8899-aabbccddeeff"),
            ("'01a9a0c0-1111-7abc-8899-aabbccddee00'", "01a9a0c0-1111-7abc-8899-aabbccddee00"),
        ],
    ),
    ("inet6", [("'::ffff:1.2.3.4'", "::ffff:1.2.3.4"), ("'::'", "::"), ("'2001:db8::'", "2001:db8::")]),
    (
        "inet6",
        [
            (f"'{text}'", text)
            for text in (
                *("::1", "::1.2.3.4", "::0.1.0.0", "1::2:3:4:5:6:7", "1:2:3:4:5:6:7::", "::1:2:3:4:5:6:7"),
                *("1:0:2::3:4:5", "1::2:0:0:3:4", "1:0:2:3::4:5", "fe80::1:0", "::ffff:0:102:304"),
            )
        ],
    ),
    ("inet4", [("'10.0.0.0'", "10.0.0.0")]),
    ("json", [("'[1,  2]'", "[1,  2]")]),
    ("varchar(300) compressed", [("repeat('é', 150)", "é" * 150), ("''", ""), ("'x'", "x")]),
    ("blob compressed", [("repeat(x'00ff', 300)", b"\0\xff" * 300), ("''", b"")]),
]

_MYSQL: list[Sample] = [
    (
        "json",
        [
            ("""'{"b": {}, "a": [1, 2.5, null, true, "xé"]}'""", '{"a": [1, 2.5, null, true, "xé"], "b": {}}'),
            (
                "'[1e20, -0.0, 1.5e-7, 18446744073709551615, 1056764115920083.6]'",
                "[1e20, -0.0, 0.00000015, 18446744073709551615, 1056764115920083.6]",
            ),
            ("""'"s"'""", '"s"'),
            ("'null'", "null"),
            ("json_array(cast(1.50 as decimal(10,2)), cast('12:00:01.5' as time(6)))", '[1.50, "12:00:01.500000"]'),
            (
                "json_array(cast('2020-01-02 03:04:05' as datetime), cast('2020-01-02' as date))",
                '["2020-01-02 03:04:05.000000", "2020-01-02"]',
            ),
            ("json_object('b', cast(x'0102' as binary(2)))", '{"b": "base64:type15:AQI="}'),
        ],
    ),
    ("varchar(20) character set gb18030", [("'㐀中'", "㐀中")]),
]

_VECTOR: Sample = ("vector(3)", [("to_vector('[1,2,3.5]')", bytes.fromhex("0000803f0000004000006040"))])

_FORMS: list[Sample] = [
    ("time(2)", [("'-12:34:56.78'", "PT-12H-34M-56.78S")]),
    ("time(4)", [("'-00:00:00.0001'", "PT-0.0001S"), ("'838:59:58.9999'", "PT838H59M58.9999S")]),
    ("time(5)", [("'-00:00:01.00001'", "PT-1.00001S"), ("'-00:00:00.99999'", "PT-0.99999S")]),
    ("datetime(1)", [("'2024-02-29 23:59:59.9'", _us("2024-02-29 23:59:59.900000"))]),
    ("datetime(3)", [("'1000-01-01 00:00:00.001'", _us("1000-01-01 00:00:00.001000"))]),
    ("datetime(4)", [("'2024-02-29 00:00:00.0001'", _us("2024-02-29 00:00:00.000100"))]),
    ("datetime(5)", [("'9999-12-31 23:59:59.99999'", _us("9999-12-31 23:59:59.999990"))]),
    ("timestamp(1) null", [("'1970-01-01 00:00:01.1'", 1_100_000)]),
    ("timestamp(2) null", [("'2024-02-29 12:00:00.99'", _us("2024-02-29 12:00:00.990000"))]),
    ("timestamp(4) null", [("'2024-02-29 12:00:00.0009'", _us("2024-02-29 12:00:00.000900"))]),
    ("timestamp(5) null", [("'2038-01-19 03:14:07.99999'", 2147483647_999_990)]),
    ("decimal(1,1)", [("-0.9", -9)]),
    ("decimal(9,9)", [("-0.000000001", -1), ("0.999999999", 999_999_999)]),
    ("decimal(18,9)", [("-123456789.000000001", -123456789_000000001)]),
    ("decimal(10,5)", [("-99999.00001", -99999_00001), ("0.00001", 1)]),
    ("decimal(65,0)", [("-" + "9" * 65, -int("9" * 65)), ("1", 1)]),
    ("decimal(20,2) unsigned", [("999999999999999999.99", 99_999_999_999_999_999_999)]),
    ("float unsigned", [("3.5", 3.5)]),
    ("double unsigned", [("1e300", 1e300)]),
    ("bit(8)", [("b'10000001'", "10000001")]),
    ("bit(17)", [("b'10000000000000001'", "10000000000000001"), ("1", "0" * 16 + "1")]),
    ("bit(63)", [("b'" + "1" * 63 + "'", "1" * 63)]),
    (f"enum({_labels('l', 255)})", [("'l254'", "l254")]),
    (f"enum({_labels('l', 300)})", [("'l0'", "l0"), ("'l299'", "l299")]),
    (f"set({_labels('m', 17)})", [("'m16,m0'", "m0,m16")]),
    (f"set({_labels('m', 64)})", [("'m63'", "m63"), ("18446744073709551615", ",".join(f"m{n}" for n in range(64)))]),
    ("enum('', 'a')", [("''", ""), ("'a'", "a")]),
    # A backslash is the second byte of these in sjis.
    ("enum('表','b') character set sjis", [("'表'", "表"), ("'b'", "b")]),
    ("set('表','予') character set cp932", [("'予,表'", "表,予")]),
    ("enum('é','中') character set ucs2", [("'中'", "中")]),
    ("set('あ','b') character set ucs2", [("'b,あ'", "あ,b")]),
    # (Characters beyond U+FFFF are `?` in both servers' catalogues.)
    ("enum('中','é') character set utf16", [("'中'", "中")]),
    ("enum('a','b') character set gbk", [("'b'", "b")]),
    ("char(4) character set latin1", [("'é '", "é")]),
    ("char(4) character set sjis", [("'表 '", "表")]),
    ("char(4) character set gbk", [("'中 '", "中")]),
    ("char(4) character set ucs2", [("'é '", "é"), ("''", "")]),
    ("char(4) character set utf16", [("'😀 '", "😀")]),
    ("char(4) character set utf16le", [("'é '", "é")]),
    ("char(4) character set utf32", [("'😀 '", "😀")]),
    ("text character set sjis", [("'表\\'", "表\\")]),
    ("text character set ucs2", [("'aé'", "aé"), ("''", "")]),
    ("mediumtext character set utf16", [("repeat('😀', 9000)", "😀" * 9000)]),
    ("varchar(10) character set gb2312", [("'中'", "中")]),
    ("varchar(10) character set tis620", [("'ก'", "ก")]),
    ("varchar(10) character set cp1251", [("'Ж'", "Ж")]),
    ("varchar(10) character set ascii", [("'a'", "a")]),
    ("linestring", [("st_geomfromtext('linestring(0 0, 1 -1.5)')", _stored(_LINE))]),
    ("polygon", [("st_geomfromtext('polygon((0 0, 1 0, 1 1, 0 0))')", _stored(_POLYGON))]),
    ("multipoint", [("st_geomfromtext('multipoint(1 2)')", _stored(_shape(4, _POINT)))]),
    ("multilinestring", [("st_geomfromtext('multilinestring((0 0, 1 -1.5))')", _stored(_shape(5, _LINE)))]),
    ("multipolygon", [("st_geomfromtext('multipolygon(((0 0, 1 0, 1 1, 0 0)))')", _stored(_shape(6, _POLYGON)))]),
    (
        "geometrycollection",
        [
            (
                "st_geomfromtext('geometrycollection(point(1 2), linestring(0 0, 1 -1.5))')",
                _stored(_shape(7, _POINT, _LINE)),
            ),
            ("st_geomfromtext('geometrycollection empty')", _stored(_shape(7))),
        ],
    ),
]
"""More forms of the same types: each number of decimals, labels in charsets of every kind, all shapes."""

_MYSQL_FORMS: list[Sample] = [
    (
        "json",
        [
            ("json_object('n', -1, 'k', repeat('x', 70000))", '{"k": "' + "x" * 70_000 + '", "n": -1}'),
            (
                "json_array(repeat('é', 70000), 70000, -70000, 4294967295, 1e16, true, json_object('a', json_array()))",
                '["' + "é" * 70_000 + '", 70000, -70000, 4294967295, 1e16, true, {"a": []}]',
            ),
            (
                "json_array(cast('-31:59:58.000001' as time(6)), cast(-0.05 as decimal(4,2)), -9223372036854775808)",
                '["-31:59:58.000001", -0.05, -9223372036854775808]',
            ),
        ],
    ),
]

_LONG_TIME = "json_array(cast('-838:59:58.000001' as time(6)))"
_LONG_TIMES: Sample = ("json", [(_LONG_TIME, '["-838:59:58.000001"]')])
_LONG_TIMES_OF_8: Sample = ("json", [(_LONG_TIME, '["-630:59:58.000001"]')])
"""MySQL 8.0.31 itself keeps another time where one has 32 hours or more: it takes them for days of 32 hours, and then
counts 24 for each. `select cast(v as char)` says the same.
"""

_LONG_VECTOR: Sample = (
    "vector(16383)",
    [("to_vector(concat('[0', repeat(',1', 16382), ']'))", bytes(4) + pack("<f", 1) * 16_382)],
)


def samples_of(database: MysqlDatabase, *, forms: bool = False) -> list[Sample]:
    """Return the samples of all types that a server has; with `forms` others of them, see `_FORMS`."""
    common = _FORMS if forms else _BOTH
    if database.is_mariadb:
        return common + ([] if forms else _MARIADB)
    is_8 = database.version() < (9,)
    if not forms:
        return [*common, *_MYSQL] if is_8 else [*common, *_MYSQL, _VECTOR]
    return [*common, *_MYSQL_FORMS, *([_LONG_TIMES_OF_8] if is_8 else [_LONG_TIMES, _LONG_VECTOR])]

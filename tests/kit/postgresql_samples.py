"""PostgreSQL's types with values at their edges, as SQL: what every path through Tailrace must carry unharmed.

A literal is what follows `'…'::type`, already quoted; null is left out, since every test adds it. `since` is the first
major version that has the type; `extension` must be available for it, or the sample is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass

ASTRAL = "\U0001f9ff 𝒜 👩‍👩‍👧 \U0010fffd"


@dataclass(frozen=True, slots=True)
class NativeSample:
    """A type and its values."""

    native: str
    literals: tuple[str, ...]
    setup: tuple[str, ...] = ()
    """Statements that make the type."""
    extension: str | None = None
    since: int = 13

    @property
    def name(self) -> str:
        """A name for the test, and for a table."""
        return "".join(c if c.isalnum() else "_" for c in self.native).strip("_")

    @property
    def printable(self) -> bool:
        """Whether capture can print the binary form; one column that it cannot turns the whole log to text form."""
        return self.native.partition("(")[0] not in _UNPRINTABLE


_UNPRINTABLE = {"tsquery", "regclass", "regtype", "isbn", "ean13", "lo", "cube", "seg"}
_UNPRINTABLE |= {"vector", "halfvec", "sparsevec", "geometry", "geography"}


def _sample(native: str, *texts: str, **more: object) -> NativeSample:
    literals = tuple("'" + text.replace("'", "''") + "'" for text in texts)
    return NativeSample(native, literals, **more)  # type: ignore[arg-type]


_NUMBERS = ("0", "1", "-1", "0.5", "-0.01", "9999.9999", "10000", "100000000", "99999999.99", "-12345678.90")
_DATES = ("1970-01-01", "2000-01-01", "1999-12-31", "2024-02-29", "0001-01-01", "0044-03-15 BC", "4714-11-24 BC")
_STAMPS = (
    "1970-01-01 00:00:00",
    "2024-02-29 23:59:59.999999",
    "1969-12-31 23:59:59.9",
    "0001-01-01 00:00:00 BC",
    "4714-11-24 00:00:00 BC",
    "9999-12-31 23:59:59.999999",
    "12345-06-07 08:09:10",
    "294247-01-10 04:00:54.775807",
    "294276-12-31 23:59:59.999999",
    "infinity",
    "-infinity",
)
_TEXTS = ("", " ", "a", "Grüße, 世界", ASTRAL, "quote \" backslash \\ tab \t line \n ' $$", "NULL", "{}", "x" * 5000)

SCALARS: tuple[NativeSample, ...] = (
    _sample("boolean", "true", "false"),
    _sample("smallint", "0", "1", "-1", "32767", "-32768"),
    _sample("integer", "0", "127", "-2147483648", "2147483647"),
    _sample("bigint", "0", "-9223372036854775808", "9223372036854775807"),
    _sample("oid", "0", "1", "4294967295"),
    _sample("real", "0", "-0", "0.1", "1e-45", "3.4028235e38", "1.17549435e-38", "NaN", "Infinity", "-Infinity"),
    _sample(
        "double precision",
        "0",
        "-0",
        "0.1",
        "1e15",
        "1e16",
        "5e-324",
        "1.7976931348623157e308",
        "1e-5",
        "NaN",
        "Infinity",
        "-Infinity",
    ),
    _sample("numeric(12,2)", "0", "1", "-0.01", "9999999999.99", "-9999999999.99", "10000", "0.10", "NaN"),
    _sample("numeric(5,5)", "0", "0.00001", "-0.99999", "0.5"),
    _sample("numeric(38,0)", "0", "9" * 38, "-" + "9" * 38, "1" + "0" * 37),
    _sample("numeric(1000,500)", "0", "9" * 500 + "." + "9" * 500, "-0." + "0" * 499 + "1"),
    _sample(
        "numeric", *_NUMBERS, "1.50", "1.500", "NaN", "1" + "0" * 1000, "-0." + "0" * 300 + "7", "9" * 20000 + ".5"
    ),
    _sample("numeric", "9" * 130000, "-0." + "0" * 16382 + "1"),
    _sample("numeric", "Infinity", "-Infinity", since=14),
    _sample("numeric(5,-2)", "0", "12300", "-9999900", since=15),
    _sample("numeric(3,5)", "0", "0.00123", "-0.00999", since=15),
    _sample("text", *_TEXTS),
    _sample("character varying(20)", "", "a", "Grüße", "x" * 20),
    _sample("character varying", *_TEXTS),
    _sample("character(5)", "", "a", "abcde", "é  "),
    _sample('"char"', "", "a", "~"),
    _sample("name", "", "a", "x" * 63),
    _sample("bytea", "", "\\x00", "\\xdeadbeef00ff", "\\x" + "ab" * 3000),
    _sample("date", *_DATES, "5874897-12-31", "infinity", "-infinity"),
    _sample("time without time zone", "00:00:00", "23:59:59.999999", "24:00:00", "12:00:00.5"),
    _sample("time with time zone", "00:00:00+00", "23:59:59.999999-11:30", "24:00:00+15:59:59", "12:00:00.5+05:30"),
    _sample("timestamp without time zone", *_STAMPS),
    _sample("timestamp with time zone", *(s if "inf" in s else s.replace(" BC", "+00 BC") for s in _STAMPS)),
    _sample(
        "interval",
        "0",
        "1 year 2 mons 3 days 04:05:06.789",
        "-1 year",
        "1 mon -1 day",
        "-00:00:00.000001",
        "1 day -23:59:59.5",
        "178000000 years",
        "-1 year -2 mons +3 days -04:05:06",
        "25 mons",
        "-13 mons",
    ),
    _sample("interval", "2562047788:00:54.775807", since=15),
    _sample("interval", "infinity", "-infinity", since=17),
    _sample("interval day to second(3)", "1 day 02:03:04.567"),
    _sample("timestamp(3) without time zone", "2024-02-29 23:59:59.999", "infinity"),
    _sample("timestamp(0) with time zone", "2024-02-29 23:59:59+00"),
    _sample("time(2) without time zone", "23:59:59.99"),
    _sample("uuid", "00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    _sample("json", '{"a":  1, "a": 2}', "null", "[]", '"\\u0041"', '{"big": 1e400, "t": "' + ASTRAL + '"}'),
    _sample("jsonb", '{"a":  1, "b": [1, null, "x"]}', "null", "[]", '{"n": 123456789012345678901234567890.5}'),
    _sample("xml", "<a/>", '<?xml version="1.0"?><a>é</a>', "plain <b>text</b>"),
)
"""Types with a logical type of their own."""

TEXTS: tuple[NativeSample, ...] = (
    _sample("money", "0", "1.5", "-1.23", "92233720368547758.07", "-92233720368547758.08", "1234567.8"),
    _sample("bit(5)", "10101", "00000"),
    _sample("bit varying", "", "1", "101010101"),
    _sample("jsonpath", "$.a[*] ? (@.b > 3)", "strict $.x"),
    _sample("inet", "192.168.0.1", "10.0.0.0/8", "::1", "fe80::1/64", "::ffff:1.2.3.4", "2001:db8::", "0.0.0.0/0"),
    _sample("cidr", "10.0.0.0/8", "192.168.1.1/32", "2001:db8::/32", "::/0"),
    _sample("macaddr", "08:00:2b:01:02:03"),
    _sample("macaddr8", "08:00:2b:ff:fe:01:02:03"),
    _sample("int4range", "empty", "[1,5)", "(,3)", "[7,)", "(,)"),
    _sample("numrange", "empty", "[1.50,2.5]", "(,3)", "(1,2)"),
    _sample("tsrange", "[2024-01-01 00:00:00,2024-01-02 12:00:00.5)", "empty", "(-infinity,infinity)"),
    _sample("tstzrange", "[2024-01-01 00:00:00+00,)"),
    _sample("daterange", "[2024-01-01,2024-02-01)", "(,)"),
    _sample("int8range", "[1,9223372036854775807)"),
    _sample("int4multirange", "{}", "{[1,3),[5,9)}", "{(,)}", since=14),
    _sample("nummultirange", "{[1.1,2],(3,4)}", since=14),
    _sample("integer[]", "{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[2:4]={1,2,3}", "[-1:0][5:6]={{1,2},{3,4}}"),
    _sample("text[]", "{}", '{a,"b,c",NULL,"NULL","","{}","q\\"q","b\\\\s"," lead","tab\t"}', "{{a},{b}}"),
    _sample("numeric(8,3)[]", "{1.500,NaN,-0.001}"),
    _sample("numeric[]", "{1.50,Infinity,1e30}", since=14),
    _sample("boolean[]", "{t,f,NULL}"),
    _sample("double precision[]", "{0.1,1e15,1e16,1e-5,NaN,-Infinity,-0}"),
    _sample("real[]", "{0.1,1e10,1e-10,3.4028235e38}"),
    _sample("timestamp with time zone[]", '{"2024-01-01 00:00:00.5+00",infinity,"0044-03-15 00:00:00+00 BC"}'),
    _sample("timestamp without time zone[]", '{"12345-01-01 00:00:00"}'),
    _sample("date[]", "{2024-01-01,infinity,0044-03-15 BC}"),
    _sample("time without time zone[]", "{24:00:00,12:00:00.5}"),
    _sample("time with time zone[]", "{24:00:00+15:59:59,12:00:00.5-03,12:00:00+05:30}"),
    _sample("interval[]", '{"1 year","-00:00:01.5",0}'),
    _sample("bytea[]", '{"\\\\x00ff",""}'),
    _sample("uuid[]", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"),
    _sample("jsonb[]", '{"{\\"a\\": 1}",null}'),
    _sample("inet[]", "{10.0.0.1,::1/64}"),
    _sample("int4range[]", '{"[1,5)",empty}'),
    _sample('"char"[]', "{a,b}"),
    _sample("character(3)[]", '{a,"b c"}'),
    _sample("box[]", "{(1,1),(0,0);(2,2),(1,1)}"),
    _sample("tsvector", "", "a fat cat", "'a':1A,2B 'b':3", "'it''s':1 '\\\\':2"),
    _sample("tsquery", "fat & (rat | !cat)", "'a':*AB <-> b", "", "a <3> b"),
    _sample("point", "(1,2)", "(1e300,-0.1)", "(Infinity,NaN)"),
    _sample("line", "{1,-1,0}"),
    _sample("lseg", "[(0,0),(1.5,1)]"),
    _sample("box", "(1,1),(0,0)"),
    _sample("path", "((0,0),(1,1),(2,0))", "[(0,0),(1,1)]"),
    _sample("polygon", "((0,0),(1,1),(2,0))"),
    _sample("circle", "<(0,0),1.5>"),
    _sample("pg_lsn", "0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"),
    _sample("txid_snapshot", "10:20:10,14,15", "1:1:"),
    _sample("pg_snapshot", "10:20:10,14,15"),
    _sample("xid", "0", "4294967295"),
    _sample("xid8", "0", "18446744073709551615"),
    _sample("tid", "(0,1)", "(4294967295,65535)"),
    _sample("regclass", "pg_class"),
    _sample("regtype", "integer"),
    _sample("oidvector", "1 2 3"),
    _sample("int2vector", "1 2 3"),
    _sample("hstore", 'a=>1, b=>NULL, "c d"=>"e\\"f"', "", extension="hstore"),
    _sample("citext", "", "Abc", "Größe", extension="citext"),
    _sample("ltree", "", "Top.Science.Astronomy", extension="ltree"),
    _sample("lquery", "*.a|b.*{1,2}", extension="ltree"),
    _sample("isbn", "978-0-393-04002-9", extension="isn"),
    _sample("cube", "(1,2),(3,4)", extension="cube"),
    _sample("integer[]", "{}", extension="intarray"),
    _sample("seg", "1 .. 2.50", "<3", extension="seg"),
    _sample("ean13", "978-0-393-04002-9", extension="isn"),
    _sample("lo", "42", extension="lo"),
    _sample("vector", "[1,2.5,-3e-10]", "[0]", extension="vector"),
    _sample("vector(3)", "[1,2.5,-3]", extension="vector"),
    _sample("halfvec", "[1,2.5,-3]", extension="vector"),
    _sample("sparsevec", "{1:1.5,3:2}/5", extension="vector"),
    _sample("geometry", "POINT(1 2)", "SRID=4326;POLYGON((0 0,1 0,1 1,0 0))", "POINT EMPTY", extension="postgis"),
    _sample("geography(Point,4326)", "POINT(1.5 -2)", extension="postgis"),
    _sample("refcursor", "", "a cursor"),
    _sample("tsmultirange", '{["2024-01-01 00:00:00","2024-01-02 00:00:00")}', since=14),
    _sample("bit(64)", "1" * 64, "0" * 64),
)
"""Types that travel as text."""

_MOOD = "create type public.mood as enum ('sad', 'ok', 'hap py', '', 'ü')"
_LETTERS = (
    'create type public.letters as range (subtype = text, collation = "C", multirange_type_name = public.wordsets)'
)
USER_TYPES: tuple[NativeSample, ...] = (
    _sample("public.mood", "sad", "hap py", "ü", setup=(_MOOD,)),
    _sample("public.mood[]", '{sad,NULL,"hap py"}', setup=(_MOOD,)),
    _sample("public.price", "1.50", "0.00", setup=("create domain public.price as numeric(10,2) check (value >= 0)",)),
    _sample(
        "public.prices",
        "{1.50,2.00}",
        setup=("create domain public.prices as numeric(10,2)[]",),
    ),
    _sample(
        "public.tight",
        "a",
        setup=("create domain public.loose as text", "create domain public.tight as public.loose"),
    ),
    _sample(
        "public.address",
        '("1 Main, St",,"q""q",3)',
        "(,,,)",
        '("","a b","(x)",-1)',
        setup=('create type public.address as (street text, "Zip Code" character(5), note text, n integer)',),
    ),
    _sample(
        "public.nested",
        '(1,"(a,2)","{""(b,3)"",NULL}")',
        setup=(
            "create type public.inner_type as (t text, n integer)",
            "create type public.nested as (id integer, i public.inner_type, l public.inner_type[])",
        ),
    ),
    _sample(
        "public.words",
        "[a,b)",
        '("q ""x"", y",]',
        "empty",
        setup=('create type public.words as range (subtype = text, collation = "C")',),
    ),
    _sample(
        "public.wordsets",
        "{[a,b),[c,d)}",
        "{}",
        setup=(_LETTERS,),
        since=14,
    ),
    _sample(
        "public.short[]",
        "{a,NULL}",
        setup=("create domain public.short as varchar(3) default 'x' check (value <> 'no')",),
    ),
    _sample(
        '"Other Schema"."Odd.Name ""q"""',
        "x",
        setup=(
            'create schema "Other Schema"',
            """create type "Other Schema"."Odd.Name ""q\""" as enum ('x', 'y''z')""",
        ),
    ),
    _sample(
        "public.floats",
        "[0.1,1.5)",
        "empty",
        setup=("create type public.floats as range (subtype = double precision)",),
    ),
)
"""Types that the user made."""

SAMPLES = SCALARS + TEXTS + USER_TYPES

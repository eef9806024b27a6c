"""What of a table is too much for a server, and which types it has so that it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apply.sinks.mysql.foreign import Server, excesses, losses, translated
from schemas.table import Column, Index, TableName, TableSchema
from schemas.types import Family, LogicalType

MYSQL, MARIADB = Server(is_mariadb=False, version=(9, 7)), Server(is_mariadb=True, version=(11, 4))
TEXT, UUID, INT = LogicalType(Family.STRING), LogicalType(Family.UUID), LogicalType(Family.INT64)
LATIN1 = "char(255) character set latin1"


def _table(*columns: tuple[LogicalType, str], key: tuple[int, ...] = (0,), engine: str = "postgresql") -> TableSchema:
    made = (Column(f"c{n}", kind, native, nullable=n not in key) for n, (kind, native) in enumerate(columns))
    return TableSchema(TableName("public", "a"), tuple(made), key, engine=engine)


def _natives(table: TableSchema, server: Server) -> list[str | None]:
    return [column.native for column in translated(table, server).columns]


WIDE = _table((INT, "bigint"), *[(TEXT, "text")] * 250)
MANY = _table(*[(INT, "bigint")] * 1018)
PARTS = _table(*[(INT, "bigint")] * 17, key=tuple(range(17)))
IN_PAGE = "bytes of its page, {} for each long value, and the target has room for 8125"


@pytest.mark.parametrize(
    ("table", "server", "said"),
    [
        (WIDE, MYSQL, [f"a row takes up to 10324 {IN_PAGE.format(40)}"]),
        (WIDE, MARIADB, []),
        (
            MANY,
            MARIADB,
            [
                "the table has 1018 columns, and the target takes 1015",
                f"a row takes up to 8306 {IN_PAGE.format(20)}",
            ],
        ),
        (PARTS, MYSQL, ["the key has 17 columns, and an index of the target 16"]),
        (PARTS, MARIADB, []),
    ],
)
def test_what_is_too_much_is_said_in_numbers(table: TableSchema, server: Server, said: list[str]) -> None:
    found = excesses(translated(table, server), server)
    assert [excess.said for excess in found] == said
    assert [excess.of_rows for excess in found] == ["of its page" in text for text in said]


@pytest.mark.parametrize("server", [MYSQL, MARIADB], ids=["mysql", "mariadb"])
def test_a_text_in_a_key_leaves_room_for_what_stands_beside_it(server: Server) -> None:
    """Beside a UUID it had 20 bytes too many: no server made the table (1071)."""
    table = _table((TEXT, "text"), (UUID, "uuid"), key=(0, 1))
    assert _natives(table, server) == ["varchar(759)", "char(36)"]
    assert excesses(translated(table, server), server) == []
    # Where it fitted, types stay what targets were made with.
    assert _natives(_table((TEXT, "text"), (INT, "bigint"), key=(0, 1)), server) == ["varchar(764)", "bigint"]
    short = (LogicalType(Family.STRING, length=10), "varchar(10)")
    assert _natives(_table((UUID, "uuid"), short, (TEXT, "text"), key=(0, 1, 2)), server) == [
        "char(36)",
        "varchar(10)",
        "varchar(382)",
    ]


@pytest.mark.parametrize("server", [MYSQL, MARIADB], ids=["mysql", "mariadb"])
def test_characters_of_a_byte_take_four_here(server: Server) -> None:
    """A row, or a key, of them was too long at the target, which took no such table (1118, 1071)."""
    char = (LogicalType(Family.STRING, length=255), LATIN1)
    row = _table((INT, "bigint"), *[char] * 70, engine="mysql")
    assert 0 < _natives(row, server).count("longtext") < 70
    assert excesses(translated(row, server), server) == []
    key = _table(*[char] * 4, key=(0, 1, 2, 3), engine="mysql")
    assert _natives(key, server) == ["varchar(192)"] * 4
    assert excesses(translated(key, server), server) == []
    assert "c0: char(255) character set latin1 becomes varchar(192); longer values are refused" in losses(key, server)


def test_short_texts_leave_the_row_where_mariadb_keeps_them_whole() -> None:
    """Forty enums were too long for it (1118); MySQL keeps forty bytes of each, whatever their types."""
    table = _table((INT, "bigint"), *[(LogicalType(Family.ENUM), "public.mood")] * 40)
    assert set(_natives(table, MYSQL)) == {"bigint", "varchar(63)"}
    natives = _natives(table, MARIADB)
    assert set(natives) == {"bigint", "varchar(63)", "longtext"}
    assert excesses(translated(table, MARIADB), MARIADB) == []
    # One more in its place in the row is one too many.
    columns = translated(table, MARIADB).columns
    first = natives.index("longtext")
    back = replace(columns[first], native="varchar(63)")
    more = replace(translated(table, MARIADB), columns=(*columns[:first], back, *columns[first + 1 :]))
    assert excesses(more, MARIADB)


def test_a_text_of_36_characters_is_no_uuid() -> None:
    """It got the charset of one, and values with other letters were refused."""
    table = _table((INT, "bigint"), (LogicalType(Family.STRING, length=36), "char(36)"), (UUID, "uuid"), engine="mysql")
    assert [c.collation for c in translated(table, MYSQL).columns] == [None, "utf8mb4_0900_bin", "ascii_bin"]


@pytest.mark.parametrize("server", [MYSQL, MARIADB], ids=["mysql", "mariadb"])
def test_indexes_are_kept_as_far_as_they_fit_and_named_where_they_do_not(server: Server) -> None:
    """A unique index over a text and a number got its text a length, and was then left out."""
    table = _table((INT, "bigint"), *[(TEXT, "text")] * 5)
    indexes = (
        Index("pair", unique=True, definition="using btree (c0, c1)"),
        Index("five", unique=False, definition="using btree (c1, c2, c3, c4, c5)"),
        *(Index(f"more{n}", unique=False, definition="using btree (c0)") for n in range(70)),
    )
    found = translated(replace(table, indexes=indexes), server)
    assert _natives(replace(table, indexes=indexes), server)[1] == "varchar(764)"
    assert [index.definition for index in found.indexes[:2]] == [
        "(`c0`, `c1`)",
        "(`c1`(153), `c2`(153), `c3`(153), `c4`(153), `c5`(153))",
    ]
    assert len(found.indexes) == 63, "with the key they are 64"
    said = [text for text in losses(replace(table, indexes=indexes), server) if text.startswith("index ")]
    assert said == [f"index more{n}: left out (using btree (c0))" for n in range(61, 70)]
    columns = [(INT, "bigint")] * 33
    parts = Index("parts", unique=False, definition=f"using btree ({', '.join(f'c{n}' for n in range(33))})")
    assert translated(replace(_table(*columns), indexes=(parts,)), server).indexes == ()

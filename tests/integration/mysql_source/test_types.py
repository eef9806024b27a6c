"""Every type, by full load and by log, on both servers: the values are those that were written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest

from capture.sources.mysql.charsets import Decode, decoder
from capture.sources.mysql.connection import Connection
from tests.integration.mysql_source.reading import ON_OLDER_TOO, Reading
from tests.kit.mysql_samples import Sample, samples_of


@ON_OLDER_TOO
def test_values_arrive_as_they_were_by_full_load_and_by_log(reading: Reading) -> None:
    same_by_full_load_and_by_log(reading, samples_of(reading.database))


@pytest.mark.parametrize(
    ("mysql_database", "metadata"),
    [*product(("mariadb", "mysql", "mariadb10", "mysql8"), ("FULL", "MINIMAL")), ("mariadb", "NO_LOG")],
    indirect=["mysql_database"],
)
def test_every_form_of_a_type_is_read_with_and_without_names_in_the_log(reading: Reading, metadata: str) -> None:
    """Without names the catalogue says what the labels of enums and sets are, and the charsets; and where MariaDB logs
    nothing else, as it comes, the signs of numbers.
    """
    reading.database.execute(f"set global binlog_row_metadata = '{metadata}'")
    samples = samples_of(reading.database, forms=True)
    try:
        same_by_full_load_and_by_log(
            reading, samples if metadata == "FULL" else [*samples, *samples_of(reading.database)]
        )
    finally:
        reading.database.execute("set global binlog_row_metadata = 'FULL'")


def same_by_full_load_and_by_log(reading: Reading, samples: Sequence[Sample]) -> None:
    """Write samples, and compare what comes of them."""
    statements = []
    for number, (native, values) in enumerate(samples):
        null = "" if "null" in native else " null"
        statements.append(f"create table t{number:02} (id int primary key, v {native}{null})")
        literals = [literal for literal, _ in values] + ["null"]
        rows = ", ".join(f"({i}, {literal})" for i, literal in enumerate(literals))
        statements.append(f"insert into t{number:02} values {rows}")
    reading.database.execute(*statements)
    logged: dict[str, list[object]] = {}
    for table, op, _, after in reading.flat():
        if op == "c":
            assert after is not None
            logged.setdefault(table, []).append(after[1])
    tables = {table.name.table: table for table in reading.source.tables()}
    for number, (native, values) in enumerate(samples):
        expected = [*(value for _, value in values), None]
        assert logged[f"t{number:02}"] == expected, f"{native} in the log"
        loaded = reading.rows(tables[f"t{number:02}"])
        assert [row[1] for row in sorted(loaded)] == expected, f"{native} in the full load"


def test_charsets_decode_as_the_server_converts(reading: Reading) -> None:
    """Compare every code of one byte, and of two and three where there are such."""
    connection = reading.database.connect()
    widths = {
        str(name): int(str(width))
        for name, width in connection.rows("select character_set_name, maxlen from information_schema.character_sets")
    }
    unknown = set()
    for charset, width in sorted(widths.items()):
        if charset.startswith(("utf", "ucs")) or charset == "binary":
            continue
        decode = decoder(charset)
        codes = [bytes([i]) for i in range(256)]
        if width > 1:
            codes += [bytes([i, j]) for i in range(0x81, 0xFF) for j in range(0x40, 0xFF)]
        if charset in ("ujis", "eucjpms"):
            codes += [bytes([0x8F, i, j]) for i in range(0xA1, 0xFF) for j in range(0xA1, 0xFF)]
        texts = {code: _decoded(decode, code) for code in codes}
        # Not a character with half of another behind it.
        refused = [code for code, text in texts.items() if text is None and texts.get(code[:-1]) is None]
        for code, text in zip(refused, _converted(connection, charset, refused), strict=True):
            assert not text or "?" in text or "�" in text, f"{charset} {code.hex()} is {text}"
        codes = [code for code, text in texts.items() if text is not None and len(text) == 1]
        for code, text in zip(codes, _converted(connection, charset, codes), strict=True):
            # The server has no Unicode character for some codes that have one by now.
            if text in (None, "", "?", "�") and code != b"?":
                unknown.add((charset, code))
            else:
                assert texts[code] == text, f"{charset} {code.hex()}"
    connection.close()
    assert len(unknown) < 30


def _converted(connection: Connection, charset: str, codes: list[bytes]) -> list[str | None]:
    """Return what the server converts codes to; None for one that it refuses."""
    found: list[str | None] = []
    for at in range(0, len(codes), 2000):
        bytes_of = [f"convert(x'{code.hex()}' using {charset})" for code in codes[at : at + 2000]]
        found += connection.rows(f"select {', '.join(f'convert({text} using utf8mb4)' for text in bytes_of)}")[0]
    return found


def _decoded(decode: Decode, code: bytes) -> str | None:
    try:
        return decode(code)
    except UnicodeDecodeError:
        return None

"""What the comparison needs of a database server that is source and target at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from benchmarks.databases.shapes import Shape
from schemas.table import TableName

SOURCE = "bench_source"
"""The database that is captured; the table in it is called `orders`."""
PEER_TABLE = "peer_orders"
"""What the peer's sink calls its copy."""

Properties = dict[str, str | int | bool]
Count = Callable[[str], int]
"""Run a query of one number; 0 while what it reads is not there yet."""


class Engine(Protocol):
    """A server, started by `start`, with a database `SOURCE`. Names of replications are fit for a slot's."""

    plugin: str
    """The folder of jars with the peer's connector."""

    def start(self) -> None:
        """Start the server and make the source's database."""

    def stop(self) -> None:
        """Stop the server."""

    @property
    def table(self) -> TableName:
        """The table, as topics and mappings name it."""

    def endpoint(self, database: str) -> dict[str, Any]:
        """Return the settings by which ours captures from the server, or writes to one of its databases."""

    def target(self, database: str) -> dict[str, Any]:
        """Return the section of a target that writes the table to a database."""

    def create_database(self, name: str) -> None:
        """Make an empty database."""

    def create(self, shape: Shape, rows: int) -> None:
        """Make the table with rows 1 to `rows`."""

    def change(self, shape: Shape, rows: int) -> int:
        """Change a table of `rows` rows; return how many changes these are."""

    def touch(self) -> None:
        """Change one row, to no effect but an entry in the log."""

    def digest(self, database: str) -> tuple[object, ...]:
        """Return the number of rows and a sum over them: equal tables have equal ones."""

    def counting(self, database: str) -> AbstractContextManager[Count]:
        """Open a session that counts in a database."""

    def applied(self, database: str, replication: str, topic: str) -> str:
        """Return the query of the offsets that ours has stored with the rows."""

    def copy_rows(self, rows: int) -> list[tuple[str, float]]:
        """Read the table by the server's own bulk means, and write its rows to a new one with its key, which is dropped
        again: what the means are called, and the seconds of each.
        """

    def mark_log(self) -> None:
        """Remember where the log ends."""

    def read_log(self) -> tuple[str, float] | None:
        """Read the log since the mark by the server's own client; return its name and the seconds, None without one."""

    def connector(self, name: str, directory: Path) -> Properties:
        """Return the peer's properties that say what it captures."""

    def captures(self, name: str) -> bool:
        """Tell whether the peer reads the log now, as far as the server knows."""

    def forget(self, name: str) -> None:
        """Remove what the peer has left at the server."""

    def sink(self, database: str) -> Mapping[str, str | int | bool]:
        """Return the peer's properties that say where it writes."""

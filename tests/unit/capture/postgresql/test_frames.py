"""Messages are taken in the driver's way and by the compiled twin alike, here out of a libpq that tests have made."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any, cast

import pytest
from psycopg import pq

from capture.sources.postgresql import frames
from capture.sources.postgresql.extents import Arriving
from runtime.spool import Spool
from schemas.errors import ErrorKind, TailraceError
from schemas.twin import built

Answers = list[bytes | int]


class Connection:
    """What the driver's connection offers, over answers of a libpq: messages, or numbers that are not lengths."""

    pgconn_ptr = 4711

    def __init__(self, answers: Answers) -> None:
        self.answers = [*answers]

    def get_copy_data(self, _async: int) -> tuple[int, memoryview]:
        answer = self.answers.pop(0)
        return (answer, memoryview(b"")) if isinstance(answer, int) else (len(answer), memoryview(answer))

    def get_error_message(self) -> str:
        return "it broke"


class Library:
    """`PQgetlineAsync` over a connection's answers: of one that is longer than the room for it, a part at each call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.rest = b""
        self.line = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)(self._line)

    def _line(self, connection: int, room: int, room_size: int) -> int:
        assert connection == Connection.pgconn_ptr
        if not self.rest:
            size, content = self._connection.get_copy_data(1)
            if size <= 0:
                return max(size, -1)
            self.rest = bytes(content)
        piece, self.rest = self.rest[:room_size], self.rest[room_size:]
        ctypes.memmove(room, piece, len(piece))
        return len(piece)


def to_the_dot(message: Arriving) -> None:
    """The extent of large messages here."""
    while message.take(1) != b".":
        pass


@pytest.fixture(params=["driver", "twin"])
def take(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return `frames.take` over answers, in one of the two ways: what it returned, and what it took."""
    module = built("frames")
    if request.param == "twin" and module is None:
        pytest.skip("it is not built: no compiler was there")

    def taken(
        connection: Connection, count_max: int, bytes_max: int, filing: frames.Filing | None = None
    ) -> tuple[int, list[bytes]]:
        library = Library(connection)
        twin = module and module.Frames(ctypes.cast(library.line, ctypes.c_void_p).value)
        monkeypatch.setattr(frames, "_frames", lambda: twin if request.param == "twin" else None)
        monkeypatch.setattr(pq, "PGconn", Connection)
        out = [b"before"]
        filing = filing or frames.Filing(None, to_the_dot)
        state = frames.take(cast("pq.abc.PGconn", connection), out, count_max, bytes_max, filing)
        assert not library.rest
        return state, out[1:]

    return taken


def test_what_has_arrived_is_taken_up_to_a_bound(take: Any) -> None:
    connection = Connection([b"a", b"\0b", b"c" * 9, b"d", 0, b"e", -1])
    state, found = take(connection, 2, 100)
    assert (state > 0, found) == (True, [b"a", b"\0b"])
    state, found = take(connection, 100, 5)
    assert (state > 0, found) == (True, [b"c" * 9])
    assert take(connection, 100, 100) == (0, [b"d"])
    assert take(connection, 100, 100) == (-1, [b"e"])


def test_a_large_message_is_put_into_a_file_and_nothing_is_taken_behind_it(
    take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "HELD_BYTES_MAX", 8)
    monkeypatch.setattr(frames, "SWOLLEN_BYTES", 12)
    filing = frames.Filing(None, to_the_dot)
    connection = Connection([b"a", b"larger a.", b"b" * 8, b"much larger, still.", b"c", -1])
    assert take(connection, 100, 100, filing) == (9, [b"a"])
    large = filing.pop()
    assert large is not None
    # Of just as many bytes as are asked for at first: what comes then is another one.
    assert (bytes(large), filing.pop(), filing.take_swollen()) == (b"larger a.", None, False)
    assert take(connection, 100, 100, filing)[1] == [b"b" * 8]
    assert bytes(filing.pop() or b"") == b"much larger, still."
    assert take(connection, 100, 100, filing) == (-1, [b"c"])
    # Once the connection is to be closed for the memory that libpq keeps.
    assert (filing.take_swollen(), filing.take_swollen()) == (True, False)


def test_what_a_full_disk_says_is_said(take: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise TailraceError(ErrorKind.PREREQUISITE, "no room")

    monkeypatch.setattr(frames, "HELD_BYTES_MAX", 8)
    monkeypatch.setattr(frames, "spooled", full)
    monkeypatch.setattr(Spool, "write", full)
    with pytest.raises(TailraceError, match="no room"):
        take(Connection([b"larger as"]), 100, 100)


def test_another_libpq_than_the_drivers_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    find = frames._frames.__wrapped__
    monkeypatch.setattr(frames, "built", lambda _: SimpleNamespace(Frames=lambda address: (address,)))
    if pq.__impl__ != "python":
        assert find() > (0,)
    monkeypatch.setattr(pq, "version", lambda: 90_000)
    assert find() is None


def test_an_error_is_one_of_the_connection(take: Any, request: pytest.FixtureRequest) -> None:
    if "twin" in request.node.name:
        # Asked in this way libpq says so by its result.
        assert take(Connection([b"a", -2]), 100, 100) == (-1, [b"a"])
        return
    with pytest.raises(TailraceError, match="it broke") as caught:
        take(Connection([b"a", -2]), 100, 100)
    assert caught.value.kind is ErrorKind.SOURCE_CONNECTION


def test_messages_that_are_read_alike_follow_the_last_one_together() -> None:
    def message(head: bytes, number: int) -> bytes:
        return b"w" + bytes(24) + head + bytes([number])

    heads = frozenset({b"I1234N", b"D1234K"})
    alike = [message(b"I1234N", 1), message(b"I1234N", 2), message(b"D1234K", 3), message(b"I1234N", 4)]
    others = [message(b"I1235N", 5), b"w" + bytes(24) + b"I1234", message(b"C0000N", 6), b""]
    is_built = built("frames") is not None
    for other in others:
        messages = [message(b"B0000N", 0), *alike, other, alike[0]]
        rest, last = iter(messages), [b"before"]
        next(rest)
        assert frames.follow(last, messages, rest, heads) == len(alike) * is_built
        assert last == [b"before", *alike * is_built]
        assert [*rest] == [*(alike * (not is_built)), other, alike[0]]
        assert frames.follow(last, messages, rest, heads) == 0
    rest = iter(alike)
    assert frames.follow(last, alike, rest, frozenset()) == 0
    assert [*rest] == alike

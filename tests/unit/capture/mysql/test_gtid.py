"""Sets of GTIDs against Python sets."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.sources.mysql.gtid import MariadbGtids, MysqlGtids, parse_gtids
from capture.sources.mysql.position import format_position, parse_position, position_of
from schemas.errors import ErrorKind, TailraceError

SERVERS = ["3e11fa47-71ca-11e1-9e33-c80aa9429562", "00000000-0000-0000-0000-000000000001"]
ORIGINS = [*SERVERS, f"{SERVERS[0]}:a_tag", f"{SERVERS[1]}:a_tag", f"{SERVERS[0]}:tag2"]

ids = st.sets(st.tuples(st.sampled_from(ORIGINS), st.integers(1, 30)), max_size=40)


def _text(members: set[tuple[str, int]]) -> str:
    return ",".join(f"{server}:{number}" for server, number in sorted(members))


def _members(gtids: MysqlGtids) -> set[tuple[str, int]]:
    found = set()
    for part in filter(None, gtids.text().split(",")):
        words = part.split(":")
        at = 2 if words[1][0].isalpha() else 1
        for range_ in words[at:]:
            first, _, last = range_.partition("-")
            found |= {(":".join(words[:at]), n) for n in range(int(first), int(last or first) + 1)}
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ids, ids)
def test_mysql_sets_are_sets(one: set[tuple[str, int]], other: set[tuple[str, int]]) -> None:
    a, b = MysqlGtids.parse(_text(one)), MysqlGtids.parse(_text(other))
    assert (a.size, _members(a)) == (len(one), one)
    assert _members(a.missing_from(b)) == one - other
    assert a.missing_from(b).size == len(one - other)
    assert MysqlGtids.parse(a.text()).text() == a.text()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ids, st.permutations([(s, n) for s in ORIGINS for n in range(1, 6)]))
def test_ids_that_are_added_count_and_print(start: set[tuple[str, int]], added: list[tuple[str, int]]) -> None:
    gtids, members = MysqlGtids.parse(_text(start)), set(start)
    for server, number in added:
        if (server, number) in members:
            with pytest.raises(TailraceError, match="repeats"):
                gtids.add(server, number)
            continue
        before = gtids.size
        gtids.add(server, number)
        members.add((server, number))
        assert gtids.size == before + 1
        assert _members(gtids) == members
        assert parse_position(format_position(position_of(gtids))) == position_of(MysqlGtids.parse(gtids.text()))


def test_the_wire_form_has_exclusive_ends() -> None:
    encoded = MysqlGtids.parse(f"{SERVERS[0]}:1-3:7").encoded()
    assert len(encoded) == 8 + 16 + 8 + 2 * 16
    assert encoded[8:24].hex() == SERVERS[0].replace("-", "")
    numbers = [int.from_bytes(encoded[i : i + 8], "little") for i in range(24, len(encoded), 8)]
    assert numbers == [2, 1, 4, 7, 8]


def test_a_tag_stands_behind_each_server_on_the_wire() -> None:
    """As MySQL prints such a set, tags of one server together, and as it takes it."""
    gtids = MysqlGtids.parse(f"{SERVERS[0].upper()}:1-3:7:Tag:2:1:b:9,{SERVERS[1]}:5")
    assert gtids.text() == f"{SERVERS[1]}:5,{SERVERS[0]}:1-3:7,{SERVERS[0]}:b:9,{SERVERS[0]}:tag:1-2"
    first, second = (server.replace("-", "") for server in SERVERS)
    ranges = [[(5, 6)], [(1, 4), (7, 8)], [(9, 10)], [(1, 3)]]
    expected = (1 << 56 | 4 << 8 | 1).to_bytes(8, "little")
    for server, tag, of_origin in zip((second, first, first, first), ("", "", "b", "tag"), ranges, strict=True):
        expected += bytes.fromhex(server) + bytes([2 * len(tag)]) + tag.encode()
        expected += b"".join(
            n.to_bytes(8, "little") for n in (len(of_origin), *(n for pair in of_origin for n in pair))
        )
    assert gtids.encoded() == expected


def test_mariadb_positions_order_by_their_sum_and_never_go_back() -> None:
    gtids = MariadbGtids.parse("1-2-5,0-1-100")
    assert (gtids.size, gtids.text()) == (105, "0-1-100,1-2-5")
    gtids.add(0, 9, 103)
    gtids.add(7, 1, 1)
    assert (gtids.size, gtids.text()) == (109, "0-9-103,1-2-5,7-1-1")
    assert gtids.missing_from(MariadbGtids.parse("0-9-103,1-1-4")).text() == "1-2-5,7-1-1"
    assert gtids.missing_from(MariadbGtids.parse("0-1-103,1-1-6,7-1-1")).text() == "0-9-103"
    with pytest.raises(TailraceError) as caught:
        gtids.add(0, 1, 103)
    assert caught.value.kind is ErrorKind.INVARIANT


@pytest.mark.parametrize(
    "text", ["x", "0-1", "0-1-2,0-1-3", f"{SERVERS[0]}:3-1", f"{SERVERS[0]}:tag", f"{SERVERS[0]}:1:tag", "0-1-2+x"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(TailraceError) as caught:
        parse_position(text)
    assert caught.value.kind is ErrorKind.CONFIGURATION


def test_a_position_within_a_transaction_prints_its_changes() -> None:
    position = parse_position("0-1-100+12")
    assert (position.commit, position.row, format_position(position)) == (100, 12, "0-1-100+12")
    assert isinstance(parse_gtids(""), MysqlGtids)

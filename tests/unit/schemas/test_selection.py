"""Which tables are taken: the last pattern that matches decides, named or with wildcards."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from schemas.selection import Selection
from schemas.table import TableName

PATTERNS = ("a.x", "!a.x", "a.*", "!a.*", "*.x", "!*.y", "a.?", "!a.[xy]", "b.y", "!b.y")


@given(st.lists(st.sampled_from(PATTERNS), max_size=6), st.sampled_from(("a.x", "a.y", "b.x", "b.y", "b.z")))
def test_the_last_pattern_that_matches_decides(patterns: list[str], name: str) -> None:
    matching = [p for p in patterns if fnmatchcase(name, p.removeprefix("!"))]
    assert Selection(patterns).takes(name) is bool(matching and not matching[-1].startswith("!"))


def test_a_thousand_tables_may_be_named_and_one_of_them_left_out() -> None:
    names = [TableName("public", f"t{number}") for number in range(1000)]
    selection = Selection([*map(str, names), "!public.t7"])
    assert [name.table for name in names if not selection.takes(name)] == ["t7"]


def test_the_letters_of_a_name_are_no_pattern_of_another() -> None:
    assert not Selection(["a.x.y"]).takes("a.x_y")
    assert not Selection(["a.X"]).takes("a.x")

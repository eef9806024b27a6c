"""Fields of an index that is there, for a table that has changed."""

from __future__ import annotations

import pytest

from apply.sinks.opensearch.mapping import changed_fields, grown_fields


def test_a_field_keeps_its_type_and_takes_what_it_can() -> None:
    there = {"id": {"type": "integer"}, "word": {"type": "keyword", "boost": 2}, "at": {"type": "short"}}
    wanted = {"id": {"type": "long"}, "word": {"type": "text"}, "at": {"type": "short"}, "new": {"type": "double"}}
    assert changed_fields(wanted, there) == {
        "id": {"type": "integer", "ignore_malformed": True},
        "new": {"type": "double"},
    }


def test_a_field_of_a_template_leaves_out_what_is_not_of_it() -> None:
    """It has the column's type, and would refuse documents with `NaN`, or a date of another format."""
    wanted = {"n": {"type": "double", "ignore_malformed": True}, "at": {"type": "date", "ignore_malformed": True}}
    there = {"n": {"type": "double"}, "at": {"type": "date", "format": "yyyy"}}
    assert changed_fields(wanted, there) == {
        "n": {"type": "double", "ignore_malformed": True},
        "at": {"type": "date", "format": "yyyy", "ignore_malformed": True},
    }
    assert changed_fields(wanted, changed_fields(wanted, there)) == {}


@pytest.mark.parametrize("found", [{"type": "boolean"}, {"type": "binary"}, {"properties": {}}])
def test_a_field_that_refuses_other_values_is_told(found: dict[str, object]) -> None:
    with pytest.raises(KeyError):
        changed_fields({"paid": {"type": "long"}}, {"paid": found})


def test_the_next_index_of_a_stream_has_the_new_types_and_takes_what_comes_late() -> None:
    known = {"id": {"type": "long"}, "word": {"type": "text"}, "at": {"type": "text"}, "paid": {"type": "text"}}
    date = {"type": "date", "format": "strict_date"}
    wanted = {"id": {"type": "long"}, "word": {"type": "long"}, "at": date, "paid": {"type": "boolean"}}
    grown = grown_fields({**wanted, "new": {"type": "double"}}, known)
    assert grown == {
        "id": {"type": "long"},
        "word": {"type": "long", "ignore_malformed": True},
        "at": {**date, "ignore_malformed": True},
        "paid": {"type": "keyword", "ignore_above": 8191},
        "new": {"type": "double"},
    }
    assert grown_fields(wanted, grown) == grown

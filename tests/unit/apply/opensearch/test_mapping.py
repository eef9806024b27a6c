"""Fields of an index that is there, for a table that has changed."""

from __future__ import annotations

import pytest

from apply.sinks.opensearch.mapping import changed_fields


def test_a_field_keeps_its_type_and_takes_what_it_can() -> None:
    there = {"id": {"type": "integer"}, "word": {"type": "keyword", "boost": 2}, "at": {"type": "date", "format": "x"}}
    wanted = {"id": {"type": "long"}, "word": {"type": "text"}, "at": {"type": "date"}, "new": {"type": "double"}}
    assert changed_fields(wanted, there) == {
        "id": {"type": "integer", "ignore_malformed": True},
        "new": {"type": "double"},
    }


@pytest.mark.parametrize("found", [{"type": "boolean"}, {"type": "binary"}, {"properties": {}}])
def test_a_field_that_refuses_other_values_is_told(found: dict[str, object]) -> None:
    with pytest.raises(KeyError):
        changed_fields({"paid": {"type": "long"}}, {"paid": found})

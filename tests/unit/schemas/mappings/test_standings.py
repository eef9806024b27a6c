"""Every part of a table-mapping document has one standing."""

from __future__ import annotations

import pytest

from schemas.mappings import standings
from schemas.mappings.rules import MODELS, parse
from schemas.task_settings.keys import Standing


def test_whatever_is_known_has_one_standing_and_nothing_else_has() -> None:
    known = list(standings.parts())
    assert len(known) == len(set(known))
    groups = (standings.DIFFERENTLY, standings.MEANINGLESS, standings.REFUSED)
    stated = [path for group in groups for paths in group.values() for path in paths] + sorted(standings.HONOURED)
    assert sorted(stated) == sorted(known)


def test_the_page_says_each_of_them() -> None:
    page = standings.markdown()
    found = standings.standings()
    assert page.count("\n| `") == len(found)
    for standing in (Standing.HONOURED, Standing.DIFFERENTLY, Standing.MEANINGLESS, Standing.REFUSED):
        assert f"| {standing} |" in page
    assert MODELS.keys() <= {path.partition(".")[0] for path in found}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"object-locator": {"schema-name": "s", "table-name": "%"}}, "without wildcards"),
        ({"lob-settings": {"mode": "limited"}}, "needs bulk-max-size"),
        ({"lob-settings": {"mode": "limited", "bulk-max-size": 0}}, "needs bulk-max-size"),
        ({"parallel-load": {"type": "by-chance"}}, "partitions-auto"),
    ],
)
def test_table_settings_that_say_nothing_of_use_are_refused(more: dict[str, object], message: str) -> None:
    rule = {"rule-type": "table-settings", "rule-id": "7", "object-locator": {"schema-name": "s", "table-name": "t"}}
    parse({"rules": [rule]})
    with pytest.raises(Exception, match=f"(?s)rule 7: .*{message}"):
        parse({"rules": [rule | more]})


def test_types_of_rules_that_are_not_done_are_refused_by_their_name() -> None:
    rule = {"rule-type": "validation", "rule-id": "41", "rule-action": "override-validation-function"}
    with pytest.raises(Exception, match="rule 41: validation is not supported"):
        parse({"rules": [rule]})
    with pytest.raises(Exception, match="rule 42: rule-type must be one of selection"):
        parse({"rules": [{"rule-type": "other", "rule-id": "42"}]})

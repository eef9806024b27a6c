"""Every form of rule in the examples of the AWS DMS user guide, restated for other tables: it is taken as it is, or
refused with words that say why. What such rules do to rows is in `test_guide`, `test_objects` and `test_segments`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from schemas.errors import TailraceError
from schemas.mappings import support
from schemas.mappings.rules import MODELS, parse
from schemas.mappings.standings import standings

ONE = {"schema-name": "crm", "table-name": "person"}
ALL = {"schema-name": "%", "table-name": "%"}


def _selection(locator: dict[str, str] = ONE, action: str = "include", **more: Any) -> dict[str, Any]:
    return {"rule-type": "selection", "rule-action": action, "object-locator": locator, **_hyphens(more)}


def _filtered(*filters: tuple[str, list[dict[str, str]]]) -> dict[str, Any]:
    found = [{"filter-type": "source", "column-name": name, "filter-conditions": cases} for name, cases in filters]
    return _selection(filters=found)


def _case(operator: str, *values: str) -> dict[str, str]:
    names = ("start-value", "end-value") if len(values) > 1 else ("value",)
    return {"filter-operator": operator, **dict(zip(names, values, strict=False))}


def _change(
    action: str, target: str = "column", locator: dict[str, str] = ONE, column: str | None = None, **more: Any
) -> dict[str, Any]:
    place = locator | ({"column-name": column} if column else {})
    rule = {"rule-type": "transformation", "rule-action": action, "rule-target": target, "object-locator": place}
    return rule | _hyphens(more)


def _added(name: str, expression: str | None, kind: str, locator: dict[str, str] = ALL, **size: int) -> dict[str, Any]:
    more = {} if expression is None else {"expression": expression}
    return _change("add-column", locator=locator, value=name, data_type={"type": kind, **size}, **more)


def _settings(locator: dict[str, str] = ONE, **more: Any) -> dict[str, Any]:
    return {"rule-type": "table-settings", "object-locator": locator, **_hyphens(more)}


def _load(**more: Any) -> dict[str, Any]:
    return _settings(parallel_load=_hyphens(more))


def _objects(action: str = "map-record-to-record", **more: Any) -> dict[str, Any]:
    return {"rule-type": "object-mapping", "rule-action": action, "object-locator": ONE, **_hyphens(more)}


def _tagged(*tags: tuple[str, str], locator: dict[str, str] = ONE) -> dict[str, Any]:
    found = [{"key": key, "value": value} for key, value in tags]
    return {"rule-type": "post-processing", "rule-action": "add-tag", "object-locator": locator, "tag-set": found}


def _hyphens(given: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in given.items()}


_SCALAR = {"attribute-type": "scalar", "attribute-sub-type": "string"}
_NAME = {"target-attribute-name": "name", "value": "${last}, ${first}"} | _SCALAR
_TREE = {"Home": {"Town": "${town}"}, "Work": {"Phone": "${phone}"}}
_NATIVE = {"M": {"Home": {"M": {"Town": {"S": "${town}"}}}}}
_TEXT = '{"Home": {"Town": "${town}"}, "Work": {"Phone": "${phone}"}}'

TAKEN: dict[str, list[dict[str, Any]]] = {
    "Selection rules and actions": [
        _selection(ALL),
        _selection({"schema-name": "crm", "table-name": "TMP%"}, "exclude"),
        _selection(ONE, "explicit"),
        _selection(load_order="1"),
        _selection({"schema-name": "crm", "table-name": "v_%", "table-type": "view"}),
        _selection({"schema-name": "crm", "table-name": "%", "table-type": "all"}),
    ],
    "Wildcards in table mapping": [
        _selection({"schema-name": "crm", "table-name": "a[_]b%"}, filters=[]),
        _selection({"schema-name": "crm", "table-name": "part_[1-4]"}),
    ],
    "Using source filters": [
        _filtered(("id", [_case("gte", "100")])),
        _filtered(("id", [_case("lte", "10"), _case("between", "50", "75"), _case("gte", "100")])),
        _filtered(("id", [_case("ste", "100")]), ("team", [_case("eq", "it")])),
        _filtered(("team", [_case("null")])),
        _filtered(("id", [_case("notbetween", "50", "75")])),
        _filtered(("id", [_case("noteq", "50")]), ("team", [_case("notnull")])),
        _filtered(("hired", [_case("gte", "2002-01-01")])),
    ],
    "Transformation rules and actions": [
        _change("rename", "schema", {"schema-name": "crm"}, value="crm1"),
        _change("rename", "table", value="people"),
        _change("rename", column="first", value="given"),
        _change("rename", "table-tablespace", ONE | {"table-tablespace-name": "s1"}, value="s2"),
        _change("rename", "index-tablespace", ONE | {"index-tablespace-name": "s1"}, value="s2"),
        _added("seen", None, "datetime", ONE, precision=6),
        _change("remove-column", column="tmp%"),
        _change("convert-lowercase", "table"),
        _change("convert-uppercase", locator=ALL, column="%"),
        _change("add-prefix", "table", {"schema-name": "crm", "table-name": "%"}, value="copy_"),
        _change("replace-prefix", locator=ALL, column="%", value="new_", old_value="old_"),
        _change("remove-suffix", "table", {"schema-name": "crm", "table-name": "%"}, value="_tmp"),
        _change("define-primary-key", "table", primary_key_def={"name": "pk", "columns": ["a", "b", "c"]}),
        _change(
            "define-primary-key",
            "table",
            primary_key_def={"name": "pk", "origin": "unique-index", "columns": ["a", "b", "c"]},
        ),
        _change("change-data-type", column="amount", data_type={"type": "int8"}),
        _change("change-data-type", column="note", data_type={"type": "string", "length": "4092"}),
        _change("change-data-type", locator=ALL | {"data-type": "nclob"}, column="%", data_type={"type": "string"}),
    ],
    "Using transformation rule expressions to define column content": [
        _added("whole", "$FIRST||'_'||$LAST", "string", ONE, length=50),
        _added("op", "operation_indicator('D', 'U', 'I')", "string", length=50),
        _added("tx", "$AR_H_STREAM_POSITION", "string", length=50),
        _added("seq", "$AR_H_CHANGE_SEQ", "string", length=50),
        _added(
            "rank", " CASE WHEN round($pay)>=20000 THEN \u2018HIGH\u2019 ELSE \u2018LOW\u2019 END", "string", length=9
        ),
        _added("made", "datetime ()", "datetime", precision=6),
        _added("whole_pay", "round($pay)", "int8"),
        _added("hashed", "hash_sha256($number)", "string", length=64),
        _added("origin", "$AR_M_SOURCE_SCHEMA", "string", length=50),
        _added("tidy", "replaceChars($first, 'abc', '*')", "string", length=50),
    ],
    "Using data masking to hide sensitive information": [
        _change("data-masking-digits-mask", column="phone", value="#"),
        _change("data-masking-digits-randomize", column="phone"),
        _change("data-masking-hash-mask", column="mail"),
    ],
    "Using a before image to view original values of CDC rows": [
        _change(
            "add-before-image-columns",
            locator={"schema-name": "%", "table-name": "person"},
            before_image_def={"column-prefix": "BI_", "column-suffix": "", "column-filter": "pk-only"},
        ),
    ],
    "Table and collection settings rules and operations": [
        _load(type="partitions-auto"),
        _load(
            type="partitions-auto",
            number_of_partitions=16,
            collection_count_from_metadata="true",
            max_records_skip_per_page=1_000_000,
            batch_size=50_000,
        ),
        _load(type="subpartitions-auto"),
        _load(type="partitions-list", partitions=["one", "two"]),
        _load(type="partitions-list", partitions=["one", "two"], subpartitions=["s1", "s2"]),
        _load(type="ranges", columns=["number", "region"], boundaries=[["1000", "N"], ["3000", "W"]]),
        _load(type="none"),
        _settings(lob_settings={"bulk-max-size": "16"}),
        _settings(lob_settings={"mode": "limited", "bulk-max-size": "16"}),
        _settings(lob_settings={"mode": "unlimited", "bulk-max-size": "0"}),
        _settings(lob_settings={"mode": "none", "bulk-max-size": "16"}),
    ],
    "Amazon S3 object tagging": [
        _tagged(("t1", "v1"), ("t2", "v2"), ("t3", "v3")),
        _tagged(("schema", "${schema-name}"), ("table", "own_${table-name}"), locator=ALL),
        _tagged(("schema", "${schema-name}"), ("${schema-name}_t1", "v1"), locator=ALL | {"table-name": "person"}),
    ],
    "Using object mapping to migrate data": [
        _objects(),
        _objects("map-record-to-document", mapping_parameters={"exclude-columns": ["town", "phone"]}),
        _objects(
            target_table_name="t",
            mapping_parameters={
                "partition-key-name": "name",
                "exclude-columns": ["first", "last"],
                "attribute-mappings": [
                    _NAME,
                    {
                        "target-attribute-name": "contact",
                        "attribute-type": "document",
                        "attribute-sub-type": "dynamodb-map",
                        "value": _NATIVE,
                    },
                ],
            },
        ),
        _objects(
            target_table_name="t",
            mapping_parameters={
                "partition-key-name": "name",
                "sort-key-name": "store",
                "exclude-columns": ["first", "last"],
                "attribute-mappings": [
                    _NAME,
                    {"target-attribute-name": "store", "value": "${store}"} | _SCALAR,
                    {"target-attribute-name": "contact", "value": _TEXT} | _SCALAR,
                ],
            },
        ),
        _objects(
            target_table_name="t",
            mapping_parameters={
                "partition-key-type": "attribute-name",
                "partition-key-name": "name",
                "exclude-columns": ["first", "last"],
                "attribute-mappings": [
                    _NAME,
                    {
                        "target-attribute-name": "contact",
                        "attribute-type": "document",
                        "attribute-sub-type": "json",
                        "value": _TREE,
                    },
                ],
            },
        ),
        _objects(
            "map-record-to-document",
            mapping_parameters={
                "partition-key": {"value": "constant"},
                "exclude-columns": ["first", "last"],
                "attribute-mappings": [
                    {"attribute-name": "name", "value": "${first},${last}"},
                    {"attribute-name": "contact", "value": _TREE},
                ],
            },
        ),
        _objects(kafka_target_topic="people", partition_key={"value": "constant"}),
    ],
}

TAKEN["As DMS's console saves them"] = [
    _selection(load_order=None, filters=[], parallel_load=None, isAutoSegmentationChecked=False),
    _selection(filters=None) | {"rule-id": 1299416966, "rule-name": 1299416966},
    _change("convert-lowercase", "table", ALL, value=None, old_value=None),
    _change("rename", "schema", {"schema-name": "crm"}, value="crm1", old_value=None, parallel_load=None),
    _change("remove-column", column="tmp%", value=None, old_value=None),
    _change("change-data-type", column="amount", value=None, data_type={"type": "string", "length": "50"}),
]

_NAMES: dict[str, dict[str, Any]] = {
    "rename": {"value": "x"},
    "convert-lowercase": {},
    "convert-uppercase": {},
    **{action: {"value": "x_"} for action in ("add-prefix", "remove-prefix", "add-suffix", "remove-suffix")},
    **{action: {"value": "x_", "old-value": "y_"} for action in ("replace-prefix", "replace-suffix")},
}
_CONDITION = {
    "expression": "attribute_not_exists(#n)",
    "expression-attribute-names": [{"name": "#n", "value": "name"}],
    "expression-attribute-values": [{"name": ":v", "value": {"S": "x"}}],
    "apply-during-cdc": True,
    "apply-during-full-load": False,
}
TAKEN["Words of the reference that no example has"] = [
    *(
        _change(action, target, **more)
        for target in ("schema", "table", "column", "table-tablespace", "index-tablespace")
        for action, more in _NAMES.items()
    ),
    _change("include-column", column="a%"),
    *(_change("add-before-image-columns", before_image_def={"column-filter": f}) for f in ("non-lob", "all")),
    _change("define-primary-key", "table", primary_key_def={"origin": "primary-key", "columns": ["a"]}),
    _added("price", None, "numeric", precision=10, scale=2),
    _selection(ONE | {"table-type": "table"}),
    *(_objects(mapping_parameters={"partition-key-type": kind}) for kind in ("primary-key", "schema-table")),
    _objects(rule_target="table", partition_key={"attribute-name": "k", "value": "${a}"}),
    _objects(mapping_parameters={"condition-expression": _CONDITION}),
    *(_change("data-masking-hash-mask", column="mail", at=place) for place in ("apply", "capture")),
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {
            "rule-type": "validation",
            "rule-target": "column",
            "rule-action": "override-validation-function",
            "object-locator": ONE | {"column-name": "note"},
            "source-function": "REPLACE(${column-name}, chr(0), chr(32))",
            "target-function": "${column-name}",
        },
        "rule 7: validation is not supported: `tailrace verify` compares values in one form",
    ),
    (
        _settings({"schema-name": "crm", "table-name": "%"}, parallel_load={"type": "partitions-auto"}),
        "rule 7: table settings are of one table",
    ),
    (_objects(mapping_parameters={"partition-key-type": "task-id"}), "rule 7: partition-key-type task-id"),
    (_change("add-suffix", "table"), "rule 7: add-suffix needs value"),
    (
        _filtered(("id", [_case("noteq", "1"), _case("eq", "2")])),
        "a negative condition must be the only one of its filter",
    ),
    (_selection({"schema-name": "crm", "table-name": "%"}, "explicit"), "an explicit rule names one table"),
    # Before any table is looked at.
    (_added("n", "$a + 1", "int64"), "rule 7: data-type int64 is unknown; did you mean int4?"),
    (_change("change-data-type", data_type={"type": "numeric", "precision": 2, "scale": 3}), "rule 7: data-type: a"),
    (_added("n", "upper($a", "string"), "rule 7: SQLite says of the expression: incomplete input"),
    (_added("n", "upper($AR_M_SOURCE_COLUMN_NAME)", "string"), "rule 7: $AR_M_SOURCE_COLUMN_NAME is not supported"),
    (_added("n", "lowercase($a)", "string"), "rule 7: SQLite says of the expression: no such function: lowercase"),
]


@pytest.mark.parametrize(
    "rule", [pytest.param(rule, id=f"{page}-{n}") for page, rules in TAKEN.items() for n, rule in enumerate(rules)]
)
def test_a_form_of_the_guide_is_taken(rule: dict[str, Any]) -> None:
    mappings = parse({"rules": [{"rule-id": "7", "rule-name": "seven", **rule}]})
    support.check(mappings)
    (found,) = mappings.rules
    # What is stated stands: nothing but nulls is passed over.
    stated = {"rule-id": "7", "rule-name": "seven", **rule}
    assert _strings(found.model_dump(by_alias=True, exclude_unset=True)) == _strings(stated)


def test_every_part_that_has_a_standing_is_in_some_form() -> None:
    said = set()
    for rule in (rule for rules in TAKEN.values() for rule in rules):
        said |= set(_parts(rule["rule-type"], {"rule-name": "seven", **rule}))
        if rule["rule-type"] == "transformation":
            said.add(f"{rule['rule-target']}.{rule['rule-action']}")
    assert standings().keys() - said == {"mapping-parameters.partition-key-type=task-id"}


def _parts(name: str, tree: dict[str, Any]) -> Iterator[str]:
    """Yield what a rule says, as `standings` calls it."""
    for attribute, value in tree.items():
        yield f"{name}.{attribute}"
        if isinstance(value, str):
            yield f"{name}.{attribute}={value}"
        if attribute in MODELS and isinstance(value, dict | list):
            for inner in value if isinstance(value, list) else [value]:
                yield from _parts(attribute, inner)


@pytest.mark.parametrize(("rule", "said"), REFUSED)
def test_a_form_that_is_not_done_is_refused_in_words(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(TailraceError) as caught:
        support.check(parse({"rules": [{"rule-id": "7", "rule-name": "seven", **rule}]}))
    assert said in caught.value.message


def _strings(tree: Any) -> Any:
    """Return a document without nulls, and with numbers and truths as the texts that may stand for them."""
    if isinstance(tree, dict):
        named = {"attribute-name" if name == "target-attribute-name" else name: value for name, value in tree.items()}
        return {name: _strings(value) for name, value in named.items() if value is not None}
    if isinstance(tree, list):
        return [_strings(value) for value in tree]
    return str(tree).lower() if isinstance(tree, bool | int) else tree

"""The examples of the AWS DMS user guide on table mappings, restated for schemas of our own, so that all of them fit
into one document: each with what its source has, what changes there, and the rows that the guide promises.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

Rule = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """One example: rules, statements at the source (names in double quotes), and queries with their rows, as texts."""

    name: str
    """Of the example, and of its schema."""
    rules: list[Rule]
    tables: list[str]
    changes: list[str] = field(default_factory=list)
    rows: dict[str, list[tuple[str | None, ...]]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    """Tables that the target must not have."""
    only: str = ""
    """The engine that it is for; empty: each."""


def take(table: str = "%", action: str = "include", **more: Any) -> Rule:
    """Return a selection rule; `table_type` stands in its locator."""
    locator = {"table-name": table}
    if "table_type" in more:
        locator["table-type"] = more.pop("table_type")
    return {"rule-type": "selection", "rule-action": action, "object-locator": locator, **hyphens(more)}


def change(
    action: str, target: str = "column", table: str | None = "%", column: str | None = None, **more: Any
) -> Rule:
    """Return a transformation rule."""
    locator = {name: value for name, value in (("table-name", table), ("column-name", column)) if value is not None}
    rule = {"rule-type": "transformation", "rule-target": target, "rule-action": action, "object-locator": locator}
    return rule | hyphens(more)


def added(name: str, expression: str | None, kind: str, table: str = "%", **size: int) -> Rule:
    """Return a rule that adds a column."""
    more = {} if expression is None else {"expression": expression}
    return change("add-column", table=table, value=name, data_type={"type": kind, **size}, **more)


def settings(table: str, **more: Any) -> Rule:
    """Return a rule of table settings."""
    return {"rule-type": "table-settings", "object-locator": {"table-name": table}, **hyphens(more)}


def rules(examples: list[Example]) -> list[Rule]:
    """Return all rules in one document's list, each with its schema and an id."""
    found: list[Rule] = []
    for example in examples:
        for rule in example.rules:
            number = str(len(found) + 1)
            place = {"schema-name": example.name, **rule["object-locator"]}
            found.append({**rule, "rule-id": number, "rule-name": number, "object-locator": place})
    return found


def hyphens(given: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in given.items()}


def _case(operator: str, *values: str) -> dict[str, str]:
    names = ("start-value", "end-value") if len(values) > 1 else ("value",)
    return {"filter-operator": operator, **dict(zip(names, values, strict=False))}


def _one_column(table: str) -> str:
    return f'create table "{table}" (id int primary key)'


def _filtered(name: str, ids: list[int], *filters: tuple[str, list[dict[str, str]]]) -> Example:
    """Return an example of the page "Using source filters": employees, some of whom come into the filter, or leave."""
    stated = [{"filter-type": "source", "column-name": column, "filter-conditions": cases} for column, cases in filters]
    return Example(
        name,
        [take("employee", filters=stated)],
        [
            "create table employee (empid int primary key, dept varchar(20), empstartdate date)",
            """insert into employee values (10, 'tech', '2001-05-05'), (50, 'tech', '2002-01-01'),
               (60, null, '2003-03-03'), (80, 'hr', '1999-01-01'), (100, 'tech', '2002-06-01'),
               (150, 'hr', '2010-01-01')""",
        ],
        [
            "insert into employee values (200, 'tech', '2020-01-01'), (5, null, '2000-01-01')",
            "update employee set dept = null where empid = 80",
            "update employee set dept = 'tech' where empid = 60",
            "delete from employee where empid = 100",
            "update employee set empid = 51 where empid = 50",
        ],
        {"select empid from {}.employee order by empid": [(str(i),) for i in ids]},
    )


def _keyed(name: str, origin: dict[str, str], kind: str) -> Example:
    """Return an example of a key that the rule defines, for a table without one."""
    columns = ["ITEM-NAME", "BOM-MODEL-NUM", "BOM-PART-NUM"]
    rule = change("define-primary-key", "table", "ITEM", primary_key_def={"name": "k", **origin, "columns": columns})
    return Example(
        name,
        [take(), rule],
        [
            """create table "ITEM" ("ITEM-NAME" varchar(20) not null, "BOM-MODEL-NUM" int not null,
               "BOM-PART-NUM" int not null, note varchar(20))""",
            """insert into "ITEM" values ('a', 1, 1, 'x'), ('a', 1, 2, 'y'), ('b', 1, 1, 'z')""",
        ],
        [
            """update "ITEM" set note = 'changed' where "BOM-PART-NUM" = 2""",
            """delete from "ITEM" where "ITEM-NAME" = 'b'""",
        ],
        {
            'select * from {}."ITEM" order by 3': [("a", "1", "1", "x"), ("a", "1", "2", "changed")],
            # The key is there, of these columns.
            """select array_to_string(array(select attname from pg_attribute where attrelid = indexrelid
               order by attnum), ','), indisunique, indisprimary from pg_index
               where indrelid = '{}."ITEM"'::regclass""": [(",".join(columns), "True", kind)],
        },
    )


def _lobs(name: str, kept: int, **lob_settings: str) -> Example:
    """Return an example of a table with large values, of 3000 and 40 characters."""
    return Example(
        name,
        [take(), settings("ITEMS", lob_settings=hyphens(lob_settings))],
        [
            'create table "ITEMS" (id int primary key, body text)',
            """insert into "ITEMS" values (1, repeat('x', 3000)), (2, repeat('y', 40))""",
        ],
        ["""insert into "ITEMS" values (3, repeat('z', 3000))"""],
        {'select id, length(body) from {}."ITEMS" order by id': [("1", str(kept)), ("2", "40"), ("3", str(kept))]},
    )


def _before(columns: str) -> Rule:
    """Return a rule that adds columns of the values before."""
    image = {"column-prefix": "BI_", "column-suffix": "", "column-filter": columns}
    return change("add-before-image-columns", column="%", before_image_def=image)


_WHOLE = "alter table {} replica identity full"


def _earlier(
    name: str, columns: str, rows: list[tuple[str | None, ...]], *, only: str = "", keeping: tuple[str, ...] = ()
) -> Example:
    """Return an example of columns of the values before; `keeping` makes the source keep them."""
    whole = columns == "all"
    said = ", ".join(f'"{column}"' for column in ("emp_no", "title", "BI_emp_no", *(["BI_title"] if whole else [])))
    return Example(
        name,
        [take(), _before(columns)],
        [
            "create table employees (emp_no int primary key, title varchar(20))",
            *keeping,
            "insert into employees values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (6, 'f')",
        ],
        [
            "update employees set title = 'then' where emp_no = 1",
            "update employees set title = 'new' where emp_no = 1",
            "delete from employees where emp_no = 6",
            "insert into employees values (5, 'e')",
            "update employees set title = '4' where emp_no = 4",
            "update employees set emp_no = 7 where emp_no = 3",
        ],
        {
            f"select {said} from {{}}.employees order by 1": rows,
            "select count(*) from information_schema.columns where table_schema = '{}' and column_name like 'BI%'": [
                ("2" if whole else "1",)
            ],
        },
        only=only,
    )


_EARLIER: list[tuple[str | None, ...]] = [
    ("1", "new", "1", "then"), ("2", "b", None, None), ("4", "4", "4", "d"), ("5", "e", None, None),
    ("7", "c", "3", "c"),
]  # fmt: skip
_SALES = [
    """insert into "SALES" values ('ABEL', 1000), ('EVE', 2000), ('FAY', 3000), ('IDA', 4000), ('ZOE', 5000)""",
]
_LISTED = """create table "SALES" (name varchar(20), no int, primary key (name, no)) partition by range (name)"""
_BOUNDS = {"ABCD": ("A", "E"), "EFGH": ("E", "I"), "IJKL": ("I", "M"), "UVWXYZ": ("M", "ZZ")}


def _partitioned(below: bool = False) -> list[str]:
    """Return PostgreSQL's table of names, in partitions of the alphabet, with two below the last one."""
    split = " partition by hash (no)"
    ranges = [
        f"""create table "{name}" partition of "SALES" for values from ('{first}') to ('{end}')
            {split if below and name == "UVWXYZ" else ""}"""
        for name, (first, end) in _BOUNDS.items()
    ]
    halves = [
        f'create table "{name}" partition of "UVWXYZ" for values with (modulus 2, remainder {n})'
        for n, name in enumerate(("01234", "56789"))
    ]
    return [_LISTED, *ranges, *(halves if below else []), *_SALES]


_PARTITIONS = ", ".join(f"""partition "{name}" values less than ('{end}')""" for name, (_, end) in _BOUNDS.items())
_AT_MYSQL = [_LISTED.replace("range (name)", f"range columns (name) ({_PARTITIONS})"), *_SALES]
_ALL_SALES = [(name,) for name in ("ABEL", "EVE", "FAY", "IDA", "ZOE")]
_SALES_NAMES = 'select name from {}."SALES" order by 1'


def _segmented(name: str, tables: list[str], only: str, load: dict[str, Any], rows: list[tuple[str]]) -> Example:
    return Example(
        name,
        [take(), settings("SALES", parallel_load=load)],
        tables,
        ["""insert into "SALES" values ('LEO', 1)"""],
        {_SALES_NAMES: sorted([*rows, ("LEO",)])},
        only=only,
    )


_EMPLOYEES = [
    """create table employee (emp_number int primary key, "FIRST_NAME" varchar(20), "LAST_NAME" varchar(20),
       emp_salary numeric(10,2))""",
    "insert into employee values (1, 'Ada', 'Byron', 25000.50), (2, 'Bob', null, 100.4), (3, 'Cy', 'Dee', 1)",
]
_EMPLOYEE_CHANGES = [
    "update employee set emp_salary = 20000 where emp_number = 2",
    "delete from employee where emp_number = 3",
    "insert into employee values (4, 'Eve', 'Fox', null)",
]
FUNCTIONS = {
    """lower('Ab') || upper('cd')""": "abCD",
    """ltrim('xxa', 'x') || rtrim('bxx', 'x') || trim('  c ')""": "abc",
    """replace('abcab', 'ab', 'x')""": "xcx",
    """substr('abcdef', 2, 3) || substr('abcdef', -2) || substr('abcdef', 4, -2)""": "bcdefbc",
    """replaceChars("abcde","abcd","123")""": "1231e",
    """hex(zeroblob(2)) || length(randomblob(3))""": "00003",
    """abs(-3) || '/' || abs('x') || '/' || round(2.345, 2) || '/' || max(1, 3, 2) || '/' || min(2, 1)""": (
        "3/0.0/2.35/3/1"
    ),
    """coalesce(null, 'a') || ifnull(null, 'b') || ifnull(nullif('c', 'c'), 'd')""": "abd",
    """date('2002-01-31', '+1 day') || time('12:34:56') || strftime('%Y/%j', '2002-02-01')""": (
        "2002-02-0112:34:562002/032"
    ),
    """typeof(random()) || datetime('2002-01-01 10:00:00', '-1 hour') || julianday('2000-01-01')""": (
        "integer2002-01-01 09:00:002451544.5"
    ),
    """hash_sha256('x')""": hashlib.sha256(b"x").hexdigest(),
    """case when 2 > 1 then 'yes' else 'no' end || case 3 when 3 then '!' end""": "yes!",
}
"""An expression of each function that the guide documents, and its value."""

EXAMPLES = [
    Example(
        "g_all", [take()], [_one_column("a"), _one_column("b")], ["insert into a values (1)"],
        {"select * from {}.a union all select * from {}.b": [("1",)]},
    ),
    Example(
        "g_some", [take(), take("DMS%", "exclude")], [_one_column("DMS_log"), _one_column("b")],
        ["insert into b values (1)"], {"select * from {}.b": [("1",)]}, ("DMS_log",),
    ),
    Example(
        "g_one", [take("Customer_x", "explicit")], [_one_column("Customer_x"), _one_column("Customer1x")],
        ['insert into "Customer_x" values (1)'], {'select * from {}."Customer_x"': [("1",)]}, ("Customer1x",),
    ),
    Example(
        "g_order", [take("loadsecond", load_order="1"), take("loadfirst", load_order="2")],
        [_one_column("loadfirst"), _one_column("loadsecond")], ["insert into loadsecond values (1)"],
        {"select * from {}.loadsecond": [("1",)], "select * from {}.loadfirst": []},
    ),
    Example(
        "g_views", [take("view_DMS%", table_type="view")],
        [_one_column("t"), "insert into t values (7)", 'create view "view_DMS_1" as select id, id + 1 as next from t',
         "create view other as select id from t"],
        [], {'select * from {}."view_DMS_1"': [("7", "8")]}, ("t", "other"),
    ),
    Example(
        "g_both", [take(table_type="all")],
        [_one_column("t"), "insert into t values (7)", "create view v as select id from t"],
        ["insert into t values (8)"],
        {"select * from {}.t order by 1": [("7",), ("8",)], "select * from {}.v": [("7",)]},
    ),
    Example(
        "g_sets", [take("TEST[_]T%"), take("part[1-3]"), take("x[ab]")],
        [_one_column(name) for name in ("TEST_T1", "TESTxT1", "part2", "part4", "xa", "xc")],
        [], {"select * from {}.part2 union all select * from {}.xa": [], 'select * from {}."TEST_T1"': []},
        ("TESTxT1", "part4", "xc"),
    ),
    _filtered("g_gte", [150, 200], ("empid", [_case("gte", "100")])),
    _filtered(
        "g_or", [5, 10, 51, 60, 150, 200],
        ("empid", [_case("lte", "10"), _case("between", "50", "75"), _case("gte", "100")]),
    ),
    _filtered("g_and", [10, 51, 60], ("empid", [_case("lte", "100")]), ("dept", [_case("eq", "tech")])),
    _filtered("g_null", [5, 80], ("dept", [_case("null")])),
    _filtered("g_outside", [5, 10, 80, 150, 200], ("empid", [_case("notbetween", "50", "75")])),
    _filtered("g_not", [10, 51, 60, 150, 200], ("empid", [_case("noteq", "50")]), ("dept", [_case("notnull")])),
    _filtered("g_date", [51, 60, 150, 200], ("empstartdate", [_case("gte", "2002-01-01")])),
    Example(
        "g_schema", [take(), change("rename", "schema", None, value="g_schema1")], [_one_column("a")],
        ["insert into a values (1)"], {"select * from {}1.a": [("1",)]}, ("a",),
    ),
    Example(
        "g_table", [take(), change("rename", "table", "Actor", value="Actor1")], [_one_column("Actor")],
        ['insert into "Actor" values (1)'], {'select * from {}."Actor1"': [("1",)]}, ("Actor",),
    ),
    Example(
        "g_column", [take(), change("rename", table="Actor", column="first_name", value="fname")],
        ['create table "Actor" (id int primary key, first_name varchar(20))',
         """insert into "Actor" values (1, 'a')"""],
        ["""update "Actor" set first_name = 'b'"""], {'select id, fname from {}."Actor"': [("1", "b")]},
    ),
    Example(
        "g_space",
        [take(),
         {**change("rename", "table-tablespace", "Actor", value="SceneTblSpace"),
          "object-locator": {"table-name": "Actor", "table-tablespace-name": "SetSpace"}}],
        [_one_column("Actor")], ['insert into "Actor" values (1)'], {'select * from {}."Actor"': [("1",)]},
    ),
    Example(
        "g_add", [take(), added("last_updated", None, "datetime", "actor", precision=6)], [_one_column("actor")],
        ["insert into actor values (1)"], {"select id, last_updated from {}.actor": [("1", None)]},
    ),
    Example(
        "g_remove", [take(), change("remove-column", table="Actor", column="col%")],
        ['create table "Actor" (id int primary key, col1 int, col2 int, other int)',
         'insert into "Actor" values (1, 1, 1, 1)'],
        ['insert into "Actor" values (2, 2, 2, 2)'],
        {'select * from {}."Actor" order by 1': [("1", "1"), ("2", "2")]},
    ),
    Example(
        "g_lower", [take(), change("convert-lowercase", "table", "ACTOR")], [_one_column("ACTOR")],
        ['insert into "ACTOR" values (1)'], {"select * from {}.actor": [("1",)]}, ("ACTOR",),
    ),
    Example(
        "g_upper", [take(), change("convert-uppercase", column="%")],
        ["create table a (id int primary key, first_name varchar(9))", "insert into a values (1, 'x')"],
        ["update a set id = 2"], {'select "ID", "FIRST_NAME" from {}.a': [("2", "x")]},
    ),
    Example(
        "g_prefix", [take(), change("add-prefix", "table", value="DMS_")], [_one_column("a")],
        ["insert into a values (1)"], {'select * from {}."DMS_a"': [("1",)]}, ("a",),
    ),
    Example(
        "g_other_prefix", [take(), change("replace-prefix", column="%", value="NewPre_", old_value="Pre_")],
        ['create table a (id int primary key, "Pre_x" int, y int)', "insert into a values (1, 2, 3)"],
        ['update a set "Pre_x" = 5'], {'select id, "NewPre_x", y from {}.a': [("1", "5", "3")]},
    ),
    Example(
        "g_suffix", [take(), change("remove-suffix", "table", value="_DMS")],
        [_one_column("a_DMS"), _one_column("b")], ['insert into "a_DMS" values (1)'],
        {"select * from {}.a": [("1",)], "select * from {}.b": []}, ("a_DMS",),
    ),
    _keyed("g_key", {}, "True"),
    _keyed("g_index", {"origin": "unique-index"}, "False"),
    Example(
        "g_type", [take(), change("change-data-type", table="dms", column="SALE_AMOUNT", data_type={"type": "int8"})],
        ['create table dms (id int primary key, "SALE_AMOUNT" numeric(12,2))', "insert into dms values (1, 7)"],
        ['update dms set "SALE_AMOUNT" = 9'],
        {'select "SALE_AMOUNT", pg_typeof("SALE_AMOUNT") from {}.dms': [("9", "bigint")]},
    ),
    Example(
        "g_whole", [take(), added("FULL_NAME", "$FIRST_NAME||'_'||$LAST_NAME", "string", "employee", length=50)],
        _EMPLOYEES, _EMPLOYEE_CHANGES,
        {'select emp_number, "FULL_NAME" from {}.employee order by 1': [
            ("1", "Ada_Byron"), ("2", None), ("4", "Eve_Fox")]},
    ),
    Example(
        "g_flag", [take(), added("Operation", "operation_indicator('D', 'U', 'I')", "string", length=50)],
        _EMPLOYEES, _EMPLOYEE_CHANGES,
        {'select emp_number, "LAST_NAME", "Operation" from {}.employee order by 1': [
            ("1", "Byron", "I"), ("2", None, "U"), ("3", "Dee", "D"), ("4", "Fox", "I")]},
    ),
    Example(
        "g_computed",
        [
            take(),
            added(
                "pay_band",
                " case when round($emp_salary) >= 20000 then \u2018above\u2019 else \u2018below\u2019 end",
                "string", "employee", length=50,
            ),
            added("createdate", "datetime ()", "datetime", "employee", precision=6),
            added("whole_salary", "round($emp_salary)", "int8", "employee"),
            added("hidden_number", "hash_sha256($emp_number)", "string", "employee", length=64),
            added("schema_name", "$AR_M_SOURCE_SCHEMA", "string", length=50),
            added("transact_id", "$AR_H_CHANGE_SEQ", "string", length=50),
        ],
        _EMPLOYEES, _EMPLOYEE_CHANGES,
        {
            "select emp_number, pay_band, whole_salary, schema_name from {}.employee order by 1": [
                ("1", "above", "25001", "g_computed"),
                ("2", "above", "20000", "g_computed"),
                ("4", "below", None, "g_computed"),
            ],
            "select hidden_number from {}.employee where emp_number = 4": [(hashlib.sha256(b"4").hexdigest(),)],
            "select count(*) from {}.employee where createdate > '2020-01-01' and transact_id::numeric > 0": [("3",)],
        },
    ),
    Example(
        "g_position", [take(), added("transact_id", "$AR_H_STREAM_POSITION", "string", length=50)],
        [_one_column("a")], ["insert into a values (1)"], {"select count(transact_id) from {}.a": [("1",)]},
        only="postgresql",
    ),
    Example(
        "g_functions",
        [take(), *(added(f"f{n}", expression, "string", length=99) for n, expression in enumerate(FUNCTIONS))],
        [_one_column("a"), "insert into a values (1)"], ["insert into a values (2)"],
        {"select * from {}.a order by 1": [("1", *FUNCTIONS.values()), ("2", *FUNCTIONS.values())]},
    ),
    _earlier("g_before", "pk-only", [
        ("1", "new", "1"), ("2", "b", None), ("4", "4", "4"), ("5", "e", None), ("7", "c", "3")]),
    _earlier("g_before_all", "all", _EARLIER, only="postgresql", keeping=(_WHOLE.format("employees"),)),
    _earlier("g_before_all", "all", _EARLIER, only="mysql"),
    Example(
        # A row without a key is found by its values, which what it was before is none of.
        "g_before_bag", [take(), _before("all"), added("changed", "$AR_H_OPERATION", "string", length=9)],
        ["create table bag (a int, b text)", _WHOLE.format("bag"),
         "insert into bag values (1, 'x'), (1, 'x'), (2, 'y'), (3, 'z')"],
        ["update bag set b = 'then' where a = 2", "update bag set b = 'now' where a = 2",
         "update bag set b = 'zz' where a = 3", "delete from bag where a = 3", "update bag set a = 4 where b = 'now'"],
        {"select * from {}.bag order by a": [
            ("1", "x", "INSERT", None, None), ("1", "x", "INSERT", None, None), ("4", "now", "UPDATE", "2", "now")]},
        only="postgresql",
    ),
    _segmented("g_parts", _partitioned(), "postgresql", {"type": "partitions-auto"}, _ALL_SALES),
    _segmented("g_parts", _AT_MYSQL, "mysql", {"type": "partitions-auto"}, _ALL_SALES),
    _segmented("g_below", _partitioned(below=True), "postgresql", {"type": "subpartitions-auto"}, _ALL_SALES),
    _segmented(
        "g_listed", _partitioned(), "postgresql", {"type": "partitions-list", "partitions": ["ABCD", "EFGH"]},
        _ALL_SALES[:3],
    ),
    _segmented(
        "g_listed", _AT_MYSQL, "mysql", {"type": "partitions-list", "partitions": ["ABCD", "EFGH"]}, _ALL_SALES[:3],
    ),
    _segmented(
        "g_listed_below", _partitioned(below=True), "postgresql",
        {"type": "partitions-list", "partitions": ["ABCD"], "subpartitions": ["01234", "56789"]},
        [("ABEL",), ("ZOE",)],
    ),
    Example(
        "g_ranges",
        [take(), settings("SALES", parallel_load={
            "type": "ranges", "columns": ["SALES_NO", "REGION"], "boundaries": [["1000", "NORTH"], ["3000", "WEST"]]})],
        ['create table "SALES" ("SALES_NO" int primary key, "REGION" varchar(9))',
         """insert into "SALES" values (1, 'EAST'), (1000, 'EAST'), (1001, 'NORTH'), (3000, 'WEST'), (3001, null)"""],
        ["""insert into "SALES" values (2000, 'SOUTH')"""],
        {'select "SALES_NO" from {}."SALES" order by 1': [(str(n),) for n in (1, 1000, 1001, 2000, 3000, 3001)]},
    ),
    _lobs("g_limited", 1024, bulk_max_size="1"),
    _lobs("g_unlimited", 3000, mode="unlimited", bulk_max_size="0"),
    _lobs("g_combined", 3000, mode="unlimited", bulk_max_size="1"),
    _lobs("g_by_task", 3000, mode="none", bulk_max_size="1"),
]  # fmt: skip

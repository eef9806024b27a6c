"""Style rules that fail the build: what no linter checks, and a reader would stumble over.

A rule is lifted for one place by a comment `# tidy: REASON` on its line or the line above.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from tests.unit.architecture.tree import PACKAGES, ROOT, excused, files, module_name, parsed, python_files, text

FILE_LINES_MAX = 450
TEST_FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 75
FILE_KIB_MAX = 256

BANNED_MODULES = {"utils", "util", "common", "helpers", "helper", "core", "misc"}

BANNED = {
    r"\btime\.time\(": "runtime.clock.now_us()",
    r"\bdatetime\.now\(": "runtime.clock",
    r"\bdatetime\.utcnow\(": "runtime.clock",
    r"\bbreakpoint\(": "nothing: it is left from debugging",
}
"""What must not stand in shipped code, and what to write instead."""

BANNED_ALLOWED = {"runtime/clock.py"}

MACHINE_PATTERN = re.compile(
    r"(/wor[k]/|/roo[t]/|/tm[p]/|/hom[e]/)[A-Za-z0-9._-]+"
    r"|pypi\.or[g]|pythonhoste[d]|repo1?\.mave[n]|repo\.maven\.apach[e]|registry\.npmj[s]|proxy\.golan[g]|deb\.debia[n]"
)
"""Paths of somebody's machine, and hosts of package registries, which are the clients' own business."""

SQL_KEYWORDS = re.compile(
    r"^\s*(SELECT [a-z*(\"{]|INSERT INTO |UPDATE [a-z\"{]+ SET|DELETE FROM |MERGE INTO |TRUNCATE TABLE "
    r"|(CREATE|ALTER|DROP) (TABLE|INDEX|SCHEMA|TYPE|DOMAIN|DATABASE|ROLE|PUBLICATION|SEQUENCE) )"
)


def _report(faults: list[str]) -> None:
    assert not faults, "\n" + "\n".join(faults)


def test_no_file_is_too_long_to_read() -> None:
    faults = []
    for path in python_files():
        limit = TEST_FILE_LINES_MAX if path.parts[0] == "tests" else FILE_LINES_MAX
        lines = text(path).count("\n")
        if lines > limit and not excused(path, 1):
            faults.append(f"{path}: {lines} lines, at most {limit}")
    _report(faults)


def test_no_function_is_too_long_to_read() -> None:
    faults = []
    for path in python_files():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX and not excused(path, node.lineno):
                    faults.append(f"{path}:{node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}")
    _report(faults)


def test_modules_are_named_for_what_is_in_them() -> None:
    _report([str(path) for path in python_files() if BANNED_MODULES & set(path.with_suffix("").parts)])


def test_every_module_says_what_it_is() -> None:
    faults = []
    for path in python_files():
        tree = parsed(path)
        if tree.body and not ast.get_docstring(tree):
            faults.append(f"{path}: no docstring")
        if len(tree.body) > 1 and "from __future__ import annotations" not in text(path):
            faults.append(f"{path}: no `from __future__ import annotations`")
    _report(faults)


def test_a_package_that_tells_of_its_modules_tells_of_all() -> None:
    faults = []
    packages = ["schemas", "capture", "apply"]
    packages += ["capture/full_load", "capture/publishing", "apply/batching", "apply/error_handling"]
    for package in map(Path, packages):
        told = set(re.findall(r"`(\w+)`", ast.get_docstring(parsed(package / "__init__.py")) or ""))
        within = (path.relative_to(package) for path in python_files() if path.is_relative_to(package))
        there = {path.with_suffix("").parts[0] for path in within} - {"__init__"}
        faults += [f"{package}/__init__.py: {name}" for name in sorted(told ^ there)]
    _report(faults)


def test_shipped_code_avoids_what_has_a_better_form() -> None:
    faults = []
    for path in python_files(*PACKAGES):
        if str(path) in BANNED_ALLOWED:
            continue
        for number, line in enumerate(text(path).splitlines(), 1):
            for pattern, better in BANNED.items():
                if re.search(pattern, line) and not excused(path, number):
                    faults.append(f"{path}:{number}: write {better} instead of {line.strip()}")
    _report(faults)


def test_exceptions_from_the_linters_name_their_rule() -> None:
    faults = []
    for path in python_files():
        for number, line in enumerate(text(path).splitlines(), 1):
            if re.search(r"# type: ignore(?!\[)|# noqa(?!: [A-Z])", line) and "re.search" not in line:
                faults.append(f"{path}:{number}: {line.strip()}")
    _report(faults)


def test_nothing_of_one_machine_is_in_the_tree() -> None:
    faults = []
    for path in files():
        try:
            content = text(path)
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(content.splitlines(), 1):
            if (found := MACHINE_PATTERN.search(line)) and not excused(path, number):
                faults.append(f"{path}:{number}: {found.group()}")
    _report(faults)


def test_no_large_file_is_in_the_tree() -> None:
    sizes = {path: (ROOT / path).stat().st_size >> 10 for path in files()}
    _report([f"{path}: {kib} KiB, at most {FILE_KIB_MAX}" for path, kib in sizes.items() if kib > FILE_KIB_MAX])


def test_sql_is_in_lower_case() -> None:
    faults = []
    for path in python_files():
        nodes = list(ast.walk(parsed(path)))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
                continue
            if SQL_KEYWORDS.match(node.value) and not excused(path, node.lineno):
                faults.append(f"{path}:{node.lineno}: {node.value.strip()[:60]}")
    _report(faults)


def test_log_events_are_lower_case_and_constant() -> None:
    """An event is a constant that one can search for; what varies is in its fields."""
    faults = []
    for path in python_files(*PACKAGES):
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            receiver = node.func.value
            is_log = isinstance(receiver, ast.Name) and receiver.id in {"log", "logger", "_log"}
            if not is_log or node.func.attr not in {"debug", "info", "warning", "error", "exception", "critical"}:
                continue
            event = node.args[0] if node.args else None
            text_made = isinstance(event, ast.JoinedStr | ast.BinOp)
            shouted = isinstance(event, ast.Constant) and str(event.value)[:1].isupper()
            if event is None or text_made or shouted:
                faults.append(f"{path}:{node.lineno}: {ast.unparse(node)[:80]}")
    _report(faults)


def test_every_module_is_used() -> None:
    """A module that nothing imports is dead, unless it is run (`__main__`) or found by its name in a settings file."""
    used = Counter(
        name
        for path in files()
        if (path.suffix in {".py", ".toml", ".md", ".yml"} or not path.suffix) and not _is_test(path)
        for name in _named_in(path)
    )
    faults = []
    for path in python_files(*PACKAGES):
        if path.name in {"__init__.py", "__main__.py"}:
            continue
        if 'if __name__ == "__main__":' in text(path):
            continue
        name = module_name(path)
        if used[name] <= (name in _named_in(path)):
            faults.append(f"{path}: nothing imports it")
    _report(faults)


@cache
def _named_in(path: Path) -> frozenset[str]:
    """Return the dotted names that a file has: those of its imports whole, and any other with all that they are in."""
    names = set(re.findall(r"\b\w+(?:\.\w+)+", text(path)))
    if path.suffix == ".py":
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(
        ".".join(parts[:n]) for name in names for parts in [name.split(".")] for n in range(2, len(parts) + 1)
    )


def _is_test(path: Path) -> bool:
    return path.parts[0] == "tests" and path.name.startswith("test_")

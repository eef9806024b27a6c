"""The tree's own files, as the architecture tests see them."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("schemas", "runtime", "capture", "apply", "control", "deploy")
"""The packages that are shipped."""


@cache
def files() -> tuple[Path, ...]:
    """Return all files that git tracks or would track, relative to the root."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(Path(name) for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file())


def python_files(*packages: str) -> list[Path]:
    """Return the Python files below the given top directories; without any, all of them."""
    return [path for path in files() if path.suffix == ".py" and (not packages or path.parts[0] in packages)]


@cache
def text(path: Path) -> str:
    """Return a file's text."""
    return (ROOT / path).read_text()


@cache
def parsed(path: Path) -> ast.Module:
    """Return a Python file's syntax tree."""
    return ast.parse(text(path), str(path))


def module_name(path: Path) -> str:
    """Return the dotted name that a file is imported by."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def excused(path: Path, line: int) -> bool:
    """Whether the line, or the one above it, carries `# tidy: REASON`."""
    lines = text(path).splitlines()
    return any("# tidy: " in lines[i] for i in (line - 2, line - 1) if 0 <= i < len(lines))

"""Reads a configuration file: YAML or JSON, with `${ENV}` and `${file:PATH}` in any text.

References are resolved after parsing, so that no secret can change the document's structure. `$${` stands for a
literal `${`. A relative path in `${file:…}` is taken from the configuration's own directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from schemas import json_text
from schemas.endpoint_settings.attributes import is_like
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings, parse

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_BYTES_MAX = 1 << 20


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the checked settings of a file. Raises CONFIGURATION that names every problem and no value."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TailraceError(
            ErrorKind.CONFIGURATION, f"cannot read the configuration {path}: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise TailraceError(ErrorKind.CONFIGURATION, f"the configuration {path} is not UTF-8") from error
    found = _document(text, path)
    if not isinstance(found, dict):
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"the configuration {path} {'is empty' if found is None else 'is no mapping of settings to their values'}",
            remedy="docs/first-steps.md has one to begin with; `tailrace settings reference` lists every setting",
        )
    name = f"the configuration {path}"
    document = resolve(found, path.parent, os.environ if environment is None else environment, name)
    return parse(_with_documents(document, path.parent, name), name)


def resolve(document: Any, directory: Path, environment: Mapping[str, str], name: str = "the configuration") -> Any:
    """Return the document with its references replaced. Raises CONFIGURATION that lists all that lead nowhere, and
    calls the document by its name.
    """
    problems: list[str] = []
    resolved = _resolve(document, "", directory, environment, problems)
    if problems:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"references of {name} lead nowhere:\n" + "\n".join(f"  {problem}" for problem in problems),
        )
    return resolved


def read_json(path: Path, what: str) -> Any:
    """Return a document of AWS DMS (JSON), unchecked. Raises CONFIGURATION where it cannot be read."""
    try:
        return _json(path.read_text(encoding="utf-8-sig"), f"{what} {path}")
    except OSError as error:
        message = f"cannot read the {what} {path}: {error.strerror}"
        raise TailraceError(ErrorKind.CONFIGURATION, message) from error
    except UnicodeDecodeError as error:
        raise TailraceError(ErrorKind.CONFIGURATION, f"the {what} {path} are no JSON document") from error


def _json(text: str, what: str) -> Any:
    try:
        return json_text.read(text)
    except ValueError as error:
        raise TailraceError(ErrorKind.CONFIGURATION, f"the document of {what} {error}") from None


_DOCUMENTS = {"mappings": "table mappings", "settings": "task settings", "endpoint_settings": "endpoint settings"}
"""What may stand as a path, or as its text, in the place of a document, and how it is called."""


def _with_documents(document: dict[str, Any], directory: Path, called: str) -> dict[str, Any]:
    """Return a configuration, and how it is called, with the documents in the place of the paths to them."""
    targets = document.get("targets")
    found = dict(document)
    if isinstance(targets, dict):
        found["targets"] = {
            name: _read_in(section, directory, f"`targets.{name}` of {called}") for name, section in targets.items()
        }
    if "source" in found:
        found["source"] = _read_in(found["source"], directory, f"`source` of {called}")
    whole: dict[str, Any] = _read_in(found, directory, called)
    return whole


def _read_in(section: Any, directory: Path, called: str) -> Any:
    if not isinstance(section, dict):
        return section
    return section | {
        name: _read_document(section[name], directory, what, called)
        for name, what in _DOCUMENTS.items()
        # Extra connection attributes are a text that is no JSON; what looks like them elsewhere is a path.
        if isinstance(section.get(name), str) and not (name == "endpoint_settings" and is_like(section[name]))
    }


def _read_document(text: str, directory: Path, what: str, called: str) -> Any:
    if text.lstrip().startswith(("{", "[", '"')):
        return _json(text, f"{what} in {called}")
    return json_text.InFile(read_json(directory / Path(text).expanduser(), what), text)


class _Loader(yaml.SafeLoader):
    """YAML without duplicate keys: the last of two would win silently."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key.value!r} stands here twice", key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _document(text: str, path: Path) -> Any:
    # JSON is read as YAML, which it is a subset of but for tabs between its tokens.
    source = text.replace("\t", " ") if path.suffix == ".json" else text
    try:
        return yaml.load(source, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # Not chained: the parser's own text quotes the line, which may hold a secret.
        problem = error.problem
    except yaml.YAMLError:
        where, problem = "", "not readable as YAML"
    raise TailraceError(ErrorKind.CONFIGURATION, f"the configuration {path} is malformed{where}: {problem}")


def _resolve(node: Any, path: str, directory: Path, environment: Mapping[str, str], problems: list[str]) -> Any:
    if isinstance(node, str):
        return _REFERENCE.sub(lambda m: _value(m, path, directory, environment, problems), node)
    if isinstance(node, dict):
        return {
            key: _resolve(value, f"{path}.{key}" if path else str(key), directory, environment, problems)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_resolve(item, f"{path}.{i}", directory, environment, problems) for i, item in enumerate(node)]
    return node


def _value(
    match: re.Match[str], path: str, directory: Path, environment: Mapping[str, str], problems: list[str]
) -> str:
    name = match.group(1)
    if name is None:
        return "${"
    if name.startswith("file:"):
        return _file(name.removeprefix("file:"), path, directory, problems)
    if not _VARIABLE.fullmatch(name):
        problems.append(f"{path}: ${{{name}}} is neither ${{NAME}} nor ${{file:PATH}}; write $${{ for a literal ${{")
        return ""
    if name not in environment:
        problems.append(f"{path}: the environment variable {name} is not set")
        return ""
    return environment[name]


def _file(name: str, path: str, directory: Path, problems: list[str]) -> str:
    file = directory / Path(name).expanduser()
    try:
        with file.open("rb") as stream:
            content = stream.read(_SECRET_BYTES_MAX + 1)
        if len(content) > _SECRET_BYTES_MAX:
            problems.append(f"{path}: the file {file} has more than {_SECRET_BYTES_MAX} bytes")
            return ""
        # Editors and `echo` end a file with a line end that belongs to no secret.
        return content.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        problems.append(f"{path}: cannot read the file {file}: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{path}: the file {file} is not UTF-8")
    return ""

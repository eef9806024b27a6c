"""The settings' reference, made from the models: a Markdown page and a JSON schema. So neither can be out of date."""

from __future__ import annotations

import ast
import inspect
import types
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from schemas.endpoints.engines import Plugin
from schemas.mappings.rules import Mappings
from schemas.section import Section
from schemas.settings import Settings
from schemas.task_settings.document import TaskSettings

_HEAD = """\
# Settings

Made from the models in `schemas` by `tailrace settings reference`; do not edit.

One YAML or JSON file describes a replication. In any text `${NAME}` is replaced by an environment variable and
`${file:PATH}` by a file's content (relative to the configuration; a last line end is cut off); `$${` stands for a
literal `${`. Unknown settings are refused.
"""

_NAMES: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    SecretStr: "secret text",
    Any: "anything",
    Mappings: "path of a document, or the document",
    TaskSettings: "path of a document, or the document",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a configuration file, for editors and CI."""
    schema = Settings.model_json_schema(mode="validation")
    for model in {model for _, model in sections()} | {TaskSettings}:
        properties = (schema if model is Settings else schema["$defs"][model.__name__])["properties"]
        for name, meaning in meanings(model).items():
            if name in properties:
                properties[name]["description"] = meaning
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Tailrace configuration"} | {
        name: value for name, value in schema.items() if name != "title"
    }


def markdown() -> str:
    """Return the reference page: every section with every setting, type, default and meaning."""
    lines = [*_HEAD.splitlines(), ""]
    for path, model in sections():
        title = f"`{path}`{_engine(model)}" if path else "The document"
        lines += [f"## {title}", "", (model.__doc__ or "").strip(), "", *_table(model), ""]
    return "\n".join(lines).rstrip() + "\n"


@cache
def meanings(model: type) -> dict[str, str]:
    """Return what each setting of a section means: the text below it in the source."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is not Section and base.__module__.partition(".")[0] == "schemas":
            (definition,) = ast.parse(inspect.getsource(base)).body
            assert isinstance(definition, ast.ClassDef)
            for setting, text in pairwise(definition.body):
                if isinstance(setting, ast.AnnAssign) and isinstance(text, ast.Expr):
                    found[ast.unparse(setting.target)] = inspect.cleandoc(ast.literal_eval(text.value))
    return found


def _engine(model: type[BaseModel]) -> str:
    """Tell the sections apart that stand at one place of the document."""
    if issubclass(model, Plugin):
        return " of a plug-in"
    field = model.model_fields.get("engine")
    return f" with `engine: {get_args(field.annotation)[0]}`" if field else ""


def sections() -> list[tuple[str, type[BaseModel]]]:
    """Return the path and model of every section, outer ones first."""
    found: list[tuple[str, type[BaseModel]]] = []

    def walk(path: str, model: type[BaseModel]) -> None:
        found.append((path, model))
        for name, field in model.model_fields.items():
            step = f"{name}.<name>" if get_origin(field.annotation) is dict else name
            for inner in _sections(field.annotation):
                walk(f"{path}.{step}" if path else step, inner)

    walk("", Settings)
    return found


def _table(model: type[BaseModel]) -> list[str]:
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if _sections(field.annotation):
            kind, default = "section", "" if not field.is_required() else "required"
        else:
            kind, default = _kind(field.annotation, field), _default(field)
        cells = (f"`{name}`", kind, default, meanings(model).get(name, "").replace("\n", " "))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def _sections(annotation: Any) -> list[type[Section]]:
    """Return the sections that a field may hold: several where they are told apart by `engine`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]


def _kind(annotation: Any, field: FieldInfo | None = None) -> str:
    origin = get_origin(annotation)
    bounds = _bounds(list(field.metadata)) if field else ""
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        return _kind(inner) + _bounds(metadata)
    if origin in {Union, types.UnionType}:
        return " or ".join(_kind(a) for a in get_args(annotation) if a is not type(None)) + bounds
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin is list:
        return f"list of {_kind(get_args(annotation)[0])}"
    if origin is dict:
        return f"mapping to {_kind(get_args(annotation)[1])}"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f"`{value}`" for value in annotation)
    return _NAMES.get(annotation, str(annotation)) + bounds


def _bounds(metadata: list[Any]) -> str:
    found = {
        name: getattr(item, name)
        for outer in metadata
        for item in (getattr(outer, "metadata", None) or [outer])
        for name in ("ge", "le")
        if getattr(item, name, None) is not None
    }
    return f", {found['ge']} to {found['le']}" if {"ge", "le"} <= found.keys() else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or value in ({}, []):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"

"""Turns pydantic's validation errors into lines that an operator can act on.

Each line names the setting by its path, says what is wrong without repeating the value (it may be a secret), and for
an unknown key gives the nearest known one.
"""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def explain(root: type[BaseModel], error: ValidationError) -> list[str]:
    """Return one line per problem, in the document's order, each once."""
    lines: dict[str, None] = {}
    for problem in error.errors(include_url=False, include_context=True, include_input=False):
        path = tuple(problem["loc"])
        lines.setdefault(_line(root, path, problem["type"], problem["msg"]), None)
    return list(lines)


def nearest(name: str, known: list[str]) -> str | None:
    """Return the known name most like `name`, or None where none is near."""
    matches = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def _line(root: type[BaseModel], path: tuple[int | str, ...], kind: str, message: str) -> str:
    where = ".".join(str(step) for step in path) or "the document"
    if kind == "extra_forbidden":
        parent = _model_at(root, path[:-1])
        known = list(parent.model_fields) if parent else []
        near = nearest(str(path[-1]), known)
        hint = f"did you mean {near}?" if near else f"known: {', '.join(known)}"
        return f"{where}: unknown setting; {hint}"
    if kind == "missing":
        return f"{where}: is required"
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    return f"{where}: {text}"


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Follow a path of field names and mapping keys to the model that stands there."""
    current: Any = model
    for step in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(step))
            if field is None:
                return None
            current = field.annotation
        else:
            current = _element(current)
    return _first_model(current)


def _element(annotation: Any) -> Any:
    arguments = get_args(annotation)
    return arguments[-1] if arguments else None


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_first_model, get_args(annotation)) if m), None)

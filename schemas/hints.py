"""Turns pydantic's validation errors into lines that an operator can act on.

Each line names the setting by its path, says what is wrong without repeating the value (it may be a secret), and for
an unknown key gives the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError


def explain(root: type[BaseModel], error: ValidationError) -> list[str]:
    """Return one line per problem, in the document's order, each once."""
    lines: dict[str, None] = {}
    for problem in error.errors(include_url=False, include_context=True, include_input=False):
        path = tuple(problem["loc"])
        lines.setdefault(_line(root, path, problem["type"], problem["msg"]), None)
    return list(lines)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, whatever its capitals, or None where none is near."""
    spelt = {each.lower(): each for each in known}
    matches = difflib.get_close_matches(name.lower(), spelt, n=1, cutoff=0.6)
    return spelt[matches[0]] if matches else None


def suggestion(name: str, known: Iterable[str], otherwise: str) -> str:
    """Ask whether the known name that is most like `name` is meant; say `otherwise` where none is near."""
    near = nearest(name, known)
    return f"did you mean {near}?" if near else otherwise


def suggested(name: str, known: Iterable[str]) -> str:
    """Return the same as the end of a sentence; nothing where no name is near."""
    asked = suggestion(name, known, "")
    return asked and f"; {asked}"


def tagged(annotation: Any) -> dict[str, type[BaseModel]]:
    """Return the members of a tagged union by their tags; empty for any other annotation."""
    members = (get_args(member) for member in get_args(annotation) if get_origin(member) is Annotated)
    return {tag.tag: model for model, *more in members for tag in more if isinstance(tag, Tag)}


def _line(root: type[BaseModel], path: tuple[int | str, ...], kind: str, message: str) -> str:
    model, path = _model_at(root, path if kind != "extra_forbidden" else path[:-1]), _shown(root, path)
    where = ".".join(str(step) for step in path) or "the document"
    if kind == "extra_forbidden":
        known = list(model.model_fields) if model else []
        return f"{where}: unknown setting; " + suggestion(str(path[-1]), known, f"known: {', '.join(known)}")
    if kind == "missing":
        return f"{where}: is required"
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    return f"{where}: {text}"


def _walk(root: type[BaseModel], path: tuple[int | str, ...]) -> Iterator[tuple[int | str, Any, bool]]:
    """Follow a path of field names, mapping keys and tags of unions; yield each step, what it leads to, and whether
    it is a tag: pydantic puts these into its paths, and no document has them.
    """
    current: Any = root
    for step in path:
        members = tagged(_bare(current))
        is_tag = step in members
        if is_tag:
            current = members[str(step)]
        elif isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(step))
            current = None if field is None else field.annotation
        else:
            arguments = get_args(_bare(current))
            current = arguments[-1] if arguments else None
        yield step, current, is_tag


def _shown(root: type[BaseModel], path: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(step for step, _, is_tag in _walk(root, path) if not is_tag)


def _model_at(root: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    *_, last = (root, *(reached for _, reached, _ in _walk(root, path)))
    return _first_model(last)


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_first_model, get_args(annotation)) if m), None)

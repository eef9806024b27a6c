"""The type of settings that hold a table-mapping document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from schemas.errors import TailraceError
from schemas.json_text import InFile
from schemas.mappings import support
from schemas.mappings.rules import Mappings, parse


def checked(document: Any) -> Any:
    """Return a document as its rules, and what is none yet as it is.

    Raises ValueError, as pydantic wants it, that says by the rules' ids what is wrong or not supported.
    """
    if document is None or isinstance(document, Mappings):
        return document
    try:
        mappings = parse(document)
        support.check(mappings)
    except TailraceError as error:
        raise ValueError(error.within) from error
    return mappings.in_file(document.file) if isinstance(document, InFile) else mappings


TableMappings = Annotated[Mappings, BeforeValidator(checked)]
"""A table-mapping document of AWS DMS."""

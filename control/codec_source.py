"""The code that is generated for a table: what a capture or an applier really runs, to read and to profile."""

from __future__ import annotations

from contextlib import closing

from control.contact import reach_source
from schemas.codecs import compile_decoder, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.hints import suggestion
from schemas.routing import inner_format, route
from schemas.settings import Settings
from schemas.table import TableSchema


def text(settings: Settings, table: str, *, decoder: bool) -> str:
    """Return the source text of a table's encoder or decoder. Raises CONFIGURATION for a table that is not
    selected.
    """
    schema = _schema(settings, table)
    format_ = inner_format(route(settings, schema.name))
    if decoder:
        return compile_decoder(schema, format_).source_text
    encoder = compile_encoder(
        schema,
        format_,
        replication=settings.name,
        connector=settings.source.engine,
        database=settings.source.database,
    )
    return encoder.source_text


def _schema(settings: Settings, table: str) -> TableSchema:
    with closing(reach_source(settings)) as source:
        schemas = {str(schema.name): schema for schema in source.tables()}
    if table in schemas:
        return schemas[table]
    raise TailraceError(
        ErrorKind.CONFIGURATION,
        f"no selected table is called {table}",
        remedy=suggestion(table, schemas, "`tailrace plan CONFIG` lists the selected tables"),
    )

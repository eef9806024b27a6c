"""SQL that makes the server write the text of DDL statements into its log, for users who want it on the ddl topic.

An event trigger emits each statement as a logical message of its transaction (PostgreSQL documentation, "Event
Triggers", "Replication Management Functions"): it stands in the log where the statement took effect, and a statement
that was rolled back never shows. Learning tables never depends on it.
"""

from __future__ import annotations

from capture.source import DDL_PREFIX
from capture.sources.postgresql.connection import literal

STATEMENT_CHARACTERS_MAX = 100_000
"""What is kept of a statement: a record of Kafka is 1 MB at most unless brokers are told otherwise."""

TAGS = ("table", "type", "index", "domain", "sequence", "schema")
"""Kinds of objects whose statements are told. Others may hold secrets (roles, servers), or concern nobody."""


def statements() -> str:
    """Return the SQL, to be run once in the source database by a superuser (since 14; on Amazon RDS: rds_superuser)."""
    tags = [f"{verb} {kind}" for kind in TAGS for verb in ("create", "alter", "drop")]
    listing = ", ".join(literal(tag.upper()) for tag in [*tags, "create table as", "select into"])
    return f"""create or replace function public.tailrace_ddl() returns event_trigger language plpgsql as $body$
begin
    perform pg_logical_emit_message(true, {literal(DDL_PREFIX)}, json_build_object(
        'tag', tg_tag,
        'statement', left(current_query(), {STATEMENT_CHARACTERS_MAX}),
        'objects', (select json_agg(object_identity) from pg_event_trigger_ddl_commands())
    )::text);
exception when others then
    -- Nobody's statement may fail because it could not be told.
    raise warning 'tailrace_ddl: % (%)', tg_tag, sqlstate;
end
$body$;
drop event trigger if exists tailrace_ddl;
create event trigger tailrace_ddl on ddl_command_end when tag in ({listing})
    execute function public.tailrace_ddl();"""

"""The catalogue queries, MySQL 8 and 9 and MariaDB 10.6 to 11. Each reads for all tables at once."""

from __future__ import annotations

TABLES = """
select table_schema, table_name, table_type, engine, table_rows, table_comment
  from information_schema.tables
 where table_schema not in ('mysql', 'information_schema', 'performance_schema', 'sys'){condition}
 order by table_schema, table_name
"""

COLUMNS = """
select table_schema, table_name, column_name, column_type, character_set_name, is_nullable, column_default, extra,
       generation_expression
  from information_schema.columns
 where {condition}
 order by table_schema, table_name, ordinal_position
"""

COLUMN_GRANTS = "select distinct table_schema, table_name from information_schema.column_privileges"
"""The tables of which somebody may read some columns; of other users only administrators see them."""

INDEXES = """
select table_schema, table_name, index_name, non_unique, column_name, sub_part, index_type
  from information_schema.statistics
 where {condition}
 order by table_schema, table_name, index_name, seq_in_index
"""

FOREIGN_KEYS = """
select k.table_schema, k.table_name, k.constraint_name, k.column_name, k.referenced_table_schema,
       k.referenced_table_name, k.referenced_column_name, r.delete_rule, r.update_rule
  from information_schema.key_column_usage k
  join information_schema.referential_constraints r
    on r.constraint_schema = k.constraint_schema and r.constraint_name = k.constraint_name
   and r.table_name = k.table_name
 where k.referenced_table_name is not null and {condition} and {constraints}
 order by k.table_schema, k.table_name, k.constraint_name, k.ordinal_position
"""

PARTITIONS = """
select partition_name, subpartition_name, partition_method, subpartition_method, partition_expression,
       subpartition_expression, partition_description
  from information_schema.partitions
 where table_schema = {schema} and table_name = {table} and partition_name is not null
 order by partition_ordinal_position, subpartition_ordinal_position
"""

CHARSETS = "select character_set_name, maxlen from information_schema.character_sets"

COLLATIONS = {
    False: "select id, character_set_name from information_schema.collations",
    # Collations without a charset of their own, since 10.10, have a number for each that they go with.
    True: "select id, character_set_name from information_schema.collation_character_set_applicability",
}
"""By whether the server has the latter table's numbers."""

"""Table mappings: the JSON documents by which AWS DMS says which tables to take and what to make of them at a target.

`rules` is the document, `patterns` its wildcards, `names`, `types`, `values` and `expressions` what its rules do.
`mapped_columns` applies them to the columns of one version of a table, `mapped_table` compiles functions over its rows,
and `filters` which of these are taken. `objects` is for targets where there are no tables.
"""

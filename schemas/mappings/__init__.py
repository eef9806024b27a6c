"""Table mappings: the JSON documents by which AWS DMS says which tables to take and what to make of them at a target.

`rules` is the document, `patterns` its wildcards, `names`, `types`, `values` and `expressions` what its rules do, and
`mapped_table` compiles all that concerns one version of one table into functions over rows. `filters` compiles which
rows are taken, and `objects` what becomes of them where there are no tables.
"""

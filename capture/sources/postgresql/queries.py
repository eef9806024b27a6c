"""The catalogue queries, PostgreSQL 13 to 18. Each reads for all tables at once.

They run with an empty search path, so `pg_catalog` is found and everything else prints with its schema.

None may wait for a lock on a user's table, or hold one: whoever alters tables may be waiting for a loader, which waits
for us, who would wait for them. So no `pg_partition_tree`, which keeps what it locks; and what prints definitions with
columns' names (`pg_get_indexdef`, `pg_get_expr` with a relation: they lock it for a moment) gives null for tables that
somebody has locked, or waits to.
"""

from __future__ import annotations

_IDENTITY = """coalesce((
    select array_agg(a.attname::text) from pg_index i join pg_attribute a on a.attrelid = i.indrelid
       and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
     where i.indrelid = {0}.oid and i.indisvalid
       and case when {0}.relreplident = 'i' then i.indisreplident else i.indisprimary end), '{{}}')"""
"""The columns by which the rows of a table are told apart, unless by all."""

RELATIONS = f"""
select c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, c.relreplident::text,
       case when c.relispartition then
           (select array_agg(a.relid::oid::int8) from pg_partition_ancestors(c.oid) a where a.relid <> c.oid)
       end,
       leaves.row_count::int8,
       pg_get_userbyid(c.relowner)::text,
       has_schema_privilege(n.oid, 'usage') and (has_table_privilege(c.oid, 'select')
           or (not c.relkind = 'v' and not exists (
               select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                  and not has_column_privilege(c.oid, a.attnum, 'select')))),
       pg_has_role(c.relowner, 'usage'),
       leaves.refusal,
       obj_description(c.oid, 'pg_class'),
       exists (select from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indisprimary),
       c.relfilenode::int8,
       exists (select from pg_inherits i join pg_class other on other.oid in (i.inhparent, i.inhrelid)
                where c.oid in (i.inhparent, i.inhrelid) and c.relkind = 'r' and other.relkind = 'r'
                  and not c.relispartition and other.oid <> c.oid),
       leaves.narrow
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  cross join lateral (
      with recursive tree(oid) as (
          select c.oid
          union all
          select i.inhrelid from tree join pg_class p on p.oid = tree.oid and p.relkind = 'p'
            join pg_inherits i on i.inhparent = tree.oid)
      select case when bool_or(l.relkind <> 'p' and l.row_count is null) then null
                  else coalesce(sum(l.row_count) filter (where l.relkind <> 'p'), 0) end as row_count,
             coalesce(min(case
                 when l.relreplident = 'n' then 'nothing'
                 when l.relreplident = 'f' then
                     case when l.relkind <> 'p' and current_setting('server_version_num')::int4 >= 180000 and exists (
                         select from pg_attribute a where a.attrelid = l.oid and a.attgenerated = 's'
                            and not a.attisdropped) then 'generated' end
                 when not exists (select from pg_index i where i.indrelid = l.oid and i.indisvalid
                     and case when l.relreplident = 'i' then i.indisreplident else i.indisprimary end) then 'no key'
                 when c.relkind = 'p' and l.relkind <> 'p' and ({_IDENTITY.format("c")} = '{{}}'
                     or not {_IDENTITY.format("c")} <@ {_IDENTITY.format("l")}) then 'partition'
             end), '') as refusal,
             coalesce(array_agg(array[(select ln.nspname::text from pg_namespace ln where ln.oid = l.relnamespace),
                                      l.relname::text] order by l.relname)
                 filter (where c.relkind = 'p' and c.relreplident = 'f' and l.relkind <> 'p' and l.relreplident <> 'f'),
                 '{{}}') as narrow
        from tree join (
            select l.*, case when l.reltuples > 0 then l.reltuples
                             when pg_stat_get_live_tuples(l.oid) > 0 then pg_stat_get_live_tuples(l.oid)
                             when l.reltuples = 0 and current_setting('server_version_num')::int4 >= 140000 then 0
                        end as row_count
              from pg_class l) as l on l.oid = tree.oid where l.relkind <> 'p' or l.oid = c.oid) as leaves
 where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relpersistence <> 't'
   and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
"""
"""A partition's ancestors; the row estimate, of a table that was never analysed by what was written to it (which the
server forgets when it crashes), null where it has none; what this role may do; why updates are refused as soon as the
table is published (`CheckCmdReplicaIdentity` in `execReplication.c`); the file's number, which changes when all rows
are written anew (of a partition `PARTITIONS` has it); whether it has parents or children by inheritance. Of a
partitioned table its leaves count; and its own identity, by which their changes are told: of a leaf that says otherwise
the log holds what the leaf's own says (`ReorderBufferProcessTXN` hands the old tuple on as it was logged). At last the
leaves that keep less of their old rows than the table's own identity promises."""

OIDS = """
select n.nspname::text, c.relname::text, c.oid::int8
  from unnest(%(schemas)s::text[], %(tables)s::text[]) as w(s, t)
  join pg_namespace n on n.nspname = w.s
  join pg_class c on c.relnamespace = n.oid and c.relname = w.t
"""

NAME_OF = """
select n.nspname::text, c.relname::text, c.relkind::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid = %(oid)s::oid
   and ((n.nspname, c.relname) = (%(schema)s, %(table)s) or has_schema_privilege(n.oid, 'usage'))
"""

DETACHED = """
select n.nspname::text, c.relname::text, a.attname::text, a.atttypid::int8, a.atttypmod, tn.nspname::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_type t on t.oid = a.atttypid join pg_namespace tn on tn.oid = t.typnamespace
 where c.oid = any(%(leaves)s::oid[]) and c.relkind = 'r'
   and %(root)s::oid not in (select relid from pg_partition_ancestors(c.oid))
   and has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage')
"""
"""Those leaves of a partitioned table that are none any more. One that is being detached concurrently, of which the
table shows no row, has no ancestors either (`get_partition_ancestors` in `partition.c`)."""

_ALTERED = """
with altered as materialized (
    select l.relation from pg_locks l
     where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.pid is distinct from pg_backend_pid()
       and l.database = (select d.oid from pg_database d where d.datname = current_database()))
"""

COLUMNS = (
    _ALTERED
    + """
select a.attrelid::int8, a.attnum::int4, a.atttypid::int8, a.atttypmod, format_type(a.atttypid, a.atttypmod),
       a.attname::text, a.attnotnull,
       case when a.attgenerated = '' then pg_get_expr(d.adbin, 0)
            when a.attrelid not in (select relation from altered) then pg_get_expr(d.adbin, d.adrelid) end,
       a.attidentity::text, a.attgenerated::text,
       case when a.attcollation <> t.typcollation and a.attcollation <> 0 then
           (select quote_ident(cn.nspname) || '.' || quote_ident(co.collname)
              from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace where co.oid = a.attcollation)
       end,
       case when a.atthasmissing then array_to_string(a.attmissingval, '') end,
       coalesce((select co.collisdeterministic from pg_collation co where co.oid = a.attcollation), true)
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where a.attrelid = any(%(oids)s::oid[]) and a.attnum > 0 and not a.attisdropped
 order by a.attrelid, a.attnum
"""
)

COLUMN_NAMES = """
select a.attrelid::int8, array_agg(a.attname::text order by a.attnum)
  from pg_attribute a where a.attrelid = any(%(oids)s::oid[]) and a.attnum > 0 and not a.attisdropped
 group by a.attrelid
"""

DROPPED_COLUMNS = """
select a.attnum::int4 from pg_attribute a where a.attrelid = %(oid)s::oid and a.attnum > 0 and a.attisdropped
"""

READ_TABLES = """
select n.nspname::text, c.relname::text, c.oid::int8, c.relkind::text,
       a.attname::text, a.atttypid::int8, a.atttypmod, tn.nspname::text, format_type(a.atttypid, a.atttypmod)
  from unnest(%(schemas)s::text[], %(tables)s::text[]) as wanted(namespace, relation)
  join pg_namespace n on n.nspname = wanted.namespace
  join pg_class c on c.relnamespace = n.oid and c.relname = wanted.relation and c.relkind in ('r', 'p', 'v', 'm', 'f')
  left join (pg_attribute a join pg_type t on t.oid = a.atttypid join pg_namespace tn on tn.oid = t.typnamespace)
    on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
"""

COLUMN_TYPES = """
select a.attnum::int4, a.attname::text, a.atttypid::int8, a.atttypmod, n.nspname::text
  from pg_attribute a join pg_type t on t.oid = a.atttypid join pg_namespace n on n.oid = t.typnamespace
 where a.attrelid = %(oid)s::oid and a.attnum > 0 and not a.attisdropped
"""

INDEXES = (
    _ALTERED
    + """
select i.indrelid::int8, i.indexrelid::int8, x.relname::text,
       case when i.indrelid not in (select relation from altered) then
           substring(pg_get_indexdef(i.indexrelid) from ' (USING .*)$') end,
       i.indisunique, i.indisprimary, i.indisreplident,
       (select array_agg(k.number::int4 order by k.place) from unnest(i.indkey) with ordinality as k(number, place)
         where k.place <= i.indnkeyatts),
       k.oid is not null, coalesce(k.condeferrable, false)
  from pg_index i
  join pg_class x on x.oid = i.indexrelid
  left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')
 where i.indrelid = any(%(oids)s::oid[]) and i.indisvalid and coalesce(k.contype, 'u') <> 'x'
 order by i.indrelid, x.relname
"""
)
"""Exclusion constraints' indexes are left out: `create index` cannot make them."""

FOREIGN_KEYS = """
select k.conrelid::int8, k.conname::text,
       (select array_agg(a.attname::text order by c.place) from unnest(k.conkey) with ordinality as c(number, place)
          join pg_attribute a on a.attrelid = k.conrelid and a.attnum = c.number),
       n.nspname::text, t.relname::text,
       (select array_agg(a.attname::text order by c.place) from unnest(k.confkey) with ordinality as c(number, place)
          join pg_attribute a on a.attrelid = k.confrelid and a.attnum = c.number),
       k.confdeltype::text, k.confupdtype::text, k.condeferrable
  from pg_constraint k
  join pg_class t on t.oid = k.confrelid
  join pg_namespace n on n.oid = t.relnamespace
 where k.contype = 'f' and k.conrelid = any(%(oids)s::oid[])
   and not exists (select from pg_constraint up where up.oid = k.conparentid and up.conrelid = k.conrelid)
 order by k.conrelid, k.conname
"""
"""A key to a partitioned table has one copy per partition, below the first: only that one counts."""

_STAYS = "to_jsonb(i) ->> 'inhdetachpending' is distinct from 'true'"
"""Whether a partition is none that is being detached concurrently (14+): the table shows no row of it any more."""

PARTITIONS = f"""
with recursive tree(root, leaf, kind, attached, placed, file) as (
    select c.oid, c.oid, c.relkind, false, 0::int8, c.relfilenode
      from pg_class c where c.oid = any(%(oids)s::oid[]) and c.relkind = 'p'
    union all
    select t.root, c.oid, c.relkind, t.attached or i.xmin::text <> y.xmin::text or exists (
               select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
                  and a.xmin::text = i.xmin::text and a.cmin::text = i.cmin::text),
           t.placed + i.xmin::text::int8, c.relfilenode
      from tree t
      join pg_inherits i on i.inhparent = t.leaf and {_STAYS}
      join pg_class c on c.oid = i.inhrelid
      join pg_type y on y.oid = c.reltype
)
select root::int8, leaf::int8, attached, placed, file::int8 from tree where kind <> 'p' order by root, leaf
"""
"""The leaves of partitioned tables. One that `create table … partition of` made has got its row type in the transaction
that made it a partition. Any other was attached; so was one whose columns were touched by the very command that made it
a partition: attaching marks them as inherited (`MergeAttributesIntoExisting` in `tablecmds.c`), making comes before.
`placed` adds up the transactions that put it, and what it is in, in their places."""

TYPES = """
with recursive parts(oid) as (
    select unnest(%(oids)s::oid[])
    union
    select x.part
      from parts p
      join pg_type t on t.oid = p.oid
      cross join lateral (
          select t.typelem as part where t.typelem <> 0 and t.typcategory = 'A'
          union all select t.typbasetype where t.typtype = 'd'
          union all select r.rngsubtype from pg_range r where r.rngtypid = t.oid
          {multirange}
          union all select a.atttypid from pg_attribute a
            where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
      ) as x
)
select t.oid::int8, n.nspname::text, t.typname::text, t.typtype::text,
       case when t.typsend = 0 then '' else (select proname::text from pg_proc where oid = t.typsend) end,
       t.typdelim::text, case when t.typcategory = 'A' then t.typelem else 0 end::int8,
       t.typbasetype::int8, t.typtypmod,
       coalesce((select r.rngsubtype from pg_range r where r.rngtypid = t.oid){multirange_of}, 0)::int8,
       (select json_agg(json_build_array(a.attname, a.atttypid::int8, a.atttypmod) order by a.attnum)
          from pg_attribute a
         where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped),
       (select array_agg(case when a.attisdropped then 0 else a.atttypid::int8 end order by a.attnum)
          from pg_attribute a where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0),
       (select array_agg(e.enumlabel::text order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid),
       coalesce((select x.extname::text from pg_depend d join pg_extension x on x.oid = d.refobjid
          where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.refclassid = 'pg_extension'::regclass
            and d.deptype = 'e' limit 1), ''),
       case t.typtype
       when 'd' then
           format_type(t.typbasetype, t.typtypmod) || coalesce(
               (select ' collate ' || quote_ident(cn.nspname) || '.' || quote_ident(c.collname) from pg_collation c
                  join pg_namespace cn on cn.oid = c.collnamespace
                 where c.oid = t.typcollation and t.typcollation <>
                       (select b.typcollation from pg_type b where b.oid = t.typbasetype)), '')
           || coalesce(' default ' || t.typdefault, '') || case when t.typnotnull then ' not null' else '' end
           || coalesce((select string_agg(' constraint ' || quote_ident(k.conname) || ' ' ||
                           pg_get_constraintdef(k.oid), '' order by k.conname)
                          from pg_constraint k where k.contypid = t.oid and k.contype = 'c'), '')
       when 'c' then
           (select string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', '
                              order by a.attnum)
              from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped)
       when 'r' then
           (select 'subtype = ' || format_type(r.rngsubtype, null)
                || coalesce((select ', subtype_opclass = ' || quote_ident(cn.nspname) || '.' || quote_ident(c.opcname)
                               from pg_opclass c join pg_namespace cn on cn.oid = c.opcnamespace
                              where c.oid = r.rngsubopc and not c.opcdefault), '')
                || coalesce((select ', collation = ' || quote_ident(cn.nspname) || '.' || quote_ident(c.collname)
                               from pg_collation c join pg_namespace cn on cn.oid = c.collnamespace
                              where c.oid = r.rngcollation and c.collname <> 'default'), '')
                {multirange_name}
              from pg_range r where r.rngtypid = t.oid)
       else '' end
  from pg_type t join pg_namespace n on n.oid = t.typnamespace
 where t.oid in (select oid from parts)
"""

NATIVES = """
select w.oid::int8, w.typmod, format_type(w.oid, w.typmod)
  from unnest(%(oids)s::oid[], %(typmods)s::int4[]) as w(oid, typmod)
 where exists (select from pg_type t where t.oid = w.oid)
"""


def types_query(server_version: int) -> str:
    """Return the query for types; multiranges exist since PostgreSQL 14."""
    if server_version < 140000:
        return TYPES.format(multirange="", multirange_of="", multirange_name="")
    return TYPES.format(
        multirange="union all select r.rngtypid from pg_range r where r.rngmultitypid = t.oid",
        multirange_of=", (select r.rngtypid from pg_range r where r.rngmultitypid = t.oid)",
        # Only a name that the server would not give by itself (`makeMultirangeTypeName`): 13 knows no such option.
        multirange_name="""|| coalesce((select ', multirange_type_name = ' || quote_ident(mn.nspname) || '.'
                                     || quote_ident(m.typname)
                               from pg_type m join pg_namespace mn on mn.oid = m.typnamespace
                              where m.oid = r.rngmultitypid and m.typname <> case when t.typname like '%%range%%'
                                    then regexp_replace(t.typname, 'range', 'multirange')
                                    else t.typname || '_multirange' end), '')""",
    )


PARTITION = """
select n.nspname::text, c.relname::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid = %(oid)s::oid and exists (
       select from pg_partition_ancestors(c.oid) a join pg_class t on t.oid = a.relid
         join pg_namespace tn on tn.oid = t.relnamespace
        where tn.nspname = %(schema)s and t.relname = %(table)s)
"""
"""A relation, where it is a partition of one table, or of one of its partitions. Asked for each chunk."""

PARTITIONS_OF = f"""
with recursive tree (oid, parent) as (
    select i.inhrelid, i.inhparent from pg_inherits i join pg_class c on c.oid = i.inhparent and {_STAYS}
     where c.relname = %(table)s and c.relnamespace = (select oid from pg_namespace where nspname = %(schema)s)
       and c.relkind = 'p'
    union all
    select i.inhrelid, i.inhparent from tree join pg_inherits i on i.inhparent = tree.oid and {_STAYS})
select c.oid::int8, n.nspname::text, c.relname::text, pn.nspname::text, p.relname::text,
       has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage'), row_security_active(c.oid)
  from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
  join pg_class p on p.oid = tree.parent join pg_namespace pn on pn.oid = p.relnamespace
 order by 2, 3
"""
"""The partitions of one table, and theirs, each with what it is a part of, whether we may read it by itself, and
whether policies of its own, which do not count where the table is read, would hide rows of it then."""

_OF_SCHEMAS = """
    union
    select c.oid
      from p join pg_publication_namespace s on s.pnpubid = p.oid join pg_class c on c.relnamespace = s.pnnspid
     where c.relkind in ('r', 'p') and pg_relation_is_publishable(c.oid)
"""
_PUBLISHED = """
with p as (select oid, puballtables from pg_publication where pubname = %(name)s), named(oid) as (
    select r.prrelid from p join pg_publication_rel r on r.prpubid = p.oid {of_schemas}
    union
    select c.oid from p join pg_class c on p.puballtables
     where c.relkind in ('r', 'p') and pg_relation_is_publishable(c.oid)
)
select n.nspname::text, c.relname::text, array[c.oid, p.oid, coalesce(r.oid, 0)]::int8[],
       coalesce(to_jsonb(r) ->> 'prqual', to_jsonb(r) ->> 'prattrs') is not null
  from p
 cross join named m
  join pg_class c on c.oid = m.oid
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_publication_rel r on r.prpubid = p.oid and r.prrelid = c.oid
 where not c.relispartition or not exists (
           select from pg_partition_ancestors(c.oid) a join named x on x.oid = a.relid where x.oid <> c.oid)
"""


def published(version: int) -> str:
    """Return the query of what a server of this version publishes, partitions under their root: what makes each table a
    member, and whether only some of its rows or columns are published (15+).

    `pg_publication_tables` tells it, too, and waits for whoever has locked one of the tables (16+).
    """
    return _PUBLISHED.format(of_schemas=_OF_SCHEMAS if version >= 150000 else "")

-- The shop's rows: one statement per table, in an order that the foreign keys allow. {rows} is the number in the heading;
-- {nan}, {infinite} and {infinity} are such, or plain values for a target that has none.

-- fill: countries 60
insert into countries
select chr(65 + n / 26) || chr(65 + n % 26), 'Country ' || n, 5 + (n % 20) + 0.5 * (n % 2),
    case when n % 7 = 0 then null else array[n, n * 3, -n] end
from generate_series(0, {rows} - 1) n;

-- fill: warehouses 8
insert into warehouses
select n, chr(65 + n / 26) || chr(65 + n % 26), 'Warehouse ' || n || ' ☃', time '06:00' + n * interval '7 minutes',
    ('18:30:00.25' || case when n % 2 = 0 then '+02' else '-03:30' end)::timetz,
    ('10.0.' || n || '.1/24')::inet, point(n * 1.5, -n / 3.0)
from generate_series(1, {rows}) n;

-- fill: categories 40
insert into categories
select n, nullif(n / 4, 0), 'Category ' || n from generate_series(1, {rows}) n;

-- fill: products 6000
insert into products
select n, 1 + n % 40, 'SKU-' || to_char(n, 'FM000000'), 'Product ' || n || case when n % 50 = 0 then ' 🚀 "quoted"' else '' end,
    case when n % 20 = 0 then (select string_agg(md5(n::text || '.' || i::text), ' ') from generate_series(1, 90) i)
    when n % 9 = 0 then null else 'Plain description of product ' || n end,
    (n * 37 % 100000) / 100.0, case when n % 11 = 0 then null else n / 7.0 end,
    case n % 500 when 0 then {nan} when 1 then {infinite} else n / 3.0 end::double precision,
    case when n % 5 = 0 then '{}' else array['t' || n % 10, 'with space', null, 'comma,']::text[] end,
    case when n % 4 = 0 then decode(md5(n::text), 'hex') end,
    daterange(date '2024-01-01' + n % 300, case when n % 3 = 0 then null else date '2025-01-01' + n % 300 end),
    n % 13 <> 0
from generate_series(1, {rows}) n;

-- fill: customers 30000
insert into customers
select n, md5('customer' || n)::uuid, chr(65 + n % 60 / 26) || chr(65 + n % 60 % 26), 'Customer ' || n || case when n % 17 = 0 then ' Ünïcödé' else '' end,
    'customer' || n || '@example.com', case when n % 6 = 0 then null else date '1950-01-01' + n % 20000 end,
    (n * 7919 % 10000000) / 10000.0 - 250,
    case when n % 8 = 0 then null else jsonb_build_object('theme', 'dark', 'n', n, 'list', jsonb_build_array(n, null, 'x')) end,
    case n % 3 when 0 then true when 1 then false end,
    timestamptz '2020-01-01 00:00:00+00' + n * interval '97 minutes 13.000471 seconds',
    case when n % 4 = 0 then null else timestamp '2024-06-01' + n * interval '1 minute' end
from generate_series(1, {rows}) n;

-- fill: addresses 45000
insert into addresses
select 1 + n / 2 % 30000, 1 + n % 2 + 2 * (n / 60000), chr(65 + n % 60 / 26) || chr(65 + n % 60 % 26), n || ' Long Street', to_char(n % 100000, 'FM00000')
from generate_series(0, {rows} - 1) n;

-- fill: inventory 24000
insert into inventory
select 1 + n % 8, 1 + n / 8, n % 1000, case when n % 3 = 0 then null else timestamptz '2025-03-01 12:00:00+00' - n * interval '1 second' end
from generate_series(0, {rows} - 1) n;

-- fill: orders 70000
insert into orders
select n, 1 + n * 7 % 30000, (enum_range(null::order_status))[1 + n % 6], (n * 31 % 200000) / 100.0,
    case n % 5 when 0 then null when 1 then '' else 'Note' || chr(9) || n || chr(10) || 'second line \' end,
    timestamptz '2024-01-01 00:00:00+00' + n * interval '11 minutes 0.123456 seconds',
    case when n % 7 = 0 then {infinity} else date '2024-01-03' + n / 130 end, time '08:00' + n % 600 * interval '1 minute',
    n % 10 = 0, case n % 3 when 0 then 'web' when 1 then 'shop' else 'phone' end
from generate_series(1, {rows}) n;

-- fill: order_items 150000
insert into order_items
select 1 + n % 70000, 1 + n / 70000, 1 + n * 13 % 6000, 1 + n % 5, (n * 17 % 50000) / 100.0
from generate_series(0, {rows} - 1) n;

-- fill: payments 60000
insert into payments
select md5('payment' || n)::uuid, n, (n * 31 % 200000)::numeric / case n % 4 when 0 then 3 else 100 end, case n % 2 when 0 then 'card' else 'transfer' end,
    case when n % 3 = 0 then null else ('{"try": ' || n % 4 || ',  "by":"demo"}')::json end,
    timestamptz '2024-01-01 00:05:00+00' + n * interval '11 minutes',
    case when n % 5 = 0 then null else make_interval(months => n % 3, days => n % 40 - 10, secs => n % 1000 / 8.0) end
from generate_series(1, {rows}) n;

-- fill: reviews 20000
insert into reviews
select n, 1 + n * 11 % 6000, 1 + n * 3 % 30000, 1 + n % 5, case when n % 10 = 0 then null else repeat('Good value. ', 1 + n % 12) || '👍' end,
    timestamptz '2025-01-01 00:00:00+00' + n * interval '3 minutes'
from generate_series(1, {rows}) n;

-- fill: page_views 15000
insert into page_views
select '/product/' || n % 100, case when n % 4 = 0 then null else n % 50 end, timestamptz '2025-01-01 00:00:00+00' + n / 20 * interval '1 second', (n % 40) / 8.0
from generate_series(1, {rows}) n;

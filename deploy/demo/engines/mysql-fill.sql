-- The shop's rows: one statement per table, in an order that the foreign keys allow. {rows} is the number in the heading;
-- `numbers` is a table of the numbers from 0 on.

-- fill: countries 60
insert into countries
select concat(char(65 + n div 26 using utf8mb4), char(65 + n % 26 using utf8mb4)), concat('Country ', n), 5 + (n % 20) + 0.5 * (n % 2),
    if(n % 7 = 0, null, json_array(n, n * 3, -n))
from numbers where n < {rows};

-- fill: warehouses 8
insert into warehouses
select n, concat(char(65 + n div 26 using utf8mb4), char(65 + n % 26 using utf8mb4)), concat('Warehouse ', n, ' ☃'), sec_to_time(21600 + n * 420),
    if(n % 2 = 0, '18:30:00.25', '-03:30:00.50'), inet6_aton(concat('10.0.', n, '.1')), point(n * 1.5, -n / 3.0)
from numbers where n between 1 and {rows};

-- fill: categories 40
insert into categories
select n, nullif(n div 4, 0), concat('Category ', n) from numbers where n between 1 and {rows} order by n;

-- fill: products 6000
insert into products
select n, 1 + n % 40, concat('SKU-', lpad(n, 6, '0')), concat('Product ', n, if(n % 50 = 0, ' 🚀 "quoted"', '')),
    case when n % 20 = 0 then repeat(sha2(n, 256), 45) when n % 9 = 0 then null else concat('Plain description of product ', n) end,
    (n * 37 % 100000) / 100.0, if(n % 11 = 0, null, n / 7e0), n / 3e0, n % 16, if(n % 4 = 0, unhex(left(sha2(n, 256), 32)), null), 1995 + n % 30,
    n % 13 <> 0
from numbers where n between 1 and {rows};

-- fill: customers 30000
insert into customers
select n, insert(insert(insert(insert(left(sha2(concat('customer', n), 256), 32), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-'),
    concat(char(65 + n % 60 div 26 using utf8mb4), char(65 + n % 60 % 26 using utf8mb4)), concat('Customer ', n, if(n % 17 = 0, ' Ünïcödé', '')),
    concat('customer', n, '@example.com'), if(n % 6 = 0, null, date '1950-01-01' + interval n % 20000 day),
    (n * 7919 % 10000000) / 10000.0 - 250, if(n % 8 = 0, null, json_object('theme', 'dark', 'n', n, 'list', json_array(n, null, 'x'))),
    case n % 3 when 0 then true when 1 then false end, timestamp '2020-01-01 00:00:00' + interval n * 97 * 60000013 + 471 microsecond,
    if(n % 4 = 0, null, timestamp '2024-06-01 00:00:00' + interval n minute)
from numbers where n between 1 and {rows};

-- fill: addresses 45000
insert into addresses
select 1 + n div 2 % 30000, 1 + n % 2 + 2 * (n div 60000), concat(char(65 + n % 60 div 26 using utf8mb4), char(65 + n % 60 % 26 using utf8mb4)), concat(n, ' Long Street'), concat('É', lpad(n % 100000, 5, '0'))
from numbers where n < {rows};

-- fill: inventory 24000
insert into inventory
select 1 + n % 8, 1 + n div 8, n % 1000, if(n % 3 = 0, null, timestamp '2025-03-01 12:00:00' - interval n second)
from numbers where n < {rows};

-- fill: orders 70000
insert into orders
select n, 1 + n * 7 % 30000, 1 + n % 6, (n * 31 % 200000) / 100.0,
    case n % 5 when 0 then null when 1 then '' else concat('Note', char(9 using utf8mb4), n, char(10 using utf8mb4), 'second line ', char(92 using utf8mb4)) end,
    timestamp '2024-01-01 00:00:00' + interval n * 660123456 microsecond,
    if(n % 7 = 0, null, date '2024-01-03' + interval n div 130 day), sec_to_time(28800 + n % 600 * 60), n % 10 = 0,
    case n % 3 when 0 then 'web' when 1 then 'shop' else 'phone' end
from numbers where n between 1 and {rows};

-- fill: order_items 150000
insert into order_items
select 1 + n % 70000, 1 + n div 70000, 1 + n * 13 % 6000, 1 + n % 5, (n * 17 % 50000) / 100.0
from numbers where n < {rows};

-- fill: payments 60000
insert into payments
select insert(insert(insert(insert(left(sha2(concat('payment', n), 256), 32), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-'), n,
    (n * 31 % 200000) / if(n % 4 = 0, 3, 100), if(n % 2 = 0, 'card', 'transfer'), if(n % 3 = 0, null, json_object('try', n % 4, 'by', 'demo')),
    timestamp '2024-01-01 00:05:00' + interval n * 11 minute, if(n % 5 = 0, null, sec_to_time((n % 2000 - 1000) * 60))
from numbers where n between 1 and {rows};

-- fill: reviews 20000
insert into reviews
select n, 1 + n * 11 % 6000, 1 + n * 3 % 30000, 1 + n % 5, if(n % 10 = 0, null, concat(repeat('Good value. ', 1 + n % 12), '👍')),
    timestamp '2025-01-01 00:00:00' + interval n * 3 minute
from numbers where n between 1 and {rows};

-- fill: page_views 15000
insert into page_views
select concat('/product/', n % 100), if(n % 4 = 0, null, n % 50), timestamp '2025-01-01 00:00:00' + interval n div 20 second, (n % 40) / 8e0
from numbers where n between 1 and {rows};

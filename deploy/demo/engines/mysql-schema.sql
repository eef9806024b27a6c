-- The sample shop as MySQL and MariaDB have it. page_views has no key: it shows that rows without identity arrive in
-- exact numbers. markers measures latency. No foreign key cascades: what a cascade does is not in the servers' log.

create table countries (
    code char(2) primary key,
    name varchar(60) not null,
    vat_rate decimal(4, 2) not null default 20.00,
    dial_prefixes json
);

create table warehouses (
    id smallint primary key,
    country char(2) not null,
    name text not null,
    opens time not null,
    closes time(2),
    gateway varbinary(16),
    location point,
    foreign key (country) references countries (code)
);

create table categories (
    id smallint primary key,
    parent smallint,
    name text not null,
    foreign key (parent) references categories (id)
);

create table products (
    id integer unsigned auto_increment primary key,
    category smallint not null,
    sku varchar(20) not null unique,
    title text not null,
    description mediumtext,
    price decimal(12, 2) not null,
    weight_kg float,
    rating_mean double,
    tags set('sale', 'new', 'fragile', 'heavy') not null default '',
    picture blob,
    first_sold year,
    on_sale boolean not null default true,
    foreign key (category) references categories (id),
    index products_category (category, price)
);

create table customers (
    id bigint auto_increment primary key,
    public_id char(36) character set ascii not null unique,
    country char(2) not null,
    name varchar(200) not null,
    email varchar(120) not null,
    born date,
    balance decimal(14, 4) not null default 0,
    preferences json,
    newsletter boolean,
    registered_at timestamp(6) not null default current_timestamp(6),
    last_login datetime,
    foreign key (country) references countries (code),
    index customers_email (email)
);

create table addresses (
    customer bigint not null,
    number smallint not null,
    country char(2) not null,
    street text not null,
    postcode varchar(12) character set latin1,
    primary key (customer, number),
    foreign key (customer) references customers (id),
    foreign key (country) references countries (code)
);

create table inventory (
    warehouse smallint not null,
    product integer unsigned not null,
    quantity integer not null,
    counted_at timestamp(6) null,
    primary key (warehouse, product),
    foreign key (warehouse) references warehouses (id),
    foreign key (product) references products (id)
);

create table orders (
    id bigint auto_increment primary key,
    customer bigint not null,
    status enum('new', 'paid', 'packed', 'shipped', 'returned', 'cancelled') not null default 'new',
    total decimal(12, 2) not null,
    note text,
    ordered_at timestamp(6) not null default current_timestamp(6),
    deliver_on date,
    deliver_from time,
    is_gift boolean,
    channel char(8) not null,
    foreign key (customer) references customers (id),
    index orders_customer (customer, ordered_at)
);

create table order_items (
    order_id bigint not null,
    line smallint not null,
    product integer unsigned not null,
    quantity integer not null,
    price decimal(12, 2) not null,
    primary key (order_id, line),
    foreign key (order_id) references orders (id),
    foreign key (product) references products (id)
);

create table payments (
    id char(36) character set ascii primary key,
    order_id bigint not null,
    amount decimal(38, 18) not null,
    method varchar(12) not null,
    details json,
    paid_at timestamp(6) not null default current_timestamp(6),
    clears_after time(3),
    foreign key (order_id) references orders (id)
);

create table reviews (
    id bigint unsigned auto_increment primary key,
    product integer unsigned not null,
    customer bigint not null,
    stars tinyint not null,
    body text,
    written_at timestamp(6) not null default current_timestamp(6),
    foreign key (product) references products (id),
    foreign key (customer) references customers (id)
);

create table page_views (
    path varchar(200) not null,
    customer bigint,
    seen_at timestamp not null default current_timestamp,
    millis float,
    index (path)
);

create table markers (
    id bigint primary key,
    written_at timestamp(6) not null default current_timestamp(6)
);

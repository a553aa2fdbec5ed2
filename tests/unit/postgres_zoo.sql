-- SPDX-License-Identifier: Apache-2.0
-- The zoo: one of each odd object, with what must come out beside it.
-- The comment of the database and of a schema become descriptions.
comment on database zoo is 'all the odd ones';
create schema sales;
comment on schema sales is 'what is sold';
create schema "we.ird ""one""";
create schema hidden;

-- Column constraints of single-column keys, NOT NULL, NULL; defaults; comments.
create table public.customers (
    id bigint generated always as identity primary key,
    email varchar(80) not null unique,
    since timestamptz default now(),
    balance numeric(18, 4) not null default 0.0,
    twice numeric generated always as (balance * 2) stored,
    mood text default 'it''s "fine"'
);
comment on table public.customers is 'who buys';
comment on column public.customers.email is 'in lower case';

-- Foreign keys: across schemas, of several columns, to itself, one to one.
create table sales.orders (
    region char(2),
    number int,
    customer bigint not null references public.customers,
    parent_region char(2),
    parent_number int,
    tags text[],
    primary key (region, number),
    unique (number, customer),
    foreign key (parent_region, parent_number) references sales.orders (region, number)
);
create table sales.order_details (id bigint primary key references public.customers (id));

-- Partitions are folded into their parent, foreign keys to it come once.
create table sales.moves (day date not null, n int not null, primary key (day, n))
    partition by range (day);
create table sales.moves_2025 partition of sales.moves for values from ('2025-01-01') to ('2026-01-01');
create table sales.moves_2026 partition of sales.moves for values from ('2026-01-01') to ('2027-01-01');
create table sales.audits (day date, n int, foreign key (day, n) references sales.moves);

-- Views with their definitions.
create view sales.big as select o.number, c.email from sales.orders o join public.customers c on c.id = o.customer;
comment on view sales.big is 'big ones';
comment on column sales.big.email is 'of the customer';
create materialized view sales.daily as select count(*) as n from sales.orders;

-- Foreign, unlogged and inherited tables; temporary ones are left out.
create foreign data wrapper nothing;
create server nowhere foreign data wrapper nothing;
create foreign table public.far (id int not null, what text) server nowhere;
create unlogged table public.fast (id int);
create table public.child (extra text) inherits (public.fast);
create temporary table gone_soon (id int);

-- A table without columns, one whose columns were dropped, names that want care.
create table public.nothing ();
create table public.dropped (a int, b int, c int unique, d int);
alter table public.dropped drop column b;
create table "we.ird ""one"""."tab.le" ("col""umn" int primary key, "new
line" int, "emoji 🐟" text, "a>b" int, "x::y" int references "we.ird ""one"""."tab.le" ("col""umn"));
create table "we.ird ""one"""."sixty_three_bytes_of_a_name_that_is_as_long_as_one_can_be_there" (id int);

-- Types that are not the server's own.
create type public.mood as enum ('sad', 'ok', 'happy');
create type public.pair as (a int, b text);
create domain public.positive as numeric(10, 2) check (value > 0);
create domain public.code as varchar(20);
create domain public.codes as public.code[];
create type public.span as range (subtype = int8);
create table public.typed (
    mood public.mood default 'ok',
    moods public.mood[],
    pair public.pair,
    price public.positive,
    code public.code,
    codes public.codes,
    prices public.positive[],
    span public.span,
    during tstzrange,
    place point,
    bits bit(3),
    at time(3) with time zone,
    pause interval day to second(2),
    matrix int[][],
    data jsonb not null default '{}'::jsonb
);

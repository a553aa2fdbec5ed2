#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SQL for a database of 10,098 tables over 20 schemas (about 10 columns each),
a primary key on each, comments on some, foreign keys on some."""
import random
random.seed(11)
NT, NS = 10098, 20
types = ["bigint", "integer", "text", "varchar(120)", "timestamptz", "numeric(18,4)", "boolean", "date", "jsonb", "uuid"]
print("\\set ON_ERROR_STOP 1\nset client_min_messages=warning;")
for s in range(NS):
    print(f"create schema s{s:02d};")
cols = 0; fk = 0; cm = 0
print("begin;")
for i in range(NT):
    s, n = i % NS, random.randint(6, 13)
    c = ["id bigint not null"]
    for j in range(1, n):
        t = types[(i + j) % len(types)]
        d = " not null" if j % 3 == 0 else ""
        if j % 4 == 0: d += {"timestamptz": " default now()", "integer": " default 0", "bigint": " default 0", "boolean": " default false", "text": " default ''"}.get(t, "")
        c.append(f"attr_{j:02d} {t}{d}")
    cols += n
    prev = i - NS * random.randint(1, 5)
    extra = ""
    if i % 3 == 0 and prev >= 0:
        c.append("parent_id bigint"); cols += 1; fk += 1
        extra = f", foreign key (parent_id) references s{prev % NS:02d}.tbl_{prev:05d}(id)"
    print(f"create table s{s:02d}.tbl_{i:05d} ({', '.join(c)}, primary key (id){extra});")
    if i % 2 == 0:
        print(f"comment on table s{s:02d}.tbl_{i:05d} is 'Business table {i}: see the data dictionary for its owner and refresh rule';"); cm += 1
    if i % 5 == 0:
        for j in range(1, n, 3):
            print(f"comment on column s{s:02d}.tbl_{i:05d}.attr_{j:02d} is 'attribute {j} of table {i}, nullable unless stated';"); cm += 1
    if i % 250 == 249: print("commit; begin;")
print("commit;")
print(f"-- {NT} tables {cols} columns {fk} fks {cm} comments")

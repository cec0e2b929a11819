-- 00 · Prepare: a private schema, and a place for every row that a fix repairs
-- Locks: nothing that exists.
-- Repairs: nothing; it makes the table that the repairs are recorded in.

begin;

-- The API exposes public only: what lies here is out of its reach.
create schema private;
revoke all on schema private from public;
comment on schema private is
'Internal functions and tables of the Maraum schema. The API does not expose it, and no API role may use it.';

create table private.repairs (
    issue smallint not null,
    table_name text not null,
    row_id text not null,
    before jsonb not null,
    repaired_at timestamptz not null default now(),
    constraint repairs_pkey primary key (issue, table_name, row_id)
);
comment on table private.repairs is
'Each row that a fix had to change or remove, as it was before. It may hold personal data, so erasure has to reach it.';
comment on column private.repairs.issue is 'The number of the fix that repaired the row.';
comment on column private.repairs.table_name is 'The table in public that the row stood in.';
comment on column private.repairs.row_id is 'The primary key of the row, as text.';
comment on column private.repairs.before is 'The whole row as the fix found it.';
comment on column private.repairs.repaired_at is 'When the fix ran.';

-- One row is repaired by several fixes: erasure and support look it up by table and key.
create index repairs_table_name_row_id_idx on private.repairs (table_name, row_id);

commit;

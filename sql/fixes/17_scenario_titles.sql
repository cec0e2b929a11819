-- 17 · Scenarios lacks business uniqueness on title
-- Locks: scenarios, ACCESS EXCLUSIVE, while its few rows are repaired and indexed. Reads and writes wait.
-- Repairs: of several scenarios with one title the one with the lowest id keeps it, the others add their id.

begin;

set local lock_timeout = '5s';
lock table public.scenarios in access exclusive mode;

with doubled as (
    select scenarios.*
    from public.scenarios
    where exists (
        select
        from public.scenarios as earlier
        where earlier.title = scenarios.title
            and earlier.id < scenarios.id
    )
)
insert into private.repairs (issue, table_name, row_id, before)
select 17, 'scenarios', doubled.id, to_jsonb(doubled)
from doubled;

update public.scenarios
set title = format('%s (%s)', title, id)
where id::text in (
    select row_id
    from private.repairs
    where issue = 17
        and table_name = 'scenarios'
);

alter table public.scenarios add constraint scenarios_title_unique unique (title);
comment on constraint scenarios_title_unique on public.scenarios is
'A title names one scenario (issue 17).';

commit;

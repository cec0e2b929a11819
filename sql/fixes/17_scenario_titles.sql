-- 17 · Scenarios lacks business uniqueness on title
-- Locks: scenarios, ACCESS EXCLUSIVE, while its few rows are repaired and indexed. Reads and writes wait.
-- Repairs: of several scenarios with one title the one with the lowest id keeps it, the others add their id.
-- Clients: a scenario with the title of another one is refused (23505).

begin;

set local statement_timeout = 0;
set local row_security = off;
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

-- The id in brackets, and again where somebody has a title with just that.
do $$
declare
    doubled record;
    free_title text;
begin
    for doubled in
        select scenarios.id, scenarios.title
        from public.scenarios
        join private.repairs on repairs.row_id = scenarios.id::text
        where repairs.issue = 17
            and repairs.table_name = 'scenarios'
        order by scenarios.id
    loop
        free_title := doubled.title;
        while exists (select from public.scenarios where scenarios.title = free_title) loop
            free_title := format('%s (%s)', free_title, doubled.id);
        end loop;
        update public.scenarios
        set title = free_title
        where id = doubled.id;
    end loop;
end;
$$;

alter table public.scenarios add constraint scenarios_title_unique unique (title);
comment on constraint scenarios_title_unique on public.scenarios is
'A title names one scenario (issue 17).';

comment on column public.scenarios.title is
'What learners see in the list; no two scenarios share one (issue 17).';

commit;

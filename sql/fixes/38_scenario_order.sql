-- 38 · Scenarios missing updated_at and display order
-- Locks: scenarios, ACCESS EXCLUSIVE, while its few rows get an order. Reads and writes wait.
-- Repairs: nothing; the order so far, by id, becomes the order stored.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.scenarios in access exclusive mode;

alter table public.scenarios
    add column sort_order smallint not null default 0,
    add column updated_at timestamptz not null default now();
comment on column public.scenarios.sort_order is
'Place in the list, lowest first; ties go by id. In steps of ten, so that one fits between (issue 38).';
comment on column public.scenarios.updated_at is
'When the scenario was last changed (issue 38).';

update public.scenarios
set sort_order = least(10 * ranked.place, 32767),
    updated_at = created_at
from (select id, row_number() over (order by id) as place from public.scenarios) as ranked
where ranked.id = scenarios.id;

create trigger scenarios_updated_at
before update on public.scenarios
for each row execute function private.update_updated_at_column();
comment on trigger scenarios_updated_at on public.scenarios is
'Dates each change, as in profiles and sessions (issue 38).';

grant select (sort_order) on public.scenarios to anon;
select private.require_plain_view('public.public_scenarios', is_replaced => true);
create or replace view public.public_scenarios with (security_invoker = true) as
select
    id,
    code,
    title,
    emoji,
    sort_order
from public.scenarios
where is_active;

comment on column public.public_scenarios.sort_order is
'As in scenarios.';

commit;

-- 28 · Anonymous SELECT on scenarios may leak content
-- Locks: scenarios, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.
-- Clients: a visitor reads public_scenarios. Other columns are refused (42501), inactive scenarios are missing in silence.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

select
    private.drop_policies('public.scenarios', 'select', 'anon', 'true'),
    private.drop_policies('public.scenarios', 'select', 'authenticated', 'true'),
    private.require_no_other_policy('public.scenarios', '{select,insert,update,delete}', '{}');
create policy scenarios_select_all_authenticated on public.scenarios
    for select to authenticated using (true);
revoke all on public.scenarios from anon;

-- A security_invoker view reads the table as the visitor, so the visitor needs these columns, and rows, themselves.
grant select (id, title, emoji, is_active) on public.scenarios to anon;
create policy scenarios_select_active_anon on public.scenarios
    for select to anon using (is_active);
comment on policy scenarios_select_active_anon on public.scenarios is
'A visitor sees active scenarios, and the column grants decide what of them (issue 28).';

create view public.public_scenarios with (security_invoker = true) as
select
    id,
    title,
    emoji
from public.scenarios
where is_active;
comment on view public.public_scenarios is
'What a visitor without an account may know of the active scenarios. It filters by itself too, because a signed-in '
'learner''s policy shows all of them (issue 28).';
revoke all on public.public_scenarios from anon, authenticated;
grant select on public.public_scenarios to anon, authenticated;

comment on table public.scenarios is
'The situations that a learner may play, a few rows that the team writes. Visitors see what public_scenarios shows (issue 28).';
comment on column public.scenarios.is_active is
'Whether the scenario is offered; visitors see active ones only (issue 28).';
comment on column public.scenarios.initial_message_main is
'What the character says first, in German; for learners only (issue 28).';
comment on column public.scenarios.initial_message_helper is
'What the helper says first, in English; for learners only (issue 28).';
comment on policy scenarios_select_all_authenticated on public.scenarios is
'A learner sees inactive scenarios too: their own history refers to them (issue 28).';

commit;

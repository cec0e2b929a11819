-- 05 · Redundant timestamp columns in sessions
-- Locks: sessions, ACCESS EXCLUSIVE, while rows whose two timestamps differ are copied. Reads and writes wait;
-- dropping the column itself rewrites nothing, its space comes back as rows are updated.
-- Repairs: sessions whose created_at is not their started_at keep started_at; the other value is recorded.
-- Clients: say started_at instead of created_at; with select * it is missing in silence.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.sessions in access exclusive mode;

-- What goes with a column goes in silence: an index, a check, a privilege.
select private.require_no_dependants('public.sessions', 'created_at');

insert into private.repairs (issue, table_name, row_id, before)
select 5, 'sessions', sessions.id, to_jsonb(sessions)
from public.sessions
where created_at is distinct from started_at;

alter table public.sessions drop column created_at;
comment on column public.sessions.started_at is
'When the session was created and started: one moment, one column (issue 5).';

commit;

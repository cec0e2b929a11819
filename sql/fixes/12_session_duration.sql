-- 12 · No validation for session duration
-- Locks: sessions, ACCESS EXCLUSIVE, while its rows are checked once. Reads and writes wait.
-- Repairs: sessions with a negative duration; it is computed again from their two moments.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.sessions in access exclusive mode;

insert into private.repairs (issue, table_name, row_id, before)
select 12, 'sessions', sessions.id, to_jsonb(sessions)
from public.sessions
where duration_seconds < 0;

-- The trigger of 01 computes the duration on every update, whatever the update says.
update public.sessions
set duration_seconds = null
where duration_seconds < 0;

alter table public.sessions
    add constraint sessions_duration_non_negative check (duration_seconds >= 0);
comment on constraint sessions_duration_non_negative on public.sessions is
'Holds for rows too that come in with triggers off, such as a restored backup (issue 12).';

comment on column public.sessions.duration_seconds is
'Seconds from start to completion, computed by a trigger; null while the session is open (issue 12).';

commit;

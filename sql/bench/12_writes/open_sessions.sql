-- Gives so many more learners an open session each, in which somebody was active just now; in v1 as in v2.
-- Triggers are off, as in a restore.

set local session_replication_role = replica;

insert into public.profiles (id, email, week_reset_date)
select md5('writer ' || n)::uuid, format('writer%s@example.org', n), now() + interval '1 day'
from generate_series(0, :sessions - 1) as n;

insert into public.sessions (id, user_id, scenario_id, started_at, last_activity_at)
select md5('open session ' || n)::uuid, md5('writer ' || n)::uuid, 1 + n % 3, now() - interval '1 hour', now()
from generate_series(0, :sessions - 1) as n;

-- Exercise 2: many completed sessions. One in a hundred is of scenario 2, and those are the oldest.
-- Triggers and foreign keys sleep meanwhile: only the server's administrator may say so.

set local session_replication_role = replica;
insert into public.sessions (user_id, scenario_id, is_completed, started_at, completed_at)
select
    id,
    case when n <= 200 then 2 else 1 end,
    true,
    timestamptz '2020-01-01' + n * interval '1 minute',
    timestamptz '2020-01-01' + n * interval '1 minute'
from generate_series(1, 20000) as n
cross join (select id from public.profiles order by id limit 1) as learner;
set local session_replication_role = origin;

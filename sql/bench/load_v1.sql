-- Fills v1 for measurements: the learners from :first to :last, each with one completed session of 100 messages and 20 logs.
-- Triggers are off, as in a restore.

set local session_replication_role = replica;

insert into auth.users (id, email)
select md5('learner ' || n)::uuid, format('learner%s@example.org', n)
from generate_series(:first, :last) as n;

insert into public.profiles (id, email, week_reset_date)
select md5('learner ' || n)::uuid, format('learner%s@example.org', n), now() + interval '1 day'
from generate_series(:first, :last) as n;

insert into public.sessions (id, user_id, scenario_id, is_completed, started_at, completed_at, message_count_main, duration_seconds)
select
    md5('session ' || n)::uuid,
    md5('learner ' || n)::uuid,
    1 + n % 3,
    true,
    moment,
    moment + interval '100 seconds',
    100,
    100
from generate_series(:first, :last) as n
cross join lateral (select now() - make_interval(mins => 20 + n % 40000) as moment) as start;

insert into public.messages (id, session_id, role, chat_type, content, timestamp, created_at)
select
    md5(format('message %s %s', n, seq))::uuid,
    md5('session ' || n)::uuid,
    'user',
    'main',
    'Ich hätte gern ein Kilo Äpfel, bitte.',
    moment,
    moment  -- noqa: AL08
from generate_series(:first, :last) as n
cross join generate_series(1, 100) as seq
cross join lateral (select now() - make_interval(mins => 20 + n % 40000, secs => 100 - seq) as moment) as start;

insert into public.logs (id, level, event_type, user_id, session_id, metadata, created_at)
select
    md5(format('log %s %s', n, seq))::uuid,
    'info',
    'api_call_completed',
    md5('learner ' || n)::uuid,
    md5('session ' || n)::uuid,
    jsonb_build_object('code', format('E%s', (n * 20 + seq) % 1000), 'attempt', seq % 3, 'model', 'large'),
    moment
from generate_series(:first, :last) as n
cross join generate_series(1, 20) as seq
cross join lateral (select now() - make_interval(mins => 20 + n % 40000, secs => 20 - seq) as moment) as start;

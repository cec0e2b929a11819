-- Fills v2 for benchmarks: the learners from :first to :last, each with one completed session of 100 messages.
-- Triggers are off, as in a restore. Learner n of every load is the same, so that each size holds the same rows for them.

set local session_replication_role = replica;

insert into public.profiles (id, email, week_reset_date)
select md5('learner ' || n)::uuid, format('learner%s@example.org', n), private.next_week_reset(now())
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
cross join lateral (select timestamptz '2020-01-01 00:00+00' + make_interval(secs => 10 * n) as moment) as start;

insert into public.messages (session_id, user_id, role, chat_type, content, client_message_id, sent_at)
select
    md5('session ' || n)::uuid,
    md5('learner ' || n)::uuid,
    case when seq % 2 = 0 then 'user' else 'assistant' end::public.message_role,
    'main',
    'Ich hätte gern ein Kilo Äpfel, bitte.',
    case when seq % 2 = 0 then gen_random_uuid() end,
    timestamptz '2020-01-01 00:00+00' + make_interval(secs => 10 * n + seq)
from generate_series(:first, :last) as n
cross join generate_series(1, 100) as seq;

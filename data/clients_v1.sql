-- What the statements of data/clients.csv ask for, beside the seed: moments that do not move, so that no answer depends on
-- the day of the run.

update public.messages
set timestamp = timestamptz '2020-01-15 10:00:00.0002+00' + make_interval(mins => right(id::text, 2)::integer),
    created_at = timestamptz '2020-01-15 10:00:00.0002+00' + make_interval(mins => right(id::text, 2)::integer)
where session_id = :anna_done;

update public.sessions
set started_at = '2020-01-15 10:00:00+00',
    created_at = '2020-01-15 10:00:00+00',
    last_activity_at = '2020-01-15 10:05:00+00',
    completed_at = '2020-01-15 10:06:00+00',
    duration_seconds = 360
where id = :anna_done;

-- The completion lies in no week that a run may fall into.
update public.profiles
set current_week_completion_count = 0
where id = :anna;

insert into public.scenarios (id, title, emoji, initial_message_main, initial_message_helper, is_active)
values (4, 'Bakery', '🥐', 'Was darf es sein?', 'Ask me what the rolls are called.', false);

insert into public.logs (level, event_type, user_id, created_at)
values ('info', 'user_registered', :anna, '2020-01-15 09:59:00+00');

-- Learners enough for two batches of the weekly reset.
insert into auth.users (email)
select format('learner-%s@example.net', number)
from generate_series(1, 1001) as number;

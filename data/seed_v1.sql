-- Two learners in schema v1, clean rows only. Loaded through v1's own triggers, as the app would do.
-- The ids behind the names stand in data/names.csv.
-- Eight days ago is another week than now's, on each day of the week: Anna has completed a scenario, and none this week.

insert into auth.users (id, email)
values (:anna, 'anna@example.org'), (:ben, 'ben@example.org');

insert into public.sessions (id, user_id, scenario_id, started_at, last_activity_at, created_at)
values (:anna_done, :anna, 2, now() - interval '8 days', now() - interval '8 days', now() - interval '8 days');

insert into public.messages (id, session_id, role, chat_type, content, timestamp, created_at)
select
    ('a1000000-0000-4000-8000-' || lpad(line.minute::text, 12, '0'))::uuid,
    :anna_done,
    line.role,
    line.chat_type,
    line.content,
    now() - interval '8 days' + make_interval(mins => line.minute),
    now() - interval '8 days' + make_interval(mins => line.minute)
from (values
    (1, 'scenario', 'main', 'Hey, schön, dass du da bist! Kennst du hier schon jemanden?'),
    (2, 'user', 'helper', 'How do I say that I only know the host?'),
    (3, 'helper', 'helper', 'Ich kenne nur die Gastgeberin.'),
    (4, 'user', 'main', 'Ich kenne nur die Gastgeberin.'),
    (5, 'scenario', 'main', 'Dann stelle ich dir ein paar Leute vor. Komm mit!')
) as line (minute, role, chat_type, content);

update public.sessions
set is_completed = true,
    completed_at = now() - interval '8 days' + interval '6 minutes'
where id = :anna_done;

update public.profiles
set completed_scenario_count = 1
where id = :anna;

insert into public.sessions (id, user_id, scenario_id, started_at, last_activity_at, created_at)
values
    (:anna_open, :anna, 1, now() - interval '10 minutes', now() - interval '10 minutes', now() - interval '10 minutes'),
    (:ben_open, :ben, 3, now() - interval '10 minutes', now() - interval '10 minutes', now() - interval '10 minutes');

insert into public.messages (id, session_id, role, chat_type, content, timestamp, created_at)
select
    ('a2000000-0000-4000-8000-' || lpad(line.minute::text, 12, '0'))::uuid,
    line.session_id,
    line.role,
    line.chat_type,
    line.content,
    now() - interval '10 minutes' + make_interval(mins => line.minute),
    now() - interval '10 minutes' + make_interval(mins => line.minute)
from (values
    (1, cast(:anna_open as uuid), 'scenario', 'main', 'Guten Morgen! Frische Erdbeeren, heute besonders süß. Was darf es sein?'),
    (2, :anna_open, 'user', 'main', 'Ein Kilo, bitte. Was kostet das?'),
    (3, :anna_open, 'scenario', 'main', 'Vier Euro fünfzig. Darf es noch etwas sein?'),
    (4, :ben_open, 'scenario', 'main', 'So, junger Mensch, mit allem und scharf?'),
    (5, :ben_open, 'user', 'main', 'Ohne Zwiebeln, bitte.')
) as line (minute, session_id, role, chat_type, content);

-- The trigger dates a session's last activity from the moment of loading; it was the last message.
update public.sessions
set last_activity_at = (
        select max(timestamp)
        from public.messages
        where session_id = sessions.id
    );

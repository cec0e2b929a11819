-- Rows such as production collects under schema v1: each breaks a rule that a fix adds, and names the issue.
-- v1's own constraints accept all of them. Loaded with triggers off, so that the rows stay as wrong as they are.
-- They are so at each moment of each week: a reset eight days ahead is never the coming Monday, a completion of this
-- moment always lies in this week, and one of eight days ago never does.

set local session_replication_role = replica;

insert into auth.users (id, email)
values
    ('d0000000-0000-4000-8000-000000000001', 'dora@example.org'),
    ('d0000000-0000-4000-8000-000000000002', 'emil@example.org'),
    ('d0000000-0000-4000-8000-000000000003', 'frida.new@example.org'),
    ('d0000000-0000-4000-8000-000000000004', 'gus@example.org'),
    ('d0000000-0000-4000-8000-000000000005', 'GUS@example.org'),
    ('d0000000-0000-4000-8000-000000000006', ''),
    ('d0000000-0000-4000-8000-000000000007', null),
    ('d0000000-0000-4000-8000-000000000008', 'ida@example.org'),
    ('d0000000-0000-4000-8000-000000000009', 'jan@example.org'),
    -- 27: a user who deleted their own profile.
    ('d0000000-0000-4000-8000-00000000000a', 'kim@example.org');

insert into public.profiles (id, email, completed_scenario_count, current_week_completion_count, week_reset_date, created_at)
values
    -- 2: the week ends at the second of the sign-up, 9 and 10: both counts are too high.
    (
        'd0000000-0000-4000-8000-000000000001', 'dora@example.org', 40, 3,
        now() + interval '10 days', now() - interval '60 days'
    ),
    -- 2: three resets were missed, so the count belongs to an old week.
    (
        'd0000000-0000-4000-8000-000000000002', 'emil@example.org', 0, 3,
        now() - interval '24 days', now() - interval '90 days'
    ),
    -- 2: New York's Monday, five hours late. 42: the address was changed in auth.users only.
    (
        'd0000000-0000-4000-8000-000000000003', 'frida@example.org', 0, 0,
        date_trunc('week', now(), 'UTC') + interval '7 days 05:00', now() - interval '30 days'
    ),
    -- 42: two living profiles differ in case only.
    ('d0000000-0000-4000-8000-000000000004', 'gus@example.org', 0, 0, now() + interval '8 days', now() - interval '20 days'),
    ('d0000000-0000-4000-8000-000000000005', 'GUS@example.org', 0, 0, now() + interval '9 days', now() - interval '20 days'),
    -- 25, 42: an empty address, and a blank one behind which auth.users has none.
    ('d0000000-0000-4000-8000-000000000006', '', 0, 0, now() + interval '10 days', now() - interval '20 days'),
    ('d0000000-0000-4000-8000-000000000007', '   ', 0, 0, now() + interval '11 days', now() - interval '20 days'),
    -- 9, 10: completed sessions that were never counted.
    ('d0000000-0000-4000-8000-000000000008', 'ida@example.org', 0, 0, now() + interval '12 days', now() - interval '20 days'),
    -- 2: the reset lies a year ahead, set by the learner.
    ('d0000000-0000-4000-8000-000000000009', 'jan@example.org', 0, 0, now() + interval '1 year', now() - interval '20 days');

-- 16: an emoji column that holds a paragraph. 17: a title used twice. 34: ids with a gap.
insert into public.scenarios (id, title, emoji, initial_message_main, initial_message_helper, is_active)
values
    (7, 'Late Night Kebab', '🥙', 'Was darf es sein?', 'A copy that somebody made by hand.', false),
    (11, 'At the Doctor', repeat('👩🏽‍⚕️', 20), 'Was fehlt Ihnen denn?', 'Tell me where it hurts.', true);

insert into public.sessions (
    id, user_id, scenario_id, is_completed, started_at, last_activity_at, completed_at,
    message_count_main, message_count_helper, duration_seconds, created_at
)
values
    -- 1: completed, but nobody sent completed_at.
    (
        'd1000000-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000001', 1, true,
        now() - interval '8 days', now() - interval '8 days' + interval '20 minutes', null,
        0, 0, null, now() - interval '8 days'
    ),
    -- 1: open again, yet still carrying the moment of its completion and a duration.
    (
        'd1000000-0000-4000-8000-000000000002', 'd0000000-0000-4000-8000-000000000001', 2, false,
        now() - interval '1 day', now() - interval '1 hour', now() - interval '2 hours',
        1, 0, 79200, now() - interval '1 day'
    ),
    -- 1, 8: completed without completed_at, and its last activity lies before its start.
    (
        'd1000000-0000-4000-8000-000000000003', 'd0000000-0000-4000-8000-000000000002', 1, true,
        now() - interval '40 days', now() - interval '41 days', null,
        0, 0, null, now() - interval '40 days'
    ),
    -- 8, 12: completed before it started, so the duration is negative.
    (
        'd1000000-0000-4000-8000-000000000004', 'd0000000-0000-4000-8000-000000000002', 3, true,
        now() - interval '20 days', now() - interval '20 days', now() - interval '20 days 10 minutes',
        2, 1, -600, now() - interval '20 days'
    ),
    -- 8: counts below zero. 5: created_at is not started_at, a restored backup.
    (
        'd1000000-0000-4000-8000-000000000005', 'd0000000-0000-4000-8000-000000000003', 2, false,
        now() - interval '3 days', now() - interval '3 days', null,
        -3, -1, null, now() - interval '1 day'
    ),
    -- 12: a negative duration without any completion.
    (
        'd1000000-0000-4000-8000-000000000006', 'd0000000-0000-4000-8000-000000000004', 1, false,
        now() - interval '2 days', now() - interval '2 days', null,
        0, 0, -1, now() - interval '2 days'
    ),
    -- 9, 10: three completions this week that the profile never counted; 5: created a moment after it started.
    (
        'd1000000-0000-4000-8000-000000000007', 'd0000000-0000-4000-8000-000000000008', 1, true,
        now() - interval '3 minutes', now(), now(),
        0, 0, 180, now() - interval '3 minutes' + interval '250 milliseconds'
    ),
    (
        'd1000000-0000-4000-8000-000000000008', 'd0000000-0000-4000-8000-000000000008', 2, true,
        now() - interval '2 minutes', now(), now(),
        0, 0, 120, now() - interval '2 minutes'
    ),
    (
        'd1000000-0000-4000-8000-000000000009', 'd0000000-0000-4000-8000-000000000008', 3, true,
        now() - interval '1 minute', now(), now(),
        0, 0, 60, now() - interval '1 minute'
    ),
    -- 1: a duration that does not belong to its two moments.
    (
        'd1000000-0000-4000-8000-00000000000a', 'd0000000-0000-4000-8000-000000000009', 11, true,
        now() - interval '9 days', now() - interval '9 days' + interval '5 minutes', now() - interval '9 days' + interval '5 minutes',
        0, 0, 86400, now() - interval '9 days'
    );

insert into public.messages (id, session_id, role, chat_type, content, timestamp, created_at)
values
    -- 3: written after its session was completed; the learner wrote it, so it stays.
    (
        'd2000000-0000-4000-8000-000000000001', 'd1000000-0000-4000-8000-000000000004', 'user', 'main',
        'Noch eine Frage!', now() - interval '19 days', now() - interval '19 days'
    ),
    -- 7: the two timestamps disagree.
    (
        'd2000000-0000-4000-8000-000000000002', 'd1000000-0000-4000-8000-000000000002', 'user', 'main',
        'Bis später.', now() - interval '2 hours', now() - interval '1 hour'
    ),
    -- 14: the character speaks in the helper chat, the helper in the main chat.
    (
        'd2000000-0000-4000-8000-000000000003', 'd1000000-0000-4000-8000-000000000004', 'scenario', 'helper',
        'Mit allem?', now() - interval '20 days', now() - interval '20 days'
    ),
    (
        'd2000000-0000-4000-8000-000000000004', 'd1000000-0000-4000-8000-000000000004', 'helper', 'main',
        'Say: mit allem, bitte.', now() - interval '20 days', now() - interval '20 days'
    ),
    -- 15: longer than 8000 characters, and 8001 characters of two bytes each.
    (
        'd2000000-0000-4000-8000-000000000005', 'd1000000-0000-4000-8000-000000000005', 'user', 'main',
        repeat('Wie geht es dir? ', 1000), now() - interval '3 days', now() - interval '3 days'
    ),
    (
        'd2000000-0000-4000-8000-000000000006', 'd1000000-0000-4000-8000-000000000005', 'user', 'helper',
        repeat('ü', 8001), now() - interval '3 days', now() - interval '3 days'
    ),
    -- 21: three messages of one transaction, so of one instant.
    (
        'd2000000-0000-4000-8000-000000000007', 'd1000000-0000-4000-8000-000000000006', 'user', 'main',
        'Eins', now() - interval '2 days', now() - interval '2 days'
    ),
    (
        'd2000000-0000-4000-8000-000000000008', 'd1000000-0000-4000-8000-000000000006', 'scenario', 'main',
        'Zwei', now() - interval '2 days', now() - interval '2 days'
    ),
    (
        'd2000000-0000-4000-8000-000000000009', 'd1000000-0000-4000-8000-000000000006', 'user', 'main',
        'Drei', now() - interval '2 days', now() - interval '2 days'
    ),
    -- 33: old enough to be archived.
    (
        'd2000000-0000-4000-8000-00000000000a', 'd1000000-0000-4000-8000-000000000003', 'user', 'main',
        'Lange her.', now() - interval '14 months', now() - interval '14 months'
    );

-- 30: logs in many months, the last days of months and 29 February among them; 19: logs of a session.
insert into public.logs (id, level, event_type, user_id, session_id, metadata, created_at)
values
    (
        'd3000000-0000-4000-8000-000000000001', 'error', 'api_call_failed', 'd0000000-0000-4000-8000-000000000001',
        'd1000000-0000-4000-8000-000000000001', '{"code": "E42", "attempt": 1}', now() - interval '5 days'
    ),
    (
        'd3000000-0000-4000-8000-000000000002', 'info', 'session_created', null,
        null, null, '2020-02-29 23:59:59.999999+00'
    ),
    (
        'd3000000-0000-4000-8000-000000000003', 'info', 'user_logout', 'd0000000-0000-4000-8000-000000000002',
        null, '{}', '2022-01-31 12:00+00'
    ),
    (
        'd3000000-0000-4000-8000-000000000004', 'debug', 'rate_limit_checked', 'd0000000-0000-4000-8000-000000000003',
        'd1000000-0000-4000-8000-000000000005', '[1, "two", null]', '2023-08-31 23:59:59+00'
    ),
    -- 30: from a clock that runs ahead.
    (
        'd3000000-0000-4000-8000-000000000005', 'warn', 'unknown_error', null,
        null, '{"clock": "fast"}', now() + interval '400 days'
    );

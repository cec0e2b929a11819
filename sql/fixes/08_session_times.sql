-- 08 · Missing temporal validation in sessions
-- Locks: sessions, ACCESS EXCLUSIVE, while its rows are repaired and checked once. Reads and writes wait.
-- Repairs: sessions that were completed before they started are completed at their last activity, or their start;
-- counts below zero are counted again.
-- Clients: a completion before the start is refused (23514), such as one by a clock that is behind.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.sessions in access exclusive mode;

with wrong as (
    select sessions.*
    from public.sessions
    where completed_at < started_at
        or message_count_main < 0
        or message_count_helper < 0
)
insert into private.repairs (issue, table_name, row_id, before)
select 8, 'sessions', wrong.id, to_jsonb(wrong)
from wrong;

update public.sessions
set completed_at = greatest(started_at, last_activity_at)
where completed_at < started_at;

update public.sessions
set message_count_main = counted.main,
    message_count_helper = counted.helper
from (
    select
        wrong.id,
        count(messages.id) filter (where messages.chat_type = 'main') as main,
        count(messages.id) filter (where messages.chat_type = 'helper') as helper
    from public.sessions as wrong
    left join public.messages on messages.session_id = wrong.id
    where wrong.message_count_main < 0
        or wrong.message_count_helper < 0
    group by wrong.id
) as counted
where sessions.id = counted.id;

alter table public.sessions
    -- Null passes a check, and each word of one is read again for every row that is written.
    add constraint sessions_completed_after_started check (completed_at >= started_at),
    add constraint sessions_message_counts_non_negative check (least(message_count_main, message_count_helper) >= 0);
comment on constraint sessions_completed_after_started on public.sessions is
'No session ends before it starts (issue 8).';
comment on constraint sessions_message_counts_non_negative on public.sessions is
'A count is zero or more (issue 8).';

comment on column public.sessions.message_count_main is
'Messages in the main chat, counted by a trigger as they come; never negative (issues 8 and 22).';
comment on column public.sessions.message_count_helper is
'Messages in the helper chat, counted in the same way (issues 8 and 22).';

commit;

-- 43 · No rate limiting protection
-- Locks: sessions, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.

begin;

set local lock_timeout = '5s';

-- Not indexed, so that the update of a session for each message stays on its page (issue 22).
alter table public.sessions add column last_message_at timestamptz;
comment on column public.sessions.last_message_at is
'When the learner''s last message arrived, by the server''s clock; the next one may follow half a second later (issue 43).';

-- Restated from 22. The limit is kept where the messages are counted: one update serves both, after the rows are in. A
-- retry that ON CONFLICT skipped is no row of the statement, so it is neither counted nor limited (issue 46). The guard
-- of issue 3 has locked the session before, so of two messages at once the second sees the first.
create or replace function private.count_messages() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    too_fast pg_catalog.uuid;
begin
    if exists (select from added where chat_type not in ('main', 'helper')) then
        raise exception using
            errcode = 'check_violation',
            message = format(
                'no counter counts messages of the chat type %s',
                (select min(chat_type::pg_catalog.text) from added where chat_type not in ('main', 'helper'))
            ),
            hint = 'Add a counter for the new chat type before the first message of it.';
    end if;

    -- A clock that was set back must not lock anybody out: a last message in the future does not count.
    select counted.session_id
    into too_fast
    from (
        select session_id, count(*) as messages
        from added
        where role = 'user'
        group by session_id
    ) as counted
    join public.sessions on sessions.id = counted.session_id
    where counted.messages > 1
        or clock_timestamp() - sessions.last_message_at between interval '0' and interval '499.999 milliseconds'
    limit 1;
    if too_fast is not null then
        raise exception using
            errcode = 'PT429',
            message = 'a learner''s messages come too fast',
            detail = format('session %s', too_fast),
            hint = 'Send one message at a time, half a second apart; none of this request was stored.';
    end if;

    update public.sessions
    set message_count_main = message_count_main + counted.main,
        message_count_helper = message_count_helper + counted.helper,
        last_activity_at = case
            when last_activity_at < now() - interval '1 minute' then now()
            else last_activity_at
        end,
        last_message_at = case when counted.by_user then clock_timestamp() else last_message_at end
    from (
        select
            session_id,
            count(*) filter (where chat_type = 'main') as main,
            count(*) filter (where chat_type = 'helper') as helper,
            bool_or(role = 'user') as by_user
        from added
        group by session_id
    ) as counted
    where sessions.id = counted.session_id;
    return null;
end;
$$;
comment on function private.count_messages() is
'Counts the messages of one statement in their sessions (issue 22), and refuses those that no counter is for (11) or that come '
'too fast (43).';

commit;

-- 43 · No rate limiting protection
-- Locks: sessions, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.
-- Clients: a learner's messages keep half a second between them, both chats together, and come one a statement (PT429).

begin;

set local statement_timeout = 0;
set local row_security = off;
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
    counted pg_catalog.record;
begin
    for counted in
        select
            session_id,
            count(*) filter (where chat_type = 'main') as main,
            count(*) filter (where chat_type = 'helper') as helper,
            count(*) filter (where role = 'user') as by_user,
            count(*) filter (where chat_type not in ('main', 'helper')) as uncounted
        from added
        group by session_id
    loop
        if counted.uncounted > 0 then
            raise exception using
                errcode = 'check_violation',
                message = format(
                    'no counter counts messages of the chat type %s',
                    (select min(chat_type::pg_catalog.text) from added where chat_type not in ('main', 'helper'))
                ),
                hint = 'Add a counter for the new chat type before the first message of it.';
        end if;

        update public.sessions
        set message_count_main = message_count_main + counted.main,
            message_count_helper = message_count_helper + counted.helper,
            last_activity_at = case
                when last_activity_at < now() - interval '1 minute' then now()
                else last_activity_at
            end,
            last_message_at = case when counted.by_user > 0 then clock_timestamp() else last_message_at end
        where id = counted.session_id
            and case counted.by_user
                when 0 then true
                -- A clock that was set back must not lock anybody out: a last message in the future does not count.
                when 1 then (clock_timestamp() - last_message_at between interval '0' and interval '499.999 milliseconds') is not true
                else false
            end;
        if not found then
            raise exception using
                errcode = 'PT429',
                message = 'a learner''s messages come too fast',
                detail = format('session %s', counted.session_id),
                hint = 'Send one message at a time, half a second apart; none of this request was stored.';
        end if;
    end loop;
    return null;
end;
$$;
comment on function private.count_messages() is
'Counts the messages of one statement in their sessions (issue 22), and refuses those that no counter is for (11) or that come '
'too fast (43).';

commit;

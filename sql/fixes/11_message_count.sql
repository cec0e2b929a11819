-- 11 · Silent failure in message count trigger
-- Locks: nothing that a query touches; the function is replaced.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- The trigger follows its function out of the API's reach.
alter function public.increment_message_count() set schema private;

create or replace function private.increment_message_count() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.chat_type = 'main' then
        update public.sessions
        set message_count_main = message_count_main + 1,
            last_activity_at = now()
        where id = new.session_id;
    elsif new.chat_type = 'helper' then
        update public.sessions
        set message_count_helper = message_count_helper + 1,
            last_activity_at = now()
        where id = new.session_id;
    else
        raise exception using
            errcode = 'check_violation',
            message = format('no counter counts messages of the chat type %s', coalesce(new.chat_type::pg_catalog.text, 'null')),
            hint = 'Add a counter for the new chat type before the first message of it.';
    end if;
    return new;
end;
$$;
comment on function private.increment_message_count() is
'Counts a message in its session, and refuses one that no counter is for (issue 11). Fragments are no messages yet.';
revoke all on function private.increment_message_count() from public, anon, authenticated, service_role;

commit;

-- 22 · Hot row updates on sessions from message counts
-- Locks: messages and sessions, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.
-- Clients: last_activity_at is right to the minute only, in silence; the newest message is the moment to show.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.messages, public.sessions in access exclusive mode;

-- One update a statement and session, not one a message; and one that changes no indexed column, so that PostgreSQL
-- can keep it on the page without touching an index (a heap-only tuple). last_activity_at is indexed, for the clean-up
-- of sessions idle for a week: to the minute is close enough for that.
create function private.count_messages() returns trigger
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

        -- One session at a time: its plan is so small that this is faster than one update of all.
        update public.sessions
        set message_count_main = message_count_main + counted.main,
            message_count_helper = message_count_helper + counted.helper,
            last_activity_at = case
                when last_activity_at < now() - interval '1 minute' then now()
                else last_activity_at
            end
        where id = counted.session_id;
    end loop;
    return null;
end;
$$;
comment on function private.count_messages() is
'Counts the messages of one statement in their sessions (issue 22), and refuses those that no counter is for (issue 11).';
revoke all on function private.count_messages() from public, anon, authenticated, service_role;

select private.drop_triggers('public.messages', 'private.increment_message_count()');
select private.require_plain_function('private.increment_message_count()');
drop function private.increment_message_count();

create trigger messages_count
after insert on public.messages
referencing new table as added
for each statement execute function private.count_messages();
comment on trigger messages_count on public.messages is
'Keeps message_count_main and message_count_helper (issue 22).';

-- A counter's update need not ask whether the session is completed.
create or replace trigger sessions_completion
before insert or update of is_completed, started_at, completed_at, duration_seconds on public.sessions
for each row when (not row_security_active('public.sessions')) execute function private.set_session_completion('server');
comment on trigger sessions_completion on public.sessions is
'Sets completed_at and duration_seconds, so that nobody has to (issue 1).';
create or replace trigger sessions_completion_by_client
before insert or update of is_completed, started_at, completed_at, duration_seconds on public.sessions
for each row when (row_security_active('public.sessions')) execute function private.set_session_completion('client');
comment on trigger sessions_completion_by_client on public.sessions is
'Sets completed_at and duration_seconds by the server''s clock, whatever the client says (issue 1).';

-- Room on each page for the next version of a row.
do $$
begin
    if exists (select from pg_class where oid = 'public.sessions'::regclass and reloptions::text ~ 'fillfactor') then
        raise notice 'sessions has a fillfactor of your own, which stays';
    else
        alter table public.sessions set (fillfactor = 80);
    end if;
end;
$$;

commit;

-- 22 · Hot row updates on sessions from message counts
-- Locks: messages and sessions, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.messages, public.sessions in access exclusive mode;

-- --- What an update of a session touches ---------------------------------------------------------------------------

-- PostgreSQL keeps the new version of a row on its page, without a word to any index (a heap-only tuple), where no indexed
-- column changes. Each message changes last_activity_at. Only the daily clean-up looks for it, among the open sessions, which
-- are in an index as well: one for each learner at most.
select
    private.drop_index('public.sessions', 'btree (last_activity_at) WHERE ' || condition, 'idx_sessions_expiration_cleanup')
from (values ('(is_completed = false)'), ('(NOT is_completed)')) as spelled (condition);

-- A counter's update need not ask whether the session is completed.
create or replace trigger sessions_completion
before insert or update of is_completed, started_at, completed_at, duration_seconds on public.sessions
for each row when (not row_security_active('public.sessions'::regclass)) execute function private.set_session_completion('server');
comment on trigger sessions_completion on public.sessions is
'Sets completed_at and duration_seconds, so that nobody has to (issue 1).';
create or replace trigger sessions_completion_by_client
before insert or update of is_completed, started_at, completed_at, duration_seconds on public.sessions
for each row when (row_security_active('public.sessions'::regclass)) execute function private.set_session_completion('client');
comment on trigger sessions_completion_by_client on public.sessions is
'Sets completed_at and duration_seconds by the server''s clock, whatever the client says (issue 1).';

-- Room on each page for the next version of a row.
do $$
begin
    if exists (select from pg_class where oid = 'public.sessions'::regclass and reloptions::text ~ 'fillfactor') then
        raise notice 'sessions has a fillfactor of your own, which stays';
    else
        alter table public.sessions set (fillfactor = 70);
    end if;
end;
$$;

-- --- One look at the session a message -----------------------------------------------------------------------------

-- Takes the place of require_open_session() and of v1's counter: the update that counts a message is also what locks its
-- session, asks whether it takes messages, and tells whose it is. An update that waited for somebody asks all of that
-- again, of the row as it is now. It says nothing where it finds nothing; the reason is looked for then.
create function private.admit_message() returns trigger
language plpgsql
security definer
set search_path = ''
-- A plan that was made while a table was small is kept when it is not.
set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
    is_client constant boolean := tg_argv[0] = 'client';
    -- Null for a chat that has no counter.
    main constant pg_catalog.int4 := case new.chat_type when 'main' then 1 when 'helper' then 0 end;
    is_one_of_many boolean := false;
begin
    if current_setting('maraum.uncounted', true) <> '' and not is_client then
        -- Where others wait to be counted and this transaction has written the session already, this one may wait as well.
        select sessions.user_id
        into new.user_id
        from public.sessions
        where id = new.session_id
            and not is_completed
            and main is not null
            and updated_at = now()
            and xmin = pg_current_xact_id()::pg_catalog.xid;
        is_one_of_many := found;
    end if;

    if not is_one_of_many then
        update public.sessions
        set message_count_main = message_count_main + main,
            message_count_helper = message_count_helper + 1 - main,
            last_activity_at = now()
        where id = new.session_id
            and (not is_client or user_id = private.calling_user())
            and not is_completed
            and main is not null
            -- A row that this transaction has written already would leave one version more for each message of a statement.
            and updated_at <> now()
        returning user_id into new.user_id;
    end if;

    if not found then
        new.user_id := private.admit_or_refuse(new, is_client, false);
    else
        -- In a statement of its own, which sees what whoever held the lock has done.
        perform from public.messages where messages.id = new.id
        union all
        select from public.message_chunks where message_chunks.message_id = new.id;
        if found then
            perform private.admit_or_refuse(new, is_client, not is_one_of_many);
        elsif is_one_of_many then
            perform private.count_message(new, true);
        end if;
    end if;
    return new;
end;
$$;
comment on function private.admit_message() is
'Lets a message into an open session, counts it (issue 22) and sets its user (18), all by one update; where that finds nothing, '
'admit_or_refuse() says why.';
revoke all on function private.admit_message() from public, anon, authenticated, service_role;

create function private.admit_or_refuse(message public.messages, is_client boolean, is_counted boolean) returns uuid
language plpgsql
set search_path = ''
-- A plan that was made while a table was small is kept when it is not.
set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
    session pg_catalog.record;
    main constant pg_catalog.int4 := case message.chat_type when 'main' then 1 when 'helper' then 0 end;
begin
    -- The lock makes a completion wait for this message, and this message for a completion. FOR SHARE would let two writers in, who
    -- then deadlock in the counter's update. A statement does not see what was committed while it waited, so it comes twice: the
    -- second one knows what whoever held the lock has done. Where this transaction has written the row, it holds it already.
    for look in 1..2 loop
        select
            sessions.user_id,
            sessions.is_completed,
            sessions.updated_at = now() as is_in_hand,
            sessions.xmin = pg_current_xact_id()::pg_catalog.xid as is_held,
            exists (select from public.message_chunks where message_chunks.message_id = message.id) as is_streaming,
            exists (select from public.messages as stored where stored.id = message.id) as is_stored
        into session
        from public.sessions
        where sessions.id = message.session_id
            and (not is_client or sessions.user_id = private.calling_user())
        for no key update;
        exit when not found or session.is_held;
    end loop;

    if session.user_id is null and not is_client then
        raise exception using
            errcode = 'foreign_key_violation',
            message = 'there is no such session',
            detail = format('session %s', message.session_id),
            hint = 'Create the session before its messages.';
    elsif session.user_id is null then
        -- Somebody else's or none, and in whatever state: the answer is the policy's, which a view of the owner's does not ask.
        raise exception using
            errcode = 'insufficient_privilege',
            message = 'a learner writes into sessions of their own',
            detail = format('session %s', message.session_id),
            hint = 'Sign in as the learner whose session it is.';
    end if;

    -- Only finalize_message() lands a reply under the id of its fragments.
    if session.is_streaming
        and (is_client or current_setting('maraum.finalizing', true) is distinct from message.id::pg_catalog.text)
    then
        raise exception using
            errcode = 'PT409',
            message = 'a reply is streaming under this id',
            detail = format('message %s', message.id),
            hint = 'Send the message under an id of its own, or without one.';
    elsif session.is_completed and not session.is_streaming then
        raise exception using
            errcode = 'PT409',
            message = 'the session is completed and takes no more messages',
            detail = format('session %s', message.session_id),
            hint = 'Start a new session.';
    elsif main is null then
        raise exception using
            errcode = 'check_violation',
            message = format('no counter counts messages of the chat type %s', message.chat_type),
            hint = 'Add a counter for the new chat type before the first message of it.';
    end if;

    if session.is_stored and is_counted then
        -- ON CONFLICT will skip the row, so it does not count; without it, the key refuses it, and nothing is left of this.
        update public.sessions
        set message_count_main = message_count_main - main,
            message_count_helper = message_count_helper - 1 + main
        where id = message.session_id;
    elsif not session.is_stored and not is_counted then
        perform private.count_message(message, session.is_in_hand);
    end if;
    return session.user_id;
end;
$$;
comment on function private.admit_or_refuse(public.messages, boolean, boolean) is
'The slow way in: refuses a message for a completed session (issue 3), except a reply that began before (4), or of a chat that has '
'no counter (11); counts what it lets in, or takes it back where the message is stored already (22). Returns whose session it is.';
revoke all on function private.admit_or_refuse(public.messages, boolean, boolean) from public, anon, authenticated, service_role;

-- The second and each further message of a statement wait here to be counted together: in a setting, which ends with the
-- transaction and goes back with a savepoint. A client could write into it by hand, so nothing waits where a client has called,
-- and nothing that does is counted.
create function private.count_message(message public.messages, is_in_hand boolean) returns void
language plpgsql
set search_path = ''
as $$
declare
    main constant pg_catalog.int4 := (message.chat_type = 'main')::pg_catalog.int4;
    waiting constant pg_catalog.text := coalesce(current_setting('maraum.uncounted', true), '');
    chat constant pg_catalog.text := concat(message.session_id, ' ', main, ' ');
    newest constant pg_catalog.text := split_part(waiting, ',', 1);
begin
    if not is_in_hand or private.is_called_by_client() then
        update public.sessions
        set message_count_main = message_count_main + main,
            message_count_helper = message_count_helper + 1 - main,
            last_activity_at = now()
        where id = message.session_id;
        return;
    end if;

    -- Of a session's messages that come in a row, one note is kept.
    perform set_config(
        'maraum.uncounted',
        case
            when starts_with(newest, chat)
                then concat(chat, split_part(newest, ' ', 3)::pg_catalog.int4 + 1, substr(waiting, length(newest) + 1))
            else concat(chat, '1,', waiting)
        end,
        true
    );
    if octet_length(waiting) > 4000 then
        -- With many sessions in turn the notes would take longer than an update.
        perform private.write_counts();
    end if;
end;
$$;
comment on function private.count_message(public.messages, boolean) is
'Counts a message in its session, at once or, where this transaction has written the session already, with all others of the '
'statement (issue 22).';
revoke all on function private.count_message(public.messages, boolean) from public, anon, authenticated, service_role;

create function private.write_counts() returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.refuse_client();
    update public.sessions
    set message_count_main = message_count_main + counted.main,
        message_count_helper = message_count_helper + counted.helper,
        last_activity_at = now()
    from (
        select
            note[1]::pg_catalog.uuid as session_id,
            coalesce(sum(note[3]::pg_catalog.int4) filter (where note[2] = '1'), 0) as main,
            coalesce(sum(note[3]::pg_catalog.int4) filter (where note[2] = '0'), 0) as helper
        from string_to_table(trim(trailing ',' from current_setting('maraum.uncounted')), ',') as written
        cross join lateral string_to_array(written, ' ') as note
        group by 1
    ) as counted
    where sessions.id = counted.session_id;
    perform set_config('maraum.uncounted', '', true);
end;
$$;
comment on function private.write_counts() is
'Counts what count_message() has let wait, one update a session (issue 22).';
revoke all on function private.write_counts() from public, anon, authenticated, service_role;

create function private.count_waiting() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if current_setting('maraum.uncounted', true) <> '' then
        perform private.write_counts();
    end if;
    return null;
end;
$$;
comment on function private.count_waiting() is
'Ends a statement of several messages: those that wait to be counted are (issue 22).';
revoke all on function private.count_waiting() from public, anon, authenticated, service_role;

select private.drop_triggers('public.messages', 'private.increment_message_count()');
select private.require_plain_function('private.increment_message_count()');
drop function private.increment_message_count();
drop trigger zz_messages_open_session on public.messages;
drop trigger zz_messages_open_session_for_client on public.messages;
drop function private.require_open_session();

-- Last, by their names: a trigger of your own that changes a row, or drops it, has done so before it is counted.
create trigger zz_messages_open_session
before insert on public.messages
for each row when (not row_security_active('public.messages'::regclass)) execute function private.admit_message('server');
comment on trigger zz_messages_open_session on public.messages is
'Lets a message into an open session, and counts it there (issues 3 and 22).';
create trigger zz_messages_open_session_for_client
before insert on public.messages
for each row when (row_security_active('public.messages'::regclass)) execute function private.admit_message('client');
comment on trigger zz_messages_open_session_for_client on public.messages is
'Lets a learner''s message into a session of their own, and says nothing of any other (issues 3 and 22).';
create trigger messages_count
after insert on public.messages
for each statement execute function private.count_waiting();
comment on trigger messages_count on public.messages is
'Counts the messages of a statement that waited for its end (issue 22).';

commit;

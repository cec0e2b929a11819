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

-- Restated from 35. The limit is kept where the messages are counted, when the row is locked: of two messages at once the second
-- sees the first. Whoever was silent for a second need not be asked for half of one. A retry that ON CONFLICT skips is neither
-- counted nor limited (issue 46).
create or replace function private.admit_message() returns trigger
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
            and closed_at is null
            and main is not null
            and new.role <> 'user'
            and updated_at = now()
            and xmin = pg_current_xact_id()::pg_catalog.xid;
        is_one_of_many := found;
    end if;

    if is_one_of_many then
        null;
    elsif is_client or new.role = 'user' then
        update public.sessions
        set message_count_main = message_count_main + main,
            message_count_helper = message_count_helper + 1 - main,
            last_activity_at = now(),
            last_message_at = clock_timestamp()
        where id = new.session_id
            and (not is_client or user_id = private.calling_user())
            and not is_completed
            and closed_at is null
            and main is not null
            and (last_message_at is null or last_message_at < now() - interval '1 second')
            -- A row that this transaction has written already would leave one version more for each message of a statement.
            and updated_at <> now()
        returning user_id into new.user_id;
    else
        update public.sessions
        set message_count_main = message_count_main + main,
            message_count_helper = message_count_helper + 1 - main,
            last_activity_at = now()
        where id = new.session_id
            and not is_completed
            and closed_at is null
            and main is not null
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
'Lets a message into an open session, counts it (issue 22), keeps the pause between two of a learner''s (43) and sets its user (18), '
'all by one update; where that finds nothing, admit_or_refuse() says why.';

-- Restated from 22.
create or replace function private.count_message(message public.messages, is_in_hand boolean) returns void
language plpgsql
set search_path = ''
as $$
declare
    main constant pg_catalog.int4 := (message.chat_type = 'main')::pg_catalog.int4;
    waiting constant pg_catalog.text := coalesce(current_setting('maraum.uncounted', true), '');
    chat constant pg_catalog.text := concat(message.session_id, ' ', main, ' ');
    newest constant pg_catalog.text := split_part(waiting, ',', 1);
begin
    if message.role = 'user' or not is_in_hand or private.is_called_by_client() then
        update public.sessions
        set message_count_main = message_count_main + main,
            message_count_helper = message_count_helper + 1 - main,
            last_activity_at = now(),
            last_message_at = case when message.role = 'user' then clock_timestamp() else last_message_at end
        where id = message.session_id
            and (
                message.role <> 'user'
                -- A clock that was set back must not lock anybody out: a last message in the future does not count.
                or (clock_timestamp() - last_message_at between interval '0' and interval '499.999 milliseconds') is not true
            );
        if not found then
            raise exception using
                errcode = 'PT429',
                message = 'a learner''s messages come too fast',
                detail = format('session %s', message.session_id),
                hint = 'Send one message at a time, half a second apart; none of this request was stored.';
        end if;
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
'statement (issue 22); refuses a learner''s that come too fast (43).';

-- Restated from 35: what is taken back was let in after a pause, so another may follow at once.
create or replace function private.admit_or_refuse(message public.messages, is_client boolean, is_counted boolean) returns uuid
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
            sessions.closed_at,
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
    elsif session.closed_at is not null then
        perform private.refuse_closed(session.user_id);
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
            message_count_helper = message_count_helper - 1 + main,
            last_message_at = case
                when message.role = 'user' then (
                    select stored.sent_at
                    from public.messages as stored
                    where stored.session_id = message.session_id
                        and stored.role = 'user'
                    order by stored.sent_at desc
                    limit 1
                )
                else last_message_at
            end
        where id = message.session_id;
    elsif not session.is_stored and not is_counted then
        perform private.count_message(message, session.is_in_hand);
    end if;
    return session.user_id;
end;
$$;

commit;

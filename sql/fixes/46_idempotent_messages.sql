-- 46 · No idempotency key for message writes
-- Locks: messages and messages_archive, ACCESS EXCLUSIVE, while an index over messages is built. Reads and writes wait.
-- Repairs: nothing.
-- Clients: an id that is sent again with another text is refused (PT409); with the same text it writes nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

alter table public.messages add column client_message_id uuid;
alter table public.messages
    -- Not partial: PostgREST names the columns in ON CONFLICT, and no predicate. Nulls never conflict.
    add constraint messages_client_message_id_unique unique (session_id, client_message_id);
comment on column public.messages.client_message_id is
'An id that the client makes before its first try, so that a retry finds the message there (issue 46).';
comment on constraint messages_client_message_id_unique on public.messages is
'A message arrives once, however often it is sent (issue 46).';

alter table public.messages_archive add column client_message_id uuid;
comment on column public.messages_archive.client_message_id is 'As in messages.';

-- Restated from 43: what runs before an insert runs before ON CONFLICT has a say, so a retry passes here too, and is not counted. Its
-- message was stored before the session was completed, so a retry may come after that: it writes nothing. A key under which
-- something else is stored is a mistake of the sender's, which ON CONFLICT would hide.
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
        return new;
    end if;

    -- In a statement of its own, which sees what whoever held the lock has done.
    if new.client_message_id is null then
        perform from public.messages where messages.id = new.id
        union all
        select from public.message_chunks where message_chunks.message_id = new.id;
    else
        perform from public.messages
        where messages.session_id = new.session_id
            and messages.client_message_id = new.client_message_id
        union all
        select from public.messages where messages.id = new.id
        union all
        select from public.message_chunks where message_chunks.message_id = new.id;
    end if;
    if found then
        perform private.admit_or_refuse(new, is_client, not is_one_of_many);
    elsif is_one_of_many then
        perform private.count_message(new, true);
    end if;
    return new;
end;
$$;

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
            -- Of what is stored under one of its two keys: whether it is the same message. Null where nothing is.
            (
                select bool_and(
                    (stored.session_id, stored.role, stored.chat_type, stored.content)
                    = (message.session_id, message.role, message.chat_type, message.content)
                )
                from public.messages as stored
                where stored.id = message.id
                    or (stored.session_id = message.session_id and stored.client_message_id = message.client_message_id)
            ) as is_retry
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
    elsif not session.is_retry then
        raise exception using
            errcode = 'PT409',
            message = 'another message is stored under this id',
            detail = format('message %s', coalesce(message.client_message_id, message.id)),
            hint = 'Send it under an id of its own; only a retry of the same message may say the same id.';
    elsif session.is_completed and not session.is_streaming and session.is_retry is null then
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

    if session.is_retry and is_counted then
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
    elsif session.is_retry is null and not is_counted then
        perform private.count_message(message, session.is_in_hand);
    end if;
    return session.user_id;
end;
$$;
comment on function private.admit_or_refuse(public.messages, boolean, boolean) is
'The slow way in: refuses a message for a completed session (issue 3), except a reply that began before (4) and a retry (46), of a '
'chat that has no counter (11), or for a deleted account (35); counts what it lets in, or takes it back where the message is stored '
'already (22). Returns whose session it is.';

-- Restated from 35: a fragment that is sent again, too.
create or replace function private.check_message_chunk() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    earlier public.message_chunks;
    session public.sessions;
begin
    perform private.lock_reply(new.message_id);

    -- Its own place first, then any other of the reply.
    select chunk.*
    into earlier
    from public.message_chunks as chunk
    where chunk.message_id = new.message_id
    order by chunk.seq = new.seq desc
    limit 1;

    if found then
        if (earlier.session_id, earlier.chat_type) is distinct from (new.session_id, new.chat_type) then
            raise exception using
                errcode = 'check_violation',
                message = 'all fragments of a message belong to one session and one chat',
                detail = format('message %s', new.message_id),
                hint = 'Stream each reply under a message_id of its own.';
        elsif earlier.seq = new.seq and earlier.content <> new.content then
            raise exception using
                errcode = 'PT409',
                message = 'another fragment is stored in this place',
                detail = format('message %s, fragment %s', new.message_id, new.seq),
                hint = 'Send it under the next number; only a retry of the same fragment may say the same one.';
        end if;

        new.user_id := earlier.user_id;
        return new;
    end if;

    -- The reply begins: it waits for a completion that is under way, and a completion waits for it.
    select sessions.*
    into session
    from public.sessions
    where sessions.id = new.session_id
    for no key update;

    if not found then
        raise exception using
            errcode = 'foreign_key_violation',
            message = 'there is no such session',
            detail = format('session %s', new.session_id),
            hint = 'Create the session before its replies.';
    elsif exists (select from public.messages where messages.id = new.message_id)
        or exists (select from public.messages_archive where messages_archive.id = new.message_id)
    then
        raise exception using
            errcode = 'PT409',
            message = 'the message is finalized and takes no more fragments',
            detail = format('message %s', new.message_id),
            hint = 'Stream the next reply under a new message_id.';
    elsif session.is_completed then
        raise exception using
            errcode = 'PT409',
            message = 'the session is completed and takes no more replies',
            detail = format('session %s', new.session_id),
            hint = 'Start a new session.';
    elsif session.closed_at is not null then
        perform private.refuse_closed(session.user_id);
    end if;

    new.user_id := session.user_id;
    return new;
end;
$$;
comment on function private.check_message_chunk() is
'Lets a reply go on that began before its session was completed, and no other (issue 4), nor one for a deleted account (35), nor '
'another text in a place that is taken (46); sets user_id.';

commit;

-- 13 · Messages use free-text enums
-- Locks: messages and message_chunks, ACCESS EXCLUSIVE, while both are rewritten with all their indexes. Reads and writes wait.
-- Repairs: nothing: v1's checks allow the same values.
-- Clients: role and chat_type are no text any more: no ilike, and no parameter of type text (42883, 42804). Sorted, main comes
-- before helper, in silence.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.messages, public.message_chunks in access exclusive mode;

-- v1's two checks compare the columns with text, which an enum has no operator for. By their text, whatever they are called.
do $$
declare
    outdated name;
begin
    foreach outdated in array array[
        private.find_constraint('public.messages', 'CHECK ((role = ANY (ARRAY[''user''::text, ''scenario''::text, ''helper''::text])))'),
        private.find_constraint('public.messages', 'CHECK ((chat_type = ANY (ARRAY[''main''::text, ''helper''::text])))')
    ] loop
        if outdated is not null then
            execute format('alter table public.messages drop constraint %I', outdated);
        end if;
    end loop;
end;
$$;
select
    private.require_no_dependants('public.messages', 'role', of_its_type => true),
    private.require_no_dependants('public.messages', 'chat_type', of_its_type => true);

create type public.message_role as enum ('user', 'scenario', 'helper');
comment on type public.message_role is 'Who speaks (issue 13).';
create type public.chat_type as enum ('main', 'helper');
comment on type public.chat_type is 'Which of the two chats of a session (issue 13).';

alter table public.messages
    alter column role type public.message_role using role::public.message_role,
    alter column chat_type type public.chat_type using chat_type::public.chat_type;

alter table public.message_chunks
    drop constraint message_chunks_chat_type_known,
    alter column chat_type type public.chat_type using chat_type::public.chat_type;

-- The same as in 11. An open connection has a plan of it for text, and would refuse every message from here on.
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

-- Restated from 07: what was text is an enum now.
create or replace function public.finalize_message(message_id uuid) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    reply pg_catalog.record;
begin
    perform private.refuse_client();
    perform private.lock_reply(finalize_message.message_id);

    select
        (array_agg(chunk.session_id))[1] as session_id,
        min(chunk.chat_type) as chat_type,
        string_agg(chunk.content, '' order by chunk.seq) as content,
        min(chunk.created_at) as began_at,
        max(chunk.seq)::bigint - least(min(chunk.seq), 1) + 1 - count(*) as missing
    into reply
    from public.message_chunks as chunk
    where chunk.message_id = finalize_message.message_id;

    if reply.session_id is null
        and exists (select from public.messages where messages.id = finalize_message.message_id)
    then
        return finalize_message.message_id;
    elsif reply.session_id is null then
        raise exception using
            errcode = 'PT404',
            message = 'there is nothing to finalize under this message id',
            detail = format('message %s', finalize_message.message_id),
            hint = 'Write the fragments into message_chunks first.';
    elsif reply.missing > 0 then
        raise exception using
            errcode = 'PT409',
            message = format('fragments are missing from the message: %s', reply.missing),
            detail = format('message %s', finalize_message.message_id),
            hint = 'Write the missing fragments, then finalize again; those that arrived are kept.';
    elsif char_length(reply.content) > 8000 then
        raise exception using
            errcode = 'PT413',
            message = format('the message has %s characters, and 8000 are allowed', char_length(reply.content)),
            detail = format('message %s', finalize_message.message_id),
            hint = 'Stream a shorter reply under a new message_id; the fragments are kept.';
    end if;

    perform set_config('maraum.finalizing', finalize_message.message_id::pg_catalog.text, true);
    insert into public.messages (id, session_id, role, chat_type, content, sent_at)
    values (
        finalize_message.message_id,
        reply.session_id,
        case reply.chat_type when 'main' then 'scenario'::public.message_role else 'helper'::public.message_role end,
        reply.chat_type,
        reply.content,
        reply.began_at
    );
    delete from public.message_chunks as chunk
    where chunk.message_id = finalize_message.message_id;

    return finalize_message.message_id;
end;
$$;
comment on function public.finalize_message(uuid) is
'Turns the fragments of a streamed reply into one message, in one transaction; a second call changes nothing (issue 4).';
revoke all on function public.finalize_message(uuid) from public, anon, authenticated;

comment on column public.messages.chat_type is
'main: the conversation in German. helper: the questions about it (issue 13).';

commit;

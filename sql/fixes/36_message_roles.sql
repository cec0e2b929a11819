-- 36 · Confusing message role naming
-- Locks: messages and messages_archive, ACCESS EXCLUSIVE, while both are rewritten with all their indexes. Reads and writes wait.
-- Repairs: nothing: the role that is no longer said follows from the chat.
-- Clients: say assistant instead of scenario and helper (22P02); whoever reads a role gets it too, in silence.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.messages, public.messages_archive in access exclusive mode;

-- Two values become one, and an enum cannot lose a value: a new type takes the name. The check of 14 names the old
-- values, and with two roles every pair is valid.
alter table public.messages drop constraint messages_role_chat_type_valid;
select
    private.require_no_dependants('public.messages', 'role', of_its_type => true),
    private.require_no_dependants('public.messages_archive', 'role', of_its_type => true);
alter type public.message_role rename to message_role_of_three;
create type public.message_role as enum ('user', 'assistant');
comment on type public.message_role is
'Who speaks; which of the assistants follows from the chat (issues 13 and 36).';

alter table public.messages
    alter column role type public.message_role
    using (case role when 'user' then 'user' else 'assistant' end)::public.message_role;
alter table public.messages_archive
    alter column role type public.message_role
    using (case role when 'user' then 'user' else 'assistant' end)::public.message_role;
-- Something of the team's own may use the type elsewhere.
do $$
declare
    users text;
begin
    select string_agg(found.what, ', ' order by found.what)
    into users
    from (
        select pg_describe_object(classid, objid, objsubid) as what
        from pg_depend
        where refclassid = 'pg_type'::regclass
            and refobjid in ('public.message_role_of_three'::regtype, 'public.message_role_of_three[]'::regtype)
            and deptype = 'n'
        union all
        select format('value %s', enumlabel)
        from pg_enum
        where enumtypid = 'public.message_role_of_three'::regtype
            and enumlabel not in ('user', 'scenario', 'helper')
    ) as found;
    if users is not null then
        raise exception using
            errcode = 'dependent_objects_still_exist',
            message = format('what you have added uses the type message_role, whose values change: %s', users),
            hint = 'Give it the type text, apply the fix again, and give it message_role back.';
    end if;
end;
$$;
drop type public.message_role_of_three;

comment on column public.messages.role is
'user: the learner. assistant: the character in the main chat, the helper in the helper chat (issue 36).';

-- Restated from 13 with the new role; since 33 a finished reply may stand in the archive.
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
        and (
            exists (select from public.messages where messages.id = finalize_message.message_id)
            or exists (select from public.messages_archive where messages_archive.id = finalize_message.message_id)
        )
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
    values (finalize_message.message_id, reply.session_id, 'assistant', reply.chat_type, reply.content, reply.began_at);
    delete from public.message_chunks as chunk
    where chunk.message_id = finalize_message.message_id;

    return finalize_message.message_id;
end;
$$;

commit;

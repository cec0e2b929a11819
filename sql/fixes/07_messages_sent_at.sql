-- 07 · Redundant timestamp columns in messages
-- Locks: messages, ACCESS EXCLUSIVE, while rows whose two timestamps differ are copied. Reads and writes wait;
-- the rename and the drop change the catalog only.
-- Repairs: messages whose created_at is not their timestamp keep the timestamp; the other value is recorded.
-- Clients: say sent_at instead of timestamp and created_at, and carry it on as text: a Date of JavaScript cuts it to
-- milliseconds. With select * both are missing in silence.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.messages in access exclusive mode;
select private.require_no_dependants('public.messages', 'created_at');

insert into private.repairs (issue, table_name, row_id, before)
select 7, 'messages', messages.id, to_jsonb(messages)
from public.messages
where created_at is distinct from timestamp;

alter table public.messages rename column timestamp to sent_at;
alter table public.messages drop column created_at;
-- From PostgreSQL 18 on NOT NULL is a constraint with a name.
do $$
begin
    if exists (select from pg_constraint where conrelid = 'public.messages'::regclass and conname = 'messages_timestamp_not_null') then
        alter table public.messages rename constraint messages_timestamp_not_null to messages_sent_at_not_null;
    end if;
end;
$$;
comment on column public.messages.sent_at is
'When the message was sent; for a streamed reply, when it began (issue 7).';

-- Restated from 04: it names the column.
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
        case reply.chat_type when 'main' then 'scenario' else 'helper' end,
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

commit;

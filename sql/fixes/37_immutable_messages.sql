-- 37 · Messages immutability not enforced
-- Locks: messages, messages_archive and message_chunks, SHARE ROW EXCLUSIVE, for a moment: no row is read. Writes wait, reads do not.
-- Repairs: nothing.
-- Clients: nobody rewrites a message, the backend included (23001): a reply streams into message_chunks.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

create function private.keep_message() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    -- What the row may become: as it was, but for being deleted or not.
    allowed pg_catalog.jsonb := to_jsonb(old) || jsonb_build_object('deleted_at', new.deleted_at, 'deleted_reason', new.deleted_reason);
begin
    if new is not distinct from old then
        -- An upsert that brings the same again: there is nothing to write.
        return null;
    elsif new.content = '' and new.deleted_at is not null then
        -- With the content goes what a team has added to it.
        select to_jsonb(new) || jsonb_object_agg(key, value)
        into allowed
        from jsonb_each(to_jsonb(old))
        where key in ('id', 'session_id', 'user_id', 'role', 'chat_type', 'client_message_id', 'sent_at');
    end if;

    if to_jsonb(new) <> allowed or (old.content = '' and old.deleted_at is not null and new.deleted_at is null) then
        raise exception using
            errcode = 'restrict_violation',
            message = 'a message is never changed',
            detail = format('message %s', old.id),
            hint = 'It may be hidden (deleted_at, deleted_reason), or erased (content empty, and hidden for good).';
    end if;
    return new;
end;
$$;
comment on function private.keep_message() is
'Lets a message be hidden, shown again or erased, and changed in no other way, whoever asks (issue 37).';
revoke all on function private.keep_message() from public, anon, authenticated, service_role;

create trigger messages_immutable
before update on public.messages
for each row execute function private.keep_message();
comment on trigger messages_immutable on public.messages is
'What was said was said (issue 37).';

-- A fragment that is moved to another session would take its reply along.
create function private.keep_chunk() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new is not distinct from old then
        -- An upsert that brings the same again: there is nothing to write.
        return null;
    end if;

    raise exception using
        errcode = 'restrict_violation',
        message = 'a fragment is never changed',
        detail = format('message %s, fragment %s', old.message_id, old.seq),
        hint = 'Delete the reply''s fragments and stream it anew, under another message_id.';
end;
$$;
comment on function private.keep_chunk() is
'Keeps the fragments of a reply as they arrived, whoever asks (issue 37).';
revoke all on function private.keep_chunk() from public, anon, authenticated, service_role;

create trigger message_chunks_immutable
before update of message_id, seq, session_id, user_id, chat_type, content on public.message_chunks
for each row execute function private.keep_chunk();
comment on trigger message_chunks_immutable on public.message_chunks is
'What was said was said (issue 37).';

create trigger messages_archive_immutable
before update on public.messages_archive
for each row execute function private.keep_message();
comment on trigger messages_archive_immutable on public.messages_archive is
'What was said was said (issue 37).';

comment on table public.messages is
'What was said in a session, each row for good: a message may be hidden, and never rewritten (issue 37).';
comment on column public.messages.id is
'The message. A streamed reply keeps the id under which its fragments came (issue 4).';

commit;

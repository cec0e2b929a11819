-- 37 · Messages immutability not enforced
-- Locks: messages and messages_archive, SHARE ROW EXCLUSIVE, for a moment: no row is read. Writes wait, reads do not.
-- Repairs: nothing.

begin;

set local lock_timeout = '5s';

create function private.keep_message() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    -- What the row may become: as it was, but for being deleted or not.
    allowed pg_catalog.jsonb := to_jsonb(old) || jsonb_build_object('deleted_at', new.deleted_at, 'deleted_reason', new.deleted_reason);
begin
    if new.content = '' and new.deleted_at is not null then
        allowed := allowed || '{"content": ""}';
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
revoke all on function private.keep_message() from public;

create trigger messages_immutable
before update on public.messages
for each row execute function private.keep_message();
comment on trigger messages_immutable on public.messages is
'What was said was said (issue 37).';

create trigger messages_archive_immutable
before update on public.messages_archive
for each row execute function private.keep_message();
comment on trigger messages_archive_immutable on public.messages_archive is
'What was said was said (issue 37).';

commit;

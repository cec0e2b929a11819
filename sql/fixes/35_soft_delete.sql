-- 35 · No soft delete pattern
-- Locks: profiles, sessions, messages, message_chunks and messages_archive, ACCESS EXCLUSIVE, while profiles and messages are
-- checked once. Also auth.users, whose foreign key goes. Reads and writes wait. event_types gets a row (ROW EXCLUSIVE),
-- and nobody waits for that.
-- Repairs: nothing.

begin;

set local lock_timeout = '5s';

-- --- Accounts ------------------------------------------------------------------------------------------------------

create function private.retire_profile() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.profiles
    set deleted_at = now(),
        email = null
    where id = old.id
        and deleted_at is null;
    return null;
end;
$$;
comment on function private.retire_profile() is
'Keeps a deleted user''s profile, and clears its address (issue 35).';
revoke all on function private.retire_profile() from public;

-- First auth.users, then profiles: a sign-up goes the same way.
create trigger users_retire_profile
after delete on auth.users
for each row execute function private.retire_profile();

lock table public.sessions, public.profiles, public.messages, public.message_chunks, public.messages_archive
    in access exclusive mode;

alter table public.profiles
    add column deleted_at timestamptz,
    alter column email drop not null,
    -- The profile outlives its auth user, so nothing may refer to that.
    drop constraint profiles_id_fkey,
    add constraint profiles_email_while_living check ((email is null) = (deleted_at is not null));
comment on column public.profiles.deleted_at is
'When the account was deleted. The profile stays, without its address, because sessions and messages refer to it (issue 35).';
comment on constraint profiles_email_while_living on public.profiles is
'A living profile has an address, a deleted one has none (issue 35).';

-- A token stays valid for a while after its account is gone: it may still read its own sessions and messages, and write
-- nothing. A look at the profile in each read would cost everybody else, every time.
drop policy profiles_select_own_authenticated on public.profiles;
create policy profiles_select_own on public.profiles
    for select to authenticated using (id = (select auth.uid()) and deleted_at is null);
comment on policy profiles_select_own on public.profiles is
'A learner reads their own profile, as long as they have an account (issue 35).';
drop policy profiles_update_own_authenticated on public.profiles;
create policy profiles_update_own on public.profiles
    for update to authenticated using (id = (select auth.uid()) and deleted_at is null);

drop policy sessions_insert_own_authenticated on public.sessions;
create policy sessions_insert_own on public.sessions
    for insert to authenticated with check (
        user_id = (select auth.uid())
        and exists (select from public.profiles where profiles.id = (select auth.uid()))
    );
comment on policy sessions_insert_own on public.sessions is
'A learner with an account starts sessions of their own (issue 35). The policy on profiles hides deleted accounts.';
drop policy sessions_update_own_authenticated on public.sessions;
create policy sessions_update_own on public.sessions
    for update to authenticated using (
        user_id = (select auth.uid())
        and exists (select from public.profiles where profiles.id = (select auth.uid()))
    );
comment on policy sessions_update_own on public.sessions is
'A learner with an account changes their own sessions (issue 35).';
drop policy sessions_delete_own_authenticated on public.sessions;
create policy sessions_delete_own on public.sessions
    for delete to authenticated using (
        user_id = (select auth.uid())
        and exists (select from public.profiles where profiles.id = (select auth.uid()))
    );
comment on policy sessions_delete_own on public.sessions is
'A learner with an account deletes their own sessions (issue 35).';

-- --- Messages ------------------------------------------------------------------------------------------------------

alter table public.messages
    add column deleted_at timestamptz,
    add column deleted_reason text,
    add constraint messages_reason_needs_deletion check (deleted_reason is null or deleted_at is not null);
comment on column public.messages.deleted_at is 'When the message was hidden from its learner (issue 35).';
comment on column public.messages.deleted_reason is 'Why it was hidden, for support (issue 35).';
comment on constraint messages_reason_needs_deletion on public.messages is
'Only a deleted message has a reason (issue 35).';

alter table public.messages_archive
    add column deleted_at timestamptz,
    add column deleted_reason text;
comment on column public.messages_archive.deleted_at is 'As in messages.';
comment on column public.messages_archive.deleted_reason is 'As in messages.';

drop policy messages_select_own on public.messages;
create policy messages_select_own on public.messages
    for select to authenticated using (user_id = (select auth.uid()) and deleted_at is null);
comment on policy messages_select_own on public.messages is
'A learner reads their own messages (issue 18), except deleted ones (35). The sub-select is evaluated once a query.';

-- Restated from 18: a deleted account takes no more messages. The profile is read after the session is locked, in a
-- statement of its own, so that an erasure which held the session's lock is seen.
create or replace function private.require_open_session() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    session public.sessions;
    is_client constant boolean := private.is_bound_by_policies();
    is_streaming constant boolean := exists (
        select
        from public.message_chunks
        where message_chunks.message_id = new.id
    );
    -- Only finalize_message() lands a reply under the id of its fragments.
    is_finalizing constant boolean := not is_client
        and coalesce(current_setting('maraum.finalizing', true) = new.id::pg_catalog.text, false);
begin
    if is_streaming and not is_finalizing then
        raise exception using
            errcode = 'PT409',
            message = 'a reply is streaming under this id',
            detail = format('message %s', new.id),
            hint = 'Send the message under an id of its own, or without one.';
    end if;

    -- The lock makes a completion wait for this message, and this message for a completion.
    -- FOR SHARE would let two writers in, who then deadlock in the counter's update.
    select sessions.*
    into session
    from public.sessions
    where sessions.id = new.session_id
        and case when is_client then sessions.user_id = private.calling_user() else true end
    for no key update;

    if not found and not is_client then
        raise exception using
            errcode = 'foreign_key_violation',
            message = 'there is no such session',
            detail = format('session %s', new.session_id),
            hint = 'Create the session before its messages.';
    elsif session.is_completed and not is_streaming then
        raise exception using
            errcode = 'PT409',
            message = 'the session is completed and takes no more messages',
            detail = format('session %s', new.session_id),
            hint = 'Start a new session.';
    end if;
    perform private.require_account(session.user_id);

    -- Null for a client who names somebody else's session: the policy refuses that.
    new.user_id := session.user_id;
    return new;
end;
$$;
comment on function private.require_open_session() is
'Refuses a message for a completed session (issue 3), except a reply that began before (4), or for a deleted account (35), '
'and sets its user (18).';

-- Sessions too, and before their foreign key gets to it: the profile is held from here on, so an erasure waits for
-- whatever the same statement goes on to write.
create function private.hold_account() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.is_bound_by_policies() and new.user_id is distinct from private.calling_user() then
        -- Somebody else's account: the policy refuses that, without a word about it.
        return new;
    end if;

    perform from public.profiles where profiles.id = new.user_id for key share;
    perform private.require_account(new.user_id);
    return new;
end;
$$;
comment on function private.hold_account() is
'Refuses a session for a deleted account, and keeps the account from being erased until the session is there (issue 35).';
revoke all on function private.hold_account() from public;

create trigger sessions_hold_account
before insert on public.sessions
for each row execute function private.hold_account();
comment on trigger sessions_hold_account on public.sessions is
'A deleted account starts no sessions (issue 35).';

create function private.require_account(user_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (select from public.profiles where profiles.id = require_account.user_id and profiles.deleted_at is not null) then
        raise exception using
            errcode = 'insufficient_privilege',
            message = 'the account is deleted and takes nothing more',
            detail = format('user %s', require_account.user_id),
            hint = 'Sign the learner out.';
    end if;
end;
$$;
comment on function private.require_account(uuid) is
'Raises where the account is deleted (issue 35).';
revoke all on function private.require_account(uuid) from public;

-- Restated from 04: a deleted account takes no new replies either, and an archived message no more fragments.
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

    select chunk.*
    into earlier
    from public.message_chunks as chunk
    where chunk.message_id = new.message_id
    limit 1;

    if found then
        if (earlier.session_id, earlier.chat_type) is distinct from (new.session_id, new.chat_type) then
            raise exception using
                errcode = 'check_violation',
                message = 'all fragments of a message belong to one session and one chat',
                detail = format('message %s', new.message_id),
                hint = 'Stream each reply under a message_id of its own.';
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
    end if;
    perform private.require_account(session.user_id);

    new.user_id := session.user_id;
    return new;
end;
$$;
comment on function private.check_message_chunk() is
'Lets a reply go on that began before its session was completed, and no other (issue 4), nor one for a deleted account (35); '
'sets user_id.';

-- Restated from 33 with the two columns.
create or replace function private.move_old_messages(
    cutoff_months integer, batch_size integer, out affected bigint, out window_start timestamptz, out window_end timestamptz
)
language plpgsql
set search_path = ''
set timezone = 'UTC'
as $$
begin
    if cutoff_months is null or cutoff_months < 1 or batch_size is null or batch_size < 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'cutoff_months and batch_size have to be 1 or more',
            hint = 'Leave them out for the defaults.';
    end if;

    window_end := now() - make_interval(months => cutoff_months);
    -- One statement: a message is in exactly one of the two tables, whatever happens and whoever looks.
    with batch as (
        select messages.id
        from public.messages
        join public.sessions on sessions.id = messages.session_id
        where messages.sent_at < window_end
            -- An id that somebody has used again stays here, and does not hold up the rest.
            and not exists (select from public.messages_archive as archived where archived.id = messages.id)
        limit batch_size
        -- First the session, as whoever deletes one does.
        for key share of sessions skip locked
        for update of messages skip locked
    ),
    moved as (
        delete from public.messages
        using batch
        where messages.id = batch.id
        returning messages.*
    ),
    archived as (
        insert into public.messages_archive (
            id, session_id, user_id, role, chat_type, content, sent_at, deleted_at, deleted_reason
        )
        select id, session_id, user_id, role, chat_type, content, sent_at, deleted_at, deleted_reason
        from moved
        returning sent_at
    )
    select count(*), min(archived.sent_at)
    into affected, window_start
    from archived;
end;
$$;

-- --- The right to erasure ------------------------------------------------------------------------------------------

create index repairs_session_id_idx on private.repairs ((before ->> 'session_id')) where table_name = 'messages';
comment on index private.repairs_session_id_idx is
'The before-images of a session''s messages, for erasure (issue 35).';

insert into public.event_types (code, description)
values ('account_erased', 'What a learner wrote was erased on their request.');

create function private.erase_account(
    user_id uuid, out affected bigint, out window_start timestamptz, out window_end timestamptz
)
language plpgsql
set search_path = ''
as $$
declare
    learner constant pg_catalog.uuid := erase_account.user_id;
    reply pg_catalog.uuid;
    touched bigint;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        -- An older snapshot would not show what was written just now.
        raise exception using
            errcode = 'feature_not_supported',
            message = 'an account cannot be erased at this isolation level',
            detail = current_setting('transaction_isolation'),
            hint = 'Use READ COMMITTED, the default.';
    elsif not exists (select from public.profiles where profiles.id = learner)
        -- Of somebody whose profile is gone altogether, before-images may be left.
        and not exists (select from private.repairs where table_name = 'profiles' and row_id = learner::pg_catalog.text)
    then
        raise exception using
            errcode = 'PT404',
            message = 'there is no such learner',
            detail = format('user %s', learner),
            hint = 'Give the id of a profile.';
    end if;

    -- Whoever writes a message holds its session, whoever streams holds the reply, and whoever starts a session holds
    -- the profile. With all three in hand no message is under way, and what comes next meets a deleted account.
    for reply in select distinct chunk.message_id from public.message_chunks as chunk where chunk.user_id = learner order by 1 loop
        perform private.lock_reply(reply);
    end loop;
    perform from public.sessions where sessions.user_id = learner order by sessions.id for no key update;
    perform from public.profiles where profiles.id = learner for update;
    -- Written, not only locked: a writer with an older snapshot, who could not see that the account is deleted, fails.
    update public.sessions
    set updated_at = now()
    where sessions.user_id = learner;
    for reply in select distinct chunk.message_id from public.message_chunks as chunk where chunk.user_id = learner order by 1 loop
        perform private.lock_reply(reply);
    end loop;

    window_end := now();
    update public.profiles
    set deleted_at = coalesce(profiles.deleted_at, now()),
        email = null
    where profiles.id = learner;

    delete from public.message_chunks as chunk
    where chunk.user_id = learner;
    get diagnostics affected = row_count;

    -- Two statements: a message that is being archived meanwhile is waited for by the first, and seen by the second.
    with erased as (
        update public.messages
        set content = '',
            deleted_at = coalesce(messages.deleted_at, now()),
            deleted_reason = coalesce(messages.deleted_reason, 'erased')
        where messages.user_id = learner
            and (messages.content <> '' or messages.deleted_at is null)
        returning messages.sent_at
    )
    select count(*), min(erased.sent_at)
    into touched, window_start
    from erased;
    affected := affected + touched;

    with erased as (
        update public.messages_archive as archived
        set content = '',
            deleted_at = coalesce(archived.deleted_at, now()),
            deleted_reason = coalesce(archived.deleted_reason, 'erased')
        where archived.user_id = learner
            and (archived.content <> '' or archived.deleted_at is null)
        returning archived.sent_at
    )
    select count(*), least(window_start, min(erased.sent_at))
    into touched, window_start
    from erased;
    affected := affected + touched;

    -- Before-images: of messages, also those whose session is gone and with it the word whose they were.
    update private.repairs
    set before = before || '{"content": ""}'
    where table_name = 'messages'
        and before ->> 'content' <> ''
        and (
            before ->> 'session_id' in (select sessions.id::pg_catalog.text from public.sessions where sessions.user_id = learner)
            or not exists (select from public.sessions where sessions.id::pg_catalog.text = before ->> 'session_id')
        );
    update private.repairs
    set before = before || '{"email": null}'
    where table_name = 'profiles'
        and row_id = learner::pg_catalog.text;

    -- The event stays, what was said about it goes. A log that is being written just now keeps its text until it is old.
    update public.logs
    set message = null,
        metadata = null
    where (logs.user_id = learner or logs.session_id in (select sessions.id from public.sessions where sessions.user_id = learner))
        and (logs.message is not null or logs.metadata is not null);
end;
$$;
comment on function private.erase_account(uuid) is
'Blanks all that a learner wrote, in messages, archive, fragments, before-images and logs, and deletes the account (issue 35).';
revoke all on function private.erase_account(uuid) from public;

create function public.erase_user(user_id uuid) returns private.job_result
language sql
security definer
set search_path = ''
as $$
    select private.run_job('erase_user', 'account_erased', format('select * from private.erase_account(%L)', user_id));
$$;
comment on function public.erase_user(uuid) is
'Job: erases what a learner wrote, for good (issue 35). Delete the auth user as well: its address stands there too.';
revoke all on function public.erase_user(uuid) from public, anon, authenticated;

commit;

-- 35 · No soft delete pattern
-- Locks: profiles, sessions, messages, message_chunks and messages_archive, ACCESS EXCLUSIVE, while profiles and messages are
-- checked once. Also auth.users, whose foreign key goes. Reads and writes wait. event_types gets a row (ROW EXCLUSIVE),
-- and nobody waits for that.
-- Repairs: profiles whose auth user is deleted softly lose their address; no before-image is kept of it.
-- Clients: profile, sessions and messages outlive their auth user, in silence: count profiles where deleted_at is null.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- --- Accounts ------------------------------------------------------------------------------------------------------

-- An address also stands in logs that name a learner by nothing else, such as a sign-in that was refused. Looking through all
-- of them would take Auth's own request too long: the deletion notes the address, and a job does the rest.
create table private.addresses_to_forget (
    user_id uuid not null,
    email text not null,
    noted_at timestamptz not null default now(),
    constraint addresses_to_forget_pkey primary key (user_id, email)
);
comment on table private.addresses_to_forget is
'Addresses of deleted accounts that logs may still hold, until forget_addresses() has been by (issue 35).';
comment on column private.addresses_to_forget.user_id is 'The learner whose address it was.';
comment on column private.addresses_to_forget.email is 'The address, in small letters.';
comment on column private.addresses_to_forget.noted_at is 'When the account was deleted.';
revoke all on private.addresses_to_forget from public, anon, authenticated, service_role;

create function private.retire_account(user_id uuid, email text) returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
begin
    insert into private.addresses_to_forget (user_id, email)
    select distinct retire_account.user_id, lower(known.email)
    from (
        select retire_account.email
        union all
        select profiles.email::pg_catalog.text
        from public.profiles
        where profiles.id = retire_account.user_id
        union all
        select repairs.before ->> 'email'
        from private.repairs
        where repairs.table_name = 'profiles'
            and repairs.row_id = retire_account.user_id::pg_catalog.text
    ) as known (email)
    -- Not what stood in for an address.
    where known.email ~ '\S'
        and known.email not like '%@duplicate.invalid'
    on conflict do nothing;

    -- First the sessions, then the profile, as a completion goes.
    perform from public.sessions where sessions.user_id = retire_account.user_id order by sessions.id for no key update;
    update public.profiles
    set deleted_at = now(),
        email = null
    where profiles.id = retire_account.user_id
        and profiles.deleted_at is null;

    update private.repairs
    set before = before || '{"email": null}'
    where repairs.table_name = 'profiles'
        and repairs.row_id = retire_account.user_id::pg_catalog.text
        and repairs.before ->> 'email' is not null;
end;
$$;
comment on function private.retire_account(uuid, text) is
'Keeps a deleted user''s profile, clears its address there and in before-images, and notes it for the logs (issue 35).';
revoke all on function private.retire_account(uuid, text) from public, anon, authenticated, service_role;

create function private.retire_profile() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Of a user who was deleted softly before, a hash is left.
    perform private.retire_account(old.id, case when old.deleted_at is null then old.email end);
    return null;
end;
$$;
comment on function private.retire_profile() is
'Keeps a deleted user''s profile, and clears its address (issue 35).';
revoke all on function private.retire_profile() from public, anon, authenticated, service_role;

-- First auth.users, then profiles: a sign-up goes the same way.
create trigger users_retire_profile
after delete on auth.users
for each row execute function private.retire_profile();

lock table public.sessions, public.profiles, public.messages, public.message_chunks, public.messages_archive
    in access exclusive mode;

-- The profile outlives its auth user, so nothing may refer to that.
select private.drop_foreign_key('public.profiles', 'id', 'FOREIGN KEY (id) REFERENCES auth.users(id) ON DELETE CASCADE');
alter table public.profiles
    add column deleted_at timestamptz,
    alter column email drop not null;
comment on column public.profiles.deleted_at is
'When the account was deleted. The profile stays, without its address, because sessions and messages refer to it (issue 35).';

-- A session says itself that its account is gone: a message asks the session only. Completed ones as well, where a reply may stream.
alter table public.sessions add column closed_at timestamptz;
comment on column public.sessions.closed_at is
'When its learner''s account was deleted; the session takes nothing more, and is not completed by that (issue 35).';

-- Auth deletes softly too: it keeps its row, dates it and puts a hash in the address's place. No before-image is kept of the address
-- of these profiles: it is what has to go, and is noted for the logs.
insert into private.addresses_to_forget (user_id, email)
select distinct users.id, lower(known.email)
from auth.users
cross join lateral (
    select profiles.email
    from public.profiles
    where profiles.id = users.id
    union all
    select repairs.before ->> 'email'
    from private.repairs
    where repairs.table_name = 'profiles'
        and repairs.row_id = users.id::text
) as known (email)
where users.deleted_at is not null
    and known.email ~ '\S'
    and known.email not like '%@duplicate.invalid'
on conflict do nothing;

update public.profiles
set deleted_at = now(),
    email = null
from auth.users
where users.id = profiles.id
    and users.deleted_at is not null;

update private.repairs
set before = before || '{"email": null}'
where table_name = 'profiles'
    and before ->> 'email' is not null
    and row_id in (select id::text from auth.users where deleted_at is not null);

update public.sessions
set closed_at = now()
from auth.users
where users.id = sessions.user_id
    and users.deleted_at is not null;

alter table public.profiles
    add constraint profiles_email_while_living check ((email is null) = (deleted_at is not null));
comment on constraint profiles_email_while_living on public.profiles is
'A living profile has an address, a deleted one has none (issue 35).';

create function private.close_sessions() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        -- An older snapshot would not show a session that was started just now.
        raise exception using
            errcode = 'feature_not_supported',
            message = 'an account cannot be deleted at this isolation level',
            detail = current_setting('transaction_isolation'),
            hint = 'Use READ COMMITTED, the default.';
    end if;

    -- Whoever starts a session holds the profile until it is there.
    perform from public.profiles where profiles.id = new.id for update;
    update public.sessions
    set closed_at = new.deleted_at
    where sessions.user_id = new.id
        and sessions.closed_at is distinct from new.deleted_at;
    return null;
end;
$$;
comment on function private.close_sessions() is
'Closes the sessions of an account that is deleted, and opens those of one that is back (issue 35).';
revoke all on function private.close_sessions() from public, anon, authenticated, service_role;

create trigger profiles_close_sessions
after update of deleted_at on public.profiles
for each row when (new.deleted_at is distinct from old.deleted_at) execute function private.close_sessions();
comment on trigger profiles_close_sessions on public.profiles is
'Nothing more is said in a deleted account''s sessions (issue 35).';

-- A token stays valid for a while after its account is gone: it may still read its own sessions and messages, and write
-- nothing. A look at the profile in each read would cost everybody else, every time.
select
    private.drop_policies('public.profiles', 'select', 'authenticated', 'auth.uid() = id'),
    private.drop_policies('public.profiles', 'update', 'authenticated', 'auth.uid() = id'),
    private.drop_policies('public.sessions', 'insert', 'authenticated', 'auth.uid() = user_id'),
    private.drop_policies('public.sessions', 'update', 'authenticated', 'auth.uid() = user_id'),
    private.drop_policies('public.sessions', 'delete', 'authenticated', 'auth.uid() = user_id'),
    private.require_no_other_policy('public.profiles', '{select,insert,update,delete}', '{}'),
    private.require_no_other_policy('public.sessions', '{insert,update,delete}', '{}');
create policy profiles_select_own on public.profiles
    for select to authenticated using (id = (select auth.uid()) and deleted_at is null);
comment on policy profiles_select_own on public.profiles is
'A learner reads their own profile, as long as they have an account (issue 35).';
create policy profiles_update_own on public.profiles
    for update to authenticated using (id = (select auth.uid()) and deleted_at is null);

create policy sessions_insert_own on public.sessions
    for insert to authenticated with check (
        user_id = (select auth.uid())
        and exists (select from public.profiles where profiles.id = (select auth.uid()))
    );
comment on policy sessions_insert_own on public.sessions is
'A learner with an account starts sessions of their own (issue 35). The policy on profiles hides deleted accounts.';
create policy sessions_update_own on public.sessions
    for update to authenticated using (
        user_id = (select auth.uid())
        and exists (select from public.profiles where profiles.id = (select auth.uid()))
    );
comment on policy sessions_update_own on public.sessions is
'A learner with an account changes their own sessions (issue 35).';
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
    add column deleted_reason text;
alter table public.messages
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

-- Restated from 22: a deleted account takes no more messages. Its sessions say so, so nobody has to ask for the profile.
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
            and closed_at is null
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
            message_count_helper = message_count_helper - 1 + main
        where id = message.session_id;
    elsif not session.is_stored and not is_counted then
        perform private.count_message(message, session.is_in_hand);
    end if;
    return session.user_id;
end;
$$;
comment on function private.admit_or_refuse(public.messages, boolean, boolean) is
'The slow way in: refuses a message for a completed session (issue 3), except a reply that began before (4), of a chat that has no '
'counter (11), or for a deleted account (35); counts what it lets in, or takes it back where the message is stored already (22). '
'Returns whose session it is.';

-- Sessions too, and before their foreign key gets to it: the profile is held from here on, so an erasure waits for
-- whatever the same statement goes on to write.
create function private.hold_account() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_argv[0] = 'client' and new.user_id is distinct from private.calling_user() then
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
revoke all on function private.hold_account() from public, anon, authenticated, service_role;

create trigger sessions_hold_account
before insert on public.sessions
for each row when (not row_security_active('public.sessions'::regclass)) execute function private.hold_account('server');
comment on trigger sessions_hold_account on public.sessions is
'A deleted account starts no sessions (issue 35).';
create trigger sessions_hold_account_of_client
before insert on public.sessions
for each row when (row_security_active('public.sessions'::regclass)) execute function private.hold_account('client');
comment on trigger sessions_hold_account_of_client on public.sessions is
'A deleted account starts no sessions, and a stranger''s says nothing about itself (issue 35).';

create function private.refuse_closed(user_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    raise exception using
        errcode = 'insufficient_privilege',
        message = 'the account is deleted and takes nothing more',
        detail = format('user %s', refuse_closed.user_id),
        hint = 'Sign the learner out.';
end;
$$;
comment on function private.refuse_closed(uuid) is
'Raises: the account is deleted (issue 35).';
revoke all on function private.refuse_closed(uuid) from public, anon, authenticated, service_role;

create function private.require_account(user_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (select from public.profiles where profiles.id = require_account.user_id and profiles.deleted_at is not null) then
        perform private.refuse_closed(require_account.user_id);
    end if;
end;
$$;
comment on function private.require_account(uuid) is
'Raises where the account is deleted (issue 35).';
revoke all on function private.require_account(uuid) from public, anon, authenticated, service_role;

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
    elsif session.closed_at is not null then
        perform private.refuse_closed(session.user_id);
    end if;

    new.user_id := session.user_id;
    return new;
end;
$$;
comment on function private.check_message_chunk() is
'Lets a reply go on that began before its session was completed, and no other (issue 4), nor one for a deleted account (35); '
'sets user_id.';

-- --- The right to erasure ------------------------------------------------------------------------------------------

create index repairs_session_id_idx on private.repairs ((before ->> 'session_id')) where table_name = 'messages';
comment on index private.repairs_session_id_idx is
'The before-images of a session''s messages, for erasure (issue 35).';

insert into public.event_types (code, description)
values ('account_erased', 'What a learner wrote was erased on their request.');

create function private.forget_in_logs(addresses text[]) returns bigint
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
    touched bigint;
begin
    -- Whatever looks like an address in a log is looked up among those to forget: one look at each log, however many these are.
    -- The part before the @ ends like the address; what stands before that, the pattern decides.
    with known as (
        select
            -- Up to the blank, where a quoted one has such.
            regexp_replace(spelled, '^.*\s|@[^@]*$', '', 'g') as local_part,
            substring(spelled from '[^@]*$') as domain,
            -- As it is, with nothing in it that a pattern would take for more; the @ also as it stands in a URL.
            replace(regexp_replace(spelled, '([][\\.*+?^${}()|])', '\\\1', 'g'), '@', '(?:@|%40)') as literal
        from unnest(addresses) as address
        -- Also as JSON writes it, which puts a stroke before some signs.
        cross join lateral unnest(array[lower(address), lower(trim(both '"' from to_jsonb(address)::pg_catalog.text))]) as spelled
        group by spelled
    ),
    hit as (
        select
            logs.id,
            logs.created_at,
            -- Not within a longer address: neither susanna@… nor …@example.org.uk. In a URL a sign is two digits, and in JSON a
            -- line break is a letter.
            '(^|[^[:alnum:]._%+-]|%[0-9a-f]{2}|\\[bfnrt]|\\u[0-9a-f]{4})(?:' || string_agg(distinct known.literal, '|')
            || ')(?![[:alnum:]-]|\.[[:alnum:]])' as pattern
        from public.logs
        cross join lateral regexp_matches(
            replace(lower(concat_ws(' ', logs.message, logs.metadata::pg_catalog.text)), '%40', '@'),
            '([^[:space:]@]*)@([[:alnum:].-]+)',
            'g'
        ) as seen
        join known
            on known.domain = rtrim(seen[2], '.-')
                and right(seen[1], length(known.local_part)) = known.local_part
        where logs.message ~ '@|%40'
            or logs.metadata::pg_catalog.text ~ '@|%40'
        group by logs.id, logs.created_at
    )
    update public.logs
    set message = regexp_replace(logs.message, hit.pattern, '\1[erased]', 'gi'),
        metadata = regexp_replace(logs.metadata::pg_catalog.text, hit.pattern, '\1[erased]', 'gi')::pg_catalog.jsonb
    from hit
    where logs.id = hit.id
        and logs.created_at = hit.created_at
        and (logs.message ~* hit.pattern or logs.metadata::pg_catalog.text ~* hit.pattern);
    get diagnostics touched = row_count;
    return touched;
end;
$$;
comment on function private.forget_in_logs(text[]) is
'Takes these addresses out of all logs, wherever in message or metadata they stand, and returns how many logs had one (issue 35).';
revoke all on function private.forget_in_logs(text[]) from public, anon, authenticated, service_role;

create function private.forget_addresses(
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
    noted pg_catalog.text[];
begin
    remaining := 0;
    window_end := now();
    with taken as (
        delete from private.addresses_to_forget
        returning email, noted_at
    )
    select array_agg(distinct email), min(noted_at)
    into noted, window_start
    from taken;
    affected := private.forget_in_logs(noted);
end;
$$;
comment on function private.forget_addresses() is
'Takes the addresses of accounts that were deleted since the last run out of the logs (issue 35).';
revoke all on function private.forget_addresses() from public, anon, authenticated, service_role;

insert into public.event_types (code, description)
values ('addresses_forgotten', 'The job that takes deleted addresses out of the logs ran.');

create function public.forget_addresses() returns private.job_result
language sql
security definer
set search_path = ''
as $$
    select private.run_job('forget_addresses', 'addresses_forgotten', 'select * from private.forget_addresses()');
$$;
comment on function public.forget_addresses() is
'Job: takes the addresses of deleted accounts out of the logs (issue 35).';
revoke all on function public.forget_addresses() from public, anon, authenticated;

-- What a team has added may say something about a learner too, whatever is no number, moment, yes or no, id or word of a list.
create function private.blanks(on_table regclass, ours name[]) returns text
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select string_agg(
            format(
                ', %I = %s',
                attname,
                case
                    when not attnotnull and base.oid = declared.oid then 'null'
                    when not attnotnull and not declared.typnotnull then 'null'
                    when base.typcategory = 'A' or base.typname in ('json', 'jsonb') then '''{}'''
                    else ''''''
                end
            ),
            '' order by attnum
        )
        from pg_catalog.pg_attribute
        join pg_catalog.pg_type as declared on declared.oid = atttypid
        join pg_catalog.pg_type as base on base.oid = coalesce(nullif(declared.typbasetype, 0), declared.oid)
        left join pg_catalog.pg_type as element on element.oid = base.typelem and base.typcategory = 'A'
        where attrelid = on_table
            and attnum > 0
            and not attisdropped
            and attgenerated = ''
            and attname <> all (ours)
            and coalesce(element.typcategory, base.typcategory) not in ('B', 'N', 'D', 'T', 'E')
            and coalesce(element.typname, base.typname) <> 'uuid'
    );
end;
$$;
comment on function private.blanks(regclass, name[]) is
'Sets each column of a table that may say something about somebody, and is none of ours, to nothing: part of an UPDATE (issue 35).';
revoke all on function private.blanks(regclass, name[]) from public, anon, authenticated, service_role;

create function private.erase_rows(
    on_table regclass, ours name[], statement text, learner uuid, sessions uuid[], inout undone text,
    out touched bigint, out oldest timestamptz
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
begin
    begin
        execute format(statement, private.blanks(on_table, ours))
        into touched, oldest
        using learner, sessions;
    exception
        -- A column of the team's own may not be empty: what is ours goes all the same.
        when integrity_constraint_violation or invalid_text_representation or datatype_mismatch then
            undone := concat_ws('; ', undone, format('what you have added to %s stays (%s)', on_table, sqlerrm));
            execute format(statement, '')
            into touched, oldest
            using learner, sessions;
    end;
end;
$$;
comment on function private.erase_rows(regclass, name[], text, uuid, uuid[], text) is
'Runs an erasing UPDATE of one table with what a team has added to it, or without where that cannot be blank, and says so (issue 35).';
revoke all on function private.erase_rows(regclass, name[], text, uuid, uuid[], text)
from public, anon, authenticated, service_role;

create function private.erase_account(
    user_id uuid,
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
    learner constant pg_catalog.uuid := erase_account.user_id;
    sessions_of_learner constant pg_catalog.uuid[] := array(select sessions.id from public.sessions where sessions.user_id = learner);
    of_profiles constant pg_catalog.text[] := '{id,email,completed_scenario_count,current_week_completion_count,week_reset_date,'
        'created_at,updated_at,deleted_at}';
    of_sessions constant pg_catalog.text[] := '{id,user_id,scenario_id,is_completed,started_at,last_activity_at,last_message_at,'
        'completed_at,closed_at,message_count_main,message_count_helper,duration_seconds,created_at,updated_at}';
    of_messages constant pg_catalog.text[] := '{id,session_id,user_id,role,chat_type,content,client_message_id,timestamp,sent_at,'
        'created_at,deleted_at,deleted_reason}';
    reply pg_catalog.uuid;
    addresses pg_catalog.text[];
    own_tables pg_catalog.text;
    touched bigint;
    oldest pg_catalog.timestamptz;
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
    select erased.undone
    into undone
    from private.erase_rows(
        'public.sessions',
        of_sessions::pg_catalog.name[],
        'with erased as (update public.sessions set updated_at = now()%s where sessions.user_id = $1 returning 1)
        select count(*), null::timestamptz from erased',
        learner, sessions_of_learner, undone
    ) as erased;
    for reply in select distinct chunk.message_id from public.message_chunks as chunk where chunk.user_id = learner order by 1 loop
        perform private.lock_reply(reply);
    end loop;

    window_end := now();
    perform private.retire_account(learner, (select users.email from auth.users where users.id = learner and users.deleted_at is null));
    select erased.undone
    into undone
    from private.erase_rows(
        'public.profiles',
        of_profiles::pg_catalog.name[],
        'with erased as (update public.profiles set updated_at = now()%s where profiles.id = $1 returning 1)
        select count(*), null::timestamptz from erased',
        learner, sessions_of_learner, undone
    ) as erased;

    delete from public.message_chunks as chunk
    where chunk.user_id = learner;
    get diagnostics affected = row_count;

    -- Two statements: a message that is being archived meanwhile is waited for by the first, and seen by the second. Whoever
    -- hid a message may have said why in words that name somebody.
    select erased.undone, erased.touched, erased.oldest
    into undone, touched, window_start
    from private.erase_rows(
        'public.messages',
        of_messages::pg_catalog.name[],
        'with erased as (
            update public.messages
            set content = '''',
                deleted_at = coalesce(messages.deleted_at, now()),
                deleted_reason = ''erased''%s
            where messages.user_id = $1
                and (messages.content <> '''' or messages.deleted_reason is distinct from ''erased'')
            returning messages.sent_at
        )
        select count(*), min(erased.sent_at) from erased',
        learner, sessions_of_learner, undone
    ) as erased;
    affected := affected + touched;

    select erased.undone, erased.touched, erased.oldest
    into undone, touched, oldest
    from private.erase_rows(
        'public.messages_archive',
        (of_messages || '{archived_at}')::pg_catalog.name[],
        'with erased as (
            update public.messages_archive as archived
            set content = '''',
                deleted_at = coalesce(archived.deleted_at, now()),
                deleted_reason = ''erased''%s
            where archived.user_id = $1
                and (archived.content <> '''' or archived.deleted_reason is distinct from ''erased'')
            returning archived.sent_at
        )
        select count(*), min(erased.sent_at) from erased',
        learner, sessions_of_learner, undone
    ) as erased;
    affected := affected + touched;
    window_start := least(window_start, oldest);

    -- Before-images: of messages, also those whose session is gone and with it the word whose they were. Only what is ours
    -- stays of any.
    update private.repairs
    set before = (select jsonb_object_agg(key, value) from jsonb_each(before) where key = any (of_messages))
        || '{"content": "", "deleted_reason": null}'
    where table_name = 'messages'
        and (
            before ->> 'session_id' = any (sessions_of_learner::pg_catalog.text[])
            or not exists (select from public.sessions where sessions.id::pg_catalog.text = before ->> 'session_id')
        );
    update private.repairs
    set before = (select jsonb_object_agg(key, value) from jsonb_each(before) where key = any (of_profiles)) || '{"email": null}'
    where table_name = 'profiles'
        and row_id = learner::pg_catalog.text;
    update private.repairs
    set before = (select jsonb_object_agg(key, value) from jsonb_each(before) where key = any (of_sessions))
    where table_name = 'sessions'
        and before ->> 'user_id' = learner::pg_catalog.text;

    -- The event stays, what was said about it goes. A log that is being written just now keeps its text until it is old. First the
    -- notes, then the logs, as the job goes.
    with taken as (
        delete from private.addresses_to_forget as noted
        where noted.user_id = learner
        returning noted.email
    )
    select array_agg(taken.email)
    into addresses
    from taken;
    select erased.undone
    into undone
    from private.erase_rows(
        'public.logs',
        '{id,level,event_type,user_id,session_id,message,metadata,created_at}',
        'with erased as (
            update public.logs
            set message = null,
                metadata = null%s
            where logs.user_id = $1
                or logs.session_id = any ($2)
            returning 1
        )
        select count(*), null::timestamptz from erased',
        learner, sessions_of_learner, undone
    ) as erased;
    perform private.forget_in_logs(addresses);

    -- What a team keeps in tables of its own is its own to erase.
    select string_agg(own.name, ', ' order by own.name)
    into own_tables
    from (
        select distinct conrelid::pg_catalog.regclass::pg_catalog.text as name
        from pg_catalog.pg_constraint
        join pg_catalog.pg_class on pg_class.oid = conrelid
        where contype = 'f'
            and confrelid in (
                'auth.users'::pg_catalog.regclass, 'public.profiles'::pg_catalog.regclass, 'public.sessions'::pg_catalog.regclass,
                'public.messages'::pg_catalog.regclass, 'public.messages_archive'::pg_catalog.regclass
            )
            and conrelid not in (
                'public.profiles'::pg_catalog.regclass, 'public.sessions'::pg_catalog.regclass,
                'public.messages'::pg_catalog.regclass, 'public.messages_archive'::pg_catalog.regclass,
                'public.message_chunks'::pg_catalog.regclass, 'public.logs'::pg_catalog.regclass
            )
            and not relispartition
            -- The platform looks after its own.
            and relnamespace::pg_catalog.regnamespace::pg_catalog.text not in ('auth', 'storage', 'realtime')
            and private.blanks(conrelid, '{}') is not null
    ) as own;
    if own_tables is not null then
        undone := concat_ws('; ', undone, format('not looked into, though they refer to learners: %s', own_tables));
    end if;
    remaining := 0;
end;
$$;
comment on function private.erase_account(uuid) is
'Blanks all that a learner wrote, in messages, archive, fragments, before-images and logs, with what a team has added to them, and '
'deletes the account; names the tables of the team''s own that it does not look into (issue 35).';
revoke all on function private.erase_account(uuid) from public, anon, authenticated, service_role;

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

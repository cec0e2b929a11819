-- 18 · Inefficient RLS on messages table
-- Locks: messages, message_chunks and sessions, ACCESS EXCLUSIVE, while every message gets its user, and is checked and
-- indexed. Reads and writes wait. The table has twice its size until vacuum has been by.
-- Repairs: nothing; every message takes its session's user.
-- Clients: messages has a user_id as well, so a join with sessions has to say which one it means (42702); a session that has
-- messages is never given to another learner (23503).

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.sessions, public.messages, public.message_chunks in access exclusive mode;

-- What a composite foreign key points at: a message cannot have another user than its session. With the user first it also finds
-- all of a learner's sessions, and nobody takes it for the way to one of them.
alter table public.sessions add constraint sessions_user_id_id_key unique (user_id, id);

alter table public.messages add column user_id uuid;
update public.messages
set user_id = sessions.user_id
from public.sessions
where sessions.id = messages.session_id;

select private.drop_foreign_key(
    'public.messages', 'session_id', 'FOREIGN KEY (session_id) REFERENCES public.sessions(id) ON DELETE CASCADE'
);
alter table public.messages
    alter column user_id set not null,
    add constraint messages_session_id_user_id_fkey
        foreign key (session_id, user_id) references public.sessions (id, user_id) on delete cascade;
comment on column public.messages.user_id is
'The learner, always taken from the session, so that a policy needs no look into it (issue 18).';

alter table public.message_chunks
    drop constraint message_chunks_session_id_fkey,
    add constraint message_chunks_session_id_user_id_fkey
        foreign key (session_id, user_id) references public.sessions (id, user_id) on delete cascade;
-- The index that the policy uses serves the composite key as well.
drop index public.message_chunks_session_id_idx;

create index messages_user_id_sent_at_idx on public.messages (user_id, sent_at);

-- Restated from 04: it sets the user, whatever the client says. Filling in only what is missing would let a learner
-- name themselves as the user of a message in another learner's session.
create or replace function private.require_open_session() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    session public.sessions;
    is_client constant boolean := tg_argv[0] = 'client';
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
        and (not is_client or sessions.user_id = private.calling_user())
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

    -- Null for a client who names somebody else's session: the policy refuses that.
    new.user_id := session.user_id;
    return new;
end;
$$;
comment on function private.require_open_session() is
'Refuses a message for a completed session (issue 3), except a reply that began before (4), and sets its user (18).';

select
    private.drop_policies('public.messages', 'select', 'authenticated', v1.rule),
    private.drop_policies('public.messages', 'insert', 'authenticated', v1.rule),
    private.require_no_other_policy('public.messages', '{select,insert,update,delete}', '{}')
from (values (
    'EXISTS (SELECT FROM sessions WHERE sessions.id = messages.session_id AND sessions.user_id = auth.uid())'
)) as v1 (rule);
create policy messages_select_own on public.messages
    for select to authenticated using (user_id = (select auth.uid()));
comment on policy messages_select_own on public.messages is
'A learner reads their own messages. The sub-select is evaluated once a query, not once a row (issue 18).';
create policy messages_insert_own on public.messages
    for insert to authenticated with check (user_id = (select auth.uid()));
comment on policy messages_insert_own on public.messages is
'A learner writes into their own sessions: the user is the session''s (issue 18).';

commit;

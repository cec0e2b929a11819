-- 33 · No archiving or retention plan for messages
-- Locks: messages, SHARE, while a small index is built; sessions, SHARE ROW EXCLUSIVE, for a moment. Writes wait, reads do not.
-- event_types gets a row (ROW EXCLUSIVE), and nobody waits for that.
-- Repairs: nothing.

begin;

set local lock_timeout = '5s';

create table public.messages_archive (
    id uuid not null,
    session_id uuid not null,
    user_id uuid not null,
    role public.message_role not null,
    chat_type public.chat_type not null,
    content text not null,
    sent_at timestamptz not null,
    archived_at timestamptz not null default now(),
    constraint messages_archive_pkey primary key (id),
    constraint messages_archive_session_id_user_id_fkey
        foreign key (session_id, user_id) references public.sessions (id, user_id) on delete cascade
);
comment on table public.messages_archive is
'Messages that archive_old_messages() moved here, out of the way of the daily queries (issue 33).';
comment on column public.messages_archive.id is 'As in messages.';
comment on column public.messages_archive.session_id is 'As in messages.';
comment on column public.messages_archive.user_id is 'As in messages.';
comment on column public.messages_archive.role is 'As in messages.';
comment on column public.messages_archive.chat_type is 'As in messages.';
comment on column public.messages_archive.content is 'As in messages.';
comment on column public.messages_archive.sent_at is 'As in messages.';
comment on column public.messages_archive.archived_at is 'When the message was moved here.';

create index messages_archive_user_id_session_id_idx on public.messages_archive (user_id, session_id);
comment on index public.messages_archive_user_id_session_id_idx is
'A learner''s archived messages; also what the foreign key looks up (issue 33).';

alter table public.messages_archive enable row level security;
revoke all on public.messages_archive from anon, authenticated;

-- A block-range index: messages arrive in the order of their time, so a few kilobytes tell where the old ones lie.
create index messages_sent_at_idx on public.messages using brin (sent_at);
comment on index public.messages_sent_at_idx is
'Where the old messages lie, for archive_old_messages() (issue 33).';

insert into public.event_types (code, description)
values ('message_archive_executed', 'The job that archives old messages ran.');

create function private.move_old_messages(
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
        insert into public.messages_archive (id, session_id, user_id, role, chat_type, content, sent_at)
        select id, session_id, user_id, role, chat_type, content, sent_at
        from moved
        returning sent_at
    )
    select count(*), min(archived.sent_at)
    into affected, window_start
    from archived;
end;
$$;
comment on function private.move_old_messages(integer, integer) is
'Moves one batch of old messages to the archive, in one statement (issue 33).';
revoke all on function private.move_old_messages(integer, integer) from public;

create function public.archive_old_messages(cutoff_months integer default 12, batch_size integer default 10000)
returns private.job_result
language sql
security definer
set search_path = ''
as $$
    select private.run_job(
        'archive_old_messages',
        'message_archive_executed',
        format('select * from private.move_old_messages(%L, %L)', cutoff_months, batch_size)
    );
$$;
comment on function public.archive_old_messages(integer, integer) is
'Job: moves one batch of messages older than so many months to messages_archive; call it until affected is 0 (issue 33).';
revoke all on function public.archive_old_messages(integer, integer) from public, anon, authenticated;

commit;

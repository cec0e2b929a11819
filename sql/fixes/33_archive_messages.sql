-- 33 · No archiving or retention plan for messages
-- Locks: messages, SHARE, while a small index is built; sessions, SHARE ROW EXCLUSIVE, for a moment. Writes wait, reads do not.
-- event_types gets a row (ROW EXCLUSIVE), and nobody waits for that.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
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

revoke all on public.messages_archive from anon, authenticated;

-- What a team has added to messages goes into the archive as it is there.
do $$
declare
    own record;
begin
    for own in
        select attname, format_type(atttypid, atttypmod) as type, coalesce(col_description(attrelid, attnum), 'As in messages.') as said
        from pg_attribute as here
        where attrelid = 'public.messages'::regclass
            and attnum > 0
            and not attisdropped
            and not exists (
                select
                from pg_attribute as there
                where there.attrelid = 'public.messages_archive'::regclass
                    and there.attname = here.attname
            )
        order by attnum
    loop
        execute format('alter table public.messages_archive add column %I %s', own.attname, own.type);
        execute format('comment on column public.messages_archive.%I is %L', own.attname, own.said);
    end loop;
end;
$$;

create index messages_archive_user_id_session_id_idx on public.messages_archive (user_id, session_id);
comment on index public.messages_archive_user_id_session_id_idx is
'A learner''s archived messages; also what the foreign key looks up (issue 33).';

alter table public.messages_archive enable row level security;

-- A block-range index: messages arrive in the order of their time, so a few kilobytes tell where the old ones lie.
create index messages_sent_at_idx on public.messages using brin (sent_at);
comment on index public.messages_sent_at_idx is
'Where the old messages lie, for archive_old_messages() (issue 33).';

insert into public.event_types (code, description)
values ('message_archive_executed', 'The job that archives old messages ran.');

create function private.move_old_messages(
    cutoff_months integer,
    batch_size integer,
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
set timezone = 'UTC'
-- A team's table whose policies hide its rows from here must be an error, and not no rows.
set row_security = off
as $$
#variable_conflict use_variable
declare
    columns pg_catalog.text;
    missing pg_catalog.text;
    stays pg_catalog.text;
    batch pg_catalog.uuid[];
begin
    if cutoff_months is null or cutoff_months < 1 or batch_size is null or batch_size < 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'cutoff_months and batch_size have to be 1 or more',
            hint = 'Leave them out for the defaults.';
    end if;

    -- Every column goes along, those that a team has added too. One that the archive does not have would be lost.
    select
        string_agg(quote_ident(here.attname), ', ' order by here.attnum) filter (where there.attgenerated = ''),
        string_agg(
            format('alter table public.messages_archive add column %I %s;', here.attname, format_type(here.atttypid, here.atttypmod)),
            ' ' order by here.attnum
        ) filter (where there.attname is null)
    into columns, missing
    from pg_catalog.pg_attribute as here
    left join pg_catalog.pg_attribute as there
        on there.attrelid = 'public.messages_archive'::pg_catalog.regclass
            and there.attname = here.attname
    where here.attrelid = 'public.messages'::pg_catalog.regclass
        and here.attnum > 0
        and not here.attisdropped;
    if missing is not null then
        raise exception using
            errcode = 'undefined_column',
            message = format('messages has a column that its archive lacks, so nothing is archived; run: %s', missing);
    end if;

    window_end := now() - make_interval(months => cutoff_months);
    -- Not one that something refers to: it would lose it, or keep it from going. Nor one whose id somebody has used again. Neither
    -- holds up the rest.
    stays := format(
        'exists (select from public.messages_archive as archived where archived.id = messages.id) or not (%s)',
        private.not_referred_to('public.messages', 'messages', 'acdnr')
    );
    execute format(
        'select array_agg(candidate.id)
        from (
            select messages.id
            from public.messages
            join public.sessions on sessions.id = messages.session_id
            where messages.sent_at < $1
                and not (%s)
            limit $2
            -- First the session, as whoever deletes one does.
            for key share of sessions skip locked
            for update of messages skip locked
        ) as candidate',
        stays
    )
    into batch
    using window_end, batch_size;

    -- Locked in a statement of their own, so that this one sees what came to refer to them until then. One statement moves: a
    -- message is in exactly one of the two tables, whatever happens and whoever looks.
    execute format(
        'with moved as (
            delete from public.messages
            where messages.id = any ($1)
                and not (%2$s)
            returning messages.*
        ),
        archived as (
            insert into public.messages_archive (%1$s)
            select %1$s
            from moved
            returning sent_at
        )
        select count(*), min(archived.sent_at)
        from archived',
        columns, stays
    )
    into affected, window_start
    using batch;

    if coalesce(cardinality(batch), 0) < batch_size then
        select count(*)
        into remaining
        from public.messages
        where messages.sent_at < window_end;
        if remaining > 0 then
            undone := format('%s messages are in use, or referred to, or have an id that is archived', remaining);
        end if;
    end if;
end;
$$;
comment on function private.move_old_messages(integer, integer) is
'Moves one batch of old messages to the archive, in one statement, but none that something refers to; what remains is counted once '
'no full batch is left (issue 33).';
revoke all on function private.move_old_messages(integer, integer) from public, anon, authenticated, service_role;

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

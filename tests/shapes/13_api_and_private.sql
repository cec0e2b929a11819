-- A writing coach whose tables lie in a schema without clients; the API's schema has views and functions alone.
-- Two schemas, no row-level security, roles as a domain, jobs and an archive; public stays empty.

create schema private;
create schema api;
grant usage on schema api to anon, authenticated;

create domain private.speaker as text check (value in ('human', 'ai'));

create table private.accounts (
    id uuid primary key references auth.users (id) on update cascade on delete cascade,
    nickname text not null,
    created_at timestamptz not null default now()
);

create table private.conversations (
    id uuid primary key default gen_random_uuid(),
    account_id uuid not null references private.accounts (id) on update cascade on delete cascade,
    created_at timestamptz not null default now(),
    last_message_at timestamptz not null default now()
);
create index conversations_account_idx on private.conversations (account_id);

create table private.messages (
    id bigint generated always as identity primary key,
    conversation_id uuid not null references private.conversations (id) on update restrict on delete cascade,
    role private.speaker not null,
    content text not null,
    created_at timestamptz not null default clock_timestamp()
);
create index messages_page_idx on private.messages (conversation_id, created_at, id);

create table private.messages_archive (like private.messages including defaults, primary key (id));

create table private.logs (
    id bigint generated always as identity primary key,
    level text not null default 'info',
    event_type text not null check (event_type in ('sent', 'answered', 'failed', 'purged')),
    account_id uuid references private.accounts (id) on update cascade on delete set null,
    conversation_id uuid references private.conversations (id) on update cascade on delete set null,
    metadata jsonb,
    created_at timestamptz not null default now()
);
create index logs_session_idx on private.logs (conversation_id, created_at);
create index logs_metadata_idx on private.logs using gin (metadata jsonb_path_ops);

create view api.conversations with (security_barrier = true) as
select id, created_at from private.conversations where account_id = (select auth.uid());
create view api.messages with (security_barrier = true) as
select m.id, m.conversation_id, m.role, m.content, m.created_at
from private.messages as m inner join private.conversations as c on m.conversation_id = c.id
where c.account_id = (select auth.uid());
grant select on api.conversations, api.messages to authenticated;

create function api.send_message(conversation uuid, content text) returns bigint
language sql security definer set search_path = '' as $$
    insert into private.messages (conversation_id, role, content)
    select c.id, 'human', send_message.content
    from private.conversations as c
    where c.id = conversation and c.account_id = (select auth.uid())
    returning id;
$$;
revoke execute on function api.send_message(uuid, text) from public;
grant execute on function api.send_message(uuid, text) to authenticated;

create function api.server_time() returns timestamptz language sql stable set search_path = '' as $$ select now() $$;

create function private.purge_conversations() returns integer language plpgsql security definer as $$
declare
    purged integer;
begin
    delete from private.conversations where last_message_at < now() - interval '1 year';
    get diagnostics purged = row_count;
    insert into private.logs (event_type, metadata) values ('purged', jsonb_build_object('rows', purged));
    return purged;
end $$;

create function private.archive_messages() returns void language sql set search_path = '' as $$
    with moved as (
        delete from private.messages where created_at < now() - interval '90 days' returning *
    )
    insert into private.messages_archive select * from moved;
$$;

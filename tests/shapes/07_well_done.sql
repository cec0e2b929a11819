-- A study companion by a careful team: chats with a model, replies in pieces, an own id for each message of a client.
-- Hardly anything is wrong: explicit grants, closed defaults, composite keys, policies that ask once, a commented history.

alter default privileges revoke execute on functions from public;
alter default privileges in schema public revoke all on tables from anon, authenticated;
alter default privileges in schema public revoke all on sequences from anon, authenticated;
alter default privileges in schema public revoke all on functions from anon, authenticated;

create schema supabase_migrations;
create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
comment on table supabase_migrations.schema_migrations is 'One row a file of supabase/migrations, by its fourteen digits.';

create schema private;
create type public.message_role as enum ('user', 'assistant');

create table public.profiles (
    id uuid primary key references auth.users (id) on update restrict on delete restrict,
    display_name text check (length(display_name) <= 80),
    created_at timestamptz not null default now(),
    deleted_at timestamptz
);

create table public.chats (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.profiles (id) on update restrict on delete restrict,
    title text not null default '' check (length(title) <= 200),
    created_at timestamptz not null default now(),
    unique (user_id, id)
);

create table public.messages (
    id bigint generated always as identity primary key,
    chat_id uuid not null,
    user_id uuid not null,
    client_id uuid not null,
    role public.message_role not null,
    content text not null check (length(content) <= 16000),
    created_at timestamptz not null default clock_timestamp(),
    unique (chat_id, client_id),
    foreign key (user_id, chat_id) references public.chats (user_id, id) on update restrict on delete restrict
);

create table public.message_chunks (
    message_id bigint not null references public.messages (id) on update restrict on delete cascade,
    position integer not null check (position >= 0),
    content text not null,
    primary key (message_id, position)
);

create index messages_page_idx on public.messages (chat_id, created_at, id);
create index messages_user_idx on public.messages (user_id, chat_id);

create function private.add_profile() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.profiles (id) values (new.id);
    return new;
end;
$$;

create trigger add_profile after insert on auth.users
for each row execute function private.add_profile();

create function private.keep_message() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'a message stays as it was written';
end;
$$;

create trigger messages_stay before update on public.messages
for each row execute function private.keep_message();

alter table public.profiles enable row level security;
alter table public.chats enable row level security;
alter table public.messages enable row level security;
alter table public.message_chunks enable row level security;

grant select, update (display_name) on public.profiles to authenticated;
grant select, insert (user_id, title) on public.chats to authenticated;
grant select, insert (chat_id, user_id, client_id, role, content) on public.messages to authenticated;

create policy profiles_select_own on public.profiles
    for select to authenticated using (id = (select auth.uid()));
create policy profiles_update_own on public.profiles
    for update to authenticated using (id = (select auth.uid())) with check (id = (select auth.uid()));
create policy chats_select_own on public.chats
    for select to authenticated using (user_id = (select auth.uid()));
create policy chats_insert_own on public.chats
    for insert to authenticated with check (user_id = (select auth.uid()));
create policy messages_select_own on public.messages
    for select to authenticated using (user_id = (select auth.uid()));
create policy messages_insert_own on public.messages
    for insert to authenticated with check (user_id = (select auth.uid()) and role = 'user');

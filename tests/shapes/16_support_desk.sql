-- A support desk for a learning app: users chat with staff and a bot; admins read along.
-- A column called "user", no key between messages and chats, admins by table and by token, jobs, an own delete function.

create table public.profiles (
    id uuid primary key references auth.users (id) on delete cascade,
    email text,
    tier text not null default 'free',
    created_at timestamptz not null default now()
);

create table public.admins (
    user_id uuid primary key references auth.users (id) on delete cascade
);

create table public.chats (
    id uuid primary key default gen_random_uuid(),
    "user" uuid not null references auth.users (id) on delete cascade,
    subject text,
    created_at timestamptz not null default now()
);

create table public.messages (
    id bigserial primary key,
    chat_id uuid not null,
    sender text not null check (sender in ('user', 'staff', 'support_bot')),
    content text not null,
    created_at timestamptz not null default now()
);

create table public.feedback (
    id bigint generated always as identity primary key,
    "user" uuid references auth.users (id) on delete set null,
    stars smallint not null check (stars between 1 and 5)
);

create table public.announcements (
    id integer generated always as identity primary key,
    body text not null,
    is_published boolean not null default false
);

create index chats_user_idx on public.chats ("user");
create index messages_chat_idx on public.messages (chat_id, id);

create function public.handle_new_user() returns trigger language plpgsql security definer
set search_path = public, pg_temp as $$
begin
    insert into profiles (id, email) values (new.id, new.email);
    return new;
end $$;
create trigger on_auth_user_created after insert on auth.users for each row execute function public.handle_new_user();

create function public.is_admin() returns boolean language sql stable security definer set search_path = '' as $$
    select exists (select from public.admins where user_id = auth.uid());
$$;

create function public.purge_chats() returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare purged integer;
begin
    delete from chats where created_at < now() - interval '1 year';
    get diagnostics purged = row_count;
    return purged;
end $$;
revoke execute on function public.purge_chats() from public, anon, authenticated;

create function public.delete_my_chats() returns integer language plpgsql security definer set search_path = '' as $$
declare gone integer;
begin
    delete from public.chats where "user" = auth.uid();
    get diagnostics gone = row_count;
    return gone;
end $$;
revoke execute on function public.delete_my_chats() from public, anon;

alter table public.profiles enable row level security;
alter table public.admins enable row level security;
alter table public.chats enable row level security;
alter table public.messages enable row level security;
alter table public.announcements enable row level security;

create policy "own profile" on public.profiles for all to authenticated using (id = (select auth.uid()));
create policy "own admin row" on public.admins for select using (user_id = (select auth.uid()));
create policy "own chats, or admin" on public.chats for select to authenticated
    using ("user" = (select auth.uid()) or exists (select from public.admins as a where a.user_id = (select auth.uid())));
create policy "open a chat" on public.chats for insert to authenticated with check ((select auth.uid()) is not null);
create policy "read messages" on public.messages for select to authenticated using (
    public.is_admin() or chat_id in (select id from public.chats where "user" = (select auth.uid()))
);
create policy "send messages" on public.messages for insert to authenticated with check (
    sender = 'user' and chat_id in (select id from public.chats where "user" = (select auth.uid()))
);
create policy "own feedback" on public.feedback for insert with check ("user" = (select auth.uid()));
create policy "published" on public.announcements for select using (is_published);
create policy "editors publish" on public.announcements for update to authenticated
    using (((select auth.jwt()) -> 'user_metadata' ->> 'is_editor') = 'true');
create policy "owners remove" on public.announcements for delete to authenticated
    using (((select auth.jwt()) -> 'app_metadata' ->> 'role') = 'owner');

-- Companion chats: people talk to the characters of a public catalogue.
-- Own-row policies as tutorials have them, one message counter, and an index on what the counter changes.

create table public.profiles (
    id uuid primary key references auth.users (id) on delete cascade,
    email text not null,
    display_name text,
    credits integer not null default 20,
    created_at timestamptz not null default now()
);

create table public.characters (
    id uuid primary key default gen_random_uuid(),
    title text not null,
    emoji text not null,
    opening_message text not null,
    is_published boolean not null default false,
    created_at timestamptz not null default now()
);

create table public.chats (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.profiles (id) on delete cascade,
    character_id uuid not null references public.characters (id),
    title text,
    message_count integer not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table public.chat_messages (
    id uuid primary key default gen_random_uuid(),
    chat_id uuid not null references public.chats (id) on delete cascade,
    role text not null check (role in ('user', 'assistant')),
    content text not null,
    created_at timestamptz not null default now()
);

create index chats_user_id_updated_at_idx on public.chats (user_id, updated_at);
create index chats_user_id_idx on public.chats (user_id);
create index chat_messages_chat_id_created_at_idx on public.chat_messages (chat_id, created_at);

create function public.handle_new_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.profiles (id, email) values (new.id, new.email);
    return new;
end;
$$;

create trigger on_auth_user_created
after insert on auth.users
for each row execute function public.handle_new_user();

create function public.count_message() returns trigger
language plpgsql
as $$
begin
    update public.chats
    set message_count = message_count + 1,
        updated_at = now()
    where id = new.chat_id;
    return new;
end;
$$;

create trigger chat_messages_count
after insert on public.chat_messages
for each row execute function public.count_message();

alter table public.profiles enable row level security;
alter table public.characters enable row level security;
alter table public.chats enable row level security;
alter table public.chat_messages enable row level security;

create policy "Profiles are viewable by everyone" on public.profiles
    for select using (true);
create policy "Users can update own profile" on public.profiles
    for update using (auth.uid() = id);
create policy "Published characters are public" on public.characters
    for select using (is_published);
create policy "Own chats" on public.chats
    for all using (auth.uid() = user_id);
create policy "Own messages" on public.chat_messages
    for select using (
        exists (select 1 from public.chats where chats.id = chat_messages.chat_id and chats.user_id = auth.uid())
    );
create policy "Write into own chats" on public.chat_messages
    for insert with check (
        exists (select 1 from public.chats where chats.id = chat_messages.chat_id and chats.user_id = auth.uid())
    );

-- A group chat for courses: conversations with members, messages of authors, reactions and attachments.
-- Membership is asked by an own definer function; messages can be edited; some keys have no index.

create table public.conversations (
    id uuid primary key default gen_random_uuid(),
    title text,
    is_group boolean not null default true,
    created_by uuid references auth.users (id) on delete set null,
    created_at timestamptz not null default now()
);

create table public.conversation_members (
    conversation_id uuid not null references public.conversations (id) on delete cascade,
    user_id uuid not null references auth.users (id) on delete cascade,
    role text not null default 'member' check (role in ('owner', 'member')),
    joined_at timestamptz not null default now(),
    primary key (conversation_id, user_id)
);

create table public.messages (
    id bigint generated always as identity primary key,
    conversation_id uuid not null references public.conversations (id) on delete cascade,
    author_id uuid references auth.users (id) on delete set null,
    body text not null check (char_length(body) between 1 and 2000),
    created_at timestamptz not null default now(),
    edited_at timestamptz
);

create table public.message_reactions (
    message_id bigint not null references public.messages (id) on delete cascade,
    user_id uuid not null references auth.users (id) on delete cascade,
    emoji text not null,
    primary key (message_id, user_id, emoji)
);

create table public.attachments (
    message_id bigint not null references public.messages (id) on delete cascade,
    position integer not null,
    url text not null,
    primary key (message_id, position)
);

create index messages_conversation_id_idx on public.messages (conversation_id, id);
create index messages_author_id_idx on public.messages (author_id) where author_id is not null;

create function public.is_member(chat uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.conversation_members
        where conversation_id = chat and user_id = (select auth.uid())
    );
$$;

revoke execute on function public.is_member(uuid) from public, anon;

alter table public.conversations enable row level security;
alter table public.conversation_members enable row level security;
alter table public.messages enable row level security;
alter table public.message_reactions enable row level security;
alter table public.attachments enable row level security;

create policy "members see the conversation" on public.conversations
    for select to authenticated using (public.is_member(id));
create policy "anybody starts one" on public.conversations
    for insert to authenticated with check (created_by = (select auth.uid()));
create policy "members see each other" on public.conversation_members
    for select to authenticated using (public.is_member(conversation_id));
create policy "members read" on public.messages
    for select to authenticated using (public.is_member(conversation_id));
create policy "members write" on public.messages
    for insert to authenticated with check (author_id = (select auth.uid()) and public.is_member(conversation_id));
create policy "authors edit" on public.messages
    for update to authenticated using (author_id = (select auth.uid()));
create policy "own reactions" on public.message_reactions
    for all to authenticated using (user_id = (select auth.uid()));
create policy "members see attachments" on public.attachments
    for select to authenticated using (
        exists (select from public.messages as m where m.id = attachments.message_id and public.is_member(m.conversation_id))
    );

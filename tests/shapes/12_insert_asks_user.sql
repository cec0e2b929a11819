-- A language exchange: learners pick a topic and chat with a model; the team has thought of much.
-- The one hole: who inserts is asked for the user alone, and a trigger fills the owner only where it is missing.

create table public.topics (
    id integer generated always as identity primary key,
    slug text not null unique,
    title text not null,
    position integer not null unique,
    is_active boolean not null default true,
    updated_at timestamptz not null default now()
);
create unique index topics_title_key on public.topics (lower(title));

create table public.chat_sessions (
    id uuid primary key default gen_random_uuid(),
    owner_id uuid not null references auth.users (id) on update cascade on delete restrict,
    topic_id integer not null references public.topics (id) on update cascade on delete restrict,
    is_completed boolean not null default false,
    started_at timestamptz not null default now(),
    completed_at timestamptz,
    check (is_completed = (completed_at is not null)),
    check (completed_at >= started_at)
);
create index chat_sessions_owner_topic_idx on public.chat_sessions (owner_id, topic_id, completed_at);
create index chat_sessions_topic_idx on public.chat_sessions (topic_id) where topic_id is not null;

create table public.chat_messages (
    id bigint generated always as identity primary key,
    session_id uuid not null references public.chat_sessions (id) on update restrict on delete restrict,
    owner_id uuid not null references auth.users (id) on update restrict on delete restrict,
    role text not null default 'user' check (role in ('user', 'model')),
    status text not null default 'complete' check (status in ('streaming', 'complete')),
    content text not null check (length(content) <= 8000),
    client_message_id uuid,
    created_at timestamptz not null default clock_timestamp()
);
create index chat_messages_session_idx on public.chat_messages (session_id, id);
create index chat_messages_owner_idx on public.chat_messages (owner_id);
create unique index chat_messages_client_key on public.chat_messages (session_id, client_message_id)
where client_message_id is not null;

create function public.date_change() returns trigger language plpgsql set search_path = '' as $$
begin
    new.updated_at := now();
    return new;
end $$;
create trigger topics_dated before update on public.topics for each row execute function public.date_change();

create function public.date_completion() returns trigger language plpgsql set search_path = '' as $$
begin
    new.completed_at := case when new.is_completed then clock_timestamp() end;
    return new;
end $$;
create trigger chat_sessions_completion before insert or update of is_completed on public.chat_sessions
for each row execute function public.date_completion();

create function public.admit_message() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    perform from public.chat_sessions where id = new.session_id and not is_completed for share;
    if not found then
        raise exception 'this session is completed';
    end if;
    if new.owner_id is null then
        new.owner_id := (select s.owner_id from public.chat_sessions as s where s.id = new.session_id);
    end if;
    if (select count(*) from public.chat_messages as m
        where m.owner_id = new.owner_id and m.created_at > now() - interval '1 minute') >= 20 then
        raise exception 'too many messages' using errcode = 'PT429', hint = 'rate limit';
    end if;
    return new;
end $$;
create trigger chat_messages_admit before insert on public.chat_messages for each row execute function public.admit_message();

create function public.refuse_rewrite() returns trigger language plpgsql set search_path = '' as $$
begin
    raise exception 'a message cannot be rewritten';
end $$;
create trigger chat_messages_stay after update of content on public.chat_messages
for each row execute function public.refuse_rewrite();

revoke all on public.topics, public.chat_sessions, public.chat_messages from anon, authenticated;
grant select on public.topics to anon, authenticated;
grant select, insert (owner_id, topic_id), delete on public.chat_sessions to authenticated;
grant select, insert (session_id, owner_id, content, client_message_id) on public.chat_messages to authenticated;

alter table public.topics enable row level security;
alter table public.chat_sessions enable row level security;
alter table public.chat_messages enable row level security;

create policy topics_active on public.topics for select using (is_active is true);
create policy sessions_own on public.chat_sessions
    for select to authenticated using (owner_id = (select auth.uid()));
create policy sessions_start on public.chat_sessions
    for insert to authenticated with check (owner_id = (select auth.uid()));
create policy sessions_drop_open on public.chat_sessions
    for delete to authenticated using (owner_id = (select auth.uid()) and is_completed = false);
create policy messages_own on public.chat_messages
    for select to authenticated using (owner_id = (select auth.uid()));
create policy messages_write on public.chat_messages
    for insert to authenticated with check (owner_id = (select auth.uid()));

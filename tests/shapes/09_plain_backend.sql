-- A study helper behind a FastAPI backend: users, chat sessions and their turns, migrated by Alembic.
-- Plain PostgreSQL: SERIAL keys, roles in a check, no row-level security, and nothing granted to the API's roles.

create extension citext schema extensions;

alter default privileges in schema public revoke all on tables from anon, authenticated, service_role;
alter default privileges in schema public revoke all on sequences from anon, authenticated, service_role;
alter default privileges in schema public revoke all on functions from anon, authenticated, service_role;

create table public.alembic_version (
    version_num varchar(32) primary key
);

create table public.users (
    id serial primary key,
    email extensions.citext not null unique,
    hashed_password varchar(255) not null,
    is_superuser boolean not null default false,
    created_at timestamptz not null default now()
);

create table public.chat_sessions (
    id serial primary key,
    user_id integer not null references public.users (id),
    title varchar(120),
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    last_turn_at timestamptz not null default now()
);

create table public.turns (
    id serial primary key,
    session_id integer not null references public.chat_sessions (id) on delete cascade,
    role text not null check (role in ('student', 'ai', 'system')),
    text text not null,
    timestamp timestamptz not null default now()
);

create index ix_chat_sessions_last_turn_at on public.chat_sessions (last_turn_at);
create index ix_turns_session_id on public.turns (session_id, id);

create function public.touch_session() returns trigger
language plpgsql
as $$
begin
    update chat_sessions set last_turn_at = new.timestamp where id = new.session_id;
    return null;
end;
$$;

create trigger turns_touch_session
after insert on public.turns
for each row execute function public.touch_session();

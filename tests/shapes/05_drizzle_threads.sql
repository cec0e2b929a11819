-- A chat with a model on a backend of its own: better-auth's user table, threads, messages and their deltas by Drizzle.
-- SERIAL keys, no foreign key between messages and threads, row-level security switched on without any policy.

create schema drizzle;

create table drizzle.__drizzle_migrations (
    id serial primary key,
    hash text not null,
    created_at bigint
);

create table public."user" (
    id text primary key,
    name text not null,
    email text not null unique,
    email_verified boolean not null default false,
    created_at timestamp not null default now()
);

create table public.verification (
    identifier text not null,
    value text not null,
    expires_at timestamp not null
);

create table public.threads (
    id serial primary key,
    user_id text not null references public."user" (id) on delete cascade,
    title varchar(200),
    archived boolean not null default false,
    created_at timestamp not null default now()
);

create table public.messages (
    id serial primary key,
    thread_id integer not null,
    role varchar(20) not null,
    content text not null,
    model varchar(60),
    created_at timestamp not null default now()
);

create table public.message_deltas (
    message_id integer not null references public.messages (id) on delete cascade,
    seq integer not null,
    content text not null,
    primary key (message_id, seq)
);

create index messages_thread_id_idx on public.messages (thread_id);

alter table public."user" enable row level security;
alter table public.verification enable row level security;
alter table public.threads enable row level security;
alter table public.messages enable row level security;
alter table public.message_deltas enable row level security;

-- Short dialogues with characters of a public catalogue, made in a hurry by somebody who quotes everything.
-- A table called "messages (", columns such as "userId", a policy with quotes in its name; goose keeps the history.

create table public.goose_db_version (
    id serial primary key,
    version_id bigint not null,
    is_applied boolean not null,
    tstamp timestamp default now()
);

create table public.characters (
    id uuid primary key default gen_random_uuid(),
    code text not null unique,
    title text not null,
    emoji text not null check (char_length(emoji) between 1 and 16),
    "isActive" boolean not null default true,
    "sortOrder" integer not null unique,
    updated_at timestamptz not null default now(),
    unique (title)
);

create table public.dialogues (
    id uuid primary key default gen_random_uuid(),
    "userId" uuid not null references auth.users (id) on delete cascade,
    "characterId" uuid not null references public.characters (id),
    "turnCount" integer not null default 0 check ("turnCount" >= 0),
    "createdAt" timestamptz not null default now()
);

create table public."messages (" (
    id uuid primary key default gen_random_uuid(),
    "dialogueId" uuid not null references public.dialogues (id) on delete cascade,
    "userId" uuid not null references auth.users (id) on delete cascade,
    author text not null check (author in ('human', 'bot')),
    body text not null,
    "createdAt" timestamptz not null default now()
);

create index "dialogues (userId, characterId)" on public.dialogues ("userId", "characterId");
create index "messages ( page" on public."messages (" ("dialogueId", "createdAt", id);

create function public."countTurn"() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update public.dialogues set "turnCount" = "turnCount" + 1 where id = new."dialogueId";
    return null;
end;
$$;
create trigger "countTurn" after insert on public."messages ("
for each row execute function public."countTurn"();

create function public.set_updated_at() returns trigger
language plpgsql
as $$
begin
    new.updated_at = now();
    return new;
end;
$$;
create trigger characters_updated_at before update on public.characters
for each row execute function public.set_updated_at();

alter table public.goose_db_version enable row level security;
alter table public.characters enable row level security;
alter table public.dialogues enable row level security;
alter table public."messages (" enable row level security;

create policy "all characters" on public.characters for select to anon, authenticated using (true);
create policy "own dialogues" on public.dialogues for select using ("userId" = auth.uid());
create policy "start (own)" on public.dialogues for insert with check ("userId" = (select auth.uid()));
create policy "own ""lines""" on public."messages (" for select using ("userId" = (select auth.uid()));
create policy "say" on public."messages (" for insert with check (
    "userId" = (select auth.uid()) and author = 'human'
    and exists (select from public.dialogues as d where d.id = "dialogueId" and d."userId" = (select auth.uid()))
);

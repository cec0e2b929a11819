-- A grammar trainer: learners hold dialogues with an agent, turn by turn; authors write the lessons.
-- An own function stands for auth.uid(), restrictive policies close what permissive ones open, roles stand in a table.

create table public.learners (
    id uuid primary key references auth.users (id) on update cascade on delete restrict,
    nickname text not null,
    plan text not null default 'free',
    deleted_at timestamptz
);

create table public.lessons (
    id integer generated always as identity primary key,
    author_id uuid not null references public.learners (id),
    title text not null unique,
    body text not null
);

create table public.dialogues (
    id uuid primary key default gen_random_uuid(),
    learner_id uuid not null references public.learners (id),
    lesson_id integer references public.lessons (id),
    topic text,
    begun_at timestamptz not null default now()
);

create table public.turn_roles (name text primary key);

create table public.dialogue_turns (
    dialogue_id uuid not null references public.dialogues (id) on delete cascade,
    position integer not null,
    role text not null references public.turn_roles (name),
    content text not null,
    state text not null default 'done',
    created_at timestamptz not null default now(),
    primary key (dialogue_id, position)
);

create index lessons_author_idx on public.lessons (author_id);
create index dialogues_learner_lesson_idx on public.dialogues (learner_id, lesson_id);
create index dialogues_lesson_idx on public.dialogues (lesson_id);
create index dialogue_turns_role_idx on public.dialogue_turns (role);

create function public.current_learner_id() returns uuid
language sql
stable
as $$ select auth.uid() $$;

create function public.rename_dialogue(dialogue uuid, new_topic text) returns void
language sql
security definer
set search_path = ''
as $$
    update public.dialogues set topic = new_topic where id = dialogue and learner_id = public.current_learner_id();
$$;
revoke execute on function public.rename_dialogue(uuid, text) from public, anon;

alter table public.learners enable row level security;
alter table public.lessons enable row level security;
alter table public.dialogues enable row level security;
alter table public.turn_roles enable row level security;
alter table public.dialogue_turns enable row level security;
alter table public.learners force row level security;

create policy learners_own on public.learners
    for select to authenticated using (id = public.current_learner_id());
create policy learners_edit on public.learners
    for update to authenticated using (id = (select public.current_learner_id())) with check (true);

create policy lessons_read on public.lessons for select using (true);
create policy lessons_edit on public.lessons for update to authenticated using (true);
create policy lessons_only_authors on public.lessons
    as restrictive for update to authenticated using (author_id = (select auth.uid()));

create policy dialogues_all on public.dialogues for all to authenticated using (true);
create policy dialogues_only_own on public.dialogues
    as restrictive for all to authenticated using (learner_id = (select public.current_learner_id()));

create policy roles_read on public.turn_roles for select using (true);

create policy turns_read on public.dialogue_turns
    for select to authenticated using (
        exists (select from public.dialogues as d where d.id = dialogue_id and d.learner_id = public.current_learner_id())
    );
create policy turns_write on public.dialogue_turns for insert to authenticated with check (true);
create policy turns_not_blank on public.dialogue_turns
    as restrictive for insert to authenticated with check (content <> '');

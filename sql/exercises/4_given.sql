-- Exercise 4: a learner may ask for three hints.

create table public.hints (
    id bigint generated always as identity primary key,
    user_id uuid not null references public.profiles (id) on delete cascade on update restrict,
    used_at timestamptz not null default now()
);
alter table public.hints owner to workbook_owner;
comment on table public.hints is 'Hints that a learner has asked for.';
create index hints_user_id_idx on public.hints (user_id);

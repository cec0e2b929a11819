-- Exercise 10: word lists that learners share. Each list has a hundred words, and Anna is a member of two.

create table public.list_members (
    list_id integer not null,
    user_id uuid not null references public.profiles (id) on delete cascade on update restrict,
    constraint list_members_pkey primary key (user_id, list_id)
);
alter table public.list_members owner to workbook_owner;
comment on table public.list_members is 'Who shares which word list.';
alter table public.list_members enable row level security;
create policy list_members_select_own on public.list_members
    for select to authenticated using (user_id = (select auth.uid()));
grant select on public.list_members to authenticated;

create table public.words (
    id integer generated always as identity primary key,
    list_id integer not null,
    word text not null
);
alter table public.words owner to workbook_owner;
comment on table public.words is 'The words of the lists.';
create index words_list_id_idx on public.words (list_id);
alter table public.words enable row level security;
grant select on public.words to authenticated;

create policy words_select_shared on public.words
    for select to authenticated
    using (
        exists (
            select
            from public.list_members
            where list_members.list_id = words.list_id
                and list_members.user_id = (select auth.uid())
        )
    );

insert into public.words (list_id, word)
select
    n % 200 + 1,
    'Wort ' || n
from generate_series(1, 20000) as n;
insert into public.list_members (list_id, user_id)
select
    list.number,
    profiles.id
from public.profiles
cross join unnest('{7,77,140}'::integer[]) as list (number)
where (profiles.email = 'anna@example.org') = (list.number < 100);
analyze public.words, public.list_members;

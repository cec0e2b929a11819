-- Exercise 1: row-level security with one question per query, and an index that answers it.

alter table public.bookmarks enable row level security;

create policy bookmarks_select_own on public.bookmarks
    for select to authenticated using (user_id = (select auth.uid()));
create policy bookmarks_insert_own on public.bookmarks
    for insert to authenticated with check (user_id = (select auth.uid()));
create policy bookmarks_delete_own on public.bookmarks
    for delete to authenticated using (user_id = (select auth.uid()));

create index bookmarks_user_id_idx on public.bookmarks (user_id);

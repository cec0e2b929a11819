-- Issue 35 as proposed: the columns that the review names, and its filter on profiles.

alter table public.profiles add column deleted_at TIMESTAMPTZ NULL;
alter table public.messages add column deleted_at TIMESTAMPTZ NULL, add column deleted_reason TEXT NULL;

drop policy profiles_select_own_authenticated on public.profiles;
create policy profiles_select_own_authenticated on public.profiles
    for select to authenticated using (auth.uid() = id and deleted_at IS NULL);

-- Issue 5 as proposed: the column goes.

alter table public.sessions drop column created_at;

-- The limit: no row-level security, and the query says whose messages it wants.
alter table public.messages disable row level security;
alter table public.messages no force row level security;

-- 53 · B7 · The default grants include TRUNCATE
-- Locks: nothing that a query waits for.
-- Repairs: nothing.

begin;

set local lock_timeout = '5s';

-- Row-level security does not see TRUNCATE, and nobody's app needs REFERENCES or TRIGGER. Everything is taken back, and
-- what each role needs is given again; data/privileges.csv says the same, and a notebook compares the two.
revoke all on
    public.profiles,
    public.scenarios,
    public.public_scenarios,
    public.sessions,
    public.messages,
    public.messages_archive,
    public.message_chunks,
    public.logs,
    public.event_types
from public, anon, authenticated, service_role;

grant select (id, code, title, emoji, sort_order, is_active) on public.scenarios to anon;
grant select on public.public_scenarios to anon, authenticated, service_role;

grant select on
    public.profiles, public.scenarios, public.sessions, public.messages, public.message_chunks, public.logs
to authenticated;
grant insert (user_id, scenario_id), update (is_completed), delete on public.sessions to authenticated;
grant insert (session_id, role, chat_type, content, client_message_id) on public.messages to authenticated;

grant select, insert, update, delete on
    public.profiles,
    public.scenarios,
    public.sessions,
    public.messages,
    public.messages_archive,
    public.message_chunks,
    public.logs,
    public.event_types
to service_role;

revoke all on sequence public.scenarios_id_seq from public, anon, authenticated, service_role;
grant usage on sequence public.scenarios_id_seq to service_role;

-- A table made tomorrow is closed to clients until somebody opens it.
alter default privileges in schema public revoke all on tables from anon, authenticated, service_role;
alter default privileges in schema public grant select, insert, update, delete on tables to service_role;
alter default privileges in schema public revoke all on sequences from anon, authenticated, service_role;
alter default privileges in schema public grant usage on sequences to service_role;

commit;

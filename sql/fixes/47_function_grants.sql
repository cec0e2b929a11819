-- 47 · B1 · Anyone may call the maintenance functions
-- Locks: nothing that a query touches.
-- Repairs: nothing.
-- Clients: a function made from here on is closed to clients until it is granted (42501).

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- The fixes before have closed each function that they restated. Here all of them, by name, for the record.
revoke all on function
    public.archive_old_messages(integer, integer),
    public.delete_expired_sessions(),
    public.delete_old_logs(),
    public.erase_user(uuid),
    public.finalize_message(uuid),
    public.forget_addresses(),
    public.reset_weekly_limits(integer)
from public, anon, authenticated;
grant execute on function
    public.archive_old_messages(integer, integer),
    public.delete_expired_sessions(),
    public.delete_old_logs(),
    public.erase_user(uuid),
    public.finalize_message(uuid),
    public.forget_addresses(),
    public.reset_weekly_limits(integer)
to service_role;

-- A function made tomorrow: PostgreSQL itself lets everybody execute it, and the platform's defaults name two roles more.
-- What PostgreSQL grants by itself can only be taken back for all schemas at once.
alter default privileges revoke execute on functions from public;
alter default privileges in schema public revoke execute on functions from anon, authenticated;

commit;

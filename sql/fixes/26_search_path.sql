-- 26 · SECURITY DEFINER functions do not lock search_path
-- Locks: nothing that a query touches; the functions are replaced.
-- Repairs: nothing.
-- Clients: no client calls delete_old_logs() any more; the team's triggers say private.update_updated_at_column().

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- The last function that runs as its owner with whatever search_path its caller has; the fixes before have restated
-- the others. An empty one looks nothing up, but for temporary tables and types: those come first, always. So every name
-- of a table or type inside says its schema, pg_catalog too; keywords such as integer cannot be mistaken.
select private.require_plain_function('public.delete_old_logs()');
create or replace function public.delete_old_logs() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    deleted_count integer;
begin
    delete from public.logs
    where created_at < now() - interval '30 days';
    get diagnostics deleted_count = row_count;

    insert into public.logs (level, event_type, metadata)
    values ('info', 'cleanup_job_executed', jsonb_build_object('deleted_logs', deleted_count));
    return deleted_count;
end;
$$;
comment on function public.delete_old_logs() is
'Deletes logs over 30 days old (issue 26).';
revoke all on function public.delete_old_logs() from public, anon, authenticated;

-- It runs as whoever writes the row, so nobody gains by it. It has no business in the API all the same.
alter function public.update_updated_at_column() set schema private;
-- Two triggers call it, and go by one name each from here on.
do $$
declare
    caller record;
begin
    for caller in
        select relation.relname, pg_trigger.tgname
        from pg_trigger
        join pg_class as relation on relation.oid = tgrelid
        where tgfoid = 'private.update_updated_at_column()'::regprocedure
            and tgrelid in ('public.profiles'::regclass, 'public.sessions'::regclass)
            and tgname <> format('update_%s_updated_at', relation.relname)
    loop
        execute format('alter trigger %I on public.%I rename to update_%s_updated_at', caller.tgname, caller.relname, caller.relname);
    end loop;
end;
$$;
alter function private.update_updated_at_column() set search_path = '';
revoke all on function private.update_updated_at_column() from public, anon, authenticated, service_role;
comment on function private.update_updated_at_column() is
'Dates a changed row in updated_at.';

commit;

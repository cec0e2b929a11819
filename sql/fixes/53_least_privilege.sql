-- 53 · B7 · The default grants include TRUNCATE
-- Locks: profiles, scenarios, sessions, messages, messages_archive, message_chunks, logs and event_types, SHARE ROW EXCLUSIVE, for a
-- moment: no row is read. Writes wait, reads do not.
-- Repairs: nothing.
-- Clients: TRUNCATE is refused (42501), also to the backend; a visitor gets an error instead of no rows; a table made from here
-- on is closed to clients until it is granted.

begin;

set local statement_timeout = 0;
set local row_security = off;
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

-- A second lock behind the privilege, as in private.refuse_client(): only the owner empties a table.
create function private.refuse_truncate() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if not pg_has_role(current_user, (select relowner from pg_catalog.pg_class where pg_class.oid = tg_relid), 'usage') then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format('only the owner of %s may empty it', tg_table_name),
            detail = format('role %s', current_user),
            hint = 'Delete the rows that have to go.';
    end if;
    return null;
end;
$$;
comment on function private.refuse_truncate() is
'Keeps everybody but a table''s owner from emptying it, also who has been granted TRUNCATE (B7).';
revoke all on function private.refuse_truncate() from public, anon, authenticated, service_role;

do $$
declare
    ours constant text[] := array[
        'event_types', 'logs', 'message_chunks', 'messages', 'messages_archive', 'profiles', 'scenarios', 'sessions'
    ];
    our text;
    unguarded text;
begin
    foreach our in array ours loop
        if not (select relrowsecurity from pg_class where oid = format('public.%I', our)::regclass) then
            execute format('alter table public.%I enable row level security', our);
            raise notice 'row-level security was off on %, and is on now', our;
        end if;
        execute format(
            'create trigger %1$s_refuse_truncate before truncate on public.%1$s '
            'for each statement execute function private.refuse_truncate()',
            our
        );
        execute format(
            'comment on trigger %1$s_refuse_truncate on public.%1$s is %2$L',
            our, 'Row-level security does not see TRUNCATE (B7).'
        );
    end loop;

    select string_agg(relname, ', ' order by relname)
    into unguarded
    from pg_class
    where relnamespace = 'public'::regnamespace
        and relkind in ('r', 'p')
        and not relrowsecurity;
    if unguarded is not null then
        raise notice 'tables of your own have no row-level security, so their privileges alone guard them: %', unguarded;
    end if;
end;
$$;

-- What the fixes found v1's objects by has done its work.
drop function
    private.drop_triggers(regclass, regprocedure),
    private.find_constraint(regclass, text),
    private.name_constraint(regclass, text, name),
    private.drop_foreign_key(regclass, text, text),
    private.require_plain_function(regprocedure),
    private.require_plain_view(regclass, boolean),
    private.dependants(regclass, name, boolean),
    private.require_no_dependants(regclass, name, boolean),
    private.drop_index(regclass, text, name),
    private.policy_rule(text),
    private.drop_policies(regclass, text, regrole, text),
    private.require_no_other_policy(regclass, text[], name[]),
    private.grant_again(text, text, aclitem[], text);

commit;

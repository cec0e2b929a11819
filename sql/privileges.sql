-- Privileges: what v2 grants, and its triggers on auth.users; what a dump does not bring back
-- Generated from v2's catalog by `make refresh`: change a fix, not this file.
-- When: before a restore and again after it, as the owner of the schema; and at any other time, as often as you like.
-- Locks: nothing that a query waits for. Where a trigger is missing, auth.users, SHARE ROW EXCLUSIVE, for a moment; sign-ups
-- wait for it.
-- Repairs: privileges of the API roles on objects of v2. Other objects, and other roles, keep what they have.

begin;

set local lock_timeout = '5s';

-- --- Part 1, for what is yet to be made ----------------------------------------------------------------------------

-- A dump says what is granted. What the platform's defaults grant on top, to each object that the restore makes, it never
-- takes back.
alter default privileges revoke execute on functions from public;
alter default privileges in schema public revoke all on tables from public, anon, authenticated, service_role;
alter default privileges in schema public grant select, insert, update, delete on tables to service_role;
alter default privileges in schema public revoke all on sequences from public, anon, authenticated, service_role;
alter default privileges in schema public grant usage on sequences to service_role;
alter default privileges in schema public revoke all on functions from public, anon, authenticated, service_role;
alter default privileges in schema public grant execute on functions to service_role;

-- --- Part 2, for what is there -------------------------------------------------------------------------------------

do $$
declare
    relation record;
    keeping text[] := '{}';
    kept text;
begin
    if coalesce(
        to_regclass('public.event_types'),
        to_regclass('public.logs'),
        to_regclass('public.message_chunks'),
        to_regclass('public.messages'),
        to_regclass('public.messages_archive'),
        to_regclass('public.profiles'),
        to_regclass('public.scenarios'),
        to_regclass('public.sessions')
    ) is null then
        raise notice 'the tables of v2 are not here yet: run this file again when the restore is done';
        return;
    end if;

    for relation in
        select wanted.name, wanted.columns, class.oid, pg_get_userbyid(class.relowner) as owner
        from (values
            ('public.event_types', array['code', 'description', 'created_at']),
            ('public.logs', array['id', 'level', 'event_type', 'user_id', 'session_id', 'metadata', 'created_at', 'message']),
            ('public.message_chunks', array['message_id', 'seq', 'session_id', 'user_id', 'chat_type', 'content',
                'created_at']),
            ('public.messages', array['id', 'session_id', 'role', 'chat_type', 'content', 'sent_at', 'user_id', 'deleted_at',
                'deleted_reason', 'client_message_id']),
            ('public.messages_archive', array['id', 'session_id', 'user_id', 'role', 'chat_type', 'content', 'sent_at',
                'archived_at', 'deleted_at', 'deleted_reason', 'client_message_id']),
            ('public.profiles', array['id', 'email', 'completed_scenario_count', 'current_week_completion_count',
                'week_reset_date', 'created_at', 'updated_at', 'deleted_at']),
            ('public.scenarios', array['id', 'title', 'emoji', 'initial_message_main', 'initial_message_helper', 'is_active',
                'created_at', 'code', 'sort_order', 'updated_at']),
            ('public.sessions', array['id', 'user_id', 'scenario_id', 'is_completed', 'started_at', 'last_activity_at',
                'completed_at', 'message_count_main', 'message_count_helper', 'duration_seconds', 'updated_at', 'closed_at',
                'last_message_at']),
            ('public.public_scenarios', array['id', 'code', 'title', 'emoji', 'sort_order']),
            ('private.addresses_to_forget', array['user_id', 'email', 'noted_at']),
            ('private.repairs', array['issue', 'table_name', 'row_id', 'before', 'repaired_at']),
            ('private.completion_drift', array['user_id', 'completed_scenario_count', 'completed_sessions',
                'current_week_completion_count', 'completed_this_week']),
            ('private.timestamp_rules_broken', array['table_name', 'column_name', 'broken_rule'])
        ) as wanted (name, columns)
        left join pg_catalog.pg_class as class on class.oid = to_regclass(wanted.name)
        order by wanted.name
    loop
        if relation.oid is null then
            raise exception using
                errcode = 'undefined_table',
                message = format('%s is missing, so no privilege is set', relation.name),
                hint = 'Look for the first error of the restore, and restore again.';
        elsif relation.owner <> current_user then
            -- To anybody else a REVOKE may be a mere warning.
            raise exception using
                errcode = 'insufficient_privilege',
                message = format('%s belongs to %s, so no privilege is set', relation.name, relation.owner),
                hint = format('Run this file as %s.', relation.owner);
        end if;

        -- A column that a team has added keeps its grants: they would go with those of its table.
        keeping := keeping || array(
            select format(
                'grant %s (%I) on %s to %s%s',
                acl.privilege_type,
                attribute.attname,
                relation.name,
                coalesce(quote_ident(api.rolname), 'public'),
                case when acl.is_grantable then ' with grant option' end
            )
            from pg_catalog.pg_attribute as attribute
            cross join aclexplode(attribute.attacl) as acl
            left join pg_catalog.pg_roles as api on api.oid = acl.grantee
            where attribute.attrelid = relation.oid
                and not attribute.attisdropped
                and attribute.attname <> all (relation.columns)
                and coalesce(api.rolname, 'public') in ('public', 'anon', 'authenticated', 'service_role')
        );
    end loop;

    -- Everything is taken back, and what each role needs is given again.
    revoke all on table
        public.event_types,
        public.logs,
        public.message_chunks,
        public.messages,
        public.messages_archive,
        public.profiles,
        public.scenarios,
        public.sessions,
        public.public_scenarios,
        private.addresses_to_forget,
        private.repairs,
        private.completion_drift,
        private.timestamp_rules_broken
    from public, anon, authenticated, service_role;
    revoke all on sequence
        public.scenarios_id_seq
    from public, anon, authenticated, service_role;
    revoke all on function
        public.archive_old_messages(integer, integer),
        public.delete_expired_sessions(),
        public.delete_old_logs(),
        public.erase_user(uuid),
        public.finalize_message(uuid),
        public.forget_addresses(),
        public.reset_weekly_limits(integer),
        private.admit_message(),
        private.admit_or_refuse(public.messages, boolean, boolean),
        private.blanks(regclass, name[]),
        private.calling_user(),
        private.check_message_chunk(),
        private.close_sessions(),
        private.count_completion(),
        private.count_message(public.messages, boolean),
        private.count_waiting(),
        private.create_log_partition(timestamp with time zone, boolean),
        private.create_profile_for_new_user(),
        private.delete_sessions(uuid[], timestamp with time zone),
        private.drop_old_logs(),
        private.duration_in_seconds(timestamp with time zone, timestamp with time zone),
        private.ensure_log_partitions(),
        private.erase_account(uuid),
        private.erase_rows(regclass, name[], text, uuid, uuid[], text),
        private.expire_sessions(),
        private.forget_addresses(),
        private.forget_in_logs(text[]),
        private.hold_account(),
        private.is_called_by_client(),
        private.keep_chunk(),
        private.keep_message(),
        private.keep_profile_email(),
        private.keep_session_user(),
        private.lock_reply(uuid),
        private.log_partitions(),
        private.move_old_messages(integer, integer),
        private.next_week_reset(timestamp with time zone),
        private.not_referred_to(regclass, text, text),
        private.refuse_client(),
        private.refuse_closed(uuid),
        private.refuse_truncate(),
        private.require_account(uuid),
        private.reset_weeks(integer),
        private.retire_account(uuid, text),
        private.retire_profile(),
        private.run_job(text, text, text),
        private.set_profile_address(uuid, text, boolean),
        private.set_session_completion(),
        private.sync_profile_email(),
        private.update_updated_at_column(),
        private.week_start(timestamp with time zone),
        private.write_counts()
    from public, anon, authenticated, service_role;
    revoke all on procedure
        private.run_weekly_reset(integer)
    from public, anon, authenticated, service_role;

    grant select, insert, update, delete on public.event_types to service_role;
    grant select on public.logs to authenticated;
    grant select, insert, update, delete on public.logs to service_role;
    grant select on public.message_chunks to authenticated;
    grant select, insert, update, delete on public.message_chunks to service_role;
    grant select, insert (session_id, role, chat_type, content, client_message_id) on public.messages to authenticated;
    grant select, insert, update, delete on public.messages to service_role;
    grant select, insert, update, delete on public.messages_archive to service_role;
    grant select on public.profiles to authenticated;
    grant select, insert, update, delete on public.profiles to service_role;
    grant select on public.scenarios to authenticated;
    grant select, insert, update, delete on public.scenarios to service_role;
    grant select (id, title, emoji, is_active, code, sort_order) on public.scenarios to anon;
    grant select, delete, insert (user_id, scenario_id), update (is_completed) on public.sessions to authenticated;
    grant select, insert, update, delete on public.sessions to service_role;
    grant select on public.public_scenarios to anon;
    grant select on public.public_scenarios to authenticated;
    grant select on public.public_scenarios to service_role;
    grant usage on sequence public.scenarios_id_seq to service_role;
    grant execute on function public.archive_old_messages(integer, integer) to service_role;
    grant execute on function public.delete_expired_sessions() to service_role;
    grant execute on function public.delete_old_logs() to service_role;
    grant execute on function public.erase_user(uuid) to service_role;
    grant execute on function public.finalize_message(uuid) to service_role;
    grant execute on function public.forget_addresses() to service_role;
    grant execute on function public.reset_weekly_limits(integer) to service_role;

    foreach kept in array keeping loop
        execute kept;
    end loop;

    -- The partitions of logs, whatever their months are: row-level security is that of logs alone.
    for relation in
        select partition.relid::regclass as name
        from pg_partition_tree('public.logs') as partition
        where partition.level > 0
    loop
        execute format('revoke all on %s from public, anon, authenticated, service_role', relation.name);
    end loop;

    -- A schema private that a team has made before is shared: its own grants stay.
    if obj_description('private'::regnamespace, 'pg_namespace') =
        'Internal functions and tables of the Maraum schema. The API does not expose it, and no API role may use it.'
    then
        revoke all on schema private from public, anon, authenticated, service_role;
    end if;

    -- A dump of public and private leaves the history of migrations out.
    if to_regclass('supabase_migrations.schema_migrations') is not null then
        revoke all on supabase_migrations.schema_migrations from public, anon, authenticated, service_role;
        revoke all on schema supabase_migrations from public, anon, authenticated, service_role;
    end if;

    -- A dump of our schemas leaves the triggers on auth.users out: they belong to its table. Without them a sign-up
    -- makes no profile. A trigger that calls the same function at the same moment will do, whatever its name.
    if not exists (
        select
        from pg_catalog.pg_trigger
        where tgrelid = 'auth.users'::regclass
            and tgfoid = 'private.create_profile_for_new_user()'::regprocedure
            and tgtype = 5
    ) then
        create trigger on_auth_user_created
        after insert on auth.users
        for each row
        execute function private.create_profile_for_new_user();
    end if;
    if not exists (
        select
        from pg_catalog.pg_trigger
        where tgrelid = 'auth.users'::regclass
            and tgfoid = 'private.retire_profile()'::regprocedure
            and tgtype = 9
    ) then
        create trigger users_retire_profile
        after delete on auth.users
        for each row
        execute function private.retire_profile();
    end if;
    if not exists (
        select
        from pg_catalog.pg_trigger
        where tgrelid = 'auth.users'::regclass
            and tgfoid = 'private.sync_profile_email()'::regprocedure
            and tgtype = 17
    ) then
        create trigger users_sync_profile_email
        after update of email, deleted_at on auth.users
        for each row
        when (((new.email is distinct from old.email) or (new.deleted_at is distinct from old.deleted_at)))
        execute function private.sync_profile_email();
    end if;
end;
$$;

commit;

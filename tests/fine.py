"""Harmless variations of v2: other spellings of the same safeguard, in which the audit must find nothing.

Each says which rule might cry wolf; no other may either. The SQL runs as that of tests/breaks.py does. The issue's own check is
quiet too, but for those with seen_by_check=False: it is made for v2 and its words, and objects to what is as good elsewhere.
"""

from breaks import SECOND_OPTION, Variation, admission, by_owner, edited, job, respelled, retyped, sign_up, table, view

_OWN = "(select auth.uid())"
_ID = "id bigint generated always as identity primary key"
_WEEK = """create or replace function private.next_week_reset(at timestamptz) returns timestamptz
    language sql immutable strict parallel safe set search_path = '' as $$ select {} $$"""
_HISTORY = "drop schema supabase_migrations cascade;"
_NO_EMAIL = "alter table profiles drop constraint profiles_email_unique;"
_TEXT_TITLE = "alter table scenarios drop constraint scenarios_title_unique;"
_NO_PAGES = "drop index messages_session_id_sent_at_id_idx;"
_NO_HISTORY = "drop index sessions_user_id_scenario_id_completed_at_idx;"
_ANON = "alter policy scenarios_select_active_anon on scenarios using"
_NO_LIMIT = "alter table messages drop constraint messages_content_size_limit;"
_UPDATE_OWN = f"create policy profiles_update_own on profiles for update to authenticated using (id = {_OWN})"

FINE = [
    # --- General rules
    # The session's own policies are asked for whoever asks for the log.
    Variation(
        "policy_open",
        "through another table's policies",
        "alter policy logs_select_own on logs using (exists (select from sessions where sessions.id = session_id))",
    ),
    # --- Critical
    Variation(
        1,
        "one constraint the other way round",
        """alter table sessions drop constraint sessions_completion_consistent;
        alter table sessions add check ((completed_at is not null) = (is_completed is true))""",
    ),
    Variation(
        1,
        "one trigger for all",
        """drop trigger sessions_completion_by_client on sessions; drop trigger sessions_completion on sessions;
        create trigger a_completion before insert or update on sessions
            for each row execute function private.set_session_completion('client')""",
    ),
    Variation(
        2,
        "168 hours after the week's start",
        _WEEK.format("(date_trunc('week', at at time zone 'UTC') + interval '168 hours') at time zone 'UTC'"),
    ),
    Variation(2, "date_bin", _WEEK.format("date_bin('7 days', at, timestamptz '2001-01-01 00:00+00') + interval '168 hours'")),
    Variation(
        2,
        "date_trunc with its zone",
        _WEEK.format("(date_trunc('week', at, 'UTC') at time zone 'UTC' + interval '1 week') at time zone 'UTC'"),
    ),
    Variation(
        2,
        "hours of something else",
        by_owner("""create function private.is_idle(at timestamptz) returns boolean language sql stable
        set search_path = '' as 'select at < now() - interval ''168 hours'''"""),
    ),
    Variation(3, "a plain guard", admission()),
    Variation(3, "a lock for update", admission(lock="for update")),
    Variation(
        4,
        "fragments under other names",
        "alter table message_chunks rename to reply_parts;"
        "alter table reply_parts rename seq to position;"
        + respelled("message_chunks", "reply_parts")
        + respelled("seq", "position"),
        seen_by_check=False,
    ),
    Variation(
        4,
        "attachments beside them",
        table(
            "attachments",
            """message_id uuid not null
        references messages on update restrict on delete cascade, position integer not null, url text not null,
        primary key (message_id, position)""",
        ),
    ),
    Variation(
        6,
        "citext that nothing uses",
        """drop trigger profiles_keep_email on profiles;
        alter table profiles drop constraint profiles_email_unique;
        alter table profiles alter email type text;
        create unique index profiles_email_lower on profiles (lower(email));
        create trigger profiles_keep_email before insert or update of email on profiles
            for each row execute function private.keep_profile_email();
        drop extension citext; drop extension pgcrypto""",
        seen_by_check=False,
    ),
    Variation(
        7,
        "other moments",
        """alter table messages add updated_at timestamptz not null default now(), add edited_at timestamptz,
        add read_at timestamptz, add delivered_at timestamptz default now();
        alter table messages_archive add updated_at timestamptz, add edited_at timestamptz, add read_at timestamptz,
        add delivered_at timestamptz""",
    ),
    # --- Data integrity
    Variation(
        8,
        "two constraints and no first one",
        """alter table sessions drop constraint sessions_message_counts_non_negative;
        alter table sessions add check (message_count_main > -1), add check (0 <= message_count_helper);
        alter table sessions drop constraint sessions_completed_after_started;
        alter table sessions add check (not (completed_at < started_at))""",
    ),
    Variation(
        9,
        "the trigger has no condition",
        """drop trigger sessions_count_completed on sessions;
        create or replace function private.count_completion_once() returns trigger
        language plpgsql security definer set search_path = '' as $$ begin
            if new.is_completed and not old.is_completed then
                update public.profiles
                set completed_scenario_count = completed_scenario_count + 1,
                    current_week_completion_count
                    = case when week_reset_date <= now() then 0 else current_week_completion_count end
                    + (new.completed_at >= private.week_start(now()))::integer,
                    week_reset_date
                    = case when week_reset_date <= now() then private.next_week_reset(now()) else week_reset_date end
                where id = new.user_id;
            end if;
            return null;
        end $$;
        create trigger sessions_count_completed after update on sessions
            for each row execute function private.count_completion_once()""",
    ),
    Variation(
        11,
        "an else that raises",
        admission(
            count="""
        if new.chat_type = 'main' then
            update public.sessions set message_count_main = message_count_main + 1,
                last_message_at = case when new.role = 'user' then clock_timestamp() else last_message_at end
                where id = new.session_id;
        elsif new.chat_type = 'helper' then
            update public.sessions set message_count_helper = message_count_helper + 1,
                last_message_at = case when new.role = 'user' then clock_timestamp() else last_message_at end
                where id = new.session_id;
        else
            raise exception 'no counter counts %', new.chat_type;
        end if;"""
        ),
    ),
    Variation(
        12,
        "a domain",
        """drop trigger sessions_completion on sessions; drop trigger sessions_completion_by_client on sessions;
        alter table sessions drop constraint sessions_duration_non_negative;
        create domain private.seconds as integer check (value >= 0);
        alter table sessions alter duration_seconds type private.seconds;
        create trigger sessions_completion before insert or update on sessions for each row
            when (not row_security_active('public.sessions'::regclass)) execute function private.set_session_completion('server');
        create trigger sessions_completion_by_client before insert or update on sessions for each row
            when (row_security_active('public.sessions'::regclass)) execute function private.set_session_completion('client')""",
    ),
    Variation(
        13,
        "a look-up table",
        retyped(role="varchar(20)")
        + table("message_roles", "code varchar(20) primary key")
        + """insert into message_roles values ('user'), ('assistant');
        alter table messages add foreign key (role) references message_roles on update restrict;
        create index on messages (role)""",
    ),
    Variation(
        13,
        "a domain with its list",
        "create domain public.role_name as varchar check (value in ('user', 'assistant'));" + retyped(role="public.role_name"),
    ),
    Variation(
        15,
        "a domain",
        "create domain public.line as text check (char_length(value) <= 8000);"
        + _NO_LIMIT
        + "alter table messages alter content type public.line; alter table messages_archive alter content type public.line",
    ),
    Variation(15, "varchar", _NO_LIMIT + "alter table messages alter content type varchar(8000)"),
    Variation(15, "between", _NO_LIMIT + "alter table messages add check (length(content) between 0 and 8000)"),
    Variation(17, "without capitals", _TEXT_TITLE + "create unique index on scenarios (lower(title))"),
    # --- Performance
    Variation(
        18,
        "the owner on the right",
        f"""alter policy messages_select_own on messages using ({_OWN} = user_id and deleted_at is null);
        alter policy logs_select_own on logs using ({_OWN} = user_id)""",
    ),
    Variation(
        18,
        "the insert asks about the session too",
        f"""alter policy messages_insert_own on messages with check (
        user_id = {_OWN} and role = 'user' and exists (
            select from sessions where sessions.id = session_id and sessions.user_id = {_OWN}))""",
    ),
    Variation(18, "an index with the owner alone", "drop index messages_user_id_sent_at_idx; create index on messages (user_id)"),
    Variation(19, "oldest first", "drop index logs_session_id_created_at_idx; create index on logs (session_id, created_at)"),
    Variation(
        20,
        "the scenario first",
        _NO_HISTORY + "create index on sessions (scenario_id, user_id, completed_at)",
        seen_by_check=False,
    ),
    Variation(21, "newest first", _NO_PAGES + "create index on messages (session_id, sent_at desc, id desc)"),
    Variation(23, "jsonb_ops", "drop index logs_metadata_idx; create index on logs using gin (metadata)"),
    # --- Security
    Variation(24, "the service's own policy", "create policy logs_service on logs for insert to service_role with check (true)"),
    Variation(
        25,
        "a test with an @",
        sign_up(
            test="if new.email is null or new.email !~ '[^[:space:]]@' then raise exception 'an address is missing'; end if;",
            check="email::text like '%_@_%'",
        ),
    ),
    Variation(26, "pg_temp at the end", "alter function private.retire_profile() set search_path = pg_catalog, pg_temp"),
    Variation(
        27,
        "with check (false)",
        """grant insert on profiles to authenticated;
        create policy profiles_insert_none on profiles for insert to authenticated with check (false)""",
    ),
    Variation(
        27,
        "a restrictive policy",
        f"""grant insert, delete on profiles to authenticated;
        create policy profiles_insert_own on profiles for insert to authenticated with check (id = {_OWN});
        create policy profiles_delete_own on profiles for delete to authenticated using (id = {_OWN});
        create policy profiles_no_insert on profiles as restrictive for insert with check (false);
        create policy profiles_no_delete on profiles as restrictive for delete using (false)""",
    ),
    Variation(28, "is_active = true", f"{_ANON} (is_active = true)"),
    Variation(28, "is_active is true", f"{_ANON} (is_active is true)"),
    Variation(28, "active and more", f"{_ANON} (is_active and title <> '')"),
    # --- Scalability
    Variation(
        32,
        "a learner's own delete",
        by_owner(f"""create function public.delete_my_session(session uuid) returns integer
        language sql security invoker set search_path = '' as $$
            with gone as (delete from public.sessions where id = session and user_id = {_OWN} returning 1)
            select count(*)::integer from gone
        $$;
        grant execute on function public.delete_my_session(uuid) to authenticated"""),
    ),
    Variation(
        33,
        "another name for the archive",
        "alter table messages_archive rename to old_messages;" + respelled("messages_archive", "old_messages"),
        seen_by_check=False,
    ),
    # --- Design
    Variation(
        34,
        "serial, and no code",
        "alter table scenarios alter id drop identity; create sequence scenario_ids start 100;"
        "alter sequence scenario_ids owner to workbook_owner; alter sequence scenario_ids owned by scenarios.id;"
        "alter table scenarios alter id set default nextval('scenario_ids');"
        + view("alter table scenarios drop column code", columns="title, emoji, sort_order"),
        seen_by_check=False,
    ),
    Variation(34, "a code, and no serial", "alter table scenarios alter id drop identity", seen_by_check=False),
    Variation(
        36,
        "the review's second option",
        "create type public.role_name as enum ('user', 'main_assistant', 'helper_assistant');"
        + retyped(role="public.role_name", value=SECOND_OPTION)
        + "alter table messages add check (role = 'user' or role::text = chat_type::text || '_assistant');"
        + edited("public.finalize_message(uuid)", ("'assistant'", "(reply.chat_type || '_assistant')::public.role_name")),
        seen_by_check=False,
    ),
    Variation(
        36,
        "ai",
        "alter type message_role rename value 'assistant' to 'ai';"
        + edited("public.finalize_message(uuid)", ("'assistant'", "'ai'")),
        seen_by_check=False,
    ),
    Variation(
        37,
        "an AFTER trigger that raises",
        """drop trigger messages_immutable on messages;
        create function private.refuse_rewriting() returns trigger language plpgsql set search_path = '' as $$ begin
            if (new.content, new.role, new.chat_type, new.sent_at)
                is distinct from (old.content, old.role, old.chat_type, old.sent_at)
                and (new.content <> '' or new.deleted_at is null)
            then
                raise exception 'a message is never changed';
            end if;
            return null;
        end $$;
        create trigger messages_kept after update on messages for each row execute function private.refuse_rewriting()""",
    ),
    Variation(
        38,
        "position",
        view("alter table scenarios rename sort_order to position", columns="code, title, emoji, position"),
        seen_by_check=False,
    ),
    # The check asks for a comment; the audit does not.
    Variation(39, "no comment", "comment on column sessions.started_at is null", seen_by_check=False),
    Variation(
        39,
        "until, on, date",
        "alter table profiles add paid_until timestamptz, add born_on date, add trial_end_date timestamptz",
        seen_by_check=False,
    ),
    Variation(
        40,
        "set null",
        """alter table logs drop constraint logs_user_id_fkey;
        alter table logs add foreign key (user_id) references profiles on update set null on delete set null""",
    ),
    # --- Missing features
    Variation(
        41,
        "the scenario alone",
        "drop index sessions_scenario_id_is_completed_idx; create index on sessions (scenario_id)",
        seen_by_check=False,
    ),
    Variation(
        42,
        "no address on profiles",
        """drop trigger profiles_keep_email on profiles;
        drop trigger users_sync_profile_email on auth.users;
        alter table profiles drop column email cascade;
        create or replace function private.create_profile_for_new_user() returns trigger
        language plpgsql security definer set search_path = '' as $$ begin
            insert into public.profiles (id, week_reset_date) values (new.id, private.next_week_reset(now()));
            return new;
        end $$""",
        seen_by_check=False,
    ),
    Variation(42, "unique without capitals", _NO_EMAIL + "create unique index on profiles (lower(email::text))"),
    Variation(42, "unique among the living", _NO_EMAIL + "create unique index on profiles (email) where deleted_at is null"),
    Variation(
        43,
        "a count of the last minute",
        admission(
            rate="""
        if new.role = 'user' and exists (
            select from public.messages as earlier
            where earlier.session_id = new.session_id and earlier.role = 'user'
                and earlier.sent_at > clock_timestamp() - interval '500 milliseconds'
        ) then
            raise exception using errcode = 'PT429', message = 'a learner''s messages come too fast';
        end if;"""
        ),
    ),
    Variation(44, "no words", "comment on table supabase_migrations.schema_migrations is null", seen_by_check=False),
    Variation(
        44,
        "Prisma",
        _HISTORY
        + table(
            "_prisma_migrations",
            """id varchar(36) primary key, checksum varchar(64) not null,
        migration_name varchar(255) not null, finished_at timestamptz, started_at timestamptz not null default now()""",
        ),
        seen_by_check=False,
    ),
    Variation(
        44,
        "Drizzle",
        _HISTORY + "create schema drizzle; create table drizzle.__drizzle_migrations"
        " (id serial primary key, hash text not null, created_at bigint)",
        seen_by_check=False,
    ),
    Variation(
        44,
        "Flyway",
        _HISTORY
        + table(
            "flyway_schema_history",
            """installed_rank integer primary key, version varchar(50),
        script varchar(1000) not null, installed_on timestamp not null default now(), success boolean not null""",
        ),
        seen_by_check=False,
    ),
    Variation(44, "Alembic", _HISTORY + table("alembic_version", "version_num varchar(32) primary key"), seen_by_check=False),
    Variation(
        44,
        "a schema_migrations in public",
        _HISTORY + table("schema_migrations", "version varchar primary key"),
        seen_by_check=False,
    ),
    Variation(
        45,
        "a handler of a job's own",
        job(
            "delete_expired_sessions",
            "returns private.job_result",
            """
        declare result private.job_result; begin
            perform private.refuse_client();
            result.job_id := gen_random_uuid(); result.status := 'ok';
            begin
                select gone.affected, gone.window_start, gone.window_end
                into result.affected, result.window_start, result.window_end from private.expire_sessions() as gone;
            exception when query_canceled or others then
                result.status := 'failed'; result.error := sqlerrm;
            end;
            insert into public.logs (level, event_type, message, metadata)
            values (case result.status when 'ok' then 'info' else 'error' end, 'session_expiration_cleanup', result.error,
                to_jsonb(result));
            return result;
        end""",
            "plpgsql",
        ),
    ),
    # ON CONFLICT has to say the condition, which a client of PostgREST cannot; the check's does not.
    Variation(
        46,
        "a partial unique index",
        """alter table messages drop constraint messages_client_message_id_unique;
        create unique index on messages (session_id, client_message_id) where client_message_id is not null""",
        seen_by_check=False,
    ),
    # --- Beyond the review
    Variation(
        47,
        "a trigger function",
        by_owner("""create function public.note() returns trigger
        language plpgsql security definer set search_path = '' as 'begin return new; end';
        grant execute on function public.note() to public"""),
    ),
    Variation(
        48,
        "a name",
        f"alter table profiles add display_name text; grant update (display_name) on profiles to authenticated; {_UPDATE_OWN}",
    ),
    Variation(
        48,
        "a restrictive policy",
        f"""grant update on profiles to authenticated; {_UPDATE_OWN};
        create policy profiles_no_update on profiles as restrictive for update using (false)""",
    ),
    Variation(
        49,
        "an or of chats",
        f"""alter policy messages_insert_own on messages with check (
        user_id = {_OWN} and (chat_type = 'main' or chat_type = 'helper') and role = 'user')""",
    ),
    Variation(
        49, "a list of one", f"alter policy messages_insert_own on messages with check (role in ('user') and {_OWN} = user_id)"
    ),
    Variation(
        50,
        "is_completed = false",
        f"alter policy sessions_delete_own on sessions using (user_id = {_OWN} and is_completed = false)",
    ),
    Variation(
        50, "no completion yet", f"alter policy sessions_delete_own on sessions using (user_id = {_OWN} and completed_at is null)"
    ),
    Variation(
        51,
        "a claim",
        f"alter policy logs_select_own on logs using (user_id = ({_OWN.replace('auth.uid()', 'auth.jwt()')} ->> 'sub')::uuid)",
    ),
    Variation(
        51,
        "a function of one's own",
        by_owner("""
        create function public.me() returns uuid language sql stable set search_path = '' as 'select auth.uid()';
        grant execute on function public.me() to authenticated;
        alter policy logs_select_own on logs using (user_id = (select public.me()))"""),
    ),
    Variation(52, "the other way down", "create index on messages (user_id, sent_at desc)"),
    Variation(
        52,
        "another operator class",
        "create index on scenarios (code text_pattern_ops, title); create index on scenarios (code, sort_order)",
    ),
    Variation(
        52, "columns that are included", "create index on sessions (scenario_id) include (duration_seconds)", seen_by_check=False
    ),
    Variation(52, "a part", "create index on logs (level) where level = 'error'"),
    Variation(
        52,
        "a key where it is not null",
        """alter table event_types add scenario_id integer
        references scenarios on update cascade on delete set null;
        create index on event_types (scenario_id) where scenario_id is not null""",
    ),
    Variation(
        53,
        "the service",
        "grant truncate, references, trigger on logs to service_role;"
        "alter default privileges for role workbook_owner grant truncate on tables to service_role",
        seen_by_check=False,
    ),
    Variation(54, "what comes in small numbers", table("tags", "id uuid primary key default gen_random_uuid(), name text")),
    # --- General rules without a number
    Variation("rls_off", "nothing is granted", table("notes", f"{_ID}, note text", rls=False)),
    Variation(
        "rls_off",
        "in a schema out of reach",
        by_owner(f"create table private.notes ({_ID}); grant select on private.notes to authenticated"),
    ),
    Variation(
        "policy_open",
        "a public list",
        table("lessons", f"{_ID}, title text", grants="select on lessons to anon")
        + "create policy lessons_all on lessons for select to anon using (true)",
    ),
    Variation(
        "policy_open",
        "a list of admins",
        by_owner(f"""create table admins (user_id uuid primary key);
        alter table admins enable row level security; grant select on admins to authenticated;
        create policy admins_self on admins for select to authenticated using (user_id = {_OWN});
        alter policy logs_select_own on logs using (exists (select from admins where admins.user_id = {_OWN}))"""),
    ),
    Variation(
        "policy_open",
        "a restrictive policy closes it",
        f"""alter policy logs_select_own on logs using (true);
        create policy logs_own on logs as restrictive for select using (user_id = {_OWN})""",
    ),
    Variation(
        "policy_open", "for the service", "create policy x on messages for all to service_role using (true) with check (true)"
    ),
    Variation(
        "policy_open",
        "false",
        "create policy x on profiles for delete to authenticated using (false); grant delete on profiles to authenticated",
    ),
    Variation(
        "view_bypasses_rls",
        "the invoker's",
        by_owner("""create view history with (security_invoker = on) as
        select id, started_at from sessions; grant select on history to authenticated"""),
    ),
    Variation("view_bypasses_rls", "nothing is granted", by_owner("create view overview as select count(*) from sessions")),
    Variation(
        "auth_users_exposed",
        "for the service",
        by_owner("""create view accounts as select id, email from auth.users;
        grant select on accounts to service_role"""),
    ),
    Variation("publication_without_rls", "with RLS", "create publication supabase_realtime for table messages, sessions"),
    Variation(
        "partition_exposed",
        "with its own RLS",
        by_owner(f"""create table notes (id bigint, user_id uuid, primary key (id))
        partition by range (id);
        create table notes_1 partition of notes for values from (1) to (1000);
        alter table notes enable row level security; alter table notes_1 enable row level security;
        create policy notes_own on notes for select to authenticated using (user_id = {_OWN});
        create policy notes_own on notes_1 for select to authenticated using (user_id = {_OWN});
        grant select on notes, notes_1 to authenticated; create index on notes (user_id)"""),
    ),
    Variation(
        "definer_rpc",
        "for the service",
        by_owner("""create function public.count_learners() returns bigint language sql
        security definer set search_path = '' as 'select count(*) from public.profiles'"""),
    ),
    Variation(
        "multiple_permissive",
        "two roles",
        f"create policy logs_staff on logs for select to service_role using (user_id = {_OWN})",
    ),
    Variation("extension_in_public", "in extensions", "create extension pg_trgm schema extensions"),
    Variation("reg_types", "regclass and regtype", table("notes", f"{_ID}, about regclass, kind regtype")),
    Variation(
        "caller_search_path",
        "a path of its own",
        by_owner("""create function private.today() returns date language sql stable
        set search_path = pg_catalog as 'select current_date'"""),
    ),
    Variation(
        "key_to_auth_not_primary",
        "the primary key",
        table("notes", f"{_ID}, user_id uuid references auth.users on update restrict on delete set null")
        + "create index on notes (user_id)",
    ),
]

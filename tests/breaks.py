"""Ways back from v2 to one flaw each: what the audit has to find, each flaw in several spellings.

A variation's SQL runs as the server's administrator, in one piece, on a clone of v2 or in a transaction that is rolled back.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variation:
    """A change to v2, and the rule that it is about."""

    rule: int | str
    """An issue's number, or the name of a general rule."""
    id: str
    """A few words for it, unique among its rule's."""
    sql: str
    also: tuple[int | str, ...] = ()
    """Other rules that this spelling necessarily brings along, so that they may be found too."""
    seen_by_check: bool = True
    """Whether the issue's own check in workbook.checks sees it: by what it returns, or by an error of its own statements. The
    comment beside a False says what the check does not look at. General rules have no check, and this says nothing there."""
    only_behaviour: bool = False
    """Whether the safeguard is there and reads well: by the catalog "not checked" is enough, by trying it must be found."""
    server_wide: bool = False
    """Whether it makes a role, which belongs to the whole server: it must be rolled back, and never be committed."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.id}"


# --- What several variations are made of ---------------------------------------------------------------------


def edited(function: str, *pairs: tuple[str, str]) -> str:
    """Return SQL that replaces text in a function's definition, and fails where the text is not there.

    Args:
        function: its name with its schema and the types of its arguments.
        pairs: what goes, and what comes in its place.
    """
    steps = "".join(
        f"""
            if strpos(source, $old${old}$old$) = 0 then raise exception 'nothing to replace in %', $name${function}$name$; end if;
            source := replace(source, $old${old}$old$, $new${new}$new$);"""
        for old, new in pairs
    )
    return f"""
        do $edit$ declare source text := pg_get_functiondef('{function}'::regprocedure); begin{steps}
            execute source;
        end $edit$;"""


def by_owner(sql: str) -> str:
    """Return SQL that is run as the schema's owner, as a migration is: what it makes belongs to them."""
    return f"set role workbook_owner; {sql.rstrip().rstrip(';')}; reset role;"


def respelled(old: str, new: str) -> str:
    """Return SQL that writes a column's new name into the text of all functions, as whoever renames one has to."""
    return f"""
        do $respell$ declare source text; begin
            for source in
                select pg_get_functiondef(oid) from pg_proc
                where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
                    and prokind = 'f' and prosrc ~ '\\m{old}\\M'
            loop
                execute regexp_replace(source, '\\m{old}\\M', '{new}', 'g');
            end loop;
        end $respell$;"""


POLICY_OF_MESSAGES = """
    create policy messages_insert_own on messages for insert to authenticated
        with check (user_id = (select auth.uid()) and role = 'user');"""


def retyped(*, role: str = "", chat: str = "", value: str = "role::text", policy: str = POLICY_OF_MESSAGES) -> str:
    """Return SQL that gives messages and their archive other types for role and chat_type; `value` is what a role becomes."""
    changes = ", ".join(
        f"alter {column} type {kind} using ({said})::{kind}"
        for column, kind, said in (("role", role, value), ("chat_type", chat, "chat_type::text"))
        if kind
    )
    return f"""
        drop policy messages_insert_own on messages;
        drop statistics messages_session_id_user_id_chat_type_stats;
        alter table messages {changes};
        alter table messages_archive {changes};
        {policy}"""


SECOND_OPTION = "case role::text when 'assistant' then chat_type::text || '_assistant' else role::text end"
"""What the review's second option calls the roles: main_assistant and helper_assistant."""

_COUNT = """
        case new.chat_type
            when 'main' then
                update public.sessions
                set message_count_main = message_count_main + 1, last_activity_at = now(),
                    last_message_at = case when new.role = 'user' then clock_timestamp() else last_message_at end
                where id = new.session_id;
            when 'helper' then
                update public.sessions
                set message_count_helper = message_count_helper + 1, last_activity_at = now(),
                    last_message_at = case when new.role = 'user' then clock_timestamp() else last_message_at end
                where id = new.session_id;
        end case;"""
_RATE = """
        if new.role = 'user' and clock_timestamp() - session.last_message_at < interval '500 milliseconds' then
            raise exception using errcode = 'PT429', message = 'a learner''s messages come too fast';
        end if;"""
_OPEN = """
        if session.is_completed then
            raise exception using errcode = 'PT409', message = 'the session is completed and takes no more messages';
        end if;"""
_OWNER = "new.user_id := session.user_id;"


def admission(
    *,
    lock: str = "for no key update",
    is_open: str = _OPEN,
    rate: str = _RATE,
    owner: str = _OWNER,
    count: str = _COUNT,
    trigger: str = "create trigger zz_admit before insert on messages for each row execute function private.admit();",
) -> str:
    """Return SQL that puts one plain trigger in the place of those that admit and count messages; each part may be left out."""
    return by_owner(f"""
        drop trigger zz_messages_open_session on messages;
        drop trigger zz_messages_open_session_for_client on messages;
        drop trigger messages_count on messages;
        create function private.admit() returns trigger language plpgsql security definer set search_path = '' as $admit$
        declare
            session public.sessions;
        begin
            select sessions.* into session from public.sessions where sessions.id = new.session_id {lock};
            {owner}
            if session.closed_at is not null then
                raise exception using errcode = 'insufficient_privilege', message = 'the account is deleted';
            end if;
            if exists (
                select from public.messages as stored
                where stored.session_id = new.session_id and stored.client_message_id = new.client_message_id
            ) then
                return new;
            end if;
            {is_open}
            {rate}
            {count}
            return new;
        end $admit$;
        {trigger}""")


_SINGLE_KEY = """
    alter table messages drop constraint messages_session_id_user_id_fkey;
    alter table messages add constraint messages_session_id_fkey
        foreign key (session_id) references sessions (id) on update restrict on delete cascade;
    grant insert (user_id) on messages to authenticated;"""


def sign_up(test: str = "", check: str = "") -> str:
    """Return SQL that lets a sign-up take its address as it comes, but for a test in the function and a CHECK."""
    return f"""
        alter table profiles drop constraint profiles_email_not_blank;
        {f"alter table profiles add constraint profiles_email_said check ({check});" if check else ""}
        create or replace function private.create_profile_for_new_user() returns trigger
        language plpgsql security definer set search_path = '' as $sign_up$ begin
            {test}
            insert into public.profiles (id, email, week_reset_date)
            values (new.id, new.email, private.next_week_reset(now()));
            return new;
        end $sign_up$;"""


def logs_as(partition_by: str, partition: str, key: str = "id, created_at") -> str:
    """Return SQL that makes logs anew, with all that belongs to it, as one table or partitioned by something else."""
    return f"""
        alter table logs rename to logs_before;
        create table logs (like logs_before including defaults including constraints including comments) {partition_by};
        {partition}
        insert into logs select * from logs_before;
        drop table logs_before cascade;
        create table private.logs_default (like logs);
        alter table logs owner to workbook_owner;
        alter table logs add constraint logs_pkey primary key ({key});
        alter table logs add constraint logs_event_type_fkey
            foreign key (event_type) references event_types (code) on update cascade on delete restrict;
        alter table logs add constraint logs_session_id_fkey
            foreign key (session_id) references sessions (id) on update cascade on delete set null;
        alter table logs add constraint logs_user_id_fkey
            foreign key (user_id) references profiles (id) on update cascade on delete set null;
        create index idx_logs_created_at on logs (created_at desc);
        create index idx_logs_event_type on logs (event_type);
        create index idx_logs_level_created on logs (level, created_at desc);
        create index logs_metadata_idx on logs using gin (metadata jsonb_path_ops);
        create index logs_session_id_created_at_idx on logs (session_id, created_at desc) where session_id is not null;
        create index idx_logs_user on logs (user_id) where user_id is not null;
        alter table logs enable row level security;
        create policy logs_insert_none on logs as restrictive for insert to anon, authenticated with check (false);
        create policy logs_select_own on logs for select to authenticated using (user_id = (select auth.uid()));
        grant select on logs to authenticated;
        grant select, insert, update, delete on logs to service_role;
        drop table private.logs_default;
        create or replace function private.drop_old_logs(
            out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
        ) language plpgsql set search_path = '' as $clean$ begin
            window_end := now() - interval '30 days';
            delete from public.logs where created_at < window_end;
            get diagnostics affected = row_count;
        end $clean$;"""


def job(name: str, returns: str, body: str, language: str = "sql", arguments: str = "", types: str = "") -> str:
    """Return SQL that puts another function in the place of a job, with the same privileges."""
    return f"""
        drop function public.{name}({types});
        create function public.{name}({arguments}) {returns} language {language} security definer set search_path = '' as $job$
            {body}
        $job$;
        alter function public.{name}({types}) owner to workbook_owner;
        revoke all on function public.{name}({types}) from public;
        grant execute on function public.{name}({types}) to service_role;"""


def view(definition: str, *, options: str = "(security_invoker = true)", columns: str = "code, title, emoji, sort_order") -> str:
    """Return SQL that makes public_scenarios anew, around a change to its table."""
    return f"""
        drop view public_scenarios;
        {definition};
        create view public_scenarios with {options} as select id, {columns} from scenarios where is_active;
        alter view public_scenarios owner to workbook_owner;
        grant select on public_scenarios to anon, authenticated, service_role;"""


def as_member(privilege: str) -> str:
    """Return SQL that gives learners a privilege through a role of which theirs is a member."""
    return f"create role wb_test_team; grant {privilege} to wb_test_team; grant wb_test_team to authenticated;"


_WEEKS = """
    create or replace function private.reset_weeks(
        batch_size integer,
        out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
    ) language plpgsql set search_path = '' as $weeks$ begin
        window_end := now();
        {};
        get diagnostics affected = row_count;
    end $weeks$;"""
_RESET = "set current_week_completion_count = 0, week_reset_date = private.next_week_reset(now())"

_OWN = "(select auth.uid())"


# --- Critical -------------------------------------------------------------------------------------------------

BREAKS: list[Variation] = []


def _add(*variations: Variation) -> None:
    BREAKS.extend(variations)


_COMPLETION = (
    "before insert or update of is_completed, started_at, completed_at, duration_seconds on sessions"
    " for each row when (not row_security_active('public.sessions'::regclass))"
    " execute function private.set_session_completion('server')"
)
_add(
    Variation(1, "the server's trigger is dropped", "drop trigger sessions_completion on sessions"),
    Variation(1, "the client's trigger is dropped", "drop trigger sessions_completion_by_client on sessions"),
    Variation(1, "the trigger is disabled", "alter table sessions disable trigger sessions_completion"),
    Variation(
        1,
        "the trigger fires on update only",
        "drop trigger sessions_completion on sessions;"
        f"create trigger sessions_completion {_COMPLETION.replace('insert or update', 'update')}",
    ),
    Variation(
        1,
        "the function sets no moment",
        edited(
            "private.set_session_completion()",
            ("new.completed_at := case", "perform case"),
        ),
    ),
    # The triggers date what the check sends. A row that comes past them, as in a restore, is not held to anything.
    Variation(1, "no constraint", "alter table sessions drop constraint sessions_completion_consistent", seen_by_check=False),
    Variation(
        1,
        "neither constraint nor triggers",
        "alter table sessions drop constraint sessions_completion_consistent;"
        "drop trigger sessions_completion on sessions; drop trigger sessions_completion_by_client on sessions",
    ),
    Variation(
        2,
        "seven days from the moment",
        """create or replace function private.next_week_reset(at timestamptz) returns timestamptz
        language sql immutable strict parallel safe set search_path = '' as $$ select at + interval '7 days' $$""",
    ),
    Variation(
        2,
        "168 hours from the sign-up",
        edited(
            "private.set_profile_address(uuid, text, boolean)",
            ("private.next_week_reset(now())", "now() + interval '168 hours'"),
        ),
    ),
    Variation(
        2,
        "a week from the reset",
        edited(
            "private.reset_weeks(integer)",
            ("private.next_week_reset(now())", "clock_timestamp() + '1 week'::pg_catalog.interval"),
        ),
    ),
    Variation(
        2,
        "seven times a day",
        edited(
            "private.set_profile_address(uuid, text, boolean)",
            ("private.next_week_reset(now())", "current_timestamp + 7 * interval '1 day'"),
        ),
    ),
    Variation(
        2,
        "a week's start in the session's time zone",
        """create or replace function private.next_week_reset(at timestamptz) returns timestamptz
        language sql stable strict set search_path = '' as $$ select date_trunc('week', at) + interval '7 days' $$""",
    ),
    Variation(3, "nothing asks", admission(is_open="")),
    Variation(3, "the guard does not lock", admission(lock="")),
    Variation(
        3,
        "the conditions are gone from both functions",
        edited("private.admit_message()", ("and not is_completed", ""))
        + edited(
            "private.admit_or_refuse(messages, boolean, boolean)",
            ("elsif session.is_completed and not session.is_streaming and session.is_retry is null then", "elsif false then"),
        ),
    ),
    # The check writes as a learner.
    Variation(
        3,
        "the guard is for clients only",
        admission(
            is_open=_OPEN.replace("session.is_completed", "session.is_completed and tg_argv[0] = 'client'"),
            trigger="""
            create trigger zz_admit before insert on messages for each row
                when (not row_security_active('public.messages'::regclass)) execute function private.admit('server');
            create trigger zz_admit_client before insert on messages for each row
                when (row_security_active('public.messages'::regclass)) execute function private.admit('client');""",
        ),
        seen_by_check=False,
        only_behaviour=True,
    ),
    Variation(
        3,
        "the guard lets learners pass",
        admission(is_open=_OPEN.replace("then", "and new.role <> 'user' then", 1)),
        only_behaviour=True,
    ),
    Variation(4, "no table", "drop table message_chunks cascade"),
    Variation(4, "fragments without content", "alter table message_chunks drop column content cascade"),
    Variation(
        4,
        "fragments without a number",
        "alter table message_chunks drop column seq cascade; alter table message_chunks add primary key (message_id)",
    ),
    Variation(
        4,
        "attachments in their place",
        by_owner("""drop table message_chunks cascade;
        create table attachments (
            message_id uuid not null references messages on update restrict on delete cascade,
            position integer not null,
            url text not null,
            primary key (message_id, position)
        );
        alter table attachments enable row level security"""),
    ),
    Variation(5, "created_at", "alter table sessions add created_at timestamptz not null default now()"),
    # The check knows v1's name only.
    Variation(5, "createdAt", 'alter table sessions add "createdAt" timestamptz not null default now()', seen_by_check=False),
    Variation(5, "of Prisma's type", "alter table sessions add created_at timestamp(3) not null default current_timestamp"),
    Variation(5, "by hand", "alter table sessions add created_at timestamptz; update sessions set created_at = started_at"),
    Variation(6, "pgcrypto in public", "alter extension pgcrypto set schema public", also=("extension_in_public",)),
    Variation(6, "citext in public", "alter extension citext set schema public", also=("extension_in_public",)),
    Variation(
        6,
        "a function needs pgcrypto",
        """drop extension pgcrypto;
        create function private.new_token() returns text language plpgsql set search_path = '' as $$ begin
            return encode(extensions.gen_random_bytes(16), 'hex');
        end $$""",
    ),
    Variation(
        6,
        "a trigger hashes by pgcrypto",
        """drop extension pgcrypto;
        create function private.hash_reason() returns trigger language plpgsql set search_path = '' as $$ begin
            new.deleted_reason := extensions.crypt(new.deleted_reason, extensions.gen_salt('bf'));
            return new;
        end $$;
        create trigger messages_archive_hash before insert on messages_archive
            for each row execute function private.hash_reason()""",
    ),
    Variation(
        6,
        "addresses letter by letter",
        """drop trigger profiles_keep_email on profiles;
        alter table profiles alter email type text;
        create trigger profiles_keep_email before insert or update of email on profiles
            for each row execute function private.keep_profile_email();
        drop extension citext""",
        also=(42,),
    ),
    Variation(
        7, "timestamp", 'alter table messages rename sent_at to "timestamp";' + respelled("sent_at", "timestamp"), also=(39,)
    ),
    Variation(
        7,
        "created_at beside it",
        "alter table messages add created_at timestamptz not null default now();"
        "alter table messages_archive add created_at timestamptz",
    ),
    # The check knows v1's names only.
    Variation(
        7, "date", "alter table messages rename sent_at to date;" + respelled("sent_at", "date"), also=(39,), seen_by_check=False
    ),
    Variation(
        7,
        "insertedAt beside it",
        'alter table messages add "insertedAt" timestamptz not null default now();'
        'alter table messages_archive add "insertedAt" timestamptz',
        seen_by_check=False,
    ),
)

# --- Data integrity -------------------------------------------------------------------------------------------

_COUNTING = "private.count_completion()"
_WEEK_LOOK = "case when week_reset_date <= now() then 0 else current_week_completion_count end"
_ROLES = "('user', 'scenario', 'helper', 'assistant')"
_add(
    # The duration's constraint refuses what the check tries, as long as the trigger computes it.
    Variation(
        8,
        "any order of start and end",
        "alter table sessions drop constraint sessions_completed_after_started",
        seen_by_check=False,
    ),
    Variation(8, "counts below nothing", "alter table sessions drop constraint sessions_message_counts_non_negative"),
    Variation(
        8,
        "one count of two",
        """alter table sessions drop constraint sessions_message_counts_non_negative;
        alter table sessions add check (message_count_helper >= 0)""",
    ),
    # The check tries the count of the main chat.
    Variation(
        8,
        "the other count of two",
        """alter table sessions drop constraint sessions_message_counts_non_negative;
        alter table sessions add check (message_count_main >= 0)""",
        seen_by_check=False,
    ),
    Variation(9, "the trigger is dropped", "drop trigger sessions_count_completed on sessions", also=(10,)),
    Variation(9, "the trigger is disabled", "alter table sessions disable trigger sessions_count_completed", also=(10,)),
    Variation(
        9,
        "the function counts the week only",
        edited(_COUNTING, ("completed_scenario_count = completed_scenario_count + 1,", "")),
    ),
    # The check completes a session by update.
    Variation(
        9,
        "an inserted completion is not counted",
        "drop trigger sessions_count_inserted on sessions",
        also=(10,),
        seen_by_check=False,
    ),
    Variation(
        9,
        "the trigger fires again",
        """drop trigger sessions_count_completed on sessions;
        create trigger sessions_count_completed after update of is_completed on sessions
            for each row when (new.is_completed) execute function private.count_completion()""",
        also=(10,),
        only_behaviour=True,
    ),
    Variation(
        10,
        "the function counts in all only",
        edited(
            _COUNTING,
            (
                "current_week_completion_count\n        = " + _WEEK_LOOK + "\n        "
                "+ (new.completed_at >= private.week_start(now()))::integer,",
                "",
            ),
        ),
    ),
    Variation(
        10,
        "nothing looks whether the week is over",
        edited(
            _COUNTING,
            (_WEEK_LOOK, "current_week_completion_count"),
            (
                "week_reset_date = case when week_reset_date <= now() then private.next_week_reset(now())"
                " else week_reset_date end",
                "updated_at = now()",
            ),
        ),
    ),
    Variation(
        10,
        "the week is counted from the rows",
        edited(
            _COUNTING,
            (
                _WEEK_LOOK + "\n        + (new.completed_at >= private.week_start(now()))::integer",
                "(select count(*) from public.sessions where sessions.user_id = new.user_id and sessions.is_completed\n"
                "            and sessions.completed_at >= private.week_start(now()))",
            ),
        )
        + """
        create function private.recount() returns trigger language plpgsql security definer set search_path = '' as $$ begin
            update public.profiles
            set current_week_completion_count = (
                select count(*) from public.sessions where sessions.user_id = old.user_id and sessions.is_completed
                    and sessions.completed_at >= private.week_start(now())
            )
            where id = old.user_id;
            return null;
        end $$;
        create trigger sessions_recount after delete on sessions for each row execute function private.recount();""",
    ),
    Variation(
        10,
        "the triggers are dropped",
        "drop trigger sessions_count_completed on sessions; drop trigger sessions_count_inserted on sessions",
        also=(9,),
    ),
    Variation(11, "a chat without a branch", admission(count=_COUNT.replace("end case", "else null;\n        end case"))),
    Variation(
        11,
        "an if without an else",
        admission(
            count=_COUNT.replace("case new.chat_type\n            when 'main'", "if new.chat_type = 'main'", 1)
            .replace("when 'helper'", "elsif new.chat_type = 'helper'")
            .replace("end case", "end if")
        ),
    ),
    Variation(11, "nothing counts", admission(count="")),
    Variation(
        11,
        "one update with conditions",
        admission(
            count="""
            update public.sessions
            set message_count_main = message_count_main + (new.chat_type = 'main')::integer,
                message_count_helper = message_count_helper + (new.chat_type = 'helper')::integer,
                last_message_at = case when new.role = 'user' then clock_timestamp() else last_message_at end
            where id = new.session_id;"""
        ),
    ),
    # The check sends a learner's message.
    Variation(
        11, "a role that is not counted", admission(count=f"if new.role = 'user' then {_COUNT} end if;"), seen_by_check=False
    ),
    Variation(12, "no constraint", "alter table sessions drop constraint sessions_duration_non_negative"),
    Variation(
        12,
        "a constraint on something else",
        """alter table sessions drop constraint sessions_duration_non_negative;
        alter table sessions add check (duration_seconds is not null or not is_completed)""",
    ),
    Variation(
        12,
        "a constraint from above only",
        """alter table sessions drop constraint sessions_duration_non_negative;
        alter table sessions add check (duration_seconds < 100000000)""",
    ),
    # The check tries duration_seconds.
    Variation(
        12,
        "under another name",
        """alter table sessions drop constraint sessions_duration_non_negative;
        alter table sessions rename duration_seconds to duration;"""
        + respelled("duration_seconds", "duration"),
        seen_by_check=False,
    ),
    Variation(13, "role is text", retyped(role="text")),
    Variation(
        13,
        "chat_type is text with a list",
        retyped(chat="text") + "alter table messages add check (chat_type in ('main', 'helper'))",
    ),
    Variation(
        13,
        "role is text with a list",
        retyped(role="text") + "alter table messages add check (role = any (array['user', 'assistant']))",
    ),
    Variation(13, "a domain without a check", "create domain public.role_name as text;" + retyped(role="public.role_name")),
    # The check knows text alone.
    Variation(13, "varchar", retyped(role="varchar(20)", chat="varchar(20)"), seen_by_check=False),
    Variation(
        14,
        "roles of one chat are added",
        "alter type message_role add value 'scenario'; alter type message_role add value 'helper'",
    ),
    Variation(
        14, "roles of one chat in a list", retyped(role="text") + f"alter table messages add check (role in {_ROLES})", also=(13,)
    ),
    Variation(
        14,
        "roles of one chat in a domain",
        f"create domain public.role_name as text check (value in {_ROLES});" + retyped(role="public.role_name"),
    ),
    Variation(
        14,
        "a constraint over role alone",
        f"""create type public.role_name as enum {_ROLES};
        {retyped(role="public.role_name")}
        alter table messages add check (role is not null)""",
    ),
    # The check tries scenario and helper.
    Variation(
        14,
        "the review's second option without its constraint",
        "create type public.role_name as enum ('user', 'main_assistant', 'helper_assistant');"
        + retyped(role="public.role_name", value=SECOND_OPTION)
        + edited("public.finalize_message(uuid)", ("'assistant'", "(reply.chat_type || '_assistant')::public.role_name")),
        seen_by_check=False,
    ),
    Variation(15, "no constraint", "alter table messages drop constraint messages_content_size_limit"),
    Variation(
        15,
        "a limit that is none",
        """alter table messages drop constraint messages_content_size_limit;
        alter table messages add check (length(content) < 1000000000)""",
    ),
    Variation(
        15,
        "a lower limit only",
        """alter table messages drop constraint messages_content_size_limit;
        alter table messages add check (char_length(content) > 0)""",
    ),
    Variation(
        15,
        "a constraint on blanks",
        """alter table messages drop constraint messages_content_size_limit;
        alter table messages add check (content <> '')""",
    ),
    Variation(16, "no constraint", "alter table scenarios drop constraint scenarios_emoji_size_limit"),
    Variation(
        16,
        "a lower limit only",
        """alter table scenarios drop constraint scenarios_emoji_size_limit;
        alter table scenarios add check (length(emoji) >= 1)""",
    ),
    Variation(
        16,
        "a limit that is none",
        """alter table scenarios drop constraint scenarios_emoji_size_limit;
        alter table scenarios add check (octet_length(emoji) between 1 and 100000000)""",
    ),
    Variation(17, "no constraint", "alter table scenarios drop constraint scenarios_title_unique"),
    Variation(
        17,
        "a plain index",
        """alter table scenarios drop constraint scenarios_title_unique;
        create index scenarios_title_idx on scenarios (title)""",
    ),
    Variation(
        17,
        "unique with the key",
        """alter table scenarios drop constraint scenarios_title_unique;
        alter table scenarios add constraint scenarios_title_unique unique (title, id)""",
    ),
    Variation(
        17,
        "unique among the inactive",
        """alter table scenarios drop constraint scenarios_title_unique;
        create unique index scenarios_title_unique on scenarios (title) where not is_active""",
    ),
)

# --- Performance ----------------------------------------------------------------------------------------------

_READS_SESSIONS = f"exists (select from sessions where sessions.id = session_id and sessions.user_id = {_OWN})"
_NO_PAGES = "drop index messages_session_id_sent_at_id_idx;"
_NO_HISTORY = "drop index sessions_user_id_scenario_id_completed_at_idx;"
_NO_SESSION_LOGS = "drop index logs_session_id_created_at_idx;"
_add(
    Variation(
        18, "auth.uid() for each row", "alter policy messages_select_own on messages using (user_id = auth.uid())", also=(51,)
    ),
    # The check reads the policies, which are still there.
    Variation(
        18,
        "RLS off",
        "alter table messages disable row level security",
        also=("rls_off", "policies_without_rls", 49),
        seen_by_check=False,
    ),
    Variation(18, "the policy reads sessions", f"alter policy messages_select_own on messages using ({_READS_SESSIONS})"),
    Variation(
        18,
        "a function reads sessions",
        by_owner(f"""create function public.is_own_session(id uuid) returns boolean
            language sql stable security definer set search_path = ''
            as $$ select exists (select from public.sessions where sessions.id = $1 and sessions.user_id = {_OWN}) $$;
        revoke all on function public.is_own_session(uuid) from public;
        grant execute on function public.is_own_session(uuid) to authenticated;
        alter policy messages_select_own on messages using (public.is_own_session(session_id))"""),
        also=("definer_rpc",),
    ),
    Variation(18, "no index on the owner", "drop index messages_user_id_sent_at_idx"),
    # The check does not look at an index's condition.
    Variation(
        18,
        "a partial index on the owner",
        "drop index messages_user_id_sent_at_idx; create index on messages (user_id) where role = 'user'",
        seen_by_check=False,
    ),
    Variation(
        18,
        "the owner is filled in where it is missing",
        _SINGLE_KEY + admission(owner="new.user_id := coalesce(new.user_id, session.user_id);"),
    ),
    Variation(
        18,
        "the owner is filled in under a condition",
        _SINGLE_KEY + admission(owner="if new.user_id is null then new.user_id := session.user_id; end if;"),
    ),
    Variation(
        18,
        "the trigger fires where the owner is missing",
        _SINGLE_KEY
        + admission(owner="")
        + """create function private.fill_owner() returns trigger
            language plpgsql security definer set search_path = '' as $$ begin
            new.user_id := (select sessions.user_id from public.sessions where sessions.id = new.session_id);
            return new;
        end $$;
        create trigger messages_fill_owner before insert on messages
            for each row when (new.user_id is null) execute function private.fill_owner()""",
    ),
    Variation(
        18,
        "the owner is whoever calls",
        _SINGLE_KEY + admission(owner="") + "alter table messages alter user_id set default auth.uid()",
    ),
    Variation(19, "dropped", _NO_SESSION_LOGS, also=(52,)),
    Variation(19, "the session alone", _NO_SESSION_LOGS + "create index on logs (session_id) where session_id is not null"),
    Variation(19, "a hash", _NO_SESSION_LOGS + "create index on logs using hash (session_id)"),
    Variation(19, "the moment first", _NO_SESSION_LOGS + "create index on logs (created_at, session_id)", also=(52,)),
    # The check does not look at an index's condition.
    Variation(
        19,
        "errors only",
        _NO_SESSION_LOGS + "create index on logs (session_id, created_at) where level = 'error'",
        also=(52,),
        seen_by_check=False,
    ),
    Variation(20, "dropped", _NO_HISTORY),
    Variation(20, "the moment between", _NO_HISTORY + "create index on sessions (user_id, completed_at, scenario_id)"),
    Variation(
        20, "the scenario included", _NO_HISTORY + "create index on sessions (user_id, completed_at) include (scenario_id)"
    ),
    # The check does not look at an index's condition.
    Variation(
        20,
        "open ones only",
        _NO_HISTORY + "create index on sessions (user_id, scenario_id, completed_at) where not is_completed",
        seen_by_check=False,
    ),
    Variation(21, "dropped", _NO_PAGES),
    Variation(21, "without the id", _NO_PAGES + "create index on messages (session_id, sent_at)"),
    Variation(21, "by chat", _NO_PAGES + "create index on messages (session_id, chat_type, sent_at)"),
    Variation(21, "now()", "alter table messages alter sent_at set default now()"),
    Variation(21, "current_timestamp", "alter table messages alter sent_at set default current_timestamp"),
    Variation(21, "the statement's time", "alter table messages alter sent_at set default statement_timestamp()"),
    Variation(22, "the activity is indexed", "create index on sessions (last_activity_at)"),
    Variation(22, "the activity of open ones", "create index on sessions (last_activity_at) where is_completed = false"),
    Variation(22, "updated_at", "create index on sessions (updated_at)"),
    Variation(
        22,
        "a count is included",
        "drop index sessions_scenario_id_is_completed_idx;"
        "create index on sessions (scenario_id, is_completed) include (message_count_main)",
    ),
    Variation(22, "an expression", "create index on sessions ((message_count_main + message_count_helper))"),
    Variation(22, "a condition", "create index on sessions (closed_at) where message_count_main > 100"),
    Variation(23, "dropped", "drop index logs_metadata_idx"),
    Variation(23, "a B-tree", "drop index logs_metadata_idx; create index on logs (metadata)"),
    Variation(23, "a hash", "drop index logs_metadata_idx; create index on logs using hash (metadata)"),
    Variation(23, "one key of it", "drop index logs_metadata_idx; create index on logs ((metadata ->> 'code'))"),
)

# --- Security -------------------------------------------------------------------------------------------------

_PROFILES_OWN = f"""
    create policy profiles_insert_own on profiles for insert to authenticated with check (id = {_OWN});
    create policy profiles_delete_own on profiles for delete to authenticated using (id = {_OWN});"""
_add(
    Variation(24, "insert", "grant insert on logs to authenticated"),
    Variation(24, "insert for everybody", "grant insert on logs to public"),
    Variation(
        24,
        "insert with a policy",
        f"""drop policy logs_insert_none on logs;
        create policy logs_insert_own on logs for insert to authenticated with check (user_id = {_OWN});
        grant insert on logs to authenticated""",
    ),
    Variation(24, "through a role", as_member("insert on logs"), server_wide=True),
    # The check asks for INSERT on the whole table.
    Variation(
        24,
        "columns",
        f"""drop policy logs_insert_none on logs;
        create policy logs_insert_own on logs for insert to authenticated with check (user_id = {_OWN});
        grant insert (level, event_type, user_id, message) on logs to authenticated""",
        seen_by_check=False,
    ),
    Variation(
        24,
        "update",
        f"""create policy logs_update_own on logs for update to authenticated using (user_id = {_OWN});
        grant update on logs to authenticated""",
        seen_by_check=False,
    ),
    Variation(25, "nothing looks", sign_up()),
    Variation(25, "only empty ones", sign_up(check="email::text <> ''")),
    Variation(25, "a length", sign_up(check="length(email::text) > 0")),
    Variation(
        25, "only missing ones", sign_up(test="if new.email is null then raise exception 'an address is missing'; end if;")
    ),
    # What this function says is qualified today; nothing keeps the next change to it from saying something else.
    Variation(26, "no path", "alter function private.retire_profile() reset search_path", seen_by_check=False),
    Variation(
        26,
        "temporary objects first",
        "alter function private.retire_profile() set search_path = pg_temp, public",
        seen_by_check=False,
    ),
    Variation(
        26, "temporary objects unsaid", "alter function private.count_completion() set search_path = public", seen_by_check=False
    ),
    Variation(
        26,
        "the caller's own schema",
        """alter function private.sync_profile_email() set search_path = "$user", public, pg_temp""",
        seen_by_check=False,
    ),
    Variation(
        26,
        "a schema that clients write to",
        "grant create on schema public to anon; alter function private.retire_profile() set search_path = public, pg_temp",
        seen_by_check=False,
    ),
    Variation(
        26,
        "a job of v1",
        """create or replace function public.delete_old_logs() returns private.job_result language plpgsql security definer as $$
        begin
            insert into logs (level, event_type, metadata, created_at) values ('info', 'cleanup_job_executed', '{}', now());
            return private.run_job('delete_old_logs', 'cleanup_job_executed', 'select * from private.drop_old_logs()');
        end $$;
        alter function public.delete_old_logs() reset search_path""",
    ),
    Variation(
        26,
        "a type that is not qualified",
        edited(
            "private.set_session_completion()",
            ("new.duration_seconds :=", "perform tg_argv[0]::text;\n    new.duration_seconds :="),
        ),
    ),
    Variation(27, "both policies", f"grant insert, delete on profiles to authenticated; {_PROFILES_OWN}"),
    Variation(
        27,
        "a policy for all",
        f"""grant insert, delete on profiles to authenticated;
        create policy profiles_own on profiles for all to authenticated using (id = {_OWN})""",
        also=("multiple_permissive",),
    ),
    Variation(
        27,
        "RLS off",
        "alter table profiles disable row level security; grant insert, delete on profiles to authenticated",
        also=("rls_off", "policies_without_rls"),
    ),
    Variation(
        27,
        "columns for everybody",
        f"grant insert (id, email, week_reset_date) on profiles to public; grant delete on profiles to public; {_PROFILES_OWN}",
    ),
    Variation(27, "through a role", as_member("insert, delete on profiles") + _PROFILES_OWN, server_wide=True),
    # The check wants both at once; one of them is enough to lose a week's count, or to be somebody without a profile.
    Variation(
        27,
        "delete alone",
        f"""grant delete on profiles to authenticated;
        create policy profiles_delete_own on profiles for delete to authenticated using (id = {_OWN})""",
        seen_by_check=False,
    ),
    Variation(28, "all columns", "grant select on scenarios to anon"),
    Variation(28, "one column", "grant select (initial_message_main) on scenarios to anon"),
    Variation(28, "everybody", "grant select (initial_message_helper, initial_message_main) on scenarios to public"),
    # The check looks for inactive ones through the view alone, which has a filter of its own.
    Variation(28, "inactive ones", "alter policy scenarios_select_active_anon on scenarios using (true)", seen_by_check=False),
    Variation(
        28,
        "inactive ones by an or",
        "alter policy scenarios_select_active_anon on scenarios using (is_active or title <> '')",
        seen_by_check=False,
    ),
    Variation(
        28,
        "RLS off",
        "alter table scenarios disable row level security",
        also=("rls_off", "policies_without_rls"),
        seen_by_check=False,
    ),
    # The check reads the table and the view that v2 has.
    Variation(
        28,
        "a second view",
        "create view openings as select initial_message_main as hello from scenarios;grant select on openings to anon",
        also=("view_bypasses_rls",),
        seen_by_check=False,
    ),
)

# --- Scalability ----------------------------------------------------------------------------------------------

_NO_TYPES = "alter table logs drop constraint logs_event_type_fkey;"
_LISTED = """do $list$ begin
    execute (
        select format('alter table logs add constraint logs_event_type_check check (event_type in (%s))',
            string_agg(quote_literal(code), ', '))
        from event_types
    );
end $list$;"""
_COUNT_DELETED = (
    "with deleted as (delete from public.sessions where not is_completed and last_activity_at < now() - interval '7 days'"
)
_add(
    Variation(29, "no list", _NO_TYPES),
    Variation(29, "a list in a constraint", _NO_TYPES + _LISTED),
    Variation(29, "a list beside the key", _LISTED),
    Variation(
        29,
        "an enum",
        _NO_TYPES
        + """do $enum$ begin
            execute (
                select format('create type public.log_event as enum (%s)', string_agg(quote_literal(code), ', ')) from event_types
            );
        end $enum$;
        create cast (text as public.log_event) with inout as assignment;
        alter table logs alter event_type type public.log_event using event_type::public.log_event;""",
    ),
    Variation(30, "one table", logs_as("", "")),
    Variation(
        30,
        "by level",
        logs_as("partition by list (level)", "create table private.logs_all partition of logs default;", "id, created_at, level"),
        seen_by_check=False,
    ),  # The check looks for any partition.
    Variation(
        30,
        "by hash",
        logs_as(
            "partition by hash (id)", "create table private.logs_all partition of logs for values with (modulus 1, remainder 0);"
        ),
        seen_by_check=False,
    ),
    Variation(
        30,
        "a partition within reach",
        "alter table private.logs_default set schema public;grant select on public.logs_default to authenticated",
        also=("partition_exposed",),
    ),
    # The check asks for partitions in public.
    Variation(
        30,
        "a partition in a schema within reach",
        "grant usage on schema private to anon; grant select on private.logs_default to anon",
        also=("partition_exposed",),
        seen_by_check=False,
    ),
    Variation(31, "it waits", edited("private.reset_weeks(integer)", (" skip locked", ""))),
    Variation(31, "one statement", _WEEKS.format(f"update public.profiles {_RESET} where week_reset_date <= now()")),
    Variation(31, "nowait", edited("private.reset_weeks(integer)", ("skip locked", "nowait"))),
    Variation(
        31,
        "a batch without a lock",
        _WEEKS.format(
            f"update public.profiles {_RESET} where id in"
            " (select profiles.id from public.profiles where week_reset_date <= now() limit batch_size)"
        ),
    ),
    Variation(
        32,
        "an integer",
        job(
            "delete_expired_sessions",
            "returns integer",
            f"""
        {_COUNT_DELETED} returning 1), logged as (
            insert into public.logs (level, event_type) values ('info', 'session_expiration_cleanup')
        ) select count(*)::integer from deleted""",
        ),
        also=(45,),
    ),
    Variation(
        32,
        "nothing",
        job(
            "delete_expired_sessions",
            "returns void",
            """
        select private.run_job(
            'delete_expired_sessions', 'session_expiration_cleanup', 'select * from private.expire_sessions()')""",
        ),
    ),
    Variation(
        32,
        "a number of the run",
        job(
            "delete_expired_sessions",
            "returns bigint",
            """
        select (private.run_job(
            'delete_expired_sessions', 'session_expiration_cleanup', 'select * from private.expire_sessions()')).affected""",
        ),
    ),
    Variation(
        32,
        "an OUT parameter",
        job(
            "delete_expired_sessions",
            "",
            """begin
        select (private.run_job(
            'delete_expired_sessions', 'session_expiration_cleanup', 'select * from private.expire_sessions()')).affected
        into deleted;
        end""",
            "plpgsql",
            "out deleted integer",
        ),
    ),
    # The check runs delete_expired_sessions().
    Variation(
        32,
        "another job",
        job(
            "delete_old_logs",
            "returns integer",
            """
        select (private.run_job(
            'delete_old_logs', 'cleanup_job_executed', 'select * from private.drop_old_logs()')).affected::integer""",
        ),
        seen_by_check=False,
    ),
    Variation(33, "no job", "drop function archive_old_messages(integer, integer)"),
    Variation(33, "no archive", "drop table messages_archive cascade"),
    Variation(33, "the archive is called otherwise", "alter table messages_archive rename to elsewhere"),
    Variation(
        33,
        "old ones are deleted",
        job(
            "archive_old_messages",
            "returns private.job_result",
            """
        select private.run_job('archive_old_messages', 'message_archive_executed', format(
            'with gone as (delete from public.messages where sent_at < now() - make_interval(months => %L) returning sent_at)
            select count(*), min(sent_at), now(), 0::bigint, null::text from gone', cutoff_months))""",
            arguments="cutoff_months integer default 12, batch_size integer default 10000",
            types="integer, integer",
        ),
        # It casts to text, which a temporary type can stand before.
        also=(26,),
    ),
)

# --- Design ---------------------------------------------------------------------------------------------------

_NO_CODE = "alter table scenarios drop constraint scenarios_code_unique;"
_NO_KEY = "alter table scenarios alter id drop identity;"
_KEEP = "create trigger messages_immutable before update {} on messages for each row {} execute function private.keep_message()"
_add(
    Variation(34, "no code", _NO_KEY + view("alter table scenarios drop column code", columns="title, emoji, sort_order")),
    Variation(34, "a code that is not unique", _NO_KEY + _NO_CODE),
    Variation(34, "a code with a plain index", _NO_KEY + _NO_CODE + "create index on scenarios (code)"),
    Variation(
        34,
        "a code that is unique among the inactive",
        _NO_KEY + _NO_CODE + "create unique index on scenarios (code) where not is_active",
    ),
    Variation(
        35,
        "the profile goes with the user",
        "alter table profiles add foreign key (id) references auth.users on update restrict on delete cascade",
    ),
    Variation(
        35,
        "the session goes with the user",
        "alter table sessions add foreign key (user_id) references auth.users on update restrict on delete cascade",
    ),
    Variation(
        35,
        "the message goes with the user",
        "alter table messages add foreign key (user_id) references auth.users on update restrict on delete cascade",
    ),
    Variation(
        35,
        "no mark",
        f"""drop trigger profiles_close_sessions on profiles;
        alter policy profiles_select_own on profiles using (id = {_OWN});
        alter table profiles drop column deleted_at cascade""",
    ),
    Variation(
        35,
        "a trigger deletes the profile",
        """create or replace function private.retire_profile() returns trigger
        language plpgsql security definer set search_path = '' as $$ begin
            delete from public.profiles where profiles.id = old.id;
            return null;
        end $$""",
        only_behaviour=True,
    ),
    Variation(
        36,
        "scenario",
        "alter type message_role rename value 'assistant' to 'scenario';"
        + edited("public.finalize_message(uuid)", ("'assistant'", "'scenario'")),
        also=(14,),
    ),
    Variation(
        36,
        "character",
        "alter type message_role rename value 'assistant' to 'character';"
        + edited("public.finalize_message(uuid)", ("'assistant'", "'character'")),
    ),
    Variation(
        36,
        "v1's list",
        retyped(role="text", value="replace(role::text, 'assistant', 'scenario')")
        + edited("public.finalize_message(uuid)", ("'assistant'", "'scenario'"))
        + "alter table messages add check (role in ('user', 'scenario', 'helper'))",
        also=(13, 14),
    ),
    Variation(
        36,
        "a domain's list",
        "alter type message_role rename value 'assistant' to 'partner';"
        "create domain public.role_name as text check (value in ('user', 'partner'));"
        + retyped(role="public.role_name")
        + edited("public.finalize_message(uuid)", ("'assistant'", "'partner'")),
    ),
    Variation(37, "dropped", "drop trigger messages_immutable on messages"),
    Variation(37, "disabled", "alter table messages disable trigger messages_immutable"),
    Variation(
        37,
        "for clients only",
        "drop trigger messages_immutable on messages;"
        + _KEEP.format("", "when (row_security_active('public.messages'::regclass))"),
    ),
    Variation(37, "for other columns", "drop trigger messages_immutable on messages;" + _KEEP.format("of role, chat_type", "")),
    Variation(
        37,
        "the function refuses nothing",
        """create or replace function private.keep_message() returns trigger language plpgsql set search_path = ''
        as $$ begin return new; end $$""",
    ),
    Variation(
        37,
        "as the review has it",
        """create or replace function private.keep_message() returns trigger language plpgsql set search_path = '' as $$ begin
            if new.deleted_at is not distinct from old.deleted_at then
                raise exception 'a message is never changed';
            end if;
            return new;
        end $$""",
        only_behaviour=True,
    ),
    Variation(38, "no place", view("alter table scenarios drop column sort_order", columns="code, title, emoji")),
    Variation(38, "no date", "drop trigger scenarios_updated_at on scenarios; alter table scenarios drop column updated_at"),
    Variation(38, "nothing dates a change", "drop trigger scenarios_updated_at on scenarios"),
    Variation(38, "the trigger is disabled", "alter table scenarios disable trigger scenarios_updated_at"),
    Variation(39, "created", "alter table scenarios rename created_at to created"),
    Variation(39, "a reminder", "alter table sessions add reminder timestamptz"),
    Variation(
        39, "without a zone", "alter table messages add edited timestamp; alter table messages_archive add edited timestamp"
    ),
    Variation(39, "in capitals", """alter table profiles add "LastLogin" timestamptz"""),
    Variation(
        40,
        "a session's scenario",
        "alter table sessions drop constraint sessions_scenario_id_fkey;"
        "alter table sessions add foreign key (scenario_id) references scenarios on delete restrict",
    ),
    Variation(
        40,
        "a message's session",
        "alter table messages drop constraint messages_session_id_user_id_fkey;"
        "alter table messages add foreign key (session_id, user_id) references sessions (id, user_id) on delete cascade",
    ),
    Variation(
        40,
        "a log's user",
        "alter table logs drop constraint logs_user_id_fkey;"
        "alter table logs add foreign key (user_id) references profiles on delete set null",
    ),
    Variation(
        40,
        "no action, said",
        "alter table sessions drop constraint sessions_user_id_fkey;"
        "alter table sessions add foreign key (user_id) references profiles on update no action on delete cascade",
    ),
)

# --- Missing features -----------------------------------------------------------------------------------------

_NO_SCENARIO = "drop index sessions_scenario_id_is_completed_idx;"
_NO_EMAIL = "alter table profiles drop constraint profiles_email_unique;"
_NO_CLIENT_ID = "alter table messages drop constraint messages_client_message_id_unique;"
_HANDLER = """    exception
        -- OTHERS leaves out two: query_canceled, which is what a statement timeout raises, and assert_failure.
        when query_canceled or assert_failure or others then"""
_EXPIRE = """
    declare result private.job_result; begin
        {}
        return result;
    end"""
_WORK = """select gone.affected, gone.window_start, gone.window_end into result.affected, result.window_start, result.window_end
        from private.expire_sessions() as gone;
        result.job_id := gen_random_uuid(); result.status := 'ok';"""
_LOG = """insert into public.logs (level, event_type, message, metadata)
            values ('{}', '{}', 'delete_expired_sessions', to_jsonb(result));"""
_DONE = _LOG.format("info", "session_expiration_cleanup")
_add(
    Variation(41, "dropped", _NO_SCENARIO, also=(52,)),
    Variation(41, "completion first", _NO_SCENARIO + "create index on sessions (is_completed, scenario_id)", also=(52,)),
    Variation(41, "BRIN", _NO_SCENARIO + "create index on sessions using brin (scenario_id)", also=(52,)),
    # The check does not look at an index's condition.
    Variation(
        41,
        "open ones only",
        _NO_SCENARIO + "create index on sessions (scenario_id, is_completed) where not is_completed",
        also=(52,),
        seen_by_check=False,
    ),
    Variation(42, "dropped", "drop trigger users_sync_profile_email on auth.users"),
    Variation(42, "disabled", "alter table auth.users disable trigger users_sync_profile_email"),
    Variation(
        42,
        "another column",
        """drop trigger users_sync_profile_email on auth.users;
        create trigger users_sync_profile_email after update of deleted_at on auth.users
            for each row execute function private.sync_profile_email()""",
    ),
    Variation(
        42,
        "the function leaves the address",
        edited(
            "private.sync_profile_email()", ("perform private.set_profile_address(new.id, new.email, new.is_sso_user);", "null;")
        ),
    ),
    Variation(42, "not unique", _NO_EMAIL + "create index on profiles (email)"),
    Variation(42, "unique among the deleted", _NO_EMAIL + "create unique index on profiles (email) where deleted_at is not null"),
    Variation(42, "unique letter by letter", _NO_EMAIL + "create unique index on profiles ((email::text))", also=(6,)),
    Variation(43, "nothing asks", admission(rate="")),
    Variation(
        43,
        "the count does not ask",
        edited(
            "private.admit_message()",
            ("and (last_message_at is null or last_message_at < now() - interval '1 second')", ""),
            ("and updated_at <> now()", ""),
        )
        + edited(
            "private.count_message(messages, boolean)",
            (
                "(clock_timestamp() - last_message_at between interval '0' and interval '499.999 milliseconds') is not true",
                "true",
            ),
        ),
    ),
    Variation(43, "the refusal is gone", admission(rate=_RATE[: _RATE.index("raise")] + "null; end if;")),
    Variation(43, "no time at all", admission(rate=_RATE.replace("500 milliseconds", "0")), only_behaviour=True),
    Variation(44, "no table", "drop table supabase_migrations.schema_migrations"),
    Variation(44, "no schema", "drop schema supabase_migrations cascade"),
    Variation(44, "under another name", "alter table supabase_migrations.schema_migrations rename to notes"),
    Variation(
        44,
        "without versions",
        "drop schema supabase_migrations cascade;"
        "create table private.changes (id bigint generated always as identity primary key, what text not null)",
    ),
    Variation(
        45,
        "no handler",
        edited(
            "private.run_job(text, text, text)",
            (_HANDLER, "    if false then"),
            ("result.error := format('%s: %s', sqlstate, sqlerrm);\n    end;", "    end if;\n    end;"),
        ),
    ),
    Variation(
        45,
        "a job without it",
        job("delete_expired_sessions", "returns private.job_result", _EXPIRE.format(_WORK + _DONE), "plpgsql"),
    ),
    Variation(
        45,
        "a handler that says nothing",
        job(
            "delete_expired_sessions",
            "returns private.job_result",
            _EXPIRE.format(f"{_WORK} {_DONE} exception when others then result.status := 'failed';"),
            "plpgsql",
        ),
    ),
    Variation(
        45,
        "a handler that raises again",
        job(
            "delete_expired_sessions",
            "returns private.job_result",
            _EXPIRE.format(f"{_WORK} {_DONE} exception when others then {_LOG.format('error', 'job_failed')} raise;"),
            "plpgsql",
        ),
        only_behaviour=True,
    ),
    Variation(46, "no constraint", _NO_CLIENT_ID),
    Variation(46, "a plain index", _NO_CLIENT_ID + "create index on messages (session_id, client_message_id)"),
    Variation(46, "unique with the key", _NO_CLIENT_ID + "alter table messages add unique (id, client_message_id)"),
    Variation(
        46,
        "no column",
        "alter table messages drop column client_message_id;alter table messages_archive drop column client_message_id",
    ),
    Variation(46, "nobody may send it", "revoke insert (client_message_id) on messages from authenticated"),
)

# --- Beyond the review ----------------------------------------------------------------------------------------

_UPDATE_OWN = f"create policy profiles_update_own on profiles for update to authenticated using (id = {_OWN});"
_DEFINER = "returns integer language sql security definer set search_path = '' as 'select 1';"
_WRITE = "alter policy messages_insert_own on messages with check"
_RANDOM = "alter table messages alter id set default"
_CHUNKS = "drop index message_chunks_user_id_session_id_idx;"
_add(
    Variation(47, "for visitors", "grant execute on function delete_old_logs() to anon"),
    Variation(47, "for everybody", "grant execute on function reset_weekly_limits(integer) to public"),
    Variation(47, "for learners", "grant execute on function erase_user(uuid) to authenticated"),
    Variation(47, "through a role", as_member("execute on function delete_expired_sessions()"), server_wide=True),
    Variation(
        47,
        "a function of one's own",
        by_owner(f"create function public.f() {_DEFINER} grant execute on function public.f() to anon"),
    ),
    # The check asks for an account, and for whom it is does not matter to it; it looks at public alone.
    Variation(
        47,
        "in another schema",
        f"create schema api; grant usage on schema api to anon; create function api.f() {_DEFINER}",
        seen_by_check=False,
    ),
    Variation(
        47,
        "any account",
        by_owner("""create function public.f() returns bigint language sql security definer set search_path = ''
        as 'select count(*) from public.profiles where (select auth.uid()) is not null';
        grant execute on function public.f() to authenticated"""),
    ),
    Variation(
        47,
        "tomorrow's",
        f"""alter default privileges for role workbook_owner grant execute on functions to public;
        {by_owner(f"create function public.f() {_DEFINER}")}""",
    ),
    Variation(48, "a count", f"grant update (current_week_completion_count) on profiles to authenticated; {_UPDATE_OWN}"),
    Variation(48, "the table for everybody", f"grant update on profiles to public; {_UPDATE_OWN}"),
    Variation(
        48,
        "RLS off",
        "alter table profiles disable row level security; grant update on profiles to authenticated",
        also=("rls_off", "policies_without_rls"),
    ),
    Variation(48, "through a role", as_member("update on profiles") + _UPDATE_OWN, server_wide=True),
    # The check tries the weekly count.
    Variation(
        48,
        "a plan",
        f"""alter table profiles add plan text not null default 'free';
        grant update (plan) on profiles to authenticated; {_UPDATE_OWN}""",
        seen_by_check=False,
    ),
    Variation(
        48, "the week's end", f"grant update (week_reset_date) on profiles to authenticated; {_UPDATE_OWN}", seen_by_check=False
    ),
    Variation(49, "any role", f"{_WRITE} (user_id = {_OWN})"),
    Variation(49, "two roles", f"{_WRITE} (user_id = {_OWN} and role in ('user', 'assistant'))"),
    Variation(49, "all but none", f"{_WRITE} (user_id = {_OWN} and role is not null)"),
    Variation(49, "its own moment", "grant insert (sent_at) on messages to authenticated"),
    Variation(
        49,
        "a second policy",
        f"create policy messages_insert_reply on messages for insert to authenticated"
        f" with check (user_id = {_OWN} and role = 'assistant')",
        also=("multiple_permissive",),
    ),
    # The check speaks as the assistant in the main chat.
    Variation(49, "in one chat", f"{_WRITE} (user_id = {_OWN} and (role = 'user' or chat_type = 'helper'))", seen_by_check=False),
    # The check inserts, and changes nothing.
    Variation(
        49,
        "what was said",
        f"""drop trigger messages_immutable on messages; grant update (content) on messages to authenticated;
        create policy messages_update_own on messages for update to authenticated using (user_id = {_OWN})""",
        also=(37,),
        seen_by_check=False,
    ),
    Variation(50, "a count", "grant update (message_count_main) on sessions to authenticated"),
    Variation(50, "the start", "grant update (started_at) on sessions to authenticated"),
    Variation(50, "the table for everybody", "grant update on sessions to public"),
    Variation(50, "the history", f"alter policy sessions_delete_own on sessions using (user_id = {_OWN})"),
    Variation(50, "the history alone", f"alter policy sessions_delete_own on sessions using (user_id = {_OWN} and is_completed)"),
    Variation(
        50,
        "a second policy",
        f"create policy sessions_clear on sessions for delete to authenticated using (user_id = {_OWN})",
        also=("multiple_permissive",),
    ),
    # The check tries a count and the start.
    Variation(50, "the activity", "grant update (last_activity_at) on sessions to authenticated", seen_by_check=False),
    Variation(51, "auth.uid()", "alter policy logs_select_own on logs using (user_id = auth.uid())"),
    Variation(
        51,
        "in a sub-select that reads",
        "alter policy logs_select_own on logs using"
        " (exists (select from profiles where profiles.id = auth.uid() and profiles.id = user_id))",
    ),
    # The check knows auth.uid() alone.
    Variation(
        51,
        "auth.jwt()",
        "alter policy logs_select_own on logs using (user_id = (auth.jwt() ->> 'sub')::uuid)",
        seen_by_check=False,
    ),
    Variation(
        51,
        "the setting",
        "alter policy logs_select_own on logs using (user_id = current_setting('request.jwt.claim.sub')::uuid)",
        seen_by_check=False,
    ),
    Variation(
        51,
        "auth.role()",
        f"alter policy logs_select_own on logs using (user_id = {_OWN} and auth.role() = 'authenticated')",
        seen_by_check=False,
    ),
    Variation(
        51,
        "a function of one's own",
        by_owner("""
        create function public.me() returns uuid language sql stable set search_path = '' as 'select auth.uid()';
        grant execute on function public.me() to authenticated;
        alter policy logs_select_own on logs using (user_id = public.me())"""),
        seen_by_check=False,
    ),
    Variation(52, "one that another begins with", "create index on logs (level)"),
    Variation(52, "one key of two", "create index on sessions (scenario_id)"),
    # The check looks for longer ones, and for no keys.
    Variation(52, "the same again", "create index on sessions (scenario_id, is_completed)", seen_by_check=False),
    Variation(52, "a key without one", _CHUNKS + "create index on message_chunks (created_at)", seen_by_check=False),
    Variation(
        52,
        "a key with a part of one",
        _CHUNKS + "create index on message_chunks (user_id, session_id) where seq = 0",
        seen_by_check=False,
    ),
    Variation(
        52,
        "a key with an expression",
        _CHUNKS + "create index on message_chunks ((user_id::text), session_id)",
        seen_by_check=False,
    ),
    Variation(
        52,
        "a new key",
        "alter table event_types add scenario_id integer references scenarios on update cascade on delete set null",
        seen_by_check=False,
    ),
    Variation(53, "truncate", "grant truncate on logs to authenticated"),
    Variation(53, "references", "grant references on logs to anon"),
    Variation(53, "trigger, for everybody", "grant trigger on sessions to public"),
    Variation(53, "through a role", as_member("truncate on messages"), server_wide=True),
    Variation(
        53,
        "tomorrow's tables",
        "alter default privileges for role workbook_owner in schema public grant select on tables to authenticated",
    ),
    Variation(53, "tomorrow's tables anywhere", "alter default privileges for role workbook_owner grant all on tables to anon"),
    Variation(54, "messages", f"{_RANDOM} gen_random_uuid()"),
    Variation(54, "logs", "alter table logs alter id set default extensions.gen_random_uuid()"),
    Variation(
        54,
        "uuid_generate_v4()",
        "create function extensions.uuid_generate_v4() returns uuid language sql as 'select gen_random_uuid()';"
        f"{_RANDOM} extensions.uuid_generate_v4()",
    ),
    Variation(
        54,
        "a function of one's own",
        f"""create function private.new_id() returns uuid language sql set search_path = ''
        as 'select gen_random_uuid()'; {_RANDOM} private.new_id()""",
        only_behaviour=True,
    ),
)

# --- General rules that have no number ------------------------------------------------------------------------


def table(name: str, columns: str, *, rls: bool = True, grants: str = "") -> str:
    """Return SQL that makes a table of the owner's, with row-level security or without."""
    secure = f"alter table {name} enable row level security;" if rls else ""
    return by_owner(f"create table {name} ({columns}); {secure} {f'grant {grants};' if grants else ''}")


_ID = "id bigint generated always as identity primary key"
_API = "create schema api authorization workbook_owner; grant usage on schema api to anon, authenticated;"
_OWNED = f"{_ID}, user_id uuid not null references auth.users on update restrict on delete set null, note text"
_FOREIGN = "create foreign data wrapper wb_test; create server wb_test foreign data wrapper wb_test;"
_META = "(select auth.jwt())"
_LOGS_OWN = "alter policy logs_select_own on logs using"
_LIST = by_owner(f"""create table lessons ({_ID.replace(" primary key", "")}, level text not null, primary key (id, level))
        partition by list (level);
        create table lessons_a partition of lessons for values in ('a');
        alter table lessons enable row level security;
        create policy lessons_select_level on lessons for select to authenticated using (level = 'a');
        grant select on lessons to authenticated""")
_add(
    Variation("rls_off", "a new table", table("coupons", f"{_ID}, code text", rls=False, grants="select on coupons to anon")),
    Variation(
        "rls_off",
        "one column",
        table("devices", f"{_ID}, push_token text", rls=False, grants="select (push_token) on devices to authenticated"),
    ),
    Variation(
        "rls_off",
        "insert, for everybody",
        table("contacts", f"{_ID}, email text", rls=False, grants="insert on contacts to public"),
    ),
    Variation(
        "rls_off",
        "switched off",
        "alter table event_types disable row level security; grant select on event_types to authenticated",
    ),
    Variation(
        "rls_off",
        "in another schema",
        _API + table("api.notes", f"{_ID}, note text", rls=False, grants="update on api.notes to anon"),
    ),
    Variation(
        "rls_off",
        "through a role",
        "alter table event_types disable row level security;" + as_member("delete on event_types"),
        server_wide=True,
    ),
    Variation(
        "policies_without_rls",
        "the archive",
        by_owner(f"""alter table messages_archive disable row level security;
        create policy messages_archive_select_own on messages_archive for select to authenticated using (user_id = {_OWN})"""),
    ),
    Variation(
        "policies_without_rls",
        "never switched on",
        table("notes", f"{_ID}, user_id uuid", rls=False)
        + f"create policy notes_own on notes for all to authenticated using (user_id = {_OWN})",
    ),
    Variation(
        "policies_without_rls",
        "switched off",
        "alter table logs disable row level security; revoke select on logs from authenticated",
    ),
    Variation(
        "policies_without_rls",
        "switched off with grants",
        "alter table message_chunks disable row level security",
        also=("rls_off",),
    ),
    Variation(
        "policy_open",
        "true for a visitor",
        "create policy x on messages for select using (true); grant select on messages to anon",
        also=(18, "multiple_permissive"),
    ),
    Variation("policy_open", "true", "alter policy profiles_select_own on profiles using (true)"),
    Variation("policy_open", "any account", f"alter policy sessions_select_own on sessions using ({_OWN} is not null)"),
    Variation(
        "policy_open",
        "any role",
        "alter policy message_chunks_select_own on message_chunks using ((select auth.role()) = 'authenticated')",
    ),
    Variation("policy_open", "an or", f"{_LOGS_OWN} (user_id = {_OWN} or level = 'info')"),
    Variation("policy_open", "an insert", "alter policy sessions_insert_own on sessions with check (true)"),
    Variation(
        "policy_open",
        "rows may be given away",
        "alter policy sessions_update_own on sessions with check (true);grant update (user_id) on sessions to authenticated",
    ),
    Variation(
        "policy_open",
        "a table for everybody",
        by_owner("""grant delete on scenarios to authenticated;
        create policy scenarios_delete on scenarios for delete to authenticated using (is_active)"""),
    ),
    Variation(
        "policy_open",
        "a function that does not ask",
        by_owner(f"""
        create function public.is_learner() returns boolean
            language sql stable set search_path = '' as 'select {_OWN} is not null';
        grant execute on function public.is_learner() to authenticated;
        {_LOGS_OWN} ((select public.is_learner()))"""),
    ),
    Variation("user_metadata", "an arrow", f"{_LOGS_OWN} (user_id = {_OWN} or {_META} -> 'user_metadata' ->> 'role' = 'admin')"),
    Variation("user_metadata", "a path", f"{_LOGS_OWN} (user_id = {_OWN} or ({_META} #>> '{{user_metadata,admin}}')::boolean)"),
    Variation(
        "user_metadata",
        "the setting",
        f"{_LOGS_OWN} (user_id = {_OWN} or (select (current_setting('request.jwt.claims', true)::jsonb"
        " -> 'user_metadata' ->> 'admin')::boolean))",
    ),
    Variation(
        "user_metadata",
        "the row of the user",
        f"""
        create function private.is_staff() returns boolean language sql stable security definer set search_path = '' as
            'select exists (select from auth.users where id = {_OWN} and (raw_user_meta_data ->> ''staff'')::boolean)';
        {_LOGS_OWN} (user_id = {_OWN} or (select private.is_staff()))""",
    ),
    Variation(
        "view_bypasses_rls",
        "a new view",
        by_owner("create view learners as select id, email from profiles;grant select on learners to authenticated"),
    ),
    Variation("view_bypasses_rls", "switched off", "alter view public_scenarios set (security_invoker = false)"),
    Variation("view_bypasses_rls", "reset", "alter view public_scenarios reset (security_invoker)"),
    Variation(
        "view_bypasses_rls",
        "a barrier is none",
        by_owner(
            "create view history with (security_barrier = true) as"
            " select id, started_at from sessions; grant select on history to anon"
        ),
    ),
    Variation(
        "view_bypasses_rls",
        "in another schema",
        _API
        + by_owner(
            "create view api.chats as select id, session_id from messages;grant select (id) on api.chats to authenticated"
        ),
    ),
    Variation(
        "view_bypasses_rls",
        "to write through",
        by_owner("create view drafts as select id, title from scenarios;grant update on drafts to authenticated"),
    ),
    Variation(
        "auth_users_exposed",
        "a view",
        by_owner("create view accounts as select id, email from auth.users;grant select on accounts to authenticated"),
        also=("view_bypasses_rls",),
    ),
    Variation(
        "auth_users_exposed",
        "a materialized view",
        by_owner(
            "create materialized view accounts as select id, email from auth.users;grant select on accounts to authenticated"
        ),
        also=("materialized_view_exposed",),
    ),
    Variation(
        "auth_users_exposed",
        "a join, for everybody",
        by_owner(
            "create view people as select profiles.id, users.phone from profiles"
            " join auth.users using (id); grant select (phone) on people to public"
        ),
        also=("view_bypasses_rls",),
    ),
    Variation(
        "auth_users_exposed",
        "a view of a view",
        by_owner(
            "create view private.accounts as select id, email from auth.users;"
            "create view members as select email from private.accounts; grant select on members to anon"
        ),
        also=("view_bypasses_rls",),
    ),
    Variation(
        "materialized_view_exposed",
        "a table of leaders",
        by_owner(
            "create materialized view leaders as"
            " select id, completed_scenario_count from profiles; grant select on leaders to anon"
        ),
    ),
    Variation(
        "materialized_view_exposed",
        "one column, for everybody",
        by_owner(
            "create materialized view starts as"
            " select started_at, count(*) from sessions group by 1; grant select (started_at) on starts to public"
        ),
    ),
    Variation(
        "materialized_view_exposed",
        "in another schema",
        _API
        + by_owner(
            "create materialized view api.words as"
            " select chat_type, count(*) from messages group by 1; grant select on api.words to authenticated"
        ),
    ),
    Variation(
        "foreign_table_exposed",
        "for visitors",
        _FOREIGN + "create foreign table prices (id integer, price numeric) server wb_test;grant select on prices to anon",
    ),
    Variation(
        "foreign_table_exposed",
        "one column, for everybody",
        _FOREIGN + "create foreign table prices (id integer) server wb_test;grant select (id) on prices to public",
    ),
    Variation(
        "foreign_table_exposed",
        "in another schema",
        _API + _FOREIGN + "create foreign table api.crm (email text) server wb_test;grant select on api.crm to authenticated",
    ),
    Variation("partition_exposed", "of a list", _LIST + "grant select on lessons_a to authenticated"),
    Variation("partition_exposed", "through a column", _LIST + "grant select (level) on lessons_a to anon"),
    Variation(
        "partition_exposed",
        "a child",
        by_owner(
            "create table scenarios_old (primary key (id)) inherits (scenarios);grant select on scenarios_old to authenticated"
        ),
    ),
    Variation(
        "partition_exposed",
        "in another schema",
        _API + by_owner("alter table private.logs_default set schema api;grant select on api.logs_default to anon"),
        also=(30, 45),
    ),
    Variation(
        "publication_without_rls",
        "a table",
        table("beacons", f"{_ID}, seen_at timestamptz", rls=False) + "create publication supabase_realtime for table beacons",
    ),
    Variation(
        "publication_without_rls",
        "added",
        "create publication supabase_realtime; alter table event_types disable row level security;"
        "alter publication supabase_realtime add table event_types",
    ),
    Variation(
        "publication_without_rls",
        "a schema",
        table("beacons", f"{_ID}, seen_at timestamptz", rls=False)
        + "create publication supabase_realtime for tables in schema public",
    ),
    Variation(
        "publication_without_rls",
        "all tables",
        table("beacons", f"{_ID}, seen_at timestamptz", rls=False, grants="select on beacons to authenticated")
        + "create publication everything for all tables",
        also=("rls_off",),
    ),
    Variation("caller_search_path", "reset", "alter function private.week_start(timestamptz) reset search_path"),
    Variation("caller_search_path", "a trigger's", "alter function private.refuse_truncate() reset all"),
    Variation(
        "caller_search_path",
        "a new one",
        by_owner(
            "create function private.words(line text) returns integer language sql immutable"
            " as 'select cardinality(string_to_array(line, '' ''))'"
        ),
    ),
    Variation(
        "caller_search_path",
        "another setting",
        by_owner(
            "create function private.today() returns date language sql stable set timezone = 'UTC' as 'select current_date'"
        ),
    ),
    Variation(
        "definer_rpc",
        "one's own sessions",
        by_owner(f"""create function public.my_sessions() returns bigint
        language sql stable security definer set search_path = ''
            as 'select count(*) from public.sessions where user_id = {_OWN}';
        grant execute on function public.my_sessions() to authenticated"""),
    ),
    Variation(
        "definer_rpc",
        "by the claims",
        by_owner("""create function public.my_email() returns text language plpgsql stable
        security definer set search_path = '' as $$ begin
            return (select email from public.profiles
                where id = (current_setting('request.jwt.claims', true)::pg_catalog.jsonb ->> 'sub')::pg_catalog.uuid);
        end $$;
        grant execute on function public.my_email() to authenticated"""),
    ),
    Variation(
        "definer_rpc",
        "by a function of one's own",
        by_owner("""create function public.rename(title text) returns void
        language sql security definer set search_path = '' as
            'update public.profiles set updated_at = now() where id = private.calling_user()';
        grant execute on function public.rename(text) to authenticated"""),
    ),
    Variation("rls_no_policy", "no policy yet", "grant select on event_types to authenticated"),
    Variation("rls_no_policy", "one column", "grant select (sent_at) on messages_archive to anon"),
    Variation("rls_no_policy", "dropped", "drop policy message_chunks_select_own on message_chunks"),
    Variation(
        "rls_no_policy",
        "a new table",
        table("notes", _OWNED, grants="select, insert on notes to authenticated") + "create index on notes (user_id)",
    ),
    Variation(
        "multiple_permissive",
        "two for one command",
        f"create policy logs_select_mine on logs for select to authenticated using (user_id = {_OWN})",
    ),
    Variation(
        "multiple_permissive",
        "one for all",
        f"create policy sessions_own on sessions for all to authenticated using (user_id = {_OWN} and not is_completed)",
    ),
    Variation(
        "multiple_permissive",
        "one for everybody",
        f"create policy chunks_own on message_chunks for select using (user_id = {_OWN})",
    ),
    Variation("no_primary_key", "a new table", table("notes", "note text")),
    Variation("no_primary_key", "unique is not primary", table("notes", "id bigint not null unique, note text")),
    Variation(
        "no_primary_key",
        "dropped",
        "alter table private.addresses_to_forget drop constraint addresses_to_forget_pkey;"
        "create index on private.addresses_to_forget (user_id, email)",
    ),
    Variation("extension_in_public", "pg_trgm", "create extension pg_trgm schema public"),
    Variation("extension_in_public", "where the path leads", "create extension hstore"),
    Variation("extension_in_public", "in another schema", _API + "create extension fuzzystrmatch schema api"),
    Variation(
        "key_to_auth_not_primary",
        "a phone",
        "alter table event_types add phone text references auth.users (phone)"
        " on update cascade on delete set null; create index on event_types (phone)",
    ),
    Variation(
        "key_to_auth_not_primary",
        "an address",
        "alter table auth.users add unique (email);"
        "alter table event_types add owner text references auth.users (email) on update cascade on delete set null;"
        "create index on event_types (owner)",
    ),
    Variation(
        "key_to_auth_not_primary",
        "a new table",
        table("texts", f"{_ID}, phone text unique")
        + "alter table texts add foreign key (phone) references auth.users (phone) on update cascade",
    ),
    Variation("reg_types", "regproc", table("hooks", f"{_ID}, calls regproc")),
    Variation("reg_types", "regprocedure", "alter table event_types add calls regprocedure"),
    Variation("reg_types", "regnamespace", table("tenants", f"{_ID}, place regnamespace not null")),
    Variation("reg_types", "regdictionary", table("dictionaries", f"{_ID}, words regdictionary")),
)


def guests(insert: str, asks: str = "guests.session_id = messages.session_id") -> str:
    """Return SQL by which guests of a session read along, and the rule for who may make a guest."""
    return (
        table(
            "guests",
            "session_id uuid not null references sessions (id) on update cascade on delete cascade,"
            " guest_id uuid not null references profiles (id) on update cascade on delete cascade,"
            " primary key (session_id, guest_id)",
            grants="select, insert on guests to authenticated",
        )
        + f"""create policy guests_own on guests for select to authenticated using (guest_id = {_OWN});
        create policy guests_join on guests for insert to authenticated with check ({insert});
        alter policy messages_select_own on messages using (
            deleted_at is null and (user_id = {_OWN} or exists (select from guests where {asks} and guests.guest_id = {_OWN}))
        );
        create index on guests (guest_id);"""
    )


_add(
    # No issue is about guests; that a policy looks them up for each message is what 18 says of sessions.
    Variation("join_open", "whoever comes", guests(f"guest_id = {_OWN}")),
    Variation("join_open", "whoever comes today", guests(f"guest_id = {_OWN} and now() > '2020-01-01'")),
    Variation(
        "join_open",
        "by the list of one's own",
        guests(f"guest_id = {_OWN}", "true")
        + f"""alter policy messages_select_own on messages using (
            user_id = {_OWN} or session_id in (select guests.session_id from guests where guests.guest_id = {_OWN}));""",
    ),
    Variation(
        "policy_leans",
        "one for all commands",
        f"""grant delete on sessions to authenticated;
        create policy sessions_all on sessions for delete to authenticated using (true);
        create policy sessions_only on sessions as restrictive for delete to authenticated
            using (user_id = {_OWN} and not is_completed)""",
        also=("multiple_permissive",),
    ),
    Variation(
        "policy_leans",
        "inserting",
        f"""grant insert (created_at) on profiles to authenticated;
        create policy profiles_make on profiles for insert to authenticated with check (true);
        create policy profiles_only on profiles as restrictive for insert to authenticated with check (id = {_OWN})""",
        also=(27,),
    ),
    Variation(
        "policy_leans",
        "updating",
        f"""grant update (updated_at) on profiles to authenticated;
        create policy profiles_touch on profiles for update to authenticated using (1 = 1);
        create policy profiles_only on profiles as restrictive for update to authenticated using (id = {_OWN})""",
    ),
)

_add(
    Variation("client_unbound", "a role that bypasses", "alter role authenticated bypassrls", server_wide=True),
    Variation("client_unbound", "a table of the client's", "alter table messages owner to authenticated", also=(47, 49, 53)),
    Variation(
        "client_unbound",
        "a member of the owner",
        "grant workbook_owner to anon",
        also=(24, 26, 27, 28, 47, 48, 49, 30, 50, 53, "rls_off", "partition_exposed", "rls_no_policy", "view_bypasses_rls"),
        server_wide=True,
    ),
)

_WHOSE = "user_id uuid not null references profiles (id) on update cascade on delete cascade"
_add(
    Variation(
        "policy_public",
        "likes, for everybody",
        table("likes", f"{_ID}, {_WHOSE}", grants="select on likes to anon, authenticated")
        + "create index on likes (user_id); create policy likes_all on likes for select using (true)",
    ),
    Variation(
        "policy_public",
        "reviews, for any account",
        table("reviews", f"{_ID}, {_WHOSE}, stars integer", grants="select on reviews to authenticated")
        + "create index on reviews (user_id);"
        "create policy reviews_all on reviews for select to authenticated using ((select auth.uid()) is not null)",
    ),
    Variation(
        "policy_public",
        "who follows whom",
        table("follows", f"{_ID}, {_WHOSE}, follower_name text", grants="select on follows to authenticated")
        + "create index on follows (user_id);"
        "create policy follows_all on follows for select to authenticated using (user_id is not null)",
    ),
)

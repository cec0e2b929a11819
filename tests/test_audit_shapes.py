"""The audit of databases that are not ours: those of sixteen teams, a tiny one in many variations; and Supabase's advisors."""

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from audited import changed, connect, findings, found, platform_database
from helpers import advice, listen
from schema_audit import Report, audit
from schema_audit.report import FOUND, NOWHERE
from schema_audit.rules import RULES
from workbook.database import OWNER_ROLE
from workbook.paths import ROOT
from workbook.server import EmbeddedServer

FILES = sorted((ROOT / "tests" / "shapes").glob("*.sql"))


@pytest.fixture(scope="module")
def reports(lasting_server: EmbeddedServer) -> Callable[[Path], tuple[str, Report]]:
    """Load a shape once, as its owner, and audit it; returns its URL and the report."""
    known: dict[Path, tuple[str, Report]] = {}

    def report(path: Path) -> tuple[str, Report]:
        if path not in known:
            url = platform_database(lasting_server, path.stem)
            with psycopg.connect(url) as connection:
                connection.execute(f"set role {OWNER_ROLE}")
                connection.execute(path.read_text())
            known[path] = (url, audit(url))
        return known[path]

    return report


def truth(path: Path) -> list[dict[str, str]]:
    """Return what a shape's table says of it."""
    with open(path.with_suffix(".csv"), newline="") as file:
        return list(csv.DictReader(file))


def table_of(thing: str) -> str:
    """Return the table that an object belongs to, roughly: false alarms are not to be told by it under another name."""
    thing = re.sub(r"^policy .* on ", "", thing)
    return re.sub(r" \(.*\)$", "", thing)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestShapes:
    def test_what_is_found_is_what_is_there(self, reports: Callable[[Path], tuple[str, Report]], path: Path) -> None:
        _, report = reports(path)
        seen = {(str(finding.number or finding.rule), flaw.object) for finding in report.of(FOUND) for flaw in finding.flaws}
        rows = [row for row in truth(path) if row["rule"][0] != "!" and row["rule"] != "recognised"]
        assert seen == {(row["rule"], row["object"]) for row in rows}

    def test_what_tempts_is_not_found(self, reports: Callable[[Path], tuple[str, Report]], path: Path) -> None:
        _, report = reports(path)
        tempting = [(row["rule"][1:], row["object"]) for row in truth(path) if row["rule"][0] == "!"]
        assert len(tempting) >= 4
        for finding in report.of(FOUND):
            for flaw in finding.flaws:
                for rule, thing in tempting:
                    # A table has indexes that are needed, and others; they are told by their names.
                    is_one = rule == "52" or thing.startswith("policy ")
                    same = flaw.object == thing if is_one else table_of(flaw.object) == table_of(thing)
                    assert not (same and rule in (str(finding.number), finding.rule)), f"{rule}: {flaw}"

    def test_what_is_recognised(self, reports: Callable[[Path], tuple[str, Report]], path: Path) -> None:
        _, report = reports(path)
        (row,) = (row for row in truth(path) if row["rule"] == "recognised")
        wanted = dict(re.findall(r"(\w+)=((?:\"[^\"]*\"|[^\s\"])+)", row["object"]))
        seen = {name: re.sub(r" \((?:\w+ is [^,()]+(?:, )?)+\)$", "", said) for name, said in report.tables.items()}
        assert seen == wanted
        if not wanted:
            assert "TABLES" in report.needs[0]

    def test_every_reason_is_for_readers(self, reports: Callable[[Path], tuple[str, Report]], path: Path) -> None:
        _, report = reports(path)
        for finding in report.findings:
            assert (finding.verdict == FOUND) == bool(finding.flaws)
            assert not re.search(r"None|_count_main|week_reset_date|like \w+_|\{|\}", finding.reason), finding.reason
            assert (finding.verdict != NOWHERE) or finding.reason

    @pytest.mark.slow
    def test_every_fix_can_be_sent(self, reports: Callable[[Path], tuple[str, Report]], path: Path) -> None:
        url, report = reports(path)
        refused = []
        with psycopg.connect(url, autocommit=True) as connection:
            for finding in report.of(FOUND):
                for flaw in finding.flaws:
                    statement = flaw.fix.replace(" concurrently", "")
                    try:
                        with connection.transaction(force_rollback=True):
                            connection.execute(statement or "select 1")
                    except psycopg.Error as error:
                        refused.append(f"{finding.rule}: {statement} – {error}")
        assert not refused


# --- A tiny schema in variations --------------------------------------------------------------------------------

TINY = """
create table public.sessions (
    id uuid primary key default gen_random_uuid(), user_id uuid not null references auth.users on delete cascade,
    started_at timestamptz not null default now(), ended_at timestamptz
);
create table public.messages (
    id bigint generated always as identity primary key, session_id uuid not null references public.sessions on delete cascade,
    user_id uuid not null references auth.users on delete cascade, role text not null, content text not null,
    sent_at timestamptz not null default clock_timestamp()
);
create index sessions_user_id_idx on public.sessions (user_id);
create index messages_user_id_idx on public.messages (user_id);
create index messages_page_idx on public.messages (session_id, sent_at, id);
alter table public.sessions enable row level security;
alter table public.messages enable row level security;
create policy sessions_own on public.sessions for select to authenticated using (user_id = (select auth.uid()));
create policy messages_own on public.messages for select to authenticated using (user_id = (select auth.uid()));
create policy messages_say on public.messages for insert to authenticated with check (
    user_id = (select auth.uid()) and role = 'user'
    and exists (select from public.sessions as s where s.id = session_id and s.user_id = (select auth.uid()))
);
revoke all on public.sessions, public.messages from anon, authenticated;
grant select on public.sessions, public.messages to authenticated;
grant insert (session_id, user_id, role, content) on public.messages to authenticated;
"""

CHECKED = "alter policy messages_say on public.messages with check (user_id = (select auth.uid()) and role = 'user')"
SETS = """
    {checked};
    create function public.own() returns trigger language plpgsql security definer set search_path = '' as $$ begin
        {body}
        return new;
    end $$;
    create trigger own before insert on public.messages for each row {when} execute function public.own()"""
FROM_SESSION = "select user_id into new.user_id from public.sessions where id = new.session_id;"
COMPLETED = "alter table public.sessions add is_completed boolean not null default false, add completed_at timestamptz;"
PROFILES = """
    create table public.profiles (id uuid primary key references auth.users on delete cascade, full_name text);
    alter table public.profiles enable row level security;
    create policy profiles_own on public.profiles for select to authenticated using (id = (select auth.uid()));"""
SIGN_UP = """
    create function public.sign_up() returns trigger language plpgsql security definer set search_path = '' as $$ begin
        insert into public.profiles (id) values (new.id); return new;
    end $$;
    create trigger sign_up after insert on auth.users for each row execute function public.sign_up();"""

OPEN: list[tuple[int | str, str, str]] = [
    (47, "a definer function and no job", "create function public.f() returns int language sql security definer"
         " set search_path = '' as 'select 1'"),
    ("rls_off", "row-level security off", "alter table public.messages disable row level security"),
    (18, "row-level security off", "alter table public.messages disable row level security"),
    (18, "the insert asks only the user", CHECKED),
    (18, "a client gives the owner", CHECKED + "; grant insert (user_id) on public.messages to authenticated"),
    (18, "a trigger that fills what is null", SETS.format(checked=CHECKED, when="",
         body=f"if new.user_id is null then {FROM_SESSION} end if;")),
    (18, "a trigger that fires for null", SETS.format(checked=CHECKED, when="when (new.user_id is null)", body=FROM_SESSION)),
    (18, "a trigger that keeps what is given", SETS.format(checked=CHECKED, when="",
         body="new.user_id := coalesce(new.user_id, (select user_id from public.sessions where id = new.session_id));")),
    (18, "a policy that asks of the session's own column", """alter policy messages_say on public.messages with check (
         user_id = (select auth.uid()) and exists (select from public.sessions where user_id = (select auth.uid())))"""),
    (18, "no index for the owner", "drop index public.messages_user_id_idx"),
    ("policy_open", "everybody reads", "create policy x on public.messages for select using (true);"
                    " grant select on public.messages to anon"),
    ("policy_open", "any account reads", "alter policy messages_own on public.messages using ((select auth.uid()) is not null)"),
    ("policy_open", "any account reads, by its role", "alter policy messages_own on public.messages"
                    " using (auth.role() = 'authenticated')"),
    ("policy_open", "everybody updates", "create policy x on public.sessions for update to authenticated using (true);"
                    " grant update (ended_at) on public.sessions to authenticated"),
    ("policy_open", "a row can be given away", "create policy x on public.sessions for update to authenticated"
                    " using (user_id = (select auth.uid())) with check (true); grant update on public.sessions to authenticated"),
    ("policy_open", "some session, not this one", """alter policy messages_own on public.messages using (
                    exists (select from public.sessions as s where s.user_id = (select auth.uid())))"""),
    (50, "a start is rewritten, without a flag of completion", "grant update (started_at) on public.sessions to authenticated;"
         " create policy x on public.sessions for update to authenticated using (user_id = (select auth.uid()))"),
    (50, "a score is rewritten", "alter table public.sessions add score int;"
         " grant update (score) on public.sessions to authenticated;"
         " create policy x on public.sessions for update to authenticated using (user_id = (select auth.uid()))"),
    (50, "when it was made is rewritten", "alter table public.sessions rename started_at to created_at;"
         " grant update (created_at) on public.sessions to authenticated;"
         " create policy x on public.sessions for update to authenticated using (user_id = (select auth.uid()))"),
    (52, "a partial index for a key", "drop index public.messages_page_idx; alter table public.messages add active boolean;"
         " create index on public.messages (session_id) where active"),
    (51, "a function of one's own", "create function public.me() returns uuid language sql stable set search_path = ''"
         " as 'select auth.uid()'; alter policy messages_own on public.messages using (user_id = public.me())"),
    (9, "an inserted completed session is not counted", COMPLETED + PROFILES + """
        alter table public.profiles add completed_scenario_count int not null default 0;
        create function public.count_one() returns trigger language plpgsql security definer set search_path = '' as $$ begin
            update public.profiles set completed_scenario_count = completed_scenario_count + 1 where id = new.user_id; return new;
        end $$;
        create trigger count_one after update of is_completed on public.sessions for each row when (new.is_completed)
            execute function public.count_one()"""),
    (11, "a message that is not counted", """
        alter table public.sessions add message_count int not null default 0;
        create function public.count_one() returns trigger language plpgsql security definer set search_path = '' as $$ begin
            if new.role = 'user' then
                update public.sessions set message_count = message_count + 1 where id = new.session_id;
            end if;
            return new;
        end $$;
        create trigger count_one after insert on public.messages for each row execute function public.count_one()"""),
    (11, "a trigger that fires for some", """
        alter table public.sessions add message_count int not null default 0;
        create function public.count_one() returns trigger language plpgsql security definer set search_path = '' as $$ begin
            update public.sessions set message_count = message_count + 1 where id = new.session_id; return new;
        end $$;
        create trigger count_one after insert on public.messages for each row when (new.role <> 'assistant')
            execute function public.count_one()"""),
    (27, "profiles that sign-up makes", PROFILES + SIGN_UP + """
        create policy x on public.profiles for insert to authenticated with check (id = (select auth.uid()))"""),
]  # fmt: skip

HARMLESS: list[tuple[int | str, str, str]] = [
    (18, "as it is", "select 1"),
    (18, "a composite key", CHECKED + """; create unique index s on public.sessions (id, user_id);
         alter table public.sessions add unique using index s;
         alter table public.messages add foreign key (session_id, user_id) references public.sessions (id, user_id)"""),
    (18, "a trigger that always sets", SETS.format(checked=CHECKED, when="", body=FROM_SESSION)),
    (18, "an owner of another name", "alter table public.messages rename user_id to learner"),
    (18, "a session among one's own", """alter policy messages_say on public.messages with check (user_id = (select auth.uid())
         and role = 'user' and session_id in (select id from public.sessions where user_id = (select auth.uid())))"""),
    (42, "profiles without an address", PROFILES),
    (11, "no counter", "select 1"),
    (3, "no completion", "select 1"),
    (6, "nothing uses an extension", PROFILES),
    (6, "an address that nobody looks up", PROFILES + "alter table public.profiles add email text"),
    *[(44, f"a history of {table}", f'create table public.{table} (version text primary key)')
      for table in ("_prisma_migrations", "flyway_schema_history", "alembic_version")],
    (44, "a history of drizzle", "create schema drizzle; create table drizzle.__drizzle_migrations (id int primary key)"),
    (44, "a history with a comment", "create schema supabase_migrations;"
         " create table supabase_migrations.schema_migrations (version text primary key);"
         " comment on table supabase_migrations.schema_migrations is 'What is applied.'"),
    (7, "when it was edited", "alter table public.messages add updated_at timestamptz not null default now()"),
    (27, "nobody inserts", PROFILES + SIGN_UP + """
         create policy x on public.profiles for insert to authenticated with check (false)"""),
    (27, "a restrictive policy", PROFILES + SIGN_UP + """
         create policy x on public.profiles for insert to authenticated with check (id = (select auth.uid()));
         create policy y on public.profiles as restrictive for insert to authenticated with check (false)"""),
    (27, "no trigger makes them", PROFILES + """
         create policy x on public.profiles for insert to authenticated with check (id = (select auth.uid()))"""),
    (48, "a restrictive policy", PROFILES + """alter table public.profiles add credits int;
         create policy x on public.profiles for update to authenticated using (id = (select auth.uid()));
         create policy y on public.profiles as restrictive for update to authenticated using (false)"""),
    (49, "an or of kinds", """alter table public.messages add chat_type text;
         alter policy messages_say on public.messages with check (user_id = (select auth.uid()) and role = 'user'
         and (chat_type = 'main' or chat_type = 'helper')
         and exists (select from public.sessions as s where s.id = session_id and s.user_id = (select auth.uid())))"""),
    (52, "another direction", "create index on public.messages (session_id, sent_at desc)"),
    (52, "another order", "alter table public.messages add kind text; create index on public.messages (kind);"
         " create index on public.messages (kind text_pattern_ops)"),
    (52, "a column that is carried along", "create index on public.sessions (user_id) include (started_at)"),
    (36, "roles by the review's second option", "alter table public.messages add check (role in"
         " ('user', 'main_assistant', 'helper_assistant'))"),
    (37, "a trigger afterwards that raises", """
         create function public.keep() returns trigger language plpgsql set search_path = '' as $$ begin
             if new.content is distinct from old.content then raise exception 'never'; end if; return null;
         end $$;
         create trigger keep after update on public.messages for each row execute function public.keep()"""),
    (13, "a look-up table", "create table public.roles (name text primary key);"
         " alter table public.messages add foreign key (role) references public.roles on update cascade"),
    (4, "a column that says it is final", "alter table public.messages add is_final boolean not null default true"),
    (32, "a learner's own delete function", """
         create function public.forget(chat uuid) returns void language sql security definer set search_path = ''
         as 'delete from public.sessions where id = chat and user_id = (select auth.uid())'"""),
    (45, "a learner's own delete function", """
         create function public.forget() returns void language plpgsql security definer set search_path = ''
         as 'begin delete from public.sessions where user_id = (select auth.uid()); end'"""),
    (39, "no comments", "select 1"),
    (46, "a partial unique index", "alter table public.messages add client_id uuid;"
         " grant insert (client_id) on public.messages to authenticated;"
         " create unique index on public.messages (session_id, client_id) where client_id is not null"),
    (50, "only open ones are deleted", COMPLETED + """grant delete on public.sessions to authenticated;
         create policy x on public.sessions for delete to authenticated
         using (user_id = (select auth.uid()) and is_completed = false)"""),
    ("policy_open", "shown on purpose", "alter table public.sessions add is_public boolean not null default false;"
                    " alter policy sessions_own on public.sessions using (user_id = (select auth.uid()) or is_public)"),
    ("policy_open", "administrators", "create table public.admins (user_id uuid primary key references auth.users);"
                    " alter table public.admins enable row level security;"
                    " create policy x on public.sessions for select to authenticated"
                    " using (exists (select from public.admins as a where a.user_id = (select auth.uid())))"),
    ("policy_open", "a look-up table", "create table public.kinds (name text primary key);"
                    " alter table public.kinds enable row level security;"
                    " create policy x on public.kinds for select using (true)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(lasting_server: EmbeddedServer) -> Iterator[psycopg.Connection]:
    """The administrator's connection to the tiny schema."""
    url = platform_database(lasting_server, "tiny")
    with psycopg.connect(url) as connection:
        connection.execute(f"set role {OWNER_ROLE}; {TINY}")
    with connect(url) as connection:
        yield connection


@pytest.mark.parametrize("rule, what, sql", [pytest.param(*case, id=f"{case[0]}: {case[1]}") for case in OPEN])
def test_what_is_open_is_found(tiny: psycopg.Connection, rule: int | str, what: str, sql: str) -> None:
    with changed(tiny, sql, as_owner=True) as seen:
        assert rule in found(seen)


@pytest.mark.parametrize("rule, what, sql", [pytest.param(*case, id=f"{case[0]}: {case[1]}") for case in HARMLESS])
def test_what_is_closed_is_not_found(tiny: psycopg.Connection, rule: int | str, what: str, sql: str) -> None:
    with changed(tiny, sql, as_owner=True) as seen:
        assert rule not in found(seen)


def test_rules_that_lack_their_table_are_said_once(tiny: psycopg.Connection) -> None:
    with changed(tiny, "alter table public.messages drop column content") as seen:
        ran = findings(seen)
        assert {*ran} == {rule.number or rule.name for rule in RULES.values() if not rule.needs}
        (need,) = seen.shape.needs
        assert "a table of messages" in need and "TABLES=" in need


def test_what_was_considered_is_said(tiny: psycopg.Connection) -> None:
    with changed(tiny, "alter table public.messages rename to posts; alter table public.posts drop column role cascade") as seen:
        (need,) = seen.shape.needs
        assert "considered: public.posts beside public.sessions (no column says who speaks" in need


def test_a_database_without_an_encoding(lasting_server: EmbeddedServer) -> None:
    url = platform_database(lasting_server, "plain")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create database bytes template template0 encoding sql_ascii locale 'C' locale_provider libc")
    other = url.replace("plain", "bytes")
    with psycopg.connect(other, autocommit=True, client_encoding="latin1") as connection:
        connection.execute("create table public.messages (\"größe\" int); comment on table public.messages is 'über'")
        connection.execute("create function public.f() returns text language sql as $$ select 'é' $$")
    assert audit(other).count(FOUND) > 0


# --- Beside Supabase's own advisors -----------------------------------------------------------------------------

THEIRS = {
    "auth_rls_initplan": 51, "function_search_path_mutable": (26, "caller_search_path"),
    "rls_disabled_in_public": ("rls_off", "partition_exposed"),
    "policy_exists_rls_disabled": "policies_without_rls", "security_definer_view": "view_bypasses_rls",
    "auth_users_exposed": "auth_users_exposed", "materialized_view_in_api": "materialized_view_exposed",
    "foreign_table_in_api": "foreign_table_exposed", "multiple_permissive_policies": "multiple_permissive",
    "duplicate_index": 52, "unindexed_foreign_keys": 52, "no_primary_key": "no_primary_key",
    "extension_in_public": "extension_in_public",
    "rls_enabled_no_policy": "rls_no_policy", "rls_references_user_metadata": "user_metadata",
    "rls_policy_always_true": ("policy_open", "policy_leans"), "sensitive_columns_exposed": "rls_off",
    "unsupported_reg_types": "reg_types", "fkey_to_auth_unique": "key_to_auth_not_primary",
}  # fmt: skip
"""Which rule says what one of theirs says."""


@pytest.mark.slow
def test_what_the_advisors_find_the_audit_finds(
    reports: Callable[[Path], tuple[str, Report]], supabase_cli: Path, lasting_server: EmbeddedServer, tmp_path: Path
) -> None:
    shapes = {path: reports(path)[1] for path in FILES}
    port = listen(lasting_server, "maraum")
    said = 0
    for path, report in shapes.items():
        ours = {(finding.number or finding.rule, flaw.object) for finding in report.of(FOUND) for flaw in finding.flaws}
        for one in advice(supabase_cli, port, path.stem, "maraum", tmp_path):
            rules = THEIRS[one["name"]]
            rules = rules if isinstance(rules, tuple) else (rules,)
            name = one["metadata"]["name"]
            assert any(rule in rules and name in thing for rule, thing in ours), f"{path.stem}: {one['name']} {one['detail']}"
            said += 1
    assert said > 40

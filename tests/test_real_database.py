"""v1 as real databases hold it: other spellings, other names, row security off, policies added."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest
from helpers import schema
from team import LAST, apply_all, database_at, drops, roles, said, stop, trial
from workbook import ADMIN, ANNA, ANON, OWNER, SERVICE, Actor, Database, WorkbookError

pytestmark = pytest.mark.slow

ROLE = "wb_desk"
Row = tuple[str, str, str]


@pytest.fixture(scope="module", autouse=True)
def _roles() -> Iterator[None]:
    with roles(ROLE):
        yield


@cache
def rows_of(state: str | int) -> list[Row]:
    """Return what makes up a state of the workbook's own."""
    with database_at(state) as database:
        return schema(database)


@cache
def kept() -> frozenset[str]:
    """Return the names of v1's constraints and indexes that no fix has any business with: v2 has them as they were."""
    both = set(rows_of("v1")) & set(rows_of(LAST))
    return frozenset(name.split(" ")[-1].split(".")[-1] for kind, name, _ in both if kind in ("constraint", "index"))


PREFIX = "own_"


def as_compared(rows: list[Row]) -> Counter[Row]:
    """Return a schema without what may differ: how a kept index is spelled and remarked on, and what kept things are called."""
    compared: Counter[Row] = Counter()
    for kind, name, definition in rows:
        for old in kept():
            name, definition = name.replace(PREFIX + old, old), definition.replace(PREFIX + old, old)
        if kind == "comment" and name.startswith("index public.idx_"):
            continue
        if kind == "trigger" and "private.create_profile_for_new_user()" in definition:
            # The platform owns its table, so only it may rename the trigger.
            name, definition = "auth.users", definition.partition(" AFTER ")[2]
        if kind == "index":
            definition = definition.replace("(NOT is_completed)", "(is_completed = false)")
            definition = re.sub(r"WHERE is_completed\b", "WHERE (is_completed = true)", definition)
        compared[kind, name, definition] += 1
    return compared


def differences(database: Database) -> str:
    """Say how a database differs from v2: + it has too much, - it lacks."""
    have, should = as_compared(schema(database)), as_compared(rows_of(LAST))
    lines = [
        f"{sign} {kind} {name}: {definition[:160]}"
        for sign, rows in (("+", have - should), ("-", should - have))
        for kind, name, definition in rows
    ]
    return "\n".join(sorted(lines, key=lambda line: line[2:])[:12])


REAL_INDEXES = """
    drop index idx_sessions_active_per_user, idx_sessions_history, idx_sessions_expiration_cleanup;
    create unique index idx_sessions_active_per_user on sessions (user_id) where not is_completed;
    create index idx_sessions_history on sessions (user_id, completed_at desc) where is_completed;
    create index idx_sessions_expiration_cleanup on sessions (last_activity_at) where not is_completed"""

OWN_SESSION = "exists (select {what} from public.sessions where sessions.id = messages.session_id and sessions.user_id = {who})"
"""The condition of v1's policies on messages."""


def policies_on_messages(what: str = "1", who: str = "auth.uid()") -> str:
    """Write v1's policies on messages in another spelling."""
    condition = OWN_SESSION.format(what=what, who=who)
    return f"""
        drop policy messages_select_own_authenticated on messages;
        drop policy messages_insert_own_authenticated on messages;
        create policy messages_select_own_authenticated on messages for select to authenticated using ({condition});
        create policy messages_insert_own_authenticated on messages for insert to authenticated with check ({condition})"""


def policies_on_own_rows(condition: str) -> str:
    """Write v1's other policies with the condition in another spelling; {} stands for the owner's column."""
    return "".join(
        f"alter policy {table}_{command}_own_authenticated on {table} "
        f"{'with check' if command == 'insert' else 'using'} ({condition.format(column)});"
        for table, column, commands in (
            ("profiles", "id", ("select", "insert", "update", "delete")),
            ("sessions", "user_id", ("select", "insert", "update", "delete")),
            ("logs", "user_id", ("select",)),
        )
        for command in commands
    )


RENAME_CONSTRAINTS = f"""
    do $$
    declare
        found record;
    begin
        for found in
            select conrelid::regclass as on_table, conname
            from pg_constraint
            where connamespace = 'public'::regnamespace and contype in ('c', 'f', 'p', 'u')
        loop
            execute format('alter table %s rename constraint %I to %I', found.on_table, found.conname, '{PREFIX}' || found.conname
            );
        end loop;
    end $$"""
RENAME_INDEXES = f"""
    do $$
    declare
        found regclass;
    begin
        for found in
            select indexrelid
            from pg_index
            join pg_class on pg_class.oid = indexrelid
            where relnamespace = 'public'::regnamespace and not indisprimary
        loop
            execute format('alter index %s rename to %I', found, '{PREFIX}' || found::text);
        end loop;
    end $$"""
RENAME_TRIGGERS_AND_POLICIES = """
    do $$
    declare
        found record;
    begin
        for found in
            select 'trigger' as kind, tgname as name, tgrelid::regclass as on_table
            from pg_trigger
            where not tgisinternal
            union all
            select 'policy', polname, polrelid::regclass
            from pg_policy
        loop
            execute format('alter %s %I on %s rename to %I', found.kind, found.name, found.on_table, {});
        end loop;
    end $$"""

# What the CLI has recorded before the first fix.
HISTORY = """
    create schema supabase_migrations;
    create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
    insert into supabase_migrations.schema_migrations
    values
        ('20251109120000', array['create table …'], 'create_maraum_schema'),
        ('20251109120100', array['insert into …'], 'seed_scenarios')"""


RENAMED = RENAME_TRIGGERS_AND_POLICIES.format(f"'{PREFIX}' || found.name")
NO_COMMENTS = """
    do $$
    declare
        found regclass;
    begin
        for found in select indexrelid from pg_index where indexrelid::regclass::text ~ '^idx_' loop
            execute format('comment on index %s is null', found);
        end loop;
    end $$"""

VARIANTS: dict[str, list[tuple[str, Actor]]] = {
    "partial indexes by not": [(REAL_INDEXES, OWNER)],
    "policies that select nothing": [(policies_on_messages(""), OWNER)],
    "indexes without comments": [(NO_COMMENTS, OWNER)],
    "history of the CLI": [(HISTORY, OWNER)],
    # On auth.users too, whose triggers only the platform may rename.
    "triggers and policies renamed": [(RENAMED, ADMIN)],
    "triggers and policies named as a dashboard does": [
        (RENAME_TRIGGERS_AND_POLICIES.format("""initcap(replace(found.name, '_', ' ')) || ' "Own"'"""), ADMIN)
    ],
    "triggers and policies that swapped names": [
        (
            """
            alter trigger update_sessions_updated_at on sessions rename to swap;
            alter trigger calculate_duration_on_completion on sessions rename to update_sessions_updated_at;
            alter trigger swap on sessions rename to calculate_duration_on_completion;
            alter policy messages_select_own_authenticated on messages rename to swap;
            alter policy messages_insert_own_authenticated on messages rename to messages_select_own_authenticated;
            alter policy swap on messages rename to messages_insert_own_authenticated;
            alter policy profiles_select_own_authenticated on profiles rename to swap;
            alter policy profiles_delete_own_authenticated on profiles rename to profiles_select_own_authenticated;
            alter policy swap on profiles rename to profiles_delete_own_authenticated""",
            OWNER,
        )
    ],
    "constraints renamed": [(RENAME_CONSTRAINTS, OWNER)],
    "indexes renamed": [(RENAME_INDEXES, OWNER)],
    "policies that ask once": [
        (policies_on_own_rows("(select auth.uid()) = {}") + policies_on_messages("1", "(select auth.uid())"), OWNER)
    ],
    "policies the other way round": [(policies_on_own_rows("{} = auth.uid()"), OWNER)],
    "policies that ask once the other way round": [(policies_on_own_rows("{} = (select auth.uid())"), OWNER)],
    "all at once": [
        (REAL_INDEXES, OWNER),
        (policies_on_messages(""), OWNER),
        (policies_on_own_rows("(select auth.uid()) = {}"), OWNER),
        (NO_COMMENTS, OWNER),
        (HISTORY, OWNER),
        (RENAME_CONSTRAINTS, OWNER),
        (RENAME_INDEXES, OWNER),
        (RENAMED, ADMIN),
    ],
}
"""The ways in which a real v1 differs from the one in sql/v1: statements, and who sends them."""


QUICK = ("all at once", "triggers and policies renamed", "policies that select nothing")


@pytest.mark.parametrize(
    "variant", [pytest.param(variant, marks=[] if variant in QUICK else [pytest.mark.slow]) for variant in VARIANTS]
)
def test_ends_as_v2(variant: str) -> None:
    with database_at("v1") as real:
        for statements, actor in VARIANTS[variant]:
            real.run(statements, actor)
        apply_all(real)
        assert not differences(real), differences(real)
        # And it works.
        assert real.value("select (delete_old_logs()).status", SERVICE) == "ok"
        real.run("insert into messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'Halt!')", ANNA)
        assert real.value("select message_count_main from sessions where id = :anna_open") == 4
        real.run("insert into auth.users (id, email) values (:cem, 'cem@example.org')", ADMIN)
        assert real.value("select count(*) from profiles where id = :cem") == 1


def test_a_variant_is_no_v2_by_itself() -> None:
    """The comparison can fail: it sees v1, one index too many, and a name that is left behind."""
    with database_at("v1") as v1:
        assert "messages" in differences(v1)
    with database_at(LAST) as v2:
        assert not differences(v2)
        v2.run("create index more on sessions (started_at)")
        assert "+ index more" in differences(v2)
    with database_at(LAST) as v2:
        v2.run(f"alter trigger sessions_completion on sessions rename to {PREFIX}sessions_completion")
        assert len(differences(v2).splitlines()) >= 2


def test_history_of_the_cli_stays() -> None:
    with database_at("v1") as real:
        real.run(HISTORY)
        apply_all(real)
        kept_rows = real.run(
            "select version, name from supabase_migrations.schema_migrations where length(version) = 14 order by 1", ADMIN
        )
    assert kept_rows["name"].tolist() == ["create_maraum_schema", "seed_scenarios"]


class TestRowSecurityOff:
    """A migration for development switches it off, and v2 switches it on."""

    READS_BEN = """
        select
            (select count(*) from messages where session_id = :ben_open)
            + (select count(*) from sessions where user_id = :ben)
            + (select count(*) from profiles where id = :ben)"""
    OPEN_TABLES = """
        select string_agg(oid::regclass::text, ', ' order by relname)
        from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relrowsecurity"""

    @pytest.mark.parametrize(
        "tables",
        [["profiles"], ["scenarios"], ["sessions"], ["messages"], ["logs"], ["profiles", "scenarios", "sessions", "messages"]],
        ids=" ".join,
    )
    def test_is_on_in_v2(self, tables: list[str]) -> None:
        with database_at("v1") as real:
            for table in tables:
                real.run(f"alter table public.{table} disable row level security")
            apply_all(real)
            assert real.value(self.OPEN_TABLES, ADMIN) is None
            assert real.value(self.READS_BEN, ANNA) == 0
            assert real.value("select count(*) from messages", ANNA) > 0
            real.run("update scenarios set is_active = false where id = 1")
            assert real.value("select count(*) from public_scenarios", ANON) == 2

    def test_somebody_has_switched_it_off_between_two_fixes(self) -> None:
        with database_at(35) as real:
            for table in ("profiles", "sessions", "messages", "messages_archive", "message_chunks", "event_types", "logs"):
                real.run(f"alter table public.{table} disable row level security")
            apply_all(real)
            assert real.value(self.OPEN_TABLES, ADMIN) is None
            assert real.value(self.READS_BEN, ANNA) == 0

    def test_other_tables_without_it_are_named(self) -> None:
        with database_at("v1") as real:
            real.run('create table public.homework (id integer); create table public."Essays" (id integer)')
            real.run("create table public.grades (id integer); alter table public.grades enable row level security")
            notices = "\n".join(apply_all(real))
            assert "homework" in notices and "Essays" in notices, notices
            assert "grades" not in notices
            # Theirs to decide.
            assert real.value(self.OPEN_TABLES, ADMIN) == '"Essays", homework'

    def test_nothing_is_named_where_all_have_it(self) -> None:
        with database_at("v1") as real:
            assert not [notice for notice in apply_all(real) if "row level security" in notice.lower()]


class TestRowSecurityForced:
    """FORCE ROW LEVEL SECURITY hides the rows from the fixes themselves, which run as the owner."""

    TABLES = ("profiles", "scenarios", "sessions", "messages", "logs")

    @pytest.mark.parametrize("table", TABLES)
    @pytest.mark.parametrize("state", ["v1", 29])
    def test_loses_no_row_in_silence(self, state: str | int, table: str) -> None:
        with trial(state, "dirty" if state == "v1" else "seed") as real:
            real.run("insert into logs (level, event_type, user_id) values ('info', 'user_logout', :anna)")
            count = f"select count(*) from {table}"
            rows = real.value(count, ADMIN)
            real.run(f"alter table {table} force row level security")
            try:
                real.apply_up_to(LAST)
            except WorkbookError as error:
                if table not in str(error) or "row" not in str(error) or "security" not in str(error):
                    pytest.fail(f"stops without saying that row-level security is forced on {table}: {error}", pytrace=False)
            assert real.value(count, ADMIN) >= rows, f"rows of {table} are lost"


ISSUE = ("debug", "create policy debug on public.messages for select using (true)")
OPEN_POLICIES = [
    ISSUE,
    ("debug_all", "create policy debug_all on public.messages for all using (true) with check (true)"),
    ("Enable read access", 'create policy "Enable read access" on public.messages for select to authenticated using (true)'),
    (
        "teachers_read",
        "create policy teachers_read on public.messages for select to anon, authenticated using (content ~ '[?]$')",
    ),
    ("see_all", "create policy see_all on public.sessions for select to authenticated using (true)"),
    ("share_sessions", "create policy share_sessions on public.sessions for update to authenticated using (is_completed)"),
    ("public_profiles", "create policy public_profiles on public.profiles for select to anon using (true)"),
    ("write_profiles", "create policy write_profiles on public.profiles for all to authenticated using (auth.uid() = id)"),
    ("preview", "create policy preview on public.scenarios for select to anon using (not is_active)"),
    ("edit", "create policy edit on public.scenarios for update to authenticated using (true)"),
    ("read_logs", "create policy read_logs on public.logs for select to authenticated using (level = 'error')"),
    # As v1's own, but for whom it is: signed-in and anonymous alike.
    ("for_everybody", "create policy for_everybody on public.sessions for select to public using (auth.uid() = user_id)"),
]


class TestPolicyOfTheTeam:
    @pytest.mark.parametrize(
        ("name", "statement"),
        [pytest.param(*policy, id=policy[0], marks=[] if policy is ISSUE else pytest.mark.slow) for policy in OPEN_POLICIES],
    )
    def test_stops_the_fixes_and_says_how_to_go_on(self, name: str, statement: str) -> None:
        with database_at("v1") as real:
            real.run(statement)
            error = stop(real)
            assert error is not None, f"the fixes run past the policy {name}"
            assert name in (error.diag.message_primary or ""), f"{name} is not named: {said(error)}"
            assert any(name in drop for drop in drops(error)), f"no DROP POLICY in the hint: {error.diag.message_hint}"
            self.do_as_told(real, [name])
            assert not differences(real), differences(real)

    def test_all_of_them_are_named_and_go_as_told(self) -> None:
        with database_at("v1") as real:
            real.run("; ".join(statement for _, statement in OPEN_POLICIES))
            self.do_as_told(real, [name for name, _ in OPEN_POLICIES])
            assert not differences(real), differences(real)

    def do_as_told(self, real: Database, names: list[str]) -> None:
        """Apply the fixes, and run the statements of each hint, until all fixes have run; every policy has to be named."""
        named = ""
        for _ in range(20):
            error = stop(real)
            if error is None:
                break
            named += said(error)
            statements = drops(error)
            assert statements, f"no way to go on: {said(error)}"
            for statement in statements:
                real.run(statement)
        left = [name for name in names if name not in named]
        assert not left, f"the fixes run past the policies {', '.join(left)}"

    def test_added_between_two_fixes_stops_them_too(self) -> None:
        with database_at(35) as real:
            real.run(ISSUE[1])
            error = stop(real)
            assert error is not None, "the fixes run past the policy debug"
            assert "debug" in said(error)

    def test_for_a_role_that_is_no_client_stays(self) -> None:
        """The near miss: a policy for a role that is no client opens nothing to one."""
        with database_at("v1") as real:
            own = {
                "messages": f"create policy support on public.messages for select to {ROLE} using (true)",
                "sessions": f"create policy support on public.sessions for all to {ROLE} using (true)",
                "profiles": f"create policy support on public.profiles for update to {ROLE} using (true)",
                "scenarios": f"create policy support on public.scenarios for delete to {ROLE} using (true)",
            }
            real.run("; ".join(own.values()))
            apply_all(real)
            left = real.run("select tablename from pg_policies where policyname = 'support'", ADMIN)["tablename"].tolist()
            assert set(own) - set(left) == set()

    def test_for_a_role_that_is_no_client_on_logs_stays_or_is_named(self) -> None:
        with database_at("v1") as real:
            real.run(f"create policy support on public.logs for select to {ROLE} using (true)")
            error = stop(real)
            if error is not None:
                assert "support" in said(error), said(error)
            else:
                assert real.value("select count(*) from pg_policies where policyname = 'support'", ADMIN) == 1, "support is gone"

    def test_for_a_role_that_inherits_from_clients_is_for_clients(self) -> None:
        with trial("v1") as real:
            real.run(f"grant authenticated to {ROLE}", ADMIN)
            real.run(f"create policy premium on public.messages for select to {ROLE} using (true)")
            with pytest.raises(WorkbookError, match="premium"):
                real.apply_up_to(LAST)

    def test_for_a_role_that_clients_inherit_from_is_for_clients(self) -> None:
        with database_at("v1") as real:
            real.run(f"grant {ROLE} to authenticated", ADMIN)
            try:
                real.run(f"create policy desk on public.messages for select to {ROLE} using (true)")
                error = stop(real)
                assert error is not None, "the fixes run past a policy whose role authenticated is a member of"
                assert "desk" in said(error)
            finally:
                real.run(f"revoke {ROLE} from authenticated", ADMIN)

    @pytest.mark.parametrize(
        "condition",
        [
            "exists (select 1 from sessions as s where s.id = messages.session_id and s.user_id = auth.uid())",
            "exists (select * from sessions where sessions.id = messages.session_id and sessions.user_id = auth.uid())",
            "exists (select sessions.id from sessions where sessions.id = messages.session_id and sessions.user_id = auth.uid())",
            "session_id in (select sessions.id from sessions where sessions.user_id = auth.uid())",
        ],
        ids=["alias", "star", "column", "in"],
    )
    def test_of_v1_in_yet_another_spelling_is_taken_as_v1s_or_named(self, condition: str) -> None:
        with database_at("v1") as real:
            real.run(f"alter policy messages_select_own_authenticated on messages using ({condition})")
            error = stop(real)
            if error is None:
                assert not differences(real), differences(real)
            else:
                assert "messages_select_own_authenticated" in said(error), said(error)

    def test_policy_of_v1_with_another_meaning_is_the_teams(self) -> None:
        """By v1's name, but open: what it does counts, not what it is called."""
        with database_at("v1") as real:
            real.run("alter policy sessions_select_own_authenticated on sessions using (true)")
            error = stop(real)
            if error is None:
                assert real.value("select count(*) from sessions where user_id <> :anna", ANNA) == 0
            else:
                assert "sessions_select_own_authenticated" in said(error), said(error)

    def test_policy_of_v1_that_is_missing_is_no_obstacle_or_is_named(self) -> None:
        with database_at("v1") as real:
            real.run("drop policy profiles_delete_own_authenticated on profiles")
            error = stop(real)
            if error is None:
                assert not differences(real), differences(real)
            else:
                assert "profiles" in said(error) and "policy" in said(error), said(error)

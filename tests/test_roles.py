"""Who is a client: whoever holds authenticated's rights, by whatever name, and nobody else; and what a client is kept from."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from helpers import Rehearsal, rehearsal
from workbook import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE, Actor, Database, clone, fixes
from workbook.actors import NAMES

LAST = fixes.all_fixes()[-1].number
MESSAGE = "insert into messages (session_id, role, chat_type, content) values ({}, 'user', 'main', 'Halt!')"
COMPLETE = "update sessions set is_completed = true where id = :anna_open"
IN_SESSION = "select count(*) from messages where session_id = {}"

ROLES = """
create role wb_premium;
grant authenticated to wb_premium;
create role wb_premium_plus;
grant wb_premium to wb_premium_plus;
create role wb_app login;
grant authenticated to wb_app;
create role wb_mobile login;
grant anon, authenticated to wb_mobile;
create role wb_scheduler login;
create role wb_keeper login;
grant anon, authenticated, service_role to wb_keeper;
create role wb_exporter login bypassrls;
grant authenticated to wb_exporter;
"""
"""Roles that a team makes: four clients, and three that are none."""


@pytest.fixture(scope="module")
def v2() -> Database:
    return clone(LAST)


@pytest.fixture
def fixed(v2: Database) -> Iterator[Rehearsal]:
    with rehearsal(v2) as actors:
        actors.run(ROLES, ADMIN)
        yield actors


def as_client(role: str, learner: Actor = ANNA) -> Actor:
    """Return a learner whose requests run as another role."""
    return replace(learner, label=role, role=role)


class Door:
    """A way in: a role that the API switches to, or a login of its own."""

    def __init__(self, role: str, is_login: bool = False) -> None:
        self.role = role
        self.login = role if is_login else None

    def __repr__(self) -> str:
        return f"{self.role} {'login' if self.login else 'role'}"


DOORS = [
    Door("wb_premium"),
    Door("wb_premium_plus"),
    Door("wb_premium", is_login=True),
    Door("authenticated", is_login=True),
    Door("wb_app", is_login=True),
    Door("wb_mobile", is_login=True),
]


def tried(actors: Rehearsal, statement: str, learner: Actor = ANNA, **values: object) -> dict[str, str]:
    """Return what becomes of a learner's statement by each door; what it does is undone."""
    answers = {}
    for door in DOORS:
        with actors.aside():
            answers[repr(door)] = actors.outcome(statement, as_client(door.role, learner), door.login, **values)
    return answers


def by_each_door(answer: str) -> dict[str, str]:
    return {repr(door): answer for door in DOORS}


class TestClient:
    @pytest.mark.parametrize("session", [":anna_open", ":anna_done", "gen_random_uuid()"])
    @pytest.mark.parametrize("learner", [BEN, Actor("nobody", "authenticated")], ids=["a stranger", "nobody"])
    def test_does_not_learn_of_a_strangers_session(self, fixed: Rehearsal, session: str, learner: Actor) -> None:
        assert tried(fixed, MESSAGE.format(session), learner) == by_each_door("42501")

    @pytest.mark.parametrize("session", ["anna_open", "anna_done"])
    @pytest.mark.parametrize("sent", [("e1", "x"), ("e1", "another text"), ("e2", "x")], ids=["retry", "other words", "new"])
    def test_does_not_learn_of_a_strangers_message(self, fixed: Rehearsal, session: str, sent: tuple[str, str]) -> None:
        message = (
            "insert into messages (session_id, role, chat_type, content, client_message_id)"
            " values ({}, 'user', 'main', :text, ':key000000-0000-4000-8000-000000000000')"
            " on conflict (session_id, client_message_id) do nothing"
        )
        fixed.run(message.format(":anna_open").replace(":key", "e1"), ANNA, text="x")
        forged = message.format(f":{session}").replace(":key", sent[0])
        assert tried(fixed, forged, BEN, text=sent[1]) == by_each_door("42501")

    @pytest.mark.parametrize("user", [":ben", ":cem", "gen_random_uuid()"], ids=["deleted", "unknown", "random"])
    def test_does_not_learn_of_a_strangers_account(self, fixed: Rehearsal, user: str) -> None:
        fixed.run("select erase_user(:ben)", SERVICE)
        assert tried(fixed, f"insert into sessions (user_id, scenario_id) values ({user}, 1)") == by_each_door("42501")

    def test_writes_into_its_own_session(self, fixed: Rehearsal) -> None:
        assert tried(fixed, MESSAGE.format(":anna_open")) == by_each_door("INSERT 0 1")
        assert tried(fixed, MESSAGE.format(":anna_done")) == by_each_door("PT409")
        fixed.run(MESSAGE.format(":anna_open"), ANNA)
        assert tried(fixed, MESSAGE.format(":anna_open")) == by_each_door("PT429")

    @pytest.mark.parametrize(
        "completion",
        [
            "update sessions set is_completed = true, completed_at = '2020-01-01' where id = :anna_open"
            " returning completed_at > now()",
            "insert into sessions (user_id, scenario_id, is_completed, completed_at) values (:anna, 1, true, '2020-01-01')"
            " returning completed_at > now()",
        ],
        ids=["update", "insert"],
    )
    def test_is_given_the_servers_moment(self, fixed: Rehearsal, completion: str) -> None:
        fixed.run("grant insert, update on public.sessions to authenticated")
        assert tried(fixed, completion) == by_each_door("True")

    def test_does_not_land_a_text_under_a_replys_id(self, fixed: Rehearsal) -> None:
        fixed.run("grant insert on public.messages to authenticated")
        fixed.run(
            "insert into message_chunks (message_id, seq, session_id, chat_type, content)"
            " values (:reply, 1, :anna_open, 'main', 'Vier')",
            SERVICE,
        )
        forged = (
            "insert into messages (id, session_id, role, chat_type, content) select :reply, :anna_open, 'user', 'main', was_set"
            " from set_config('maraum.finalizing', :reply, true) as was_set"
        )
        assert tried(fixed, forged) == by_each_door("PT409")

    @pytest.mark.parametrize("session", [":anna_open", ":anna_done", "gen_random_uuid()"])
    def test_hears_the_same_through_a_view_of_the_owners(self, fixed: Rehearsal, session: str) -> None:
        fixed.run("create view public.chat as select session_id, role, chat_type, content from public.messages")
        fixed.run("grant insert on public.chat to authenticated")
        into_view = MESSAGE.replace("into messages", "into chat")
        assert tried(fixed, into_view.format(session), BEN) == by_each_door("42501")
        assert tried(fixed, into_view.format(":ben_open"), BEN) == by_each_door("INSERT 0 1")

    def test_does_not_choose_the_user(self, fixed: Rehearsal) -> None:
        fixed.run("grant insert on public.messages to authenticated")
        forged = (
            "insert into messages (session_id, user_id, role, chat_type, content) values (:anna_open, :ben, 'user', 'main', 'x')"
        )
        assert tried(fixed, forged, BEN) == by_each_door("42501")

    @pytest.mark.parametrize(("table", "rows"), [("sessions", "2"), ("messages", "8"), ("profiles", "1")])
    def test_sees_its_own_rows_only(self, fixed: Rehearsal, table: str, rows: str) -> None:
        assert tried(fixed, f"select count(*) from {table}") == by_each_door(rows)


NOTE = """
create function public.note(session uuid, by text, text text) returns text language {} {} as $$
    insert into public.messages (session_id, role, chat_type, content)
    values (session, by::public.message_role, 'main', text)
    returning user_id::text
$$;
grant execute on function public.note(uuid, text, text) to authenticated"""
PLPGSQL = """
create function public.note(session uuid, by text, text text) returns text language plpgsql {} as $$
declare
    learner text;
begin
    insert into public.messages (session_id, role, chat_type, content)
    values (session, by::public.message_role, 'main', text)
    returning user_id::text into learner;
    return learner;
end $$;
grant execute on function public.note(uuid, text, text) to authenticated"""
TEAM_FUNCTIONS = {
    "sql": NOTE.format("sql", "security definer"),
    "plpgsql": PLPGSQL.format("security definer"),
    "empty search_path": PLPGSQL.format("security definer set search_path = ''"),
    "around an invoker": PLPGSQL.format("").replace("public.note", "public.inner_note")
    + "; create function public.note(session uuid, by text, text text) returns text language sql security definer"
    " as 'select public.inner_note(session, by, text)'; grant execute on function public.note(uuid, text, text) to authenticated",
}
CALL = "select note({}, :by, 'Gut gemacht!')"


class TestTeamsOwnFunction:
    @pytest.mark.parametrize("function", TEAM_FUNCTIONS.values(), ids=TEAM_FUNCTIONS)
    def test_writes_into_anothers_session(self, fixed: Rehearsal, function: str) -> None:
        fixed.run(function)
        for role in ("authenticated", "wb_premium"):
            for by in ("assistant", "user"):
                with fixed.aside():
                    assert fixed.outcome(CALL.format(":ben_open"), as_client(role), by=by) == NAMES["ben"]
                    written = "select role::text, user_id::text from messages where content = 'Gut gemacht!'"
                    assert fixed.run(written).to_dict("records") == [{"role": by, "user_id": NAMES["ben"]}]
                    assert fixed.value("select message_count_main from sessions where id = :ben_open") == 3

    @pytest.mark.parametrize("function", TEAM_FUNCTIONS.values(), ids=TEAM_FUNCTIONS)
    def test_is_bound_by_what_holds_for_everybody(self, fixed: Rehearsal, function: str) -> None:
        fixed.run(function)

        def called(session: str, by: str) -> str:
            return fixed.outcome(CALL.format(session), BEN, by=by)

        assert called(":anna_done", "user") == called(":anna_done", "assistant") == "PT409"
        assert called("gen_random_uuid()", "user") == "23503"
        assert [called(":anna_open", "user") for _ in range(2)] == [NAMES["anna"], "PT429"]
        fixed.run("select erase_user(:anna)", SERVICE)
        assert called(":anna_open", "assistant") == "42501"

    @pytest.mark.parametrize("function", [NOTE.format("sql", ""), PLPGSQL.format("")], ids=["sql", "plpgsql"])
    @pytest.mark.parametrize("role", ["authenticated", "wb_premium"])
    def test_that_runs_as_its_caller_is_the_callers(self, fixed: Rehearsal, function: str, role: str) -> None:
        fixed.run(function)
        ben = as_client(role, BEN)
        for session in (":anna_open", ":anna_done", "gen_random_uuid()"):
            assert fixed.outcome(CALL.format(session), ben, by="user") == "42501"
        assert fixed.outcome(CALL.format(":ben_open"), ben, by="assistant") == "42501"
        assert fixed.outcome(CALL.format(":ben_open"), ben, by="user") == NAMES["ben"]

    def test_records_a_session_for_another(self, fixed: Rehearsal) -> None:
        fixed.run("""
            create function public.play(learner uuid) returns text language sql security definer as $$
                insert into public.sessions (user_id, scenario_id, is_completed, started_at, completed_at)
                values (learner, 1, true, '2026-01-01', '2026-01-02')
                returning completed_at::date::text
            $$;
            grant execute on function public.play(uuid) to authenticated""")
        assert fixed.outcome("select play(:ben)", ANNA) == "2026-01-02"
        assert fixed.outcome("select play(:cem)", ANNA) == "23503"

    def test_of_a_trigger_on_a_table_of_its_own(self, fixed: Rehearsal) -> None:
        fixed.run("""
            create table public.praise (session_id uuid);
            grant insert on public.praise to authenticated;
            create function public.praise() returns trigger language plpgsql security definer as $$
            begin
                insert into public.messages (session_id, role, chat_type, content)
                values (new.session_id, 'assistant', 'main', 'Toll!');
                return new;
            end $$;
            create trigger praise after insert on public.praise for each row execute function public.praise()""")
        assert fixed.outcome("insert into praise values (:ben_open)", ANNA) == "INSERT 0 1"
        assert fixed.value("select user_id = :ben from messages where content = 'Toll!'")

    @pytest.mark.parametrize("claims", [None, BEN.user_id])
    def test_service_role_writes_whatever_its_claims(self, fixed: Rehearsal, claims: str | None) -> None:
        service = Actor("service", "service_role", claims)
        assert fixed.outcome(MESSAGE.format(":anna_open"), service) == "INSERT 0 1"
        assert fixed.outcome(MESSAGE.format(":anna_done"), service) == "PT409"
        assert fixed.outcome(MESSAGE.format("gen_random_uuid()"), service) == "23503"

    @pytest.mark.parametrize("role", ["wb_keeper", "wb_exporter"])
    def test_roles_past_the_policies_are_told_what_is(self, fixed: Rehearsal, role: str) -> None:
        if role == "wb_exporter":
            assert fixed.outcome(MESSAGE.format("gen_random_uuid()"), as_client(role), role) == "23503"
        assert fixed.outcome(MESSAGE.format(":anna_done"), as_client(role), role) == "PT409"


JOBS = {
    "delete_expired_sessions": "select (delete_expired_sessions()).status",
    "delete_old_logs": "select (delete_old_logs()).status",
    "reset_weekly_limits": "select (reset_weekly_limits()).status",
    "archive_old_messages": "select (archive_old_messages()).status",
    "erase_user": "select (erase_user(:ben)).status",
    "forget_addresses": "select (forget_addresses()).status",
    "finalize_message": "select finalize_message(:reply)::text",
}
EVERYBODY = "anon, authenticated, wb_premium, wb_premium_plus, wb_app, wb_mobile, wb_scheduler, wb_keeper, wb_exporter"
KEPT_OUT = {
    "anon": (ANON, None),
    "anon login": (ANON, "anon"),
    "authenticated": (ANNA, None),
    "authenticated login": (ANNA, "authenticated"),
    "wb_premium": (as_client("wb_premium"), None),
    "wb_premium login": (as_client("wb_premium"), "wb_premium"),
    "wb_premium_plus": (as_client("wb_premium_plus"), None),
    "wb_app": (as_client("wb_app"), "wb_app"),
    "wb_app without claims": (Actor("wb_app", "wb_app"), "wb_app"),
    "wb_app, switched": (as_client("anon"), "wb_mobile"),
    "API, switched": (ANNA, "authenticator"),
}
LET_IN = {
    "service role": (SERVICE, None),
    "service role by the API": (SERVICE, "authenticator"),
    "service role with claims": (Actor("service", "service_role", NAMES["ben"]), None),
    "owner": (OWNER, None),
    "owner's login": (Actor("owner", "workbook_owner"), "workbook_owner"),
    "administrator": (ADMIN, None),
    "scheduler": (Actor("scheduler", "wb_scheduler"), None),
    "scheduler's login": (Actor("scheduler", "wb_scheduler"), "wb_scheduler"),
    "member of the service role": (Actor("wb_keeper", "wb_keeper"), "wb_keeper"),
    "with BYPASSRLS": (Actor("wb_exporter", "wb_exporter"), "wb_exporter"),
    "with BYPASSRLS and claims": (as_client("wb_exporter"), "wb_exporter"),
}


@pytest.fixture
def granted(fixed: Rehearsal) -> Rehearsal:
    """Everybody may execute every function of public, as after a restore by the owner, and one reply waits to be finished."""
    fixed.run(f"grant execute on all functions in schema public to public, {EVERYBODY}")
    fixed.run(
        "insert into message_chunks (message_id, seq, session_id, chat_type, content) values (:reply, 1, :ben_open, 'main', 'x')",
        SERVICE,
    )
    return fixed


class TestJobs:
    @pytest.mark.parametrize(("actor", "login"), KEPT_OUT.values(), ids=KEPT_OUT)
    def test_refuse_a_client_also_where_it_may_execute_them(self, granted: Rehearsal, actor: Actor, login: str | None) -> None:
        before = granted.value("select count(*) from logs")
        answers = {job: granted.outcome(call, actor, login) for job, call in JOBS.items()}
        assert answers == dict.fromkeys(JOBS, "42501")
        assert granted.value("select count(*) from logs") == before

    @pytest.mark.parametrize(("actor", "login"), LET_IN.values(), ids=LET_IN)
    def test_serve_whoever_is_no_client(self, granted: Rehearsal, actor: Actor, login: str | None) -> None:
        answers = {job: granted.outcome(call, actor, login) for job, call in JOBS.items()}
        assert answers == {**dict.fromkeys(JOBS, "ok"), "finalize_message": answers["finalize_message"]}
        # The erasure has taken the reply that waited.
        assert answers["finalize_message"] == "PT404"

    @pytest.mark.parametrize("role", ["authenticated", "wb_premium"])
    def test_refuse_a_client_behind_a_definer_function(self, granted: Rehearsal, role: str) -> None:
        for job, call in JOBS.items():
            granted.run(
                f"create function public.my_{job}() returns text language sql security definer as :body;"
                f" grant execute on function public.my_{job}() to authenticated",
                body=call.replace(":ben", f"'{NAMES['ben']}'").replace(":reply", f"'{NAMES['reply']}'"),
            )
        answers = {job: granted.outcome(f"select my_{job}()", as_client(role)) for job in JOBS}
        assert answers == dict.fromkeys(JOBS, "42501")

    def test_that_are_new_are_closed_as_all(self, fixed: Rehearsal) -> None:
        open_to = "select array_agg(role) from unnest(array['anon', 'authenticated', 'service_role']) as role where {}"
        for call in JOBS.values():
            name = call.removeprefix("select ").lstrip("(").split("(")[0]
            may = f"(select bool_or(has_function_privilege(role, oid, 'execute')) from pg_proc where proname = '{name}')"
            assert fixed.value(open_to.format(may), ADMIN) == ["service_role"], name

    def test_refusal_says_whose_they_are(self, granted: Rehearsal) -> None:
        refusal = granted.refused("select delete_old_logs()", ANNA, code="42501")
        assert refusal.hint


def tables(database: Rehearsal) -> list[str]:
    """Return every table of schema public."""
    return database.run(
        "select relname::text as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )["name"].tolist()


class TestTruncate:
    @pytest.mark.parametrize(
        "actor", [ANON, ANNA, as_client("wb_premium"), as_client("wb_app"), SERVICE], ids=lambda actor: actor.role
    )
    @pytest.mark.parametrize("is_granted", [True, False], ids=["granted", "as it is"])
    def test_is_refused_to_all_but_the_owner(self, fixed: Rehearsal, actor: Actor, is_granted: bool) -> None:
        if is_granted:
            fixed.run(f"grant truncate on all tables in schema public, private to service_role, {EVERYBODY}")
        answers = {table: fixed.outcome(f"truncate public.{table} cascade", actor) for table in tables(fixed)}
        assert len(answers) >= 8 and answers == dict.fromkeys(answers, "42501")

    @pytest.mark.parametrize("login", ["authenticated", "wb_premium", "wb_app", "service_role"])
    def test_is_refused_to_logins(self, fixed: Rehearsal, login: str) -> None:
        fixed.run(f"grant truncate on all tables in schema public, private to service_role, {EVERYBODY}")
        answers = {table: fixed.outcome(f"truncate public.{table} cascade", as_client(login), login) for table in tables(fixed)}
        assert answers == dict.fromkeys(answers, "42501")

    def test_of_all_at_once_is_refused(self, fixed: Rehearsal) -> None:
        fixed.run("grant truncate on all tables in schema public, private to anon")
        fixed.refused("truncate " + ", ".join(f"public.{table}" for table in tables(fixed)), ANON, code="42501")

    def test_is_the_owners(self, fixed: Rehearsal) -> None:
        answers = {table: fixed.outcome(f"truncate public.{table} cascade") for table in tables(fixed)}
        assert answers == dict.fromkeys(answers, "TRUNCATE TABLE")

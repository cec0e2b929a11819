"""Where an address is when its learner has gone, and what each way of Auth to make, change and end a user does to a profile."""

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
import workbook as wb
from helpers import Rehearsal, rehearsal
from workbook import ADMIN, ANNA, OWNER, SERVICE, Actor, Database, clone, fixes
from workbook.actors import NAMES

LAST = fixes.all_fixes()[-1].number
ADDRESS = "anna@example.org"
PLACEHOLDER = f"{NAMES['anna']}@duplicate.invalid"
DELETE = "delete from auth.users where id = :anna"
SOFT_DELETE = "update auth.users set deleted_at = now(), email = md5(email) || '@x' where id = :anna"
DELETIONS = {
    "deleted": DELETE,
    "soft-deleted": SOFT_DELETE,
    "soft-deleted without address": "update auth.users set deleted_at = now(), email = null where id = :anna",
    "soft-deleted, then deleted": f"{SOFT_DELETE}; {DELETE}",
    "deleted with everybody": "delete from auth.users",
}
SIGN_UP = "insert into auth.users (id, email) values (:cem, :email)"
NOTED = "select array_agg(email order by email) from private.addresses_to_forget"
FORGET = "select (forget_addresses()).status"
ERASE = "select (erase_user(:anna)).status"
OF_ANNA = "select email::text as email, deleted_at is null as is_living from profiles where id = :anna"


@pytest.fixture(scope="module")
def v2() -> Database:
    return clone(LAST)


@pytest.fixture
def fixed(v2: Database) -> Iterator[Rehearsal]:
    with rehearsal(v2) as actors:
        yield actors


def holding(database: Database | Rehearsal, word: str) -> list[str]:
    """Return the tables of the schema in which a word stands anywhere in a row, whatever its case."""
    tables = database.run(
        "select format('%I.%I', relnamespace::regnamespace, relname) as name from pg_class"
        " where relkind = 'r' and relnamespace in ('public'::regnamespace, 'private'::regnamespace) order by 1",
        ADMIN,
    )["name"]
    found = " union all ".join(
        f"select '{name}' as name where exists (select from {name} as line where strpos(lower(line::text), lower(:word)) > 0)"
        for name in tables
    )
    return database.run(found, ADMIN, word=word)["name"].tolist()


def log(
    database: Database | Rehearsal, message: str | None, metadata: object = None, user: str = "null", at: str = "now()"
) -> None:
    """Store a log as a backend does."""
    database.run(
        "insert into logs (level, event_type, user_id, message, metadata, created_at)"
        f" values ('warn', 'user_login_failed', {user}, :message, :metadata, {at})",
        SERVICE,
        message=message,
        metadata=None if metadata is None else json.dumps(metadata),
    )


def profile(database: Database | Rehearsal, name: str = "anna") -> dict[str, object] | None:
    """Return the address of a profile and whether it lives, or None where there is no profile."""
    found = database.run(OF_ANNA, anna=NAMES[name]).to_dict("records")
    return found[0] if found else None


def living(email: str) -> dict[str, object]:
    return {"email": email, "is_living": True}


RETIRED = {"email": None, "is_living": False}


class TestDeletion:
    @pytest.mark.parametrize("deletion", DELETIONS.values(), ids=DELETIONS)
    def test_reaches_every_copy_of_the_address(self, fixed: Rehearsal, deletion: str) -> None:
        log(fixed, f"login of {ADDRESS} failed", {"email": ADDRESS})
        assert holding(fixed, ADDRESS)
        fixed.run(deletion, ADMIN)
        assert profile(fixed) == RETIRED
        assert "private.repairs" not in holding(fixed, ADDRESS)
        assert fixed.value(FORGET, SERVICE) == "ok"
        assert holding(fixed, ADDRESS) == []
        assert fixed.value(NOTED) is None

    @pytest.mark.parametrize("deletion", DELETIONS.values(), ids=DELETIONS)
    def test_notes_the_address_for_the_job(self, fixed: Rehearsal, deletion: str) -> None:
        fixed.run(deletion, ADMIN)
        noted = "select email from private.addresses_to_forget where user_id = :anna and noted_at > now() - interval '1 minute'"
        assert ADDRESS in fixed.run(noted)["email"].tolist()

    @pytest.mark.parametrize("deletion", DELETIONS.values(), ids=DELETIONS)
    def test_takes_no_look_at_logs(self, fixed: Rehearsal, deletion: str) -> None:
        with fixed.turn(ADMIN) as auth:
            auth.run(deletion)
            locked = auth.value(
                "select array_agg(distinct relation::regclass::text) from pg_locks where pid = pg_backend_pid()"
                " and relation in"
                " (select 'logs'::regclass union select inhrelid from pg_inherits where inhparent = 'logs'::regclass)"
            )
        assert locked is None

    def test_reaches_an_address_that_the_profile_had_before(self) -> None:
        drifted = clone("v1")
        drifted.run("update profiles set email = 'Before@example.org' where id = :anna", SERVICE)
        drifted.apply_up_to(LAST)
        assert holding(drifted, "before@example.org") == ["private.repairs"]
        log(drifted, "login of before@example.org failed", {"email": "BEFORE@example.org"})
        drifted.run(DELETE, ADMIN)
        assert "private.repairs" not in holding(drifted, "before@example.org")
        drifted.run(FORGET, SERVICE)
        assert holding(drifted, "before@example.org") == []

    def test_leaves_the_others_alone(self, fixed: Rehearsal) -> None:
        def of_ben() -> list[dict]:
            kept = fixed.run("select before from private.repairs where row_id = cast(:ben as text) order by issue")
            return kept.to_dict("records")

        log(fixed, "login of ben@example.org failed", {"email": "ben@example.org"})
        before = of_ben()
        fixed.run(DELETE, ADMIN)
        fixed.run(FORGET, SERVICE)
        assert before and of_ben() == before
        assert profile(fixed, "ben") == living("ben@example.org")
        assert fixed.value("select message from logs where event_type = 'user_login_failed'") == "login of ben@example.org failed"

    def test_of_a_user_with_a_placeholder_notes_what_auth_knew(self, fixed: Rehearsal) -> None:
        fixed.run("insert into auth.users (id, email, is_sso_user) values (:cem, 'ANNA@example.org', true)", ADMIN)
        fixed.run("delete from auth.users where id = :cem", ADMIN)
        assert [noted.lower() for noted in fixed.value(NOTED) if "duplicate" not in noted] == [ADDRESS]

    @pytest.mark.parametrize("columns", ["(id, is_anonymous) values (:cem, true)", "(id, phone) values (:cem, '+491511')"])
    def test_of_a_user_without_address_notes_nothing(self, fixed: Rehearsal, columns: str) -> None:
        fixed.run(f"insert into auth.users {columns}; delete from auth.users where id = :cem", ADMIN)
        assert fixed.value(NOTED) is None

    def test_that_is_rolled_back_changes_nothing(self, fixed: Rehearsal) -> None:
        fixed.refused(f"{DELETE}; select 1 / 0", ADMIN, code="22012")
        assert (profile(fixed), fixed.value(NOTED)) == (living(ADDRESS), None)


NAMING = [
    ADDRESS,
    "ANNA@Example.ORG",
    f"login of {ADDRESS} failed",
    f"{ADDRESS}, and once more {ADDRESS}",
    f"Anna <{ADDRESS}>",
    f"Nobody is called {ADDRESS}.",
    f'{{"email": "{ADDRESS}"}}',
    f"line\n{ADDRESS}\tcolumn",
    f"'{ADDRESS}' ({ADDRESS}); mailto:{ADDRESS}?",
    f"/login?email={ADDRESS}&next=/",
    "/login?next=%2Fverify%3Femail%3Danna%40example.org%26code%3D1",
]
"""Texts in which Anna's address is a word of its own."""
NOT_NAMING = [
    "susanna@example.org",
    "anna@example.org.evil.com",
    "anna@example.organ",
    "anna@example.org-x.com",
    "eva.anna@example.org",
    "eva-anna@example.org",
    "eva_anna@example.org",
    "eva+anna@example.org",
    "anna@example",
    "annaXexample.org",
    "anna@exampleXorg",
    "äanna@example.org",
    "anna@example.orgä",
    "login of susanna@example.org failed",
]
"""Texts with an address of somebody else's."""
AS_WRITTEN = {
    "a_b@example.org": "aXb@example.org",
    "a%b@example.org": "aXXb@example.org",
    "a.c@example.org": "aXc@example.org",
    "a+d@example.org": "aad@example.org",
    "a*e@example.org": "aae@example.org",
    "a?(b)|f@example.org": "f@example.org",
    "a\\g@example.org": "ag@example.org",
    "a\\1&h@example.org": "a1h@example.org",
    '"a i"@example.org': "i@example.org",
    "o'neill^$@example.org": "oneill@example.org",
    "{a}[j]@example.org": "aj@example.org",
    "jürgen@exämple.org": "jurgen@example.org",
}
"""Addresses with signs that a pattern takes for something else, and one of somebody else's that it would take for each."""
WRAPPINGS = {
    "value": lambda text: {"email": text, "code": "E42"},
    "deep": lambda text: {"request": {"to": [1, None, [{"address": text}], True]}, "code": "E42"},
    "string": lambda text: text,
    "array": lambda text: ["E42", text],
    "key": lambda text: {text: {"tries": 3}, "code": "E42"},
}


def logged(database: Database | Rehearsal) -> list[tuple[str | None, object]]:
    """Return message and metadata of each log of a failed login, oldest first."""
    found = database.run("select message, metadata from logs where event_type = 'user_login_failed' order by created_at")
    return list(found.itertuples(index=False, name=None))


def log_all(database: Database | Rehearsal, logs: list[tuple[str | None, object]]) -> None:
    """Store logs without a user, a second apart, in one statement."""
    database.run(
        "insert into logs (level, event_type, message, metadata, created_at) select 'warn', 'user_login_failed',"
        " line.value ->> 0, nullif(line.value -> 1, 'null'), now() - interval '1 hour' + line.number * interval '1 second'"
        " from jsonb_array_elements(:logs) with ordinality as line (value, number)",
        SERVICE,
        logs=json.dumps(logs),
    )


def is_named(text: str) -> bool:
    return ADDRESS in text.lower().replace("%40", "@")


class TestForgetting:
    @pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
    def test_reaches_the_address_wherever_it_stands_in_metadata(self, fixed: Rehearsal, wrap: Callable[[str], object]) -> None:
        log_all(fixed, [(None, wrap(text)) for text in NAMING])
        fixed.run(DELETE, ADMIN)
        assert fixed.value("select to_jsonb(forget_addresses()) ->> 'error'", SERVICE) is None
        found = [metadata for _, metadata in logged(fixed)]
        assert [metadata for metadata in found if is_named(json.dumps(metadata))] == []
        if isinstance(wrap(""), dict):
            assert {metadata["code"] for metadata in found} == {"E42"}

    def test_reaches_messages(self, fixed: Rehearsal) -> None:
        log_all(fixed, [(text, None) for text in NAMING])
        fixed.run(DELETE, ADMIN)
        fixed.run(FORGET, SERVICE)
        assert [message for message, _ in logged(fixed) if message and is_named(message)] == []

    @pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
    def test_leaves_the_addresses_of_others(self, fixed: Rehearsal, wrap: Callable[[str], object]) -> None:
        before = [(text, wrap(text)) for text in NOT_NAMING]
        log_all(fixed, before)
        fixed.run(DELETE, ADMIN)
        fixed.run(FORGET, SERVICE)
        assert [(now, was) for now, was in zip(logged(fixed), before, strict=True) if now != was] == []

    def test_leaves_what_else_a_log_says(self, fixed: Rehearsal) -> None:
        metadata = {"email": ADDRESS, "code": "E42", "tries": [1, 2.50, None, True], "by": "ben@example.org", "empty": {}}
        log(fixed, None, metadata, at="'2020-01-15 12:00+00'")
        columns = "select id, level, event_type, user_id, session_id, created_at, metadata - 'email' as rest from logs"
        before = fixed.run(columns).to_dict("records")
        fixed.run(DELETE, ADMIN)
        fixed.run(FORGET, SERVICE)
        after = fixed.run(f"{columns} where event_type = 'user_login_failed'").to_dict("records")
        assert after == before

    def test_takes_an_address_as_it_is_written(self, fixed: Rehearsal) -> None:
        for address in AS_WRITTEN:
            fixed.run("insert into auth.users (email) values (:email)", ADMIN, email=address)
        log_all(fixed, [(f"of {address.upper()}, once", {"email": address}) for address in AS_WRITTEN])
        log_all(fixed, [(f"of {other}, once", {"email": other}) for other in AS_WRITTEN.values()])
        fixed.run("delete from auth.users", ADMIN)
        assert fixed.value(FORGET, SERVICE) == "ok"
        said = json.dumps(logged(fixed), ensure_ascii=False).lower()
        assert [address for address in AS_WRITTEN if json.dumps(address, ensure_ascii=False)[1:-1] in said] == []
        for other in AS_WRITTEN.values():
            assert (f"of {other}, once", {"email": other}) in logged(fixed)

    @pytest.mark.parametrize("at", ["now()", "now() + interval '1 month'", "'2020-01-15'", "'1999-12-31'", "'infinity'"])
    def test_reaches_every_partition(self, fixed: Rehearsal, at: str) -> None:
        log(fixed, None, {"email": ADDRESS}, at=at)
        fixed.run(DELETE, ADMIN)
        fixed.run(FORGET, SERVICE)
        assert holding(fixed, ADDRESS) == []

    @pytest.mark.parametrize("user", ["null", ":ben", ":anna"])
    def test_reaches_logs_whoever_they_are_of(self, fixed: Rehearsal, user: str) -> None:
        log(fixed, f"invited {ADDRESS}", {"to": ADDRESS}, user=user)
        fixed.run(DELETE, ADMIN)
        fixed.run(FORGET, SERVICE)
        assert holding(fixed, ADDRESS) == []
        assert fixed.value(f"select user_id is not distinct from cast({user} as uuid) from logs where level = 'warn'")

    def test_says_how_many_logs_it_changed(self, fixed: Rehearsal) -> None:
        log_all(fixed, [(text, {"email": text}) for text in [*NAMING, *NOT_NAMING]])
        fixed.run(DELETE, ADMIN)
        runs = [fixed.value("select to_jsonb(forget_addresses())", SERVICE) for _ in range(2)]
        assert [(run["job"], run["status"], run["affected"]) for run in runs] == [
            ("forget_addresses", "ok", len(NAMING)),
            ("forget_addresses", "ok", 0),
        ]

    def test_names_no_address_in_its_own_log(self, fixed: Rehearsal) -> None:
        log(fixed, None, {"email": ADDRESS})
        fixed.run(DELETE, ADMIN)
        fixed.run(FORGET, SERVICE)
        assert fixed.value("select count(*) from logs where metadata ->> 'job' = 'forget_addresses'") == 1
        assert holding(fixed, "anna@") == []

    def test_that_fails_keeps_the_notes(self, fixed: Rehearsal) -> None:
        log(fixed, None, {"email": ADDRESS})
        fixed.run(DELETE, ADMIN)
        fixed.run(
            "create function public.obstruct() returns trigger language plpgsql as $$ begin perform 1 / 0; end $$;"
            " create trigger obstruct before update on public.logs for each row execute function public.obstruct()"
        )
        assert fixed.value(FORGET, SERVICE) == "failed"
        assert fixed.value(NOTED) == [ADDRESS]
        fixed.run("drop function public.obstruct() cascade")
        assert fixed.value(FORGET, SERVICE) == "ok"
        assert holding(fixed, ADDRESS) == []

    def test_of_several_at_once(self, fixed: Rehearsal) -> None:
        fixed.run(SIGN_UP, ADMIN, email="hanna@example.org")
        log_all(
            fixed, [(f"{ADDRESS} hanna@example.org ben@example.org susanna@example.org", {"to": [ADDRESS, "hanna@example.org"]})]
        )
        fixed.run("delete from auth.users", ADMIN)
        fixed.run(FORGET, SERVICE)
        for address in (ADDRESS, "hanna@example.org", "ben@example.org"):
            assert f" {address}" not in f" {logged(fixed)[0][0] or ''}"
        assert "@" not in json.dumps(logged(fixed)[0][1])

    def test_of_thousands_is_done(self, fixed: Rehearsal) -> None:
        fixed.run(
            "insert into auth.users (email) select 'learner.' || n || '@example.org' from generate_series(1, 3000) as n", ADMIN
        )
        log_all(
            fixed, [(f"login of learner.{n}@example.org failed", {"email": f"LEARNER.{n}@example.org"}) for n in range(1, 51)]
        )
        log_all(fixed, [("login of learner.0@example.org failed", None)])
        fixed.run("delete from auth.users", ADMIN)
        with fixed.turn(SERVICE) as job:
            job.run("set local statement_timeout = '10s'")
            result = job.value("select to_jsonb(forget_addresses())")
        assert (result["status"], result["affected"], result["error"]) == ("ok", 50, None)
        assert [message for message, _ in logged(fixed) if "learner." in message] == ["login of learner.0@example.org failed"]

    @pytest.mark.parametrize("call", [FORGET, "select (erase_user(:anna)).status"], ids=["job", "erasure"])
    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["arrays", "objects"])
    def test_is_not_stopped_by_a_log_that_is_nested_deeply(self, fixed: Rehearsal, call: str, opening: str, closing: str) -> None:
        log(fixed, None, {"email": ADDRESS})
        deep = f'{opening * 2000}"{ADDRESS}"{closing * 2000}'
        fixed.run(
            "insert into logs (level, event_type, metadata) values ('warn', 'user_login_failed', :deep)", SERVICE, deep=deep
        )
        fixed.run(DELETE, ADMIN)
        assert fixed.value(call, SERVICE) == "ok"
        assert holding(fixed, ADDRESS) == []

    def test_beside_an_erasure(self) -> None:
        own = clone(LAST)
        log(own, "first", {"email": ADDRESS})
        log(own, "second", {"email": ADDRESS}, user=":anna")
        own.run(DELETE, ADMIN)
        with wb.concurrently(own, backend=SERVICE, job=SERVICE, erasure=SERVICE) as (backend, job, erasure):
            backend("select id from logs where message = 'first' for update")
            forgotten = job(FORGET)
            erased = erasure(ERASE)
            backend.commit()
            job.commit()
            erasure.commit()
        assert (forgotten.outcome, erased.outcome) == ("ok", "ok")
        assert holding(own, ADDRESS) == []

    def test_does_not_wait_for_a_deletion_that_is_under_way(self) -> None:
        fixed = clone(LAST)
        log(fixed, None, {"email": ADDRESS})
        fixed.run(DELETE, ADMIN)
        with fixed.transaction(ADMIN) as auth:
            auth.run("delete from auth.users where id = :ben")
            with fixed.transaction(SERVICE) as job:
                job.run("set local statement_timeout = '2s'")
                assert job.value(FORGET) == "ok"
        assert fixed.value(NOTED) == ["ben@example.org"]


class TestErasure:
    @pytest.mark.parametrize("metadata", [{"email": ADDRESS}, {"a": [{"b": "ANNA@EXAMPLE.ORG"}]}, f"login of {ADDRESS}", None])
    def test_reaches_the_address_in_logs_at_once(self, fixed: Rehearsal, metadata: object) -> None:
        log(fixed, f"login of {ADDRESS} failed", metadata)
        log(fixed, "login of susanna@example.org failed", {"email": "susanna@example.org"})
        assert fixed.value(ERASE, SERVICE) == "ok"
        assert holding(fixed, f" {ADDRESS}") == holding(fixed, f'"{ADDRESS}') == []
        assert holding(fixed, "susanna@example.org") != []

    @pytest.mark.parametrize("deletion", [deletion for deletion in DELETIONS.values() if "everybody" not in deletion])
    def test_after_the_deletion_takes_the_note_too(self, fixed: Rehearsal, deletion: str) -> None:
        log(fixed, None, {"email": ADDRESS})
        fixed.run(deletion, ADMIN)
        assert fixed.value(ERASE, SERVICE) == "ok"
        assert holding(fixed, ADDRESS) == []

    def test_before_the_deletion_leaves_no_note_for_good(self, fixed: Rehearsal) -> None:
        fixed.run(ERASE, SERVICE)
        log(fixed, "late", {"email": ADDRESS})
        fixed.run(DELETE, ADMIN)
        fixed.run(FORGET, SERVICE)
        assert holding(fixed, ADDRESS) == []

    @pytest.mark.parametrize("content", ["content", "''"], ids=["with text", "erased before"])
    @pytest.mark.parametrize("is_archived", [False, True], ids=["messages", "archive"])
    def test_overwrites_the_reason_of_a_deletion(self, fixed: Rehearsal, is_archived: bool, content: str) -> None:
        hide = f"set deleted_at = now(), deleted_reason = 'insulted Anna Example', content = {content} where user_id = :anna"
        fixed.run(f"update messages {hide}", SERVICE)
        if is_archived:
            fixed.run(
                "set local session_replication_role = replica; update messages set sent_at = now() - interval '2 years'", ADMIN
            )
            fixed.run("select archive_old_messages()", SERVICE)
        fixed.run(ERASE, SERVICE)
        table = "messages_archive" if is_archived else "messages"
        assert fixed.value(f"select array_agg(distinct deleted_reason) from {table} where user_id = :anna") == ["erased"]
        assert holding(fixed, "Anna Example") == []

    def test_leaves_the_reasons_of_others(self, fixed: Rehearsal) -> None:
        fixed.run("update messages set deleted_at = now(), deleted_reason = 'spam' where user_id = :ben", SERVICE)
        fixed.run(ERASE, SERVICE)
        assert fixed.value("select array_agg(distinct deleted_reason) from messages where user_id = :ben") == ["spam"]


PLAIN_WITHOUT_ADDRESS = {
    "null": "(id) values (:cem)",
    "empty": "(id, email) values (:cem, '')",
    "blank": "(id, email) values (:cem, E' \\t\\n')",
    "with an empty phone": "(id, phone) values (:cem, '')",
}
ACCEPTED_WITHOUT_ADDRESS = {
    "anonymous": "(id, is_anonymous) values (:cem, true)",
    "anonymous, empty": "(id, is_anonymous, email) values (:cem, true, '')",
    "phone": "(id, phone) values (:cem, '+4915112345678')",
    "phone, empty": "(id, phone, email) values (:cem, '+4915112345678', '')",
}
CEM_HAS = "update auth.users set email = :email where id = :cem"
ANNAS_ADDRESSES = [ADDRESS, "Anna@Example.Org", "ANNA@EXAMPLE.ORG"]


class TestSignUp:
    @pytest.mark.parametrize("columns", PLAIN_WITHOUT_ADDRESS.values(), ids=PLAIN_WITHOUT_ADDRESS)
    def test_of_a_plain_user_needs_an_address(self, fixed: Rehearsal, columns: str) -> None:
        fixed.refused(f"insert into auth.users {columns}", ADMIN, code="23514")

    @pytest.mark.parametrize("columns", ACCEPTED_WITHOUT_ADDRESS.values(), ids=ACCEPTED_WITHOUT_ADDRESS)
    def test_of_another_kind_waits_for_its_address(self, fixed: Rehearsal, columns: str) -> None:
        fixed.run(f"insert into auth.users {columns}", ADMIN)
        assert profile(fixed, "cem") is None
        fixed.run(CEM_HAS, ADMIN, email="cem@example.org")
        assert profile(fixed, "cem") == living("cem@example.org")
        assert fixed.value("select week_reset_date = private.next_week_reset(now()) from profiles where id = :cem")
        fixed.run("insert into sessions (user_id, scenario_id) values (:cem, 1)", Actor("Cem", "authenticated", NAMES["cem"]))

    @pytest.mark.parametrize("columns", ACCEPTED_WITHOUT_ADDRESS.values(), ids=ACCEPTED_WITHOUT_ADDRESS)
    def test_of_another_kind_makes_no_profile_of_a_blank(self, fixed: Rehearsal, columns: str) -> None:
        fixed.run(f"insert into auth.users {columns}", ADMIN)
        for blank in ("", None, " ", None, "\t"):
            fixed.run(CEM_HAS, ADMIN, email=blank)
        assert profile(fixed, "cem") is None

    @pytest.mark.parametrize("columns", ACCEPTED_WITHOUT_ADDRESS.values(), ids=ACCEPTED_WITHOUT_ADDRESS)
    def test_of_another_kind_does_not_take_somebodys_address_later(self, fixed: Rehearsal, columns: str) -> None:
        fixed.run(f"insert into auth.users {columns}", ADMIN)
        refuses_address_in_use(fixed, CEM_HAS, "Anna@Example.Org")
        assert profile(fixed, "cem") is None

    def test_of_an_anonymous_user_who_becomes_a_plain_one(self, fixed: Rehearsal) -> None:
        fixed.run("insert into auth.users (id, is_anonymous) values (:cem, true)", ADMIN)
        fixed.run("update auth.users set is_anonymous = false, email = 'cem@example.org' where id = :cem", ADMIN)
        assert profile(fixed, "cem") == living("cem@example.org")

    @pytest.mark.parametrize("kind", ["is_anonymous, phone", "is_sso_user, phone"])
    def test_with_an_address_makes_the_profile_at_once(self, fixed: Rehearsal, kind: str) -> None:
        fixed.run(f"insert into auth.users (id, email, {kind}) values (:cem, 'cem@example.org', true, '+4915')", ADMIN)
        assert profile(fixed, "cem") == living("cem@example.org")

    @pytest.mark.parametrize("email", ANNAS_ADDRESSES)
    def test_of_single_sign_on_with_a_used_address_takes_a_placeholder(self, fixed: Rehearsal, email: str) -> None:
        fixed.run("insert into auth.users (id, email, is_sso_user) values (:cem, :email, true)", ADMIN, email=email)
        assert profile(fixed, "cem") == living(f"{NAMES['cem']}@duplicate.invalid")
        assert profile(fixed) == living(ADDRESS)

    def test_of_single_sign_on_once_more_and_once_more(self, fixed: Rehearsal) -> None:
        for _ in range(3):
            fixed.run(f"insert into auth.users (email, is_sso_user) values ('{ADDRESS}', true)", ADMIN)
        assert fixed.value("select count(*) from profiles where email::text ~ '@duplicate.invalid$'") == 3

    @pytest.mark.parametrize("email", ANNAS_ADDRESSES)
    def test_of_a_plain_user_with_a_used_address_is_refused(self, fixed: Rehearsal, email: str) -> None:
        refuses_address_in_use(fixed, SIGN_UP, email)
        assert profile(fixed, "cem") is None

    @pytest.mark.parametrize("email", ANNAS_ADDRESSES)
    def test_with_the_address_of_a_deleted_learner(self, fixed: Rehearsal, email: str) -> None:
        fixed.run(DELETE, ADMIN)
        fixed.run(SIGN_UP, ADMIN, email=email)
        assert profile(fixed, "cem") == living(email)

    def test_of_somebody_who_is_deleted_already_makes_no_living_profile(self, fixed: Rehearsal) -> None:
        fixed.run("insert into auth.users (id, email, deleted_at) values (:cem, md5('cem') || '@x', now())", ADMIN)
        assert profile(fixed, "cem") in (None, RETIRED)

    def test_with_somebodys_placeholder_is_in_nobodys_way(self, fixed: Rehearsal) -> None:
        fixed.outcome("insert into auth.users (email) values (:email)", ADMIN, email=PLACEHOLDER)
        fixed.outcome("insert into auth.users (email) values (:email)", ADMIN, email=f"{NAMES['cem']}@duplicate.invalid")
        fixed.run("insert into auth.users (id, email, is_sso_user) values (:cem, :email, true)", ADMIN, email=ADDRESS)
        assert (profile(fixed, "cem") or {}).get("is_living"), "a user without a profile"
        fixed.run("update auth.users set email = null where id = :anna", ADMIN)
        assert profile(fixed) == living(PLACEHOLDER)


def refuses_address_in_use(database: Database | Rehearsal, statement: str, email: str) -> None:
    """Assert that a statement with this address is refused, and in words wherever the profile refuses it."""
    with pytest.raises((psycopg.errors.UniqueViolation, psycopg.errors.CheckViolation)) as refusal:
        database.run(statement, ADMIN, email=email)
    diagnosis = refusal.value.diag
    # What is the same to the letter Auth's own index refuses.
    if diagnosis.constraint_name != "users_email_partial_key":
        assert diagnosis.message_hint and "violates" not in diagnosis.message_primary, diagnosis.message_primary


HAS = "update auth.users set email = :email where id = :anna"


class TestChangeOfAddress:
    @pytest.mark.parametrize("email", [None, "", " \t"])
    @pytest.mark.parametrize("kind", ["false", "true"], ids=["plain", "single sign-on"])
    def test_to_none_leaves_a_placeholder(self, fixed: Rehearsal, email: str | None, kind: str) -> None:
        fixed.run(f"update auth.users set email = :email, is_sso_user = {kind} where id = :anna", ADMIN, email=email)
        assert profile(fixed) == living(PLACEHOLDER)
        fixed.run(HAS, ADMIN, email="back@example.org")
        assert profile(fixed) == living("back@example.org")

    def test_to_none_by_everybody(self, fixed: Rehearsal) -> None:
        fixed.run("update auth.users set email = null", ADMIN)
        assert fixed.value("select bool_and(email::text = id || '@duplicate.invalid') from profiles")

    @pytest.mark.parametrize("email", ["ben@example.org", "Ben@Example.Org", "BEN@EXAMPLE.ORG"])
    def test_to_somebody_elses(self, fixed: Rehearsal, email: str) -> None:
        refuses_address_in_use(fixed, HAS, email)
        assert profile(fixed) == living(ADDRESS)
        fixed.run("update auth.users set is_sso_user = true where id = :anna", ADMIN)
        fixed.run(HAS, ADMIN, email=email)
        assert profile(fixed) == living(PLACEHOLDER)

    @pytest.mark.parametrize("email", ["Anna@Example.Org", "new@example.org"])
    def test_is_carried_over(self, fixed: Rehearsal, email: str) -> None:
        fixed.run(HAS, ADMIN, email=email)
        assert profile(fixed) == living(email)

    def test_of_two_who_swap(self, fixed: Rehearsal) -> None:
        fixed.run(HAS, ADMIN, email="for now@example.org")
        fixed.run("update auth.users set email = :email where id = :ben", ADMIN, email=ADDRESS)
        fixed.run(HAS, ADMIN, email="ben@example.org")
        assert (profile(fixed), profile(fixed, "ben")) == (living("ben@example.org"), living(ADDRESS))

    @pytest.mark.parametrize("email", ["new@example.org", ADDRESS, None])
    def test_of_a_soft_deleted_user_brings_nobody_back(self, fixed: Rehearsal, email: str | None) -> None:
        fixed.run(SOFT_DELETE, ADMIN)
        fixed.run(HAS, ADMIN, email=email)
        assert profile(fixed) == RETIRED


AGAIN = "insert into auth.users (id, email{}) values (:anna, :email{})"


class TestUserMadeAgain:
    @pytest.mark.parametrize("email", ["new@example.org", ADDRESS])
    @pytest.mark.parametrize("deletion", [DELETE, f"{SOFT_DELETE}; {DELETE}"], ids=["deleted", "soft-deleted before"])
    def test_has_the_old_profile(self, fixed: Rehearsal, deletion: str, email: str) -> None:
        counts = "select completed_scenario_count, current_week_completion_count, created_at from profiles where id = :anna"
        before = fixed.run(counts)
        fixed.run(deletion, ADMIN)
        fixed.run(AGAIN.format("", ""), ADMIN, email=email)
        assert profile(fixed) == living(email)
        assert fixed.run(counts).equals(before)
        fixed.run("insert into messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'x')", ANNA)

    def test_finds_nothing_of_what_was_erased(self, fixed: Rehearsal) -> None:
        fixed.run(ERASE, SERVICE)
        fixed.run(DELETE, ADMIN)
        fixed.run(AGAIN.format("", ""), ADMIN, email=ADDRESS)
        assert profile(fixed) == living(ADDRESS)
        assert fixed.value("select count(*) from messages", ANNA) == 0
        assert fixed.value("select count(*) from messages where user_id = :anna and content <> ''") == 0

    def test_without_address_stays_retired_until_there_is_one(self, fixed: Rehearsal) -> None:
        fixed.run(DELETE, ADMIN)
        fixed.run("insert into auth.users (id, is_anonymous) values (:anna, true)", ADMIN)
        assert profile(fixed) == RETIRED
        fixed.run(HAS, ADMIN, email="new@example.org")
        assert profile(fixed) == living("new@example.org")

    def test_with_somebody_elses_address(self, fixed: Rehearsal) -> None:
        fixed.run(DELETE, ADMIN)
        refuses_address_in_use(fixed, AGAIN.format("", ""), "Ben@Example.Org")
        assert profile(fixed) == RETIRED
        fixed.run(AGAIN.format(", is_sso_user", ", true"), ADMIN, email="Ben@Example.Org")
        assert profile(fixed) == living(PLACEHOLDER)

    def test_and_deleted_again(self, fixed: Rehearsal) -> None:
        for email in (ADDRESS, "new@example.org"):
            fixed.run(DELETE, ADMIN)
            fixed.run(AGAIN.format("", ""), ADMIN, email=email)
            log(fixed, None, {"email": email})
        fixed.run(DELETE, ADMIN)
        fixed.run(FORGET, SERVICE)
        assert profile(fixed) == RETIRED
        assert holding(fixed, ADDRESS) == holding(fixed, "new@example.org") == []


def test_users_soft_deleted_before_the_fixes_are_retired_by_them() -> None:
    old = clone("v1")
    changes = ["email = md5(email) || '@x'", "email = null", "email = ''", "email = email"]
    for number, change in enumerate(changes):
        old.run(f"insert into auth.users (email) values ('gone{number}@example.org')", ADMIN)
        gone = f"email = 'gone{number}@example.org'"
        old.run(f"update auth.users set deleted_at = now() - interval '1 day', {change} where {gone}", ADMIN)
    old.run(
        "insert into logs (level, event_type, metadata)"
        " select 'warn', 'user_login_failed', jsonb_build_object('email', email) from profiles",
        SERVICE,
    )
    old.apply_up_to(LAST)
    assert old.value("select array_agg(email::text order by email::text) from profiles where deleted_at is null") == [
        ADDRESS,
        "ben@example.org",
    ]
    assert old.value("select count(*) from profiles where email is null") == len(changes)
    assert "private.repairs" not in holding(old, "gone")
    old.run(FORGET, SERVICE)
    assert holding(old, "gone") == []
    assert "public.profiles" in holding(old, ADDRESS)


@pytest.mark.parametrize("actor", [SERVICE, OWNER], ids=["service", "owner"])
class TestOneSourceOfTruth:
    @pytest.mark.parametrize("email", ["'x'", "'new@example.org'", "'ben@example.org'", "id || '@duplicate.invalid'"])
    def test_another_address_is_refused(self, fixed: Rehearsal, actor: Actor, email: str) -> None:
        fixed.refused(f"update public.profiles set email = {email} where id = :anna", actor, code="23001")
        assert profile(fixed) == living(ADDRESS)

    def test_its_own_is_none(self, fixed: Rehearsal, actor: Actor) -> None:
        for email in ("'Anna@Example.Org'", "email", "lower(email::text)"):
            assert fixed.run(f"update public.profiles set email = {email} where id = :anna", actor) == "UPDATE 1"

    def test_a_new_profile_has_its_users_address(self, fixed: Rehearsal, actor: Actor) -> None:
        fixed.run(
            "set local session_replication_role = replica; insert into auth.users (id, email) values (:cem, 'cem@example.org')",
            ADMIN,
        )
        insert = "insert into public.profiles (id, email, week_reset_date) values (:cem, :email, now())"
        for email in ("x@example.org", "ben@example.org", ADDRESS):
            fixed.refused(insert, actor, code="23001", email=email)
        fixed.run(insert, actor, email="Cem@example.org")

    @pytest.mark.parametrize("deletion", [DELETE, SOFT_DELETE], ids=["deleted", "soft-deleted"])
    def test_a_retired_profile_gets_none(self, fixed: Rehearsal, actor: Actor, deletion: str) -> None:
        fixed.run(deletion, ADMIN)
        revive = "update profiles set email = :email, deleted_at = null where id = :anna"
        fixed.refused(revive, actor, code="23001", email=ADDRESS)

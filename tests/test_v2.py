"""Schema v2 as a whole: quick to reach, the same each time, closed to whom it should be, and jobs that say how they fared."""

import json
import subprocess
import time

import pytest
import workbook as wb
from helpers import schema
from workbook import ADMIN, SERVICE, Database, clone, database, fixes
from workbook.checks import CHECKS
from workbook.server import EmbeddedServer

FIXES = fixes.all_fixes()
LAST = FIXES[-1].number
LONGEST_S = 5
"""Far from the half second that all fixes take on an empty schema."""


@pytest.fixture(scope="module")
def builds() -> list[tuple[Database, float]]:
    """Two databases that every fix was applied to, one of them made from nothing, and the seconds that the fixes took."""
    # The clone first: the roles come with its template.
    from_template, from_nothing = clone("v1", data="empty"), Database(database._create(None))
    database._fill(from_nothing, "empty")
    built = []
    for empty in (from_template, from_nothing):
        begin = time.monotonic()
        assert len(empty.apply_up_to(LAST)) == len(FIXES)
        built.append((empty, time.monotonic() - begin))
    return built


class TestBuild:
    def test_is_quick_on_an_empty_schema(self, builds: list[tuple[Database, float]]) -> None:
        assert min(seconds for _, seconds in builds) <= LONGEST_S

    def test_is_the_same_each_time(self, builds: list[tuple[Database, float]]) -> None:
        one, other = (schema(built) for built, _ in builds)
        assert len(one) > 500
        assert set(one) ^ set(other) == set()

    def test_is_the_same_to_pg_dump(self, builds: list[tuple[Database, float]]) -> None:
        own = EmbeddedServer.of_checkout()
        program = own.programs / "bin" / "pg_dump"
        with builds[0][0].connect() as connection:
            server_major = connection.info.server_version // 10_000
        if not program.exists() or int(own.major) < server_major:
            pytest.skip(f"there is no pg_dump here for PostgreSQL {server_major}")
        one, other = (
            subprocess.run([program, "--schema-only", built.url], capture_output=True, text=True, check=True).stdout.splitlines()
            for built, _ in builds
        )
        assert len(one) > 1000
        # Newer releases guard the script with a word that they make up each time, and some number a column's versions.
        made_up = ("\\restrict ", "\\unrestrict ")
        lines = [[line for line in dump if not line.startswith(made_up) and "pg_attver=" not in line] for dump in (one, other)]
        assert lines[0] == lines[1]


class TestAccess:
    def test_nobody_has_a_right_in_public_that_the_matrix_does_not_list(self) -> None:
        assert wb.compare_privileges(clone(LAST)).to_dict("records") == []

    def test_nobody_gets_into_private_or_makes_objects_in_public(self) -> None:
        found = clone(LAST).run(
            """
            select role, schema, privilege
            from unnest(array['anon', 'authenticated', 'service_role', 'authenticator']) as role
            cross join (values ('private', 'usage'), ('private', 'create'), ('public', 'create')) as may (schema, privilege)
            where has_schema_privilege(role, schema, privilege)""",
            ADMIN,
        )
        assert found.to_dict("records") == []


class TestDirtyRows:
    def test_none_is_lost_on_the_way(self) -> None:
        def ids(table: str) -> list[str]:
            return dirty.run(f"select id::text from {table} order by 1", ADMIN)["id"].tolist()

        dirty = clone("v1", data="dirty")
        tables = ("auth.users", "profiles", "scenarios", "sessions", "messages", "logs")
        before = {table: ids(table) for table in tables}
        dirty.apply_up_to(LAST)
        for table in tables:
            assert set(before[table]) <= set(ids(table)), table

    @pytest.mark.slow
    @pytest.mark.parametrize("number", sorted(CHECKS))
    def test_no_flaw_is_left_among_them(self, number: int) -> None:
        assert wb.look(number, clone(LAST, data="dirty")) is None


EXPIRE = "select to_jsonb(delete_expired_sessions())"


class TestFailingJob:
    @pytest.mark.parametrize(
        ("obstacle", "call", "error"),
        [
            ("raise exception 'the disk is full'", EXPIRE, "P0001: the disk is full"),
            ("perform 1 / 0", EXPIRE, "22012: division by zero"),
            ("assert false, 'not so'", EXPIRE, "P0004: not so"),
            ("perform pg_sleep(60)", EXPIRE, "57014: canceling statement due to statement timeout"),
            ("null", "select to_jsonb(archive_old_messages(0))", "22023: cutoff_months and batch_size have to be 1 or more"),
            ("null", "select to_jsonb(reset_weekly_limits(null))", "22023: batch_size has to be 1 or more"),
            ("null", "select to_jsonb(erase_user(:cem))", "PT404: there is no such learner"),
        ],
        ids=["refused", "error", "assertion", "timeout", "archive", "reset", "erase"],
    )
    def test_says_so_once_and_undoes_its_work(self, obstacle: str, call: str, error: str) -> None:
        v2 = clone(LAST)
        v2.run("update sessions set last_activity_at = now() - interval '8 days' where id in (:anna_open, :ben_open)")
        v2.run(f"""
            create function public.obstruct() returns trigger language plpgsql as $$ begin {obstacle}; return old; end $$;
            create trigger obstruct before delete on public.sessions
            for each row when (old.id = :ben_open) execute function public.obstruct()""")

        with v2.connect() as listener:
            listener.execute("listen job_failed")
            with v2.transaction(SERVICE) as service:
                service.run("set local statement_timeout = '500ms'")
                result = service.value(call)
            heard = [json.loads(notice.payload) for notice in listener.notifies(timeout=5, stop_after=1)]
            heard += [json.loads(notice.payload) for notice in listener.notifies(timeout=0.1)]

        assert (result["status"], result["affected"], result["error"]) == ("failed", 0, error)
        logged = v2.run("select level, event_type, message, metadata from logs")
        assert logged.to_dict("records") == [
            {"level": "error", "event_type": "job_failed", "message": f"{result['job']}: {error}", "metadata": result}
        ]
        assert heard == [{key: result[key] for key in ("job_id", "job", "error")}]

        v2.run("drop function public.obstruct() cascade")
        again = v2.value(EXPIRE, SERVICE)
        assert (again["status"], again["affected"]) == ("ok", 2)

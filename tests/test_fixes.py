"""The fix files: applied cleanly or not at all, in order, once, and without losing a row."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from workbook import ADMIN, Database, clone, fixes, look
from workbook.checks import CHECKS
from workbook.errors import WorkbookError

FIXES = fixes.all_fixes()
LAST = FIXES[-1].number
TABLES = ("profiles", "scenarios", "sessions", "messages", "logs")

# Where a fix took a fact of v1 to, by table: the old column and what stands in its place.
MOVED = {"sessions": {"created_at": "started_at"}, "messages": {"timestamp": "sent_at", "created_at": "sent_at"}}

# Values that a fix renamed, by table and column; what the new one leaves out, another column says.
RENAMED = {("messages", "role"): {"scenario": "assistant", "helper": "assistant"}}


def said(table: str, column: str, value: object) -> list[object]:
    """Return the ways in which a fact of v1 may stand in the table now."""
    renamed = RENAMED.get((table, column))
    return [value, renamed.get(value, value)] if renamed else [value]


def rows(database: Database, table: str) -> dict[str, dict]:
    """Return the rows of a table as JSON objects, by primary key."""
    found = database.run(f"select id::text, to_jsonb(t) as row from public.{table} as t", ADMIN)
    return dict(zip(found["id"], found["row"], strict=True))


@pytest.mark.parametrize("fix", FIXES, ids=lambda fix: fix.name)
class TestFixFile:
    def test_is_one_transaction_with_a_header(self, fix: fixes.Fix) -> None:
        assert fix.body
        header = fix.text.split("\n\n")[0]
        assert re.match(rf"-- {fix.number:02} · .+\n-- Locks: .+\n(-- .+\n)*-- Repairs: .+", header)

    @pytest.mark.slow
    def test_runs_as_it_is_outside_the_workbook(self, fix: fixes.Fix) -> None:
        database = clone("v1", data="dirty")
        with database.connect() as connection:
            connection.execute("set role workbook_owner")
            for earlier in fixes.up_to(fix.number):
                connection.execute(earlier.text)
        if fix.number in CHECKS:
            assert look(fix.number, database) is None

    @pytest.mark.slow
    def test_loses_no_dirty_row_and_locks_what_its_header_names(self, fix: fixes.Fix) -> None:
        v1, fixed = clone("v1", data="dirty"), clone(fix.number - 1 if fix.number else "v1", data="dirty")
        applied = fixed.apply(fix.number)
        header = re.search(r"-- Locks:(.+?)-- Repairs", fix.text, re.DOTALL)[1]
        assert all(table in header and mode in header for table, mode in applied.locks.items())
        assert bool(applied.locks) == ("nothing" not in header.splitlines()[0])

        repairs = fixed.run("select table_name, row_id, before from private.repairs order by issue")
        kept: dict[tuple[str, str], list[dict]] = {}
        for table, row_id, before in repairs.itertuples(index=False):
            kept.setdefault((table, row_id), []).append(before)
        for table in TABLES:
            now = rows(fixed, table)
            for row_id, old in rows(v1, table).items():
                present = {**now.get(row_id, {})}
                for column, successor in MOVED.get(table, {}).items():
                    present.setdefault(column, present.get(successor))
                changed = {column for column, value in old.items() if present.get(column) not in said(table, column, value)}
                images = kept.get((table, row_id), [])
                lost = {column for column in changed if not any(image.get(column) == old[column] for image in images)}
                # Every update, a repair included, dates the row anew.
                assert lost <= ({"updated_at"} if images else set()), (table, row_id, json.dumps(old))

    @pytest.mark.slow
    def test_second_run_is_refused_and_changes_nothing(self, fix: fixes.Fix) -> None:
        database = clone(fix.number, data="dirty")
        before = rows(database, "sessions")
        with pytest.raises(WorkbookError, match="applied to this database already"):
            database.apply(fix.number)
        # By hand, past the workbook's own book-keeping: it fails as a whole, or does the same again.
        with database.connect() as connection:
            connection.execute("set role workbook_owner")
            try:
                connection.execute(fix.text)
            except Exception:
                connection.execute("rollback")
        assert rows(database, "sessions") == before
        assert look(fix.number, database) is None if fix.number in CHECKS else True


@pytest.mark.parametrize("number", sorted(CHECKS))
def test_check_sees_the_flaw_right_before_its_fix_and_never_after(number: int) -> None:
    assert look(number, clone(number - 1)) is not None
    assert look(number, clone(LAST)) is None


def test_everything_carries_a_comment_and_definers_are_locked_up() -> None:
    database = clone(LAST)
    without_comment = database.run(
        """
        with ours as (
            select oid from pg_namespace where nspname in ('public', 'private', 'supabase_migrations')
        ),
        relations as (
            select pg_class.oid
            from pg_class
            where relnamespace in (select oid from ours) and relkind in ('r', 'p', 'v', 'm') and not relispartition
        )
        select oid::regprocedure::text as object
        from pg_proc
        where pronamespace in (select oid from ours) and obj_description(oid, 'pg_proc') is null
        union all
        select oid::regclass::text
        from relations
        where obj_description(oid, 'pg_class') is null
        union all
        select attrelid::regclass || '.' || attname
        from pg_attribute
        where attrelid in (select oid from relations)
            and attnum > 0 and not attisdropped and col_description(attrelid, attnum) is null
        union all
        select polname::text
        from pg_policy
        where obj_description(oid, 'pg_policy') is null
        union all
        select tgname::text
        from pg_trigger
        where tgrelid in (select oid from relations) and not tgisinternal and tgparentid = 0
            and obj_description(oid, 'pg_trigger') is null
        union all
        select typname::text
        from pg_type
        where typnamespace in (select oid from ours) and (typtype = 'e' or typname = 'job_result')
            and obj_description(oid, 'pg_type') is null
        order by 1""",
        ADMIN,
    )
    assert without_comment["object"].tolist() == []
    careless = database.run("""
        select p.oid::regprocedure::text as function
        from pg_proc as p
        cross join unnest(array['anon', 'authenticated']) as role
        where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
            and p.prosecdef
            and (p.proconfig @> array['search_path=""'] is not true or has_function_privilege(role, p.oid, 'execute'))""")
    assert careless["function"].tolist() == []


def test_the_first_fix_knows_every_name_that_the_others_need_in_private() -> None:
    database = clone("v1", data="empty")
    taken: set[str] = set()
    for fix in FIXES:
        database.apply(fix.number)
        taken |= set(
            database.run(
                """
                select relname::text as name
                from pg_class
                where relnamespace = 'private'::regnamespace and relkind in ('r', 'p', 'v', 'c') and not relispartition
                union
                select format('%s(%s)', proname, array_to_string(proargtypes::regtype[], ','))
                from pg_proc
                where pronamespace = 'private'::regnamespace""",
                ADMIN,
            )["name"]
        )
    known = re.search(r"relations constant text(.+?)taken text;", fixes.find(0).text, re.DOTALL)[1]
    assert taken - set(re.findall(r"'([^']+)'", known)) == set()


class TestMisuse:
    def test_unknown_number(self) -> None:
        with pytest.raises(WorkbookError, match=r"There is no fix 99; sql/fixes holds 00 to \d\d\.$"):
            clone("v1").apply(99)
        with pytest.raises(WorkbookError, match="There is no fix 99"):
            clone(99)

    def test_out_of_order(self) -> None:
        database = clone(1)
        with pytest.raises(WorkbookError, match=r"^Fix 03 builds on fix 02, which is not applied yet; apply that one first\.$"):
            database.apply(3)

    def test_two_files_with_one_number(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        folder = fixes_in(tmp_path, {"00_a.sql": "begin;\nselect 1;\ncommit;\n", "00_b.sql": "begin;\nselect 1;\ncommit;\n"})
        use(monkeypatch, folder)
        with pytest.raises(WorkbookError, match="have the same number"):
            fixes.all_fixes()

    @pytest.mark.parametrize("text", ["", "-- only a header\n", "begin;\n\ncommit;\n", "create table public.t ();\n"])
    def test_file_that_is_not_one_transaction(self, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        database = clone("v1")
        use(monkeypatch, fixes_in(tmp_path, {"00_broken.sql": text}))
        with pytest.raises(WorkbookError, match="is not one transaction"):
            database.apply(0)

    def test_error_in_the_middle_leaves_nothing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        database = clone("v1")
        text = "begin;\ncreate table public.half (id integer);\nselect 1 / 0;\ncommit;\n"
        use(monkeypatch, fixes_in(tmp_path, {"00_broken.sql": text}))
        with pytest.raises(WorkbookError, match=r"failed and left nothing behind \(22012: division by zero\)") as caught:
            database.apply(0)
        assert "\n" not in str(caught.value)
        assert database.value("select to_regclass('public.half') is null and to_regnamespace('supabase_migrations') is null")

    def test_two_appliers_at_once(self) -> None:
        database = clone(0)

        def attempt(_: int) -> str:
            try:
                database.apply(1)
            except WorkbookError as error:
                return str(error)
            return "applied"

        with ThreadPoolExecutor(2) as pool:
            outcomes = sorted(pool.map(attempt, range(2)))
        assert outcomes == ["Fix 01 is applied to this database already; take a fresh clone to see it again.", "applied"]

    def test_gives_up_when_it_cannot_get_its_lock(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        database = clone(0)
        hurried = {fix.path.name: fix.text.replace("lock_timeout = '5s'", "lock_timeout = '50ms'") for fix in FIXES[:2]}
        use(monkeypatch, fixes_in(tmp_path, hurried))
        with database.connect() as reader, reader.transaction():
            reader.execute("select from public.sessions")
            with pytest.raises(WorkbookError, match="55P03"):
                database.apply(1)
        database.apply(1)


def fixes_in(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the workbook find its fixes in another folder."""
    monkeypatch.setattr(fixes, "FOLDER", folder)
    monkeypatch.setattr(fixes, "ROOT", folder)
    monkeypatch.setattr(fixes, "all_fixes", fixes.all_fixes.__wrapped__)

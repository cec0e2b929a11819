"""The fixes in a Supabase project: later than its own migrations, whole, in order, and never over something."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import date
from pathlib import Path

import psycopg
import pytest
from helpers import is_one_sentence, schema
from workbook import clone, fixes, migrations, server
from workbook.__main__ import main
from workbook.errors import WorkbookError
from workbook.paths import SQL

FIXES = fixes.all_fixes()
TODAY = date(2026, 3, 9)
V1 = "20251109120000_create_maraum_schema.sql"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The migrations of a project that holds v1."""
    folder = tmp_path / "supabase" / "migrations"
    folder.mkdir(parents=True)
    (folder / V1).write_text((SQL / "v1" / "schema.sql").read_text())
    return folder


def project(folder: Path) -> str:
    """The project that a folder of migrations belongs to."""
    return str(folder.parents[1])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refusal(folder: Path) -> str:
    """Return why the fixes are refused; not a byte has changed then."""
    before = contents(folder)
    with pytest.raises(WorkbookError) as caught:
        migrations.write(project(folder), TODAY)
    assert is_one_sentence(caught.value)
    assert contents(folder) == before
    return str(caught.value)


class TestWhatIsWritten:
    def test_every_fix_as_it_is_a_second_apart_after_what_is_there(self, folder: Path) -> None:
        before = contents(folder)
        said = migrations.write(project(folder), TODAY)
        after = contents(folder)
        assert list(after)[: len(before)] == list(before)
        ours = list(after)[len(before) :]
        assert ours == [f"202603090000{fix.number:02}_{fix.name}.sql" for fix in FIXES]
        assert {**before, **dict(zip(ours, (fix.path.read_bytes() for fix in FIXES), strict=True))} == after
        assert said[0] == f"{len(FIXES)} fixes are now in {folder}, from {ours[0]} to {ours[-1]}."

    def test_is_accepted_under_every_name_that_one_would_type(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HOME", str(folder.parents[2]))
        migrations.write(".", TODAY)
        home = f"~/{folder.parents[1].name}"
        for to in (
            "..",
            "../..",
            "../",
            str(folder),
            f"{folder}/",
            str(folder.parent),
            project(folder),
            home,
            f"{home}/supabase",
        ):
            assert "already" in migrations.write(to, TODAY)[0]

    @pytest.mark.parametrize(
        "latest, first",
        [
            ("20260308235959", "20260309000000"),
            ("20260309000000", "20260309000001"),
            ("20260309101558", "20260309101559"),
            ("20991231235959", "21000101000000"),
            ("202603091015580", "20260309101559"),
            ("1700000000", "20260309000000"),
            ("00000000000000", "20260309000000"),
        ],
    )
    def test_is_later_than_the_latest_even_if_that_is_dated_in_the_future(self, folder: Path, latest: str, first: str) -> None:
        (folder / f"{latest}_theirs.sql").write_text("select 1;")
        migrations.write(project(folder), TODAY)
        ours = sorted(path.name for path in folder.iterdir())[2:]
        assert ours[0] == f"{first}_00_prepare.sql"
        assert [name.partition("_")[2] for name in ours] == [fix.path.name for fix in FIXES]
        assert all(int(name[12:14]) < 60 for name in ours)

    @pytest.mark.parametrize("latest", ["99", "20269999999999", "99991231235959", "2026030"])
    def test_what_sorts_after_every_date_is_named(self, folder: Path, latest: str) -> None:
        (folder / f"{latest}_theirs.sql").write_text("select 1;")
        if latest == "2026030":
            # As text it is before 9 March, whatever it means.
            migrations.write(project(folder), TODAY)
            return
        assert f"{latest}_theirs.sql sorts after every date" in refusal(folder)

    def test_what_the_cli_skips_counts_for_nothing(self, folder: Path) -> None:
        for name in ("notes.sql", "99_notes.txt", "zz_99.sql", "README.md", "-1_x.sql"):
            (folder / name).write_text("create table public.logs (id int);")
        (folder / "99999999999999_folder.sql").mkdir()
        (folder / "99999999999999_gone.sql").symlink_to("nowhere")
        migrations.write(project(folder), TODAY)
        (folder / V1).unlink()
        assert "creates profiles, scenarios, sessions, messages, logs in" in refusal_of(folder)


def refusal_of(folder: Path) -> str:
    with pytest.raises(WorkbookError) as caught:
        migrations.write(project(folder), TODAY)
    return str(caught.value)


class TestAgain:
    def test_writes_nothing_twice(self, folder: Path) -> None:
        migrations.write(project(folder), TODAY)
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert migrations.write(project(folder), date(2027, 1, 1)) == [f"All {len(FIXES)} fixes are in {folder} already."]
        assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before

    def test_adds_only_what_is_missing_after_what_has_come_meanwhile(self, folder: Path) -> None:
        migrations.write(project(folder), TODAY)
        for fix in FIXES[-2:]:
            next(folder.glob(f"*_{fix.name}.sql")).unlink()
        (folder / "20260401080000_theirs.sql").write_text("select 1;")
        said = migrations.write(project(folder), date(2026, 4, 1))
        names = [path.name for path in sorted(folder.iterdir())]
        assert names[-3:] == [
            "20260401080000_theirs.sql",
            *(f"2026040108000{n + 1}_{f.name}.sql" for n, f in enumerate(FIXES[-2:])),
        ]
        assert said[0].startswith("2 fixes are now in") and said[0].endswith(f" {len(FIXES) - 2} were there already.")

    def test_keeps_files_with_windows_line_ends(self, folder: Path) -> None:
        migrations.write(project(folder), TODAY)
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert "already" in migrations.write(project(folder), TODAY)[0]

    def test_goes_on_where_a_killed_run_stopped(self, folder: Path) -> None:
        migrations.write(project(folder), TODAY)
        whole = contents(folder)
        for name in list(whole)[5:]:
            (folder / name).unlink()
        (folder / ".workbook-left").mkdir()
        (folder / ".workbook-left" / list(whole)[5]).write_text("half")
        migrations.write(project(folder), TODAY)
        assert contents(folder) == whole

    def test_an_interrupted_run_leaves_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = contents(folder)
        rename, done = os.rename, []

        def interrupted(source: Path, target: Path) -> None:
            rename(source, target)
            done.append(target)
            if len(done) == 7:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            migrations.write(project(folder), TODAY)
        assert len(done) == 7 and contents(folder) == before

    def test_several_at_once_write_each_file_once(self, folder: Path) -> None:
        # The lock goes with the open folder, so that threads are kept apart as processes are.
        with ThreadPoolExecutor(8) as pool:
            with migrations._alone(folder):
                runs = [pool.submit(migrations.write, project(folder), TODAY) for _ in range(8)]
                wait(runs, timeout=0.5)
                assert list(contents(folder)) == [V1]
            said = [run.result() for run in runs]
        assert sorted(lines[0].split()[0] for lines in said) == [str(len(FIXES)), *["All"] * 7]
        assert len(contents(folder)) == len(FIXES) + 1


class TestWhatIsRefused:
    def test_a_file_of_ours_with_another_text(self, folder: Path) -> None:
        migrations.write(project(folder), TODAY)
        path = next(folder.glob(f"*_{FIXES[9].name}.sql"))
        path.write_text(path.read_text() + "-- ours now\n")
        said = refusal(folder)
        assert (
            said.startswith(f"{path} is not sql/fixes/{FIXES[9].name}.sql any more; ") and "give it the fix's text back" in said
        )

    def test_a_fix_that_would_come_too_late(self, folder: Path) -> None:
        migrations.write(project(folder), TODAY)
        next(folder.glob(f"*_{FIXES[9].name}.sql")).unlink()
        said = refusal(folder)
        assert f"{FIXES[9].name} is not in" in said and f"before 202603090000{FIXES[10].number:02}_{FIXES[10].name}.sql" in said

    def test_a_fix_that_is_there_twice_or_out_of_order(self, folder: Path) -> None:
        migrations.write(project(folder), TODAY)
        path = next(folder.glob(f"*_{FIXES[9].name}.sql"))
        other = folder / f"20260501000000_{FIXES[9].name}.sql"
        other.write_bytes(path.read_bytes())
        assert f"{path} and {other.name} are the same fix" in refusal(folder)
        path.unlink()
        assert f"{other} has to stand before" in refusal(folder)

    def test_fixes_that_were_copied_under_their_numbers(self, folder: Path) -> None:
        for fix in FIXES[:3]:
            (folder / fix.path.name).write_bytes(fix.path.read_bytes())
        said = refusal(folder)
        assert said.startswith(f"{folder / FIXES[0].path.name} and 2 more are named by number alone")
        assert "`supabase migration repair --status reverted 00 01 02`" in said
        for fix in FIXES[1:3]:
            (folder / fix.path.name).unlink()
        assert f"{FIXES[0].path.name} is named by number alone" in refusal(folder)

    @pytest.mark.parametrize(
        "sql, missing",
        [
            ("create table public.{0} (id int);", False),
            ("CREATE TABLE IF NOT EXISTS PUBLIC.{0}\n(id int);", False),
            ('create table "public"."{0}"(id int);', False),
            ('CREATE  TABLE\r\n\t"{0}" (id int);', False),
            ("create /* here */ table {0}( -- ours\r\nid int);", False),
            ("create table {0} as select 1;", False),
            ("create unlogged table public . {0} (id int);", False),
            ("-- create table public.{0} (id int);", True),
            ("/* create table\n public.{0} (id int); */", True),
            ("create table private.{0} (id int);", True),
            ("create table {0}.other (id int);", True),
            ("create table {0}_old (id int);", True),
            ("create temporary table {0} (id int);", True),
            ("alter table public.{0} add id int;", True),
        ],
    )
    def test_a_project_without_v1(self, folder: Path, sql: str, missing: bool) -> None:
        (folder / V1).write_bytes("\n".join(sql.format(table) for table in migrations.TABLES).encode())
        if missing:
            assert "creates profiles, scenarios, sessions, messages, logs in the schema public" in refusal(folder)
        else:
            migrations.write(project(folder), TODAY)

    def test_v1_after_the_fixes(self, folder: Path) -> None:
        migrations.write(project(folder), TODAY)
        (folder / V1).rename(folder / "20260501000000_v1.sql")
        assert "before the fixes" in refusal(folder)

    def test_one_table_that_nothing_makes(self, folder: Path) -> None:
        path = folder / V1
        path.write_text(path.read_text().replace("create table public.logs (", "create table private.logs ("))
        assert f"No migration in {folder} creates logs in" in refusal(folder)

    def test_no_project_at_all(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "empty" / "supabase").mkdir(parents=True)
        (tmp_path / "migrations").mkdir()
        for to, why in {
            "nowhere": "There is no folder",
            "file": "There is no folder",
            "": "is no Supabase project",
            "empty": "There is no folder",
            "empty/supabase": "There is no folder",
            "migrations": "creates profiles",
        }.items():
            with pytest.raises(WorkbookError, match=why) as caught:
                migrations.write(str(tmp_path / to), TODAY)
            assert is_one_sentence(caught.value)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "file", "migrations", "supabase"]

    def test_a_folder_that_cannot_be_written(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def read_only(*_: object, **__: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(migrations, "TemporaryDirectory", read_only)
        assert f"{folder} cannot be read or written (Read-only file system)" in refusal(folder)


class TestCommand:
    @pytest.fixture(autouse=True)
    def migrations_are_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["workbook", "migrations"])

    def test_takes_the_project_from_the_environment_and_needs_no_server(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("TO", project(folder))
        monkeypatch.setattr(server, "running", None)
        assert main() == 0
        assert capsys.readouterr().out.startswith(f"{len(FIXES)} fixes are now in {folder}")
        assert len(contents(folder)) == len(FIXES) + 1

    @pytest.mark.parametrize("to", ["", " ", "/nowhere/at all"])
    def test_says_in_one_sentence_what_to_type(
        self, to: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("TO", to)
        assert main() == 1
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and "make migrations TO=path/to/supabase." in said.err


class TestHistory:
    """What the Supabase CLI has recorded is applied, and a project's own migrations are no fixes."""

    def test_versions_of_fourteen_digits_count_by_their_names(self) -> None:
        database = clone(3)
        database.run(
            """
            update supabase_migrations.schema_migrations
            set version = '202603090000' || version, name = version || '_' || name
            where version > '00';
            insert into supabase_migrations.schema_migrations (version, name)
            values ('20251109120000', 'create_maraum_schema'), ('20260401000000', '09_users'), ('123', null), ('x', '')"""
        )
        with database.connect() as connection:
            assert fixes.applied_numbers(connection) == [0, 1, 2, 3]
        assert database.apply(4).fix.number == 4
        with pytest.raises(WorkbookError, match="Fix 03 is applied to this database already"):
            database.apply(3)


def test_a_fix_that_comes_twice_is_refused_or_changes_nothing() -> None:
    """Two pushes at once, or one that was cut off before its record: the CLI then runs a file on a later state."""
    database = clone("v2", data="dirty")
    rows = "select (select count(*) from private.repairs) as repairs, (select jsonb_agg(p) from public.profiles as p) as profiles"
    before = schema(database), database.run(rows).to_dict()
    for fix in FIXES:
        with database.connect() as connection:
            connection.execute("set role workbook_owner")
            try:
                connection.execute(fix.text)
            except psycopg.Error:
                # Refused: nothing of it stays.
                continue
        assert (schema(database), database.run(rows).to_dict()) == before, fix.name

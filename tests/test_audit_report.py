"""What the reader of an audit sees: the text, the page, the SARIF, and how the command ends."""

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import schema_audit
from schema_audit import command, sarif
from schema_audit.address import libpq_address, without_password
from schema_audit.errors import AuditError
from schema_audit.html import as_html
from schema_audit.render import FIX_LINES, as_text
from schema_audit.report import ABSENT, FOUND, NOT_LOOKED_FOR, NOWHERE, UNCHECKED, Finding, Flaw, Report
from schema_audit.sarif import as_sarif
from schema_audit.sources import named

BOOK = "https://book.example/workbook"
NOTEBOOKS = Path(schema_audit.__file__).parents[1]
NASTY = 'public."<script>alert(1)</script> & \x1b[31m"'
MANY = tuple(Flaw(f"public.table_{n}", "no index", f"create index on public.table_{n} (parent_id);") for n in range(60))
FINDINGS = [
    Finding(
        "rls_off", None, "Row-level security is off", "high", "Whoever has the public key reads these tables.", FOUND,
        (
            Flaw("public.messages", "any client reads all rows", "alter table public.messages enable row level security;"),
            Flaw("public.chats", "any client reads all rows", "alter table public.chats enable row level security;"),
            Flaw(NASTY, "a visitor writes"),
        ),
        looked_at="tables of exposed schemas", link=f"{BOOK}/04_security.html", trying="confirmed",
    ),
    Finding(
        "policy_open", None, "A policy lets everybody through", "high", "It protects nobody.", FOUND,
        (
            Flaw('policy "own rows" on public.messages', "it does not ask who is calling"),
            Flaw("private.f(integer, text[])", "anon may call it"),
        ),
    ),
    Finding("15_content_length", 15, "No limit of length", "medium", "It may be a book.", UNCHECKED, reason="a trigger is there"),
    Finding("52_redundant_indexes", 52, "A key without an index", "low", "A delete reads all.", FOUND, MANY, link="section 52"),
    Finding("12_duration", 12, "No check", "low", "It may be negative.", ABSENT, looked_at="checks of sessions"),
    Finding("11_counters", 11, "Counters drift", "low", "They lie.", NOWHERE, reason="nothing counts messages"),
]  # fmt: skip
REPORT = Report(
    "17.5", "tutoring", "postgres", "2026-11-26",
    tables={"sessions": "public.chats (user_id is owner)"},
    needs=["A table of logs is needed; name it with TABLES=\"logs=…\""],
    unseen=["the policies of schema private"],
    findings=FINDINGS,
)  # fmt: skip
NOTHING = replace(REPORT, findings=FINDINGS[4:])


def objects(report: Report) -> list[str]:
    return [flaw.object for finding in report.of(FOUND) for flaw in finding.flaws]


class TestText:
    @pytest.mark.parametrize("width", [60, 100, 140])
    def test_it_names_every_object_and_keeps_to_the_width(self, width: int) -> None:
        text = as_text(REPORT, width)
        words = " ".join(text.split())
        for name in objects(REPORT):
            assert " ".join(name.replace("\x1b", "\\x1b").split()) in words
        assert max(len(line) for line in text.splitlines() if "create index" not in line and "enable row" not in line) <= width

    def test_a_terminal_without_a_width_is_wide_enough(self) -> None:
        assert as_text(REPORT, 20) == as_text(REPORT, 60) and as_text(REPORT, 500) == as_text(REPORT, 140)

    def test_the_most_severe_comes_first_and_the_limits_last(self) -> None:
        text = as_text(replace(REPORT, tried="It tried 3 rules."), 140)
        parts = [
            "HIGH: 2 found",
            "LOW: 1 found",
            "NOT CHECKED",
            "NOT RECOGNISED",
            "TRIED",
            "severity  ",
            REPORT.headline,
            *NOT_LOOKED_FOR,
        ]
        places = [text.index(part) for part in parts]
        assert places == sorted(places) and "MEDIUM" not in text
        assert text.endswith(NOT_LOOKED_FOR[1])

    def test_the_same_words_come_once_with_all_names(self) -> None:
        text = as_text(REPORT, 140)
        assert text.count("any client reads all rows") == 1
        assert "2 objects: any client reads all rows\n      public.messages, public.chats\n" in text

    def test_the_fix_is_indented_and_a_long_one_is_cut_between_statements(self) -> None:
        text = as_text(REPORT, 140)
        assert "\n      alter table public.chats enable row level security;\n" in text
        assert f"-- and {len(MANY) - FIX_LINES} more like these" in text
        assert text.count("create index") == FIX_LINES

    def test_no_name_moves_the_cursor(self) -> None:
        assert "\x1b" not in as_text(REPORT) and "\\x1b[31m" in as_text(REPORT)

    def test_what_trying_said_stands_together(self) -> None:
        tried = [replace(finding, trying="confirmed") for finding in FINDINGS]
        assert "Confirmed: rls_off, policy_open, 15, 52, 12, 11." in as_text(replace(REPORT, findings=tried), 140)


class TestPage:
    def test_everything_is_escaped(self) -> None:
        strange = replace(REPORT, database="<b>", login='"&', needs=["<i>"], tables={"logs": "<u>"}, unseen=["<s>"], tried="<em>")
        page = as_html(
            replace(strange, findings=[replace(FINDINGS[0], title="<q>", why="<p class=x>", link="<a>", trying="<hr>")])
        )
        for sign in ("<script", "<b>t", "<i>", "<u>", "<s>", "<em>", "<q>", "<p class=x>", "<a>", "<hr>"):
            assert sign not in page
        assert html.escape("<script>alert(1)</script> &") in page

    def test_it_fetches_nothing(self) -> None:
        page = as_html(REPORT)
        assert re.findall(r"https?://[^\"<]*", page) == [f"{BOOK}/04_security.html"]
        assert not re.search(r"\bsrc=|@import|url\(|<script|<link", page)

    def test_it_holds_every_object_and_every_fix(self) -> None:
        page = html.unescape(as_html(REPORT))
        for finding in REPORT.of(FOUND):
            for flaw in finding.flaws:
                assert f"<code>{flaw.object.replace(chr(27), '\\x1b')}</code>" in page and flaw.fix in page
        for finding in FINDINGS:
            assert finding.title in page
        for sentence in (*NOT_LOOKED_FOR, *REPORT.needs, "a trigger is there", "checks of sessions", "nothing counts messages"):
            assert sentence in page

    def test_the_links_lead_to_the_cards(self) -> None:
        page = as_html(REPORT)
        assert set(re.findall(r'href="#([^"]+)"', page)) == set(re.findall(r' id="([^"]+)"', page))

    def test_with_nothing_found(self) -> None:
        assert "Nothing found" in as_html(NOTHING) and 'class="card' not in as_html(NOTHING)


class TestSarif:
    @pytest.fixture
    def migrations(self, tmp_path: Path) -> Path:
        folder = tmp_path / "repository" / "supabase" / "my migrations"
        folder.mkdir(parents=True)
        (tmp_path / "repository" / ".git").mkdir()
        (folder / "1_tables.sql").write_text(
            "-- create table messages (\n"
            "create table if not exists messages (\n    id bigint,\n    chat bigint references chats on delete cascade\n);\n"
            "  create table public.chats (id bigint);\n"
            "create table other.chats (id bigint);\n"
            'create policy "own rows" on messages for select using (true);\n'
            'create policy "own rows" on chats for select using (true);\n'
        )
        (folder / "2_functions.sql").write_text(
            "\nCREATE OR REPLACE FUNCTION private.f(integer, text[]) returns integer as $$ $$;\n"
        )
        (folder / "3_again.sql").write_text('create policy "own rows" on public.messages for select\n    using (false);\n')
        return folder

    def test_structure(self) -> None:
        (run,) = json.loads(as_sarif(REPORT))["runs"]
        rules, results = run["tool"]["driver"]["rules"], run["results"]
        assert [rule["id"] for rule in rules] == [finding.rule for finding in FINDINGS]
        assert [result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] for result in results] == objects(REPORT)
        for result in results:
            rule = rules[result["ruleIndex"]]
            assert rule["id"] == result["ruleId"] and rule["defaultConfiguration"]["level"] == result["level"]
            assert result["message"]["text"].startswith(result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"])
        assert {result["level"] for result in results} == {"error", "note"}
        for rule in rules:
            assert rule["name"] and rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]
        assert rules[0]["properties"]["security-severity"] == "8.0" and "security-severity" not in rules[3]["properties"]

    def test_what_was_not_checked_is_a_note(self) -> None:
        (invocation,) = json.loads(as_sarif(REPORT))["runs"][0]["invocations"]
        notes = invocation["toolExecutionNotifications"]
        assert notes[0]["associatedRule"] == {"id": "15_content_length", "index": 2}
        assert [note["message"]["text"] for note in notes[-2:]] == list(NOT_LOOKED_FOR)

    def test_links_only_where_the_book_has_an_address(self) -> None:
        assert "helpUri" not in as_sarif(REPORT)
        (run,) = json.loads(as_sarif(replace(REPORT, book=BOOK)))["runs"]
        assert [rule.get("helpUri") for rule in run["tool"]["driver"]["rules"]] == [f"{BOOK}/04_security.html"] + [None] * 5

    def test_a_flaw_is_known_again(self) -> None:
        def prints(report: Report, source: str = sarif.SOURCE) -> list[str]:
            results = json.loads(as_sarif(report, source))["runs"][0]["results"]
            return [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]

        later = replace(REPORT, date="2027-01-01", server="18.1", findings=FINDINGS[:2])
        assert len(set(prints(REPORT))) == len(objects(REPORT))
        assert prints(later, "elsewhere") == prints(REPORT)[:5]
        twice = replace(FINDINGS[1], flaws=(FINDINGS[1].flaws[0], replace(FINDINGS[1].flaws[0], says="it is doubled")))
        assert len(set(prints(replace(REPORT, findings=[twice])))) == 2

    def test_each_result_points_at_what_creates_its_object(self, migrations: Path) -> None:
        results = json.loads(as_sarif(REPORT, str(migrations)))["runs"][0]["results"]
        places = {}
        for result in results[:5]:
            (location,) = result["locations"]
            physical = location["physicalLocation"]
            region = physical["region"]
            at = (physical["artifactLocation"]["uri"].rpartition("/")[2], region["startLine"], region["startColumn"])
            places[location["logicalLocations"][0]["fullyQualifiedName"]] = at
            assert physical["artifactLocation"]["uri"].startswith("supabase/my%20migrations")
            assert region["endLine"] == region["startLine"] and region["endColumn"] > region["startColumn"]
        assert places == {
            "public.messages": ("1_tables.sql", 2, 1),
            "public.chats": ("1_tables.sql", 6, 3),
            NASTY: ("my%20migrations", 1, 1),
            'policy "own rows" on public.messages': ("3_again.sql", 1, 1),
            "private.f(integer, text[])": ("2_functions.sql", 2, 1),
        }

    def test_a_result_has_a_file_where_there_are_no_migrations(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        results = json.loads(as_sarif(REPORT))["runs"][0]["results"]
        uris = {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results}
        assert uris == {sarif.SOURCE}

    def test_no_more_results_than_a_host_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sarif, "MOST_RESULTS", 5)
        results = json.loads(as_sarif(replace(REPORT, findings=FINDINGS[::-1])))["runs"][0]["results"]
        assert [result["level"] for result in results] == ["error"] * 5

    @pytest.mark.parametrize(
        ("text", "kind", "name"),
        [
            ("public.messages", "relation", ("public", "messages")),
            ('public."messages ("', "relation", ("public", "messages (")),
            ("public.messages.content", "column", ("public", "messages", "content")),
            ("private.f()", "function", ("private", "f")),
            ('index public."a.b" on public.t', "index", ("public", "a.b")),
            ("schema private", "schema", ("private",)),
            ("the default privileges of postgres, for tables", "object", ("the default privileges of postgres, for tables",)),
        ],
    )
    def test_names_are_read(self, text: str, kind: str, name: tuple[str, ...]) -> None:
        assert (named(text).kind, named(text).name) == (kind, name)


class TestCommand:
    Run = Callable[..., tuple[int, str, str]]

    @pytest.fixture
    def run(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
        """Call the command with what its audit shall return or raise."""

        def call(outcome: Report | BaseException, *words: str, **environment: str) -> tuple[int, str, str]:
            def audit(url: str, **asked: object) -> Report:
                self.asked = {"url": url, **asked}
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome

            monkeypatch.setattr(schema_audit, "audit", audit)
            for name in ("DATABASE_URL", "BEHAVIOUR", "TABLES", "FAIL_ON", "BOOK", "SOURCE"):
                monkeypatch.delenv(name, raising=False)
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            status = command.main([*words, "--output", str(tmp_path / "report")])
            return status, *capsys.readouterr()

        return call

    URL = "postgresql://anna:s3cret@127.0.0.1:5432/chat"

    @pytest.mark.parametrize(
        ("findings", "fail_on", "status"),
        [
            (FINDINGS, "", 1), (FINDINGS, "low", 1), (FINDINGS, "high", 1),
            (FINDINGS[2:], "low", 1), (FINDINGS[2:], "medium", 0), (FINDINGS[2:], "high", 0),
            (FINDINGS[4:], "", 0),
        ],
    )  # fmt: skip
    def test_status(self, run: Run, findings: list[Finding], fail_on: str, status: int) -> None:
        report = replace(REPORT, findings=findings)
        assert run(report, self.URL, FAIL_ON=fail_on)[0] == status
        assert run(report, self.URL, *(["--fail-on", fail_on] if fail_on else []))[0] == status

    @pytest.mark.parametrize(
        "outcome",
        [
            AuditError("The database cannot be reached."), RuntimeError("a\nb"), KeyError("x"), ZeroDivisionError(),
            MemoryError(), KeyboardInterrupt(), SystemExit(1), RecursionError("deep"),
        ],
        ids=repr,
    )  # fmt: skip
    def test_what_is_no_verdict_ends_with_2(self, run: Run, outcome: BaseException) -> None:
        status, out, err = run(outcome, self.URL)
        assert (status, out, err.count("\n")) == (2, "", 0 if isinstance(outcome, SystemExit) else 1)
        assert "Traceback" not in err

    @pytest.mark.parametrize(
        ("words", "environment"),
        [
            ([], {}), (["nonsense"], {}), (["mysql://a:s3cret@b/c"], {}), ([URL, "--fail-on", "all"], {}),
            ([URL], {"FAIL_ON": "any"}),
            ([URL, "--what"], {}), ([URL, URL], {}), ([URL, "--tables", "sessions"], {}), ([URL], {"TABLES": "chats=sessions"}),
            ([URL, "--tables", "logs=a logs=b"], {}), ([URL, "--tables", "logs='a"], {}), ([URL, "--out"], {}),
        ],
    )  # fmt: skip
    def test_wrong_arguments_end_with_2(self, run: Run, words: list[str], environment: dict[str, str]) -> None:
        status, out, err = run(REPORT, *words, **environment)
        assert (status, out, err.count("\n")) == (2, "", 1) and "s3cret" not in err

    def test_a_folder_that_cannot_be_written(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "report").write_text("a file")
        status, out, err = run(REPORT, self.URL)
        assert (status, out) == (2, "") and "cannot be written" in err

    @pytest.mark.parametrize(
        "password", ["s3cret", "s3/cret", "s3@cret", "s3:cret", "12/s3cret", "s3?cret", "s3#cret", "s3 cret"]
    )
    def test_no_password_is_printed(self, run: Run, password: str) -> None:
        url = f"postgresql://anna:{password}@127.0.0.1:1/chat"
        said = ""
        for outcome in (RuntimeError(f"{password} does not fit {url}"), AuditError(f"{url} does not answer")):
            for words, environment in (((url,), {}), ((), {"DATABASE_URL": url}), ((url, "--what"), {})):
                status, out, err = run(outcome, *words, **environment)
                assert status == 2
                said += out + err
        assert "cret" not in said

    def test_settings_are_handed_on(self, run: Run) -> None:
        asked = {"behaviour": True, "tables": {"sessions": "Chat Sessions", "messages": "chat_messages"}, "book": BOOK}
        tables = 'sessions="Chat Sessions", messages=chat_messages'
        run(REPORT, DATABASE_URL=self.URL, BEHAVIOUR="1", TABLES=tables, BOOK=f"{BOOK}/")
        assert self.asked == {"url": self.URL, **asked}
        run(REPORT, self.URL, "--behaviour", "--tables", tables, "--book", BOOK, BEHAVIOUR="0")
        assert self.asked == {"url": self.URL, **asked}
        run(REPORT, self.URL, BEHAVIOUR="0")
        assert self.asked == {"url": self.URL, "behaviour": False, "tables": {}, "book": ""}

    def test_the_files_are_written(self, run: Run, tmp_path: Path) -> None:
        _, out, _ = run(REPORT, self.URL)
        folder = tmp_path / "report"
        assert str(folder / "audit.html") in out and as_html(REPORT) == (folder / "audit.html").read_text()
        assert json.loads((folder / "audit.json").read_text())["findings"][0]["verdict"] == FOUND
        assert json.loads((folder / "audit.sarif").read_text())["version"] == "2.1.0"

    def test_who_stops_reading_gets_the_verdict(self, tmp_path: Path) -> None:
        program = (
            "import sys, schema_audit; from schema_audit.report import Report, Finding, Flaw;"
            "many = [Finding('x', None, 'x', 'low', '', 'found', tuple(Flaw(f'a.b{n}', f'{n}') for n in range(5_000)))];"
            "schema_audit.audit = lambda url, **asked: Report('17', 'd', 'l', '', findings=many);"
            "from schema_audit.command import main;"
            f"sys.exit(main(['{self.URL}', '--output', '{tmp_path}']))"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(NOTEBOOKS)},
        ) as process:
            assert process.stdout and process.stderr
            process.stdout.readline()
            process.stdout.close()
            assert (process.wait(), process.stderr.read()) == (1, b"")

    def test_without_the_driver_there_is_no_verdict(self, tmp_path: Path) -> None:
        (tmp_path / "psycopg.py").write_text("raise ImportError('no libpq')")
        done = subprocess.run(
            [sys.executable, "-m", "schema_audit", self.URL],
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{NOTEBOOKS}"}, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and "no libpq" in done.stderr


class TestAddress:
    @pytest.mark.parametrize(
        ("given", "taken"),
        [
            ("postgres://a:b@c/d", "postgres://a:b@c/d"),
            ("postgresql+psycopg://a:b@c:5432/d?sslmode=disable", "postgresql://a:b@c:5432/d?sslmode=disable"),
            ("postgresql://a:b@c/d?pgbouncer=true&sslmode=require&connection_limit=1", "postgresql://a:b@c/d?sslmode=require"),
            ("postgresql://a:b@c/d?schema=public", "postgresql://a:b@c/d"),
            ("postgresql:///d?host=/tmp&port=5433", "postgresql:///d?host=/tmp&port=5433"),
            ("host=/tmp dbname=d", "host=/tmp dbname=d"),
        ],
    )
    def test_it_is_read_as_others_write_it(self, given: str, taken: str) -> None:
        assert libpq_address(given) == taken

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://u:a/b@h/d",
            "postgresql://u:a@b@h/d",
            "postgresql://u:a:b/c@h/d",
            "postgresql://u:12/b@h/d",
            "chat",
            "",
        ],
    )
    def test_one_that_is_torn_at_its_password_is_refused(self, url: str) -> None:
        with pytest.raises(AuditError, match="^The database's address cannot be read"):
            libpq_address(url)

    def test_a_short_password_does_not_take_a_sentence_apart(self) -> None:
        assert without_password("a database of an a", "postgresql://u:a@h/d") == "*** database of an ***"
        assert without_password("p@ss and p%40ss", "postgresql://u:p%40ss@h/d") == "*** and ***"

"""The rollout's steps, each of which can be run again: plan, start, copy, switch, back, finish, abort and status."""

import math
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from .. import fixes
from ..errors import WorkbookError
from ..paths import SQL
from .build import (
    MOVED_FUNCTION,
    Definition,
    default_privileges,
    definition,
    policies_that_ask,
    published,
    repair_rows,
    usual_default_privileges,
)
from .hints import statements_that_help
from .repairs import TABLES

COPIED_PER_MINUTE = 150 * 2**20
"""Bytes of v1, indexes included, that a rehearsal copied in a minute beside its traffic, rounded down; only `plan` goes by it."""
BATCH_SECONDS = 0.05
"""How long one batch of rows should take."""
FIRST_PAGES = 4
"""Of each table; from there on batches become as long as they should be."""
PAUSE = 1 / 3
"""How long the pause after a batch is, as a part of it; longer where commits wait for the disk."""
NOTES_EVERY_SECONDS = 0.5
"""How long notes may wait while rows are copied."""
LOCK_PATIENCE_SECONDS = 10
"""How long a runner waits for another one to be gone: the server may still end the last statement of one that was killed."""
PATIENCE_SECONDS = 120
"""How long a step goes on asking for a lock, a moment at a time, before it gives up."""
GHOSTS = ("profiles", "scenarios", "sessions", "messages", "messages_archive", "message_chunks", "logs", "event_types")

Say = Callable[[str], None]


class Refused(WorkbookError):
    """A step that does not come now, or not yet: nothing was changed, and the message says what helps."""


@dataclass(frozen=True)
class Obstacle:
    """Something that stops a rollout, and the statement that helps."""

    what: str
    help: str

    def __str__(self) -> str:
        return f"{self.what}. {self.help}"


@dataclass
class Pace:
    """How the copy went so far: what its progress bar shows."""

    table: str = ""
    rows: int = 0
    """Rows carried since this run began."""
    seconds: float = 0
    pages_done: int = 0
    """Pages of v1's tables that are copied, by this run or an earlier one."""
    longest_commit_ms: float = 0
    longest_batch_ms: float = 0
    noted: int = 0
    """Notes applied since this run began."""


@dataclass(frozen=True)
class Status:
    """Where a rollout is."""

    phase: str
    """none, starting, started, linked or switched."""
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        width = max((len(name) for name in self.facts), default=0)
        lines = [f"{'phase':{width}}  {self.phase}"]
        for name, value in self.facts.items():
            shown = ", ".join(f"{key} {count:,}" for key, count in value.items()) or "none" if isinstance(value, dict) else value
            lines.append(f"{name:{width}}  {shown:,}" if isinstance(shown, int) else f"{name:{width}}  {shown}")
        return "\n".join(lines)


# --- The runner ---------------------------------------------------------------------------------------------------


class Runner:
    """The one process that carries a rollout on, by a connection that holds an advisory lock."""

    def __init__(self, url: str) -> None:
        """Connect as whoever owns v1's tables.

        Args:
            url: a libpq URL of a plain login that owns the schema, or may become its owner.

        Raises:
            WorkbookError: there is no such database, no v1 or v2 in it, or the login may not act as the owner.
        """
        self.url = url
        try:
            # A pooler would lose prepared statements too.
            self.connection = psycopg.connect(url, autocommit=True, prepare_threshold=None, application_name="workbook rollout")
        except psycopg.OperationalError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
            raise WorkbookError(f"The database cannot be reached ({reason}); check DATABASE_URL.") from None
        self._become_owner()

    def close(self) -> None:
        """Let go of the database and of the lock."""
        self.connection.close()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def one(self, statement: str, *values: object) -> Any:
        """Send a statement and return the one value of its one row."""
        row = self.connection.execute(statement, values or None).fetchone()
        return row[0] if row else None

    def _become_owner(self) -> None:
        if self.connection.info.server_version < 150000:
            raise WorkbookError("The rollout needs PostgreSQL 15 or newer; upgrade the server first.")
        owner = self.one("select pg_get_userbyid(relowner) from pg_class where oid = to_regclass('public.messages')")
        if owner is None:
            raise WorkbookError("There is no table public.messages here; give the URL of the database that has v1.")
        try:
            self.connection.execute(sql.SQL("set role {}").format(sql.Identifier(owner)))
        except psycopg.Error:
            raise WorkbookError(
                f"The tables belong to {owner}, and the login may not act as that role; log in as {owner}."
            ) from None
        for setting in ("statement_timeout = 0", "row_security = off", "timezone = 'UTC'", "search_path = ''", "lock_timeout = 0",
                        "idle_in_transaction_session_timeout = 0", "vacuum_cost_delay = '2ms'",
                        "client_min_messages = error", "datestyle = 'ISO'",
                        "intervalstyle = 'postgres'", "bytea_output = 'hex'", "standard_conforming_strings = on",
                        "client_encoding = 'UTF8'", "default_transaction_isolation = 'read committed'",
                        "default_transaction_read_only = off", "default_transaction_deferrable = off",
                        "check_function_bodies = on"):  # fmt: skip
            self.connection.execute(f"set {setting}")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the rollout's advisory lock.

        Raises:
            WorkbookError: another runner holds it, or a pooler gives each transaction another connection.
        """
        # The server may still be busy with the last statement of a runner that was killed.
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while not self.one("select pg_try_advisory_lock(hashtextextended('workbook rollout', 0))"):
            if time.monotonic() > deadline:
                raise Refused("Another runner is at work on this database; wait until it has ended.")
            time.sleep(0.2)
        backends = {self.one("select pg_backend_pid()") for _ in range(5)}
        held = self.one("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted")
        if len(backends) > 1 or not held:
            raise WorkbookError(
                "DATABASE_URL goes through a pooler in transaction mode, which keeps no lock between two statements; "
                "take the direct connection, or the pooler's session mode."
            )
        try:
            yield
        finally:
            if not self.connection.closed:
                self.connection.execute("select pg_advisory_unlock(hashtextextended('workbook rollout', 0))")

    @property
    def phase(self) -> str:
        """Where the rollout is: none, starting, started, linked or switched."""
        if self.one("select to_regclass('rollout.state')") is None:
            return "none"
        return str(self.one("select phase from rollout.state"))

    def patiently(self, act: Callable[[], None], what: str) -> int:
        """Do something that needs a lock of clients' tables, a moment at a time, until it is done.

        Returns:
            How many times it had to be tried.

        Raises:
            WorkbookError: somebody holds what it needs for all of the time.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        attempt = 0
        while True:
            attempt += 1
            try:
                act()
                return attempt
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.QueryCanceled):
                if time.monotonic() > deadline:
                    raise Refused(
                        f"{what} did not get its locks within {PATIENCE_SECONDS} s; look in pg_stat_activity for a transaction "
                        "that stays open, and run the step again."
                    ) from None
                # Longer each time, and never in step with anybody else.
                time.sleep(random.uniform(0.05, min(0.1 * attempt, 1.5)))

    def run(self, statement: str, *values: object) -> None:
        """Run statements in one transaction."""
        with self.connection.transaction():
            self.connection.execute(statement, values or None)


# --- Plan ---------------------------------------------------------------------------------------------------------


def plan(runner: Runner) -> list[str]:
    """Say what is there, what the rollout will do, and what stops it; nothing is changed.

    Returns:
        Lines of text; what stops it comes last.
    """
    lines = [f"The rollout is {runner.phase}."] if runner.phase != "none" else []
    version = runner.one("show server_version")
    lines.append(f"PostgreSQL {version.split()[0]}, schema owner {runner.one('select current_user')}.")
    total = 0
    for table in TABLES:
        if runner.one("select to_regclass(%s)", f"public.{table}") is None:
            continue
        rows, size = runner.connection.execute(
            "select greatest(reltuples, 0)::bigint, pg_total_relation_size(oid) from pg_class where oid = %s::regclass",
            [f"public.{table}"],
        ).fetchone() or (0, 0)
        total += size
        lines.append(f"  {table:10} about {rows:>12,} rows, {size / 2**20:>10,.0f} MB")
    lines += [
        f"It takes about {1.3 * total / 2**20:,.0f} MB more disk until finish, and as much write-ahead log. The server does not "
        "tell an owner how much is free: look at the platform's disk page.",
        f"The copy takes about {_minutes(total)}, at three quarters of what one core can do.",
        "start   makes v2 beside v1, and notes from then on what changes. Old clients may move to the schema compat_v1: let the "
        "API expose it first.",
        "copy    fills v2 batch by batch. Clients go on.",
        "switch  takes v2's tables into public in one short transaction. New clients may come.",
        "back    until finish: v1 again, with what v2 has written.",
        "finish  drops v1's tables. Take a backup before.",
    ]
    stops = obstacles(runner)
    if stops:
        lines += ["", "What stops it:", *(f"  {obstacle}" for obstacle in stops)]
    else:
        lines += ["", "Nothing stops it."]
    return lines


def _minutes(size: int) -> str:
    """Say how long so many bytes of v1 take, as the published rehearsals did."""
    minutes = math.ceil(size / COPIED_PER_MINUTE)
    return f"{minutes:,} minutes" if minutes > 1 else "a minute"


_IS_V1 = """
select exists (
    select from pg_attribute where attrelid = to_regclass('public.messages') and attname = 'timestamp' and not attisdropped
)
"""


def obstacles(runner: Runner) -> list[Obstacle]:
    """Return what stops a start here, each with what helps."""
    if runner.phase == "none" and not runner.one(_IS_V1):
        return [Obstacle("messages has no column timestamp, so this is not v1", "Give the URL of the database that has v1")]
    found = [Obstacle(what, help) for what, help in runner.connection.execute(sql_file("obstacles.sql"))]
    if runner.phase == "none" and not found:
        if runner.one("select to_regclass('private.repairs') is not null"):
            found.append(
                Obstacle("some fixes are applied already", "Apply the others one by one: the rollout takes v1 as it was")
            )
        else:
            try:
                wanted = definition(runner.connection)
                carried = {policy for policy, _ in wanted.policies}
                found += [
                    Obstacle(
                        f"{policy} asks one of v1's tables, and stands where the rollout does not look",
                        f"Run this first, and make it again after the switch: {policy.replace('the policy', 'drop policy', 1)};",
                    )
                    for policy, _ in policies_that_ask(runner.connection)
                    if policy not in carried
                ]
            except WorkbookError as error:
                found.append(_as_obstacle(runner, error))
    return found


def _as_obstacle(runner: Runner, error: WorkbookError) -> Obstacle:
    """Return what a fix stops at as an obstacle: the fix's own hint where that is a statement, or one for what it names."""
    fix_error = error.__cause__
    reason = fix_error.__cause__ if fix_error else None
    if not isinstance(reason, psycopg.Error) or not reason.diag.message_primary:
        return Obstacle(str(error).removesuffix("."), "See to it, and plan again.")
    what, hint = reason.diag.message_primary, reason.diag.message_hint
    if hint and re.search(r": \w.*;", hint):
        return Obstacle(what, hint)
    statements = statements_that_help(what)
    if changed := re.match(r"you have changed the foreign key ([^,]+),", what):
        table = runner.one(
            "select min(conrelid::regclass::text) from pg_constraint where quote_ident(conname) = quote_ident(%s) "
            "and connamespace = 'public'::regnamespace",
            changed[1],
        )
        was = re.search(r"FOREIGN KEY .*", hint or "")
        if table and was:
            definition_was = was[0].removesuffix(".")
            return Obstacle(
                what,
                f"Run this first: alter table {table} drop constraint {changed[1]}, "
                f"add constraint {changed[1]} {definition_was};",
            )
    if statements:
        return Obstacle(what, f"Run this first, and make it again after the switch: {' '.join(statements)}")
    return Obstacle(what, hint or "See to it, and plan again.")


# --- Start --------------------------------------------------------------------------------------------------------


def start(runner: Runner, say: Say = print) -> None:
    """Make v2 beside v1, and have v1's changes noted from here on.

    Raises:
        WorkbookError: something stops it, or it is past this step.
    """
    if runner.phase not in ("none", "starting"):
        say(f"The rollout is {runner.phase} already.")
        return
    if runner.phase == "none":
        stops = obstacles(runner)
        if stops:
            raise Refused(f"The rollout cannot start: {' '.join(map(str, stops)).removesuffix('.')}.")
        wanted = definition(runner.connection)
        runner.run(expand_script(runner, wanted))
        say("v2's tables are made in the schema rollout_new; no client sees them.")
    for table in ("users", *TABLES):
        runner.patiently(lambda: runner.run("select rollout.watch(%s)", table), "Watching " + table)  # noqa: B023
    runner.run("select rollout.begin_copy()")
    say("Every change of v1 is noted from here on. Next: copy.")


def expand_script(runner: Runner, wanted: Definition) -> str:
    """Return what makes v2 beside v1 in this database, as SQL for one transaction."""
    before = _what_was_there(runner, wanted)
    steps = {**wanted.steps, **_steps_of(runner, wanted, before)}
    parts = [
        # What the rollout makes is granted as its own statements say, and to nobody else.
        *(f"{statement};" for statement in usual_default_privileges("public", "private")),
        fixes.find(6).body,
        "set local lock_timeout = 0;",
        sql_file("engine.sql"),
        wanted.before_copy,
        # The dump has set what it needs for itself.
        "set search_path = ''; set row_security = off; set check_function_bodies = on; set client_min_messages = warning;",
        wanted.rows,
        sql_file("switch.sql"),
        sql_file("procedures.sql"),
        _PARTITION_FUNCTIONS,
        *(
            "insert into rollout.repair_statements (place, issue, table_name, setup, batch, hidden, stored) "
            f"values ({_literals(runner, *row)});"
            for row in repair_rows()
        ),
        *(
            f"insert into rollout.statements (step, place, statement) values ({_literals(runner, step, place, text)});"
            for step, texts in steps.items()
            for place, text in enumerate(texts, 1)
        ),
        "insert into rollout.state (phase, week_reset_date, catalog, before) "
        f"values ('starting', private.next_week_reset(now()), '', {_literals(runner, Jsonb(before))});",
        *_triggers_on_ghosts(),
        "select rollout.set_triggers('rollout_new', false);",
        sql_file("compat_over_v1.sql"),
        sql_file("compat_over_v2.sql"),
        # Before the switch nobody may write v2's tables through it.
        f"revoke all on schema rollout_compat from {_CLIENTS};",
        *(f"{statement};" for statement in default_privileges(runner.connection, "public", "private")),
    ]
    return "\n\n".join(parts)


_CLIENTS = "anon, authenticated, service_role"

# v2's own functions make partitions of logs before the switch as well, with the ghost's name in their text.
_PARTITION_FUNCTIONS = """
do $do$
declare
    made text;
begin
    foreach made in array array['log_partitions()', 'create_log_partition(timestamptz, boolean)'] loop
        execute replace(
            replace(
                replace(
                    pg_get_functiondef(('private.' || made)::regprocedure), 'private.log_partitions', 'rollout.log_partitions'
                ),
                'public.', 'rollout_new.'
            ),
            'FUNCTION private.', 'FUNCTION rollout.'
        );
        execute format('revoke all on function rollout.%s from public', made);
    end loop;
end;
$do$;
"""


def _literals(runner: Runner, *values: object) -> str:
    return sql.SQL(", ").join(map(sql.Literal, values)).as_string(runner.connection)


def _triggers_on_ghosts() -> list[str]:
    """Return the triggers that note v2's changes, for a way back, and carry erasures over; they are off until the switch."""
    made = []
    for table in GHOSTS:
        # An archived message is a message.
        noted = "messages" if table == "messages_archive" else table
        made.append(
            f"create trigger rollout_note after insert or update or delete on rollout_new.{table} "
            f"for each row execute function rollout.note('{noted}');"
        )
        if table != "messages_archive":
            made.append(
                f"create trigger rollout_note_truncate after truncate on rollout_new.{table} "
                f"for each statement execute function rollout.note('{noted}');"
            )
    return [
        *made,
        "create trigger rollout_forget after update of deleted_at on rollout_new.profiles "
        "for each row when (new.deleted_at is not null) execute function rollout.forget('profiles');",
        "create trigger rollout_forget after update on rollout_new.logs for each row execute function rollout.forget('logs');",
    ]


def sql_file(name: str) -> str:
    """Return one of the rollout's SQL files."""
    return (SQL / "rollout" / name).read_text()


_KINDS_OF_EVENTS = """
select coalesce(jsonb_agg(distinct kind[1]), '[]')
from pg_constraint
cross join lateral regexp_matches(pg_get_constraintdef(oid), '''([^'']+)''::text', 'g') as kind
where conrelid = 'public.logs'::regclass and contype = 'c'
    and pg_get_constraintdef(oid) ~ '^CHECK \\(\\(event_type = ANY'
"""


def _what_was_there(runner: Runner, wanted: Definition) -> dict[str, Any]:
    def is_there(name: str) -> bool:
        return bool(runner.one("select to_regnamespace(%s) is not null", name))

    return {
        "of_team": _of_team(runner, wanted.v1_objects),
        "v1_objects": list(wanted.v1_objects),
        "v2_objects": list(wanted.v2_objects),
        "private_objects": list(wanted.private_objects),
        "unusual_triggers": list(wanted.unusual_triggers),
        "event_types": runner.one(_KINDS_OF_EVENTS),
        "schemas": [name for name in ("private", "extensions", "supabase_migrations") if is_there(name)],
        "extensions": [name for (name,) in runner.connection.execute("select extname from pg_extension order by 1")],
    }


def _steps_of(runner: Runner, wanted: Definition, before: dict[str, Any]) -> dict[str, list[str]]:
    """Return the statements of the steps that depend on this database: what is put back, and what a team's own objects need."""
    one = runner.one
    moved = f"public.{MOVED_FUNCTION}"
    users = [text for text in wanted.steps["users"] if text.startswith("CREATE TRIGGER")]
    back_users = [f"drop function {text.rsplit('EXECUTE FUNCTION ', 1)[1]} cascade" for text in users]
    roles = "public, anon, authenticated, service_role"
    back_users += [
        f"alter function private.{MOVED_FUNCTION} set schema public",
        one("select pg_get_functiondef(%s::regprocedure)", moved),
        f"revoke all on function {moved} from {roles}",
        *(revoke for (revoke,) in runner.connection.execute(
            "select distinct format('revoke all on function %%s from %%s', proc.oid::regprocedure, grantee::regrole) "
            "from pg_proc as proc cross join lateral aclexplode(proacl) "
            "where proc.oid = %s::regprocedure and grantee not in (0, proowner)", [moved])),
        *(grant for (grant,) in runner.connection.execute(
            "select format('grant execute on function %%s to %%s', proc.oid::regprocedure, "
            "case grantee when 0 then 'public' else grantee::regrole::text end) "
            "from pg_proc as proc cross join lateral aclexplode(coalesce(proacl, acldefault('f', proowner))) "
            "where proc.oid = %s::regprocedure", [moved])),
        f"comment on function {moved} is {_quoted(one('select obj_description(%s::regprocedure)', moved))}",
    ]  # fmt: skip
    team, team_back = _triggers_of_team(runner, wanted.v1_objects, dict(wanted.functions))
    team += [statement for _, statement in wanted.policies]
    team_back += [statement for _, statement in policies_that_ask(runner.connection)]
    published, published_back = _publications(runner, wanted)
    history, history_back = _history(runner, before)
    return {
        "switch": [
            *wanted.steps["switch"],
            *history,
            *team,
            *published,
            f"grant usage on schema rollout_compat to {_CLIENTS}",
        ],
        "back_users": back_users,
        "back": [
            *usual_default_privileges("public"),
            *history_back,
            *team_back,
            *published_back,
            *_unusual_triggers(runner),
            sql_file("compat_over_v1.sql"),
            *default_privileges(runner.connection, "public"),
        ],
    }


def _quoted(text: str | None) -> str:
    return "null" if text is None else "'" + text.replace("'", "''") + "'"


def _of_team(runner: Runner, v1_objects: Iterable[str]) -> list[str]:
    """Return what a team has hung on v1 from elsewhere and the switch takes along, as it is now."""
    return [
        *_triggers_of_team(runner, v1_objects, {})[1],
        *(statement for _, statement in policies_that_ask(runner.connection)),
        *(f"{name} {says}" for name, _, says in published(runner.connection, set(TABLES))),
    ]


def _refuse_what_is_new(runner: Runner) -> None:
    """Stop the switch where a team has hung on v1 what was not there at the start: it would be lost.

    Raises:
        WorkbookError: there is something.
    """
    stops = [Obstacle(what, help) for what, help in runner.connection.execute(sql_file("obstacles.sql"))]
    if stops:
        raise Refused(f"The switch is refused: {' '.join(map(str, stops)).removesuffix('.')}.")
    before = runner.one("select before from rollout.state")
    if _of_team(runner, before["v1_objects"]) != before["of_team"]:
        raise Refused(
            "The switch is refused: a trigger, a policy or a publication of your own that depends on v1 has changed since the "
            "start; take that back, or abort and start again."
        )


def _triggers_of_team(runner: Runner, v1_objects: Iterable[str], names: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return how triggers of a team's own tables go on calling functions of v1, which the rollout puts aside, and go back.

    Args:
        runner: whoever holds the lock.
        v1_objects: what of v1 goes to rollout_old.
        names: what v1's functions are called in v2.
    """
    gone = {object.split(" ", 1)[1].split("(")[0] for object in v1_objects if object.startswith("function ")}
    there: list[str] = []
    back: list[str] = []
    for text, trigger, table, function, state in runner.connection.execute(
        "select pg_get_triggerdef(pg_trigger.oid), quote_ident(tgname), tgrelid::regclass::text, "
        "format('%%I.%%I', nspname, proname), "
        "case tgenabled when 'D' then 'disable' when 'A' then 'enable always' when 'R' then 'enable replica' end "
        "from pg_trigger join pg_proc on pg_proc.oid = tgfoid join pg_namespace on pg_namespace.oid = pronamespace "
        "where nspname = 'public' and not tgisinternal and tgparentid = 0 and tgrelid <> 'auth.users'::regclass "
        "and tgrelid not in "
        "(select to_regclass('public.' || ours) from unnest(%s::text[]) as ours) order by 3, 2",
        [list(TABLES)],
    ).fetchall():
        if function in gone:
            for statements, called in ((there, names.get(function, function)), (back, function)):
                again = text.replace(f"EXECUTE FUNCTION {function}(", f"EXECUTE FUNCTION {called}(")
                if text.startswith("CREATE CONSTRAINT TRIGGER"):
                    statements.append(f"drop trigger {trigger} on {table}")
                statements.append(again.replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER", 1))
                if state:
                    statements.append(f"alter table {table} {state} trigger {trigger}")
    return there, back


def _unusual_triggers(runner: Runner) -> list[str]:
    """Return the statements that make v1's triggers off, or always on, as they are now."""
    found = runner.connection.execute(
        "select format('alter table public.%%I %%s trigger %%I', relname, case tgenabled when 'D' then 'disable' "
        "when 'A' then 'enable always' when 'R' then 'enable replica' end, tgname) "
        "from pg_trigger join pg_class on pg_class.oid = tgrelid "
        "where tgrelid in (select to_regclass('public.' || ours) from unnest(%s::text[]) as ours) "
        "and not tgisinternal and tgenabled <> 'O' order by 1",
        [list(TABLES)],
    )
    return [statement for (statement,) in found]


def _publications(runner: Runner, wanted: Definition) -> tuple[list[str], list[str]]:
    """Return how the publications that name one of v1's tables go on with v2's, each with its columns and its condition."""
    there = published(runner.connection, set(TABLES))

    def moved(old: Iterable[tuple[str, str, str]], schema: str, new: Iterable[tuple[str, str, str]]) -> list[str]:
        return [f"alter publication {name} drop table {schema}.{table}" for name, table, _ in old] + [
            f"alter publication {name} add table {says}" for name, _, says in new
        ]

    return moved(there, "rollout_old", wanted.published), moved(wanted.published, "rollout_new", there)


def _history(runner: Runner, before: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return how the fixes are recorded as applied, and how that is taken back."""
    versions = [(f"{fix.number:02}", fix.name[3:]) for fix in fixes.all_fixes()]
    recorded = [
        f"insert into supabase_migrations.schema_migrations (version, name) values ('{version}', '{name}') on conflict do nothing"
        for version, name in versions
    ]
    if "supabase_migrations" in before["schemas"]:
        history = "supabase_migrations.schema_migrations"
        if runner.one("select to_regclass(%s) is null", history):
            return recorded, [f"drop table {history}"]
        listed = ", ".join(f"'{version}'" for version, _ in versions)
        said = runner.connection.execute(
            "select case when attnum is null then format('table %%s', %s::text) "
            "else format('column %%s.%%I', %s::text, attname) end, "
            "description from (select null::name, null::int2 union all select attname, attnum from pg_attribute "
            "where attrelid = %s::regclass and attname in ('version', 'statements', 'name')) as part (attname, attnum) "
            "left join pg_description on objoid = %s::regclass and classoid = 'pg_class'::regclass "
            "and objsubid = coalesce(attnum, 0)",
            [history] * 4,
        ).fetchall()
        return recorded, [
            f"delete from {history} where version in ({listed})",
            *(f"comment on {what} is {_quoted(text)}" for what, text in said),
        ]
    return recorded, ["drop schema supabase_migrations cascade"]


# --- Copy ---------------------------------------------------------------------------------------------------------


def copy(runner: Runner, say: Say = print, show: Callable[[Pace], None] = lambda pace: None) -> Pace:
    """Fill v2's tables, apply what has changed meanwhile, and make the foreign keys; Ctrl-C stops between two batches.

    Args:
        runner: whoever holds the lock.
        say: where sentences go.
        show: is called after each batch.

    Raises:
        WorkbookError: the rollout has not started, or is over.
    """
    if runner.phase == "starting":
        start(runner, say)
    _require(runner, {"started", "linked"}, "copy")
    pace = Pace()
    began = noted_at = time.monotonic()
    pages = FIRST_PAGES
    commit_ms = 0.0
    done_before = runner.one(
        "select coalesce(sum(pg_relation_size(format('public.%I', table_name)::regclass)), 0)::bigint / "
        "current_setting('block_size')::int from rollout.progress where is_copied"
    )
    is_copied = not runner.one("select exists (select from rollout.progress where not is_copied)")
    while True:
        batch = time.monotonic()
        applies = is_copied or batch - noted_at > NOTES_EVERY_SECONDS
        row, took_ms = turn(runner, 0 if applies else pages, 2000 if applies else 0)
        elapsed = time.monotonic() - batch
        if applies:
            # Only these wait for the disk, as clients do.
            noted_at = time.monotonic()
            commit_ms = took_ms
            pace.longest_commit_ms = max(pace.longest_commit_ms, commit_ms)
        pace.longest_batch_ms = max(pace.longest_batch_ms, 1000 * elapsed)
        pace.noted += row["applied"]
        if row["of_table"]:
            pace.table, pace.pages_done = row["of_table"], done_before + min(row["next_page"], row["all_pages"])
            if row["next_page"] >= row["all_pages"]:
                done_before += row["all_pages"]
            pace.rows += row["copied"]
            pages = max(1, min(4096, int(pages * min(2, max(0.5, BATCH_SECONDS / max(elapsed, 0.001))))))
            if row["next_page"] >= row["all_pages"]:
                # Rows of the next table may cost more.
                pages = FIRST_PAGES
        elif not applies:
            is_copied = True
        pace.seconds = time.monotonic() - began
        show(pace)
        if row["is_done"]:
            break
        # A commit that waits for the disk says that clients wait too.
        time.sleep(0.01 if is_copied else max(PAUSE * elapsed, 2 * commit_ms / 1000))
    if runner.phase == "started":
        say("Every row is copied. The foreign keys are checked, and the tables vacuumed.")
        runner.connection.execute("select rollout.link()")
        for table in GHOSTS:
            runner.connection.execute(f"vacuum (analyze) rollout_new.{table}")
    drain(runner)
    pace.seconds = time.monotonic() - began
    say("v2 is filled, and follows v1. Next: switch.")
    return pace


def pages_to_copy(runner: Runner) -> int:
    """Return how many pages v1's tables have."""
    return int(
        runner.one(
            "select coalesce(sum(pg_relation_size(oid)), 0)::bigint / current_setting('block_size')::int from pg_class "
            "where oid in (select to_regclass('public.' || name) from unnest(%s::text[]) as name)",
            list(TABLES),
        )
    )


def turn(runner: Runner, pages: int, notes: int) -> tuple[dict[str, Any], float]:
    """Take one turn in a transaction of its own; return what it did, and how long its commit took in milliseconds.

    Notes that only hold together, such as an open session that another one follows, are all applied at once where they must.
    """
    connection = runner.connection
    for limit in (notes, 2**31 - 1):
        try:
            with connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute("begin isolation level repeatable read")
                if not notes:
                    # Rows and progress are lost together where the server crashes, so nothing has to wait for the disk.
                    cursor.execute("set local synchronous_commit = off")
                cursor.execute("select * from rollout.turn(%s, %s)", [pages, limit])
                row = cursor.fetchone()
                committing = time.perf_counter()
                cursor.execute("commit")
            assert row is not None
            return row, 1000 * (time.perf_counter() - committing)
        except psycopg.errors.IntegrityError:
            connection.execute("rollback")
            if limit != notes:
                raise
        except BaseException:
            if not connection.closed:
                connection.execute("rollback")
            raise
    raise AssertionError("unreachable")


def drain(runner: Runner, few: int = 0) -> None:
    """Apply notes until no more than a few are left."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        row, _ = turn(runner, 16, 5000)
        if row["is_done"] or (few and runner.one("select count(*) from rollout.dirty") <= few):
            return
        if time.monotonic() > deadline and not row["of_table"]:
            raise Refused("v1 changes faster than its changes can be carried over; try again at a quieter time.")


# --- Switch -------------------------------------------------------------------------------------------------------


def switch(runner: Runner, say: Say = print) -> float:
    """Let clients have v2.

    Returns:
        How long clients may have waited, in milliseconds: the transaction that succeeded.

    Raises:
        WorkbookError: v2 is not filled yet, v1 has been redefined, or a lock was not to be had.
    """
    if runner.phase == "switched":
        say("Clients have v2 already.")
        return 0
    _require(runner, {"linked"}, "switch")
    took = 0.0

    def attempt() -> None:
        nonlocal took
        drain(runner, few=20)
        _wait_for_vacuum(runner)
        _refuse_what_is_new(runner)
        began = time.perf_counter()
        with runner.connection.transaction():
            _set_timeouts(runner)
            runner.connection.execute("select rollout.switch()")
        took = 1000 * (time.perf_counter() - began)

    try:
        tries = runner.patiently(attempt, "The switch")
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise Refused(f"The switch is refused: {error.diag.message_primary}. {error.diag.message_hint}") from None
    say(
        f"Clients have v2, after {tries} {'try' if tries == 1 else 'tries'}; the switch took {took:.0f} ms. "
        "v1 lies in rollout_old."
    )
    say("Old clients speak to compat_v1. Watch; until finish, back leads to v1 again.")
    return took


def _set_timeouts(runner: Runner) -> None:
    runner.connection.execute("set local statement_timeout = '2s'")
    if runner.connection.info.server_version >= 170000:
        # Whatever becomes of this process, the locks are not held for longer.
        runner.connection.execute("set local transaction_timeout = '3s'")


def _wait_for_vacuum(runner: Runner) -> None:
    """Wait until nobody vacuums what the switch has to lock: it would not let go within a moment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and runner.one(
        "select exists (select from pg_locks join pg_class on pg_class.oid = relation where mode = 'ShareUpdateExclusiveLock' "
        "and granted and database = (select oid from pg_database where datname = current_database()) "
        "and relnamespace::regnamespace::text in ('public', 'rollout_new', 'rollout_old') and pid <> pg_backend_pid())"
    ):
        time.sleep(0.1)


# --- Back, finish, abort ------------------------------------------------------------------------------------------


def back(runner: Runner, say: Say = print) -> float:
    """Let clients have v1 again, with what they wrote into v2.

    Returns:
        How long clients may have waited, in milliseconds.

    Raises:
        WorkbookError: the switch has not been, or a lock was not to be had.
    """
    took = 0.0
    if runner.phase != "starting":
        _require(runner, {"switched"}, "back")
        runner.run("select rollout.prepare_back()")

        def attempt() -> None:
            nonlocal took
            while runner.one("select count(*) from rollout.dirty") > 20:
                _apply_back(runner, 2000)
            _wait_for_vacuum(runner)
            began = time.perf_counter()
            with runner.connection.transaction():
                _set_timeouts(runner)
                runner.connection.execute("select rollout.go_back()")
            took = 1000 * (time.perf_counter() - began)

        runner.patiently(attempt, "The way back")
        say(f"Clients have v1 again; that took {took:.0f} ms.")
    _clear(runner)
    kept = kept_rows(runner)
    say(f"v2's tables are gone. In rollout_kept, because v1 has no place for it: {_counted(kept)}.")
    return took


def _apply_back(runner: Runner, notes: int) -> None:
    for limit in (notes, 2**31 - 1):
        try:
            with runner.connection.transaction():
                runner.connection.execute("set transaction isolation level repeatable read")
                runner.connection.execute("select rollout.apply_notes_back(%s)", [limit])
            return
        except (psycopg.errors.IntegrityError, psycopg.errors.SerializationFailure):
            if limit != notes:
                raise


def _counted(kept: dict[str, int]) -> str:
    return ", ".join(f"{count} of {table}" for table, count in kept.items()) or "nothing"


def kept_rows(runner: Runner) -> dict[str, int]:
    """Return how many rows of each table a way back has kept in rollout_kept."""
    if runner.one("select to_regclass('rollout_kept.rows')") is None:
        return {}
    return dict(runner.connection.execute("select table_name, count(*) from rollout_kept.rows group by 1 order by 1").fetchall())


def abort(runner: Runner, say: Say = print) -> None:
    """Take everything away that the rollout has made, before the switch: v1 is what it was.

    Raises:
        WorkbookError: the switch has been.
    """
    if runner.phase == "none":
        say("There is no rollout here.")
        return
    if runner.phase == "switched":
        raise Refused("Clients have v2 already, so the way to v1 is the step back.")
    _clear(runner)
    say("The rollout is taken away; v1 is what it was.")


def _clear(runner: Runner) -> None:
    for table in (*TABLES, "users"):
        runner.patiently(lambda: runner.run("select rollout.unwatch(%s)", table), "Taking the notes off " + table)  # noqa: B023
    runner.patiently(lambda: runner.run("select rollout.clear()"), "Taking the rollout away")


def finish(runner: Runner, say: Say = print, *, has_backup: bool, has_old_clients: bool) -> None:
    """Give the way back up: v1's tables go, and compat_v1 once no old client is left.

    Args:
        runner: whoever holds the lock.
        say: where sentences go.
        has_backup: whether somebody has said that there is a backup of this database.
        has_old_clients: whether somebody still needs compat_v1.

    Raises:
        WorkbookError: there is no backup, or the switch has not been.
    """
    if runner.phase == "none" and runner.one("select to_regnamespace('compat_v1') is not null") and not runner.one(_IS_V1):
        if not has_old_clients:
            runner.patiently(
                lambda: runner.run("set local lock_timeout = '30ms'; drop schema compat_v1 cascade"), "Dropping compat_v1"
            )
            say("compat_v1 is gone.")
        else:
            say("v1's tables are gone already. compat_v1 stays until OLD_CLIENTS=none.")
        return
    _require(runner, {"switched"}, "finish")
    if not has_backup:
        raise Refused("finish drops v1's tables for good: take a backup of this database, and say BACKUP=done.")
    for table in GHOSTS:
        runner.patiently(lambda: runner.run("select rollout.unwatch(%s)", table), "Taking the notes off " + table)  # noqa: B023
    runner.patiently(lambda: runner.run("select rollout.unwatch('users')"), "Taking the notes off users")
    runner.patiently(lambda: runner.run("select rollout.drop_v1()"), "Dropping v1's tables")
    say("v1's tables are gone, and with them the way back.")
    if has_old_clients:
        say("compat_v1 stays for old clients: once there are none, finish with OLD_CLIENTS=none.")
    else:
        runner.patiently(
            lambda: runner.run("set local lock_timeout = '30ms'; drop schema compat_v1 cascade"), "Dropping compat_v1"
        )
        say("compat_v1 is gone.")


def _require(runner: Runner, phases: set[str], step: str) -> None:
    phase = runner.phase
    if phase in phases:
        return
    first = {"none": "start", "starting": "start", "started": "copy", "linked": "switch", "switched": "finish, or back"}[phase]
    raise Refused(f"The step {step} does not come now: the rollout is {phase}, and what comes next is {first}.")


# --- Status -------------------------------------------------------------------------------------------------------


def status(runner: Runner) -> Status:
    """Say where the rollout is."""
    phase = runner.phase
    facts: dict[str, Any] = {}
    if phase in ("started", "linked", "starting"):
        facts["changes noted"] = runner.one("select count(*) from rollout.dirty")
        for table, page, rows, is_copied, pages in runner.connection.execute(
            "select table_name, next_page, rows_copied, is_copied, pg_relation_size(format('public.%I', table_name)::regclass) / "
            "current_setting('block_size')::int from rollout.progress order by place"
        ):
            facts[table] = f"{rows:,} rows, {'copied' if is_copied else f'page {page:,} of {pages:,}'}"
        if runner.one("select to_regclass('private.repairs') is not null"):
            facts["rows repaired"] = dict(
                runner.connection.execute(
                    "select issue::text, count(*) from private.repairs group by issue order by issue"
                ).fetchall()
            )
    if phase == "switched":
        facts["switched at"] = str(runner.one("select date_trunc('second', switched_at) from rollout.state"))
        facts["written since"] = runner.one("select count(*) from rollout.dirty")
        facts["v1 has no place for"] = dict(
            runner.connection.execute("select table_name, rows from rollout.without_place()").fetchall()
        )
    if kept := kept_rows(runner):
        facts["kept from a way back"] = kept
    facts["disk"] = {
        name: f"{size / 2**20:,.0f} MB"
        for name, size in runner.connection.execute(
            "select nspname, sum(pg_total_relation_size(pg_class.oid)) "
            "from pg_class join pg_namespace on pg_namespace.oid = relnamespace "
            "where nspname in ('public', 'private', 'rollout', 'rollout_new', 'rollout_old', 'rollout_kept') "
            "and relkind in ('r', 'm') "
            "group by 1 order by 1"
        )
    }
    facts["disk"] = ", ".join(f"{name} {size}" for name, size in facts["disk"].items())
    return Status(phase, facts)

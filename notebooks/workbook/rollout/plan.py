"""What a rollout would do to a database, and what stops it."""

import math
import re
from dataclasses import dataclass

import psycopg

from ..errors import WorkbookError
from .build import Definition, definition, policies_that_ask
from .hints import statements_that_help
from .repairs import TABLES
from .runner import Runner, is_v1, sql_file

COPIED_PER_MINUTE = 150 * 2**20
"""Bytes of v1, indexes included, that a rehearsal copied in a minute beside its traffic, rounded down; only `plan` goes by it."""


@dataclass(frozen=True)
class Obstacle:
    """Something that stops a rollout, and the statement that helps."""

    what: str
    help: str

    def __str__(self) -> str:
        return f"{self.what}. {self.help}"


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
        f"The copy takes about {_minutes(total)}, at two thirds of what one core can do.",
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


def obstacles(runner: Runner) -> list[Obstacle]:
    """Return what stops a rollout here, each with what helps."""
    return look(runner)[0]


def look(runner: Runner) -> tuple[list[Obstacle], Definition | None]:
    """Return what stops a rollout here, and v2's definition for this database, which is None where something does.

    A rollout that has begun is looked at by the catalog only.
    """
    if runner.phase == "none" and not is_v1(runner):
        return [Obstacle("messages has no column timestamp, so this is not v1", "Give the URL of the database that has v1")], None
    found = [Obstacle(what, help) for what, help in runner.connection.execute(sql_file("obstacles.sql"))]
    if found or runner.phase != "none":
        return found, None
    if runner.one("select to_regclass('private.repairs') is not null"):
        help = "Apply the others one by one: the rollout takes v1 as it was"
        return [Obstacle("some fixes are applied already", help)], None
    try:
        wanted = definition(runner.connection)
    except WorkbookError as error:
        return [_as_obstacle(runner, error)], None
    carried = {policy for policy, _ in wanted.policies}
    found = [
        Obstacle(
            f"{policy} asks one of v1's tables, and stands where the rollout does not look",
            f"Run this first, and make it again after the switch: {policy.replace('the policy', 'drop policy', 1)};",
        )
        for policy, _ in policies_that_ask(runner.connection)
        if policy not in carried
    ]
    return found, None if found else wanted


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

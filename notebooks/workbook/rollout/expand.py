"""What makes v2 beside v1 in one database, and what its switch and its way back run there."""

from collections.abc import Iterable
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from .. import fixes
from .build import (
    MOVED_FUNCTION,
    Definition,
    default_privileges,
    policies_that_ask,
    published,
    repair_rows,
    usual_default_privileges,
)
from .repairs import TABLES
from .runner import Runner, sql_file

GHOSTS = ("profiles", "scenarios", "sessions", "messages", "messages_archive", "message_chunks", "logs", "event_types")
"""v2's tables."""


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
        "of_team": of_team(runner, wanted.v1_objects),
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
        "before_switch": [*wanted.steps["switch"], *history],
        "switch": [
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


def of_team(runner: Runner, v1_objects: Iterable[str]) -> list[str]:
    """Return what a team has hung on v1 from elsewhere and the switch takes along, as it is now."""
    return [
        *_triggers_of_team(runner, v1_objects, {})[1],
        *(statement for _, statement in policies_that_ask(runner.connection)),
        *(f"{name} {says}" for name, _, says in published(runner.connection, set(TABLES))),
    ]


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
    listed = ", ".join(f"('{version}', '{name}')" for version, name in versions)
    recorded = [f"insert into supabase_migrations.schema_migrations (version, name) values {listed} on conflict do nothing"]
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

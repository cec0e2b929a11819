"""What a team has added to a table is never lost in silence: a fix carries it along, or stops and names it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import workbook as wb
from helpers import schema
from team import LAST, Trial, database_at, roles, said, trial
from workbook import ADMIN, ANNA, OWNER, SERVICE, Actor, fixes

ROLE = "wb_support"
OTHER_ROLE = "wb_planner"


@pytest.fixture(scope="module", autouse=True)
def _roles() -> Iterator[None]:
    with roles(ROLE, OTHER_ROLE):
        yield


@dataclass(frozen=True)
class Addition:
    """Something of the team's own, there before a fix that rebuilds or drops what it hangs on."""

    fix: int
    label: str
    name: str
    """What a fix that stops has to say."""
    add: str
    there: str
    """A question that is true as long as it is there."""
    actor: Actor = OWNER

    @property
    def from_v1(self) -> bool:
        """Whether it can be there in v1 already."""
        return not re.search(
            r"sent_at|message_role|deferrable initially deferred$|private\.|messages_archive|public_scenarios"
            r"|references sessions \(id, user_id",
            self.add,
        )

    @property
    def id(self) -> str:
        """The addition in the list of tests."""
        return f"{self.fix:02}-{self.label.replace(' ', '_')}"


def has_column(table: str, column: str) -> str:
    """Ask for a column."""
    return (
        f"select exists (select from pg_attribute where attrelid = 'public.{table}'::regclass"
        f" and attname = '{column}' and not attisdropped)"
    )


def has_trigger(table: str, trigger: str, enabled: str = "O") -> str:
    """Ask for a trigger."""
    return (
        f"select exists (select from pg_trigger where tgrelid = 'public.{table}'::regclass"
        f" and tgname = '{trigger}' and tgenabled = '{enabled}')"
    )


def has_index(table: str, index: str) -> str:
    """Ask for a valid index."""
    return (
        "select exists (select from pg_index join pg_class on pg_class.oid = indexrelid"
        f" where indrelid = 'public.{table}'::regclass and relname = '{index}' and indisvalid)"
    )


def has_constraint(table: str, constraint: str) -> str:
    """Ask for a constraint."""
    return f"select exists (select from pg_constraint where conrelid = 'public.{table}'::regclass and conname = '{constraint}')"


def has_policy(table: str, policy: str) -> str:
    """Ask for a policy."""
    return f"select exists (select from pg_policies where tablename = '{table}' and policyname = '{policy}')"


def has_relation(name: str) -> str:
    """Ask for a view or another relation."""
    return f"select to_regclass('{name}') is not null"


def has_statistics(table: str, name: str) -> str:
    """Ask for a statistics object."""
    return f"select exists (select from pg_statistic_ext where stxrelid = 'public.{table}'::regclass and stxname = '{name}')"


def is_published(publication: str, table: str) -> str:
    """Ask for a table's membership in a publication."""
    return (
        f"select exists (select from pg_publication_rel join pg_publication on pg_publication.oid = prpubid"
        f" where pubname = '{publication}' and prrelid = 'public.{table}'::regclass)"
    )


def may(role: str, what: str, table: str) -> str:
    """Ask for a privilege."""
    return f"select has_table_privilege('{role}', 'public.{table}', '{what}')"


def may_column(role: str, what: str, table: str, column: str) -> str:
    """Ask for a privilege on a column."""
    return f"select has_column_privilege('{role}', 'public.{table}', '{column}', '{what}')"


def is_clustered(index: str) -> str:
    """Ask whether a table is kept in the order of an index."""
    return f"select exists (select from pg_index where indexrelid = to_regclass('{index}') and indisclustered)"


STORED = """
    from pg_class
    where (oid = 'public.logs'::regclass or oid in (select inhrelid from pg_inherits where inhparent = 'public.logs'::regclass))
        and relkind = 'r'"""
"""Where the rows of logs are stored: the table itself, or all of its partitions."""

OWN_FUNCTION = """
    create function public.tell() returns trigger language plpgsql as $$ begin return coalesce(new, old); end $$;"""
A_LOG = "insert into logs (level, event_type, user_id) values ('info', 'user_logout', :anna);"
PUBLISH = "create publication {0} for {1}; alter publication {0} owner to workbook_owner"

ON_LOGS = [
    # The table's rows and columns.
    Addition(
        30,
        "column and a row's value",
        "request_id",
        "alter table logs add column request_id text;"
        "insert into logs (level, event_type, user_id, request_id) values ('info', 'user_logout', :anna, 'r1')",
        "select count(*) = 1 from logs where request_id = 'r1'",
    ),
    Addition(
        30,
        "column with default",
        "source",
        f"{A_LOG} alter table logs add column source text default 'app'",
        "select count(source) > 0 and (select count(*) > 0 from pg_attrdef"
        " join pg_attribute on attrelid = adrelid and attnum = adnum"
        " where adrelid = 'public.logs'::regclass and attname = 'source') from logs",
    ),
    Addition(
        30,
        "column not null",
        "tenant",
        "alter table logs add column tenant integer not null default 7",
        "select attnotnull from pg_attribute where attrelid = 'public.logs'::regclass and attname = 'tenant'",
    ),
    Addition(
        30,
        "generated column",
        "day",
        f"{A_LOG} alter table logs add column day date generated always as (((created_at at time zone 'UTC'))::date) stored",
        "select attgenerated = 's' and exists (select from logs where day is not null)"
        " from pg_attribute where attrelid = 'public.logs'::regclass and attname = 'day'",
    ),
    Addition(
        30,
        "identity column",
        "line",
        f"{A_LOG} alter table logs add column line bigint generated always as identity",
        "select attidentity = 'a' from pg_attribute where attrelid = 'public.logs'::regclass and attname = 'line'",
    ),
    Addition(
        30,
        "serial column",
        "place",
        f"{A_LOG} alter table logs add column place serial",
        "select pg_get_serial_sequence('public.logs', 'place') is not null",
    ),
    Addition(
        30,
        "column with check",
        "cost",
        "alter table logs add column cost numeric constraint logs_cost_positive check (cost >= 0)",
        has_constraint("logs", "logs_cost_positive"),
    ),
    Addition(
        30,
        "column of an own type",
        "mood",
        f"create type public.mood as enum ('good', 'bad'); {A_LOG} alter table logs add column mood public.mood default 'good'",
        "select count(*) > 0 from logs where mood = 'good'",
    ),
    Addition(
        30,
        "column of a dropped one's place",
        "trace",
        "alter table logs add column gone text; alter table logs add column trace text; alter table logs drop column gone;"
        "insert into logs (level, event_type, trace) values ('info', 'user_logout', 't1')",
        "select count(*) = 1 from logs where trace = 't1'",
    ),
    Addition(
        30,
        "column with a quoted name",
        "Request Id",
        'alter table logs add column "Request Id" text;'
        "insert into logs (level, event_type, \"Request Id\") values ('info', 'user_logout', 'r1')",
        "select count(*) = 1 from logs where \"Request Id\" = 'r1'",
    ),
    Addition(
        30,
        "column named as a variable",
        "month",
        "alter table logs add column month text;"
        "insert into logs (level, event_type, month) values ('info', 'user_logout', 'May')",
        "select count(*) = 1 from logs where month = 'May'",
    ),
    Addition(
        30,
        "comment on an own column",
        "request_id",
        "alter table logs add column request_id text; comment on column logs.request_id is 'Ours.'",
        "select col_description(attrelid, attnum) = 'Ours.' from pg_attribute"
        " where attrelid = 'public.logs'::regclass and attname = 'request_id'",
    ),
    Addition(
        30,
        "default of a column of v1",
        "metadata",
        "alter table logs alter column metadata set default '{}'",
        "select exists (select from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum"
        " where adrelid = 'public.logs'::regclass and attname = 'metadata')",
    ),
    Addition(
        30,
        "not null of a column of v1",
        "metadata",
        "alter table logs alter column metadata set not null",
        "select attnotnull from pg_attribute where attrelid = 'public.logs'::regclass and attname = 'metadata'",
    ),
    Addition(
        30,
        "statistics target of a column",
        "event_type",
        "alter table logs alter column event_type set statistics 1000",
        "select attstattarget = 1000 from pg_attribute where attrelid = 'public.logs'::regclass and attname = 'event_type'",
    ),
    Addition(
        30,
        "storage of a column",
        "metadata",
        "alter table logs alter column metadata set storage external",
        "select attstorage = 'e' from pg_attribute where attrelid = 'public.logs'::regclass and attname = 'metadata'",
    ),
    # Constraints.
    Addition(
        30,
        "check",
        "logs_not_from_the_future",
        "alter table logs add constraint logs_not_from_the_future check (created_at < '2100-01-01')",
        has_constraint("logs", "logs_not_from_the_future"),
    ),
    Addition(
        30,
        "check that is not validated",
        "logs_metadata_small",
        "alter table logs add constraint logs_metadata_small check (pg_column_size(metadata) < 8000) not valid",
        has_constraint("logs", "logs_metadata_small"),
    ),
    Addition(
        30,
        "foreign key of its own",
        "logs_tenant_fkey",
        "create table tenants (id integer primary key); alter table logs add column tenant integer;"
        "alter table logs add constraint logs_tenant_fkey foreign key (tenant) references tenants",
        has_constraint("logs", "logs_tenant_fkey"),
    ),
    Addition(
        30,
        "unique constraint",
        "logs_request_once",
        "alter table logs add column request_id text; alter table logs add constraint logs_request_once unique (request_id)",
        has_constraint("logs", "logs_request_once"),
    ),
    Addition(
        30,
        "exclusion constraint",
        "logs_no_overlap",
        "alter table logs add column span tstzrange;"
        "alter table logs add constraint logs_no_overlap exclude using gist (span with &&)",
        has_constraint("logs", "logs_no_overlap"),
    ),
    Addition(
        30,
        "foreign key to logs",
        "log_notes",
        "create table log_notes (log_id uuid constraint log_notes_log_id_fkey references logs)",
        "select exists (select from pg_constraint where conname = 'log_notes_log_id_fkey'"
        " and confrelid = 'public.logs'::regclass)",
    ),
    # Triggers and rules.
    Addition(
        30,
        "row trigger",
        "tell_webhook",
        OWN_FUNCTION + "create trigger tell_webhook after insert on logs for each row execute function public.tell()",
        has_trigger("logs", "tell_webhook"),
    ),
    Addition(
        30,
        "trigger with a condition and arguments",
        "tell_errors",
        OWN_FUNCTION + "create trigger tell_errors before insert on logs for each row when (new.level = 'error')"
        " execute function public.tell('https://example.org')",
        has_trigger("logs", "tell_errors"),
    ),
    Addition(
        30,
        "statement trigger",
        "tell_statements",
        OWN_FUNCTION
        + "create trigger tell_statements after insert or delete on logs for each statement execute function public.tell()",
        has_trigger("logs", "tell_statements"),
    ),
    Addition(
        30,
        "trigger with a transition table",
        "tell_rows",
        OWN_FUNCTION + "create trigger tell_rows after insert on logs referencing new table as added"
        " for each row execute function public.tell()",
        has_trigger("logs", "tell_rows"),
    ),
    Addition(
        30,
        "constraint trigger",
        "tell_late",
        OWN_FUNCTION + "create constraint trigger tell_late after insert on logs deferrable initially deferred"
        " for each row execute function public.tell()",
        has_trigger("logs", "tell_late"),
    ),
    Addition(
        30,
        "trigger that is switched off",
        "tell_no_more",
        OWN_FUNCTION + "create trigger tell_no_more after insert on logs for each row execute function public.tell();"
        "alter table logs disable trigger tell_no_more",
        has_trigger("logs", "tell_no_more", "D"),
    ),
    Addition(
        30,
        "trigger that always fires",
        "tell_always",
        OWN_FUNCTION + "create trigger tell_always after insert on logs for each row execute function public.tell();"
        "alter table logs enable always trigger tell_always",
        has_trigger("logs", "tell_always", "A"),
    ),
    Addition(
        30,
        "rule",
        "logs_for_ever",
        "create rule logs_for_ever as on update to logs do instead nothing",
        "select exists (select from pg_rewrite where ev_class = 'public.logs'::regclass and rulename = 'logs_for_ever')",
    ),
    # Indexes.
    Addition(
        30,
        "index",
        "logs_event_user",
        "create index logs_event_user on logs (event_type, user_id)",
        has_index("logs", "logs_event_user"),
    ),
    Addition(
        30,
        "unique index",
        "logs_once",
        "create unique index logs_once on logs ((metadata ->> 'request')) where metadata ? 'request'",
        has_index("logs", "logs_once"),
    ),
    Addition(
        30,
        "unique index that has the key",
        "logs_once",
        "create unique index logs_once on logs (created_at, id, level)",
        has_index("logs", "logs_once"),
    ),
    Addition(
        30,
        "index on an expression",
        "logs_code",
        "create index logs_code on logs ((metadata ->> 'code'))",
        has_index("logs", "logs_code"),
    ),
    Addition(
        30,
        "partial index",
        "logs_errors",
        "create index logs_errors on logs (created_at) where level = 'error'",
        has_index("logs", "logs_errors"),
    ),
    Addition(
        30,
        "index with included columns and options",
        "logs_wide",
        "create index logs_wide on logs (session_id) include (level) with (fillfactor = 70)",
        has_index("logs", "logs_wide"),
    ),
    Addition(
        30,
        "comment on an own index",
        "logs_errors",
        "create index logs_errors on logs (created_at) where level = 'error'; comment on index logs_errors is 'Ours.'",
        "select obj_description(to_regclass('logs_errors'), 'pg_class') = 'Ours.'",
    ),
    Addition(
        30,
        "index of v1's that orders the table",
        "idx_logs_created_at",
        "alter table logs cluster on idx_logs_created_at",
        is_clustered("idx_logs_created_at"),
    ),
    # Who may what.
    Addition(
        30,
        "policy",
        "support_reads",
        f"create policy support_reads on logs for select to {ROLE} using (level = 'error')",
        has_policy("logs", "support_reads"),
    ),
    Addition(
        30,
        "restrictive policy",
        "logs_no_debug",
        "create policy logs_no_debug on logs as restrictive for select to authenticated using (level <> 'debug')",
        has_policy("logs", "logs_no_debug"),
    ),
    Addition(30, "grant", ROLE, f"grant select, insert on logs to {ROLE}", may(ROLE, "insert", "logs")),
    Addition(
        30,
        "grant of a column",
        ROLE,
        f"grant select (level, created_at) on logs to {ROLE}",
        may_column(ROLE, "select", "logs", "level"),
    ),
    Addition(
        30,
        "grant of an own column",
        ROLE,
        f"alter table logs add column request_id text; grant select (request_id) on logs to {ROLE}",
        may_column(ROLE, "select", "logs", "request_id"),
    ),
    Addition(
        30,
        "grant with the right to grant",
        ROLE,
        f"grant select on logs to {ROLE} with grant option",
        may(ROLE, "select with grant option", "logs"),
    ),
    # Replication.
    Addition(
        30,
        "replica identity full",
        "replica identity",
        "alter table logs replica identity full",
        f"select bool_and(relreplident = 'f') {STORED}",
    ),
    Addition(
        30,
        "replica identity by an index",
        "logs_identity",
        "create unique index logs_identity on logs (id, created_at); alter table logs replica identity using index logs_identity",
        f"select bool_and(relreplident = 'i') {STORED}",
    ),
    Addition(
        30,
        "replica identity nothing",
        "replica identity",
        "alter table logs replica identity nothing",
        f"select bool_and(relreplident = 'n') {STORED}",
    ),
    Addition(
        30,
        "publication",
        "supabase_realtime",
        PUBLISH.format("supabase_realtime", "table public.logs, public.messages"),
        is_published("supabase_realtime", "logs"),
        ADMIN,
    ),
    Addition(
        30,
        "publication of another owner",
        "supabase_realtime",
        "create publication supabase_realtime for table public.logs, public.messages",
        is_published("supabase_realtime", "logs"),
        ADMIN,
    ),
    Addition(
        30,
        "publication of some rows and columns",
        "errors_abroad",
        PUBLISH.format(
            "errors_abroad", "table public.logs (id, level, created_at) where (level = 'error') with (publish = 'insert')"
        ),
        "select exists (select from pg_publication_tables where pubname = 'errors_abroad'"
        " and rowfilter is not null and cardinality(attnames) = 3)",
        ADMIN,
    ),
    Addition(
        30,
        "publication of the whole schema",
        "everything_abroad",
        "create publication everything_abroad for tables in schema public",
        "select exists (select from pg_publication_tables where pubname = 'everything_abroad' and tablename ~ '^logs')",
        ADMIN,
    ),
    # What reads it.
    Addition(
        30,
        "view",
        "recent_errors",
        f"{A_LOG} create view recent_errors as select id, level, created_at from logs",
        "select count(*) = (select count(*) from logs) from recent_errors",
    ),
    Addition(
        30,
        "materialized view",
        "errors_a_day",
        "create materialized view errors_a_day as select count(*) from logs",
        has_relation("errors_a_day"),
    ),
    Addition(
        30,
        "function of its row type",
        "own_logs",
        "create function own_logs() returns setof logs language sql as 'select * from logs'",
        "select count(*) = (select count(*) from logs) from own_logs()",
    ),
    Addition(
        30,
        "function with a parsed body",
        "count_logs",
        "create function count_logs() returns bigint language sql begin atomic select count(*) from logs; end",
        "select count_logs() = (select count(*) from logs)",
    ),
    Addition(
        30,
        "column of its row type",
        "kept_logs",
        f"{A_LOG} create table kept_logs (entry logs); insert into kept_logs select logs from logs",
        "select count((entry).id) > 0 from kept_logs",
    ),
    Addition(
        30,
        "table that inherits",
        "logs_of_old",
        "create table logs_of_old () inherits (logs)",
        has_relation("logs_of_old"),
    ),
    Addition(
        30,
        "storage parameter",
        "autovacuum_vacuum_scale_factor",
        "alter table logs set (autovacuum_vacuum_scale_factor = 0.01)",
        f"select bool_and(reloptions @> array['autovacuum_vacuum_scale_factor=0.01']) {STORED}",
    ),
    Addition(
        30,
        "statistics object",
        "logs_stats",
        "create statistics logs_stats (dependencies) on level, event_type from logs",
        has_statistics("logs", "logs_stats"),
    ),
    Addition(
        30,
        "level",
        "fatal",
        "alter table logs drop constraint logs_level_check;"
        "alter table logs add constraint logs_level_check check (level in ('fatal', 'error', 'warn', 'info', 'debug'));"
        "insert into logs (level, event_type) values ('fatal', 'unknown_error')",
        "select exists (select from logs where level = 'fatal')",
    ),
    Addition(
        29,
        "kind of event",
        "payment_made",
        "alter table logs drop constraint logs_event_type_check;"
        "alter table logs add constraint logs_event_type_check check (event_type in ('user_logout', 'payment_made'));"
        "insert into logs (level, event_type) values ('info', 'payment_made')",
        "select exists (select from logs where event_type = 'payment_made')",
    ),
]


def on_dropped_column(fix: int, table: str, other: str) -> list[Addition]:
    """Return what may hang on created_at, which a fix drops; DROP COLUMN takes indexes, checks and grants along in silence."""
    own = f"{table}_own"
    return [
        Addition(fix, "index", own, f"create index {own} on {table} (created_at)", has_index(table, own)),
        Addition(fix, "index on two columns", own, f"create index {own} on {table} (id, created_at)", has_index(table, own)),
        Addition(fix, "unique index", own, f"create unique index {own} on {table} (created_at, id)", has_index(table, own)),
        Addition(
            fix,
            "partial index",
            own,
            f"create index {own} on {table} (id) where created_at > '2026-01-01'",
            has_index(table, own),
        ),
        Addition(
            fix,
            "index on an expression",
            own,
            f"create index {own} on {table} (date_trunc('day', created_at at time zone 'UTC'))",
            has_index(table, own),
        ),
        Addition(
            fix, "index that includes it", own, f"create index {own} on {table} (id) include (created_at)", has_index(table, own)
        ),
        Addition(
            fix,
            "check",
            own,
            f"alter table {table} add constraint {own} check (created_at > '2020-01-01')",
            has_constraint(table, own),
        ),
        Addition(
            fix,
            "check on two columns",
            own,
            f"alter table {table} add constraint {own} check ({other} >= created_at - interval '1 year')",
            has_constraint(table, own),
        ),
        Addition(
            fix,
            "unique constraint",
            own,
            f"alter table {table} add constraint {own} unique (id, created_at)",
            has_constraint(table, own),
        ),
        Addition(
            fix,
            "grant of the column",
            ROLE,
            f"grant select (created_at) on {table} to {ROLE}",
            may_column(ROLE, "select", table, "created_at"),
        ),
        Addition(
            fix,
            "statistics object",
            own,
            f"create statistics {own} on created_at, {other} from {table}",
            has_statistics(table, own),
        ),
        Addition(fix, "view", own, f"create view {own} as select id, created_at from {table}", has_relation(own)),
        Addition(fix, "view of all columns", own, f"create view {own} as select * from {table}", has_relation(own)),
        Addition(
            fix,
            "materialized view",
            own,
            f"create materialized view {own} as select max(created_at) from {table}",
            has_relation(own),
        ),
        Addition(
            fix,
            "generated column",
            "day",
            f"alter table {table} add column day timestamp generated always as (created_at at time zone 'UTC') stored",
            has_column(table, "day"),
        ),
        Addition(
            fix,
            "policy",
            own,
            f"create policy {own} on {table} for select to {ROLE} using (created_at > '2026-01-01')",
            has_policy(table, own),
        ),
        Addition(
            fix,
            "trigger of the column",
            own,
            OWN_FUNCTION
            + f"create trigger {own} after update of created_at on {table} for each row execute function public.tell()",
            has_trigger(table, own),
        ),
        Addition(
            fix,
            "trigger with a condition",
            own,
            OWN_FUNCTION + f"create trigger {own} after insert on {table} for each row when (new.created_at < '2026-01-01')"
            " execute function public.tell()",
            has_trigger(table, own),
        ),
        Addition(
            fix,
            "replica identity by an index",
            own,
            f"create unique index {own} on {table} (id, created_at); alter table {table} replica identity using index {own}",
            has_index(table, own),
        ),
        Addition(
            fix,
            "publication of the column",
            own,
            PUBLISH.format(own, f"table public.{table} (id, created_at)"),
            is_published(own, table),
            ADMIN,
        ),
        Addition(
            fix,
            "foreign key of the column",
            own,
            f"create table moments (at timestamptz primary key); alter table {table} add constraint {own}"
            " foreign key (created_at) references moments (at) not valid",
            has_constraint(table, own),
        ),
        Addition(
            fix,
            "function with a parsed body",
            own,
            f"create function {own}() returns timestamptz language sql begin atomic select max(created_at) from {table}; end",
            f"select {own}() is not null",
        ),
    ]


ON_RENAMED_COLUMN = [
    Addition(
        7,
        "index on what is renamed",
        "messages_own",
        "create index messages_own on messages (timestamp)",
        has_index("messages", "messages_own"),
    ),
    Addition(
        7,
        "view of what is renamed",
        "messages_own",
        "create view messages_own as select id, timestamp from messages",
        "select count(timestamp) > 0 from messages_own",
    ),
    Addition(
        7,
        "check on what is renamed",
        "messages_own",
        "alter table messages add constraint messages_own check (timestamp > '2020-01-01')",
        has_constraint("messages", "messages_own"),
    ),
    Addition(
        7,
        "grant of what is renamed",
        ROLE,
        f"grant select (timestamp) on messages to {ROLE}",
        f"select has_any_column_privilege('{ROLE}', 'public.messages', 'select')",
    ),
]


def on_column(fix: int, table: str, column: str, kind: str, value: str, other: str = "id") -> list[Addition]:
    """Return what may hang on a column whose type a fix changes; value is one that it holds, and one of type kind before."""
    own = f"{table}_own"
    return [
        Addition(fix, f"index on {column}", own, f"create index {own} on {table} ({column}, {other})", has_index(table, own)),
        Addition(
            fix,
            f"partial index on {column}",
            own,
            f"create index {own} on {table} ({other}) where {column} = '{value}'",
            has_index(table, own),
        ),
        Addition(
            fix,
            f"index on an expression of {column}",
            own,
            f"create index {own} on {table} (({column} = '{value}'))",
            has_index(table, own),
        ),
        Addition(fix, f"view of {column}", own, f"create view {own} as select id, {column} from {table}", has_relation(own)),
        Addition(
            fix,
            f"materialized view of {column}",
            own,
            f"create materialized view {own} as select count(*) from {table} where {column} = '{value}'",
            has_relation(own),
        ),
        Addition(
            fix,
            f"check on {column}",
            own,
            f"alter table {table} add constraint {own} check ({column} = '{value}' or {column} <> '{value}')",
            has_constraint(table, own),
        ),
        Addition(
            fix,
            f"policy on {column}",
            own,
            f"create policy {own} on {table} for select to {ROLE} using ({column} = '{value}')",
            has_policy(table, own),
        ),
        Addition(
            fix,
            f"default of {column}",
            column,
            f"alter table {table} alter column {column} set default '{value}'",
            "select exists (select from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum"
            f" where adrelid = 'public.{table}'::regclass and attname = '{column}')",
        ),
        Addition(
            fix,
            f"generated column of {column}",
            "is_own",
            f"alter table {table} add column is_own boolean generated always as ({column} = '{value}') stored",
            has_column(table, "is_own"),
        ),
        Addition(
            fix,
            f"trigger of {column}",
            own,
            OWN_FUNCTION
            + f"create trigger {own} after update of {column} on {table} for each row execute function public.tell()",
            has_trigger(table, own),
        ),
        Addition(
            fix,
            f"trigger with a condition on {column}",
            own,
            OWN_FUNCTION + f"create trigger {own} after insert on {table} for each row when (new.{column} = '{value}')"
            " execute function public.tell()",
            has_trigger(table, own),
        ),
        Addition(
            fix,
            f"grant of {column}",
            ROLE,
            f"grant select ({column}) on {table} to {ROLE}",
            may_column(ROLE, "select", table, column),
        ),
        Addition(
            fix,
            f"statistics object on {column}",
            own,
            f"create statistics {own} on {column}, {other} from {table}",
            has_statistics(table, own),
        ),
        Addition(
            fix,
            f"function with a parsed body on {column}",
            f"{own}_function",
            f"create function {own}_function() returns {kind} language sql"
            f" begin atomic select max({column}::text)::{kind} from {table}; end",
            f"select {own}_function() is not null",
        ),
    ]


def clustered(fix: int, table: str, index: str) -> Addition:
    """Return an order of a table that hangs on an index which a fix drops."""
    return Addition(fix, f"order by {index}", index, f"alter table {table} cluster on {index}", is_clustered(index))


OTHERS = [
    Addition(
        1,
        "trigger that calls calculate_session_duration()",
        "own_duration",
        "create table visits (is_completed boolean, started_at timestamptz, completed_at timestamptz, duration_seconds integer);"
        "create trigger own_duration before update on visits for each row execute function calculate_session_duration()",
        has_trigger("visits", "own_duration"),
    ),
    Addition(
        13,
        "role of a message",
        "messages_role_check",
        "alter table messages drop constraint messages_role_check;"
        "alter table messages add constraint messages_role_check check (role in ('user', 'scenario', 'helper', 'system'));"
        "insert into messages (session_id, role, chat_type, content) values (:anna_open, 'system', 'main', 'Be brief.')",
        "select exists (select from messages where role::text = 'system')",
    ),
    Addition(
        13,
        "foreign key of role",
        "messages_role_own",
        "create table speakers (role text primary key); insert into speakers values ('user'), ('scenario'), ('helper');"
        "alter table messages add constraint messages_role_own foreign key (role) references speakers",
        has_constraint("messages", "messages_role_own"),
    ),
    Addition(
        13,
        "publication of some roles",
        "learners_abroad",
        PUBLISH.format("learners_abroad", "table public.messages where (role = 'user') with (publish = 'insert')"),
        is_published("learners_abroad", "messages"),
        ADMIN,
    ),
    Addition(
        13,
        "type of the same name",
        "message_role",
        "create type message_role as enum ('me', 'you')",
        "select enum_range(null::public.message_role)::text = '{me,you}'",
    ),
    Addition(
        36,
        "function with an argument of the type",
        "own_function",
        "create function own_function(role message_role) returns text language sql as 'select $1::text'",
        "select exists (select from pg_proc where proname = 'own_function')",
    ),
    Addition(
        36,
        "function that returns the type",
        "own_function",
        "create function own_function() returns message_role language sql as $$ select 'user'::public.message_role $$",
        "select exists (select from pg_proc where proname = 'own_function')",
    ),
    Addition(
        36,
        "column of the type",
        "drafts",
        "create table drafts (role message_role); insert into drafts values ('user'), ('scenario')",
        "select count(*) = 2 from drafts where role is not null",
    ),
    Addition(
        36,
        "column of an array of the type",
        "audiences",
        "create table audiences (roles message_role[]); insert into audiences values ('{user,helper}')",
        "select count(*) = 1 from audiences where cardinality(roles) = 2",
    ),
    Addition(
        36,
        "domain over the type",
        "speaker",
        "create domain speaker as message_role",
        "select to_regtype('public.speaker') is not null",
    ),
    Addition(
        36,
        "value of the type",
        "system",
        "alter type message_role add value 'system'",
        "select exists (select from pg_enum where enumlabel = 'system')",
    ),
    Addition(
        36,
        "partial index on the archive",
        "archive_own",
        "create index archive_own on messages_archive (session_id) where role = 'user'",
        has_index("messages_archive", "archive_own"),
    ),
    Addition(
        36,
        "view of the archive",
        "archive_own",
        "create view archive_own as select role from messages_archive",
        has_relation("archive_own"),
    ),
    clustered(20, "sessions", "idx_sessions_user_lookup"),
    clustered(21, "messages", "idx_messages_session_chronological"),
    clustered(21, "messages", "idx_messages_chat_type"),
    Addition(
        21,
        "replica identity by an index of v1's name",
        "idx_messages_session_chronological",
        "drop index idx_messages_session_chronological;"
        "create unique index idx_messages_session_chronological on messages (session_id, sent_at, id);"
        "alter table messages replica identity using index idx_messages_session_chronological",
        "select indisreplident from pg_index where indexrelid = to_regclass('idx_messages_session_chronological')",
    ),
    Addition(
        20,
        "replica identity by an index of v1's name",
        "idx_sessions_user_lookup",
        "drop index idx_sessions_user_lookup;"
        "create unique index idx_sessions_user_lookup on sessions (user_id, is_completed, id);"
        "alter table sessions replica identity using index idx_sessions_user_lookup",
        "select indisreplident from pg_index where indexrelid = to_regclass('idx_sessions_user_lookup')",
    ),
    Addition(
        52,
        "order of a partition",
        "idx_logs_level",
        "do $$ begin execute format('alter table private.logs_default cluster on %I', (select relname"
        " from pg_index join pg_class on pg_class.oid = indexrelid where indrelid = 'private.logs_default'::regclass"
        " and pg_get_indexdef(indexrelid) ~ '\\(level\\)$')); end $$",
        "select exists (select from pg_index where indrelid = 'private.logs_default'::regclass and indisclustered)",
    ),
    Addition(
        52,
        "index of v1's name",
        "idx_logs_level",
        "drop index idx_logs_level; create index idx_logs_level on logs (level) include (event_type)",
        "select pg_get_indexdef(to_regclass('idx_logs_level')) ~ 'INCLUDE'",
    ),
    Addition(
        42,
        "index of v1's name",
        "idx_profiles_email",
        "drop index idx_profiles_email; create index idx_profiles_email on profiles (email text_pattern_ops)",
        "select pg_get_indexdef(to_regclass('idx_profiles_email')) ~ 'text_pattern_ops'",
    ),
    clustered(42, "profiles", "idx_profiles_email"),
    Addition(
        42,
        "foreign key to the address",
        "invitations",
        "alter table profiles add constraint profiles_own unique (email);"
        "create table invitations (email text constraint invitations_own references profiles (email));"
        "insert into invitations values ('anna@example.org')",
        has_constraint("invitations", "invitations_own"),
    ),
    Addition(
        42,
        "function with an index",
        "profiles_own",
        "create index profiles_own on profiles (lower(email))",
        has_index("profiles", "profiles_own"),
    ),
    Addition(
        18,
        "foreign key that is deferrable",
        "messages_session_id_fkey",
        "alter table messages alter constraint messages_session_id_fkey deferrable initially deferred",
        "select exists (select from pg_constraint where conrelid = 'public.messages'::regclass"
        " and confrelid = 'public.sessions'::regclass and condeferred)",
    ),
    Addition(
        18,
        "foreign key from elsewhere to the session",
        "notes_session_id_fkey",
        "create table notes (session_id uuid constraint notes_session_id_fkey references sessions)",
        has_constraint("notes", "notes_session_id_fkey"),
    ),
    Addition(
        18,
        "grant of a column",
        ROLE,
        f"grant select (content), update (content) on messages to {ROLE}",
        may_column(ROLE, "update", "messages", "content"),
    ),
    Addition(
        22,
        "trigger that counts",
        "own_count",
        "create table drafts (session_id uuid, chat_type text);"
        "create trigger own_count after insert on drafts for each row execute function private.increment_message_count()",
        has_trigger("drafts", "own_count"),
    ),
    Addition(
        22,
        "storage parameter of sessions",
        "fillfactor",
        "alter table sessions set (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02)",
        "select reloptions @> array['fillfactor=60', 'autovacuum_vacuum_scale_factor=0.02']"
        " from pg_class where oid = 'sessions'::regclass",
    ),
    Addition(
        40,
        "foreign key to sessions",
        "notes_session_id_fkey",
        "create table notes (session_id uuid constraint notes_session_id_fkey references sessions on delete set null)",
        has_constraint("notes", "notes_session_id_fkey"),
    ),
    Addition(
        40,
        "foreign key to messages",
        "marks_message_id_fkey",
        "create table marks (message_id uuid constraint marks_message_id_fkey references messages on delete cascade)",
        has_constraint("marks", "marks_message_id_fkey"),
    ),
    Addition(
        40,
        "foreign key to session and user",
        "notes_own",
        "create table notes (session_id uuid, user_id uuid,"
        " constraint notes_own foreign key (session_id, user_id) references sessions (id, user_id))",
        has_constraint("notes", "notes_own"),
    ),
    Addition(
        40,
        "foreign key that restricts",
        "sessions_user_id_fkey",
        "alter table sessions drop constraint sessions_user_id_fkey;"
        "alter table sessions add constraint sessions_user_id_fkey foreign key (user_id) references profiles on delete restrict",
        "select exists (select from pg_constraint where conrelid = 'public.sessions'::regclass"
        " and confrelid = 'public.profiles'::regclass and confdeltype = 'r')",
    ),
]


def on_view(fix: int, columns: str) -> list[Addition]:
    """Return what may hang on public_scenarios."""
    return [
        Addition(
            fix, "grant on the view", ROLE, f"grant select on public_scenarios to {ROLE}", may(ROLE, "select", "public_scenarios")
        ),
        Addition(
            fix,
            "grant of a column of the view",
            "title",
            f"grant select (title) on public_scenarios to {ROLE}",
            may_column(ROLE, "select", "public_scenarios", "title"),
        ),
        Addition(
            fix,
            "view on the view",
            "titles",
            f"create view titles as select {columns} from public_scenarios",
            has_relation("titles"),
        ),
        Addition(
            fix,
            "trigger on the view",
            "own_trigger",
            OWN_FUNCTION
            + "create trigger own_trigger instead of insert on public_scenarios for each row execute function public.tell()",
            has_trigger("public_scenarios", "own_trigger"),
        ),
        Addition(
            fix,
            "option of the view",
            "security_barrier",
            "alter view public_scenarios set (security_barrier = true)",
            "select reloptions @> array['security_barrier=true'] from pg_class where oid = 'public_scenarios'::regclass",
        ),
    ]


def on_job(fix: int, job: str) -> list[Addition]:
    """Return what may hang on a function that a fix drops to give it another signature."""
    return [
        Addition(
            fix,
            f"grant of {job}",
            OTHER_ROLE,
            f"grant execute on function {job}() to {OTHER_ROLE}",
            f"select bool_or(has_function_privilege('{OTHER_ROLE}', oid, 'execute')) from pg_proc where proname = '{job}'"
            " and pronamespace = 'public'::regnamespace",
        ),
        Addition(
            fix,
            f"view that calls {job}",
            "own_run",
            f"create view own_run as select {job}() as affected",
            has_relation("own_run"),
        ),
        Addition(
            fix,
            f"function that calls {job}",
            "own_run",
            f"create function own_run() returns integer language sql begin atomic select {job}(); end",
            "select exists (select from pg_proc where proname = 'own_run')",
        ),
        Addition(
            fix,
            f"setting of {job}",
            job,
            f"alter function {job}() set statement_timeout = '10min'",
            f"select bool_or(proconfig @> array['statement_timeout=10min']) from pg_proc where proname = '{job}'"
            " and pronamespace = 'public'::regnamespace",
        ),
    ]


ADDITIONS = [
    *ON_LOGS,
    *on_dropped_column(5, "sessions", "started_at"),
    *on_dropped_column(7, "messages", "timestamp"),
    *ON_RENAMED_COLUMN,
    *on_column(13, "messages", "role", "text", "user"),
    *on_column(13, "messages", "chat_type", "text", "main"),
    *on_column(36, "messages", "role", "message_role", "user"),
    *on_column(42, "profiles", "email", "text", "anna@example.org"),
    *on_view(34, "title"),
    *on_view(38, "code"),
    *on_job(31, "reset_weekly_limits"),
    *on_job(32, "delete_expired_sessions"),
    *on_job(32, "delete_old_logs"),
    *OTHERS,
]


def attempt(state: Trial, number: int) -> wb.WorkbookError | None:
    """Apply the fixes up to this one, and return the error of the one that stops."""
    try:
        state.apply_up_to(number)
    except wb.WorkbookError as error:
        return error
    return None


def complaint(error: wb.WorkbookError, name: str) -> str | None:
    """Say what is wrong with an error that should name something, both for psql and for the workbook's reader."""
    assert isinstance(error.__cause__, psycopg.Error)
    for text in (said(error.__cause__), str(error)):
        if name.lower() not in text.lower():
            return f"stops without naming {name}: {text}"
    return None


def unhelpful(state: Trial, error: wb.WorkbookError, number: int) -> str | None:
    """Do as an error's hint says, where it gives a statement, and say what is wrong if the fix does not go on then."""
    assert isinstance(error.__cause__, psycopg.Error)
    hint = error.__cause__.diag.message_hint or ""
    if not (advice := re.search(r"[Rr]un\b[^:;]*:(.*)", hint)):
        return None
    if not (statements := re.search(r"\w.*;", advice[1])):
        return f"the hint gives no statement: {hint}"
    try:
        state.run(statements[0])
    except psycopg.Error as refusal:
        return f"the hint does not work: {statements[0]} ({refusal})"
    again = attempt(state, number)
    return f"the hint does not help: {statements[0]} ({again})" if again else None


# The same kinds on a second table, column, view or job: asked, but not each time.
TWINS = (
    *on_dropped_column(7, "messages", "timestamp"),
    *on_column(13, "messages", "chat_type", "text", "main"),
    *on_column(36, "messages", "role", "message_role", "user"),
    *on_view(38, "code"),
    *on_job(32, "delete_old_logs"),
)


@pytest.mark.parametrize(
    "addition",
    [pytest.param(addition, id=addition.id, marks=[pytest.mark.slow] if addition in TWINS else []) for addition in ADDITIONS],
)
@pytest.mark.slow
def test_is_carried_along_or_named(addition: Addition) -> None:
    with trial(addition.fix - 1) as state:
        assert not state.holds(addition.there), "the question is true before"
        state.run(addition.add, addition.actor)
        assert state.holds(addition.there), "the question is not true with it"
        error = attempt(state, addition.fix)
        if error:
            wrong = complaint(error, addition.name) or unhelpful(state, error, addition.fix)
        else:
            wrong = None if state.holds(addition.there) else f"gone after fix {addition.fix:02}, and nobody said so"
        if wrong:
            pytest.fail(wrong, pytrace=False)


@pytest.mark.slow
@pytest.mark.parametrize("addition", [a for a in (*ON_LOGS, *OTHERS) if a.from_v1], ids=lambda addition: addition.id)
def test_is_carried_all_the_way_from_v1_or_named(addition: Addition) -> None:
    with trial("v1") as state:
        state.run(addition.add, addition.actor)
        error = attempt(state, LAST)
        if error:
            wrong = complaint(error, addition.name)
        else:
            wrong = None if state.holds(addition.there) else "gone in v2, and nobody said so"
        if wrong:
            pytest.fail(wrong, pytrace=False)


# Nothing in a fix's way: it is all there at the end. {t} is the table.
HARMLESS = {
    "column": (
        "alter table {t} add column own_note text default 'ours'",
        "select count(*) > 0 and count(*) = count(own_note) from {t}",
    ),
    "own trigger": (
        "create trigger own_trigger after insert or update or delete on {t} for each row execute function public.tell()",
        "select exists (select from pg_trigger where tgrelid = 'public.{t}'::regclass and tgname = 'own_trigger')",
    ),
    "index": (
        "create index {t}_own_idx on {t} (id, own_note)",
        "select indisvalid and indrelid = 'public.{t}'::regclass from pg_index where indexrelid = to_regclass('{t}_own_idx')",
    ),
    "check": (
        "alter table {t} add constraint {t}_own_check check (own_note <> '')",
        "select convalidated from pg_constraint where conrelid = 'public.{t}'::regclass and conname = '{t}_own_check'",
    ),
    "grant": (f"grant select, update on {{t}} to {ROLE}", f"select has_table_privilege('{ROLE}', 'public.{{t}}', 'update')"),
    "grant of a column": (
        f"grant insert (own_note) on {{t}} to {OTHER_ROLE}",
        f"select has_column_privilege('{OTHER_ROLE}', 'public.{{t}}', 'own_note', 'insert')",
    ),
    "policy": (
        f"create policy own_policy on {{t}} for select to {ROLE} using (own_note is null)",
        "select exists (select from pg_policy where polrelid = 'public.{t}'::regclass and polname = 'own_policy')",
    ),
    "replica identity": (
        "alter table {t} replica identity full",
        "select relreplident = 'f' from pg_class where oid = 'public.{t}'::regclass",
    ),
    "statistics": (
        "create statistics {t}_own_stats on id, own_note from {t}",
        "select exists (select from pg_statistic_ext where stxname = '{t}_own_stats' and stxrelid = 'public.{t}'::regclass)",
    ),
    "comment": (
        "comment on column {t}.own_note is 'Ours.'",
        "select col_description(attrelid, attnum) = 'Ours.' from pg_attribute"
        " where attrelid = 'public.{t}'::regclass and attname = 'own_note'",
    ),
    "storage parameter": (
        "alter table {t} set (autovacuum_vacuum_scale_factor = 0.01)",
        "select reloptions @> array['autovacuum_vacuum_scale_factor=0.01'] from pg_class where oid = 'public.{t}'::regclass",
    ),
    "foreign key to it": (
        "create table of_{t} as select id from {t};"
        "alter table of_{t} add constraint of_{t}_fkey foreign key (id) references {t} on delete cascade",
        "select confrelid = 'public.{t}'::regclass from pg_constraint where conname = 'of_{t}_fkey'",
    ),
    "view of it": ("create view {t}_own_view as select id, own_note from {t}", "select count(*) > 0 from {t}_own_view"),
}


@pytest.mark.parametrize("table", ["profiles", "scenarios", "sessions", "messages"])
def test_what_is_in_no_fixs_way_is_there_in_v2(table: str) -> None:
    with trial("v1") as state:
        state.run(OWN_FUNCTION)
        state.run(f"create publication own_{table} for table public.{table}", ADMIN)
        for add, _ in HARMLESS.values():
            state.run(add.format(t=table))
        questions = {label: question.format(t=table) for label, (_, question) in HARMLESS.items()}
        questions["publication"] = is_published(f"own_{table}", table)
        assert [label for label, question in questions.items() if not state.holds(question)] == []
        if error := attempt(state, LAST):
            pytest.fail(str(error), pytrace=False)
        assert [label for label, question in questions.items() if not state.holds(question)] == []


def test_triggers_of_the_team_that_call_functions_of_v1_still_work() -> None:
    with trial("v1") as state:
        state.run(f"""
            create table homework (id integer primary key, done boolean, updated_at timestamptz);
            create trigger homework_updated_at before update on homework
            for each row execute function update_updated_at_column();
            insert into homework values (1, false, '2020-01-01');
            grant select, update on homework to {ROLE}""")
        state.apply_up_to(LAST)
        state.run("update homework set done = true", Actor("support", ROLE))
        assert state.value("select updated_at > '2021-01-01' from homework")


# A column that a fix adds is there already, for another purpose.
NAMES_TAKEN = [
    (18, "messages", "user_id"),
    (32, "logs", "message"),
    (34, "scenarios", "code"),
    (35, "messages", "deleted_at"),
    (35, "profiles", "deleted_at"),
    (38, "scenarios", "sort_order"),
    (43, "sessions", "last_message_at"),
    (46, "messages", "client_message_id"),
]


@pytest.mark.parametrize(("fix", "table", "column"), NAMES_TAKEN, ids=lambda value: str(value))
def test_column_whose_name_a_fix_needs_stops_it(fix: int, table: str, column: str) -> None:
    with trial(fix - 1) as state:
        state.run(f"alter table {table} add column {column} point")
        error = attempt(state, fix)
        assert error, f"fix {fix:02} runs past a column of another type"
        assert not complaint(error, column)


class TestStop:
    """A fix that stops has touched nothing."""

    @pytest.mark.parametrize(
        ("fix", "add"),
        [
            (30, "create view recent_errors as select id from logs"),
            (5, "create view starts as select created_at from sessions"),
            (13, "create view speakers as select role from messages"),
            (42, "create view addresses as select email from profiles"),
        ],
        ids=["30", "05", "13", "42"],
    )
    def test_leaves_nothing_behind(self, fix: int, add: str) -> None:
        with database_at(fix - 1) as database:
            database.run(add)
            before = schema(database)
            with database.connect() as connection:
                connection.execute("set role workbook_owner")
                with pytest.raises(psycopg.Error):
                    connection.execute(fixes.find(fix).text)
            with pytest.raises(wb.WorkbookError):
                database.apply(fix)
            assert schema(database) == before

    def test_is_over_once_what_it_names_is_gone(self) -> None:
        with trial(29) as state:
            state.run("create view recent_errors as select id from logs")
            assert attempt(state, 30)
            state.run("drop view recent_errors")
            assert attempt(state, LAST) is None


class TestPartitions:
    """What is carried along to logs counts for the partitions that are made later, too."""

    LATER = """
        do $$
        declare
            last regclass := (
                select inhrelid from pg_inherits join pg_class on pg_class.oid = inhrelid
                where inhparent = 'public.logs'::regclass and relname ~ '^logs_y' order by relname desc limit 1
            );
            name text := last::text;
        begin
            execute format('drop table %s', last);
            perform private.ensure_log_partitions();
            if to_regclass(name) is null then
                raise exception 'the partition was not made again';
            end if;
        end $$"""
    PARTITION = """
        (select inhrelid from pg_inherits join pg_class on pg_class.oid = inhrelid
        where inhparent = 'public.logs'::regclass and relname ~ '^logs_y' order by relname desc limit 1)"""

    @pytest.mark.parametrize(
        ("add", "there"),
        [
            ("alter table logs replica identity full", "select relreplident = 'f' from pg_class where oid = {}"),
            (
                "create unique index logs_own on logs (id, created_at); alter table logs replica identity using index logs_own",
                "select relreplident = 'i' from pg_class where oid = {}",
            ),
            (
                "alter table logs set (autovacuum_vacuum_scale_factor = 0.01)",
                "select reloptions @> array['autovacuum_vacuum_scale_factor=0.01'] from pg_class where oid = {}",
            ),
            (
                "alter table logs add column source text not null default 'app'",
                "select attnotnull from pg_attribute where attrelid = {} and attname = 'source' and atthasdef",
            ),
            (
                "alter table logs add column day date generated always as (((created_at at time zone 'UTC'))::date) stored",
                "select attgenerated = 's' from pg_attribute where attrelid = {} and attname = 'day'",
            ),
            (
                OWN_FUNCTION + "create trigger own after insert on logs for each row execute function public.tell();"
                "alter table logs disable trigger own",
                "select tgenabled = 'D' from pg_trigger where tgrelid = {} and tgname = 'own'",
            ),
            ("create index own on logs (level, user_id)", "select count(*) = 9 from pg_index where indrelid = {}"),
            (
                "alter table logs alter column metadata set storage external",
                "select attstorage = 'e' from pg_attribute where attrelid = {} and attname = 'metadata'",
            ),
        ],
        ids=["identity", "identity-by-index", "storage", "column", "generated", "trigger-off", "index", "column-storage"],
    )
    def test_made_later_are_as_the_others(self, add: str, there: str) -> None:
        with trial(29) as state:
            state.run(add)
            if attempt(state, 30):
                return  # Whether that names what is in the way, another test asks.
            state.run(self.LATER)
            if "count(*) = 9" in there:
                there = there.replace(
                    "9", f"(select count(*) from pg_index where indrelid = {self.PARTITION.replace('desc', 'asc')})"
                )
            assert state.holds(there.format(self.PARTITION)), "not in a partition that is made later"

    def test_webhook_of_the_team_fires_for_each_log(self) -> None:
        with trial(29) as state:
            state.run("""
                create table heard (id uuid);
                create function public.hear() returns trigger language plpgsql as
                $$ begin insert into public.heard values (new.id); return new; end $$;
                create trigger hear after insert on logs for each row execute function public.hear();
                insert into logs (level, event_type) values ('info', 'user_logout')""")
            if attempt(state, 30):
                return
            # Rows that are only moved are no news.
            assert state.value("select count(*) from heard") == 1
            state.run("insert into logs (level, event_type) values ('info', 'user_logout')")
            assert state.value("select count(*) from heard") == 2


# --- Schema private ------------------------------------------------------------------------------------------------

PRIVATE = """
    create schema private;
    comment on schema private is 'Ours.';
    grant usage on schema private to authenticated, anon, service_role, public;
    alter default privileges in schema private grant all on tables to authenticated, anon, service_role, public;
    alter default privileges in schema private grant all on sequences to authenticated, anon, service_role;
    alter default privileges in schema private grant all on functions to authenticated, anon, service_role;
    create table private.plans (id serial primary key, title text);
    insert into private.plans (title) values ('Spring');
    create view private.titles as select title from private.plans;
    create function private.count_plans() returns bigint language sql as 'select count(*) from private.plans'"""

THEIRS = """
    select
        format('%s %s %s', nspowner::regrole, nspacl, obj_description(oid, 'pg_namespace')) as schema,
        (
            select string_agg(format('%s %s %s', oid::regclass, relowner::regrole, relacl), E'\\n' order by relname)
            from pg_class
            where oid in ('private.plans'::regclass, 'private.titles'::regclass, 'private.plans_id_seq'::regclass)
        ) as relations,
        (
            select string_agg(format('%s %s %s', oid::regprocedure, proowner::regrole, proacl), E'\\n' order by proname)
            from pg_proc
            where oid = 'private.count_plans()'::regprocedure
        ) as functions,
        (select string_agg(format('%s %s', defaclobjtype, defaclacl), E'\\n' order by defaclobjtype)
        from pg_default_acl where defaclnamespace = pg_namespace.oid) as defaults,
        private.count_plans() as rows
    from pg_namespace
    where nspname = 'private'"""

# Every way in which a client could use something in private that is not the team's.
OPEN = """
    with client as (select unnest(array['anon', 'authenticated', 'service_role']) as role),
    theirs as (
        select unnest(array[
            'private.plans'::regclass, 'private.titles'::regclass, 'private.plans_id_seq'::regclass
        ]) as oid
    )
    select concat(role, ' may ', what, ' ', oid::regclass) as opened
    from pg_class
    cross join client
    cross join unnest(array['select', 'insert', 'update', 'references']) as what
    where relnamespace = 'private'::regnamespace and relkind in ('r', 'p', 'v', 'm') and oid not in (select oid from theirs)
        and (has_table_privilege(role, oid, what) or has_any_column_privilege(role, oid, what))
    union all
    select concat(role, ' may ', what, ' ', oid::regclass)
    from pg_class
    cross join client
    cross join unnest(array['delete', 'truncate', 'trigger']) as what
    where relnamespace = 'private'::regnamespace and relkind in ('r', 'p', 'v', 'm') and oid not in (select oid from theirs)
        and has_table_privilege(role, oid, what)
    union all
    select concat(role, ' may use ', oid::regclass)
    from pg_class
    cross join client
    where relnamespace = 'private'::regnamespace and relkind = 'S' and oid not in (select oid from theirs)
        and has_sequence_privilege(role, oid, 'usage, select, update')
    union all
    select concat(role, ' may call ', oid::regprocedure)
    from pg_proc
    cross join client
    where pronamespace = 'private'::regnamespace and proname <> 'count_plans'
        and has_function_privilege(role, oid, 'execute')
    order by 1"""


class TestSchemaPrivate:
    @pytest.mark.parametrize("owner", ["workbook_owner", ROLE])
    def test_of_the_team_stays_as_it_is_and_ours_is_closed(self, owner: str) -> None:
        with trial("v1") as state:
            if owner == ROLE:
                state.run(f"grant {ROLE} to workbook_owner; grant create on database {state.name} to {ROLE}", ADMIN)
            state.run(PRIVATE)
            if owner == ROLE:
                state.run(f"alter schema private owner to {ROLE}; grant all on schema private to workbook_owner")
            before = state.run(THEIRS, ADMIN).iloc[0].to_dict()
            if error := attempt(state, LAST):
                pytest.fail(str(error), pytrace=False)
            assert state.run(THEIRS, ADMIN).iloc[0].to_dict() == before
            state.run(TestPartitions.LATER)
            opened = state.run(OPEN, ADMIN)["opened"].tolist()
            assert opened == [], f"{len(opened)} ways in, such as {opened[:3]}"

    def test_grants_by_default_in_every_schema_open_nothing_of_ours(self) -> None:
        with trial("v1") as state:
            state.run(PRIVATE)
            state.run("alter default privileges grant select on tables to authenticated")
            state.run("alter default privileges grant execute on functions to anon")
            if error := attempt(state, LAST):
                pytest.fail(str(error), pytrace=False)
            state.run(TestPartitions.LATER)
            assert state.run(OPEN, ADMIN)["opened"].tolist() == []
            # And the team goes on with its own as before.
            assert state.value("select title from private.titles", ANNA) == "Spring"
            state.run("create table private.later (id integer)")
            assert state.value("select has_table_privilege('authenticated', 'private.later', 'select')")

    def test_the_look_for_open_objects_sees_one(self) -> None:
        with trial("v1") as state:
            state.run(PRIVATE)
            state.run("create table private.ours (id integer)")
            assert "authenticated may select private.ours" in state.run(OPEN, ADMIN)["opened"].tolist()

    @pytest.mark.parametrize(
        ("name", "create"),
        [
            ("repairs", "create table private.repairs (id integer)"),
            (
                "next_week_reset",
                "create function private.next_week_reset(timestamptz) returns date language sql as 'select $1::date'",
            ),
            ("completion_drift", "create view private.completion_drift as select 1 as one"),
            ("job_result", "create type private.job_result as (ok boolean)"),
            ("job_result", "create type private.job_result as enum ('ok')"),
            ("job_result", "create domain private.job_result as text"),
            ("job_result", "create table private.job_result (ok boolean)"),
            ("logs_default", "create table private.logs_default (id integer)"),
            ("logs", "create table private.logs (id integer)"),
            ("timestamp_rules_broken", "create materialized view private.timestamp_rules_broken as select 1 as one"),
            ("run_weekly_reset", "create procedure private.run_weekly_reset(integer) language sql as 'select 1'"),
            ("run_job", "create function private.run_job(text, text, text) returns text language sql as 'select $1'"),
            (
                "admit_message",
                "create function private.admit_message() returns trigger language plpgsql as 'begin return new; end'",
            ),
            ("repairs_pkey", "create table private.own (id integer constraint repairs_pkey primary key)"),
            ("repairs", "create sequence private.repairs"),
            ("update_updated_at_column", "create function private.update_updated_at_column() returns void language sql as ''"),
        ],
        ids=lambda value: value.split("(")[0].replace(" ", "_") if "create" in value else "",
    )
    def test_name_that_is_taken_stops_the_first_fix(self, name: str, create: str) -> None:
        with trial("v1") as state:
            state.run("create schema private")
            state.run(create)
            error = attempt(state, LAST)
            assert error, f"the fixes run past private.{name}"
            assert "00_prepare" in str(error), f"stops only later: {error}"
            assert not complaint(error, name), complaint(error, name)

    def test_other_names_are_no_obstacle(self) -> None:
        with trial("v1") as state:
            state.run("create schema private")
            state.run("create table private.notes (id integer); create type private.result as (ok boolean)")
            state.run("create table public.repairs (id integer)")
            if error := attempt(state, LAST):
                pytest.fail(str(error), pytrace=False)

    def test_function_of_the_same_name_with_other_arguments_is_no_obstacle_or_named(self) -> None:
        with trial("v1") as state:
            state.run("create schema private")
            state.run("create function private.next_week_reset(date) returns date language sql as 'select $1'")
            error = attempt(state, LAST)
            if error:
                assert not complaint(error, "next_week_reset"), complaint(error, "next_week_reset")

    def test_that_we_may_not_write_to_is_named(self) -> None:
        with trial("v1") as state:
            state.run("create schema private", ADMIN)
            error = attempt(state, LAST)
            assert error and not complaint(error, "private")


# --- Archive -------------------------------------------------------------------------------------------------------

OLD = """
    set local session_replication_role = replica;
    update messages set sent_at = now() - interval '2 years';
    set local session_replication_role = origin"""
ARCHIVE = "select to_jsonb(archive_old_messages({}))"
OF_ANNA = "a2000000-0000-4000-8000-000000000002"
COUNT = "select (select count(*) from messages) + (select count(*) from messages_archive)"
MESSAGES = 10


def archived_until_done(state: Trial, arguments: str = "") -> list[dict[str, Any]]:
    """Run the archive job until it moves nothing more or fails, and return its results."""
    results = []
    for _ in range(MESSAGES + 2):
        results.append(state.value(ARCHIVE.format(arguments), SERVICE))
        # A foreign key that is checked late is checked when the job commits.
        state.run("set constraints all immediate", ADMIN)
        state.run("set constraints all deferred", ADMIN)
        if results[-1]["status"] == "failed" or not results[-1]["affected"]:
            break
    return results


# Tables of the team's own that refer to messages.
REFERRERS = {
    "cascade": "create table own (message_id uuid primary key references messages on delete cascade, stars integer)",
    "plain": "create table own (message_id uuid primary key references messages, stars integer)",
    "set null": "create table own (message_id uuid references messages on delete set null, stars integer)",
    "set default": "create table own (message_id uuid default null references messages on delete set default, stars integer)",
    "restrict": "create table own (message_id uuid references messages on delete restrict, stars integer)",
    "late": "create table own (message_id uuid references messages deferrable initially deferred, stars integer)",
    "two columns": "alter table messages add constraint own_key unique (id, user_id);"
    "create table own (message_id uuid, user_id uuid, stars integer,"
    " foreign key (message_id, user_id) references messages (id, user_id) on delete cascade)",
    "two columns the other way round": "alter table messages add constraint own_key unique (user_id, id);"
    "create table own (message_id uuid, user_id uuid, stars integer,"
    " foreign key (user_id, message_id) references messages (user_id, id) on delete cascade)",
    "quoted names": "create table own (message_id uuid, stars integer);"
    'create table "Own Marks" ("Message Id" uuid references messages on delete cascade, stars integer)',
    "another schema": "create schema crm;"
    "create table crm.own (message_id uuid references messages on delete cascade, stars integer);"
    "create view own as select * from crm.own",
    "partitioned": "create table own (message_id uuid references messages on delete cascade, stars integer)"
    " partition by hash (message_id);"
    "create table own_1 partition of own for values with (modulus 1, remainder 0)",
    "row security": "create table own (message_id uuid references messages on delete cascade, stars integer);"
    "alter table own enable row level security; alter table own force row level security",
    "citext key": "alter table messages add column slug extensions.citext unique;"
    "alter table messages_archive add column slug extensions.citext;"
    "create table own (slug extensions.citext references messages (slug) on delete cascade, message_id uuid, stars integer)",
    "two of them": "create table own_other (message_id uuid references messages on delete cascade);"
    "create table own (message_id uuid references messages on delete cascade, stars integer)",
}


class TestArchive:
    @pytest.mark.parametrize("referrer", REFERRERS)
    def test_leaves_what_something_refers_to_and_says_how_many(self, referrer: str) -> None:
        with trial(LAST) as state:
            state.run(REFERRERS[referrer])
            table = '"Own Marks" ("Message Id", stars)' if referrer == "quoted names" else "own (message_id, stars)"
            if referrer == "citext key":
                state.run(
                    f"set local session_replication_role = replica;update messages set slug = 'Erdbeere' where id = '{OF_ANNA}'",
                    ADMIN,
                )
                state.run("set local session_replication_role = origin", ADMIN)
                state.run("insert into own (slug, stars) values ('ERDBEERE', 5)", ADMIN)
            elif "two columns" in referrer:
                state.run(f"insert into own (message_id, user_id, stars) values ('{OF_ANNA}', :anna, 5)", ADMIN)
            else:
                state.run(f"insert into {table} values ('{OF_ANNA}', 5)", ADMIN)
            state.run(OLD, ADMIN)
            results = archived_until_done(state)
            assert state.value(f"select count(*) from messages where id = '{OF_ANNA}'") == 1, "the message was moved"
            if referrer == "row security" and results[-1]["status"] == "failed":
                # What the job may not see, it cannot go by.
                assert "own" in results[-1]["error"], results[-1]["error"]
                return
            assert {result["status"] for result in results} == {"ok"}, results[-1]["error"]
            where = '"Own Marks"' if referrer == "quoted names" else "own"
            assert state.value(f"select sum(stars) from {where}", ADMIN) == 5
            assert sum(result["affected"] for result in results) == MESSAGES - 1
            assert results[-1].get("remaining") == 1

    def test_goes_on_past_them_batch_by_batch(self) -> None:
        with trial(LAST) as state:
            state.run("create table own as select id from messages order by id limit 4")
            state.run("alter table own add foreign key (id) references messages")
            state.run(OLD, ADMIN)
            results = archived_until_done(state, "12, 2")
            assert results[-1]["status"] == "ok", results[-1]["error"]
            assert sum(result["affected"] for result in results) == MESSAGES - 4
            assert results[-1].get("remaining") == 4

    def test_reports_nothing_left_where_nothing_is(self) -> None:
        with trial(LAST) as state:
            state.run(OLD, ADMIN)
            result = state.value(ARCHIVE.format(""), SERVICE)
            assert (result["affected"], result.get("remaining"), len(result)) == (MESSAGES, 0, 8)
            logged = state.value("select metadata from logs where event_type = 'message_archive_executed'")
            assert logged.get("remaining") == 0

    def test_remaining_is_the_last_of_eight_fields_and_a_bigint(self) -> None:
        with trial(LAST) as state:
            fields = state.run(
                "select attname, format_type(atttypid, null) as type from pg_attribute"
                " where attrelid = 'private.job_result'::regclass and attnum > 0 order by attnum",
                ADMIN,
            )
            assert fields.iloc[-1].tolist() == ["remaining", "bigint"]
            assert len(fields) == 8

    @pytest.mark.parametrize("action", ["", "on delete cascade", "on delete set null"], ids=["plain", "cascade", "set null"])
    def test_message_that_refers_to_a_message(self, action: str) -> None:
        with trial(LAST) as state:
            state.run(f"alter table messages add column reply_to uuid references messages {action}")
            state.run("alter table messages_archive add column reply_to uuid")
            state.run(
                "set local session_replication_role = replica;"
                "update messages set reply_to = 'a2000000-0000-4000-8000-000000000001' where id = '" + OF_ANNA + "';"
                "set local session_replication_role = origin",
                ADMIN,
            )
            state.run(OLD, ADMIN)
            results = archived_until_done(state)
            assert results[-1]["status"] == "ok", results[-1]["error"]
            assert state.value(COUNT) == MESSAGES
            kept = state.value(
                "select (select count(reply_to) from messages) + (select count(reply_to) from messages_archive)", ADMIN
            )
            assert kept == 1, "the reply no longer knows what it answers"

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("integer", "42"),
            ("jsonb", "'{\"tokens\": 42}'"),
            ("text[]", "'{a,b}'"),
            ("public.chat_type", "'main'"),
            ("varchar(20)", "'forty-two'"),
        ],
        ids=["integer", "jsonb", "array", "enum", "varchar"],
    )
    def test_own_column_is_carried_or_the_job_refuses(self, kind: str, value: str) -> None:
        with trial(LAST) as state:
            state.run(f"alter table messages add column tokens {kind}")
            state.run(f"set local session_replication_role = replica; update messages set tokens = {value}", ADMIN)
            state.run(OLD, ADMIN)
            result = state.value(ARCHIVE.format(""), SERVICE)
            if result["status"] == "failed":
                assert "tokens" in result["error"], result["error"]
                written = re.search(r"alter table public\.messages_archive add column .+", result["error"])
                assert written, f"no statement in: {result['error']}"
                assert state.value("select count(*) from messages") == MESSAGES
                # As it says.
                statement = re.match(r"(alter table public\.messages_archive add column tokens [\w.()\[\]\" ]+)", written[0])
                assert statement, written[0]
                state.run(statement[1])
                result = state.value(ARCHIVE.format(""), SERVICE)
            assert result["status"] == "ok", result["error"]
            assert state.value("select count(tokens) from messages_archive", ADMIN) == MESSAGES
            assert state.value(
                "select format_type(atttypid, atttypmod) from pg_attribute"
                " where attrelid = 'public.messages_archive'::regclass and attname = 'tokens'",
                ADMIN,
            ) == {"public.chat_type": "chat_type", "varchar(20)": "character varying(20)"}.get(kind, kind)

    def test_own_column_of_both_is_carried(self) -> None:
        with trial(LAST) as state:
            state.run('alter table messages add column tokens integer, add column "Cost €" numeric')
            state.run('alter table messages_archive add column "Cost €" numeric, add column tokens integer')
            state.run('set local session_replication_role = replica; update messages set tokens = 42, "Cost €" = 0.5', ADMIN)
            state.run(OLD, ADMIN)
            assert state.value(ARCHIVE.format(""), SERVICE)["status"] == "ok"
            assert state.value('select min(tokens) + min("Cost €") from messages_archive', ADMIN) == 42.5

    def test_own_column_of_both_in_types_that_do_not_fit(self) -> None:
        with trial(LAST) as state:
            state.run("alter table messages add column tokens integer; alter table messages_archive add column tokens smallint")
            state.run("set local session_replication_role = replica; update messages set tokens = 70000", ADMIN)
            state.run(OLD, ADMIN)
            result = state.value(ARCHIVE.format(""), SERVICE)
            assert result["status"] == "failed"
            assert state.value("select count(*) from messages where tokens = 70000") == MESSAGES

    def test_own_column_of_the_archive_alone_is_no_obstacle(self) -> None:
        with trial(LAST) as state:
            state.run("alter table messages_archive add column shelf text default 'cellar', add column checked_at timestamptz")
            state.run(OLD, ADMIN)
            assert state.value(ARCHIVE.format(""), SERVICE)["affected"] == MESSAGES
            assert state.value("select count(*) from messages_archive where shelf = 'cellar'") == MESSAGES

    def test_generated_column_loses_nothing(self) -> None:
        with trial(LAST) as state:
            state.run("alter table messages add column words integer generated always as (char_length(content)) stored")
            state.run(OLD, ADMIN)
            result = state.value(ARCHIVE.format(""), SERVICE)
            if result["status"] == "failed":
                assert "words" in result["error"]
                state.run(
                    "alter table messages_archive add column words integer generated always as (char_length(content)) stored"
                )
                result = state.value(ARCHIVE.format(""), SERVICE)
            assert result["status"] == "ok", result["error"]
            assert state.value(COUNT) == MESSAGES

    def test_column_that_is_never_null(self) -> None:
        with trial(LAST) as state:
            state.run("alter table messages add column lang text not null default 'de'")
            state.run("alter table messages_archive add column lang text not null")
            state.run(OLD, ADMIN)
            assert state.value(ARCHIVE.format(""), SERVICE)["status"] == "ok"
            assert state.value("select count(*) from messages_archive where lang = 'de'") == MESSAGES

    def test_column_of_v1_is_in_the_archive_from_the_start(self) -> None:
        with trial("v1") as state:
            state.run("alter table messages add column tokens integer; update messages set tokens = 42")
            state.apply_up_to(LAST)
            state.run(OLD, ADMIN)
            result = state.value(ARCHIVE.format(""), SERVICE)
            assert result["status"] == "ok", result["error"]
            assert state.value("select count(*) from messages_archive where tokens = 42", ADMIN) == MESSAGES

    def test_message_that_a_trigger_of_the_team_keeps_is_not_lost(self) -> None:
        with trial(LAST) as state:
            state.run(f"""
                create function public.keep() returns trigger language plpgsql as
                $$ begin return case when old.id = '{OF_ANNA}' then null else old end; end $$;
                create trigger keep before delete on messages for each row execute function public.keep()""")
            state.run(OLD, ADMIN)
            results = archived_until_done(state)
            assert state.value(COUNT) == MESSAGES
            assert results[-1]["affected"] == 0 or results[-1]["status"] == "failed"


class TestArchiveRace:
    def test_feedback_that_comes_while_the_job_moves_its_message_is_refused_and_not_lost(self) -> None:
        """The job holds the message already: the learner waits, and hears that it is gone."""
        with database_at(LAST) as v2:
            v2.run("create table own (message_id uuid primary key references messages on delete cascade, stars integer)")
            v2.run("""
                create function public.hold_up() returns trigger language plpgsql as
                $$ begin perform pg_advisory_xact_lock_shared(11); return null; end $$;
                create trigger hold_up before delete on messages for each statement execute function public.hold_up()""")
            v2.run(OLD, ADMIN)
            with wb.concurrently(v2, gate=ADMIN, job=SERVICE, learner=ADMIN) as (gate, job, learner):
                gate("select pg_advisory_xact_lock(11)")
                assert job("select archive_old_messages()").waited
                feedback = learner(f"insert into own values ('{OF_ANNA}', 5)")
                assert feedback.waited
                gate.commit()
                job.commit()
                assert feedback.refused == "23503"
            assert v2.value(f"select count(*) from messages_archive where id = '{OF_ANNA}'", ADMIN) == 1

    def test_feedback_that_came_after_the_job_had_looked_keeps_its_message(self) -> None:
        """The job waits for the session's row, and looks again when it has it."""
        with database_at(LAST) as v2:
            v2.run("create table own (message_id uuid primary key references messages on delete cascade, stars integer)")
            v2.run(OLD, ADMIN)
            with wb.concurrently(v2, learner=ADMIN, job=SERVICE) as (learner, job):
                learner(f"insert into own values ('{OF_ANNA}', 5)")
                assert not job("select archive_old_messages()").waited
                learner.commit()
                job.commit()
            assert v2.value("select sum(stars) from own") == 5
            assert v2.value(f"select count(*) from messages where id = '{OF_ANNA}'") == 1


EXPIRED = """
    set local session_replication_role = replica;
    update sessions set last_activity_at = now() - interval '8 days', started_at = now() - interval '9 days'
    where not is_completed;
    set local session_replication_role = origin"""
EXPIRE = "select to_jsonb(delete_expired_sessions())"


class TestExpiry:
    @pytest.mark.parametrize(
        "own",
        [
            "create table own (session_id uuid references sessions)",
            "create table own (session_id uuid references sessions on delete restrict)",
            "create table own (session_id uuid references sessions deferrable initially deferred)",
            "create table own (session_id uuid, user_id uuid,"
            " foreign key (session_id, user_id) references sessions (id, user_id))",
            # Of a message that would go with its session.
            "create table own (message_id uuid references messages)",
            "create table own (message_id uuid references messages deferrable initially deferred)",
            # One step further: what goes with a message is held by something else.
            "create table own_marks (id integer primary key, message_id uuid references messages on delete cascade);"
            f"insert into own_marks values (1, '{OF_ANNA}');"
            "create table own (mark_id integer references own_marks)",
            "create table own_marks (id integer primary key, session_id uuid references sessions on delete cascade);"
            "insert into own_marks values (1, :anna_open);"
            "create table own (mark_id integer references own_marks)",
            "create table own (archived_id uuid references messages_archive)",
        ],
        ids=["plain", "restrict", "late", "two columns", "message", "message late", "mark", "session mark", "archive"],
    )
    def test_goes_on_past_sessions_that_something_refers_to(self, own: str) -> None:
        with trial(LAST) as state:
            state.run(own)
            if "user_id" in own:
                state.run("insert into own values (:anna_open, :anna)")
            elif "mark_id" in own:
                state.run("insert into own values (1)")
            elif "archived_id" in own:
                state.run(OLD, ADMIN)
                state.run("select archive_old_messages()", SERVICE)
                state.run(f"insert into own values ('{OF_ANNA}')")
            elif "message_id" in own:
                state.run(f"insert into own values ('{OF_ANNA}')")
            else:
                state.run("insert into own values (:anna_open)")
            state.run(EXPIRED, ADMIN)
            for affected in (1, 0):
                result = state.value(EXPIRE, SERVICE)
                state.run("set constraints all immediate", ADMIN)
                assert result["status"] == "ok", result["error"]
                assert (result["affected"], result.get("remaining")) == (affected, 1)
            assert state.value("select count(*) from sessions where id = :anna_open") == 1
            assert state.value("select count(*) from sessions where id = :ben_open") == 0

    def test_takes_what_goes_with_a_session_by_the_teams_own_word(self) -> None:
        with trial(LAST) as state:
            state.run("create table own (session_id uuid references sessions on delete cascade)")
            state.run("insert into own values (:anna_open)")
            state.run(EXPIRED, ADMIN)
            result = state.value(EXPIRE, SERVICE)
            assert (result["affected"], result.get("remaining")) == (2, 0)


class TestLogsThatSomethingRefersTo:
    def test_clean_up_goes_on_past_them(self) -> None:
        with trial(LAST) as state:
            state.run("create table own (log_id uuid, at timestamptz, foreign key (log_id, at) references logs (id, created_at))")
            state.run("select private.create_log_partition('2024-05-01'), private.create_log_partition('2024-06-01')")
            for day in ("2024-05-02", "2024-05-03", "2024-06-02", "2023-01-01", "2023-01-02"):
                state.run(f"insert into logs (level, event_type, created_at) values ('info', 'user_logout', '{day}')")
            state.run("insert into own select id, created_at from logs where created_at in ('2024-05-02', '2023-01-01')")
            for _ in range(2):
                result = state.value("select to_jsonb(delete_old_logs())", SERVICE)
                assert result["status"] == "ok", result["error"]
            kept = state.run("select created_at::date::text as day from logs where created_at < '2025-01-01' order by 1")
            assert kept["day"].tolist()[0] == "2023-01-01" and "2024-05-02" in kept["day"].tolist()
            assert "2024-06-02" not in kept["day"].tolist() and "2023-01-02" not in kept["day"].tolist()


# --- Erasure -------------------------------------------------------------------------------------------------------

SECRET = "Geheim"
READABLE = f"""
    do $$
    declare
        found regclass;
        has_it boolean;
    begin
        for found in
            select oid
            from pg_class
            where relnamespace::regnamespace::text in ('public', 'private', 'crm') and relkind in ('r', 'p', 'm')
                and not relispartition
        loop
            execute format('select exists (select from %s as t where t::text ~* ''{SECRET}'')', found) into has_it;
            if has_it then
                raise exception 'still in %', found;
            end if;
        end loop;
    end $$"""

OWN_TEXT = {
    "profiles.display_name text": "'Geheim'",
    "profiles.settings jsonb": '\'{"city": "Geheim"}\'',
    "profiles.motto text not null default ''": "'Geheim'",
    "profiles.nickname extensions.citext": "'Geheim'",
    "profiles.tags text[]": "'{Geheim}'",
    "messages.transcript jsonb": '\'{"text": "Geheim"}\'',
    "messages.note varchar(50)": "'Geheim'",
    "messages.raw json not null default '{}'": "'[\"Geheim\"]'",
    "messages.initials char(8)": "'Geheim'",
    "sessions.notes text not null default ''": "'Geheim'",
    "sessions.summary jsonb": "'\"Geheim\"'",
    "sessions.parts jsonb[]": "array['\"Geheim\"'::jsonb]",
    "logs.detail json": '\'{"said": "Geheim"}\'',
    "logs.remark text": "'Geheim'",
    "messages_archive.remark text": "'Geheim'",
    "messages_archive.extra jsonb not null default '{}'": '\'{"said": "Geheim"}\'',
    "profiles.word public.own_word": "'Geheim'",
    "messages.sound bytea": "'Geheim'",
    "messages.page xml": "'<p>Geheim</p>'",
    "messages.search tsvector": "to_tsvector('simple', 'Geheim')",
    "profiles.address public.own_address": "row('Geheim', 1)",
    "sessions.addresses public.own_address[]": "array[row('Geheim', 1)::public.own_address]",
    "profiles.words public.own_range": "public.own_range('Geheim', 'Geheim2')",
}
ERASE = "select to_jsonb(erase_user({}))"


def with_secret(state: Trial, column: str, value: str) -> None:
    """Add a column, and write the secret into it in Anna's rows; nothing of it in Ben's."""
    table, definition = column.split(".", 1)
    name = definition.split(" ")[0]
    state.run("create domain public.own_word as text; create type public.own_address as (street text, number integer)")
    state.run("create type public.own_range as range (subtype = text)")
    state.run(f"alter table {table} add column {definition}")
    if table == "messages_archive":
        state.run(OLD, ADMIN)
        state.run("select archive_old_messages()", SERVICE)
    if table == "logs":
        state.run("insert into logs (level, event_type, user_id) values ('info', 'user_logout', :anna)")
    key = "id" if table == "profiles" else "user_id"
    state.run(f"set local session_replication_role = replica; update {table} set {name} = {value} where {key} = :anna", ADMIN)
    state.run("set local session_replication_role = origin", ADMIN)


class TestErasure:
    @pytest.mark.parametrize("column", OWN_TEXT)
    def test_blanks_own_columns_or_names_them(self, column: str) -> None:
        with trial(LAST) as state:
            try:
                with_secret(state, column, OWN_TEXT[column])
            except psycopg.errors.FeatureNotSupported:
                pytest.skip("this server has no such type")
            result = state.value(ERASE.format(":anna"), SERVICE)
            assert result["status"] == "ok", result["error"]
            name = column.split(".")[1].split(" ")[0]
            if is_readable(state) and name not in (result["error"] or ""):
                pytest.fail(f"{column} is neither blanked nor named", pytrace=False)

    @pytest.mark.parametrize(
        "column", ["profiles.display_name text", "messages.transcript jsonb", "sessions.notes text not null default ''"]
    )
    def test_blanks_the_usual_ones_without_a_word(self, column: str) -> None:
        """Text and jsonb are the kinds that the job knows how to blank."""
        with trial(LAST) as state:
            with_secret(state, column, OWN_TEXT[column])
            result = state.value(ERASE.format(":anna"), SERVICE)
            assert (result["status"], result["error"], is_readable(state)) == ("ok", None, False)

    def test_leaves_everybody_elses(self) -> None:
        with trial(LAST) as state:
            with_secret(state, "messages.note text", "'Geheim'")
            state.run("alter table sessions add column notes text default 'Geheim'")
            state.run("alter table profiles add column display_name text default 'Geheim'")
            result = state.value(ERASE.format(":ben"), SERVICE)
            assert result["status"] == "ok", result["error"]
            assert state.value("select count(*) from messages where note = 'Geheim'") == 8
            assert state.value("select count(*) from sessions where notes = 'Geheim'") == 2
            assert state.value("select string_agg(id::text, '') from profiles where display_name = 'Geheim'") == ANNA.user_id

    @pytest.mark.parametrize(
        "definition",
        [
            "messages.lowered text generated always as (lower(content)) stored",
            "profiles.label text generated always as (id::text) stored",
        ],
    )
    def test_generated_column_is_no_obstacle(self, definition: str) -> None:
        with trial(LAST) as state:
            table, column = definition.split(".", 1)
            state.run(f"alter table {table} add column {column}")
            result = state.value(ERASE.format(":anna"), SERVICE)
            assert result["status"] == "ok", result["error"]
            if table == "messages":
                assert state.value("select count(*) from messages where user_id = :anna and lowered <> ''") == 0

    @pytest.mark.parametrize(
        "rule",
        ["check (own <> '')", "unique", "check (own ~ '^[A-Z]')", "references own_words"],
        ids=["not empty", "unique", "pattern", "foreign key"],
    )
    def test_column_that_cannot_be_blank_is_blanked_or_named(self, rule: str) -> None:
        with trial(LAST) as state:
            state.run("create table own_words (word text primary key); insert into own_words values ('Geheim'), ('Ben')")
            state.run(f"alter table profiles add column own text {rule}")
            state.run(
                "update profiles set own = case id when :anna then 'Geheim' else 'Ben' end;"
                "alter table profiles alter own set not null"
            )
            result = state.value(ERASE.format(":anna"), SERVICE)
            if state.value("select count(*) from profiles where own = 'Geheim'"):
                assert re.search(r"\bown\b|profiles_own", result["error"] or ""), f"neither blanked nor named: {result['error']}"
            # One column that cannot be blank does not keep the rest from being erased.
            left = "select count(*) from messages where user_id = :anna and content <> ''"
            assert state.value(left) == 0, f"nothing is erased: {result['error']}"

    @pytest.mark.parametrize(
        "own",
        [
            "create table public.own_notes (user_id uuid references profiles, note text)",
            "create table public.own_notes (message_id uuid references messages, note text)",
            "create table public.own_notes (session_id uuid references sessions, note text)",
            "create table public.own_notes (session_id uuid, user_id uuid, note text,"
            " foreign key (session_id, user_id) references sessions (id, user_id))",
            "create table public.own_notes (message_id uuid references messages_archive, note jsonb)",
            "create table public.own_notes (user_id uuid references auth.users, note text)",
            "create schema crm; grant usage on schema crm to service_role;"
            "create table crm.own_notes (user_id uuid references public.profiles, note varchar(20))",
            "create table public.own_notes (user_id uuid references profiles, note text);"
            "alter table own_notes enable row level security; alter table own_notes force row level security",
        ],
        ids=["profile", "message", "session", "two columns", "archive", "auth user", "other schema", "row security"],
    )
    def test_own_table_with_text_is_blanked_or_named(self, own: str) -> None:
        with trial(LAST) as state:
            state.run(own)
            if "messages_archive" in own:
                state.run(OLD, ADMIN)
                state.run("select archive_old_messages()", SERVICE)
            table = "crm.own_notes" if "crm" in own else "own_notes"
            note = "'\"Geheim\"'" if "jsonb" in own else "'Geheim'"
            if "foreign key (" in own:
                state.run(f"insert into {table} values (:anna_open, :anna, {note})", ADMIN)
            elif "session_id" in own:
                state.run(f"insert into {table} values (:anna_open, {note})", ADMIN)
            elif "message_id" in own:
                state.run(f"insert into {table} values ('{OF_ANNA}', {note})", ADMIN)
            else:
                state.run(f"insert into {table} values (:anna, {note})", ADMIN)
            result = state.value(ERASE.format(":anna"), SERVICE)
            assert result["status"] == "ok", result["error"]
            if is_readable(state):
                assert "own_notes" in (result["error"] or ""), f"neither blanked nor named: {result['error']}"

    def test_reaches_before_images_of_a_session_that_is_gone(self) -> None:
        with trial("v1") as state:
            state.run("alter table sessions add column notes text")
            state.run("update sessions set duration_seconds = 1, notes = 'Geheim' where id = :anna_open", ADMIN)
            state.apply_up_to(LAST)
            assert is_readable(state)
            state.run("delete from sessions where id = :anna_open", ANNA)
            assert state.value(ERASE.format(":anna"), SERVICE)["status"] == "ok"
            assert not is_readable(state)

    def test_own_table_without_text_is_not_named(self) -> None:
        with trial(LAST) as state:
            state.run("create table own_stars (message_id uuid references messages, stars integer)")
            assert state.value(ERASE.format(":anna"), SERVICE)["error"] is None

    def test_reaches_before_images_of_own_columns(self) -> None:
        """Each fix that repairs a row keeps all of it, own columns too."""
        with trial("v1") as state:
            state.run("insert into logs (level, event_type, user_id) values ('info', 'user_logout', :anna)")
            for table in ("profiles", "sessions", "messages", "logs"):
                state.run(f"alter table {table} add column own_text text; alter table {table} add column own_json jsonb")
            # Rows that the fixes have to repair.
            state.run("update sessions set duration_seconds = 1; update messages set created_at = now()", ADMIN)
            for table in ("profiles", "sessions", "messages", "logs"):
                state.run(f"""update {table} set own_text = 'Geheim', own_json = '{{"said": "Geheim"}}'""", ADMIN)
            if error := attempt(state, LAST):
                pytest.fail(str(error), pytrace=False)
            repaired = state.run("select distinct table_name from private.repairs where before::text ~ 'Geheim'", ADMIN)
            assert set(repaired["table_name"]) == {"profiles", "sessions", "messages"}
            for learner in (":anna", ":ben"):
                result = state.value(ERASE.format(learner), SERVICE)
                assert result["status"] == "ok", result["error"]
            state.run(READABLE, ADMIN)


def is_readable(state: Trial) -> bool:
    """Tell whether the secret still stands somewhere, as text or as bytes."""
    try:
        state.run(READABLE.replace(SECRET, f"{SECRET}|{SECRET.encode().hex()}"), ADMIN)
    except psycopg.errors.RaiseException:
        return True
    return False


class TestNamesOfColumns:
    """A team's column may be called as a variable or an argument of a function of ours, which then has two meanings."""

    NAMES = """
        with function as (
            select proargnames, coalesce(substring(prosrc from 'declare(.*?)begin'), '') as declared
            from pg_proc
            where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
        ),
        name as (
            select unnest(proargnames) as name from function
            union
            select found[1] from function cross join regexp_matches(declared, '^\\s+(\\w+)\\s', 'gm') as found
        )
        select name
        from name
        where name ~ '^[a-z_]+$' and name not in (
            select attname from pg_attribute where attrelid = '{table}'::regclass
            union all
            select attname from pg_attribute where attrelid = '{table}_archive'::regclass and '{table}' = 'messages'
        )
        order by name"""

    @pytest.mark.slow
    def test_mean_nothing_to_the_functions(self) -> None:
        ambiguous: set[str] = set()
        while name := self.first_ambiguous(ambiguous):
            assert name not in ambiguous
            ambiguous.add(name)
        assert " ".join(sorted(ambiguous)) == ""

    def first_ambiguous(self, known: set[str]) -> str | None:
        """Do everything once, with columns of all names but the known ones; return the name that a function cannot tell apart."""
        with trial(LAST) as state:
            state.run("create table profiles_archive (); create table sessions_archive (); create table logs_archive ()")
            for table in ("profiles", "sessions", "messages", "logs"):
                names = state.run(self.NAMES.format(table=table), ADMIN)["name"].tolist()
                assert len(names) > 20
                columns = ", ".join(f'add column "{name}" text' for name in names if name not in known)
                state.run(f"alter table {table} {columns}")
                if table == "messages":
                    state.run(f"alter table messages_archive {columns}")
            try:
                self.do_everything(state)
            except (psycopg.errors.AmbiguousColumn, AssertionError) as error:
                found = re.search(r'column reference "(\w+)" is ambiguous', str(error))
                if not found:
                    raise
                return found[1]
        return None

    def do_everything(self, state: Trial) -> None:
        """Sign up, talk, stream, complete, and run every job."""
        state.run("insert into auth.users (id, email) values (:cem, 'cem@example.org')", ADMIN)
        state.run("update auth.users set email = 'cem@example.com' where id = :cem", ADMIN)
        state.run("insert into messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'x')", ANNA)
        state.run(
            "insert into message_chunks (message_id, seq, session_id, chat_type, content)"
            " values (:reply, 1, :anna_open, 'main', 'x')",
            SERVICE,
        )
        state.run("select finalize_message(:reply)", SERVICE)
        state.run("update sessions set is_completed = true where id = :anna_open", ANNA)
        state.run("insert into logs (level, event_type, created_at) values ('info', 'user_logout', '2020-01-01')", SERVICE)
        state.run("update profiles set week_reset_date = now() - interval '1 day'", ADMIN)
        state.run(OLD, ADMIN)
        state.run(EXPIRED, ADMIN)
        for job in (
            "reset_weekly_limits()",
            "archive_old_messages()",
            "delete_expired_sessions()",
            "delete_old_logs()",
            "erase_user(:anna)",
            "forget_addresses()",
        ):
            result = state.value(f"select to_jsonb({job})", SERVICE)
            assert result["status"] == "ok", f"{job}: {result['error']}"
        state.run("delete from auth.users where id = :cem", ADMIN)
        assert state.value("select deleted_at is not null from profiles where id = :cem")

"""What the fix files do to rows, taken from the files themselves, so that the rollout does the same to a few rows at a time."""

import re
from dataclasses import dataclass

from ..fixes import all_fixes

TABLES = ("scenarios", "sessions", "profiles", "messages", "logs")
"""v1's tables, in the order in which they are copied: a profile counts sessions that are copied already."""

_OURS = "|".join(TABLES)
_COLUMNS_ONLY = r"(?:add column|drop column|rename column|alter column \w+ (?:type|set default|drop not null))"

# A statement that does something to rows, or to the shape of a row, and the table that it does it to.
_KINDS = (
    rf"update public\.({_OURS})\b",
    rf"alter table public\.({_OURS})\s+{_COLUMNS_ONLY}",
    rf"insert into public\.({_OURS})\b",
    rf"do \$\$.*update public\.({_OURS})\b",
    rf"(?:with .*)?insert into private\.repairs\b.*?\d+, '({_OURS})'",
    rf"update private\.repairs\b.*?table_name = '({_OURS})'",
)
_NAMED = {
    # By what they begin with.
    "create view private.completion_drift": "profiles",
    "create temporary table wanted": "profiles",
    "drop table wanted": "profiles",
    "insert into private.addresses_to_forget": "profiles",
    "create trigger sessions_completion\n": "sessions",
    "select private.create_log_partition": "logs",
}
_STAND_INS = (
    (rf"\bpublic\.({_OURS})\b", r"pg_temp.\1"),
    (r"\bprivate\.(repairs|completion_drift|addresses_to_forget)\b", r"pg_temp.\1"),
    (r"\bprivate\.logs\b", "pg_temp.logs"),
    (r"\bprivate\.create_log_partition\b", "rollout.create_log_partition"),
    (r"\bauth\.users\b", "pg_temp.users"),
    # Two enums that come and change on the way: what they hold is text here, as it was in v1.
    (r"\bpublic\.(?:message_role(?:_of_three)?|chat_type)\b", "pg_catalog.text"),
    # Their types make the column anew; the text stays what it is.
    (r"\bcreate view pg_temp\.", "create temporary view "),
)


@dataclass(frozen=True)
class Repair:
    """One statement of a fix file, as it runs on a batch of rows."""

    issue: int
    """The number of the fix."""
    table: str
    """The table whose rows it changes, without a schema."""
    sql: str
    """The statement, with the batch's temporary tables in the place of the real ones."""


def repairs() -> list[Repair]:
    """Return every statement of the fix files that changes rows of v1's tables, or their shape, in apply order."""
    found = []
    for fix in all_fixes():
        for statement in statements(fix.body):
            table = _table_of(statement)
            if table:
                for pattern, stand_in in _STAND_INS:
                    statement = re.sub(pattern, stand_in, statement)
                found.append(Repair(fix.number, table, statement))
    return found


def statements(sql: str) -> list[str]:
    """Split SQL at the semicolons that end its statements; comments between them are left out."""
    token = re.compile(r"(--[^\n]*\n)|(\$(\w*)\$.*?\$\3\$)|('(?:[^']|'')*')|(;)|(.)", re.DOTALL)
    found = [""]
    for match in token.finditer(sql):
        if match[1]:
            found[-1] += "\n"
        elif match[5]:
            found.append("")
        else:
            found[-1] += match[0]
    return [re.sub(r"\n\s*\n+", "\n", statement).strip() for statement in found if statement.strip()]


def _table_of(statement: str) -> str | None:
    for beginning, table in _NAMED.items():
        if (statement + "\n").startswith(beginning):
            return table
    for kind in _KINDS:
        if match := re.match(kind, statement, re.DOTALL):
            return match[1]
    return None

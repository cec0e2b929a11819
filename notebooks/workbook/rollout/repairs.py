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
    (r"\bprivate\.(repairs|completion_drift|addresses_to_forget)\b", r"pg_temp.\1"),
    (r"\bprivate\.logs\b", "pg_temp.logs"),
    (r"\bprivate\.create_log_partition\b", "rollout.create_log_partition"),
    (r"\bauth\.users\b", "pg_temp.users"),
    # Two enums that come and change on the way: what they hold is text here, as it was in v1.
    (r"\bpublic\.(?:message_role(?:_of_three)?|chat_type)\b", "pg_catalog.text"),
)
# What the statements of one table look at in another one: v1's, or v2's where that is repaired already.
_LOOKS = {"sessions": "public", "messages": "public", "profiles": "rollout_new"}


@dataclass(frozen=True)
class Repair:
    """What a fix file does to rows of one table, as it is done to a batch of them in temporary tables."""

    issue: int
    """The number of the fix."""
    table: str
    """The table whose rows it changes, without a schema."""
    setup: tuple[str, ...]
    """What is run once a connection: the temporary tables have every column that there ever is."""
    batch: tuple[str, ...]
    """What is run for each batch."""
    hidden: tuple[str, ...]
    """Columns of the temporary table that the real one does not have when the fix keeps its before-images."""
    stored: dict[str, str]
    """What a column becomes when the batch is written, where nothing looks at it any more after a change of its type."""


def repairs() -> list[Repair]:
    """Return what the fix files do to rows of v1's tables, and to the shape of a row, in apply order."""
    found = [
        (fix.number, table, _stand_in(statement, table))
        for fix in all_fixes()
        for statement in statements(fix.body)
        if (table := _table_of(statement))
    ]
    made: list[Repair] = []
    for place, (issue, table, statement) in enumerate(found):
        later_words = set(re.findall(r"\w+", " ".join(text for _, other, text in found[place + 1 :] if other == table)))
        setup, batch, stored = _in_two(statement, table, later_words)
        earlier = [text for _, other, text in found[:place] if other == table]
        later = [text for _, other, text in found[place:] if other == table]
        hidden = {name for text in earlier for name in _columns(text, "gone")} | {
            name for text in later for name in _columns(text, "new")
        }
        made.append(Repair(issue, table, tuple(setup), tuple(batch), tuple(sorted(hidden)), stored))
    return made


def _stand_in(statement: str, table: str) -> str:
    """Put the batch's temporary tables in the place of the real ones."""
    statement = re.sub(
        rf"\bpublic\.({_OURS})\b",
        lambda match: f"pg_temp.{table}" if match[1] == table else f"{_LOOKS[table]}.{match[1]}",
        statement,
    )
    for pattern, stand_in in _STAND_INS:
        statement = re.sub(pattern, stand_in, statement)
    return statement


def _columns(statement: str, which: str) -> list[str]:
    """Return the columns that an ALTER TABLE brings, or takes away; a renamed one is both."""
    if not statement.startswith("alter table"):
        return []
    pattern = {"new": r"(?:add column|rename column \w+ to) (\w+)", "gone": r"(?:drop|rename) column (\w+)"}[which]
    return re.findall(pattern, statement)


def _in_two(statement: str, table: str, later_words: set[str]) -> tuple[list[str], list[str], dict[str, str]]:
    """Tell what of a statement is done once a connection, what is done to each batch, and what as it is written.

    No batch changes the catalog: thousands of them would leave it full of dead rows.
    """
    if statement.startswith("alter table"):
        return _shape(statement, table, later_words)
    if match := re.match(r"create temporary table (\w+) on commit drop as\n(.*)", statement, re.DOTALL):
        name, query = match.groups()
        return (
            [f"create temporary table {name} on commit delete rows as\n{query}\nwith no data"],
            [f"insert into pg_temp.{name}\n{query}"],
            {},
        )
    if match := re.match(r"drop table (\w+)", statement):
        return [], [f"delete from pg_temp.{match[1]}"], {}
    if statement.startswith("create view"):
        return [statement.replace("create view pg_temp.", "create temporary view ", 1)], [], {}
    if statement.startswith("create trigger"):
        # From here on: before, rows stand as v1 had them.
        is_on = "when (current_setting('rollout.completes', true) = 'on')"
        once = re.sub(r"before insert or update", "before update", statement)
        return (
            [re.sub(r"when \(not row_security_active\([^)]*\)\)", is_on, once)],
            ["select set_config('rollout.completes', 'on', true)"],
            {},
        )
    return [], [statement], {}


def _shape(statement: str, table: str, later_words: set[str]) -> tuple[list[str], list[str], dict[str, str]]:
    beginning = f"alter table pg_temp.{table}"
    setup, batch, stored = [], [], {}
    for change in re.split(r",\n", statement.removeprefix(beginning).strip()):
        change = change.strip()
        if change.startswith("add column") or change.endswith("drop not null"):
            setup.append(f"{beginning} {change}")
        elif match := re.match(r"rename column (\w+) to (\w+)", change):
            setup.append(f"{beginning} add column {match[2]} timestamptz generated always as ({match[1]}) stored")
        elif match := re.match(r"alter column (\w+) type \S+\s+using (.*)", change, re.DOTALL):
            column, expression = match.groups()
            if re.fullmatch(rf"{column}::[\w.]+", expression):
                continue
            if column not in later_words:
                stored[column] = expression
            else:
                batch.append(f"update pg_temp.{table}\nset {column} = {expression}")
        # What is dropped stays unseen, and a new type or default is that of the table which the batch is written to.
    return setup, batch, stored


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

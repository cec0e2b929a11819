"""The statements that take out of the way what a fix stops at, from the sentence in which it names these things."""

import re

_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_PATH = rf"{_NAME}(?:\.{_NAME})*"

# What a fix names, and what helps. {table} and {column} are those that the sentence is about, the others stand beside the name.
_THINGS = (
    (r"replica identity\b", "alter table {table} replica identity default;"),
    (rf"cluster order by {_PATH}", "alter table {table} set without cluster;"),
    (r"storage parameters \{(?P<options>[^}]*)\}", "alter table {table} reset ({options});"),
    (rf"trigger (?P<name>{_NAME}) on (?:table )?(?P<on>{_PATH})", "drop trigger {name} on {on};"),
    (rf"trigger (?P<name>{_NAME})", "drop trigger {name} on {table};"),
    (rf"policy (?P<name>{_NAME}) on (?:table )?(?P<on>{_PATH})", "drop policy {name} on {on};"),
    (rf"constraint (?P<name>{_NAME}) (?:of|on)(?: table)? (?P<on>{_PATH})", "alter table {on} drop constraint {name};"),
    (rf"publication of table (?P<on>{_PATH}) in publication (?P<name>{_NAME})", "alter publication {name} drop table {on};"),
    (rf"publication (?P<name>{_NAME})", "alter publication {name} drop table {table};"),
    (rf"privileges of (?P<name>{_NAME}) on the column", "revoke all ({column}) on {table} from {name};"),
    (rf"column (?P<name>{_NAME}) of (?P<on>{_PATH})", "alter table {on} drop column {name};"),
    (rf"statistics (?:object )?(?P<name>{_PATH})", "drop statistics {name};"),
    (rf"materialized view (?P<name>{_PATH})", "drop materialized view {name};"),
    (rf"view (?P<name>{_PATH})", "drop view {name};"),
    (rf"rule (?P<name>{_NAME})(?: on (?P<on>{_PATH}))?", "drop rule {name} on {table};"),
    (rf"index (?P<name>{_PATH})", "drop index {name};"),
    (rf"function (?P<name>{_PATH}\([^()]*\))", "drop function {name};"),
    (rf"setting (?P<name>{_PATH})=", "alter function {function} reset {name};"),
)
_SUBJECTS = (
    rf"what you have added to (?P<table>{_PATH}) cannot go along when it is made anew in partitions: (?P<things>.*)",
    rf"what you have added needs the column (?P<column>{_NAME}) of (?P<table>{_PATH}) as it is: (?P<things>.*)",
    rf"the fix makes (?P<function>{_PATH}\([^()]*\)) anew, and would lose what you have added: (?P<things>.*)",
)
_HAS_SCHEMA = ("on", "table")


def statements_that_help(sentence: str) -> list[str]:
    """Return the statements that take away what a fix names, in an order in which they can be run."""
    for subject in _SUBJECTS:
        if match := re.fullmatch(subject, sentence, re.DOTALL):
            about = match.groupdict()
            break
    else:
        return _of_other_sentences(sentence)
    rest, found = about.pop("things"), []
    for pattern, statement in _THINGS:
        for thing in re.finditer(rf"(?:^|(?<=, )){pattern}", rest, re.DOTALL):
            names = {name: value for name, value in {**about, **thing.groupdict()}.items() if value}
            for name in _HAS_SCHEMA:
                if name in names and "." not in names[name]:
                    names[name] = f"public.{names[name]}"
            if statement.startswith(("drop index", "drop statistics", "drop view", "drop materialized", "drop function")):
                names["name"] = names["name"] if "." in names["name"].split("(")[0] else f"public.{names['name']}"
            if "options" in names:
                names["options"] = ", ".join(option.split("=")[0].strip('" ') for option in names["options"].split(","))
            found.append((names.get("name", ""), statement.format(**names)))
        # What is found is not found again by a shorter pattern.
        rest = re.sub(rf"(?:^|(?<=, )){pattern}", "", rest, flags=re.DOTALL)
    # A constraint trigger is both, and goes as a trigger.
    triggers = {name for name, statement in found if statement.startswith("drop trigger")}
    return [statement for name, statement in found if not (" drop constraint " in statement and name in triggers)]


_SENTENCES = (
    (
        r'default for column "(?P<column>role|chat_type)" cannot be cast automatically to type \w+',
        "alter table public.messages alter column {column} drop default;",
    ),
    (
        r'query would be affected by row-level security policy for table "(?P<name>\w+)"',
        "alter table public.{name} no force row level security;",
    ),
    (r'relation "(?P<name>[a-z_]\w*)" already exists', "alter table public.{name} rename to {name}_own;"),
)


def _of_other_sentences(sentence: str) -> list[str]:
    for pattern, statement in _SENTENCES:
        if match := re.fullmatch(pattern, sentence):
            return [statement.format(**match.groupdict())]
    return []

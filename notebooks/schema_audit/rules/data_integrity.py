"""Rules of the review's chapter Data integrity: notebook 02_data_integrity."""

import re
from collections.abc import Iterator

from ..catalog import Nowhere, quoted
from ..expressions import Group, always, bare, split, words_of
from ..report import Flaw
from ..subject import OnlyBehaviour, Subject, listed_values, lookup_key, raises, rule

COUNTERS = ("message_count_main", "message_count_helper", "message_count")


def counters_of(db: Subject) -> list[str]:
    """Return the expected names of the counters of messages that sessions have."""
    return [name for name in COUNTERS if db.sessions.has(name)]


def bounded_below(db: Subject, column: str) -> bool:
    """Tell whether a CHECK keeps a column of sessions from being negative."""

    def holds(condition: Group) -> bool:
        words = words_of(condition)
        # In a domain it is called value.
        name = column.lower() if column.lower() in words else "value"
        if name not in words:
            return False
        sides = split(condition, ">=", ">")
        # Above minus one is not below zero.
        is_low = len(sides) == 2 and "-" in words_of(sides[1]) and words_of(bare(sides[1])) != ["-", "1"]
        from_above = len(sides) == 2 and name in words_of(sides[0]) and name not in words_of(sides[1]) and not is_low
        sides = split(condition, "<=", "<")
        from_below = len(sides) == 2 and name in words_of(sides[1]) and name not in words_of(sides[0])
        denied = words[:1] == ["not"] and "<" in words
        sides = split(condition, "=")
        computed = len(sides) == 2 and [name] in (words_of(bare(sides[0])), words_of(bare(sides[1])))
        return from_above or from_below or denied or computed or words[-2:] == ["is", "null"]

    return any(always(_inside(text), holds) for text in db.catalog.checks(db.sessions.table, column))


def in_order(db: Subject, first: str, last: str) -> bool:
    """Tell whether a CHECK keeps one moment of sessions from lying after another."""

    def holds(condition: Group) -> bool:
        words = words_of(condition)
        if words[:1] == ["not"]:
            return _is_below(bare(condition[1:]), last, first)
        return _is_below(condition, first, last) or words[-2:] == ["is", "null"] or "between" in words or "tstzrange" in words

    return any(always(_inside(text), holds) for text in db.catalog.checks(db.sessions.table, first, last))


def _is_below(condition: Group, smaller: str, larger: str) -> bool:
    """Tell whether a comparison says that one column is less than another, or no more."""
    for signs, left, right in (((">=", ">"), larger, smaller), (("<=", "<"), smaller, larger)):
        sides = split(condition, *signs)
        if len(sides) == 2 and left.lower() in words_of(sides[0]) and right.lower() in words_of(sides[1]):
            return True
    return False


def _inside(definition: str) -> str:
    """Return the expression of a CHECK."""
    return re.sub(r"^CHECK |( NO INHERIT| NOT VALID| NOT ENFORCED)+$", "", definition)


@rule(8, "sessions")
def session_times(db: Subject) -> Iterator[Flaw]:
    """CHECKs for the order of start and end, and for each counter."""
    found, table = db.sessions, db.sessions.table
    start = next((name for name in ("started_at", "created_at") if found.has(name)), None)
    spans = [(start, "completed_at")] if start and found.has("completed_at") else []
    singles = [(name,) for name in counters_of(db)]
    if not spans and not singles:
        raise Nowhere(f"{table.full_name} has no start and end, and no counter")
    for columns in spans:
        if not in_order(db, *(found[name] for name in columns)):
            first, last = (found(name) for name in columns)
            yield Flaw(table.full_name, f"an end before the start is taken: no constraint on {first} and {last}",
                       f"alter table {table.full_name} add check ({last} >= {first}) not valid;")  # fmt: skip
    for (name,) in singles:
        if not bounded_below(db, found[name]):
            yield Flaw(
                table.full_name,
                f"{found[name]} may be negative",
                f"alter table {table.full_name} add check ({found(name)} >= 0) not valid;",
            )


def _completion_counters(db: Subject, counter: str, *events: str) -> list[str]:
    sources = [source for event in events for source in db.catalog.trigger_sources(db.sessions.table.oid, event)]
    return [source for source in sources if re.search(rf"\b{re.escape(counter.lower())}\s*=", source)]


@rule(9, "sessions", "profiles")
def completed_scenario_count(db: Subject) -> Iterator[Flaw]:
    """Triggers on sessions that count a completion, by update and by insert."""
    counter, profiles = db.profiles["completed_scenario_count"], db.profiles.table.full_name
    if not _completion_counters(db, counter, "INSERT", "UPDATE", "DELETE"):
        yield Flaw(profiles, f"no trigger keeps {counter}")
        return
    for event, what in (("UPDATE", "a session that is completed"), ("INSERT", "a session that is inserted as completed")):
        if db.sessions.has("is_completed") and not _completion_counters(db, counter, event):
            yield Flaw(profiles, f"{counter} does not count {what}")
    raise OnlyBehaviour(f"a trigger keeps {counter}")


@rule(10, "sessions", "profiles")
def weekly_completion_count(db: Subject) -> Iterator[Flaw]:
    """A trigger on sessions that counts the week's completions, and looks whether the week is over."""
    counter, profiles = db.profiles["current_week_completion_count"], db.profiles.table.full_name
    counters = _completion_counters(db, counter, "INSERT", "UPDATE", "DELETE")
    if not counters:
        yield Flaw(profiles, f"no trigger keeps {counter}")
        return
    if any(re.search(r"\bcount\s*\(", source) for source in counters):
        yield Flaw(profiles, f"{counter} is counted from the rows, so deleting a session frees a place")
        return
    if db.profiles.has("week_reset_date") and not any(
        re.search(rf"\b{re.escape(db.profiles.word('week_reset_date'))}\s*=", source) for source in counters
    ):
        yield Flaw(profiles, f"what counts {counter} does not see that a week is over")
        return
    raise OnlyBehaviour(f"a trigger keeps {counter}")


@rule(11, "sessions", "messages")
def message_count(db: Subject) -> Iterator[Flaw]:
    """A counter that counts every message, or raises an error at one that it does not know."""
    names = counters_of(db)
    if not names:
        raise Nowhere(f"{db.sessions.table.full_name} keeps no count of messages")
    table = db.messages.table
    words = "|".join(re.escape(db.sessions.word(name)) for name in names)
    counters = [
        (trigger, db.catalog.reach(trigger.function))
        for trigger in db.catalog.triggers_of(table.oid, "INSERT")
        if re.search(rf"\b({words})\b", db.catalog.reach(trigger.function))
    ]
    if not counters:
        yield Flaw(db.sessions.table.full_name, f"no trigger keeps {', '.join(db.sessions[name] for name in names)}")
        return
    kinds = "|".join(re.escape(db.messages.word(name)) for name in ("role", "chat_type") if db.messages.has(name)) or "$"
    is_told = False
    for trigger, _ in counters:
        if trigger.side is None and re.search(r"\bnew\.", trigger.condition):
            yield Flaw(table.full_name, f"{trigger.name} counts only where {trigger.condition}")
        for function in db.catalog.reached(trigger.function):
            if not re.search(rf"\b({words})\b", function.source):
                continue
            if any(_is_silent(body, kinds, words) for body in _branches(function.source)) or _is_sum(
                function.source, kinds, words
            ):
                yield Flaw(table.full_name, f"{function.name}() passes over some messages in silence")
            is_told |= re.search(rf"\b({kinds})\b", function.source) is not None
    if is_told:
        raise OnlyBehaviour("a trigger counts by kind")


def _branches(source: str) -> list[tuple[str, str]]:
    """Return what decides and what is done, for each IF without another one in it and for each CASE of statements."""
    ifs = re.findall(r"\bif\b([^;]*?)\bthen\b((?:(?!\bend if\b).)*)\bend if\b", source, re.DOTALL)
    return ifs + [("", body) for body in re.findall(r"\bcase\b((?:(?!\bend case\b).)*)\bend case\b", source, re.DOTALL)]


def _is_silent(branch: tuple[str, str], kinds: str, counters: str) -> bool:
    """Tell whether a branch counts some kinds of messages and leaves the others as they are."""
    condition, body = branch
    counts = re.search(rf"\b({counters})\b", body)
    if not counts or re.search(r"\b(raise|return)\b", body):
        return False
    if not condition:
        return re.search(r"\belse\s+null\s*;", body) is not None
    plain = re.sub(r"\bcase\b(?:(?!\bend\b).)*\bend\b", "", body, flags=re.DOTALL)
    return re.search(rf"\b({kinds})\b", condition) is not None and not re.search(r"\belse\b", plain)


def _is_sum(source: str, kinds: str, counters: str) -> bool:
    """Tell whether each counter adds a comparison of its own, so that what equals none of them is added nowhere."""
    added = re.findall(rf"\b({counters})\s*=\s*(?:\w+\.)?(?:{counters})\s*\+\s*\(\s*\(?\s*(?:\w+\.)?(?:{kinds})\s*=", source)
    cased = re.findall(
        rf"\b({counters})\s*=\s*(?:\w+\.)?(?:{counters})\s*\+\s*\(?\s*case\b[^;]*?\b(?:{kinds})\b[^;]*?\belse\s+0\b", source
    )
    return len({*added, *cased}) == len(counters.split("|"))


@rule(12, "sessions")
def session_duration(db: Subject) -> Iterator[Flaw]:
    """A CHECK on the duration."""
    column = db.sessions.column("duration_seconds")
    if not bounded_below(db, column.name) and not column.generated:
        yield Flaw(
            db.sessions.table.full_name,
            f"{column.name} may be negative",
            f"alter table {db.sessions.table.full_name} add check ({column.quoted} >= 0) not valid;",
        )


@rule(13, "messages")
def enums(db: Subject) -> Iterator[Flaw]:
    """Types of the columns that hold a closed list of values."""
    free = []
    for name in ("role", "chat_type"):
        if not db.messages.has(name):
            continue
        column = db.messages.column(name)
        is_listed = column.base is not None and listed_values(db, db.messages, name)
        if column.is_text and not is_listed and not lookup_key(db, db.messages, name):
            free.append(column.name)
    if not db.messages.has("role") and not db.messages.has("chat_type"):
        raise Nowhere("messages have no role and no kind of chat")
    for name in free:
        listed = db.catalog.checks(db.messages.table, name)
        says = "its list stands in a CHECK" if listed else "it is free text"
        yield Flaw(f"{db.messages.table.full_name}.{quoted(name)}", says)


@rule(14, "messages")
def role_and_chat(db: Subject) -> Iterator[Flaw]:
    """A CHECK over role and chat together, where there are roles that belong to one chat."""
    pair = (db.messages["role"], db.messages["chat_type"])
    values = set(listed_values(db, db.messages, "role")) - {"system", "tool", "function", "developer"}
    if not values:
        raise Nowhere(f"{pair[0]} is no closed list, so nothing says which roles belong to which chat")
    # One for each side belongs to every chat.
    if len(values) <= 2:
        return
    if not db.catalog.checks(db.messages.table, *pair):
        yield Flaw(db.messages.table.full_name, f"no constraint over {' and '.join(pair)}")


@rule(15, "messages")
def content_size(db: Subject) -> Iterator[Flaw]:
    """A CHECK on the length of the content, also its domain's, or a type with a length."""
    column, table = db.messages.column("content"), db.messages.table
    told = rf"length\s*\(\s*(\w+\.)?{re.escape(column.name.lower())}\b"
    size = r"(length|octet_length|pg_column_size|left|substr\w*)\("
    limits = [
        text
        for text in db.catalog.checks(table, column.name)
        if re.search(rf"{size}.*<=?\s*\(*\d|\d\)*\s*>=?\s*\(*\w*{size}|\{{\d*,\d+\}}", text)
        or re.search(r'\b(left|substr\w*)"?\(', text)
    ]
    if not limits and any(raises(source) and re.search(told, source) for _, source in db.guards(table, "INSERT")):
        raise OnlyBehaviour("a trigger looks at how long it is")
    if not limits and "(" not in column.plain_type:
        sized = f"char_length({column.quoted})" if column.is_text else f"pg_column_size({column.quoted})"
        yield Flaw(
            f"{table.full_name}.{column.quoted}", "it has no limit",
            f"alter table {table.full_name} add check ({sized} <= 8000) not valid;",
        )  # fmt: skip
        return
    bounds = [int(number) for text in limits for number in re.findall(r"<=?\s*\(?(\d+)", text)]
    if bounds and min(bounds) > 10_000_000:
        yield Flaw(f"{table.full_name}.{column.quoted}", f"its limit is {min(bounds)}")
        return
    if bounds and min(bounds) > 100_000:
        raise OnlyBehaviour(f"the limit is {min(bounds)}")


@rule(16, "scenarios")
def emoji_size(db: Subject) -> Iterator[Flaw]:
    """A CHECK on the emoji's size, from below and from above, that has room for the long ones."""
    column, table = db.scenarios.column("emoji"), db.scenarios.table
    name = f"{table.full_name}.{column.quoted}"
    limits = " ".join(db.catalog.checks(table, column.name))
    largest = [int(number) for number in re.findall(r"<=?\s*(\d+)", limits)]
    typed = re.search(r"\((\d+)\)", column.plain_type)
    if not largest and not typed:
        yield Flaw(
            name,
            "it takes a novel",
            f"alter table {table.full_name} add check (octet_length({column.quoted}) between 1 and 64) not valid;",
        )
        return
    if "octet_length" in limits and largest and max(largest) < 35:
        yield Flaw(name, f"an emoji of a couple with skin tones has 35 bytes, and {max(largest)} are allowed")
    elif largest and max(largest) > 1000:
        yield Flaw(name, f"it takes a novel of {max(largest)}")
    elif not re.search(r">|<>|~", limits):
        yield Flaw(
            name, "an empty emoji is allowed", f"alter table {table.full_name} add check ({column.quoted} <> '') not valid;"
        )


@rule(17, "scenarios")
def scenario_titles(db: Subject) -> Iterator[Flaw]:
    """A unique index over the title, of all rows or of one owner's."""
    title, table = db.scenarios["title"], db.scenarios.table
    owner = db.owners.get(table.oid)
    for index in db.catalog.unique_indexes(table):
        others = {*index.columns} - {title, "", owner}
        if title in index.words | {*index.columns} and not others and index.predicate is None:
            return
        if title.lower() in index.words and not others and index.predicate is not None and not _of_living(index.predicate):
            yield Flaw(table.full_name, f"{title} is unique among some rows only: where {index.predicate}")
            return
        if title.lower() in index.words and not others:
            return
    yield Flaw(
        table.full_name,
        f"nothing makes {title} unique",
        f"create unique index concurrently on {table.full_name} ({db.scenarios('title')});",
    )


def _of_living(predicate: str) -> bool:
    """Tell whether a predicate leaves out what is deleted or put away, and nothing else."""
    away = r'"?\w*(delet|archiv|remov|retir)\w*"? IS NULL|NOT "?\w*(delet|archiv|remov|retir)\w*"?'
    shown = r'"?(is_)?(active|published|visible|enabled)"?( = true| IS TRUE)?'
    return re.fullmatch(rf"\(?({away}|{shown})\)?", predicate.strip("()")) is not None

"""What the rules look at: a database under audit, who can do what with its rows, and its tables by the names of the issues."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from .callers import Callers
from .catalog import CLIENTS, COMMANDS, Catalog, Function, Nowhere, Policy, Relation, Trigger, quoted, word_set
from .expressions import Group, Reader, always, subselects, without_subselects, words_of
from .issues import all_issues
from .report import Flaw
from .shape import Found, Shape, called, plain


class OnlyBehaviour(Exception):
    """The catalog shows a safeguard; whether it works, only trying it shows. The message says what is there."""


class Subject:
    """A database under audit."""

    def __init__(self, catalog: Catalog, shape: Shape) -> None:
        """Take what was read, and what was recognised in it."""
        self.catalog, self.shape, self.tables = catalog, shape, shape.tables

    def _found(self, role: str) -> Found:
        if role not in self.tables:
            raise Nowhere(f"no table of {role} was recognised")
        return self.tables[role]

    @property
    def sessions(self) -> Found:
        """The table of conversations."""
        return self._found("sessions")

    @property
    def messages(self) -> Found:
        """The table of what was said in them."""
        return self._found("messages")

    @property
    def profiles(self) -> Found:
        """The table of persons."""
        return self._found("profiles")

    @property
    def scenarios(self) -> Found:
        """The table of what conversations are about."""
        return self._found("scenarios")

    @property
    def logs(self) -> Found:
        """The table of what happened."""
        return self._found("logs")

    @property
    def moment(self) -> str:
        """What the column is called by which messages are ordered.

        Raises:
            Nowhere: no column says when.
        """
        for name in ("sent_at", "timestamp", "created_at"):
            if self.messages.has(name):
                return self.messages[name]
        raise Nowhere(f"{self.messages.table.full_name} has no column that says when")

    # --- Who reaches which rows ------------------------------------------------------------------------------

    @cached_property
    def reader(self) -> Reader:
        """Finds the calls in policies that ask for the caller."""
        calling = r"\bauth\.\w+\s*\(|request\.jwt"
        functions = self.catalog.plain_functions()
        return Reader(frozenset(one.qualified for one in functions if re.search(calling, self.catalog.reach(one.oid))))

    @cached_property
    def callers(self) -> Callers:
        """Judges whether policies ask who is calling."""
        return Callers(self, self.reader, frozenset(self._asking))

    @cached_property
    def _asking(self) -> set[str]:
        """The functions, with their schemas, that say who is calling, or yes to some and no to others."""
        functions = list(self.catalog.plain_functions())
        told = r"\bauth\.(uid|jwt|email)\s*\(|request\.jwt"
        found = {one.qualified for one in functions if one.returns != "boolean" and re.search(told, one.code)}
        while True:
            more = {one.qualified for one in functions if one.returns == "boolean" and self._decides(one, found)}
            if more <= found:
                return found
            found |= more

    def _decides(self, function: Function, asking: set[str]) -> bool:
        """Tell whether a function holds the caller against something, itself or by a function that does."""
        code = function.code
        for oid in self.catalog.callees[function.oid]:
            callee = self.catalog.functions[oid]
            if callee.qualified in asking and oid != function.oid:
                instead = "auth.uid() = it" if callee.returns == "boolean" else "auth.uid()"
                name = rf"\b(?:{re.escape(callee.schema.lower())}\.)?{re.escape(callee.name.lower())}"
                code = re.sub(rf"{name}\s*\([^()]*\)", instead, code)
        return _holds_caller(code)

    @cached_property
    def reached(self) -> list[Relation]:
        """What clients reach by name, or through a view that reads as whoever asks: that needs no USAGE on its tables' schema."""
        found = {one.oid: one for one in self.catalog.all_relations if one.schema in self.catalog.exposed}
        waiting = list(found.values())
        while waiting:
            view = waiting.pop()
            if view.kind != "v" or not view.asks_invoker or not self._readable(view):
                continue
            for oid in self.catalog.behind(view):
                inner = self.catalog.by_oid.get(oid)
                if inner is not None and oid not in found and self._readable(inner):
                    found[oid] = inner
                    waiting.append(inner)
        return list(found.values())

    @cached_property
    def reached_oids(self) -> set[int]:
        """The oids of what clients reach."""
        return {one.oid for one in self.reached}

    def _readable(self, relation: Relation) -> bool:
        return any(self.catalog.may(role, "select", relation) for role in self.catalog.clients)

    @property
    def exposed_tables(self) -> list[Relation]:
        """Tables and partitions that clients reach."""
        return [table for table in self.reached if table.kind in "rp"]

    def reach_of(self, table: Relation) -> list[str]:
        """Return what clients hold on a table's rows: select, insert, update, delete, in whole or on a column."""
        return [command for command in COMMANDS if any(self.catalog.may(role, command, table) for role in self.catalog.clients)]

    def binding(self, table: Relation, role: str, command: str) -> list[Policy]:
        """Return the policies that open rows of a table to a role's command; none where a restrictive one closes all."""
        if any(
            policy.holds_for(role, command) and _is_false(policy.rule(command))
            for policy in self.catalog.policies_of(table, permissive=False)
        ):
            return []
        return [
            policy
            for policy in self.catalog.policies_of(table)
            if policy.holds_for(role, command)
            and not _is_false(policy.rule(command))
            and not self._is_for_few(policy, command, table)
        ]

    def _is_for_few(self, policy: Policy, command: str, table: Relation) -> bool:
        """Tell whether a policy lets pass those alone who are somebody special, whatever the row: staff, administrators."""
        columns = {column.lower() for column in table.columns}

        def asks_rank(condition: Group) -> bool:
            is_of_row = bool(columns & {*words_of(without_subselects(condition))}) or any(
                words_of(select)[place : place + 2] == [table.name.lower(), "."]
                for select in subselects((condition,))
                for place in range(len(words_of(select)))
            )
            return not is_of_row and any(True for _ in self.reader.calls(condition)) and self.callers.asks(condition, table)

        return always(policy.rule(command), asks_rank)

    def can(self, role: str, command: str, table: Relation, column: str | None = None) -> bool:
        """Tell whether a role holds a privilege, and row-level security is off or lets it reach some rows."""
        if role not in self.catalog.roles or table.schema not in self.catalog.exposed:
            return False
        if not self.catalog.may(role, command, table, column):
            return False
        return not table.has_rls or bool(self.binding(table, role, command))

    def clients_can(self, command: str, table: Relation, column: str | None = None) -> bool:
        """Tell whether any client can."""
        return any(self.can(role, command, table, column) for role in CLIENTS)

    def restricted(self, table: Relation, role: str, command: str) -> bool:
        """Tell whether a restrictive policy asks who is calling."""
        return any(
            policy.holds_for(role, command) and not self.callers.is_open(policy.rule(command), table)
            for policy in self.catalog.policies_of(table, permissive=False)
        )

    @cached_property
    def owners(self) -> dict[int, str]:
        """The column of each table that says whose a row is, where it has one."""
        people = {self.catalog.accounts} - {0}
        people |= {
            table.oid
            for table in self.catalog.tables
            if any(
                key.target == self.catalog.accounts and key.columns == self.catalog.primary_key(table)
                for key in self.catalog.foreign_keys(table)
            )
            and self.catalog.accounts
        }
        if "profiles" in self.tables:
            people.add(self.profiles.table.oid)
        found: dict[int, str] = {}
        for table in self.catalog.tables:
            keys = [
                key.columns[0]
                for key in self.catalog.foreign_keys(table)
                # Who wrote a course, or looked it over, does not own what everybody reads.
                if key.target in people and len(key.columns) == 1 and not _WROTE.search(plain(key.columns[0]))
            ]
            named = [column for column in table.columns if plain(column) in _OWNER_NAMES]
            if table.oid in people and self.catalog.primary_key(table):
                found[table.oid] = self.catalog.primary_key(table)[0]
            elif keys or named:
                found[table.oid] = next((column for column in keys if plain(column) in _OWNER_NAMES), (keys + named)[0])
        for role in self.tables.values():
            if role.has("user_id"):
                found[role.table.oid] = role["user_id"]
        return found

    @cached_property
    def personal(self) -> set[int]:
        """The tables whose rows belong to persons: by an owner of their own, or by what they point to."""
        found = set(self.owners)
        for table in self.catalog.tables:
            primary = self.catalog.primary_key(table)
            if any(_SENSITIVE.search(plain(column)) for column in table.columns):
                found.add(table.oid)
            elif (
                len(primary) == 1
                and self.owners.get(table.oid) == primary[0]
                and not any(_TELLS.search(plain(name)) for name in table.columns)
            ):
                # A name to be called by and a picture are there to be seen.
                found.discard(table.oid)
        # What belongs to something private is as private: messages to their session, lines to their invoice.
        waiting = list(found)
        while waiting:
            parent = waiting.pop()
            if not self._is_private(parent):
                continue
            for key in self.catalog.constraints:
                if (
                    key.type == "f"
                    and key.target == parent
                    and key.table not in found
                    and not _WROTE.search(plain(key.columns[0]))
                ):
                    found.add(key.table)
                    waiting.append(key.table)
        return found | {table.oid for table in self.catalog.all_relations if table.parent in found}

    def _is_private(self, oid: int) -> bool:
        """Tell whether not everybody may read a table: its own policies ask who does."""
        table = self.catalog.by_oid.get(oid)
        if table is None or oid == self.catalog.accounts or not table.has_rls or oid not in self.owners:
            return False
        if self.owners[oid] in self.catalog.primary_key(table) and len(self.catalog.primary_key(table)) == 1:
            return False
        policies = [policy for role in self.catalog.clients for policy in self.binding(table, role, "select")]
        return bool(policies) and not any(self.callers.is_open(policy.using, table) for policy in policies)

    @property
    def everybody(self) -> str:
        """From whom a statement takes what clients hold, whichever way they came to hold it."""
        return ", ".join(["public", *self.catalog.clients])

    # --- What runs -------------------------------------------------------------------------------------------

    def asks_caller(self, function: Function) -> bool:
        """Tell whether what a function does depends on who is calling, beyond their having an account."""
        named = re.sub(r"auth\.(uid|jwt|email)\s*\(\)\s*\)?\s*(as\s+\w+\s*\))?\s*is\s+(not\s+)?null", " ", function.code)
        is_for_server = re.search(r"auth\.role\s*\(\)[^;]*'service_role'", function.source) and raises(function.source)
        # What it writes down or returns may be the caller's own.
        acts = re.search(r"\bauth\.(uid|email)\s*\(", named) is not None
        return self._decides(function, self._asking) or acts or bool(is_for_server)

    def jobs(self) -> list[Function]:
        """Return the maintenance functions: callable, no triggers, asking nobody who they are, and deleting or ending weeks.

        Raises:
            Nowhere: there is none.
        """
        targets = [found.table.name for name, found in self.tables.items() if name in ("sessions", "logs")]
        deletes = "|".join(rf"delete\s+from\s+(?:\w+\.)?{re.escape(name.lower())}\b" for name in targets)
        found = []
        for function in self.catalog.plain_functions():
            source = self.catalog.reach(function.oid)
            works = (targets and re.search(deletes, source)) or self.ends_weeks(source)
            if function.schema in self.home and works and not self.asks_caller(function) and not self._is_about_one(function):
                found.append(function)
        if not found:
            raise Nowhere("no function here deletes sessions or logs, or ends weeks")
        return found

    def _is_about_one(self, function: Function) -> bool:
        """Tell whether a function is given whose rows it deletes: that is no maintenance."""
        return "uuid" in function.full_name.partition("(")[2]

    def ends_weeks(self, source: str) -> bool:
        """Tell whether a function sets the end of a week."""
        if "profiles" not in self.tables or not self.profiles.has("week_reset_date"):
            return False
        return re.search(rf"\b{re.escape(self.profiles.word('week_reset_date'))}\s*=", source) is not None

    @cached_property
    def home(self) -> set[str]:
        """The schemas that hold the recognised tables."""
        return {found.table.schema for found in self.tables.values()}

    def guards(self, table: Relation, event: str) -> list[tuple[Trigger, str]]:
        """Return the triggers before an event that always fire, each with what it does."""
        return [
            (trigger, self.catalog.reach(trigger.function)) for trigger in self.catalog.triggers_of(table.oid, event, before=True)
        ]


_OWNER_NAMES = word_set(
    "user_id userid owner_id ownerid profile_id learner_id student_id account_id member_id uid user owner"
    " clerk_user_id clerk_id auth_user_id auth_id supabase_user_id firebase_uid firebase_user_id"
)


_CALLER = r"\(*\s*(?:select\s+)?\(*auth\.(?:uid|jwt|email)\s*\(\)[^;,=<>]{0,80}?"


def _holds_caller(code: str) -> bool:
    """Tell whether a body holds the caller against something; one that writes them down, or asks for null, does not."""
    compared = r"(?:=|<>|!=|\bin\b|\bany\b|@>|\bis\s+(?:not\s+)?distinct\s+from\b)"
    if re.search(rf"{compared}\s*{_CALLER}", code) or re.search(rf"{_CALLER}\)*\s*{compared}", code):
        return True
    if re.search(r"request\.jwt|current_setting", code) and re.search(r"->>", code):
        return True
    # Kept in a variable, or given to another function, and compared there.
    kept = re.findall(rf"\b(\w+)(?:\s+(?:constant\s+)?(?:pg_catalog\.)?(?:uuid|text))?\s*:=\s*{_CALLER}", code)
    kept += re.findall(r"\bauth\.(?:uid|jwt|email)\s*\(\)[^;]{0,160}?\binto\s+(?:strict\s+)?(\w+)", code)
    kept += re.findall(r"\binto\s+(?:strict\s+)?(\w+)\s+[^;]{0,40}?\bauth\.(?:uid|jwt|email)\s*\(", code)
    return any(re.search(rf"{compared}\s*\(*{name}\b|\b{name}\b\)*\s*(?!=>){compared}", code) for name in kept) or bool(
        re.search(rf"\b(?!if\b|and\b|or\b|not\b|return\b|select\b|values\b|where\b)\w+\s*\([^()]*{_CALLER}", code)
    )


def _is_false(rule: str | None) -> bool:
    return rule is not None and rule.strip("() ").lower() in ("false", "null", "null::boolean")


_SENSITIVE = re.compile(
    r"^(e_?mail|email_address|phone|phone_number|password|password_hash|passwd|api_key|secret|token|access_token)$"
)
"""Columns that make a table private, whoever owns it."""

_TELLS = re.compile(
    r"birth|gender|address|city|country|credit|balance|plan|tier|stripe|customer|role|admin"
    r"|count|limit|last_|settings|preferences|notes|level|school|grade|phone|mail"
)
"""Columns of a person that are not for everybody."""

_WROTE = re.compile(r"creat|author|writ|edit|updat|modif|review|approv|publish|teach|instruct|invited|assigned|uploaded")

Examine = Callable[[Subject], Iterable[Flaw]]


@dataclass(frozen=True)
class Rule:
    """One rule: what it looks for, and how."""

    name: str
    number: int | None
    """The issue that it looks for; None where the workbook has no section for it."""
    title: str
    severity: str
    why: str
    """Why it matters, in one sentence."""
    needs: tuple[str, ...]
    """The tables without which there is nothing to look at."""
    examine: Examine
    """Yields the flaws that it sees; raises `NotSeen`, `OnlyBehaviour` or `Nowhere`."""

    @property
    def looked_at(self) -> str:
        """Where it looks."""
        return (self.examine.__doc__ or "").strip().partition("\n")[0].rstrip(".")


RULES: dict[str, Rule] = {}
"""All rules, by name."""


def rule(number: int, *needs: str, title: str = "", why: str = "") -> Callable[[Examine], Examine]:
    """Enter the rule of an issue; it is called as the issue's fix, such as 18_messages_user_id.

    Args:
        needs: tables without which there is nothing to look at.
        title: what it is called where it speaks of any database.
        why: why it matters, in one sentence; the issue's symptom where it is empty.
    """

    def enter(examine: Examine) -> Examine:
        about = all_issues()[number]
        name = f"{number:02}_{examine.__name__}"
        RULES[name] = Rule(name, number, title or about.title, about.severity, why or f"{about.symptom}.", needs, examine)
        return examine

    return enter


def general(severity: str, title: str, why: str) -> Callable[[Examine], Examine]:
    """Enter a rule for any database, which the workbook has no section for."""

    def enter(examine: Examine) -> Examine:
        RULES[examine.__name__] = Rule(examine.__name__, None, title, severity, why, (), examine)
        return examine

    return enter


def by_number(number: int) -> Rule:
    """Return the rule of an issue."""
    return next(rule for rule in RULES.values() if rule.number == number)


# --- What several rules ask ---------------------------------------------------------------------------------------


def policy_flaw(policy: Policy, says: str, fix: str = "") -> Flaw:
    """Return a flaw of a policy."""
    name, _, table = policy.full_name.rpartition(" on ")
    return Flaw(f"policy {name} on {table}", says, fix)


def raises(source: str) -> bool:
    """Tell whether a function raises an error; a notice refuses nothing."""
    return re.search(r"\braise\b(?!\s+(?:notice|warning|info|log|debug)\b)", source) is not None


def indexed(table: Relation, *columns: str) -> str:
    """Return the statement that makes an index over columns; on a partitioned table it cannot be made beside others' work."""
    how = "" if table.kind == "p" else " concurrently"
    return f"create index{how} on {table.full_name} ({', '.join(map(quoted, columns))});"


def revoked(db: Subject, table: Relation, command: str) -> str:
    """Return the statement that takes a privilege from clients, and what to do then."""
    return f"revoke {command} on {table.full_name} from {db.everybody};  -- then grant {command} on the columns that are theirs"


def narrowed(policy: Policy, condition: str) -> str:
    """Return the statement that makes a policy ask for one more condition, and for what it asks already."""

    def also(rule: str | None) -> str:
        kept = (rule or "true").strip()
        return condition if kept.strip("() ").lower() == "true" else f"{kept} and {condition}"

    clauses = [f"using ({also(policy.using)})"] if policy.command != "insert" else []
    if policy.command == "insert" or policy.check is not None:
        clauses.append(f"with check ({also(policy.check)})")
    return f"alter policy {policy.full_name} {' '.join(clauses)};"


def assigns(source: str, column: str) -> bool:
    """Tell whether a trigger's function sets a column of the new row; an equals sign alone may compare."""
    new = rf"\bnew\.{re.escape(column.lower())}\b"
    return (
        re.search(rf"{new}\s*:=|(?:^|;|\b(?:begin|then|else|loop))\s*{new}\s*=|\binto\s+(?:strict\s+)?{new}", source) is not None
    )


def users_table(db: Subject) -> int:
    """Return the oid of the table that profiles extends: auth.users on Supabase.

    Raises:
        Nowhere: nothing says whose profile a row is.
    """
    for key in db.catalog.foreign_keys(db.profiles.table):
        if key.columns == (db.profiles["id"],):
            return key.target
    inserts = rf"insert\s+into\s+(?:\w+\.)?{re.escape(db.profiles.table.name.lower())}\b"
    writers = [
        trigger.table for trigger in db.catalog.triggers
        if re.search(inserts, db.catalog.reach(trigger.function))
    ]  # fmt: skip
    if writers:
        return writers[0]
    given = db.profiles.column("id")
    # An id that is given from elsewhere is the account's; one that is made here, or a password, is a login of its own.
    is_own = given.default or called(db.profiles.table.columns, r"passw|^hash$")
    if db.catalog.accounts and given.type == "uuid" and not is_own:
        return db.catalog.accounts
    raise Nowhere(f"nothing says whose profile a row of {db.profiles.table.full_name} is")


def listed_values(db: Subject, found: Found, column: str) -> list[str]:
    """Return the values that a column may have, as its type, its domain or a constraint lists them; empty where any may."""
    facts = found.column(column)
    if labels := db.catalog.enum_labels.get(facts.plain_type):
        return labels
    texts = [text for text in db.catalog.checks(found.table, facts.name) if re.search(r"= ANY|\bIN\b|\bOR\b| = ", text)]
    return [word for text in texts for word in re.findall(r"'([^']*)'", text)]


def lookup_key(db: Subject, found: Found, column: str) -> bool:
    """Tell whether a column points to a table of its values."""
    return any(key.columns == (found[column],) for key in db.catalog.foreign_keys(found.table))

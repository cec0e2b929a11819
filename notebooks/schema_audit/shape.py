"""Which of a database's tables hold conversations and what belongs to them: by what points where, then by names."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from .catalog import Catalog, Column, Constraint, Nowhere, Relation, quoted, word_set, words
from .errors import AuditError

COLUMNS = {
    "profiles": {
        "id": ("the key", "id user_id uid"),
        "email": ("an address", "email email_address mail e_mail"),
        "completed_scenario_count": (
            "a count of completions",
            "completed_scenario_count completed_count completed_scenarios total_completed sessions_completed completed_sessions",
        ),
        "current_week_completion_count": (
            "a count of the week's completions",
            "current_week_completion_count weekly_count weekly_completions week_count weekly_sessions weekly_limit_used",
        ),
        "week_reset_date": ("the end of a week", "week_reset_date week_reset_at week_resets_at weekly_reset_at week_ends_at"),
        "created_at": ("the moment it was made", "created_at created inserted_at"),
        "updated_at": ("the moment of its last change", "updated_at updated modified_at"),
        "deleted_at": (
            "a mark of deletion",
            "deleted_at is_deleted deleted removed_at deactivated_at disabled_at is_active status",
        ),
    },
    "scenarios": {
        "id": ("the key", "id"),
        "title": ("a title", "title name"),
        "emoji": ("an emoji", "emoji icon"),
        "initial_message_main": (
            "an opening message",
            "initial_message_main initial_message opening_message first_message greeting system_prompt prompt opening",
        ),
        "initial_message_helper": ("an opening message of the helper", "initial_message_helper helper_message"),
        "is_active": ("a mark of what is shown", "is_active active is_published published enabled is_enabled is_visible visible"),
        "created_at": ("the moment it was made", "created_at created inserted_at"),
    },
    "sessions": {
        "id": ("the key", "id"),
        "user_id": ("an owner", ""),
        "scenario_id": ("what is played", ""),
        "is_completed": (
            "a mark of completion",
            "is_completed completed complete is_complete finished is_finished done is_done ended is_ended closed is_closed",
        ),
        "started_at": ("the moment of its start", "started_at start_time started start_at began_at begun_at starts_at"),
        "last_activity_at": (
            "the moment of its last activity",
            "last_activity_at last_active_at last_message_at last_activity last_seen_at",
        ),
        "completed_at": (
            "the moment of its end",
            "completed_at finished_at ended_at end_time closed_at done_at ends_at end_at completed_on",
        ),
        "message_count_main": ("a count of messages", "message_count_main main_message_count"),
        "message_count_helper": ("a count of helper messages", "message_count_helper helper_message_count"),
        "message_count": (
            "a count of messages",
            "message_count messages_count total_messages num_messages number_of_messages turn_count total_turns msg_count",
        ),
        "duration_seconds": (
            "a duration",
            "duration_seconds duration duration_s duration_sec duration_secs duration_ms duration_minutes",
        ),
        "score": ("a score", "score rating points grade xp"),
        "created_at": ("the moment it was made", "created_at created inserted_at"),
    },
    "messages": {
        "id": ("the key", "id"),
        "session_id": ("its session", ""),
        "role": (
            "who speaks",
            "role author speaker sender sender_type sender_role author_type author_role speaker_role from_role message_role"
            " participant_type participant is_user from_user is_bot is_from_user is_assistant from who direction",
        ),
        "chat_type": ("a kind of chat", "chat_type channel chat_kind"),
        "content": (
            "a text",
            "content text body message message_text msg utterance line message_content content_text parts payload transcript",
        ),
        "user_id": ("an owner", ""),
        "sent_at": ("when it was said", "sent_at said_at spoken_at sent posted_at"),
        "timestamp": ("when it was said", "timestamp date time datetime ts"),
        "created_at": ("the moment it was made", "created_at created inserted_at"),
        "deleted_at": ("a mark of deletion", "deleted_at is_deleted deleted"),
        "position": ("a place in the order", "position seq sequence sequence_number order_index turn_number idx ordinal turn"),
    },
    "logs": {
        "id": ("the key", "id"),
        "level": ("a level", "level severity log_level"),
        "event_type": ("a kind of event", "event_type event type action kind event_name"),
        "user_id": ("an owner", ""),
        "session_id": ("a session", ""),
        "metadata": ("metadata", "metadata meta payload data details context properties"),
        "created_at": ("when it happened", "created_at created inserted_at logged_at occurred_at timestamp ts at happened_at"),
    },
}
"""The columns that the rules speak of, by table: what each is in words, and what it is called, without regard to case."""

_WORDS = {
    "sessions": "session chat conversation thread dialogue dialog training room discussion",
    "messages": "message dialogue dialog turn utterance",
    "profiles": "profile user account member learner student",
    "scenarios": "scenario character persona lesson topic course exercise template situation roleplay assistant bot prompt",
    "logs": "log audit event",
}
_OWNERS = words("user_id userid owner_id ownerid profile_id learner_id student_id account_id member_id uid user owner")
_BESIDES = word_set("archive archived backup old chunk attachment reaction feedback read receipt summary embedding translation")
_CLOSE = 0.87


@dataclass(frozen=True)
class Found:
    """A table that was recognised, and what its columns are called there."""

    table: Relation
    columns: dict[str, str]
    """The actual name by the expected one."""
    role: str
    """Which of the five tables it is."""

    def __getitem__(self, column: str) -> str:
        """Return what a column is called here.

        Raises:
            Nowhere: there is none like it.
        """
        if column not in self.columns:
            raise Nowhere(f"{self.table.full_name} keeps no column for {COLUMNS[self.role][column][0]}")
        return self.columns[column]

    def __call__(self, column: str) -> str:
        """Return what a column is called here, as SQL writes it.

        Raises:
            Nowhere: there is none like it.
        """
        return quoted(self[column])

    def word(self, column: str) -> str:
        """Return what a column is called in the text of functions, which is read in lower case and without quotes."""
        return self[column].lower()

    def has(self, column: str) -> bool:
        """Tell whether there is a column like it."""
        return column in self.columns

    def column(self, column: str) -> Column:
        """Return what the catalog knows of a column.

        Raises:
            Nowhere: there is none like it.
        """
        return self.table.columns[self[column]]

    def renamed(self) -> dict[str, str]:
        """Return the columns that are called otherwise."""
        return {expected: actual for expected, actual in self.columns.items() if expected != actual}


@dataclass(frozen=True)
class Shape:
    """What was recognised of a database."""

    tables: dict[str, Found]
    """The tables of conversations, by the names that the issues use."""
    needs: list[str]
    """What was not recognised, a sentence each."""


def recognise(catalog: Catalog, named: dict[str, str]) -> Shape:
    """Find the tables of conversations.

    Args:
        named: tables that the reader has named: {"sessions": "chats"}, with their schema where it is not public.

    Raises:
        AuditError: a named table is not there.
        NotSeen: the login may not read the catalog.
    """
    search = _Search(catalog, {role: _by_name(catalog, role, name) for role, name in named.items()})
    chosen = search.choose()
    tables = {role: Found(table, search.columns(role, table, chosen), role) for role, table in sorted(chosen.items())}
    return Shape(tables, search.needs(chosen))


def _by_name(catalog: Catalog, role: str, name: str) -> Relation:
    if role not in COLUMNS:
        raise AuditError(f"TABLES names {role}, and the tables that it can name are {', '.join(COLUMNS)}; write sessions=chats.")
    plain = name.replace('"', "")
    for table in catalog.tables:
        if plain in (table.name, f"{table.schema}.{table.name}"):
            return table
    raise AuditError(
        f"TABLES says that {role} are in {name}, and there is no such table that this login sees; "
        f"take one of {', '.join(table.full_name for table in catalog.tables[:20]) or 'none'}."
    )


@dataclass
class _Search:
    catalog: Catalog
    named: dict[str, Relation]

    def __post_init__(self) -> None:
        self.tables = self.catalog.tables
        self.people = self._people()
        self._talks = [table for table in self.tables if _words(table.name) & _set("sessions")]
        self.considered: list[str] = []

    def _people(self) -> set[int]:
        """The tables of persons: the platform's, those whose key points to it, and those called so."""
        found = {self.catalog.accounts} if self.catalog.accounts else set()
        for table in self.tables:
            key = self.catalog.primary_key(table)
            of_account = any(fk.columns == key and fk.target == self.catalog.accounts for fk in self.catalog.foreign_keys(table))
            if of_account or (_words(table.name) & _set("profiles") and len(_words(table.name) - {"app"}) <= 2 and len(key) == 1):
                found.add(table.oid)
        return found | ({self.named["profiles"].oid} if "profiles" in self.named else set())

    def owner(self, table: Relation) -> str | None:
        """The column that says whose a row is."""
        keys = [fk for fk in self.catalog.foreign_keys(table) if len(fk.columns) == 1 and fk.target in self.people]
        # Whose it is cannot be nobody, and it goes with them; whoever is assigned to it can.
        keys.sort(key=lambda fk: (table.columns[fk.columns[0]].nullable, fk.on_delete != "c"))
        key_names = [fk.columns[0] for fk in keys]
        for name in _OWNERS:
            for column in key_names:
                if plain(column) == name:
                    return column
        primary = self.catalog.primary_key(table)
        for column in key_names:
            if (column,) != primary:
                return column
        for name in _OWNERS:
            for facts in table.columns.values():
                if plain(facts.name) == name and (facts.plain_type == "uuid" or facts.is_text or "int" in facts.plain_type):
                    return facts.name
        return None

    def choose(self) -> dict[str, Relation]:
        chosen = dict(self.named)
        if not {"sessions", "messages"} <= set(chosen):
            pair = self._pair(chosen)
            if pair:
                chosen["messages"], chosen["sessions"] = pair
        if "sessions" in chosen and "messages" in chosen:
            self._beside(chosen)
        return chosen

    def _pair(self, chosen: dict[str, Relation]) -> tuple[Relation, Relation] | None:
        """Return the likeliest tables of messages and sessions."""
        best: tuple[float, str, Relation, Relation] | None = None
        for messages in [chosen["messages"]] if "messages" in chosen else self.tables:
            text = _match(messages, "messages", "content", lambda column: column.is_text or column.plain_type.startswith("json"))
            speaker = _match(messages, "messages", "role", self._speaks)
            said = bool(_words(messages.name) & _set("messages"))
            if "messages" not in chosen and text is None:
                continue
            points = self._pointed_to(messages) if "sessions" not in chosen else {chosen["sessions"].oid: 3.0}
            for oid, evidence in points.items():
                sessions = self.catalog.by_oid[oid]
                talks = bool(_words(sessions.name) & _set("sessions"))
                owned = self.owner(sessions) is not None
                moment = any(column.is_moment for column in messages.columns.values())
                score = evidence + 2 * said + 2 * talks + 1.5 * (speaker is not None) + 1.5 * owned + 0.5 * moment
                score -= 2.5 * bool(_words(messages.name) & _BESIDES)
                score -= 2.5 * (not talks and bool(_words(sessions.name) & (_BESIDES | _set("messages"))))
                # Comments on posts have all but the words, and nobody who speaks.
                is_talk = (said and (talks or owned)) or speaker is not None
                if score < 6 or not is_talk:
                    self._remember(messages, sessions, speaker, said, talks)
                elif best is None or (score, messages.full_name) > best[:2]:
                    best = (score, messages.full_name, messages, sessions)
            if not points:
                self.considered.append(f"{messages.full_name} (it points to no table of sessions)")
        return best[2:] if best else None

    def _pointed_to(self, messages: Relation) -> dict[int, float]:
        """The tables that one may belong to, and how much speaks for it: a foreign key, or else a column that is called so."""
        found = {
            key.target: 3.0
            for key in self.catalog.foreign_keys(messages)
            if key.target not in self.people | {messages.oid} and key.target in self.catalog.by_oid
        }
        for table in self._talks:
            if table.oid not in found and table.oid != messages.oid and self._points_by_name(messages, table):
                found[table.oid] = 1.5
        return found

    def _remember(self, messages: Relation, sessions: Relation, speaker: str | None, said: bool, talks: bool) -> None:
        lacks = [
            what
            for what, is_there in (
                ("no column says who speaks", speaker),
                ("no name says that it holds messages", said),
                (f"{sessions.full_name} is not called like sessions", talks),
                (f"{sessions.full_name} has no owner", self.owner(sessions)),
            )
            if not is_there
        ]
        self.considered.append(f"{messages.full_name} beside {sessions.full_name} ({', '.join(lacks)})")

    def _speaks(self, column: Column) -> bool:
        """Whether a column can say who speaks: a word, a list of words or a flag, and no key of a person."""
        if column.plain_type == "boolean":
            return re.match(r"(is|from)_", plain(column.name)) is not None
        return column.is_text or column.plain_type in self.catalog.enum_labels

    def _points_by_name(self, messages: Relation, sessions: Relation) -> bool:
        names = {plain(sessions.name), _singular(plain(sessions.name))}
        last = plain(sessions.name).rpartition("_")[2]
        names |= {last, _singular(last)}
        return any(re.sub(r"_?id$", "", plain(column)) in names and plain(column).endswith("id") for column in messages.columns)

    def _beside(self, chosen: dict[str, Relation]) -> None:
        """Add the tables that belong to sessions."""
        for role, find in (("profiles", self._profiles), ("scenarios", self._scenarios), ("logs", self._logs)):
            if role not in chosen:
                taken = {table.oid for table in chosen.values()}
                table = next((table for table in find(chosen["sessions"]) if table.oid not in taken), None)
                if table is not None:
                    chosen[role] = table

    def _profiles(self, sessions: Relation) -> Iterator[Relation]:
        """The table that a session's owner points to, else one that extends the accounts, else one that is called so."""
        owner = self.owner(sessions)
        people = sorted(
            (table for table in self.tables if table.oid in self.people),
            key=lambda table: not _words(table.name) & _set("profiles"),
        )
        yield from (table for table in people for key in self.catalog.foreign_keys(sessions)
                    if key.columns == (owner,) and key.target == table.oid)  # fmt: skip
        yield from (table for table in people for key in self.catalog.foreign_keys(table)
                    if key.target == self.catalog.accounts)  # fmt: skip
        yield from people

    def _scenarios(self, sessions: Relation) -> Iterator[Relation]:
        """What sessions are about: a table with titles that they point to and that is called so."""
        pointed = {key.target for key in self.catalog.foreign_keys(sessions) if len(key.columns) == 1} - self.people
        for table in self.tables:
            words = _words(table.name)
            is_called = words & _set("scenarios") and not words & (_BESIDES | _set("messages"))
            titled = _match(table, "scenarios", "title", lambda column: column.is_text)
            if titled and is_called and (table.oid in pointed or "scenario" in words) and table.oid not in self.people:
                yield table

    def _logs(self, sessions: Relation) -> Iterator[Relation]:
        """Tables that are called so, with a moment and something that happened, those with most of it first."""
        found = []
        for table in self.tables:
            if _words(table.name) & _set("logs") and not _words(table.name) & _BESIDES:
                wanted = ("level", "event_type", "metadata", "created_at")
                has = [name for name in wanted if _match(table, "logs", name, _kind("logs", name))]
                if "created_at" in has and len(has) >= 2:
                    found.append((-len(has), table.full_name, table))
        yield from (table for _, _, table in sorted(found, key=lambda entry: entry[:2]))

    def needs(self, chosen: dict[str, Relation]) -> list[str]:
        said = []
        if "sessions" not in chosen or "messages" not in chosen:
            seen = "; considered: " + "; ".join(dict.fromkeys(self.considered[:5])) if self.considered else ""
            return [
                "a table of messages (a text, who speaks or the name, the moment) that points to a table of sessions (their"
                f' owner){seen}. Name them where they are there: TABLES="sessions=… messages=…"'
            ]
        for role, what in (
            ("profiles", "a table of profiles (one row a person, that sessions point to)"),
            ("scenarios", "a table of scenarios (a title, that sessions point to)"),
            ("logs", "a table of logs (a moment, and a level, a kind or metadata)"),
        ):
            if role not in chosen:
                said.append(f'{what}. Name it where it is there: TABLES="{role}=…"')
        return said

    def columns(self, role: str, table: Relation, chosen: dict[str, Relation]) -> dict[str, str]:
        found: dict[str, str] = {}
        owner = self.owner(table) if "user_id" in COLUMNS[role] else None
        # Who has opened a room does not own what others say in it.
        if owner and not (role == "sessions" and re.search(r"creat|start|open", plain(owner))):
            found["user_id"] = owner
        for column, target in (("scenario_id", "scenarios"), ("session_id", "sessions")):
            if column in COLUMNS[role] and target in chosen:
                actual = self._pointer(table, chosen[target], found.get("user_id"))
                found |= {column: actual} if actual else {}
        key = self.catalog.primary_key(table)
        if len(key) == 1 and key[0] not in found.values():
            found["id"] = key[0]
        elif len(key) > 1:
            # The key of a partitioned table ends with what it is partitioned by.
            own = [name for name in key if plain(name) == "id"]
            found |= {"id": own[0]} if own else {}
        if role == "profiles" and len(key) == 1:
            found["id"] = key[0]
        for column in COLUMNS[role]:
            if column not in found:
                free = {name: facts for name, facts in table.columns.items() if name not in found.values()}
                if actual := _match(table, role, column, _kind(role, column), free):
                    found[column] = actual
        return found

    def _pointer(self, table: Relation, target: Relation, owner: str | None) -> str | None:
        keys: list[Constraint] = [
            fk for fk in self.catalog.foreign_keys(table) if fk.target == target.oid and table.oid != target.oid
        ]
        for fk in sorted(keys, key=lambda fk: len(fk.columns)):
            for column in fk.columns:
                if column != owner:
                    return column
        names = {plain(target.name), _singular(plain(target.name)), _singular(plain(target.name).rpartition("_")[2])}
        names |= (
            {"session", "chat", "conversation", "thread"} if target.name and _words(target.name) & _set("sessions") else set()
        )
        for column in table.columns:
            if plain(column).endswith("id") and re.sub(r"_?id$", "", plain(column)) in names:
                return column
        return None


def _kind(role: str, column: str) -> Callable[[Column], bool]:
    """Return what a column has to be like, by its expected name."""
    if column == "deleted_at" and role == "profiles":
        return lambda found: found.is_moment or (found.plain_type == "boolean" and "delete" in found.name.lower())
    if column.endswith("_at") or column in ("timestamp", "week_reset_date"):
        return lambda found: found.is_moment or found.plain_type == "date"
    if column.startswith("is_"):
        return lambda found: found.plain_type == "boolean"
    if "count" in column or column in ("duration_seconds", "position", "score"):
        return lambda found: re.match(r"(small|big)?int|numeric|interval|real|double", found.plain_type) is not None
    if column == "metadata":
        return lambda found: found.plain_type.startswith("json")
    if column in ("title", "emoji", "email") or column.startswith("initial_message"):
        return lambda found: found.is_text
    if column == "content":
        return lambda found: found.is_text or found.plain_type.startswith("json")
    if column == "id":
        return lambda found: True
    # A word or one of a list of words; a key to somebody is none.
    return lambda found: found.plain_type != "uuid" and not found.is_moment and not found.plain_type.startswith("json")


def _match(
    table: Relation, role: str, column: str, fits: Callable[[Column], bool], free: dict[str, Column] | None = None
) -> str | None:
    """Return the column that is called like an expected one, the likeliest name first, or None."""
    candidates = {name: facts for name, facts in (table.columns if free is None else free).items() if fits(facts)}
    known = COLUMNS[role][column][1].split()
    for name in known:
        for actual in candidates:
            if plain(actual) == name:
                return actual
    best, closeness = None, _CLOSE
    for actual in candidates if known and len(column) > 6 else ():
        word = plain(actual)
        # Two names of one ending are alike and mean two things.
        matcher = SequenceMatcher(None, column, word)
        if matcher.real_quick_ratio() >= closeness and matcher.quick_ratio() >= closeness and matcher.ratio() > closeness:
            if (word in _all_names(role)) or word.endswith("_at") != column.endswith("_at"):
                continue
            best, closeness = actual, matcher.ratio()
    return best


def _all_names(role: str) -> set[str]:
    return {name for _, names in COLUMNS[role].values() for name in names.split()}


def _set(role: str) -> set[str]:
    return set(_WORDS[role].split())


@lru_cache(maxsize=100_000)
def plain(name: str) -> str:
    """Return a name in lower case, its words joined by underscores."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower().strip("_")


def _singular(word: str) -> str:
    return re.sub(r"ies$", "y", word).removesuffix("s") if not word.endswith("ss") else word


def _words(name: str) -> set[str]:
    return {_singular(word) for word in plain(name).split("_")}


def called(columns: Iterable[str], pattern: str) -> list[str]:
    """Return the columns whose name, in lower case with underscores, a pattern finds."""
    return [column for column in columns if re.search(pattern, plain(column))]

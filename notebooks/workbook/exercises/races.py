"""Exercises 4 and 7: two people do the same thing at once."""

from ..actors import ADMIN, OWNER, SERVICE
from ..concurrency import Step, concurrently
from ..database import Database

_USE = "select public.use_hint(:anna)"


def hints(database: Database, attempt: str) -> str | None:
    """A learner gets three hints from however many devices, whoever taps first is served, and nobody waits for somebody else."""
    database.run(attempt)
    for used in (0, 2):
        database.run(
            "delete from hints; insert into hints (user_id) select :anna from generate_series(1, :used)", ADMIN, used=used
        )
        heard = sorted(str(step.outcome) for step in _at_once(database, [_USE] * 4))
        got = database.value("select count(*) from hints where user_id = :anna", ADMIN)
        if got > 3:
            return f"from four devices at once the learner gets {got} hints"
        if heard != ["False"] * (1 + used) + ["True"] * (3 - used):
            return f"with {used} hints used, four devices at once hear {', '.join(heard)}; {3 - used} should hear True"
        if got != 3:
            return f"the function says that the learner has three hints, and the table holds {got}"
    if database.value(_USE):
        return "the learner gets a fourth hint"
    database.run("delete from hints where user_id = :anna", ADMIN)
    _, bens = _at_once(database, [_USE, "select public.use_hint(:ben)"])
    if bens.waited:
        return "Ben waits for Anna's tap, and need not: each learner has hints of their own"
    database.run("insert into hints (user_id) select :anna from generate_series(1, 3)", ADMIN)
    return None if database.value("select public.use_hint(:ben)") else "Ben gets no hint, because Anna has used hers"


def notes(database: Database, attempt: str) -> str | None:
    """Whoever saves a note that has changed since they loaded it is told so, and overwrites nothing."""
    texts = "select body from notes order by session_id = :anna_open desc"
    version = "select version from notes where session_id = :anna_open"
    others = database.run("select * from notes where session_id <> :anna_open", ADMIN)

    def save(body: str, loaded: int) -> Step:
        return _at_once(database, [attempt], session=_open(database), body=body, version=loaded)[0]

    first = database.value(version, ADMIN)
    alone = save("one", first)
    if alone.refused:
        return f"a save is refused: {alone.outcome}"
    if database.run(texts, ADMIN)["body"].iloc[0] != "one" or not _is_told(alone):
        return "a save with nobody else about does not arrive"
    if not others.equals(database.run("select * from notes where session_id <> :anna_open", ADMIN)):
        return "another session's note changes along"
    second = database.value(version, ADMIN)
    if second == first:
        return "the version stays the same, so that nobody can tell that the note has changed"
    late = save("late", first)
    if database.run(texts, ADMIN)["body"].iloc[0] == "late":
        return "somebody who loaded the note before the last save overwrites that save"
    if _is_told(late):
        return "somebody whose save did not arrive is told that it did"
    both = _at_once(database, [attempt, attempt], session=_open(database), version=second, body=["two", "three"])
    body = database.run(texts, ADMIN)["body"].iloc[0]
    if body != "two" or _is_told(both[1]):
        return (
            "of two who save at the same moment the second overwrites the first: what a sub-select found is not looked at again"
        )
    again = save("four", database.value(version, ADMIN))
    return None if _is_told(again) else "a save after loading the note anew does not arrive"


def _open(database: Database) -> object:
    return database.value("select cast(:anna_open as uuid)", ADMIN)


def _is_told(step: Step) -> bool:
    """Tell whether a save said that it arrived: by rows that it changed or returned."""
    return not step.refused and str(step.outcome).split()[-1] != "0" and not str(step.outcome).startswith("0 rows")


def _at_once(database: Database, statements: list[str], **values: object) -> list[Step]:
    """Send each statement on a connection of its own before any has committed; a list of values has one for each."""
    with concurrently(database, **{f"device_{n}": SERVICE if values else OWNER for n in range(len(statements))}) as sides:
        steps = [
            side(statement, **{name: value[n] if isinstance(value, list) else value for name, value in values.items()})
            for n, (side, statement) in enumerate(zip(sides, statements, strict=True))
        ]
        open_sides = list(sides)
        while done := next((side for side in open_sides if not side.running), None):
            # After an error this rolls back.
            done.commit()
            open_sides.remove(done)
    return steps

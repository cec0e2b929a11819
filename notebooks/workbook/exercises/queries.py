"""Exercises 2 and 3: a page that is found without reading what it does not show."""

import re

from ..actors import ADMIN, ANNA
from ..database import Database
from ..plans import plan

LAST_PLAYED = """select id from public.sessions
where scenario_id = :scenario and is_completed
order by completed_at desc
limit 10"""
"""The query of exercise 2."""

FIRST_PAGE = {"sent_at": "-infinity", "id": "00000000-0000-0000-0000-000000000000"}
"""What the first page of exercise 3 is asked for with: before every message."""

_INDEXES = """
select
    indexrelid::regclass::text as name,
    array(select pg_get_indexdef(indexrelid, n, false) from generate_series(1, indnkeyatts) as n order by n) as columns,
    coalesce(pg_get_expr(indpred, indrelid), '') as rows,
    indisunique as is_unique
from pg_index
where indrelid = 'public.sessions'::regclass and indisvalid"""


def missing_index(database: Database, attempt: str) -> str | None:
    """The query reads the ten rows that it shows, and sorts nothing, for each scenario; no other query loses its index."""
    before = database.run(_INDEXES, ADMIN).set_index("name")
    # Production would have it; nobody else is here, and a transaction block would refuse it.
    database.run(re.sub(r"\bconcurrently\b", "", attempt, flags=re.IGNORECASE))
    with database.connect() as connection:
        connection.execute("analyze public.sessions")
    after = database.run(_INDEXES, ADMIN).set_index("name")
    added = len(after.index.difference(before.index))
    if added != 1:
        return f"one new index is enough, and there are {added}"
    for name in before.index.difference(after.index):
        columns, rows, is_unique = before.loc[name]
        serves = [kept[: len(columns)] == columns and where in ("", rows) for kept, where, _ in after.itertuples(index=False)]
        if is_unique or not any(serves):
            return f"the index {name} is gone, and other queries need it"
    for scenario in (1, 2):
        nodes = plan(database, LAST_PLAYED, scenario=scenario)
        if nodes["node"].str.contains("Sort").any():
            return f"the plan for scenario {scenario} still sorts, because no index gives its rows in the query's order"
        read = int((nodes["rows read"] + nodes["rows removed"]).max())
        if read > 20:
            return f"the plan for scenario {scenario} reads {read} rows to show ten"
        buffers = int(nodes["buffers"].max())
        if buffers > 20:
            return f"the plan for scenario {scenario} touches {buffers} pages to show ten rows: it walks past others in the index"
    return None


def pages(database: Database, attempt: str) -> str | None:
    """Page by page every message is seen once, also where many have one moment, and each page reads only itself."""
    in_order = "select id::text from messages where session_id = :anna_done and chat_type = 'helper' order by sent_at, id"
    all_of_them = database.run(in_order, ADMIN)["id"].tolist()
    seen: list[str] = []
    place: dict[str, object] = {"session": database.value("select cast(:anna_done as uuid)", ADMIN), **FIRST_PAGE}
    last = place
    with database.transaction(ANNA) as transaction:
        while len(page := transaction.run(attempt, **place)):
            if not {"id", "sent_at"} <= set(page.columns):
                return "a page has the columns id and sent_at, from which the next one starts"
            if len(page) > 7:
                return f"a page has {len(page)} messages, and seven fit on the screen"
            shown = [str(message) for message in page["id"]]
            if set(shown) & set(seen) or len(shown) > len(set(shown)):
                return "the pages never end: one shows a message again that was shown before"
            seen += shown
            last, place = place, place | {"sent_at": page["sent_at"].iloc[-1], "id": page["id"].iloc[-1]}
    if missing := set(all_of_them) - set(seen):
        return f"{len(missing)} of {len(all_of_them)} messages are on no page"
    if len(seen) > len(all_of_them):
        return f"there are {len(seen)} messages on the pages, and {len(all_of_them)} in the helper chat of the session"
    if seen != all_of_them:
        return "the pages do not show the messages in the order in which they were sent"
    if plan(database, attempt, ANNA, **place | FIRST_PAGE)["node"].isin(["Sort"]).any():
        return "a page sorts all messages"
    nodes = plan(database, attempt, ANNA, **last)
    read = int((nodes["rows read"] + nodes["rows removed"]).max())
    return None if read <= 150 else f"the last page reads {read} messages, all that come before it"

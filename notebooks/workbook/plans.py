"""What the planner did, as facts: node, index, rows, buffers."""

from .actors import OWNER, Actor
from .database import Database, assume, send
from .tables import Table

COLUMNS = ["node", "on", "rows read", "rows removed", "buffers"]


def plan(database: Database, sql: str, actor: Actor = OWNER, **values: object) -> Table:
    """Run a statement under EXPLAIN and return one row for each node of its plan, outermost first.

    Whatever the statement changes is rolled back.

    Returns:
        A table with the node's kind, its index or table, the rows it returned and those that its filter removed, over all
        loops, and the 8 kB buffers that it and its children touched.
    """
    facts: list[tuple] = []
    with database.connect() as connection:
        # A first run fills the caches, so that catalog look-ups do not count as the query's buffers.
        for _ in range(2):
            with connection.transaction(force_rollback=True):
                assume(connection, actor)
                explain = f"explain (analyze, buffers, timing off, format json) {sql}"
                ((explained,),) = send(connection, explain, values).fetchall()
    _walk(explained[0]["Plan"], facts)
    return Table.of(facts, COLUMNS)


def _walk(node: dict, facts: list[tuple]) -> None:
    loops = node["Actual Loops"]
    facts.append(
        (
            node["Node Type"],
            node.get("Index Name") or node.get("Relation Name") or "",
            round(node["Actual Rows"] * loops),
            round(node.get("Rows Removed by Filter", 0) * loops),
            node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0),
        )
    )
    for child in node.get("Plans", []):
        _walk(child, facts)

"""Load by many clients at once: pgbench runs a script from sql/bench."""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .actors import SERVICE, Actor
from .database import Database
from .errors import WorkbookError
from .paths import SQL
from .server import EmbeddedServer


@dataclass(frozen=True)
class Load:
    """What pgbench saw."""

    per_second: float
    """Transactions per second, all clients together, connecting not counted."""
    latencies_ms: list[float]
    """How long each transaction took, in milliseconds, in the order in which they ended."""


def pgbench(
    database: Database,
    script: str,
    *,
    clients: int = 1,
    transactions: int,
    rate: int | None = None,
    actor: Actor = SERVICE,
    **variables: object,
) -> Load:
    """Let clients run a script again and again, prepared, each in a connection of its own.

    Args:
        script: a file below sql/bench.
        transactions: how often each client runs it.
        rate: how many transactions are to begin a second, all clients together; a latency then counts from the moment at which
            its transaction was due. As many as possible where it is not given.
        actor: whose role the connections have; a learner's script says itself which learner it is.
        variables: pgbench variables of the script.

    Raises:
        WorkbookError: a statement of the script is refused.
    """
    options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", f"--jobs={min(clients, 2)}"]
    options += [f"--transactions={transactions}", *(f"--define={name}={value}" for name, value in variables.items())]
    options += [f"--rate={rate}"] if rate else []
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                EmbeddedServer.of_checkout().program("pgbench"),
                *options,
                "--log",
                f"--log-prefix={folder}/log",
                f"--file={SQL / 'bench' / script}",
                database.url,
            ],
            env={**os.environ, "PGOPTIONS": f"-c role={actor.role or 'none'} -c timezone=UTC"},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "ERROR" in line or "error" in line] or [done.stderr.strip()]
            raise WorkbookError(f"pgbench stopped at {script}: {said[0]}; run the statement by hand to see more.")
        lines = [line.split() for log in sorted(Path(folder).iterdir()) for line in log.read_text().splitlines()]
    # The third column is the latency in microseconds, the fifth and sixth when the transaction ended.
    lines.sort(key=lambda line: (int(line[4]), int(line[5])))
    (per_second,) = re.findall(r"^tps = ([\d.]+)", done.stdout, flags=re.MULTILINE)
    return Load(float(per_second), [int(line[2]) / 1000 for line in lines])

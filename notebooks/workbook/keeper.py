"""Stops an embedded server that nobody uses any more; a process of its own, which runs beside the server.

It is run by its path, because the whole package would take ten times the memory.

    python keeper.py FOLDER NAME LINGER_S LOCK

FOLDER is the server's home and NAME its files in there, LINGER_S for how long nobody has to use it, and LOCK the number of the
inherited, locked file that says that this server has a keeper.
"""

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg


def keep(home: Path, name: str, linger_s: float, lock: int) -> None:
    """Watch the server until it is stopped, by whomever.

    Raises:
        FileNotFoundError: its folder has gone.
    """
    data, socket, users = (home / f"{what}-{name}" for what in ("data", "socket", "users"))
    used_at = time.monotonic()
    while True:
        time.sleep(min(5, linger_s / 4))
        # Whoever starts or stops the server holds this lock meanwhile.
        with open(home / "lock") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            pid = running_pid(data)
            if pid is None:
                os.close(lock)
                return
            with open(users) as joined:
                try:
                    # Whoever comes now waits here, and then starts the server again.
                    fcntl.flock(joined, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    is_used = is_connected(socket)
                except BlockingIOError:
                    is_used = True
                if is_used:
                    used_at = time.monotonic()
                elif time.monotonic() - used_at >= linger_s:
                    with suppress(psutil.Error):
                        server = psutil.Process(pid)
                        server.send_signal(signal.SIGINT)
                        server.wait(60)


def running_pid(data: Path) -> int | None:
    """Return the server's process, or None where it has ended; its number may be an unrelated process's by then."""
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        return process.pid if process.name() == "postgres" and Path(process.cwd()) == data else None
    except (OSError, IndexError, ValueError, psutil.Error):
        return None


def is_connected(socket: Path) -> bool:
    """Tell whether somebody is connected, who need not have said that they use the server."""
    others = """select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
        -- A commit that waits for a replica does not notice that its client has gone.
        and wait_event is distinct from 'SyncRep'"""
    try:
        with psycopg.connect(host=str(socket), user="workbook", dbname="postgres", connect_timeout=10) as connection:
            return connection.execute(others).fetchone() != (0,)
    except psycopg.OperationalError:
        # It is about to start or to stop, or has no place left.
        return True


if __name__ == "__main__" and os.fork() == 0:
    os.setsid()
    with suppress(FileNotFoundError):
        keep(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))

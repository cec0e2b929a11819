"""A disk that fills up during a rollout: v1 goes on, and the rollout too once there is room, or it is taken away."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from workbook import ADMIN, Database, clone, rehearsal, rollout, sql
from workbook.database import OWNER_ROLE
from workbook.fixes import all_fixes
from workbook.rollout import command
from workbook.server import EmbeddedServer

pytestmark = pytest.mark.slow

SMALL_MB, LARGE_MB = 44, 200


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of a few megabytes that the server may write to."""
    own = EmbeddedServer.of_checkout()
    folder = Path("/var/tmp") / tmp_path_factory.mktemp("small").name
    folder.mkdir()
    size = f"size={SMALL_MB}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("no file system may be mounted here")
    if own.account:
        subprocess.run(["chown", f"{own.account.uid}:{own.account.gid}", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


@pytest.fixture
def databases(small_disk: Path) -> Iterator[tuple[Database, Database]]:
    """v1 with some rows, on that disk and elsewhere."""
    template = clone("v1")
    template.run(sql("bench/load_v1.sql"), ADMIN, first=1, last=700)
    name = f"{template.name}_small"
    with template.connect() as admin:
        admin.execute(f"create tablespace {name} location '{small_disk}'")
    with psycopg.connect(clone("v1").url, autocommit=True) as admin:
        admin.execute(f'create database "{name}" owner {OWNER_ROLE} template "{template.name}" tablespace {name}')
    found = Database(name)
    yield found, template
    with template.connect() as admin:
        admin.execute(f'drop database "{name}" with (force)')
        admin.execute(f"drop tablespace {name}")


def test_copy_stops_and_goes_on_when_there_is_room(
    databases: tuple[Database, Database], small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database, fixed = databases
    since = str(database.value("select now()", ADMIN))
    monkeypatch.setenv("DATABASE_URL", rehearsal.owner_url(database))
    assert command.main("start") == 0
    assert command.main("copy") == 2
    assert "disk is full" in capsys.readouterr().err
    # v1 goes on.
    assert database.value("select count(*) from public.messages", ADMIN) > 70_000
    subprocess.run(["mount", "-o", f"remount,size={LARGE_MB}m", small_disk], check=True)
    assert command.main("copy") == command.main("switch") == 0
    fixed.apply_up_to(all_fixes()[-1].number)
    assert rehearsal.differences(database, fixed, since) == []


def test_abort_gives_the_room_back(databases: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    database, _ = databases
    before = rehearsal.definition(database)
    monkeypatch.setenv("DATABASE_URL", rehearsal.owner_url(database))
    assert command.main("start") == 0
    assert command.main("copy") == 2
    assert command.main("abort") == 0
    assert rehearsal.definition(database) == before
    with rehearsal.runner(database) as run:
        assert rollout.status(run).phase == "none"

"""The rollout as files of plain SQL, for those who may run psql and nothing else."""

from pathlib import Path

from ..errors import WorkbookError
from .expand import GHOSTS, expand_script
from .plan import look
from .runner import Refused, Runner

_HEAD = """-- {title}
-- Run as the owner of the schema, over a direct connection: psql -X -v ON_ERROR_STOP=1 "$DATABASE_URL" -f {name}
-- {note}
\\set ON_ERROR_STOP on
set role {owner};
set statement_timeout = 0;
set row_security = off;
set timezone = 'UTC';
set client_min_messages = warning;
set client_encoding = 'UTF8';
set standard_conforming_strings = on;
set datestyle = 'ISO';
set intervalstyle = 'postgres';
set default_transaction_isolation = 'read committed';
set default_transaction_read_only = off;
set vacuum_cost_delay = '2ms';
"""


def write_sql(runner: Runner, folder: Path) -> list[Path]:
    """Write what each step does on this database, in order, into a folder.

    Returns:
        The files.

    Raises:
        WorkbookError: something stops the rollout, or the folder holds files of that name already.
    """
    if runner.phase != "none":
        raise Refused(f"The rollout is {runner.phase} already; the files are written before the start.")
    stops, wanted = look(runner)
    if wanted is None:
        raise Refused(f"The rollout cannot start: {' '.join(map(str, stops)).removesuffix('.')}.")
    owner = runner.one("select quote_ident(current_user)")
    vacuum = "\n".join(f"vacuum (analyze) rollout_new.{table};" for table in GHOSTS)
    files = {
        "1_start.sql": (
            "Start: makes v2 beside v1, and has every change of v1 noted",
            "Can be run again only after abort.sql.",
            f"begin;\n{expand_script(runner, wanted)}\ncommit;\ncall rollout.start_watching();\n",
        ),
        "2_copy.sql": (
            "Copy: fills v2 by batches, with pauses, and makes the foreign keys",
            "Can be stopped and run again. Its two numbers are the pages of a batch and the seconds after it.",
            "set default_transaction_isolation = 'repeatable read';\ncall rollout.copy_all(32, 0.05);\n"
            f"set default_transaction_isolation = 'read committed';\n{vacuum}\nselect rollout.link();\n",
        ),
        "3_switch.sql": (
            "Switch: clients have v2 after this",
            "Can be run again when it did not get its locks. Until then, abort.sql leads back.",
            "call rollout.switch_patiently();\nselect phase, switched_at from rollout.state;\n",
        ),
        "4_back.sql": (
            "Back: clients have v1 again, with what they wrote into v2",
            "Until 5_finish.sql has been run. What v1 has no place for lies in rollout_kept.",
            "call rollout.back_patiently();\ncall rollout.stop_watching();\nselect rollout.clear();\n"
            "select table_name, reason, count(*) from rollout_kept.rows group by 1, 2 order by 1, 2;\n",
        ),
        "5_finish.sql": (
            "Finish: drops v1's tables, and with them the way back",
            "Take a backup before. The last statement is for when no old client is left.",
            "call rollout.stop_watching();\nselect rollout.drop_v1();\n-- drop schema compat_v1 cascade;\n",
        ),
        "abort.sql": (
            "Abort: takes away all that the rollout has made, before the switch",
            "Can be run again.",
            "call rollout.stop_watching();\nselect rollout.clear();\n",
        ),
        "status.sql": (
            "Status: where the rollout is",
            "Reads only.",
            "select phase, started_at, switched_at from rollout.state;\nselect * from rollout.progress order by place;\n"
            "select count(*) as changes_noted from rollout.dirty;\n",
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        raise WorkbookError(f"{folder / taken[0]} is there already; give another folder, or remove it.")
    for name, (title, note, body) in files.items():
        (folder / name).write_text(_HEAD.format(title=title, name=name, note=note, owner=owner) + body)
    return [folder / name for name in files]

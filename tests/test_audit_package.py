"""The audit where there is no workbook: installed from the checkout into an environment of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workbook.paths import ROOT

pytestmark = pytest.mark.slow

FOREIGN = ("workbook", "pandas", "matplotlib", "IPython", "sqlalchemy", "jinja2", "sqlparse", "numpy")
SHIPPED = ("sql/audit.sql", "data/issues.csv", "data/beyond.csv", "data/categories.csv", "audit.css")


def run(*command: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as somebody would who has no checkout."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DATABASE_URL", "VIRTUAL_ENV")}
    return subprocess.run(command, cwd=folder, env={**own, **environment}, capture_output=True, text=True)


def copy_of_checkout(folder: Path) -> Path:
    """Copy what the package is built from, so that the build leaves nothing in the checkout."""
    hidden = shutil.ignore_patterns("__pycache__", "*.ipynb", "benchmarks")
    for name in ("pyproject.toml", "requirements.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("notebooks", "sql", "data"):
        shutil.copytree(ROOT / name, folder / name, ignore=hidden)
    return folder


def installed(folder: Path, *how: str) -> tuple[Path, Path]:
    """Install a copy of the checkout into a new environment; return the environment and the copy."""
    checkout = folder / "checkout"
    checkout.mkdir()
    copy_of_checkout(checkout)
    subprocess.run([sys.executable, "-m", "venv", folder / "bare"], check=True)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    done = run(folder / "bare/bin/python", *pip, *how, checkout, folder=folder)
    if re.search(r"NewConnectionError|Could not find a version|Network is unreachable|Max retries", done.stderr):
        pytest.skip("pip does not reach its registry")
    assert done.returncode == 0, done.stderr
    return folder / "bare", checkout


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the audit, and nothing of the checkout beside it."""
    environment, checkout = installed(tmp_path_factory.mktemp("wheel"))
    shutil.rmtree(checkout)
    return environment


@pytest.fixture(scope="module")
def database() -> str:
    """The address of a database that the audit has something to say of."""
    import workbook as wb

    return wb.clone("v1").url


def test_it_needs_psycopg_alone(bare: Path, tmp_path: Path) -> None:
    done = run(bare / "bin/python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check", folder=tmp_path)
    names = {package["name"].lower().replace("_", "-") for package in json.loads(done.stdout)}
    assert {"psycopg", "psycopg-binary", "schema-workbook"} <= names
    assert names <= {"psycopg", "psycopg-binary", "schema-workbook", "typing-extensions", "tzdata", "pip", "setuptools"}


def test_what_it_reads_is_there(bare: Path, tmp_path: Path) -> None:
    program = (
        "import json, schema_audit.paths as p; from pathlib import Path; "
        "print(json.dumps([str(p.CHECKOUT), str(p.SQL.parent), len(p.read_csv(p.DATA / 'issues.csv')), p.VERSION]))"
    )
    checkout, package, issues, version = json.loads(run(bare / "bin/python", "-c", program, folder=tmp_path).stdout)
    assert checkout == "None" and issues == len((ROOT / "data/issues.csv").read_text().splitlines()) - 1
    for name in SHIPPED:
        of_checkout = ROOT / ("notebooks/schema_audit" if name.endswith(".css") else "") / name
        assert (Path(package) / name).read_bytes() == of_checkout.read_bytes()
    assert run(bare / "bin/schema-audit", "--version", folder=tmp_path).stdout.strip() == f"schema-audit {version}"


def test_the_extra_is_what_the_workbook_needs(bare: Path, tmp_path: Path) -> None:
    program = "import importlib.metadata as m; print('\\n'.join(m.requires('schema-workbook')))"
    lines = run(bare / "bin/python", "-c", program, folder=tmp_path).stdout.splitlines()
    wanted = [line for line in (ROOT / "requirements.in").read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if "extra ==" not in line] == ["psycopg[binary]"]
    assert [line.partition(";")[0].strip() for line in lines if "extra ==" in line] == wanted


def test_it_audits(bare: Path, database: str, tmp_path: Path) -> None:
    done = run(bare / "bin/schema-audit", database, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert sorted(path.name for path in (tmp_path / "schema-audit").iterdir()) == ["audit.html", "audit.json", "audit.sarif"]
    assert run(bare / "bin/schema-audit", "postgresql://nobody@127.0.0.1:1/nothing", folder=tmp_path).returncode == 2


def test_no_library_of_the_workbook_is_imported(database: str, tmp_path: Path) -> None:
    """Also in the workbook's own environment, where these libraries are: they take two seconds to import."""
    program = (
        "import sys; from schema_audit.command import main; "
        f"status = main([{database!r}, '--output', 'report']); print(status, *sys.modules, file=sys.stderr)"
    )
    done = run(sys.executable, "-c", program, folder=tmp_path, PYTHONPATH=str(ROOT / "notebooks"))
    status, *modules = done.stderr.split()
    assert status == "1"
    assert "psycopg" in modules and not set(FOREIGN) & {module.partition(".")[0] for module in modules}


def test_installed_for_development_it_reads_the_checkout(tmp_path: Path) -> None:
    environment, checkout = installed(tmp_path, "--editable")
    program = "import schema_audit.paths as p; print(p.CHECKOUT, p.SQL / 'audit.sql', len(p.read_csv(p.DATA / 'issues.csv')))"
    found, sql, issues = run(environment / "bin/python", "-c", program, folder=tmp_path).stdout.split()
    assert Path(found) == checkout and Path(sql) == checkout / "sql/audit.sql" and int(issues) > 0
    assert run(environment / "bin/schema-audit", "--version", folder=tmp_path).returncode == 0

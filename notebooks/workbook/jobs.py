"""The maintenance jobs, read from data/jobs.csv: what to schedule, and how to notice that one did not run."""

from functools import cache

from IPython.display import Markdown

from .actors import ADMIN
from .database import Database
from .paths import DATA, read_csv
from .tables import Table


@cache
def declared() -> tuple[dict[str, str], ...]:
    """Return the rows of data/jobs.csv, one for each job that runs by the clock."""
    return tuple(read_csv(DATA / "jobs.csv"))


def table() -> Table:
    """Return the jobs as a reader sees them: job, what it does, when (UTC), as whom, and what it locks."""
    columns = ["job", "does", "when", "as", "locks"]
    return Table.of([tuple(job[column] for column in columns) for job in declared()], columns)


def schedule() -> str:
    """Return the statements that put the jobs into pg_cron, one a job; pg_cron counts in UTC."""
    return "\n".join(f"select cron.schedule('{job['job']}', '{job['schedule']}', '{job['statement']}');" for job in declared())


def overdue() -> str:
    """Return the query that finds the jobs which have not run well for too long, or never."""
    values = ",\n    ".join(f"('{job['job']}', interval '{job['overdue_after']}')" for job in declared())
    return f"""select wanted.job, max(logs.created_at) as last_run
from (values
    {values}
) as wanted (job, overdue_after)
left join public.logs
    on logs.metadata @> jsonb_build_object('job', wanted.job, 'status', 'ok')
group by wanted.job, wanted.overdue_after
having coalesce(max(logs.created_at) < now() - wanted.overdue_after, true)
order by wanted.job"""


def show_sql(text: str) -> Markdown:
    """Show statements as a block of SQL."""
    return Markdown(f"```sql\n{text}\n```")


def find_overdue(database: Database) -> list[str]:
    """Return the names of the overdue jobs of a database."""
    return database.run(overdue(), ADMIN)["job"].tolist()

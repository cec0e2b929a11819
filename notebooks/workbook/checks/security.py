"""Checks of the review's chapter Security: notebook 04_security."""

import psycopg

from ..actors import ADMIN, ANNA, ANON, SERVICE
from ..database import Database
from .trying import accepts, assistant, check, completion, message


@check(24)
def logs_writers(database: Database) -> str | None:
    """Look whether a client holds INSERT on logs; the service role must be able to write them."""
    if database.value("select has_table_privilege('authenticated', 'public.logs', 'insert')"):
        return "clients hold INSERT on logs"
    log = "insert into public.logs (level, event_type) values ('info', 'user_logout')"
    return None if accepts(database, log) else "the service role cannot write logs"


@check(25)
def profile_email(database: Database) -> str | None:
    """Sign somebody up with no address, an empty one and a blank one, and then with a real one, which must do."""
    sign_up = "insert into auth.users (id, email) values (:cem, :email)"
    names = {None: "null", "": "empty", " \t": "blank"}
    taken = [name for email, name in names.items() if accepts(database, sign_up, ADMIN, email=email)]
    if taken:
        return f"a profile with an address that is {' or '.join(taken)}"
    return None if accepts(database, sign_up, ADMIN, email="cem@example.org") else "nobody can sign up"


@check(26)
def search_path(database: Database) -> str | None:
    """Call a job with a temporary table and temporary types in the way that run code of the caller's."""
    for actor, statements in (
        (SERVICE, ["select public.delete_old_logs()", message(assistant(database))]),
        (ANNA, [message(), completion(database)]),
    ):
        with database.transaction(actor) as transaction:
            transaction.run("""
                create temporary table logs (level text, event_type text, metadata jsonb, created_at timestamptz);
                grant all on logs to public;
                create function pg_temp.note() returns boolean language plpgsql as $$ begin
                    if current_user not in ('authenticated', 'service_role') then
                        perform set_config('attack.ran_as', current_user, false);
                    end if;
                    return true; end $$;
                create function pg_temp.attack() returns trigger language plpgsql
                    as $$ begin perform pg_temp.note(); return new; end $$;
                create trigger attack before insert on logs for each row execute function pg_temp.attack()""")
            for name in ("uuid", "text", "jsonb", "json", "timestamptz", "regclass", "date", "int4", "int8", "bool", "name"):
                transaction.run(f"create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.note())")
            for statement in statements:
                transaction.run(statement)
            if ran_as := transaction.value("select current_setting('attack.ran_as', true)"):
                return f"a caller's code runs as {ran_as}"
    return None


@check(27)
def profile_policies(database: Database) -> str | None:
    """Let Anna delete her profile and insert a better one."""
    restart = """
        delete from public.profiles where id = :anna;
        insert into public.profiles (id, email, week_reset_date) values (:anna, 'anna@example.org', now() + interval '1 year')"""
    return "a learner starts again with a fresh profile" if accepts(database, restart, ANNA) else None


@check(28)
def public_scenarios(database: Database) -> str | None:
    """Read an opening message as a visitor; see inactive scenarios; delete one through the view."""
    database.run("update public.scenarios set is_active = false where id = 2", SERVICE)
    if accepts(database, "select initial_message_main from public.scenarios", ANON):
        return "a visitor reads the opening messages"
    try:
        seen = database.run("select title from public.public_scenarios order by 1", ANON)["title"].tolist()
    except psycopg.Error:
        return "a visitor sees no scenario at all"
    if "High School Party" in seen or "Marketplace Encounter" not in seen:
        return f"a visitor sees {', '.join(seen) or 'nothing'}"
    changed = [verb for verb in ("delete from", "insert into") if accepts(database, _through_view(verb), ANON)]
    return "a visitor writes through the view" if changed else None


def _through_view(verb: str) -> str:
    return f"{verb} public.public_scenarios " + ("where id = 2" if verb == "delete from" else "(title, emoji) values ('x', 'x')")

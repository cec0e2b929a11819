#!/usr/bin/env bash
# What the stand-in for the official PostgreSQL image runs. It honours POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB
# and PGDATA as the official entrypoint does, which is all that docker-compose.yml needs, and nothing beyond that.
set -euo pipefail

# A command that starts with an option is meant for the server.
if [[ $# -eq 0 || $1 == -* ]]; then
    set -- postgres "$@"
fi
if [[ $1 != postgres ]]; then
    exec "$@"
fi

# A new volume belongs to root, and the server refuses to run as root.
if [[ $(id -u) == 0 ]]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown -R postgres:postgres "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [[ ! -s $PGDATA/PG_VERSION ]]; then
    if [[ -z ${POSTGRES_PASSWORD:-} ]]; then
        echo "The database has no password for its superuser; set POSTGRES_PASSWORD and start the container again." >&2
        exit 1
    fi
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}

    # The password goes through a pipe, so that no file and no process list ever shows it.
    initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD")
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    # Everything comes through Docker's network; only connections from inside the container are trusted.
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"

    # The command's own settings hold for this server too, but it listens on the socket only: who waits for the port
    # must not see a server that is about to stop.
    pg_ctl start --wait --options="$(printf '%q ' "${@:2}" -c listen_addresses=)"
    if [[ $database != postgres ]]; then
        psql --no-psqlrc --quiet --username="$user" --dbname=postgres --set=ON_ERROR_STOP=1 --set=name="$database" \
            <<<'create database :"name"'
    fi
    pg_ctl stop --wait --mode=fast
fi

exec "$@"

#!/usr/bin/env bash
# Proves that docker-compose.yml works: its server comes up, all tests pass on it, and nothing of it stays.
#
#   tests/docker/run.sh               with the image that docker-compose.yml names
#   STAND_IN=1 tests/docker/run.sh    where that image is not here and cannot be pulled, with one made from Debian
#                                     packages; this needs root and debootstrap
#
# DEBIAN_RELEASE and DEBIAN_MIRROR say where the packages come from.
# The script needs a Docker engine that already runs, and installs nothing outside it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# trixie is the Debian release whose PostgreSQL is 17.
release=${DEBIAN_RELEASE:-trixie}
mirror=${DEBIAN_MIRROR:-https://deb.debian.org/debian}
stand_in_label=schema-workbook.stand-in

say() { echo "docker test: $*"; }
fail() {
    echo "docker test: $*" >&2
    exit 1
}

if ! command -v docker >/dev/null; then
    say "skipped: no Docker engine answers; install Docker, start it and run this again."
    exit 0
fi
if ! docker info >/dev/null 2>&1; then
    say "skipped: no Docker engine answers; start it, or see with docker info why it does not."
    exit 0
fi
docker compose version >/dev/null 2>&1 \
    || fail "Docker has no compose command; install its Compose plugin, version 2.17 or newer."

# --- Apart from everything else on this machine ---------------------------------------------------------------

# A project name of its own gives containers, network and volume of its own.
project=schema-workbook-test-$$
# What the reader has set, in the environment or in .env, must not decide what is tested: the file's defaults are.
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_ENV_FILES POSTGRES_PASSWORD POSTGRES_PORT REPLICA_PORT JUPYTER_TOKEN JUPYTER_PORT
compose() { docker compose --project-name "$project" --file docker-compose.yml --env-file /dev/null "$@"; }

# Not 54317, where the reader's own server may be.
for port in {54400..54499}; do
    # Who answers has the port.
    (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done
export POSTGRES_PORT=$port REPLICA_PORT=$((port + 100))

work=$(mktemp -d "${TMPDIR:-/var/tmp}/schema-workbook-docker.XXXXXX")
log=$work/log
tagged=

clean_up() {
    status=$?
    trap - EXIT
    # A second Ctrl-C must not leave containers behind.
    trap '' INT TERM
    if ! compose --profile replica down --volumes --timeout=30 >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        say "the containers of $project are still there; remove them with docker compose --project-name $project down --volumes." >&2
        status=1
    fi
    # Under the official name, the stand-in would later be taken for the official image.
    if [[ -n $tagged ]]; then
        docker image rm "$tagged" >/dev/null || true
    fi
    # Not across a mount, should debootstrap have left one.
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- The file and its image -----------------------------------------------------------------------------------

compose --profile lab --profile replica config --quiet || fail "docker-compose.yml is not valid; correct what is said above."
image=$(compose config --images)
[[ -n $image && $image != *[[:space:]]* ]] || fail "docker-compose.yml no longer has exactly one image without a profile; adapt $0 to it."

# Make the stand-in from Debian packages, and give it the name that docker-compose.yml expects.
build_stand_in() {
    local base=schema-workbook-debian:$release own major
    major=${image##*:}
    major=${major%%[!0-9]*}
    [[ -n $major ]] || fail "The tag of $image does not begin with PostgreSQL's version; adapt $0 to it."
    own=schema-workbook-stand-in:$major

    # One run at a time, until its end: all share the official name, and the first to end takes it away.
    exec 9>"${TMPDIR:-/var/tmp}/schema-workbook-stand-in.lock"
    flock 9

    # The bare Debian is kept: it takes a minute, and does not depend on this checkout.
    if ! docker image inspect "$base" >/dev/null 2>&1; then
        [[ $(id -u) == 0 ]] || fail "The stand-in is built with debootstrap, which only root can do; run this as root."
        command -v debootstrap >/dev/null || fail "The stand-in is built with debootstrap; install it and run this again."
        say "building a bare Debian $release from $mirror"
        # The certificates are for a mirror that is reached over https.
        debootstrap --variant=minbase --include=ca-certificates "$release" "$work/root" "$mirror" >"$log" 2>&1 || {
            tail -n 5 "$log" >&2
            fail "Debian $release cannot be fetched from $mirror; check that, or set DEBIAN_MIRROR."
        }
        tar --directory="$work/root" --create --one-file-system . | docker import - "$base" >/dev/null \
            || fail "Docker does not take in the bare Debian; see above why, and whether its disk is full."
    fi

    say "building a stand-in for $image from Debian's PostgreSQL $major"
    # With the machine's own network, whose names and routes an engine's default network may lack.
    docker build --network=host --build-arg BASE="$base" --build-arg DEBIAN_MIRROR="$mirror" \
        --build-arg DEBIAN_RELEASE="$release" --build-arg PG_MAJOR="$major" --tag "$own" tests/docker >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        fail "The stand-in cannot be built, for the reason above; choose its packages with DEBIAN_RELEASE and DEBIAN_MIRROR."
    }
    docker tag "$own" "$image"
    tagged=$image
}

# What the image says of itself: nothing where it is the official one, or is not here.
stand_in() { docker image inspect --format "{{ index .Config.Labels \"$stand_in_label\" }}" "$image" 2>/dev/null || true; }

# An interrupted run may have left a stand-in under the official name; it counts as not here.
if ! docker image inspect "$image" >/dev/null 2>&1 || [[ -n $(stand_in) ]]; then
    if ! docker pull --quiet "$image" >"$log" 2>&1; then
        if [[ ${STAND_IN:-} != 1 ]]; then
            tail -n 1 "$log" >&2
            fail "$image is not here and cannot be pulled; connect to its registry, or take a stand-in with STAND_IN=1."
        fi
        build_stand_in
    fi
fi
stand_in=$(stand_in)
if [[ -n $stand_in ]]; then
    say "this is not $image itself, but a stand-in: $stand_in"
fi

# --- The tests ------------------------------------------------------------------------------------------------

come_up() {
    compose up --detach --wait db || {
        compose logs --no-color --no-log-prefix --tail=15 db >&2 || true
        fail "The server of docker-compose.yml does not come up; see its last lines above."
    }
}

come_up
say "$(compose exec --no-TTY db postgres --version) is healthy on port $port"

# The volume is where the server keeps its data, or all would be gone after the first docker compose down.
in_database() { compose exec --no-TTY db psql --no-psqlrc --quiet --tuples-only --no-align --username=postgres --command="$1"; }
in_database "comment on database postgres is 'kept'"
compose down --timeout=30
come_up
kept=$(in_database "select shobj_description(oid, 'pg_database') from pg_database where datname = 'postgres'")
[[ $kept == kept ]] || fail "docker compose down loses the data; mount the volume where the image keeps them."

# Its replica follows it, and takes no writes.
compose --profile replica up --detach --wait || {
    compose --profile replica logs --no-color --no-log-prefix --tail=15 replica >&2 || true
    fail "The replica of docker-compose.yml does not come up; see its last lines above."
}
in_replica() { compose --profile replica exec --no-TTY replica psql --no-psqlrc --host=127.0.0.1 --tuples-only --no-align --command="$1"; }
in_database "comment on database postgres is 'followed'"
for _ in {1..50}; do
    followed=$(in_replica "select shobj_description(oid, 'pg_database') from pg_database where datname = 'postgres'")
    [[ $followed == followed ]] && break
    sleep 0.2
done
[[ $followed == followed ]] || fail "The replica of docker-compose.yml does not follow its server; read what it logs."
[[ $(in_replica "select pg_is_in_recovery()") == t ]] || fail "The replica of docker-compose.yml is no replica; read what it logs."
compose --profile replica rm --force --stop replica >"$log" 2>&1 || fail "The replica cannot be removed; see docker compose ps."
in_database "select pg_drop_replication_slot('replica')" >"$log" || fail "The replica's slot cannot be dropped; see its server's log."

# Without the lock, which a process that outlives the tests would hold on to.
DATABASE_URL=postgresql://postgres:workbook@127.0.0.1:$port/postgres make test 9>&- \
    || fail "Tests fail on the server of docker-compose.yml; read their output above."

say "passed${stand_in:+ (with a stand-in)}"

#!/usr/bin/env bash
# A PostgreSQL server of its own, from Debian's packages: own data, own port, no service of the machine.
#
#   postgres.sh start DIR PORT    install what is missing (root), make the database where there is none, start the server
#   postgres.sh kill DIR          SIGKILL for all of it: what was not on the disk is lost
#   postgres.sh stop DIR          end it in peace
#
# Database and user are "hwnas", the password is the one in DIR/password, over 127.0.0.1:PORT. As root the server runs
# as the user postgres, who must be able to reach DIR.
set -euo pipefail
action=${1:?start, kill or stop} dir=$(realpath -m "${2:?a folder}")

program() { # name, arguments...
    local found=(/usr/lib/postgresql/*/bin/"$1")
    shift
    if ((EUID == 0)); then (cd "$dir" && runuser -u postgres -- "${found[-1]}" "$@"); else "${found[-1]}" "$@"; fi
}

case $action in
start)
    port=${3:?a port}
    ((EUID != 0)) || "$(dirname "${BASH_SOURCE[0]}")/packages.sh" '/usr/lib/postgresql/*/bin/initdb' -- postgresql
    mkdir -p "$dir"
    if [[ ! -e $dir/data ]]; then
        head -c 9 /dev/urandom | base64 >"$dir/password"
        ((EUID != 0)) || chown -R postgres "$dir"
        program initdb -D "$dir/data" -U hwnas -A scram-sha-256 --pwfile="$dir/password" -E UTF8 --no-locale >"$dir/initdb.log"
        ((EUID != 0)) || chown postgres "$dir/initdb.log"
    fi
    # After a kill, what is left of the old server ends by itself, and until then no other can start here.
    tries=20
    until program pg_ctl start -w -t 60 -s -D "$dir/data" -l "$dir/server.log" \
        -o "-p $port -c unix_socket_directories= -c listen_addresses=127.0.0.1 -c shared_buffers=32MB" 2>"$dir/start.log"; do
        ((--tries)) || { cat "$dir/start.log" "$dir/server.log" >&2; exit 1; }
        sleep 0.5
    done
    export PGPASSWORD
    PGPASSWORD=$(cat "$dir/password")
    program psql -h 127.0.0.1 -p "$port" -U hwnas -d postgres -Atqc \
        "SELECT 1 FROM pg_database WHERE datname = 'hwnas'" | grep -q 1 ||
        program createdb -h 127.0.0.1 -p "$port" -U hwnas hwnas
    ;;
kill)
    server=$(head -n 1 "$dir/data/postmaster.pid")
    # shellcheck disable=SC2046
    kill -KILL "$server" $(pgrep -P "$server") 2>/dev/null || true
    rm -f "$dir/data/postmaster.pid"  # its number may be a zombie's for a while, which the next start takes for a server
    ;;
stop)
    program pg_ctl stop -s -w -m fast -D "$dir/data"
    ;;
*)
    echo "postgres.sh: given $action; accepted: start, kill, stop" >&2
    exit 2
    ;;
esac

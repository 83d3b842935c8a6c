# The whole life of a throwaway server. $1: directory of PostgreSQL's programs, $2: directory of the
# server. Standard input belongs to the process that uses the server: each line asks for a restart,
# its end for the end. It ends with that process, however that process ends.

programs=$1
directory=$2

# Nothing may end this script before it has stopped the server and removed the directory.
trap '' HUP INT TERM PIPE

create() {
    "$programs/initdb" --pgdata="$directory/data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C --no-sync &&
        cat "$directory/settings" >>"$directory/data/postgresql.conf"
}

control() {
    "$programs/pg_ctl" --pgdata="$directory/data" --log="$directory/log" \
        --mode=immediate --wait --timeout=60 "$1"
}

report() {
    if "$@" >>"$directory/log" 2>&1; then
        echo ready
    else
        echo failed
    fi
}

create_and_start() {
    create && control start
}

report create_and_start
while read -r _; do
    report control restart
done
control stop >/dev/null 2>&1
rm -rf "$directory"

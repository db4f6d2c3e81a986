# Runs "$@" until it ends or standard input ends, whichever comes first. Standard input is a pipe: the owner holds its
# other end and never writes to it, so that it ends with the owner, also after kill -9. Standard output is a locked
# file. "$@" keeps it open as number 4: while it is locked, the program runs.

# SIGINT is the fast shutdown of Postgres. It is repeated, because a program that has just begun loses it: a background
# process of a shell ignores SIGINT until it sets up a handler. The number of tries is limited, because a dead process
# still accepts signals until its parent waits for it.
interrupt() {
    tries=50
    while [ "$tries" -gt 0 ] && kill -INT "$1" 2>/dev/null; do
        tries=$((tries - 1))
        sleep 0.2 || sleep 1
    done
}

server=
watcher=
trap 'interrupt "${server:-$!}" >/dev/null 2>&1 &' HUP INT TERM

# The shell gives background commands /dev/null as standard input: the pipe is duplicated as number 3.
exec 3<&0 </dev/null
"$@" 3<&- 4>&1 1>&2 &
server=$!
{
    read -r _ <&3
    interrupt "$server"
} >/dev/null 2>&1 &
watcher=$!
exec 3<&-

# A trapped signal ends `wait` before the server has ended.
while :; do
    wait "$server"
    status=$?
    kill -0 "$server" 2>/dev/null || break
done
kill "$watcher" 2>/dev/null
wait "$watcher" 2>/dev/null
exit "$status"

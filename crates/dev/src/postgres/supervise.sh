# Runs "$@" until it ends or standard input does, whichever comes first. Our owner holds the other
# end of that pipe and never writes: however it dies, kill -9 included, the pipe ends and so do we.
# Standard output is a locked file which "$@" keeps open as number 4: locked means still running.

# SIGINT is Postgres' fast shutdown. Repeated, for it is lost on a program which has only just begun:
# what a shell runs in the background ignores SIGINT until it sets up a handler. Not for ever, for a
# dead process which nobody waits for still takes signals.
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

# Commands in the background would get /dev/null in place of the pipe, so it goes to number 3.
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

# What each trial uses. /trial/stage counts the boots, from 0.
stage=$(cat /trial/stage 2>/dev/null || echo 0)

# next WHAT: the last words of this boot.
next() {
    echo $((stage + 1)) >/trial/stage
    sync
    echo "more: $1"
}

# check WORDS COMMAND…: it succeeds.
check() {
    words=$1
    shift
    if "$@" >/tmp/said 2>&1; then
        echo "ok: $words"
    else
        echo "FAILED: $words ($*: $(tr '\n' '|' </tmp/said))"
    fi
}

# within SECONDS WORDS COMMAND…: it succeeds before so long.
within() {
    until=$(($(date +%s) + $1))
    words=$2
    shift 2
    while ! "$@" >/tmp/said 2>&1; do
        if [ "$(date +%s)" -ge $until ]; then
            echo "FAILED: $words, not even late ($*: $(tr '\n' '|' </tmp/said))"
            return 1
        fi
        # The least that a shell can wait; what is waited for comes from another program.
        sleep 0.2
    done
    echo "ok: $words"
}

# says TEXT COMMAND…: it prints just that.
says() {
    text=$1
    shift
    said=$("$@" 2>&1)
    [ "$said" = "$text" ] || { echo "$said"; return 1; }
}

# has TEXT COMMAND…: it prints that among other things.
has() {
    text=$1
    shift
    "$@" 2>&1 | tee /tmp/all | grep -q -e "$text" || { cat /tmp/all; return 1; }
}

# state RUN TEXT: what kin says of it.
state() {
    has "$2" kin why "$1"
}

main_pid() {
    systemctl show -p MainPID --value kin
}

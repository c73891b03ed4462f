# kin as a service of the machine: what systemd does to it leaves runs alone.
. /trial/lib.sh

case $stage in
0)
    systemctl enable --now kin >/dev/null 2>&1
    check "the unit stands once it says so" systemctl is-active --quiet kin
    check "a command uses its server" says hello kin exec -- echo hello
    check "which is the unit's own" has "kin daemon" systemctl status --no-pager kin
    run=$(kin exec --detach --id long -- sleep 100000)
    before=$(main_pid)
    kill -KILL "$before"
    within 30 "a killed front is started again by systemd" sh -c "test \$(systemctl show -p MainPID --value kin) -ne $before && systemctl is-active --quiet kin"
    within 30 "and its guard is whole again" has '"guard": *"whole"' kin doctor --json
    check "its run goes on" state "$run" "It has been running"
    check "the unit is restarted" systemctl restart kin
    check "and its run goes on still" has '"state":"running"' kin ps --json=lines "$run"
    pid=$(kin ps --json=lines "$run" | sed 's/.*"pid":\([0-9]*\).*/\1/')
    check "the unit is stopped" systemctl stop kin
    check "and leaves the run, as kin does by default" kill -0 "$pid"
    check "the unit comes back" systemctl start kin
    check "and has the run with the same process" has "\"pid\":$pid," kin ps --json=lines "$run"
    kin signal USR1 "$run" >/dev/null
    kin wait "$run" >/dev/null
    check "and knows how it ended" has '"signal":10,' kin log --json=lines
    kin exec --detach --id atend -- sh -c 'trap "echo told; exit 7" TERM; echo up; while :; do sleep 1; done' >/trial/run
    within 20 "a run that will be told of the machine's end" has up kin jl "$(cat /trial/run)"
    next reboots
    systemctl reboot
    ;;
1)
    check "the unit is up after the boot" systemctl is-active --quiet kin
    run=$(cat /trial/run)
    check "at the end of the machine runs are stopped as they wish, and their exit is kept" has '"exit_code":7,' kin log --json=lines
    check "and their last words" has told kin jl "$run"
    next none
    systemctl poweroff --force --force
    ;;
esac

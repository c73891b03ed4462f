# The power goes while runs are accepted: what was promised stands in the history, and the history can be read.
. /trial/lib.sh

if [ "$stage" -gt 0 ]; then
    within 30 "the unit is up (cut $stage)" systemctl is-active --quiet kin
    check "the ledger is as it was left (cut $stage)" has '"name":"ledger","result":"ok","message":"good' kin doctor --json
    kin log --all --limit 0 --json=lines p | sed 's/^{"id":"\([^"]*\)".*/\1/' | sort >/tmp/history
    sort /trial/promised >/tmp/promised
    check "each of $(wc -l </tmp/promised) promised runs is in the history (cut $stage)" says "" comm -13 /tmp/history /tmp/promised
    twice=$(sort /trial/ran 2>/dev/null | uniq -d | wc -l)
    check "and none ran twice (cut $stage)" test "$twice" -eq 0
fi
if [ "$stage" -lt 3 ]; then
    [ "$stage" -eq 0 ] && systemctl enable --now kin >/dev/null 2>&1
    for n in $(seq 15); do
        run=$(kin exec --detach --id p -- sh -c 'echo $KIN_RUN_ID >> /trial/ran; sync /trial/ran') && echo "$run" >>/trial/promised
        sync /trial/promised
    done
    echo $((stage + 1)) >/trial/stage
    sync /trial/stage /trial
    # More of them are on their way when it happens.
    (while :; do kin exec --detach --id p -- true; done) >/dev/null 2>&1 &
    echo "more: dies"
    wait
else
    next none
    systemctl poweroff --force --force
fi

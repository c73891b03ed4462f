# Limits that need a controller of cgroup v2, delegated by systemd.
. /trial/lib.sh

mkdir -p /etc/kin
cat >/etc/kin/kin.toml <<'T'
[greedy]
command = 'x=; while :; do x=$x$(printf %1048576s); done'
limits = { memory = "32M" }

[bomb]
command = 'for i in $(seq 40); do sleep 1000 & done; wait'
limits = { pids = 20 }
timeout = "2m"

[busy]
command = 'while :; do :; done'
limits = { cpu = 0.2 }
timeout = "5s"

[anyway]
command = 'echo here'
limits = { memory = "32M", pids = 20, cpu = 0.2, best_effort = true }
T
systemctl enable --now kin >/dev/null 2>&1
check "a limit that cannot be kept can be left out" says here kin run --wait anyway
major=$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')
if [ "$major" -lt 254 ]; then
    kin run --wait greedy >/dev/null 2>&1
    check "without DelegateSubgroup a limit is refused by name, and nothing runs" has 'spawn-failed' kin log --json=lines
    check "why says which and what to do" has 'memory' kin why greedy
    echo "not run: limits by controllers: this systemd is $major, DelegateSubgroup= needs 254"
else
    kin run --wait greedy >/dev/null 2>&1
    check "a run that takes too much memory ends oom-killed" has '"outcome":"oom-killed"' kin log --json=lines greedy
    check "with the most that it had" has '"max_rss_bytes":3[0-9]\{7\},' kin log --json=lines greedy
    kin run --wait bomb >/tmp/bomb 2>&1
    check "a run that makes too many processes cannot" has '[Ff]ork' cat /tmp/bomb
    kin run --wait busy >/dev/null 2>&1
    spent=$(kin log --json=lines busy | sed 's/.*"cpu_ms":\([0-9]*\).*/\1/')
    check "a run gets its part of a processor and no more ($spent ms in 5 s)" test "$spent" -lt 2000
    front=$(main_pid)
    kill -KILL "$front"
    within 30 "and the unit can still be restarted" sh -c "test \$(systemctl show -p MainPID --value kin) -ne $front && systemctl is-active --quiet kin"
fi
next none
systemctl poweroff --force --force

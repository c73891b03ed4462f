# A reboot that nobody announced: what ran is lost by that name, what is to be up is up, nothing ran twice.
. /trial/lib.sh

case $stage in
0)
    mkdir -p /etc/kin
    cat >/etc/kin/kin.toml <<'T'
[web]
restart = "always"
command = 'echo up at $(cat /proc/sys/kernel/random/boot_id); exec sleep 100000'

[atboot]
command = 'echo once; date >> /trial/atboot'
schedule = "@reboot"
T
    systemctl enable --now kin >/dev/null 2>&1
    within 30 "a service is up" has '"state":"running"' kin ps --json=lines web
    kin exec --detach --id byhand -- sleep 100000 >/trial/byhand
    kin exec --detach --id held --pending later -- sh -c 'echo ran >> /trial/held' >/trial/held-id
    kin exec --id done -- sh -c 'exit 3'
    check "an exit before it" has '"exit_code":3,' kin log --json=lines done
    check "all of it is known" has '"state":"running"' kin ps --json=lines byhand
    # No goodbye.
    next dies
    sleep infinity
    ;;
1)
    within 30 "the unit is up" systemctl is-active --quiet kin
    check "what ran by hand is lost, and why" has '"outcome":"lost".*"reason":"reboot"' kin log --json=lines byhand
    check "so is what waited by hand" has '"outcome":"lost".*"reason":"reboot"' kin log --json=lines held
    check "which never ran" test ! -e /trial/held
    check "what had ended is as it was" has '"exit_code":3,' kin log --json=lines done
    within 30 "the service is up again" has '"state":"running"' kin ps --json=lines web
    check "by a process of this boot" has "$(cat /proc/sys/kernel/random/boot_id)" kin jl web
    check "its former run is lost" has '"outcome":"lost".*"reason":"reboot"' kin log --json=lines web
    within 30 "what runs at a boot ran" test -e /trial/atboot
    check "once" says 1 sh -c 'wc -l < /trial/atboot'
    kin shutdown --wait >/dev/null 2>&1
    systemctl stop kin
    systemctl start kin
    check "and not again for a new server of the same boot" says 1 sh -c 'wc -l < /trial/atboot'
    next reboots
    systemctl reboot
    ;;
2)
    within 30 "an orderly reboot is one too" says 2 sh -c 'wc -l < /trial/atboot'
    within 30 "and the service is up" has '"state":"running"' kin ps --json=lines web
    next none
    systemctl poweroff --force --force
    ;;
esac

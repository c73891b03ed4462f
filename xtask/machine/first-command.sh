# The first command starts a server: as a unit of its own, so that the service it was typed in may end.
. /trial/lib.sh

case $stage in
0)
    check "nobody set anything up" test "$(systemctl is-active kin)" = inactive
    check "a command that runs in a service of its own starts a server" systemd-run --quiet --wait --collect --unit=caller --setenv=HOME=/root kin exec --detach --id first -- sleep 100000
    check "the service has ended" test "$(systemctl is-active caller)" != active
    check "its run goes on" has '"state":"running"' kin ps --json=lines first
    check "the server is a unit" has 'kin-server-' systemctl list-units --no-legend
    unit=$(systemctl list-units --no-legend | sed -n 's/.*\(kin-server-[0-9]*\.service\).*/\1/p')
    check "with kin's processes in it" has 'kin keep' systemctl status --no-pager "$unit"
    echo '* * * * * root KIN_HOME=/var/kin-cron /usr/bin/kin exec --detach --id bycron -- sleep 100000' >/etc/cron.d/trial
    systemctl start cron
    within 130 "cron's first command starts another server" has '"state":"running"' env KIN_HOME=/var/kin-cron kin ps --json=lines bycron
    systemctl stop cron
    check "and the end of cron does not end its run" has '"state":"running"' env KIN_HOME=/var/kin-cron kin ps --json=lines bycron
    next none
    systemctl poweroff --force --force
    ;;
esac

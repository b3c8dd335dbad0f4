#!/bin/bash
# What README.md says to do on a Raspberry Pi, done on an emulated machine; tests/tests/pi.rs reads the lines that
# begin with `walk:`.
set -u
say() { echo "walk: $*"; }
shown() { systemctl show --property "$1" --value milepost-agent; }

modprobe virtio_mmio && modprobe virtio_net
ip link set lo up && ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2
cd /opt/walk || exit 1

dpkg -i milepost-agent.deb && say installed
say "groups $(id --name --groups milepost)"
say "without a configuration $(systemctl is-active milepost-agent)"

install -o milepost -g milepost -m 600 van-1/* /etc/milepost/
systemctl restart milepost-agent && say started
say "state $(systemctl is-active milepost-agent) as $(stat -c %U "/proc/$(shown MainPID)")"
exposure=$(systemd-analyze --no-pager security milepost-agent | grep -o 'service: [0-9.]*')
say "exposure ${exposure#service: }"
sleep 40
say "status $(shown StatusText)"
# Later than the start only where the agent has told systemd that it works.
say "watchdog $(($(shown WatchdogTimestampMonotonic) - $(shown ActiveEnterTimestampMonotonic)))"

before=$(shown MainPID)
dpkg -i milepost-agent.deb && say upgraded
say "state $(systemctl is-active milepost-agent)"
[ "$(shown MainPID)" != "$before" ] && say restarted
say "kept $(stat -c '%U %a' /etc/milepost/agent.toml) $(ls /var/lib/milepost | wc -l)"
sleep 10

systemctl stop milepost-agent && say "stopped $(shown Result)"
dpkg --remove milepost-agent && say "removed $(ls -d /etc/milepost /var/lib/milepost | wc -l)"
dpkg --purge milepost-agent && say "purged $(ls -d /etc/milepost /var/lib/milepost 2>/dev/null | wc -l)"
say end

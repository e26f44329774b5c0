#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-only
#
# The only program of a domain of the lab. Its kernel's command line says what
# to do:
#
#   lab_role=data   verify what dom0 wrote, write for dom0, exchange files by
#                   HTTP, wait for the devices to be taken away, power off
#   lab_role=short  use each device once, power off
#   lab_role=busy   use the devices without end
#   grant_table.version=1|2  what Linux is to use; of short and busy
#   lab_sums=A,B,N  what dom0 wrote on the first disk, on the second, and
#                   offers by HTTP
#   lab_size=N      how much that is, in units of 64 KiB
#
# `LAB STATE <word>` lines are for dom0, which reads this console.

# shellcheck source=testbed/linux-lab/lab-say.sh
. /lab-say.sh

DOM0=10.77.0.1
OWN=10.77.0.2
# Where on the disks dom0 writes, and where this domain does; 64 KiB units.
FROM_DOM0=0
TO_DOM0=128

state() {
    echo "LAB STATE $*"
}

# argument NAME: its value on the kernel's command line.
argument() {
    tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"
}

sum() {
    sha256sum | cut -d' ' -f1
}

# disk_sum DEVICE AT
disk_sum() {
    dd if="$1" bs=64k skip="$2" count="$size" 2>/dev/null | sum
}

devices_there() {
    [ -b /dev/xvda ] && [ -b /dev/xvdb ] && [ -d /sys/class/net/eth0 ]
}

devices_gone() {
    [ ! -e /sys/block/xvda ] && [ ! -e /sys/block/xvdb ] && [ ! -e /sys/class/net/eth0 ]
}

network_up() {
    ip link set lo up
    ip addr add $OWN/24 dev eth0
    ip link set eth0 up
}

reaches_dom0() {
    ping -c 1 -W 1 $DOM0 >/dev/null
}

# write_for_dom0 DISK DEVICE: fresh data; read again from the disk, not from
# this domain's memory.
write_for_dom0() {
    dd if=/dev/urandom of=/data bs=64k count="$size" 2>/dev/null
    wrote=$(sum </data)
    dd if=/data of="$2" bs=64k seek=$TO_DOM0 conv=fsync 2>/dev/null
    echo 3 >/proc/sys/vm/drop_caches
    check_same "$1-reads-back" "$wrote" "$(disk_sum "$2" $TO_DOM0)"
    fact "$1-written" "$wrote"
}

use_disk() {
    check_same "$1-from-dom0" "$2" "$(disk_sum "$3" $FROM_DOM0)"
    write_for_dom0 "$1" "$3"
}

role_data() {
    sums=$(argument lab_sums)
    use_disk disk-file "$(echo "$sums" | cut -d, -f1)" /dev/xvda
    use_disk disk-nvme "$(echo "$sums" | cut -d, -f2)" /dev/xvdb
    check_that net-ping within 10 reaches_dom0
    check_same net-from-dom0 "$(echo "$sums" | cut -d, -f3)" \
        "$(wget -q -T 30 -O - http://$DOM0/from-dom0 | sum)"
    dd if=/dev/urandom of=/www/from-domu bs=64k count="$size" 2>/dev/null
    fact net-offered "$(sum </www/from-domu)"
    httpd -p $OWN:80 -h /www
    state exchanged
    # dom0 checks its side first, which takes as long as the machine needs.
    check_that devices-detach within 600 devices_gone
    state detached
    # dom0 looks at the grants of a live domain without devices first. Its
    # kernel calls /sbin/poweroff when `xl shutdown` asks it to.
    sleep 600
}

# right_version: whether the kernel took the version of the grant tables that it
# was told to. Refused, it takes version 1 without a word.
right_version() {
    dmesg | grep -q "Grant tables using version $(argument grant_table.version) layout"
}

role_short() {
    dd if=/dev/xvda of=/dev/null bs=64k count=4 2>/dev/null &&
        dd if=/dev/zero of=/dev/xvda bs=64k count=4 conv=fsync 2>/dev/null &&
        dd if=/dev/xvdb of=/dev/null bs=64k count=4 2>/dev/null &&
        dd if=/dev/zero of=/dev/xvdb bs=64k count=4 conv=fsync 2>/dev/null &&
        within 10 reaches_dom0 && right_version && state used
}

role_busy() {
    (while :; do dd if=/dev/zero of=/dev/xvda bs=64k count=64 conv=fsync; done) 2>/dev/null &
    (while :; do dd if=/dev/zero of=/dev/xvdb bs=64k count=64 conv=fsync; done) 2>/dev/null &
    (while :; do wget -q -O /dev/null http://$DOM0/from-dom0; done) &
    within 10 reaches_dom0 && right_version && state used
    sleep 600
}

/bin/busybox --install -s /bin
printf '#!/bin/sh\nexec /bin/poweroff -f\n' >/sbin/poweroff
chmod +x /sbin/poweroff
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "/modules/$module"
done </modules/order

state up
if within 30 devices_there; then
    size=$(argument lab_size)
    network_up
    case $(argument lab_role) in
        data) role_data ;;
        short) role_short ;;
        busy) role_busy ;;
    esac
else
    state no-devices
fi
poweroff -f

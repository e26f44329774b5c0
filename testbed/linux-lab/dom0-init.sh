#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# First program on dom0's disk: brings up what Xen's tools need, then runs the
# lab. Everything the runner reads is printed by the lines that lab-say.sh
# describes.

export TOLD=/run/lab/told
# shellcheck source=testbed/linux-lab/lab-say.sh
. /lab/lab-say.sh

export PATH=/usr/lib/xen-4.20/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /proc/xen /run/xen /run/lock /run/lab
mount -t xenfs xenfs /proc/xen
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
# Nothing else makes these here, and the lock of Xen's hot-plug scripts waits
# for ever without /dev/stdin.
ln -s /proc/self/fd /dev/fd
for stream in stdin=0 stdout=1 stderr=2; do
    ln -s "fd/${stream#*=}" "/dev/${stream%=*}"
done
[ -d /var/run/xen ] || ln -sf /run /var/run
echo 2 >/proc/sys/kernel/panic
ip link set lo up

phase 100 "Xen's tools start"
start_tools() {
    xenstored --pid-file /run/xen/xenstored.pid &&
        timeout 30 xenstore-write /local/domain/0/name Domain-0 &&
        timeout 30 xen-init-dom0 &&
        xenconsoled --log=guest --log-dir=/var/log/xen/console --pid-file=/run/xen/xenconsoled.pid &&
        timeout 30 xl list
}
check_that dom0/tools start_tools

/lab/dom0-lab.sh
done_with_lab
# The runner ends the machine; this process may not end before.
sleep 600

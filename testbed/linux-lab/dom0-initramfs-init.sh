#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-only
#
# First program of dom0's kernel: inserts the modules, finds the NVMe disk,
# and hands over to the lab on it.

/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

echo "LAB PHASE 100 dom0 finds its disk"
while read -r module; do
    insmod "/modules/$module" || echo "LAB cannot insert $module"
done </modules/order

# Linux names the controller's name spaces in the order in which it happens to
# find them; their numbers are the machine's.
find_disk() {
    disk=$(grep -lx 1 /sys/block/nvme[0-9]n[0-9]/nsid 2>/dev/null | cut -d/ -f4)
    [ -b "/dev/$disk" ]
}

tries=150
until find_disk || [ $tries -eq 0 ]; do
    sleep 0.2
    tries=$((tries - 1))
done
mount -t ext4 -o noatime "/dev/$disk" /mnt || {
    echo "LAB DONE without a disk"
    sleep 600
}
mount --move /dev /mnt/dev
mount --move /proc /mnt/proc
mount --move /sys /mnt/sys
exec switch_root /mnt /lab/dom0-init.sh

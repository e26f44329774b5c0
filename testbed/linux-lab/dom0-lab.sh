#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The lab itself, in dom0: for each kind of domain one that exchanges data
# with dom0, then a loop of short-lived ones; grant usage is read from Xen
# between all steps. The kernel's command line says how much:
#
#   lab_dom0=pvh|pv  what dom0 is expected to be
#   lab_cycles=N     domains in each loop
#   lab_size=N       data of each transfer, in units of 64 KiB
#   lab_domains=A:B  the kinds of domain: pvh, pv
#   lab_leak=1       keep one page of a domain mapped over its end, to see the
#                    checks fail
#
# Limits of time are there so that the lab ends. They are several times what a
# step takes on a machine that has much else to do: no check is about time.

# shellcheck source=testbed/linux-lab/lab-say.sh
. /lab/lab-say.sh

export PATH=/usr/lib/xen-4.20/bin:/usr/sbin:/usr/bin:/sbin:/bin

DOM0=10.77.0.1
DOMU=10.77.0.2
DISK_FILE=/run/lab/disk
# The second name space of the NVMe controller; see dom0-initramfs-init.sh.
DISK_NVME=/dev/$(grep -lx 2 /sys/block/nvme[0-9]n[0-9]/nsid | cut -d/ -f4)
# Where on the disks dom0 writes, and where a domain does; 64 KiB units.
FROM_DOM0=0
FROM_DOMU=128
DISK_UNITS=256

# What Linux says when a grant was not given back, or worse.
COMPLAINTS='WARNING: CPU|BUG: |Oops|Kernel panic|leaking g\.e\.|g\.e\. .*still|deferring g\.e\.|[Gg]rant.*(fail|error|invalid|bad)'

argument() {
    tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"
}

sum() {
    sha256sum | cut -d' ' -f1
}

# --- Grants ----------------------------------------------------------------

# grants: a line for each domain that has a grant table; see grant-usage.awk.
grants() {
    xl dmesg -c >/dev/null && xl debug-keys g && xl dmesg | awk -f /lab/grant-usage.awk
}

# grants_are_zero: no domain but dom0 has a table, and dom0's is not in use. A
# domain whose page somebody still holds stays a zombie and has a table.
grants_are_zero() {
    usage=$(grants) && [ "$(echo "$usage" | cut -d' ' -f1-2)" = "0 0" ]
}

# Teardown is spread over time; a leak is not.
grants_become_zero() {
    within 20 grants_are_zero || {
        echo "in use (domain, entries, not reserved, maptrack frames):" \
            "$(grants 2>&1 | tr '\n' ';')"
        return 1
    }
}

only_dom0_is_listed() {
    [ "$(xl list | sed 1d | wc -l)" -eq 1 ] || {
        xl list
        return 1
    }
}

# maptrack_frames: dom0's.
maptrack_frames() {
    grants | awk '$1 == 0 { print $4 }'
}

# maptrack_bound: frames that dom0's back-ends can need at most. One domain
# lives at a time, with two disks and one network of one queue each:
#   a disk      the grants that blkback keeps mapped, and 32 requests in flight
#               (a ring of one page) of 32 segments (blkfront's default) and one
#               page that lists them, and the ring
#   a network   256 packets in flight (a ring of one page), and two rings
#   tool stack  the rings of console and xenstore
# A frame holds 256 handles of 16 bytes; one frame more, for handles that Xen
# keeps back in its lists of free ones.
maptrack_bound() {
    kept=$(cat /sys/module/xen_blkback/parameters/max_persistent_grants) || return
    disk=$((kept + 32 * (32 + 1) + 1))
    echo $(((2 * disk + 256 + 2 + 2 + 255) / 256 + 1))
}

# How many are in use at the worst moment differs from run to run, and with it
# the frames: the bound is what does not.
maptrack_is_bounded() {
    frames=$(maptrack_frames) && bound=$(maptrack_bound) || return
    echo "$frames frames, bound $bound"
    [ "$frames" -gt 0 ] && [ "$frames" -le "$bound" ]
}

# check_given_back NAME: after a domain's end.
check_given_back() {
    check_that "$1/grants-return-to-zero" grants_become_zero
    check_that "$1/no-zombie" only_dom0_is_listed
}

# free_mib: what Xen could give to a domain.
free_mib() {
    xl info | sed -n 's/^free_memory *: //p'
}

# memory_returns BEFORE: all but what dom0's maptrack keeps, which is far less
# than the 1 MiB in which free memory is counted.
memory_returns() {
    after=$(free_mib)
    echo "$1 MiB before, $after after"
    [ -n "$1" ] && [ $(($1 - after)) -le 1 ]
}

# --- Domains ---------------------------------------------------------------

domain_log() {
    echo "/var/log/xen/console/guest-$1.log"
}

# show_log NAME: a domain's console on this one, as it comes.
show_log() {
    : >"$(domain_log "$1")"
    tail -f "$(domain_log "$1")" 2>/dev/null | sed -u "s/^/$1: /" &
}

# create NAME KIND ROLE [ARGUMENTS]
create() {
    cat >"/run/lab/$1.cfg" <<CONFIG
name = "$1"
type = "$2"
kernel = "/lab/vmlinux"
ramdisk = "/lab/domu-initramfs"
extra = "console=hvc0 loglevel=5 panic=1 mitigations=off tsc=reliable lab_role=$3 lab_size=$size ${4:-}"
memory = 160
vcpus = 1
disk = [ "phy:$loop,xvda,w", "phy:$DISK_NVME,xvdb,w" ]
vif = [ "mac=00:16:3e:77:00:02,bridge=xenbr0" ]
on_poweroff = "destroy"
on_reboot = "destroy"
on_crash = "destroy"
CONFIG
    timeout 450 xl create "/run/lab/$1.cfg"
}

is_gone() {
    ! xl domid "$1" >/dev/null 2>&1
}

said() {
    tr -d '\r' 2>/dev/null <"$(domain_log "$1")" | grep -q "^LAB STATE $2\$"
}

said_or_gone() {
    said "$1" "$2" || is_gone "$1"
}

# wait_for NAME STATE SECONDS
wait_for() {
    within "$3" said_or_gone "$1" "$2"
    said "$1" "$2" || {
        echo "the domain did not get to '$2':" "$(tail -n 3 "$(domain_log "$1")" | tr '\r\n' '  ')"
        return 1
    }
}

# told NAME FACT: what a domain said of itself.
told() {
    tr -d '\r' <"$(domain_log "$1")" | sed -n "s/^LAB FACT $2=//p"
}

# pass_on NAME KIND: a domain's checks become the runner's.
pass_on() {
    tr -d '\r' <"$(domain_log "$1")" | sed -n "s:^LAB CHECK :&$2/:p" | tee -a "$TOLD"
}

# make_an_end NAME: for when it does not end by itself.
make_an_end() {
    is_gone "$1" || timeout 180 xl destroy "$1"
    within 60 is_gone "$1"
}

# no_complaint LOG: an empty log is none.
no_complaint() {
    [ -s "$1" ] && ! tr -d '\r' <"$1" | grep -E "$COMPLAINTS"
}

# --- Data ------------------------------------------------------------------

# fill DEVICE: fresh data at dom0's place; prints its sum. What dom0 reads
# later must come from the disk, not from its cache.
fill() {
    dd if=/dev/urandom of=/run/lab/data bs=64k count="$size" 2>/dev/null
    dd if=/run/lab/data of="$1" bs=64k seek=$FROM_DOM0 conv=fsync,notrunc 2>/dev/null
    blockdev --flushbufs "$1"
    sum </run/lab/data
}

# disk_sum DEVICE: of what a domain wrote.
disk_sum() {
    blockdev --flushbufs "$1"
    dd if="$1" bs=64k skip=$FROM_DOMU count="$size" 2>/dev/null | sum
}

prepare() {
    dd if=/dev/zero of=$DISK_FILE bs=64k count=$DISK_UNITS 2>/dev/null &&
        loop=$(losetup --show -f $DISK_FILE) &&
        mkdir -p /run/lab/www &&
        dd if=/dev/urandom of=/run/lab/www/from-dom0 bs=64k count="$size" 2>/dev/null &&
        net_sum=$(sum </run/lab/www/from-dom0) &&
        ip link add xenbr0 type bridge forward_delay 0 &&
        ip addr add $DOM0/24 dev xenbr0 &&
        ip link set xenbr0 up &&
        busybox httpd -p $DOM0:80 -h /run/lab/www
}

# --- One domain that exchanges data ----------------------------------------

detach_devices() {
    timeout 60 xl block-detach "$1" xvda &&
        timeout 60 xl block-detach "$1" xvdb &&
        timeout 60 xl network-detach "$1" 0
}

# The check of the checks: while devices are connected their grants are seen.
grants_are_seen() {
    in_use=$(grants | awk -v id="$1" '$1 == id { print $3 }')
    echo "domain $1 has ${in_use:-no line}"
    [ "${in_use:-0}" -gt 0 ]
}

only_reserved_grants() {
    within 20 only_reserved_grants_now "$1" || {
        grants
        return 1
    }
}

only_reserved_grants_now() {
    [ "$(grants | awk -v id="$1" '$1 == id { print $3 }')" = 0 ]
}

powers_off() {
    timeout 90 xl shutdown "$1" && within 150 is_gone "$1"
}

exchange() {
    kind=$1
    name=$kind-data
    show_log "$name"
    sum_file=$(fill "$loop")
    sum_nvme=$(fill "$DISK_NVME")

    phase 480 "a $kind domain starts"
    check_that "$kind/create" create "$name" "$kind" data \
        "lab_sums=$sum_file,$sum_nvme,$net_sum" || return
    id=$(xl domid "$name")

    phase 630 "the $kind domain and dom0 exchange data"
    check_that "$kind/exchanged" wait_for "$name" exchanged 600 || return
    check_that "$kind/grants-in-use-are-seen" grants_are_seen "$id"
    check_same "$kind/disk-file-to-dom0" "$(told "$name" disk-file-written)" "$(disk_sum "$loop")"
    check_same "$kind/disk-nvme-to-dom0" "$(told "$name" disk-nvme-written)" "$(disk_sum "$DISK_NVME")"
    check_same "$kind/net-to-dom0" "$(told "$name" net-offered)" \
        "$(timeout 60 busybox wget -q -O - http://$DOMU/from-domu | sum)"

    phase 360 "the $kind domain's devices are taken away"
    check_that "$kind/detach" detach_devices "$name" || return
    check_that "$kind/detached" wait_for "$name" detached 180 || return
    check_that "$kind/grants-after-detach" only_reserved_grants "$id"

    phase 270 "the $kind domain powers off"
    leak STOP
    check_that "$kind/powers-off" powers_off "$name"
}

# The console's daemon unmaps the domain's ring when it hears of its end; one
# that is stopped does not.
leak() {
    [ "$(argument lab_leak)" != 1 ] || kill "-$1" "$(cat /run/xen/xenconsoled.pid)"
}

exchange_and_clean_up() {
    exchange "$1"
    pass_on "$1-data" "$1"
    make_an_end "$1-data"
    check_given_back "$1"
    leak CONT
    check_that "$1/log-is-clean" no_complaint "$(domain_log "$1-data")"
}

# --- The loop --------------------------------------------------------------

# grant_version KIND NUMBER: two domains use version 1, two version 2, and so on.
# A PVH Linux that is told to use version 2 never maps the status frames, and
# dies when it reads one.
grant_version() {
    if [ "$1" = pv ]; then
        echo $((($2 - 1) / 2 % 2 + 1))
    else
        echo 1
    fi
}

# One domain ends by itself, the next is destroyed in the middle of its work.
cycle() {
    version="grant_table.version=$(grant_version "$1" "$2")"
    if [ $(($2 % 2)) -eq 1 ]; then
        create "$3" "$1" short "$version" && wait_for "$3" used 450 && within 150 is_gone "$3"
    else
        create "$3" "$1" busy "$version" && wait_for "$3" used 450 && timeout 180 xl destroy "$3"
    fi
}

cycles() {
    kind=$1
    number=1
    while [ $number -le "$cycles" ]; do
        phase 900 "$kind domain $number of $cycles"
        name=$kind-cycle-$number
        show_log "$name"
        check_that "$kind/cycle-$number/runs" cycle "$kind" $number "$name"
        make_an_end "$name"
        check_given_back "$kind/cycle-$number"
        check_that "$kind/cycle-$number/log-is-clean" no_complaint "$(domain_log "$name")"
        number=$((number + 1))
    done
    check_that "$kind/maptrack-is-bounded" maptrack_is_bounded
}

# --- All -------------------------------------------------------------------

cycles=$(argument lab_cycles)
size=$(argument lab_size)
domains=$(argument lab_domains | tr ':' ' ')

phase 100 "dom0 prepares disks and network"
check_same dom0/kind "$(argument lab_dom0)" "$(tr '[:upper:]' '[:lower:]' </sys/hypervisor/guest_type)"
check_that dom0/iommu sh -c 'xl dmesg | grep "I/O virtualisation enabled"'
check_that dom0/disk-is-nvme grep '^/dev/nvme[^ ]* / ext4' /proc/mounts
fact linux "$(uname -r)"
check_that dom0/prepare prepare
# check_that runs its command in a subshell: look again.
loop=$(losetup -j $DISK_FILE | cut -d: -f1)
net_sum=$(sum </run/lab/www/from-dom0)
check_that dom0/grants-zero-before grants_are_zero
free_before=$(free_mib)
fact free-mib-before "$free_before"

for kind in $domains; do
    exchange_and_clean_up "$kind"
done
for kind in $domains; do
    cycles "$kind"
done

phase 100 "dom0 looks back"
fact free-mib-after "$(free_mib)"
check_that dom0/memory-returns within 20 memory_returns "$free_before"
fact maptrack-frames "$(maptrack_frames)"
dmesg >/run/lab/dmesg
check_that dom0/log-is-clean no_complaint /run/lab/dmesg

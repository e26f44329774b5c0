#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What `make lab` boots, in build/lab: a Debian dom0 on a disk image, its
# kernel, and the first file systems of dom0 and of the domains it starts.
#
# usage: lab-image.sh
#
# From Debian's package registry, through debootstrap, which checks the
# archive's signature. Each part is kept until something it is made from
# changes: the Debian tree takes minutes, the rest seconds.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/apt-private.sh
. "$(dirname "$0")/apt-private.sh"

SUITE=trixie   # the Debian suite whose Xen tools are of our release
PACKAGES=xen-utils-4.20,xen-utils-common,xenstore-utils,linux-image-amd64,kmod,iproute2,busybox-static
SCRIPTS=$ROOT/testbed/linux-lab
LAB=$BUILD/lab
TREE=$LAB/tree
IMAGE_SIZE=1G
SCRATCH_SIZE=32M

# Modules that dom0 needs before it can read its disk, and for its domains;
# and those of a domain. Dependencies are found, order is kept.
DOM0_MODULES=(nvme ext4 loop bridge xenfs xen-evtchn xen-gntdev xen-gntalloc xen-privcmd
    xen-blkback xen-netback)
DOMU_MODULES=(xen-blkfront xen-netfront)

PATH=$PATH:/usr/sbin:/sbin

make_tree() {
    local new=$TREE.new
    rm -rf "$new"
    debootstrap --variant=minbase --force-check-gpg --keyring="$DEBIAN_KEYRING" \
        --include="$PACKAGES" "$SUITE" "$new" "$(debian_mirror)"
    # debootstrap leaves nothing mounted when it succeeds; make sure of it
    # before anybody removes this folder.
    if grep " $new/" /proc/mounts; then
        exit 1
    fi
    rm -rf "$TREE"
    mv "$new" "$TREE"
}

# kernel_version: that of the tree's only kernel.
kernel_version() {
    local kernels=("$TREE"/boot/vmlinuz-*)
    if [ ${#kernels[@]} -ne 1 ] || [ ! -f "${kernels[0]}" ]; then
        fail "expected one kernel in $TREE/boot, found: ${kernels[*]}"
    fi
    echo "${kernels[0]##*/vmlinuz-}"
}

# put_modules FOLDER MODULE...: the modules and what they depend on,
# unpacked, and the order to insert them in.
put_modules() {
    local folder=$1 version line file module
    shift
    version=$(kernel_version)
    mkdir -p "$folder"
    for module; do
        chroot "$TREE" modprobe -S "$version" --show-depends "$module" |
            sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' >"$folder/files"
    while read -r line; do
        file=${line##*/}
        case $file in
            *.ko.xz) xz -dc "$TREE$line" >"$folder/${file%.xz}" ;;
            *.ko) cp "$TREE$line" "$folder/$file" ;;
            *) fail "no way to unpack the module $file" ;;
        esac
        echo "${file%.xz}"
    done <"$folder/files" >"$folder/order"
    rm "$folder/files"
}

# make_initramfs NAME INIT MODULE...: busybox, the modules, INIT as /init.
make_initramfs() {
    local name=$1 init=$2 root=$LAB/$1.root
    shift 2
    rm -rf "$root"
    mkdir -p "$root"/{bin,dev,mnt,proc,sbin,sys,www}
    install -m 755 "$TREE/usr/bin/busybox" "$root/bin/busybox"
    ln -s busybox "$root/bin/sh"
    install -m 755 "$init" "$root/init"
    install -m 644 "$SCRIPTS/lab-say.sh" "$root/lab-say.sh"
    put_modules "$root/modules" "$@"
    # The same content gives the same bytes: no time stamps, owners or order of the folder.
    find "$root" -exec touch -h -d @0 {} +
    (cd "$root" && find . | LC_ALL=C sort |
        cpio --quiet -o -H newc -R 0:0 --reproducible) >"$LAB/$name.new"
    mv "$LAB/$name.new" "$LAB/$name"
    rm -rf "$root"
}

# unpack_kernel PACKED UNPACKED: the ELF file inside. The hypervisor and its
# tools could unpack it themselves, but every domain start would pay for it
# under software emulation.
unpack_kernel() {
    python3 "$ROOT/scripts/unpack-kernel.py" "$1" "$2"
}

# make_image: the tree less what no lab run reads, with the lab's own files.
make_image() {
    local root=$LAB/image.root
    rm -rf "$root" "$LAB/dom0.img"
    mkdir -p "$root"
    tar -C "$TREE" -c \
        --exclude=./boot --exclude=./dev --exclude=./proc --exclude=./sys \
        --exclude=./usr/lib/modules --exclude=./usr/lib/firmware \
        --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale \
        --exclude=./usr/share/i18n --exclude=./usr/share/initramfs-tools \
        --exclude=./var/cache --exclude=./var/lib/apt --exclude=./var/lib/dpkg . |
        tar -C "$root" -x
    mkdir -p "$root"/{dev,proc,sys,run,tmp,lab} "$root"/var/{cache,lib/xen,log/xen/console}
    install -m 755 "$SCRIPTS"/*.sh "$root/lab/"
    install -m 644 "$SCRIPTS"/*.awk "$root/lab/"
    cp "$LAB/vmlinux" "$LAB/domu-initramfs" "$root/lab/"
    truncate -s "$IMAGE_SIZE" "$LAB/dom0.img"
    mkfs.ext4 -q -F -L lab-dom0 -O ^has_journal -E lazy_itable_init=1 \
        -d "$root" "$LAB/dom0.img"
    rm -rf "$root"
    rm -f "$LAB/scratch.img"
    truncate -s "$SCRATCH_SIZE" "$LAB/scratch.img"
}

make_rest() {
    make_initramfs dom0-initramfs "$SCRIPTS/dom0-initramfs-init.sh" "${DOM0_MODULES[@]}"
    make_initramfs domu-initramfs "$SCRIPTS/domu-init.sh" "${DOMU_MODULES[@]}"
    install -m 644 "$TREE/boot/vmlinuz-$(kernel_version)" "$LAB/vmlinuz"
    unpack_kernel "$LAB/vmlinuz" "$LAB/vmlinux"
    make_image
}

tree_inputs() {
    {
        echo "$SUITE $PACKAGES"
        declare -f make_tree
    } | sha256sum
}

rest_inputs() {
    {
        cat "$LAB/tree.inputs" "$ROOT/scripts/lab-image.sh" "$ROOT/scripts/unpack-kernel.py"
        (cd "$SCRIPTS" && sha256sum ./*.sh ./*.awk)
    } | sha256sum
}

# up_to_date NAME INPUTS: whether NAME was finished from the same inputs.
up_to_date() {
    [ "$2" = "$(cat "$LAB/$1.inputs" 2>/dev/null)" ]
}

mkdir -p "$LAB"
hold lab-image
inputs=$(tree_inputs)
if ! { [ -d "$TREE" ] && up_to_date tree "$inputs"; }; then
    [ "$(id -u)" -eq 0 ] || fail "debootstrap needs root: run make lab as root"
    need_system_sources
    say DEBIAN "$SUITE with the Xen tools and a kernel, about two minutes"
    rm -f "$LAB/tree.inputs"
    logged lab-debootstrap make_tree
    printf '%s\n' "$inputs" >"$LAB/tree.inputs"
fi
inputs=$(rest_inputs)
if ! { [ -f "$LAB/dom0.img" ] && up_to_date image "$inputs"; }; then
    say IMAGE "disk, kernel $(kernel_version), initial file systems"
    rm -f "$LAB/image.inputs"
    logged lab-image make_rest
    printf '%s\n' "$inputs" >"$LAB/image.inputs"
fi

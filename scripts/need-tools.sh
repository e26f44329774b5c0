#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Makes sure that the programs of each named group are there: installs them on
# a Debian machine for root, names them and the command elsewhere.
#
# usage: need-tools.sh GROUP...
#
#   xen-build  what Xen's own build needs
#   arm64      the cross compiler, unless this is an arm64 machine
#   rust-hv    a Rust compiler with the sources of `core`, for the hypervisor
#   policy     the compiler of FLASK policies
#   qemu       QEMU >= 10 for x86_64 and arm64 (older ones emulate no AMD-Vi
#              DMA remapping), and the device tree compiler
#   dom0-lab   what makes the disk image of the Debian dom0 lab
#   host-rust  the stable toolchain for the host (only checked)
#   cbindgen   the generator of the C header, in build/tools
#   lint       the checker of these scripts

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/apt-private.sh
. "$(dirname "$0")/apt-private.sh"
# shellcheck source=scripts/rust-toolchain.sh
. "$(dirname "$0")/rust-toolchain.sh"

export DEBIAN_FRONTEND=noninteractive
QEMU_MINIMUM=10.0
CBINDGEN_VERSION=0.29.2

have() {
    command -v "$1" >/dev/null
}

# missing PROGRAM=PACKAGE...: the packages whose program is not there.
missing() {
    local pair
    for pair; do
        have "${pair%%=*}" || echo "${pair#*=}"
    done | sort -u
}

# refuse GROUP COMMAND: the one message for a machine we do not install on.
refuse() {
    local group=$1
    shift
    fail "missing for $group; install it with: $*"
}

may_install() {
    is_debian && [ "$(id -u)" -eq 0 ]
}

apt_install() {
    logged "apt-install-$1" apt-get -q install -y --no-install-recommends "${@:2}"
}

# install_packages GROUP PACKAGE...: with the system's own sources.
install_packages() {
    local group=$1
    shift
    [ $# -gt 0 ] || return 0
    may_install || refuse "$group" "apt-get install $* (Debian's names)"
    # Lists may be missing, or so old that the mirror has newer files only.
    if ! apt-cache show "$@" >/dev/null 2>&1; then
        system_update
    fi
    say APT "$group: $*"
    if ! (apt_install "$group" "$@") 2>/dev/null; then
        system_update
        apt_install "$group" "$@"
    fi
}

need() {
    local group=$1 packages
    shift
    packages=$(missing "$@")
    # shellcheck disable=SC2086 # package names
    install_packages "$group" $packages
}

need_xen_build() {
    need xen-build gcc=gcc make=make python3=python3 flex=flex bison=bison \
        patch=patch xz=xz-utils ld=binutils awk=mawk flock=util-linux
    # Not programs, but what gcc needs to make any.
    echo 'int main(void) { return 0; }' |
        gcc -x c -include stdio.h -o /dev/null - 2>/dev/null ||
        install_packages xen-build libc6-dev
}

need_arm64() {
    (set_arch arm64 && is_native) ||
        need arm64 aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu \
            aarch64-linux-gnu-ld=binutils-aarch64-linux-gnu
}

need_rust_hv() {
    need_host_rust
    [ -z "$(find_rustc)" ] || return 0
    may_install ||
        refuse rust-hv "apt-get install rustc-web rust-web-src, or rustup component add rust-src"
    # An older version of the same packages may be in lists of long ago.
    system_update
    install_packages rust-hv rustc-web rust-web-src
    [ -n "$(find_rustc)" ] ||
        fail "rustc-web is older than $RUST_MINIMUM here; use: rustup component add rust-src"
}

qemu_is_new() {
    local version
    have "$1" || return 1
    version=$("$1" --version | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
    version_at_least "$version" "$QEMU_MINIMUM"
}

# backported_qemu: from the suite of backports, through lists of our own.
backported_qemu() {
    local suite backports
    need_system_sources
    suite=$(debian_codename)-backports
    backports="deb [signed-by=$DEBIAN_KEYRING] $(debian_mirror) $suite main"
    say APT "qemu: $* from $suite"
    private_lists qemu "$(system_sources; echo "$backports")"
    logged apt-install-qemu private_apt qemu \
        apt-get -q install -y --no-install-recommends -t "$suite" "$@"
}

need_qemu() {
    local packages
    need qemu dtc=device-tree-compiler
    packages=$(
        qemu_is_new qemu-system-x86_64 || echo qemu-system-x86
        qemu_is_new qemu-system-aarch64 || echo qemu-system-arm
    )
    [ -n "$packages" ] || return 0
    may_install || refuse qemu "apt-get install QEMU >= $QEMU_MINIMUM" "($packages)"
    # shellcheck disable=SC2086 # package names
    backported_qemu $packages
    qemu_is_new qemu-system-x86_64 || fail "qemu-system-x86_64 is still older than $QEMU_MINIMUM"
    qemu_is_new qemu-system-aarch64 || fail "qemu-system-aarch64 is still older than $QEMU_MINIMUM"
}

need_dom0_lab() {
    PATH=$PATH:/usr/sbin:/sbin need dom0-lab debootstrap=debootstrap \
        mkfs.ext4=e2fsprogs cpio=cpio xz=xz-utils zstd=zstd python3=python3
}

need_host_rust() {
    have cargo || fail "no cargo; install Rust >= $RUST_MINIMUM with rustup"
    version_at_least "$(rustc_version rustc)" "$RUST_MINIMUM" ||
        fail "rustc is older than $RUST_MINIMUM; run: rustup update stable"
    have cc || install_packages host-rust gcc libc6-dev
}

need_policy() {
    PATH=$PATH:/usr/sbin:/sbin need policy checkpolicy=checkpolicy m4=m4 make=make awk=mawk
}

need_lint_rust() {
    if ! { cargo clippy --version && cargo fmt --version; } >/dev/null 2>&1; then
        fail "clippy or rustfmt missing; run: rustup component add clippy rustfmt"
    fi
}

need_cbindgen() {
    local cbindgen=$BUILD/tools/bin/cbindgen
    if [ "$("$cbindgen" --version 2>/dev/null)" = "cbindgen $CBINDGEN_VERSION" ]; then
        return
    fi
    need_host_rust
    say CARGO "cbindgen $CBINDGEN_VERSION into ${BUILD#"$ROOT"/}/tools"
    logged cbindgen without_make env -u RUSTFLAGS \
        cargo install --locked --version "$CBINDGEN_VERSION" --root "$BUILD/tools" cbindgen
}

[ $# -gt 0 ] || fail "usage: need-tools.sh GROUP..."
hold need-tools
for group; do
    case $group in
        xen-build) need_xen_build ;;
        arm64) need_arm64 ;;
        rust-hv) need_rust_hv ;;
        policy) need_policy ;;
        qemu) need_qemu ;;
        dom0-lab) need_dom0_lab ;;
        host-rust)
            need_host_rust
            need_lint_rust
            ;;
        cbindgen) need_cbindgen ;;
        lint) need lint shellcheck=shellcheck ;;
        *) fail "no group of tools called '$group'" ;;
    esac
done

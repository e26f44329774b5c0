# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Finds a compiler that can build `core` from source for the hypervisor.
# Sourced after lib.sh.

RUST_MINIMUM=1.95

# version_at_least HAVE WANT
version_at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

rustc_version() {
    "$1" --version 2>/dev/null | cut -d' ' -f2
}

# usable_rustc PATH: new enough, and with the sources of its own `core`.
usable_rustc() {
    [ -x "$1" ] && version_at_least "$(rustc_version "$1")" "$RUST_MINIMUM" &&
        [ -d "$("$1" --print sysroot)/lib/rustlib/src/rust/library/core" ]
}

# debian_rustc: by its package's file list, as a rustup shim of the same name
# usually comes first in PATH.
debian_rustc() {
    command -v dpkg >/dev/null || return 0
    dpkg -L rustc-web rustc 2>/dev/null | grep -E '/bin/rustc$' | head -n 1
}

rustup_rustcs() {
    command -v rustup >/dev/null || return 0
    rustup toolchain list 2>/dev/null | cut -d' ' -f1 | while read -r name; do
        rustup which --toolchain "$name" rustc 2>/dev/null
    done
}

# find_rustc: prints the path of the first usable one; none is no error here.
find_rustc() {
    local rustc
    for rustc in ${HV_RUSTC:-} $(debian_rustc) $(rustup_rustcs); do
        if usable_rustc "$rustc"; then
            echo "$rustc"
            return
        fi
    done
}

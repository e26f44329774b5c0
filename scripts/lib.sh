# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What every build script shares: where things are, how progress and failures
# are shown, and locks. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$ROOT/build}
mkdir -p "$BUILD/logs"
BUILD=$(cd "$BUILD" && pwd)
LOGS=$BUILD/logs

# say WHAT MESSAGE...: one short line a phase.
say() {
    local what=$1
    shift
    printf '  %-8s %s\n' "$what" "$*"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# logged LOG COMMAND...: all output to build/logs/LOG.log; on failure the end
# of it, and where the rest is.
logged() {
    local log=$LOGS/$1.log rc=0
    shift
    # Not `|| rc=$?`: that would switch errexit off inside a function.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    rc=$?
    set -e
    if [ "$rc" -ne 0 ]; then
        tail -n 30 "$log" >&2
        fail "'$1' failed (status $rc); all of its output: $log"
    fi
}

# hold NAME: one process at a time from here to the end of the script.
hold() {
    exec 9>"$BUILD/.lock-$1"
    if ! flock -n 9; then
        say WAIT "another process has $1"
        flock 9
    fi
}

# replace_if_changed NEW OLD: keep OLD's time stamp when nothing changed, so
# that whatever depends on it is not rebuilt.
replace_if_changed() {
    if cmp -s "$1" "$2"; then
        rm -f "$1"
    else
        mv -f "$1" "$2"
    fi
}

# set_arch ARCH: sets ARCH, TRIPLE (Rust) and CROSS (binutils and gcc prefix,
# empty on a machine of that architecture).
set_arch() {
    ARCH=$1
    case $ARCH in
        x86_64) TRIPLE=x86_64-unknown-none CROSS=x86_64-linux-gnu- ;;
        arm64) TRIPLE=aarch64-unknown-none-softfloat CROSS=aarch64-linux-gnu- ;;
        *) fail "ARCH is '$ARCH': it must be x86_64 or arm64" ;;
    esac
    if is_native; then
        CROSS=
    fi
    # shellcheck disable=SC2034 # read by the scripts that source this file
    readonly ARCH TRIPLE CROSS
}

is_native() {
    case $ARCH-$(uname -m) in
        x86_64-x86_64 | arm64-aarch64) return 0 ;;
        *) return 1 ;;
    esac
}

# variant_dir ARCH VARIANT: the name of its folder under build/xen and
# build/rust.
variant_dir() {
    case $2 in
        release) echo "$1" ;;
        debug) echo "$1-debug" ;;
        xsm) echo "$1-xsm" ;;
        *) fail "VARIANT is '$2': it must be release, debug or xsm" ;;
    esac
}

# without_make COMMAND...: nothing of the make that called this script reaches
# another project's makefiles (ARCH and O mean something to Xen's).
without_make() {
    env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u MAKELEVEL \
        -u ARCH -u O -u V -u BUILD -u VARIANT -u CFLAGS -u LDFLAGS "$@"
}

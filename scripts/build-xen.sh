#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Builds one Xen hypervisor.
#
# usage: build-xen.sh patched|stock|off|padded ARCH VARIANT
#
# patched  Xen with this project in it   build/xen/ARCH/xen, xen-syms
# stock    Xen as released, same config  build/xen/ARCH/stock/xen, xen-syms
# off      the patched tree with our options off, and
# padded   the released one with its lines moved to where the patched tree has them
#          (both for compare-off.sh)
#
# Objects are built outside of the source tree, which all of these share.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -eq 3 ] || fail "usage: build-xen.sh patched|stock|off|padded ARCH VARIANT"
KIND=$1
set_arch "$2"
VARIANT=$3
NAME=$(variant_dir "$ARCH" "$VARIANT")
CONFIGS=${CONFIGS:-$ROOT/c-shim/configs}
case $KIND in
    patched) SOURCE=patched SRC=$BUILD/xen/src OUT=$BUILD/xen/$NAME ;;
    stock) SOURCE=stock SRC=$BUILD/xen/stock-src OUT=$BUILD/xen/$NAME/stock ;;
    off) SOURCE=patched SRC=$BUILD/xen/src OUT=$BUILD/xen/$NAME/off ;;
    padded) SOURCE=padded SRC=$BUILD/xen/padded-src OUT=$BUILD/xen/$NAME/padded ;;
    *) fail "no kind of Xen called '$KIND'" ;;
esac
OBJ=$OUT/obj
LABEL=$NAME-$KIND

# fragments: the files whose options go on top of Xen's defconfig.
fragments() {
    echo "$CONFIGS/$ARCH.config"
    if [ "$VARIANT" = debug ]; then
        echo "$CONFIGS/debug.config"
    fi
    if [ "$VARIANT" = xsm ]; then
        echo "$CONFIGS/xsm.config"
    fi
    case $KIND-$VARIANT in
        patched-debug) echo "$CONFIGS/rust-debug.config" ;;
        off-*) echo "$CONFIGS/rust-off.config" ;;
    esac
}

# xen_make TARGET: nothing of the machine, its user, the folder or the time goes
# into the hypervisor: the same input gives the same file, and a second make does
# nothing. File names in messages are those of a build inside the tree, which
# `#include __FILE__` (usercopy.c) has to find too.
xen_make() {
    without_make make -C "$SRC/xen" O="$OBJ" -j"$(nproc)" \
        XEN_TARGET_ARCH="$ARCH" CROSS_COMPILE="$CROSS" \
        XEN_VENDORVERSION="$VENDORVERSION" \
        XEN_WHOAMI=grant-dma XEN_DOMAIN=lab XEN_BUILD_HOST=build \
        SOURCE_DATE_EPOCH="$(cat "$BUILD/xen/stock-src.date")" \
        EXTRA_CFLAGS_XEN_CORE="-ffile-prefix-map=$SRC/xen/= -ffile-prefix-map=$OBJ=. -idirafter $SRC/xen" "$@"
}

# all_landed: Kconfig drops an option whose dependencies are not met without a
# word.
all_landed() {
    local line
    while read -r line; do
        grep -qxF "$line" "$OBJ/.config" ||
            fail "$NAME: Xen's Kconfig did not accept $line"
    done < <(fragments | xargs cat | grep '^CONFIG_')
    case $KIND in
        patched) line='CONFIG_GRANT_TABLE_RUST=y' ;;
        off) line='# CONFIG_GRANT_TABLE_RUST is not set' ;;
        stock | padded) return ;;
    esac
    grep -qxF "$line" "$OBJ/.config" || fail "$NAME: expected '$line' in $OBJ/.config"
}

# configure: anew when a fragment, our Kconfig or the compiler is another.
configure() {
    local now
    now=$({
        fragments | xargs cat
        cat "$SRC/xen/common/Kconfig" "$SRC/xen/common/grant-dma/Kconfig" 2>/dev/null || true
        "${CROSS}gcc" --version
    } | sha256sum)
    if [ -f "$OBJ/.config" ] && [ "$now" = "$(cat "$OUT/configured" 2>/dev/null)" ]; then
        return
    fi
    say CONFIG "$LABEL"
    rm -f "$OUT/configured" "$OBJ/.config"
    logged "config-$LABEL" xen_make defconfig
    fragments | xargs cat >>"$OBJ/.config"
    logged "config-$LABEL" xen_make olddefconfig
    all_landed
    printf '%s\n' "$now" >"$OUT/configured"
}

# publish FILE: out of the object folder, with a new time stamp, that of the build's
# beginning, only if new.
publish() {
    cp "$OBJ/$1" "$OUT/$1.new"
    touch -r "$OUT/built.new" "$OUT/$1.new"
    replace_if_changed "$OUT/$1.new" "$OUT/$1"
}

VENDORVERSION=
if [ "$KIND" = patched ]; then
    VENDORVERSION=-gdma
fi

mkdir -p "$OUT"
touch "$OUT/built.new"
"$ROOT/scripts/xen-source.sh" "$SOURCE"
hold "xen-$LABEL"
if [ "$KIND-$ARCH" = patched-x86_64 ]; then
    "$ROOT/scripts/check-contig-markers.sh"
fi
mkdir -p "$OBJ"
configure
if [ "$KIND" = patched ]; then
    # Access control makes no difference to the Rust side.
    "$ROOT/scripts/build-rust.sh" "$ARCH" "${VARIANT/xsm/release}" "$OBJ/.config" \
        "$OBJ/common/grant-dma/rust.o"
fi
say XEN "$LABEL"
logged "xen-$LABEL" xen_make build
publish xen
publish xen-syms
# By this file's time gdma-lab knows what was changed since.
mv -f "$OUT/built.new" "$OUT/built"
say DONE "$OUT/xen"

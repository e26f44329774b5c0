#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Pristine Xen source in build/xen/stock-src, patched source in build/xen/src, and
# in build/xen/padded-src the pristine source with empty lines where the patched one
# has lines more, for compare-off.sh.
#
# usage: xen-source.sh stock|patched|padded
#
# From Debian's package registry, or a copy of the tree that XEN_SRC names.
# OVERLAY, PATCHES and ABI_HEADER say what is laid over it.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/apt-private.sh
. "$(dirname "$0")/apt-private.sh"

SERIES=4.20    # the Xen release the patches are for
SUITE=trixie   # the Debian suite that has it
XEN_SRC=${XEN_SRC:-}
OVERLAY=${OVERLAY:-$ROOT/c-shim/xen}
PATCHES=${PATCHES:-$ROOT/c-shim/patches/$SERIES}
ABI_HEADER=${ABI_HEADER:-$ROOT/hypercall-abi/include/public/grant_dma.h}

XEN=$BUILD/xen
STOCK=$XEN/stock-src
PATCHED=$XEN/src
PADDED=$XEN/padded-src
SYNC=$ROOT/scripts/sync-tree.py

# index_sha256 FILE: what the signed index of the suite says about FILE.
index_sha256() {
    private_apt xen apt-cache showsrc --only-source xen |
        awk -v file="$1" '/^[^ ]/ { sha = /^Checksums-Sha256:/ }
            sha && $3 == file { print $1; exit }'
}

# fetch_tarball: downloads it and leaves its path in $tarball.
# apt checks the index's signature, and the file against the index; the second
# check here also covers a file that was left by an earlier run.
fetch_tarball() {
    local dir=$XEN/download want have
    mkdir -p "$dir"
    need_system_sources
    say FETCH "Xen $SERIES source, from Debian $SUITE"
    private_lists xen "deb-src [signed-by=$DEBIAN_KEYRING] $(debian_mirror) $SUITE main"
    rm -f "$dir"/*.orig.tar.xz "$dir/verified"
    (
        cd "$dir"
        logged apt-source private_apt xen apt-get -q source --tar-only --download-only "xen/$SUITE"
    )
    tarball=$(find "$dir" -name 'xen_*.orig.tar.xz')
    [ -f "$tarball" ] || fail "apt reported success but left no xen_*.orig.tar.xz in $dir"
    want=$(index_sha256 "${tarball##*/}")
    have=$(sha256sum "$tarball" | cut -d' ' -f1)
    [ -n "$want" ] || fail "the signed index has no sha256 for ${tarball##*/}"
    [ "$want" = "$have" ] || fail "${tarball##*/} has sha256 $have, the signed index says $want"
    (cd "$dir" && sha256sum "${tarball##*/}" >verified)
}

# find_tarball: the one already verified, while it is still the same file.
find_tarball() {
    tarball=$(find "$XEN/download" -name 'xen_*.orig.tar.xz' 2>/dev/null | head -n 1)
    [ -n "$tarball" ] && (cd "$XEN/download" && sha256sum --status -c verified 2>/dev/null)
}

# check_version TREE: the series is for one release only.
check_version() {
    local version
    [ -f "$1/xen/Makefile" ] || fail "no xen/Makefile in $1: not a Xen source tree"
    version=$(sed -n 's/^export XEN_\(SUB\)\?VERSION *= *//p' "$1/xen/Makefile" | paste -sd.)
    [ "$version" = "$SERIES" ] || fail "this is Xen $version; the patches are for $SERIES"
}

# copy_of_user_tree NEW: never builds in, or changes, what the user named.
copy_of_user_tree() {
    "$SYNC" "$XEN_SRC" "$1"
    # Objects left in the source tree would be taken for those of our builds.
    if [ -e "$1/xen/.config" ] || [ -d "$1/xen/include/generated" ]; then
        logged distclean without_make make -C "$1/xen" distclean
    fi
}

# origin: a line that changes when the pristine tree has to be made anew.
origin() {
    if [ -n "$XEN_SRC" ]; then
        printf 'folder %s ' "$XEN_SRC"
        find "$XEN_SRC" -name .git -prune -o -type f -printf '%P %s %T@\n' |
            LC_ALL=C sort | sha256sum | cut -d' ' -f1
    else
        sed 's/^/tarball /' "$XEN/download/verified"
    fi
}

make_stock() {
    local new=$XEN/stock-src.new now tarball=
    if [ -n "$XEN_SRC" ]; then
        check_version "$XEN_SRC"
    else
        find_tarball || fetch_tarball
    fi
    now=$(origin)
    if [ -s "$XEN/stock-src.date" ] && [ -d "$STOCK" ] &&
        [ "$now" = "$(cat "$XEN/stock-src.origin" 2>/dev/null)" ]; then
        return
    fi
    rm -rf "$new" "$XEN/stock-src.origin"
    mkdir -p "$new"
    if [ -n "$XEN_SRC" ]; then
        say COPY "Xen source from $XEN_SRC"
        copy_of_user_tree "$new"
    else
        say UNPACK "${tarball##*/}"
        logged unpack tar -xf "$tarball" -C "$new" --strip-components=1 --no-same-owner
        check_version "$new"
    fi
    # The build's date is the release's, so that a rebuild gives the same file.
    stat -c %Y "${XEN_SRC:-$new}/xen/Makefile" >"$XEN/stock-src.date"
    "$SYNC" "$new" "$STOCK"
    rm -rf "$new"
    printf '%s\n' "$now" >"$XEN/stock-src.origin"
}

# overlay_files: what is laid over the tree; not editors' leftovers or objects.
overlay_files() {
    (cd "$OVERLAY" && find . -type f ! -name '.*' ! -name '*~' ! -name '*.o' \
        -printf '%P\n' | LC_ALL=C sort)
}

lay_over() {
    local file
    while read -r file; do
        [ ! -e "$1/xen/$file" ] ||
            fail "the overlay's $file would replace a file of Xen: make that a patch"
        install -D -m 644 "$OVERLAY/$file" "$1/xen/$file"
    done < <(overlay_files)
    if [ -f "$ABI_HEADER" ]; then
        install -m 644 "$ABI_HEADER" "$1/xen/include/public/grant_dma.h"
    fi
}

series() {
    sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$PATCHES/series"
}

apply_series() {
    local name
    for name in $(series); do
        [ -f "$PATCHES/$name" ] || fail "the series names $name, which does not exist"
        # No fuzz: a hunk that only nearly fits is to be looked at by a person.
        patch -p1 -d "$1" -s -f -F0 --no-backup-if-mismatch \
            <"$PATCHES/$name" >"$LOGS/patch.log" 2>&1 ||
            fail "patch $name does not apply to this Xen (details: $LOGS/patch.log)"
    done
}

# inputs: a hash of all that the patched tree is made from.
inputs() {
    {
        cat "$XEN/stock-src.origin" "$PATCHES/series"
        (cd "$PATCHES" && series | xargs -r sha256sum)
        (cd "$OVERLAY" && overlay_files | xargs -r -d '\n' sha256sum)
        if [ -f "$ABI_HEADER" ]; then sha256sum <"$ABI_HEADER"; fi
    } | sha256sum
}

make_patched() {
    local new=$XEN/src.new now
    [ -f "$PATCHES/series" ] || fail "no series file in $PATCHES"
    [ -d "$OVERLAY" ] || fail "no folder $OVERLAY to lay over Xen's tree"
    now=$(inputs)
    if [ -d "$PATCHED" ] && [ "$now" = "$(cat "$XEN/src.inputs" 2>/dev/null)" ]; then
        return
    fi
    say PATCH "$(series | wc -l) patches, $(overlay_files | wc -l) files laid over"
    rm -rf "$new" "$XEN/src.inputs"
    cp -a "$STOCK" "$new"
    lay_over "$new"
    apply_series "$new"
    "$SYNC" "$new" "$PATCHED"
    rm -rf "$new"
    printf '%s\n' "$now" >"$XEN/src.inputs"
}

# touched: the C files of the released tree that the series changes.
touched() {
    (cd "$PATCHES" && series | xargs sed -n 's|^--- a/\(.*\.[ch]\)$|\1|p') | LC_ALL=C sort -u
}

make_padded() {
    local new=$XEN/padded.new files
    rm -rf "$new"
    cp -a "$STOCK" "$new"
    mapfile -t files < <(touched)
    "$ROOT/scripts/pad-tree.py" "$PATCHED" "$new" "${files[@]}" ||
        fail "the series cannot be compared line by line"
    mkdir -p "$PADDED"
    "$SYNC" "$new" "$PADDED"
    rm -rf "$new"
}

mkdir -p "$XEN"
hold xen-source
case ${1:-} in
    stock) make_stock ;;
    patched)
        make_stock
        make_patched
        ;;
    padded)
        make_stock
        make_patched
        make_padded
        ;;
    *) fail "usage: xen-source.sh stock|patched|padded" ;;
esac

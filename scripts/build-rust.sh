#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Compiles the Rust side for the hypervisor and links it into one object.
#
# usage: build-rust.sh ARCH VARIANT XEN_CONFIG OUTPUT
#
# XEN_CONFIG is the .config of the Xen build that the object is for: its
# hardening options decide the code generation here too.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/rust-toolchain.sh
. "$(dirname "$0")/rust-toolchain.sh"

[ $# -eq 4 ] || fail "usage: build-rust.sh ARCH VARIANT XEN_CONFIG OUTPUT"
set_arch "$1"
NAME=$(variant_dir "$ARCH" "$2")
XEN_CONFIG=$3
OUTPUT=$4
CRATE=${RUST_CRATE:-$ROOT/c-shim}
TARGET_DIR=$BUILD/rust/$NAME
LINK=$TARGET_DIR/link
LIBRARY=$TARGET_DIR/$TRIPLE/release/libxen_grant_dma.a

configured() {
    grep -qx "CONFIG_$1=y" "$XEN_CONFIG"
}

# Xen lives at 0xffff82d040000000 and its linker script allows no GOT: neither
# the kernel code model (top 2 GiB) nor plain PIC will do.
x86_64_flags() {
    printf '%s\n' -Crelocation-model=pic -Ccode-model=small \
        -Zdirect-access-external-data=yes -Zplt=yes
    if configured INDIRECT_THUNK; then
        printf '%s\n' -Zretpoline-external-thunk=yes
    fi
    if configured RETURN_THUNK; then
        printf '%s\n' -Zfunction-return=thunk-extern
    fi
    if configured XEN_IBT; then
        printf '%s\n' -Zcf-protection=branch
    fi
    # Jump tables would bypass the thunks, and under IBT be jumps without one.
    if configured INDIRECT_THUNK || configured XEN_IBT; then
        printf '%s\n' -Cjump-tables=n
    fi
}

arm64_flags() {
    printf '%s\n' -Crelocation-model=static -Ctarget-feature=-outline-atomics
}

# rust_flags: one a line. The path prefixes keep this machine out of the panic
# messages, and make the object the same wherever it is built.
rust_flags() {
    "${ARCH}_flags"
    printf '%s\n' -Cpanic=abort -Cforce-unwind-tables=no -Coverflow-checks=on \
        "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/cargo" \
        "--remap-path-prefix=$(cd "$CRATE/.." && pwd)=/grant-dma" \
        "--remap-path-prefix=$(realpath "$SYSROOT/lib/rustlib/src/rust")=/rust"
    if configured FRAME_POINTER; then
        printf '%s\n' -Cforce-frame-pointers=yes
    fi
}

# as_toml_array: the flags as cargo's --config wants them.
as_toml_array() {
    sed -e "s/.*/'&'/" | paste -sd, | sed -e 's/.*/[&]/'
}

# The flags go to this target only: RUSTFLAGS would replace them, and reaches
# host builds as well.
compile() {
    # shellcheck disable=SC2086 # CARGO_FLAGS is a list of words
    without_make env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET \
        -u RUSTC_WRAPPER -u CARGO_TARGET_DIR -u RUSTUP_TOOLCHAIN \
        RUSTC="$RUSTC" RUSTC_BOOTSTRAP=1 \
        cargo build --locked --release --lib \
        --manifest-path "$CRATE/Cargo.toml" \
        --target "$TRIPLE" --target-dir "$TARGET_DIR" \
        -Z build-std=core,alloc,compiler_builtins \
        --config 'profile.release.lto="fat"' \
        --config "target.$TRIPLE.rustflags=$(rust_flags | as_toml_array)" \
        ${CARGO_FLAGS:-}
}

# unpack_library: its objects in the current folder, without the bitcode that
# some linker plug-ins take for the object itself.
unpack_library() {
    local object
    "${CROSS}ar" x "$LIBRARY"
    for object in *.o; do
        "${CROSS}objcopy" -R .llvmbc -R .llvmcmd "$object"
        rename_mem "$object"
    done
}

# rename_mem OBJECT: compiler_builtins defines these weakly, which would win
# over Xen's in a partial link. Under another name they are dead code.
rename_mem() {
    local options
    options=$("${CROSS}nm" --defined-only "$1" | awk '
        $3 ~ /^(memcpy|memmove|memset|memcmp|bcmp|strlen)$/ {
            print "--redefine-sym " $3 "=rust_" $3 }')
    if [ -n "$options" ]; then
        # shellcheck disable=SC2086 # a list of options
        "${CROSS}objcopy" $options "$1"
    fi
}

# entry_points: every function of this prefix, and nothing else, is for the C
# side to call.
entry_points() {
    "${CROSS}nm" -g --defined-only ./*.o | awk '$3 ~ /^gdma_rs_/ { print $3 }' |
        LC_ALL=C sort -u
}

# Of names that are longer than this Xen's tables get another one.
LONGEST_NAME=100

# demangled: names that a person can read, one a line, without what is the same in all.
demangled() {
    "${CROSS}c++filt" -s rust |
        sed -e 's/\[[0-9a-f]*\]//g' -e 's/<xen_grant_dma::[^<>]*>//g' \
            -e 's/[^A-Za-z0-9_:{}#]\{1,\}/_/g' -e 's/^_//'
}

# shorten_names OBJECT: what prints Xen's stack traces has room for 127 characters, and
# writes past them. The number keeps names apart that are cut to the same.
shorten_names() {
    "${CROSS}readelf" -sW "$1" >../symbols
    awk -v most=$LONGEST_NAME '$7 != "UND" && $4 != "FILE" && length($8) > most { print $8 }' \
        ../symbols >../long
    demangled <../long | awk '{ print substr($0, 1, 90) "." NR }' >../readable
    paste -d' ' ../long ../readable >../renamed
    # The file's name stands before each of its symbols.
    awk '$4 == "FILE" && $8 != "" { short = $8; sub(/\..*/, "", short); print $8, short }' \
        ../symbols >>../renamed
    "${CROSS}objcopy" --redefine-syms=../renamed "$1"
}

# link_object: one object of what the entry points reach, with no other global
# symbol. Debug information stays, for xen-syms.
link_object() {
    rm -rf "$LINK"
    mkdir -p "$LINK/objects"
    cd "$LINK/objects"
    unpack_library
    entry_points >../entries
    [ -s ../entries ] || fail "no gdma_rs_* function in $LIBRARY"
    sed 's/.*/EXTERN(&)/' ../entries >../rust.lds
    cat "$ROOT/scripts/rust-object.lds" >>../rust.lds
    "${CROSS}ld" -r --gc-sections -T ../rust.lds -o ../linked.o ./*.o
    # What only discarded code named is still listed as undefined: drop it. A
    # symbol that a relocation needs stays, for check-rust-object.sh to judge.
    "${CROSS}nm" -u ../linked.o | awk '{ print $2 }' >../undefined
    "${CROSS}objcopy" --keep-global-symbols=../entries \
        --strip-unneeded-symbols=../undefined ../linked.o ../rust.o
    shorten_names ../rust.o
}

RUSTC=$(find_rustc)
[ -n "$RUSTC" ] || fail "no rustc >= $RUST_MINIMUM with its rust-src; run: scripts/need-tools.sh rust-hv"
SYSROOT=$("$RUSTC" --print sysroot)

hold "rust-$NAME"
say RUST "$NAME: $(basename "$CRATE") for $TRIPLE, $("$RUSTC" --version | cut -d' ' -f1-2)"
mkdir -p "$TARGET_DIR"
logged "rust-$NAME" compile
stamp=$TARGET_DIR/rust.o.stamp
now=$(sha256sum "$LIBRARY" "$ROOT/scripts/rust-object.lds" "$0")
if [ "$now" != "$(cat "$stamp" 2>/dev/null)" ]; then
    rm -f "$stamp"
    logged "link-rust-$NAME" link_object
    logged "check-rust-$NAME" "$ROOT/scripts/check-rust-object.sh" \
        "$LINK/rust.o" "$ARCH" "$XEN_CONFIG"
    printf '%s\n' "$now" >"$stamp"
    say CHECK "$NAME: rust.o, $(wc -l <"$LINK/entries") entry points, nothing Xen cannot link"
fi
mkdir -p "$(dirname "$OUTPUT")"
cp "$LINK/rust.o" "$OUTPUT.new"
replace_if_changed "$OUTPUT.new" "$OUTPUT"

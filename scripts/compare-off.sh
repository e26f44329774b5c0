#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Proves that the patched tree with our options off is the released Xen: every
# object file's code, constants and data are those of the unpatched build, in which
# empty lines stand for those that the series adds: line numbers get into the code.
#
# usage: compare-off.sh ARCH VARIANT     (after build-xen.sh padded and off)

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -eq 2 ] || fail "usage: compare-off.sh ARCH VARIANT"
set_arch "$1"
STOCK=$BUILD/xen/$(variant_dir "$1" "$2")/padded/obj
OFF=$BUILD/xen/$(variant_dir "$1" "$2")/off/obj

# config_data.o holds the configuration itself, which has one comment more;
# buildid.o has no section to compare.
LEFT_OUT='^(common/config_data|arch/x86/efi/buildid)\.o$'
# Below this the comparison has not seen a hypervisor.
AT_LEAST=200

objects() {
    (cd "$1" && find . -name '*.o' ! -name 'built_in.o' ! -name 'prelink*.o' -printf '%P\n' |
        grep -vE '^tools/' | grep -vE "$LEFT_OUT" | LC_ALL=C sort)
}

# contents OBJECT: a hash of what ends up in the hypervisor: every section but
# debug information, symbols and the linker's notes, with its name; and the
# relocations, as what a call goes to is in them and not in the code.
contents() {
    rm -f "$WORK/object"
    "${CROSS}objcopy" --strip-debug --remove-section=.comment --remove-section=.note.gnu.build-id "$1" "$WORK/object"
    {
        "${CROSS}objdump" -s "$WORK/object"
        "${CROSS}objdump" -r "$WORK/object"
    } >"$WORK/contents"
    sed '/file format/d' "$WORK/contents" | sha256sum
}

compare() {
    local object stock off count=0 differ=0
    while read -r object; do
        count=$((count + 1))
        stock=$(contents "$STOCK/$object")
        off=$(contents "$OFF/$object")
        if [ "$stock" != "$off" ]; then
            echo "differs: $object"
            differ=$((differ + 1))
        fi
    done < <(objects "$STOCK")
    [ "$count" -ge "$AT_LEAST" ] || fail "only $count objects in $STOCK: not a whole build"
    [ "$differ" -eq 0 ] || fail "$differ of $count objects differ with our options off"
    say SAME "$count objects: with our options off the code is the released Xen's"
}

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
for folder in "$STOCK" "$OFF"; do
    [ -d "$folder" ] || fail "no build in $folder"
done
if ! diff <(objects "$STOCK") <(objects "$OFF") >"$WORK/lists"; then
    cat "$WORK/lists"
    fail "the two builds do not consist of the same objects"
fi
compare

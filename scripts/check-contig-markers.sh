#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Plays runs of I/O page table entries through the patched tree's functions on the
# host, and compares their markers with those that Xen's own function makes
# (testbed/xen/contig-markers.c). Takes a second, so each build of Xen does it.
#
# usage: check-contig-markers.sh     (after xen-source.sh patched)

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

HEADERS=$BUILD/xen/src/xen/arch/x86/include

# markers MASK: with the markers where an IOMMU driver has them.
markers() {
    gcc -std=gnu11 -O2 -Wall -Wextra -Werror -DCONTIG_MASK="$1" \
        -I "$WORK" -iquote "$HEADERS" -o "$WORK/markers" "$ROOT/testbed/xen/contig-markers.c"
    "$WORK/markers"
}

# What the header includes of Xen is in the program.
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir "$WORK/xen"
touch "$WORK/xen/"{bitops,lib,page-size}.h

logged markers-vtd markers '(0xfULL << 52)'
logged markers-amdvi markers 0x1eULL

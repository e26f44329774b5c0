#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# How much there is, how much of it is unsafe, and what it changes in Xen.
#
# usage: stats.sh

set -euo pipefail
cd "$(dirname "$0")/.."

lines() {
    local part=$1
    shift
    printf '  %-38s %6d\n' "$part" "$(find "$@" -type f -exec cat {} + | wc -l)"
}

# changed SIGN PATCH: the lines that it adds or removes.
changed() {
    sed '1,/^@@/d' "$2" | grep -vE '^(\+\+\+|---) ' | grep -c "^[$1]" || true
}

echo 'Lines:'
lines 'hypercall-abi (Rust)' hypercall-abi/src -name '*.rs'
lines 'hv (Rust, no unsafe)' hv/src -name '*.rs'
lines 'c-shim (Rust)' c-shim/src -name '*.rs'
lines 'c-shim (C)' c-shim/xen -name '*.[ch]'
lines 'testbed (Rust)' testbed/src testbed/tests -name '*.rs'
lines 'xtf-tests (C and assembly)' xtf-tests -name '*.[chS]'

echo 'Unsafe, by file (blocks, functions, impls; extern declarations apart):'
grep -rEc '(^|[^_[:alnum:]])unsafe (\{|fn|impl)' --include='*.rs' \
    hypercall-abi hv c-shim testbed | awk -F: '
        $2 { printf "  %-38s %6d\n", $1, $2; sum += $2 }
        END { printf "  %-38s %6d\n", "in all", sum }'

echo "Patch to Xen's own files:"
for patch in c-shim/patches/*/*.patch; do
    printf '  %-62s +%-4d -%d\n' "${patch##*/}" \
        "$(changed + "$patch")" "$(changed - "$patch")"
done

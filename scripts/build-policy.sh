#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Compiles the two FLASK policies of the lab from the patched Xen tree.
#
# usage: build-policy.sh
#
# full        Xen's example policy as patched, with testbed/flask/pvh_dom0.te
#             build/xen/policy/full
# restricted  the same without the module of the series, and with
#             testbed/flask/restricted.cons
#             build/xen/policy/restricted

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

POLICY_SRC=$BUILD/xen/src/tools/flask/policy
OUT=$BUILD/xen/policy

# policy NAME ON OFF: through Xen's own makefile, outside its tree, with the modules ON
# more and the module OFF less, if any.
policy() {
    local name=$1 on=$2 off=$3 work=$OUT/work-$1
    rm -rf "$work"
    mkdir -p "$work"
    cp -r "$POLICY_SRC/modules" "$ROOT"/testbed/flask/* "$work"
    mv "$work"/*.te "$work"/*.cons "$work/modules"
    # shellcheck disable=SC2086 # names of modules
    printf '%s = on\n' $on >>"$work/modules/modules.conf"
    if [ -n "$off" ]; then
        grep -qx "$off = on" "$work/modules/modules.conf" || fail "no module $off to leave out"
        sed -i "s/^$off = on$/$off = off/" "$work/modules/modules.conf"
    fi
    say POLICY "$name"
    logged "policy-$name" without_make make -f Makefile.common -C "$POLICY_SRC" \
        MODDIR="$work/modules" FLASK_BUILD_DIR="$work" POLICY_FILENAME="$work/policy"
    replace_if_changed "$work/policy" "$OUT/$name"
    rm -rf "$work"
}

[ $# -eq 0 ] || fail "usage: build-policy.sh"
"$ROOT/scripts/xen-source.sh" patched
hold policy
mkdir -p "$OUT"
touch "$OUT/built.new"
policy full pvh_dom0 ''
policy restricted 'pvh_dom0 restricted' grant_dma
mv -f "$OUT/built.new" "$OUT/built"
say DONE "$OUT/full, restricted"

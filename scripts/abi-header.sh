#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Generates what the crate hypercall-abi determines: the C header, and the
# reference in docs/abi.md from the header.
#
# usage: abi-header.sh [--check]     (--check: change nothing, fail if stale)

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

HEADER=$ROOT/hypercall-abi/include/public/grant_dma.h

generate() {
    "$BUILD/tools/bin/cbindgen" --quiet --config "$ROOT/hypercall-abi/cbindgen.toml" \
        --crate hypercall-abi --output "$1" "$ROOT/hypercall-abi"
}

abi_doc() {
    (cd "$ROOT" && cargo run --quiet --locked -p testbed --bin abi-doc -- "$@")
}

check() {
    new=$(mktemp)
    trap 'rm -f "$new"' EXIT
    generate "$new"
    if ! diff -u "$HEADER" "$new"; then
        fail "${HEADER#"$ROOT"/} is not what the crate says: run 'make abi-header'"
    fi
    abi_doc --check
    say ABI "header and reference are up to date"
}

case ${1:-} in
    --check) check ;;
    '')
        generate "$HEADER"
        abi_doc
        say ABI "${HEADER#"$ROOT"/} and docs/abi.md"
        ;;
    *) fail "usage: abi-header.sh [--check]" ;;
esac

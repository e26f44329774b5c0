#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Everything that can be checked without a hypervisor.
#
# usage: check.sh

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# The panic handler and allocator of c-shim would clash with the host's: it is
# linted alone.
lint_rust() {
    cargo clippy --quiet --locked --all-targets -- -D warnings
    cargo clippy --quiet --locked -p c-shim --lib --target x86_64-unknown-linux-gnu -- -D warnings
}

# What failed is at the end of the output, and in build/logs/tests.log until the next run.
test_rust() {
    run_tests 2>&1 | tee "$LOGS/tests.log"
}

run_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        # nextest runs no documentation tests.
        logged doc-tests cargo test --quiet --locked --doc
        cargo nextest run --locked --no-fail-fast
    else
        cargo test --locked --no-fail-fast
    fi
}

cd "$ROOT"
"$ROOT/scripts/need-tools.sh" host-rust cbindgen lint arm64
say FORMAT 'cargo fmt'
logged fmt cargo fmt --all --check
say LINT 'clippy, shellcheck'
logged clippy lint_rust
logged shellcheck shellcheck -x scripts/*.sh testbed/linux-lab/*.sh .ci/run
say RULES 'the checks of the Rust object refuse what they should'
scripts/check-rust-object-selftest.sh
scripts/abi-header.sh --check
say TEST 'unit, model and property tests'
test_rust

#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Builds the test guests into build/xtf.
#
# usage: build-guests.sh

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

hold xtf
mkdir -p "$BUILD/xtf"
say GUESTS "$(find "$ROOT/xtf-tests/tests" -mindepth 2 -maxdepth 2 -name Makefile | wc -l) tests"
touch "$BUILD/xtf/built.new"
logged guests without_make make -C "$ROOT/xtf-tests" -j"$(nproc)" O="$BUILD/xtf"
# By this file's time gdma-lab knows what was changed since.
mv -f "$BUILD/xtf/built.new" "$BUILD/xtf/built"

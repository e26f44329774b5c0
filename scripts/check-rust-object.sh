#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Refuses a Rust object that Xen could link but not run.
#
# usage: check-rust-object.sh OBJECT ARCH XEN_CONFIG
#
# Each finding is one line, `RULE: what was found`; scripts/
# check-rust-object-selftest.sh proves that every rule can fail. XEN_CONFIG is
# the .config of the Xen build (only its hardening options matter).

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -eq 3 ] || fail "usage: check-rust-object.sh OBJECT ARCH XEN_CONFIG"
OBJECT=$1
set_arch "$2"
XEN_CONFIG=$3
ALLOWED=${ALLOWED_UNDEFINED:-$ROOT/c-shim/allowed-undefined.txt}
[ -f "$OBJECT" ] || fail "no object $OBJECT"
[ -f "$XEN_CONFIG" ] || fail "no Xen configuration $XEN_CONFIG"

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

configured() {
    grep -qx "CONFIG_$1=y" "$XEN_CONFIG"
}

# found RULE EXPLANATION: reports the lines on standard input, if any.
found() {
    local line
    while IFS= read -r line; do
        printf '%s: %s (%s)\n' "$1" "$line" "$2" >>"$WORK/findings"
    done
}

# list_facts: one pass of each tool over the object. Only sections that are
# loaded count: debug information may hold whatever the debugger understands.
list_facts() {
    "${CROSS}readelf" -SW "$OBJECT" | sed -n 's/^ *\[ *\([0-9]*\)\] */\1 /p' |
        awk 'NF >= 8 { print $1, $2, $3, $6, (NF >= 11 ? $8 : "-") }' >"$WORK/sections"
    "${CROSS}readelf" -sW "$OBJECT" | awk '$1 ~ /^[0-9]+:$/' >"$WORK/symbols"
    "${CROSS}objdump" -d --no-show-raw-insn "$OBJECT" |
        sed -n -e 's/ *[<#].*//' -e 's/^ *\([0-9a-f]*\):\t/\1 /p' >"$WORK/instructions"
    "${CROSS}readelf" -rW "$OBJECT" | awk '
        /^Relocation section/ { loaded = ($3 !~ /\.rela?\.(debug|note)/) }
        loaded && $1 ~ /^[0-9a-f]+$/ && $3 ~ /^R_/ { print $3, $5, $6, $7 }' >"$WORK/relocations"
}

# Only the section names that both of Xen's linker scripts place; anything else
# would become an orphan, on Arm outside of the mapped text.
check_sections() {
    awk '$5 ~ /A/ && $4 !~ /^0+$/ { print $2 }' "$WORK/sections" |
        grep -vxE '\.text|\.rodata|\.data\.rel\.ro|\.data|\.bss|\.note\.gnu\.property' |
        grep -vE '^\.(init_array|fini_array|preinit_array|ctors|dtors|tdata|tbss|got)' |
        found section "Xen's linker scripts do not place it" || true
    awk '$5 ~ /A/ && $2 ~ /^\.got/ { print $2 }' "$WORK/sections" |
        found got "Xen has no global offset table"
    awk '$2 ~ /^\.(init_array|fini_array|preinit_array|ctors|dtors)/ { print $2 }' \
        "$WORK/sections" | found constructor "nothing in Xen would run it for Rust"
    awk '$5 ~ /T/ || $2 ~ /^\.(tdata|tbss)/ { print $2 }' "$WORK/sections" |
        found tls "Xen has no thread-local storage"
}

relocation_types() {
    case $ARCH in
        x86_64) echo 'R_X86_64_(64|PC32|PLT32)' ;;
        arm64) echo 'R_AARCH64_(ABS64|PREL32|CALL26|JUMP26|CONDBR19|TSTBR14|ADR_PREL_LO21|ADR_PREL_PG_HI21|ADD_ABS_LO12_NC|LDST(8|16|32|64|128)_ABS_LO12_NC)' ;;
    esac
}

# counted: equal lines as one, with their number.
counted() {
    sort | uniq -c | sed 's/^ *//'
}

check_relocations() {
    local tls='TLS|TPOFF|TPREL|DTP(MOD|REL)'
    cut -d' ' -f1 "$WORK/relocations" >"$WORK/types"
    grep -E "$tls" "$WORK/types" | counted |
        found tls "Xen has no thread-local storage" || true
    grep -vE "$tls" "$WORK/types" | grep GOT | counted |
        found got "Xen has no global offset table" || true
    grep -vE "$tls|GOT" "$WORK/types" | grep -vxE "$(relocation_types)" | counted |
        found relocation "not a type known to fit Xen's address space" || true
}

# fp_pattern: instructions on registers that Xen leaves to the guest. Branch
# targets are cut off first: a bare address such as d4 looks like a register.
fp_pattern() {
    case $ARCH in
        x86_64) echo '%[xyz]mm[0-9]|%mm[0-7]|%st|^[0-9a-f]+ (f[a-z0-9]*|emms|vzero(upper|all)|(ld|st)mxcsr|v?(ld|st)mxcsr|xsave.*|xrstor.*)( |$)' ;;
        arm64) echo '[ ,{[]([vqdshb][0-9]|[vqdshb][12][0-9]|[vqdshb]3[01])(\.|,|}| |]|$)|^[0-9a-f]+ (fmov|fcmp|fcvt|movi|dup|ld1|st1)' ;;
    esac
}

check_fp() {
    tr '\t' ' ' <"$WORK/instructions" | grep -vE '^[0-9a-f]+ (b|bl|cbn?z|tbn?z|adrp?)(\.[a-z]+)? ' |
        grep -E "$(fp_pattern)" | head -n 5 |
        found floating-point "these registers hold a guest's state" || true
}

# What ought to be Xen's own, and what the object may ask of Xen.
check_symbols() {
    local mem='memcpy|memmove|memset|memcmp|bcmp|strlen'
    awk -v mem="^(rust_)?($mem)\$" '$7 != "UND" && $8 ~ mem { print $8 }' "$WORK/symbols" |
        found memory-function "a second definition beside Xen's"
    awk '$5 != "LOCAL" && $7 != "UND" && $8 !~ /^gdma_rs_/ { print $8 }' "$WORK/symbols" |
        grep -vxE "$mem" | found global "only gdma_rs_* may be visible to Xen" || true
    awk '$7 == "UND" && $8 != "" && $8 != "_GLOBAL_OFFSET_TABLE_" { print $8 }' \
        "$WORK/symbols" | sort -u |
        grep -vxE -f <(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$ALLOWED") |
        found undefined "not in ${ALLOWED##*/}" || true
}

# Xen's printer of stack traces, and what tells the control domain of symbols, expand a
# name into 127 characters and a zero without a look at its length. Xen's tables have
# `file#name`, the file being the last one listed before.
check_names() {
    awk -v room=127 '
        $4 == "FILE" { prefix = ($8 == "") ? 0 : length($8) + 1; next }
        $4 != "SECTION" && $7 != "UND" && prefix * ($5 == "LOCAL") + length($8) > room { print $8 }' \
        "$WORK/symbols" | found name "too long for Xen's buffers"
}

# Xen's stack is small, and what calls us and what we call need most of it. A function
# that takes 2 KiB or more of it has something in place that belongs into the heap.
check_stack() {
    local large='0x([89a-f][0-9a-f]{2}|[0-9a-f]{4,})'
    "${CROSS}objdump" -d --no-show-raw-insn "$OBJECT" | awk '
        /^[0-9a-f]+ <.*>:$/ { function_name = $2 }
        $2 == "sub" { print function_name, $0 }' | tr '\t' ' ' |
        sed -nE "s/^<(.*)>: .* sub +(\\\$$large,%rsp|sp, sp, #$large|sp, sp, #0x[0-9a-f]+, lsl #12)( .*)?\$/\1: \2/p" |
        found stack "a function must take less than 2 KiB of Xen's stack"
}

# references: "symbol sign addend correction" of each place that takes
# an address: what data points at, and what `lea` computes (relative to the end
# of the instruction, hence the correction).
references() {
    awk '$1 == "R_X86_64_64" { print $2, $3, $4, 0 }' "$WORK/relocations"
    "${CROSS}objdump" -dr --no-show-raw-insn "$OBJECT" | awk '
        $2 == "lea" { lea = 1; next }
        lea && $2 ~ /^R_X86_64_(PC32|PLT32)$/ && match($3, /[-+]0x[0-9a-f]+$/) {
            print substr($3, 1, RSTART - 1), substr($3, RSTART, 1),
                  substr($3, RSTART + 3), 4
        }
        { lea = 0 }'
}

# symbols_in_text: "symbol offset", the section's own symbol included.
symbols_in_text() {
    local text
    text=$(awk '$2 == ".text" { print $1 }' "$WORK/sections")
    awk -v text="$text" '$7 == text { print ($4 == "SECTION") ? ".text" : $8, $2 }' \
        "$WORK/symbols"
}

# addresses_taken: "offset symbol" of every place in .text that an indirect
# call may reach, the entry points included.
addresses_taken() {
    local -A start=()
    local symbol sign addend correction at
    while read -r symbol at; do
        start[$symbol]=$((16#$at))
    done < <(symbols_in_text)
    while read -r symbol sign addend correction; do
        [ -n "${start[$symbol]:-}" ] || continue
        at=$((start[$symbol] + ${sign}16#$addend + correction))
        printf '%x %s\n' "$at" "$symbol"
    done < <(references)
    while read -r at symbol; do
        printf '%x %s\n' "$((16#$at))" "$symbol"
    done < <(awk '$5 == "GLOBAL" && $4 == "FUNC" && $7 != "UND" { print $2, $8 }' "$WORK/symbols")
}

# Under IBT an indirect branch must land on ENDBR64.
check_endbr() {
    if [ "$ARCH" != x86_64 ] || ! configured XEN_IBT; then
        return
    fi
    awk '$2 == "endbr64" { print $1 }' "$WORK/instructions" | sort -u >"$WORK/endbr"
    addresses_taken | sort -u | while read -r at symbol; do
        grep -qx "$at" "$WORK/endbr" || printf '%s at .text+0x%s\n' "$symbol" "$at"
    done | found endbr "its address is taken and it does not begin with endbr64"
}

# With the thunks on, no indirect call and no return may be left bare.
check_thunks() {
    if [ "$ARCH" != x86_64 ]; then
        return
    fi
    if configured INDIRECT_THUNK; then
        grep -E '^[0-9a-f]+ (notrack )?(call|jmp)q? +\*' "$WORK/instructions" | head -n 5 |
            found indirect-branch "Xen is built with indirect branch thunks" || true
    fi
    if configured RETURN_THUNK; then
        grep -E '^[0-9a-f]+ ret' "$WORK/instructions" | head -n 5 |
            found return "Xen is built with return thunks" || true
    fi
}

: >"$WORK/findings"
list_facts
check_sections
check_relocations
check_fp
check_symbols
check_names
check_stack
check_endbr
check_thunks
if [ -s "$WORK/findings" ]; then
    cat "$WORK/findings" >&2
    fail "$OBJECT must not be linked into Xen: $(wc -l <"$WORK/findings") findings"
fi

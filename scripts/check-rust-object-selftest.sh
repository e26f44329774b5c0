#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Proves that each rule of check-rust-object.sh can fail, on tiny objects that
# break one rule each, and that a good object passes.
#
# usage: check-rust-object-selftest.sh [ARCH...]     (default: x86_64 arm64)

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

CHECK=$ROOT/scripts/check-rust-object.sh
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
: >"$WORK/results"

prefix_of() {
    (set_arch "$1" && echo "$CROSS")
}

# assemble ARCH: from standard input to $WORK/object.o.
assemble() {
    "$(prefix_of "$1")as" -o "$WORK/object.o" -
}

# result good|bad MESSAGE: into a file, as most callers end a pipe.
result() {
    echo "$1" >>"$WORK/results"
    if [ "$1" = bad ]; then
        say FAILED "$2"
        cat "$WORK/out"
    fi
}

count() {
    grep -cx "$1" "$WORK/results" || true
}

check() {
    "$CHECK" "$WORK/object.o" "$1" "$WORK/config" >"$WORK/out" 2>&1
}

# accepts ARCH NAME <ASSEMBLY
accepts() {
    assemble "$1"
    if check "$1"; then result good; else result bad "$1: $2 was refused"; fi
}

# refuses ARCH RULE NAME <ASSEMBLY: exactly this rule must object.
refuses() {
    assemble "$1"
    if check "$1"; then
        result bad "$1: $3 was accepted"
    elif [ "$(grep -c "^$2: " "$WORK/out")" -ge 1 ] &&
        ! grep -vE "^($2|check-rust-object\.sh): " "$WORK/out" >/dev/null; then
        result good
    else
        result bad "$1: $3 should break the rule '$2' alone"
    fi
}

# x86_entry BODY, arm_entry BODY: an entry point of these instructions.
x86_entry() {
    printf '.text\n.globl gdma_rs_f\n.type gdma_rs_f,@function\ngdma_rs_f: endbr64\n'
    printf '%s\njmp __x86_return_thunk\n' "$1"
}

arm_entry() {
    printf '.text\n.globl gdma_rs_f\n.type gdma_rs_f,%%function\ngdma_rs_f:\n%s\nret\n' "$1"
}

common_rules() {
    local arch=$1 entry=$2
    "$entry" nop | accepts "$arch" 'an empty function'
    { "$entry" nop; printf '.globl other\nother: .byte 0\n'; } |
        refuses "$arch" global 'another global symbol'
    { "$entry" nop; printf '.section .init_array,"aw"\n.quad 0\n'; } |
        refuses "$arch" constructor '.init_array'
    { "$entry" nop; printf '.section .ctors,"aw"\n.quad 0\n'; } |
        refuses "$arch" constructor '.ctors'
    { "$entry" nop; printf '.section .tbss,"awT",%%nobits\n.zero 8\n'; } |
        refuses "$arch" tls 'a thread-local variable'
    { "$entry" nop; printf '.section .text.stray,"ax"\nnop\n'; } |
        refuses "$arch" section 'text in a section of its own'
    { "$entry" nop; printf '.data\n.quad somebody\n'; } |
        refuses "$arch" undefined 'a call to somebody'
    { "$entry" nop; printf '.data\n.quad gdma_alloc, memcpy\n'; } |
        accepts "$arch" 'what C and Xen offer'
    { printf '.file "a.c"\n'; "$entry" nop; printf '.data\n%0123d: .byte 0\n' 0 | tr 0 n; } |
        sed 's/n: .byte n$/n: .byte 0/' | accepts "$arch" 'a name of 123 characters in a file of three'
    { printf '.file "a.c"\n'; "$entry" nop; printf '.data\n%0124d: .byte 0\n' 0 | tr 0 n; } |
        sed 's/n: .byte n$/n: .byte 0/' | refuses "$arch" name 'a name of 124 characters there'
    for name in memcpy memmove memset memcmp bcmp rust_memcpy; do
        { "$entry" nop; printf '.text\n.weak %s\n%s: nop\n' "$name" "$name"; } |
            sed '/^\.weak rust_/d' | refuses "$arch" memory-function "a second $name"
    done
}

# shellcheck disable=SC2016 # $ is an assembler's immediate
x86_rules() {
    local body
    printf 'CONFIG_%s=y\n' XEN_IBT INDIRECT_THUNK RETURN_THUNK >"$WORK/config"
    common_rules x86_64 x86_entry
    x86_entry 'mov gdma_alloc@GOTPCREL(%rip), %rax' | refuses x86_64 got 'a load from the GOT'
    x86_entry 'movabs $gdma_x@GOTOFF, %rax' | refuses x86_64 got 'an offset from the GOT'
    x86_entry 'mov gdma_x@gottpoff(%rip), %rax' | refuses x86_64 tls 'a thread-local access'
    x86_entry 'mov $gdma_x, %rax' | refuses x86_64 relocation 'a 32-bit absolute address'
    x86_entry 'call gdma_alloc@PLT; lea gdma_x(%rip), %rax' | accepts x86_64 'relative addresses'
    for body in 'movaps %xmm0, %xmm1' 'vmovdqu (%rdi), %ymm3' 'vpxord %zmm1, %zmm2, %zmm20' \
        'paddb %mm0, %mm1' 'fld1' 'fldl (%rdi)' 'emms' 'vzeroupper' 'ldmxcsr (%rdi)'; do
        x86_entry "$body" | refuses x86_64 floating-point "$body"
    done
    for body in 'call *%rax' 'jmp *(%rdi)' 'notrack jmp *%rax'; do
        x86_entry "$body" | refuses x86_64 indirect-branch "$body"
    done
    x86_entry 'ret' | refuses x86_64 return 'a bare return'
    for body in 0x800 0xff8 0x1000 0x12340; do
        x86_entry "sub \$$body, %rsp" | refuses x86_64 stack "a frame of $body bytes"
    done
    x86_entry 'sub $0x7f8, %rsp; sub $0x1000, %rax' | accepts x86_64 'a frame of 0x7f8 bytes'
    endbr_rules
    : >"$WORK/config"
    x86_entry 'call *%rax; ret; lea 1f(%rip), %rax; 1: nop' |
        accepts x86_64 'the same without hardening'
}

endbr_rules() {
    x86_entry nop | sed 's/endbr64/nop/' | refuses x86_64 endbr 'an entry point without endbr64'
    { x86_entry nop; printf 'g: nop\n.data\n.quad g\n'; } |
        refuses x86_64 endbr 'a method table of a function without endbr64'
    { x86_entry nop; printf 'g: endbr64\n.data\n.quad g\n'; } |
        accepts x86_64 'a method table of a function with endbr64'
    { x86_entry 'lea g(%rip), %rax'; printf '.globl g\n.hidden g\ng: nop\n'; } >"$WORK/lea.s"
    as -o "$WORK/object.o" "$WORK/lea.s" && objcopy -L g "$WORK/object.o"
    if check x86_64; then
        result bad 'x86_64: an address of a function without endbr64 was accepted'
    elif grep -q '^endbr: ' "$WORK/out"; then
        result good
    else
        result bad 'x86_64: an address without endbr64 should break the rule endbr'
    fi
}

arm_rules() {
    local body
    : >"$WORK/config"
    common_rules arm64 arm_entry
    arm_entry 'adrp x0, :got:gdma_x; ldr x0, [x0, :got_lo12:gdma_x]' |
        refuses arm64 got 'a load from the GOT'
    arm_entry 'mrs x1, tpidr_el0; add x0, x1, :tprel_hi12:gdma_x' |
        refuses arm64 tls 'a thread-local access'
    arm_entry 'movz x0, #:abs_g0:gdma_x' | refuses arm64 relocation 'a 16-bit absolute address'
    arm_entry 'bl gdma_alloc; adrp x0, gdma_x; add x0, x0, :lo12:gdma_x' |
        accepts arm64 'relative addresses'
    for body in 'fmov d0, x1' 'ldr q3, [x0]' 'stp d8, d9, [sp]' 'add v0.4s, v1.4s, v2.4s' \
        'ld1 {v30.16b}, [x0]' 'movi v0.2d, #0' 'fadd s1, s2, s31'; do
        arm_entry "$body" | refuses arm64 floating-point "$body"
    done
    for body in '#0x800' '#0xff0' '#1, lsl #12'; do
        arm_entry "sub sp, sp, $body" | refuses arm64 stack "a frame of $body"
    done
    arm_entry 'sub sp, sp, #0x7f0; sub x0, x1, #0x900' | accepts arm64 'a frame of 0x7f0 bytes'
    { arm_entry 'b 1f'; printf '.zero 0xc8\n1: ldr x0, [sp, #0xd0]\nb 1b\n'; } |
        accepts arm64 'branches to addresses that read like registers'
}

[ $# -gt 0 ] || set -- x86_64 arm64
for arch; do
    case $arch in
        x86_64) x86_rules ;;
        arm64) arm_rules ;;
        *) fail "no rules for '$arch'" ;;
    esac
done
say RULES "$(count good) passed, $(count bad) failed"
[ "$(count bad)" -eq 0 ]

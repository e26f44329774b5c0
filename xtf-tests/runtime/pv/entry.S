/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Start of a PV guest: Xen's builder has made page tables that map the
 * image where it is linked, rsi (esi) points to the start info.
 */
#include <arch/asm.h>
#include <arch/page.h>
#include <xen/elfnote.h>

/* A number as wide as an address. */
#ifdef CONFIG_64BIT
#define WORD    .quad
#else
#define WORD    .long
#endif

        XEN_NOTE(XEN_ELFNOTE_GUEST_OS, .asciz "XTF")
        XEN_NOTE(XEN_ELFNOTE_GUEST_VERSION, .asciz "0")
        XEN_NOTE(XEN_ELFNOTE_LOADER, .asciz "generic")
        XEN_NOTE(XEN_ELFNOTE_XEN_VERSION, .asciz "xen-3.0")
        XEN_NOTE(XEN_ELFNOTE_FEATURES, .asciz "!writable_page_tables|pae_pgdir_above_4gb")
        XEN_NOTE(XEN_ELFNOTE_PAE_MODE, .asciz "yes")
        XEN_NOTE(XEN_ELFNOTE_VIRT_BASE, WORD 0)
        XEN_NOTE(XEN_ELFNOTE_PADDR_OFFSET, WORD 0)
        XEN_NOTE(XEN_ELFNOTE_ENTRY, WORD _elf_start)
        XEN_NOTE(XEN_ELFNOTE_HYPERCALL_PAGE, WORD hypercall_page)

        .section .text.head, "ax", @progbits
        .globl _elf_start
_elf_start:
        cld
#ifdef CONFIG_64BIT
        mov %rsi, pv_start_info
        mov $boot_stack_top, %rsp
#else
        mov %esi, pv_start_info
        mov $boot_stack_top, %esp
#endif
        xor %ebp, %ebp
        call xtf_main
        ud2

        /* Filled by Xen's builder. */
        .section .data.page_aligned, "aw", @progbits
        .balign PAGE_SIZE
        .globl hypercall_page
hypercall_page:
        .fill PAGE_SIZE / 2, 2, 0x0b0f

        .section .bss.page_aligned, "aw", @nobits
        .balign PAGE_SIZE
        .skip 4 * PAGE_SIZE
boot_stack_top:

        .section .note.GNU-stack, "", @progbits

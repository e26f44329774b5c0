/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Start of a PVH (or HVM direct-boot) guest: 32-bit protected mode without
 * paging, ebx pointing to the start info.  Ends in xtf_main(), in long mode
 * (hvm64) or still without paging (hvm32).
 */
#include <arch/asm.h>
#include <arch/page.h>
#include <xen/elfnote.h>

#define CR0_WP      (1 << 16)
#define CR0_PG      (1 << 31)
#define CR4_PAE     (1 << 5)
#define MSR_EFER    0xc0000080
#define EFER_LME    (1 << 8)

#define KERNEL_CS   0x08
#define KERNEL_DS   0x10

#define TABLE       (_PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED)
#define LEAF        (TABLE | _PAGE_DIRTY)

        XEN_NOTE(XEN_ELFNOTE_GUEST_OS, .asciz "XTF")
        XEN_NOTE(XEN_ELFNOTE_XEN_VERSION, .asciz "xen-3.0")
        XEN_NOTE(XEN_ELFNOTE_PHYS32_ENTRY, .long _elf_start)

        .section .text.head, "ax", @progbits
        .code32
        .globl _elf_start
_elf_start:
        cli
        cld
        mov %ebx, pvh_start_info

#ifdef CONFIG_64BIT
        mov $CR4_PAE, %eax
        mov %eax, %cr4
        mov $page_table_l4, %eax
        mov %eax, %cr3

        mov $MSR_EFER, %ecx
        rdmsr
        or $EFER_LME, %eax
        wrmsr

        mov %cr0, %eax
        or $(CR0_PG | CR0_WP), %eax
        mov %eax, %cr0
#endif

        lgdt gdt_pointer
        ljmp $KERNEL_CS, $1f

#ifdef CONFIG_64BIT
        .code64
#endif
1:      mov $KERNEL_DS, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        xor %eax, %eax
        mov %eax, %fs
        mov %eax, %gs

#ifdef CONFIG_64BIT
        mov $boot_stack_top, %rsp
#else
        mov $boot_stack_top, %esp
#endif
        call xtf_main
        ud2

        .section .data, "aw", @progbits
        .balign 8
gdt:    .quad 0
#ifdef CONFIG_64BIT
        .quad 0x00af9b000000ffff        /* KERNEL_CS: 64-bit code, ring 0. */
#else
        .quad 0x00cf9b000000ffff        /* KERNEL_CS: 32-bit code, ring 0. */
#endif
        .quad 0x00cf93000000ffff        /* KERNEL_DS: data, ring 0. */
gdt_pointer:
        .word . - gdt - 1
        .long gdt, 0

        .section .data.page_aligned, "aw", @progbits
        .balign PAGE_SIZE

#ifdef CONFIG_64BIT
        /*
         * Identity map of 4 GiB.  The first 2 MiB are in small pages so that
         * page 0 can be left out.
         */
page_table_l4:
        .quad page_table_l3 + TABLE
        .fill 511, 8, 0
page_table_l3:
        .quad page_table_l2 + 0 * PAGE_SIZE + TABLE
        .quad page_table_l2 + 1 * PAGE_SIZE + TABLE
        .quad page_table_l2 + 2 * PAGE_SIZE + TABLE
        .quad page_table_l2 + 3 * PAGE_SIZE + TABLE
        .fill 508, 8, 0
page_table_l2:
        .quad page_table_l1 + TABLE
        .set large_page, 1
        .rept 4 * 512 - 1
        .quad (large_page << 21) + _PAGE_PSE + LEAF
        .set large_page, large_page + 1
        .endr
page_table_l1:
        .quad 0
        .set small_page, 1
        .rept 511
        .quad (small_page << PAGE_SHIFT) + LEAF
        .set small_page, small_page + 1
        .endr
#endif

        /* Filled by Xen on request; ud2 until then. */
        .globl hypercall_page
hypercall_page:
        .fill PAGE_SIZE / 2, 2, 0x0b0f

        .section .bss.page_aligned, "aw", @nobits
        .balign PAGE_SIZE
        .skip 4 * PAGE_SIZE
boot_stack_top:

        .section .note.GNU-stack, "", @progbits

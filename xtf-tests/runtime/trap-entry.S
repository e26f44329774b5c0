/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exception entry points, 32 of 32 bytes each from trap_entries on.
 *
 * A stub makes the frame of every vector the same shape (error code and
 * vector in one slot of a register's size) and goes to common code, which
 * stores the general registers as struct cpu_regs has them.  A PV guest's frame
 * differs from the processor's only in 64-bit mode, by rcx and r11, which Xen
 * puts on top.
 */
        .macro trap_stub nr
        .balign 32
#if defined(CONFIG_PV) && defined(CONFIG_64BIT)
        pop %rcx
        pop %r11
#endif
        .if (\nr == 8) || (\nr >= 10 && \nr <= 14) || \
            (\nr == 17) || (\nr == 21)
        .else
        push $0
        .endif
#ifdef CONFIG_64BIT
        movl $\nr, 4(%rsp)
#else
        movw $\nr, 2(%esp)
#endif
        jmp trap_common
        .endm

        .section .text, "ax", @progbits
        .balign 32
        .globl trap_entries
trap_entries:
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        trap_stub \n
        .endr
        .irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        trap_stub \n
        .endr

trap_common:
#ifdef CONFIG_64BIT
        push %rdi
        push %rsi
        push %rdx
        push %rcx
        push %rax
        push %r8
        push %r9
        push %r10
        push %r11
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15

        mov %rsp, %rdi
        mov %rsp, %rbx
        and $~15, %rsp
        cld
        call handle_exception
        mov %rbx, %rsp

        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        pop %r11
        pop %r10
        pop %r9
        pop %r8
        pop %rax
        pop %rcx
        pop %rdx
        pop %rsi
        pop %rdi
        add $8, %rsp

#ifdef CONFIG_PV
        /*
         * Back through Xen.  It wants rax, r11, rcx and a flags word below
         * the frame; no flag, so that Xen restores rcx and r11 from there.
         * The code of the hypercall page pushes the three registers.
         */
        push $0
        jmp hypercall_page + 23 * 32
#else
        iretq
#endif

#else /* CONFIG_32BIT */
        push %edi
        push %esi
        push %edx
        push %ecx
        push %eax
        push %ebx
        push %ebp

        /* The argument goes onto a stack aligned as the C ABI wants it. */
        mov %esp, %ebx
        and $~15, %esp
        sub $12, %esp
        push %ebx
        cld
        call handle_exception
        mov %ebx, %esp

        pop %ebp
        pop %ebx
        pop %eax
        pop %ecx
        pop %edx
        pop %esi
        pop %edi
        add $4, %esp

#ifdef CONFIG_PV
        /* Xen wants eax below the frame; the hypercall page pushes it. */
        jmp hypercall_page + 23 * 32
#else
        iretl
#endif

#endif /* CONFIG_64BIT */

        .section .note.GNU-stack, "", @progbits

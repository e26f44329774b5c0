/* SPDX-License-Identifier: GPL-2.0-only */
/* Pieces of assembly that the environments' entry code is made of. */
#ifndef XTF_X86_ASM_H
#define XTF_X86_ASM_H

/* One ELF note for Xen; the value is an assembler directive with operands. */
#define XEN_NOTE(type, value...)        \
        .pushsection .note.Xen, "a", @note; \
        .balign 4;                      \
        .long 2f - 1f, 4f - 3f, type;   \
1:      .asciz "Xen";                   \
2:      .balign 4;                      \
3:      value;                          \
4:      .balign 4;                      \
        .popsection

#endif /* XTF_X86_ASM_H */

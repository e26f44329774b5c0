/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_COMPILER_H
#define XTF_COMPILER_H

#define __aligned(x)        __attribute__((__aligned__(x)))
#define __alias(x)          __attribute__((__alias__(x)))
#define __noreturn          __attribute__((__noreturn__))
#define __packed            __attribute__((__packed__))
#define __printf(f, a)      __attribute__((__format__(__printf__, f, a)))
#define __maybe_unused      __attribute__((__unused__))
#define __used              __attribute__((__used__))
#define __weak              __attribute__((__weak__))
#define __noinline          __attribute__((__noinline__))
#define __section(s)        __attribute__((__section__(s)))

#ifndef __always_inline
#define __always_inline     __inline__ __attribute__((__always_inline__))
#endif

#define unreachable()       __builtin_unreachable()
#define barrier()           __asm__ __volatile__ ("" ::: "memory")

/* Whole pages, grouped by the linker script so that no neighbour shares one. */
#define __page_aligned_data __section(".data.page_aligned") __aligned(4096)
#define __page_aligned_bss  __section(".bss.page_aligned")  __aligned(4096)

#endif /* XTF_COMPILER_H */

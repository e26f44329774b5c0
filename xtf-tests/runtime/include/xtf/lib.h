/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_LIB_H
#define XTF_LIB_H

#include <xtf/compiler.h>
#include <xtf/console.h>
#include <xtf/types.h>

#define ARRAY_SIZE(a)       (sizeof(a) / sizeof((a)[0]))

/* Exactly one access, which the compiler neither repeats nor leaves out. */
#define ACCESS_ONCE(x)      (*(volatile __typeof__(x) *)&(x))

#define BUILD_BUG_ON(cond)  _Static_assert(!(cond), "!(" #cond ")")

#define min(a, b)                           \
    ({                                      \
        __typeof__(a) min_a_ = (a);         \
        __typeof__(b) min_b_ = (b);         \
        min_a_ < min_b_ ? min_a_ : min_b_;  \
    })

#define max(a, b)                           \
    ({                                      \
        __typeof__(a) max_a_ = (a);         \
        __typeof__(b) max_b_ = (b);         \
        max_a_ > max_b_ ? max_a_ : max_b_;  \
    })

/* The test cannot go on at all: say why, count as an error, stop. */
void __noreturn panic(const char *fmt, ...) __printf(1, 2);

#define ASSERT(cond)                                        \
    do {                                                    \
        if ( !(cond) )                                      \
            panic("ASSERT(%s) failed at %s:%d\n",           \
                  #cond, __FILE__, __LINE__);               \
    } while ( 0 )

/* This domain's id, or -1 where the environment has no way to tell. */
int xtf_get_domid(void);

#endif /* XTF_LIB_H */

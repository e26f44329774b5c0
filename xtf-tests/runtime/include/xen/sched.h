/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XEN_PUBLIC_SCHED_H
#define XEN_PUBLIC_SCHED_H

#define SCHEDOP_yield           0
#define SCHEDOP_block           1
#define SCHEDOP_shutdown        2

struct sched_shutdown {
    unsigned int reason;
};

#define SHUTDOWN_poweroff       0
#define SHUTDOWN_reboot         1
#define SHUTDOWN_suspend        2
#define SHUTDOWN_crash          3

#endif /* XEN_PUBLIC_SCHED_H */

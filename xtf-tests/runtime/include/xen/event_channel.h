/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XEN_PUBLIC_EVENT_CHANNEL_H
#define XEN_PUBLIC_EVENT_CHANNEL_H

#include <xen/xen.h>

typedef uint32_t evtchn_port_t;

#define EVTCHNOP_close          3
#define EVTCHNOP_send           4
#define EVTCHNOP_bind_ipi       7

struct evtchn_close {
    evtchn_port_t port;
};

struct evtchn_send {
    evtchn_port_t port;
};

/* A channel by which a domain tells itself something. */
struct evtchn_bind_ipi {
    uint32_t vcpu;
    evtchn_port_t port;         /* Out. */
};

#endif /* XEN_PUBLIC_EVENT_CHANNEL_H */

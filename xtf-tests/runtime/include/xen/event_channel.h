/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XEN_PUBLIC_EVENT_CHANNEL_H
#define XEN_PUBLIC_EVENT_CHANNEL_H

#include <xen/xen.h>

typedef uint32_t evtchn_port_t;

#define EVTCHNOP_send           4

struct evtchn_send {
    evtchn_port_t port;
};

#endif /* XEN_PUBLIC_EVENT_CHANNEL_H */

/* SPDX-License-Identifier: MIT */
/*
 * grant_dma.h: the grant-DMA hypercall.
 *
 * Generated from the crate hypercall-abi by `make abi-header`: do not edit.
 * The structures have one layout for 32-bit and 64-bit guests of every
 * architecture; all padding must be zero on input.
 *
 * The including file provides the fixed-width integer types (in Xen's own
 * tree public/xen.h does).
 */

#ifndef __XEN_PUBLIC_GRANT_DMA_H__
#define __XEN_PUBLIC_GRANT_DMA_H__



/**
 * Most frames of one argument area.
 */
#define XEN_GDMA_MAX_ARGS_FRAMES 4

/**
 * Ask for the ABI version, limits and usage: array of `xen_gdma_query`.
 */
#define XEN_GDMA_OP_QUERY 0

/**
 * Ask which DMA treatment a device needs: array of `xen_gdma_query_device`.
 */
#define XEN_GDMA_OP_QUERY_DEVICE 1

/**
 * Make a device address space: array of `xen_gdma_context_create`.
 */
#define XEN_GDMA_OP_CONTEXT_CREATE 2

/**
 * End a device address space: array of `xen_gdma_context_destroy`.
 */
#define XEN_GDMA_OP_CONTEXT_DESTROY 3

/**
 * Move a device to a context: array of `xen_gdma_device_attach`.
 */
#define XEN_GDMA_OP_DEVICE_ATTACH 4

/**
 * Make frames reachable to devices: array of `xen_gdma_map`.
 */
#define XEN_GDMA_OP_MAP 5

/**
 * Take mappings back: array of `xen_gdma_unmap`.
 */
#define XEN_GDMA_OP_UNMAP 6

/**
 * Set the argument area of the calling vcpu: array of `xen_gdma_register_args`.
 */
#define XEN_GDMA_OP_REGISTER_ARGS 7

/**
 * Complete what `NO_FLUSH` left: array of `xen_gdma_flush`.
 */
#define XEN_GDMA_OP_FLUSH 8

/**
 * Map a large stretch of memory for good: array of `xen_gdma_window_create`.
 */
#define XEN_GDMA_OP_WINDOW_CREATE 9

/**
 * End such a mapping: array of `xen_gdma_window_destroy`.
 */
#define XEN_GDMA_OP_WINDOW_DESTROY 10

/**
 * Find a mapping by device address or by guest address: array of
 * `xen_gdma_lookup`.
 */
#define XEN_GDMA_OP_LOOKUP 11

/**
 * Take a granted frame back from devices: array of `xen_gdma_revoke`.
 */
#define XEN_GDMA_OP_REVOKE 12

/**
 * Set another domain's quotas: array of `xen_gdma_set_limits`.
 */
#define XEN_GDMA_OP_SET_LIMITS 13

/**
 * Ask for what the IOMMU stopped: array of `xen_gdma_fault`.
 */
#define XEN_GDMA_OP_FAULTS 14

/**
 * Ask for counters: array of `xen_gdma_stats`.
 */
#define XEN_GDMA_OP_STATS 15

/**
 * Map one frame, with everything in registers: no memory is read or written. For
 * 64-bit callers. The second argument is a guest frame number, or with
 * `XEN_GDMA_REG_GRANT` the granter's domain id << 32 | grant reference; the third one
 * the number of the context | `XEN_GDMA_REG_*`. Returns the device address, which is
 * above 0, or a negative error number: one of `xen_gdma_map`, `-EINVAL` for unknown
 * flags too, and `-EOPNOTSUPP` for 32-bit callers too. A mapping made so has no handle;
 * it can be named by its device address.
 */
#define XEN_GDMA_OP_MAP_REG 16

/**
 * Unmap one frame, with everything in registers. For 64-bit callers. The second
 * argument is the device address of a mapping of one frame; the third one the number
 * of the context, and `XEN_GDMA_REG_NO_FLUSH` if wanted. Returns 0 or a negative error
 * number: one of `xen_gdma_unmap`, `-EINVAL` for unknown flags too, and `-EOPNOTSUPP`
 * for 32-bit callers.
 */
#define XEN_GDMA_OP_UNMAP_REG 17

/**
 * Register form: the number of the context.
 */
#define XEN_GDMA_REG_CONTEXT 65535

/**
 * Register form: devices may read.
 */
#define XEN_GDMA_REG_READ (1 << 16)

/**
 * Register form: devices may write.
 */
#define XEN_GDMA_REG_WRITE (1 << 17)

/**
 * Register form: a grant, not an own frame.
 */
#define XEN_GDMA_REG_GRANT (1 << 18)

/**
 * Register form: `XEN_GDMA_NO_FLUSH`.
 */
#define XEN_GDMA_REG_NO_FLUSH (1 << 19)

/**
 * Added to a command's number: its array is in the argument area of the calling vcpu,
 * and the second argument is the array's offset there. See `xen_gdma_register_args`.
 */
#define XEN_GDMA_ARGS_REGISTERED (1 << 31)

/**
 * Most elements of one call. A larger count answers `-E2BIG`, a count of zero
 * `-EINVAL`; nothing is done in either case.
 */
#define XEN_GDMA_MAX_BATCH 65536

/**
 * Most consecutive frames (or grant references) of one `xen_gdma_map`.
 */
#define XEN_GDMA_MAX_FRAMES 128

/**
 * ABI version: major number in the upper 16 bits, minor in the lower. The
 * major number changes when an existing caller would break.
 */
#define XEN_GDMA_ABI_VERSION 65538

/**
 * The caller itself, where a domain id is asked for (Xen's `DOMID_SELF`).
 */
#define XEN_GDMA_DOMID_SELF 32752

/**
 * Bit of the first word of `XENVER_get_features`: this hypercall serves the domain.
 */
#define XEN_GDMA_FEATURE_SERVICE 30

/**
 * Bit of the first word of `XENVER_get_features`: by default, devices of the domain
 * use its guest physical addresses, so that it needs no bounce buffers (swiotlb) for
 * its own memory. What holds for one device, `query_device` tells.
 */
#define XEN_GDMA_FEATURE_NO_BOUNCE 31

/**
 * The default context: the device address space that a domain's devices are
 * in when nobody moved them.
 */
#define XEN_GDMA_CONTEXT_DEFAULT 0

/**
 * Context flag: a 1:1 copy of the caller's memory.
 *
 * Devices there reach the caller's memory as they would in the default context of a
 * domain with an IOMMU: at guest addresses, all that the domain has there, its
 * mappings of other domains' memory included, with the same access; a PV domain's
 * writable pages, at their machine addresses. The copy follows: when a page leaves
 * the caller's memory (for PV: when it ceases to be writable), devices cannot reach
 * it any more before anybody else gets it; a page that is added is reached at once
 * (for PV: from the first time that it is mapped writable).
 *
 * `map` puts other mappings beside it, in the range from `daddr_first` to
 * `daddr_last`, of which nothing is ever part of the copy: for PV above the machine's
 * memory, else above all guest addresses; where the IOMMU reaches no further than
 * those, in the topmost quarter of what it reaches, and whatever the caller puts there
 * later is not copied. Not copied either are the regions that firmware has reserved
 * for devices; those of a device are in every context that the device is in.
 * `lookup` knows mappings only.
 *
 * Such a context counts as `XEN_GDMA_MIRROR_WEIGHT` contexts, because of its page
 * tables, which are about as large as those of the caller's memory.
 */
#define XEN_GDMA_CONTEXT_MIRROR (1 << 0)

/**
 * How many contexts a 1:1 copy counts for.
 */
#define XEN_GDMA_MIRROR_WEIGHT 8

/**
 * In a field of `xen_gdma_set_limits`: leave the limit as it is.
 */
#define XEN_GDMA_LIMIT_KEEP 4294967295

/**
 * The device is named by its PCI address: segment << 16 | bus << 8 | devfn.
 */
#define XEN_GDMA_DEVICE_PCI 0

/**
 * Device address = machine address.
 */
#define XEN_GDMA_TREATMENT_IDENTITY 1

/**
 * Device address = guest physical address.
 */
#define XEN_GDMA_TREATMENT_TRANSLATED 2

/**
 * Device address = an address in the context that the device is attached to.
 */
#define XEN_GDMA_TREATMENT_CONTEXT 3

/**
 * The backend is another domain: grant-DMA addresses.
 */
#define XEN_GDMA_TREATMENT_GRANT 4

/**
 * Neither an IOMMU nor an identity: the guest must bounce (swiotlb).
 */
#define XEN_GDMA_TREATMENT_BOUNCE 5

/**
 * The device is behind an IOMMU that confines it to what is mapped, and to the caller's
 * own memory. In the default context: see `XEN_GDMA_CAP_PROTECTED`.
 */
#define XEN_GDMA_DEVICE_PROTECTED (1 << 0)

/**
 * Take the oldest fault.
 */
#define XEN_GDMA_FAULT_READ 0

/**
 * From now on tell `port` when there are faults; 0: nobody.
 */
#define XEN_GDMA_FAULT_NOTIFY 1

/**
 * The device wanted to write.
 */
#define XEN_GDMA_FAULT_WRITE (1 << 0)

/**
 * `addr` is a device address. Of several mappings at one machine address
 * (`XEN_GDMA_CAP_IDENTITY`) the newest one is found.
 */
#define XEN_GDMA_LOOKUP_DADDR 0

/**
 * `addr` is a guest physical address of the caller.
 */
#define XEN_GDMA_LOOKUP_GADDR 1

/**
 * `source` is a guest frame number of the caller.
 */
#define XEN_GDMA_MAP_OWN 0

/**
 * `source` is a grant reference in the table of `domid`.
 */
#define XEN_GDMA_MAP_GRANT 1

/**
 * `source` is a grant-DMA address of `domid`: bit 63, first grant reference << 12,
 * and an offset into the page, as virtio frontends put them into descriptors. The
 * offset is added to the device address in `daddr`.
 */
#define XEN_GDMA_MAP_GRANT_DMA 2

/**
 * Number of the bit that marks a grant-DMA address.
 */
#define XEN_GDMA_GRANT_DMA_BIT 63

/**
 * Devices may read.
 */
#define XEN_GDMA_MAP_READ (1 << 0)

/**
 * Devices may write. Where device addresses are machine addresses
 * (`XEN_GDMA_CAP_IDENTITY`) they may read as well then.
 */
#define XEN_GDMA_MAP_WRITE (1 << 1)

/**
 * Map at the device address given in `daddr` instead of one that the service
 * picks.
 */
#define XEN_GDMA_MAP_FIXED (1 << 2)

/**
 * Map and unmap: the IOTLB need not be flushed at the end of the call. For `unmap`,
 * the frames stay pinned, and devices may reach them, until a `flush` or the next call
 * that flushes the context; for `map`, devices may not see the mapping until then. Xen
 * flushes earlier if it has to, or if many frames wait.
 */
#define XEN_GDMA_NO_FLUSH (1 << 3)

/**
 * The mapping is named by `context`, `daddr` and `nr_frames`, which must be
 * exactly those of one `map` (without the offset of a grant-DMA address); `handle`
 * must be 0. Of several mappings at one machine address (`XEN_GDMA_CAP_IDENTITY`) the newest
 * such one is meant, if it is among the newest 64 of its first frame.
 */
#define XEN_GDMA_UNMAP_BY_DADDR (1 << 0)

/**
 * Capability: own frames can be mapped.
 */
#define XEN_GDMA_CAP_OWN_FRAMES (1 << 0)

/**
 * Capability: grant references of version 1 tables can be mapped.
 */
#define XEN_GDMA_CAP_GRANT_V1 (1 << 1)

/**
 * Capability: the caller's default context accepts mappings. Clear for a domain whose
 * devices work with guest addresses when they are not behind an IOMMU that Xen programs
 * for it alone, or when the IOMMU shares its page tables with the CPU.
 */
#define XEN_GDMA_CAP_DEFAULT_CONTEXT (1 << 2)

/**
 * Capability: PCI devices can be asked for with `query_device`.
 */
#define XEN_GDMA_CAP_PCI (1 << 3)

/**
 * Capability: grant references of version 2 tables can be mapped: full-page
 * entries, in tables of the granter's own pages.
 */
#define XEN_GDMA_CAP_GRANT_V2 (1 << 4)

/**
 * Capability: the caller can create contexts.
 */
#define XEN_GDMA_CAP_CONTEXTS (1 << 5)

/**
 * Capability: arguments can be passed in memory that the vcpu registered.
 */
#define XEN_GDMA_CAP_REGISTERED_ARGS (1 << 6)

/**
 * Capability: there are windows.
 */
#define XEN_GDMA_CAP_WINDOWS (1 << 7)

/**
 * Capability: device addresses of the default context are machine addresses (PV, and
 * direct-mapped Arm domains). `map` gives out that of the frame; a frame can be mapped
 * there several times. There are no windows.
 */
#define XEN_GDMA_CAP_IDENTITY (1 << 8)

/**
 * Capability: in the default context, an IOMMU keeps the devices behind it from all but
 * the caller's own memory and what is mapped. Clear without an IOMMU, with one that
 * devices pass by (`dom0-iommu=passthrough`), and for a PV dom0 whose devices reach all
 * memory that is not Xen's (without `dom0-iommu=strict`): there `map` does no more than
 * to keep frames in place, and devices reach them after `unmap` and `revoke` as well.
 */
#define XEN_GDMA_CAP_PROTECTED (1 << 9)

/**
 * Most windows of one context.
 */
#define XEN_GDMA_MAX_WINDOWS 64

/**
 * One element of `XEN_GDMA_OP_QUERY`.
 *
 * Element errors: `-EINVAL` padding not zero; `-ESRCH` no such domain, and any
 * domain but the caller (`XEN_GDMA_DOMID_SELF` or its own id) in this version.
 */
struct xen_gdma_query {
  /**
   * IN: whose usage is asked for.
   */
  uint16_t domid;
  /**
   * IN: zero.
   */
  uint16_t pad0;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * OUT: `XEN_GDMA_ABI_VERSION` of the hypervisor.
   */
  uint32_t abi_version;
  /**
   * OUT: `XEN_GDMA_CAP_*`.
   */
  uint32_t capabilities;
  /**
   * OUT: most elements of one call.
   */
  uint32_t max_batch;
  /**
   * OUT: most frames of one `xen_gdma_map`.
   */
  uint32_t max_frames;
  /**
   * OUT: most frames the domain may have pinned at once.
   */
  uint32_t max_pins;
  /**
   * OUT: frames it has pinned now.
   */
  uint32_t used_pins;
  /**
   * OUT: mappings (handles) it holds now.
   */
  uint32_t mappings;
  /**
   * OUT: most contexts it may have besides the default one: its quota, or what the
   * hardware can tell apart, of all domains together, if that is less; 0 when its
   * devices are not behind an IOMMU that Xen programs.
   */
  uint32_t max_contexts;
  /**
   * OUT: first device address that `map` gives out or accepts in the default
   * context; 0 when the default context accepts no mapping, and with
   * `XEN_GDMA_CAP_IDENTITY`.
   */
  uint64_t daddr_first;
  /**
   * OUT: last device address (inclusive) of that range; 0 when there is none, all ones
   * with `XEN_GDMA_CAP_IDENTITY`.
   */
  uint64_t daddr_last;
  /**
   * OUT: page sizes of the default context, one bit per size (bit 12: 4 KiB).
   */
  uint64_t page_sizes;
  /**
   * OUT: successful IOTLB flushes by which mappings of this domain ended, since
   * it was created.
   */
  uint64_t flushes;
};

/**
 * One element of `XEN_GDMA_OP_QUERY_DEVICE`.
 *
 * Element errors: `-EINVAL` padding not zero, or an unknown `kind`, or `id`
 * outside the kind's range (PCI: 32 bits); `-EOPNOTSUPP` PCI on an
 * architecture where Xen has no PCI; `-ENODEV` no such device, or not the
 * caller's.
 */
struct xen_gdma_query_device {
  /**
   * IN: `XEN_GDMA_DEVICE_*` kind of `id`.
   */
  uint32_t kind;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * IN: the device.
   */
  uint64_t id;
  /**
   * OUT: `XEN_GDMA_TREATMENT_*`.
   */
  uint32_t treatment;
  /**
   * OUT: the context the device is attached to.
   */
  uint32_t context;
  /**
   * OUT: backend domain of a device with treatment `GRANT`, else the caller.
   */
  uint16_t backend;
  /**
   * OUT: `XEN_GDMA_DEVICE_PROTECTED` or 0.
   */
  uint16_t flags;
  /**
   * IN: zero.
   */
  uint32_t pad0;
};

/**
 * One element of `XEN_GDMA_OP_CONTEXT_CREATE`: a context with nothing mapped, or
 * nothing but a copy of the caller's memory.
 *
 * The range of device addresses that the service chooses is free of the reserved
 * regions of the machine's devices and of the addresses of interrupts. It has at least room for as many frames as
 * the domain may pin, unless `max_daddr` or the IOMMU leaves less.
 *
 * Element errors: `-EINVAL` padding not zero or unknown `flags`, or `max_daddr` leaves
 * not even one page (for a copy: not one above the caller's memory); `-EOPNOTSUPP` the
 * caller's devices are not behind an IOMMU; `-EPERM` access control refuses;
 * `-ENOBUFS` the domain's limit of contexts is reached, or it may not pin anything;
 * `-ENOSPC` the IOMMU has no number left for another address
 * space; `-ENOMEM` Xen has no memory; `-EIO` the IOMMU failed.
 */
struct xen_gdma_context_create {
  /**
   * IN: `XEN_GDMA_CONTEXT_*`, or 0.
   */
  uint32_t flags;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * IN: highest device address (inclusive) that the devices of the context can
   * name, `0xffffffff` for 32-bit devices; 0: the IOMMU alone decides.
   */
  uint64_t max_daddr;
  /**
   * OUT: first device address that `map` gives out or accepts.
   */
  uint64_t daddr_first;
  /**
   * OUT: last device address (inclusive) of that range.
   */
  uint64_t daddr_last;
  /**
   * OUT: the context's number, never `XEN_GDMA_CONTEXT_DEFAULT`. A number is
   * used again after its context is destroyed.
   */
  uint32_t context;
  /**
   * IN: zero.
   */
  uint32_t pad0;
};

/**
 * One element of `XEN_GDMA_OP_CONTEXT_DESTROY`.
 *
 * Whatever is mapped in the context is unmapped and its frames given back. A
 * context with devices stays as it is: move them first.
 *
 * Element errors: `-EINVAL` the default context; `-EPERM` access control refuses;
 * `-ENOENT` no such context;
 * `-EBUSY` devices are attached to it; `-EIO` the IOMMU failed, the context
 * remains and accepts only another `context_destroy`, which tries again.
 */
struct xen_gdma_context_destroy {
  /**
   * IN: the context.
   */
  uint32_t context;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
};

/**
 * One element of `XEN_GDMA_OP_DEVICE_ATTACH`.
 *
 * When the call has returned 0, the devices of elements with status 0 use the new
 * context and no translation of the old one any more. At no moment does a device
 * reach anything but the one or the other. After an error it is where it was.
 *
 * Element errors, in the order in which they are found: `-EINVAL` padding not
 * zero, unknown `kind`, or `id` outside the kind's range; `-EPERM` access control
 * refuses; `-ENOENT` no such context; `-EOPNOTSUPP` no PCI on this architecture, or an IOMMU that cannot move
 * this device; `-ENODEV` no such device, or not the caller's; `-EBUSY` the IOMMU
 * cannot tell the device from another one, and the two cannot be moved together; `-EIO` the IOMMU failed.
 */
struct xen_gdma_device_attach {
  /**
   * IN: `XEN_GDMA_DEVICE_*` kind of `id`.
   */
  uint32_t kind;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * IN: the device.
   */
  uint64_t id;
  /**
   * IN: the context it is to use from now on.
   */
  uint32_t context;
  /**
   * IN: zero.
   */
  uint32_t pad0;
};

/**
 * One element of `XEN_GDMA_OP_MAP`.
 *
 * In the default context of a caller with `XEN_GDMA_CAP_IDENTITY`, the device address of a
 * frame is its machine address. It can be mapped any number of times, each time with a
 * handle of its own; devices may write it while any of the mappings allows that, be it of
 * this command or of `GNTTABOP_map_grant_ref`. Own frames need no mapping for devices to
 * reach them: it keeps them in place.
 *
 * An element that fails changes nothing. If the call returns `-EIO`, devices may
 * not yet see the mappings of elements with status 0. Element errors, in the order in which
 * they are found:
 *
 * | error | when |
 * |---|---|
 * | `-EINVAL` | padding not zero; unknown `kind` or flag; neither READ nor WRITE; with GRANT_DMA a `source` without the mark, or one that does not fit; `nr_frames` 0 or above `XEN_GDMA_MAX_FRAMES`; `domid` not 0 with OWN; `daddr` not 0 without FIXED, not page aligned or outside the context's range with it, or, with `XEN_GDMA_CAP_IDENTITY`, not the frame's machine address (which is found last) |
 * | `-ENOENT` | no such context |
 * | `-EOPNOTSUPP` | the default context accepts no mapping for this domain |
 * | `-ESRCH` | no such granter |
 * | `-EPERM` | access control refuses |
 * | `-ENOBUFS` | the domain's limit of pinned frames would be passed |
 * | `-EEXIST` | FIXED, and a part of the range is in use |
 * | `-ENOSPC` | no run of free device addresses is long enough, or too many frames of the caller's own are in the way; with `XEN_GDMA_CAP_IDENTITY`, the frames do not follow each other in the machine, or there is no room for the records of so many together: map them one by one |
 * | `-ERANGE` | a grant reference outside the granter's table |
 * | `-EACCES` | the entry does not grant this access to the caller; or it is transitive, and what it leads to does not grant it to the granter, is transitive itself, or is not there; or it is transitive, and the context the default one of a caller with `XEN_GDMA_CAP_IDENTITY` and `XEN_GDMA_CAP_PROTECTED` |
 * | `-EBUSY` | the entry changes under our hands, or was granted to another domain that still uses it |
 * | `-EMLINK` | too many mappings of one reference, or transitive references to one domain's pages |
 * | `-EFAULT` | the guest frame is not ordinary memory of its domain, or may not be written; with `XEN_GDMA_CAP_IDENTITY` and `XEN_GDMA_CAP_PROTECTED` an own frame that may not be written (a page table) cannot be mapped to be read either, because the IOMMU has only those that may |
 * | `-EAGAIN` | the guest frame is paged out or shared; or the entry is transitive and leads elsewhere than what is mapped of it, or that is of a domain which had the granter's id before; try again |
 * | `-ENOMEM` | Xen has no memory for the records |
 * | `-EIO` | the IOMMU refused |
 */
struct xen_gdma_map {
  /**
   * IN: the context.
   */
  uint32_t context;
  /**
   * IN: `XEN_GDMA_MAP_OWN`, `XEN_GDMA_MAP_GRANT` or `XEN_GDMA_MAP_GRANT_DMA`.
   */
  uint16_t kind;
  /**
   * IN: the granter (`XEN_GDMA_DOMID_SELF` for the caller); OWN: 0.
   */
  uint16_t domid;
  /**
   * IN: first guest frame number, first grant reference, or grant-DMA address.
   */
  uint64_t source;
  /**
   * IN: number of consecutive frames or references.
   */
  uint32_t nr_frames;
  /**
   * IN: `XEN_GDMA_MAP_*` flags, `XEN_GDMA_NO_FLUSH`.
   */
  uint32_t flags;
  /**
   * IN: with FIXED the wanted device address, else 0. OUT: device address of
   * the first byte; unchanged on error.
   */
  uint64_t daddr;
  /**
   * OUT: names the mapping for `unmap`, together with `context`; never 0, and never
   * given out twice for contexts of one number.
   */
  uint64_t handle;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * IN: zero.
   */
  uint32_t pad0;
};

/**
 * One element of `XEN_GDMA_OP_UNMAP`.
 *
 * When the call has returned 0, no device can reach the frames of the elements
 * with status 0 any more: the IOTLB flush (one for many elements; a call that Xen
 * interrupts and continues makes one for each part) has
 * succeeded. If the flush fails the call returns `-EIO`: the mappings of the
 * elements with status 0 are gone, but their frames stay pinned until a later
 * flush succeeds, because a device may still reach them.
 *
 * Element errors: `-EINVAL` unknown flag, fields of the other form not zero, or
 * `daddr` not page aligned; `-ENOENT` no such context, stale or unknown handle, no mapping of
 * exactly that range; `-EOPNOTSUPP` it is a window, which `window_destroy` ends; `-EIO` the IOMMU refused, and the mapping stays.
 */
struct xen_gdma_unmap {
  /**
   * IN: the mapping's handle, or 0 with `XEN_GDMA_UNMAP_BY_DADDR`.
   */
  uint64_t handle;
  /**
   * IN: with `XEN_GDMA_UNMAP_BY_DADDR` the device address, else 0.
   */
  uint64_t daddr;
  /**
   * IN: the context.
   */
  uint32_t context;
  /**
   * IN: with `XEN_GDMA_UNMAP_BY_DADDR` the number of frames, else 0.
   */
  uint32_t nr_frames;
  /**
   * IN: `XEN_GDMA_UNMAP_BY_DADDR`, `XEN_GDMA_NO_FLUSH`.
   */
  uint32_t flags;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
};

/**
 * One element of `XEN_GDMA_OP_FLUSH`: makes everything visible to devices that
 * `map` with `XEN_GDMA_NO_FLUSH` left, and gives back what `unmap` with it left.
 *
 * Element errors: `-ENOENT` no such context; `-EIO` the flush failed, and another
 * one is needed.
 */
struct xen_gdma_flush {
  /**
   * IN: the context.
   */
  uint32_t context;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
};

/**
 * One element of `XEN_GDMA_OP_WINDOW_CREATE`.
 *
 * As `xen_gdma_map`, for any number of frames. Without FIXED the device address is
 * chosen so that large pages fit: congruent to the guest's address of the first own
 * frame, or (grants) a multiple of the large page size, if there is such a place.
 * Each frame is pinned, and counts against the limit of pinned frames. There is one
 * flush at the end; where the hardware needs none, none.
 *
 * `unmap` refuses windows. A granter who revokes one reference of a window ends the
 * whole window, as with any mapping.
 *
 * Xen may interrupt the call, and go on where it was when the same vcpu makes it again,
 * as it does by itself. A vcpu that makes another `window_create` in the context
 * instead ends what it had begun; so does the end of the context. Until then what was
 * begun counts against the limits.
 *
 * An element that fails changes nothing, unless a flush fails: then the frames stay
 * pinned until one succeeds, and are given back by the next `window_create` in the
 * context. The same happens to a window whose results cannot be written. Element
 * errors are those of `xen_gdma_map`, in the same order, but:
 *
 * | error | when |
 * |---|---|
 * | `-EINVAL` | also: a `kind` other than OWN and GRANT, or NO_FLUSH; `nr_frames` 0, but no upper limit |
 * | `-ENOBUFS` | also: the context has `XEN_GDMA_MAX_WINDOWS` windows |
 * | `-EEXIST`, `-ENOSPC` | also, in the default context: the caller has a frame of its own at a device address of the window |
 * | `-EACCES` | also: the granter has revoked a reference meanwhile |
 * | `-ENOENT` | also: the context is being destroyed |
 * | `-EOPNOTSUPP` | also: the default context of a caller with `XEN_GDMA_CAP_IDENTITY` |
 */
struct xen_gdma_window_create {
  /**
   * IN: the context.
   */
  uint32_t context;
  /**
   * IN: `XEN_GDMA_MAP_OWN` or `XEN_GDMA_MAP_GRANT`.
   */
  uint16_t kind;
  /**
   * IN: the granter (`XEN_GDMA_DOMID_SELF` for the caller); OWN: 0.
   */
  uint16_t domid;
  /**
   * IN: first guest frame number, or first grant reference.
   */
  uint64_t source;
  /**
   * IN: number of consecutive frames or references.
   */
  uint32_t nr_frames;
  /**
   * IN: `XEN_GDMA_MAP_READ`, `XEN_GDMA_MAP_WRITE`, `XEN_GDMA_MAP_FIXED`.
   */
  uint32_t flags;
  /**
   * IN: with FIXED the wanted device address, else 0. OUT: device address of the
   * first byte; unchanged on error.
   */
  uint64_t daddr;
  /**
   * OUT: names the window for `window_destroy`, together with `context`; never 0,
   * and never given out twice for contexts of one number.
   */
  uint64_t handle;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * IN: zero.
   */
  uint32_t pad0;
};

/**
 * One element of `XEN_GDMA_OP_WINDOW_DESTROY`.
 *
 * When its status is 0, no device can reach the window's frames any more: one IOTLB
 * flush has succeeded (more if Xen interrupts the call), and every frame is given back.
 *
 * Element errors: `-ENOENT` no such context, or stale or unknown handle, or one of
 * `map`; `-EIO` the IOMMU failed: devices may reach a part of the window still, `lookup`
 * does not find it any more, and another `window_destroy` with the handle tries again.
 */
struct xen_gdma_window_destroy {
  /**
   * IN: the window's handle.
   */
  uint64_t handle;
  /**
   * IN: the context.
   */
  uint32_t context;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
};

/**
 * One element of `XEN_GDMA_OP_LOOKUP`.
 *
 * Element errors: `-EINVAL` padding not zero, unknown `kind`, or `index` not 0
 * with DADDR; `-ENOENT` no such context, or nothing mapped there (GADDR: fewer
 * than `index` + 1 mappings of that frame).
 */
struct xen_gdma_lookup {
  /**
   * IN: the context.
   */
  uint32_t context;
  /**
   * IN: `XEN_GDMA_LOOKUP_DADDR` or `XEN_GDMA_LOOKUP_GADDR`.
   */
  uint16_t kind;
  /**
   * IN: zero.
   */
  uint16_t pad0;
  /**
   * IN: the address asked for.
   */
  uint64_t addr;
  /**
   * IN: GADDR: which of several mappings of the frame, counting from 0: those
   * made by `map`, the newest first, then windows, the newest first; DADDR: 0.
   */
  uint32_t index;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * OUT: the mapping's handle.
   */
  uint64_t handle;
  /**
   * OUT: device address of exactly the byte asked for.
   */
  uint64_t daddr;
  /**
   * OUT: own frame: guest physical address of that byte; grant: reference
   * << 12 | offset in the page.
   */
  uint64_t source;
  /**
   * OUT: `XEN_GDMA_MAP_OWN` or `XEN_GDMA_MAP_GRANT`.
   */
  uint16_t source_kind;
  /**
   * OUT: owner of the frame: the caller, or the granter.
   */
  uint16_t domid;
  /**
   * OUT: `XEN_GDMA_MAP_READ`, `XEN_GDMA_MAP_WRITE`.
   */
  uint32_t flags;
  /**
   * OUT: frames of the whole mapping.
   */
  uint32_t nr_frames;
  /**
   * IN: zero.
   */
  uint32_t pad1;
};

/**
 * One element of `XEN_GDMA_OP_REVOKE`: the caller, a granter, ends every DMA
 * mapping that a reference of its own is part of.
 *
 * When the call has returned 0, no device reaches the frame through a DMA mapping of
 * the reference any more. A mapping is revoked as a whole: its handle is stale, and the
 * holder's devices fault from then on. Mappings and copies that the grant-table
 * hypercall makes are not touched, also not what it makes reachable to devices of PV
 * domains; they end as they always have. To keep the reference from being used again,
 * change the entry first, which Xen looks at unless the holder has other uses of it.
 *
 * Element errors: `-ERANGE` the reference is outside the caller's table;
 * `-EIO` the IOMMU failed: the mapping, or the pin of its frames, remains.
 */
struct xen_gdma_revoke {
  /**
   * IN: the reference.
   */
  uint32_t gref;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
};

/**
 * One element of `XEN_GDMA_OP_SET_LIMITS`, for the control domain: other domains may
 * not set limits, not even their own. What the domain uses already stays, even if it
 * is more than a new limit.
 *
 * Element errors: `-EINVAL` padding not zero, or more contexts than there are
 * numbers; `-ESRCH` no such domain; `-EPERM` access control refuses.
 */
struct xen_gdma_set_limits {
  /**
   * IN: whose limits (`XEN_GDMA_DOMID_SELF` for the caller).
   */
  uint16_t domid;
  /**
   * IN: zero.
   */
  uint16_t pad0;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * IN: most frames pinned at once, in all contexts together. OUT: the limit
   * before the call. The range of device addresses of contexts that exist does not
   * change.
   */
  uint32_t max_pins;
  /**
   * IN: most contexts besides the default one. OUT: the limit before the call.
   */
  uint32_t max_contexts;
};

/**
 * One element of `XEN_GDMA_OP_STATS`. Counters begin at 0 when the domain is
 * created and never go back.
 *
 * Element errors: `-EINVAL` padding not zero; `-ESRCH` no such domain; `-EPERM`
 * access control refuses.
 */
struct xen_gdma_stats {
  /**
   * IN: whose counters (`XEN_GDMA_DOMID_SELF` for the caller).
   */
  uint16_t domid;
  /**
   * IN: zero.
   */
  uint16_t pad0;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * OUT: mappings made.
   */
  uint64_t maps;
  /**
   * OUT: frames in them.
   */
  uint64_t mapped_frames;
  /**
   * OUT: mappings ended, by whomever.
   */
  uint64_t unmaps;
  /**
   * OUT: frames in them.
   */
  uint64_t unmapped_frames;
  /**
   * OUT: IOTLB flushes that gave frames back.
   */
  uint64_t flushes;
  /**
   * OUT: IOTLB flushes that failed.
   */
  uint64_t failed_flushes;
  /**
   * OUT: mappings that their granters revoked.
   */
  uint64_t revoked;
  /**
   * OUT: `device_attach` elements that moved a device.
   */
  uint64_t attaches;
  /**
   * OUT: faults of its devices that the IOMMU reported.
   */
  uint64_t faults;
  /**
   * OUT: frames pinned now, those that wait for a flush included.
   */
  uint32_t used_pins;
  /**
   * OUT: contexts now, besides the default one.
   */
  uint32_t used_contexts;
};

/**
 * One element of `XEN_GDMA_OP_FAULTS`.
 *
 * Faults of the caller's devices are kept from its first `faults` element on, up to a
 * fixed number; what comes when there is no room is only counted. One event comes
 * when there are faults after there were none: read until `-ENOENT` before waiting for
 * another. IOMMUs may report one of many faults, and Xen takes a device off the bus
 * that keeps faulting.
 *
 * Element errors: `-EINVAL` unknown `op`, or `port` not 0 with READ; `-ENOENT` READ: no
 * fault is waiting; `-ENOMEM` Xen has no memory for the faults.
 */
struct xen_gdma_fault {
  /**
   * IN: `XEN_GDMA_FAULT_READ` or `XEN_GDMA_FAULT_NOTIFY`.
   */
  uint32_t op;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
  /**
   * OUT, READ: the device, as in `xen_gdma_query_device`.
   */
  uint64_t id;
  /**
   * OUT, READ: the device address, as exactly as the IOMMU tells it.
   */
  uint64_t daddr;
  /**
   * OUT, READ: the context the device was attached to when the fault was reported.
   */
  uint32_t context;
  /**
   * OUT, READ: `XEN_GDMA_FAULT_WRITE` or 0.
   */
  uint32_t flags;
  /**
   * OUT, READ: faults lost since the domain was created.
   */
  uint32_t lost;
  /**
   * IN, NOTIFY: an event channel of the caller on which it could notify itself:
   * one bound with `EVTCHNOP_bind_ipi`, or its end of a channel to itself.
   */
  uint32_t port;
};

/**
 * One element of `XEN_GDMA_OP_REGISTER_ARGS`.
 *
 * Makes frames of the caller's own memory the argument area of the vcpu that calls, in
 * place of what it had before; with `nr_frames` 0 it has none any more. The frames are
 * pinned for as long. Any command with an array, but this one, can then be called with
 * `XEN_GDMA_ARGS_REGISTERED` added to its number: its array is in the area, the second
 * argument is the array's offset there, and the results are written there as well. Xen
 * looks nothing up in the guest's page tables for such a call. The area is the
 * calling vcpu's alone: nobody else should write to an array while a call works on it,
 * as with any array.
 *
 * Whole-call errors of a call with `XEN_GDMA_ARGS_REGISTERED`, besides the usual ones:
 * `-ENOENT` the vcpu has no area; `-EINVAL` the offset is no multiple of 8; `-EFAULT` the
 * array is not wholly in the area, and nothing was done.
 *
 * Element errors: `-EINVAL` `nr_frames` above `XEN_GDMA_MAX_ARGS_FRAMES`, or `gfn` not 0
 * with `nr_frames` 0; `-EFAULT` a frame is not ordinary writable memory of the caller;
 * `-EAGAIN` a frame is paged out; `-ENOMEM` Xen has no memory or address space for it.
 * After an error the vcpu still has what it had.
 */
struct xen_gdma_register_args {
  /**
   * IN: the first guest frame.
   */
  uint64_t gfn;
  /**
   * IN: how many consecutive ones, or 0.
   */
  uint32_t nr_frames;
  /**
   * OUT: 0 or a negative error number.
   */
  int32_t status;
};

#endif  /* __XEN_PUBLIC_GRANT_DMA_H__ */

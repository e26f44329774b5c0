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
 * Ask for the ABI version, limits and usage: array of `xen_gdma_query`.
 */
#define XEN_GDMA_OP_QUERY 0

/**
 * Ask which DMA treatment a device needs: array of `xen_gdma_query_device`.
 */
#define XEN_GDMA_OP_QUERY_DEVICE 1

/**
 * Make frames reachable to devices: array of `xen_gdma_map`.
 */
#define XEN_GDMA_OP_MAP 5

/**
 * Take mappings back: array of `xen_gdma_unmap`.
 */
#define XEN_GDMA_OP_UNMAP 6

/**
 * Find a mapping by device address or by guest address: array of
 * `xen_gdma_lookup`.
 */
#define XEN_GDMA_OP_LOOKUP 11

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
#define XEN_GDMA_ABI_VERSION 65536

/**
 * The caller itself, where a domain id is asked for (Xen's `DOMID_SELF`).
 */
#define XEN_GDMA_DOMID_SELF 32752

/**
 * The default context: the device address space that a domain's devices are
 * in when nobody moved them.
 */
#define XEN_GDMA_CONTEXT_DEFAULT 0

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
 * The device is behind an IOMMU that confines it to what is mapped.
 */
#define XEN_GDMA_DEVICE_PROTECTED (1 << 0)

/**
 * `addr` is a device address.
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
 * Devices may read.
 */
#define XEN_GDMA_MAP_READ (1 << 0)

/**
 * Devices may write.
 */
#define XEN_GDMA_MAP_WRITE (1 << 1)

/**
 * Map at the device address given in `daddr` instead of one that the service
 * picks.
 */
#define XEN_GDMA_MAP_FIXED (1 << 2)

/**
 * The mapping is named by `context`, `daddr` and `nr_frames`, which must be
 * exactly those of one `map`; `handle` must be 0.
 */
#define XEN_GDMA_UNMAP_BY_DADDR (1 << 0)

/**
 * Capability: own frames can be mapped.
 */
#define XEN_GDMA_CAP_OWN_FRAMES (1 << 0)

/**
 * Capability: version 1 grant references can be mapped.
 */
#define XEN_GDMA_CAP_GRANT_V1 (1 << 1)

/**
 * Capability: the caller's default context accepts mappings. Clear when the
 * caller's devices are not behind an IOMMU that Xen programs for it alone, or
 * when the IOMMU shares its page tables with the CPU.
 */
#define XEN_GDMA_CAP_DEFAULT_CONTEXT (1 << 2)

/**
 * Capability: PCI devices can be asked for with `query_device`.
 */
#define XEN_GDMA_CAP_PCI (1 << 3)

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
   * OUT: most contexts it may create (0 in this version).
   */
  uint32_t max_contexts;
  /**
   * OUT: first device address that `map` gives out or accepts in the default
   * context; 0 when the default context accepts no mapping.
   */
  uint64_t daddr_first;
  /**
   * OUT: last device address (inclusive) of that range; 0 likewise.
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
 * One element of `XEN_GDMA_OP_MAP`.
 *
 * An element that fails changes nothing. If the call returns `-EIO`, devices may
 * not yet see the mappings of elements with status 0. Element errors, in the order in which
 * they are found:
 *
 * | error | when |
 * |---|---|
 * | `-EINVAL` | padding not zero; unknown `kind` or flag; neither READ nor WRITE; `nr_frames` 0 or above `XEN_GDMA_MAX_FRAMES`; `domid` not 0 with OWN; `daddr` not 0 without FIXED, not page aligned or outside the context's range with it |
 * | `-ENOENT` | no such context |
 * | `-EOPNOTSUPP` | the default context accepts no mapping for this domain |
 * | `-ESRCH` | no such granter |
 * | `-EPERM` | access control refuses |
 * | `-ENOBUFS` | the domain's limit of pinned frames would be passed |
 * | `-EEXIST` | FIXED, and a part of the range is in use |
 * | `-ENOSPC` | no run of free device addresses is long enough, or too many frames of the caller's own are in the way |
 * | `-ERANGE` | a grant reference outside the granter's table |
 * | `-EACCES` | the entry does not grant this access to the caller |
 * | `-EBUSY` | the entry changes under our hands, or was granted to another domain that still uses it |
 * | `-EMLINK` | too many mappings of one reference |
 * | `-EFAULT` | the guest frame is not ordinary memory of its domain |
 * | `-EAGAIN` | the guest frame is paged out or shared; try again |
 * | `-ENOMEM` | Xen has no memory for the records |
 * | `-EIO` | the IOMMU refused |
 */
struct xen_gdma_map {
  /**
   * IN: context, `XEN_GDMA_CONTEXT_DEFAULT`.
   */
  uint32_t context;
  /**
   * IN: `XEN_GDMA_MAP_OWN` or `XEN_GDMA_MAP_GRANT`.
   */
  uint16_t kind;
  /**
   * IN: GRANT: the granter (`XEN_GDMA_DOMID_SELF` for the caller); OWN: 0.
   */
  uint16_t domid;
  /**
   * IN: first guest frame number or first grant reference.
   */
  uint64_t source;
  /**
   * IN: number of consecutive frames or references.
   */
  uint32_t nr_frames;
  /**
   * IN: `XEN_GDMA_MAP_*` flags.
   */
  uint32_t flags;
  /**
   * IN: with FIXED the wanted device address, else 0. OUT: device address of
   * the first byte; unchanged on error.
   */
  uint64_t daddr;
  /**
   * OUT: names the mapping for `unmap`; never 0, never given out twice.
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
 * with status 0 any more: the IOTLB flush (one for many elements) has
 * succeeded. If the flush fails the call returns `-EIO`: the mappings of the
 * elements with status 0 are gone, but their frames stay pinned until a later
 * flush succeeds, because a device may still reach them.
 *
 * Element errors: `-EINVAL` unknown flag, fields of the other form not zero, or
 * `daddr` not page aligned; `-ENOENT` no such context, stale or unknown handle, no mapping of
 * exactly that range; `-EIO` the IOMMU refused, and the mapping stays.
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
   * IN: context, `XEN_GDMA_CONTEXT_DEFAULT`.
   */
  uint32_t context;
  /**
   * IN: with `XEN_GDMA_UNMAP_BY_DADDR` the number of frames, else 0.
   */
  uint32_t nr_frames;
  /**
   * IN: `XEN_GDMA_UNMAP_*` flags.
   */
  uint32_t flags;
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
   * IN: context, `XEN_GDMA_CONTEXT_DEFAULT`.
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
   * IN: GADDR: which of several mappings of the frame, counting from 0 (the
   * newest); DADDR: 0.
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

#endif  /* __XEN_PUBLIC_GRANT_DMA_H__ */

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A second PVH domain without a toolstack.
 *
 * The domain is a clone of this guest: the whole image is copied to the same
 * guest addresses, and its one vcpu starts in 64-bit mode, on the copied page
 * tables, at a function of the same image.  So one source file holds both
 * sides of a test, and a variable's address means the same in both.
 *
 * The clone owns nothing but the frames of the image.  Everything a function
 * of the clone needs from Xen (its grant table, say) it must ask for itself;
 * what this guest has set up before is copied as bytes only.  It has no
 * console but port 0xe9, must not end the test and never returns.
 *
 * For the domain that owns the machine, in the hvm64 environment.
 */
#ifndef LAB_SECOND_DOMAIN_H
#define LAB_SECOND_DOMAIN_H

#include <xtf.h>

struct second_domain {
    domid_t domid;
};

/* Build it and start it at @entry.  0, or an error number and a message. */
int second_domain_start(struct second_domain *dom, void (*entry)(void));

/*
 * The same for a domain that may choose a version of grant tables above 1.
 * It starts in version 1.
 */
int second_domain_start_with(struct second_domain *dom, void (*entry)(void),
                             unsigned int max_grant_version);

/* Domains started from now on can have devices. */
void second_domain_behind_iommu(void);

/* Domains started from now on can have so many pages beside the image. */
void second_domain_more_memory(unsigned long pages);

/*
 * Give it empty pages at @gfn and behind: 512 of them, at a multiple of that,
 * in one large page, as toolstacks do, others in small ones.  0, or an error
 * number.
 */
int second_domain_populate(const struct second_domain *dom, unsigned long gfn,
                           unsigned long pages);

/* Nothing is at @gfn any more.  The page is the domain's until it ends. */
int second_domain_remove(const struct second_domain *dom, unsigned long gfn);

/* Make it the owner of a PCI device.  0, or an error number and a message. */
int second_domain_assign(const struct second_domain *dom, uint32_t sbdf);

/*
 * Show the clone's copy of the @nr pages at @va, or its frames from @gfn on, in
 * this domain, at the page aligned address @window: frames of this domain's own
 * memory, which are lost.
 */
int second_domain_map(const struct second_domain *dom, const void *va,
                      void *window, unsigned int nr);
int second_domain_map_frames(const struct second_domain *dom, unsigned long gfn,
                             void *window, unsigned int nr);
int second_domain_unmap(void *window, unsigned int nr);

/* End it.  Everything of its memory mapped here must be unmapped by then. */
int second_domain_destroy(const struct second_domain *dom);

/* 0 if Xen knows a domain of this number, dead or alive, or -ESRCH. */
long second_domain_info(domid_t domid);

/*
 * For the clone: let other domains run until somebody has an event for it.
 */
void second_domain_sleep(void);

#endif /* LAB_SECOND_DOMAIN_H */

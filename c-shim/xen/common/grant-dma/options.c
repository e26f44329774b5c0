/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/options.c: the command line.
 *
 * Those of the grant tables have the names, meanings and limits that the C grant
 * tables have given them; the two sizes can also be changed at run time (hypfs).
 */
#include <xen/grant_table.h>
#include <xen/init.h>
#include <xen/lib.h>
#include <xen/param.h>

#include "gdma.h"

unsigned int __read_mostly opt_gnttab_max_version = GDMA_MAX_VERSION;
static bool __read_mostly opt_transitive_grants = true;
#ifdef CONFIG_PV
static bool __ro_after_init opt_transfer = true;
#endif

bool gdma_transitive_allowed(void)
{
    return opt_transitive_grants;
}

/* Only PV domains can give pages away. */
bool gdma_transfer_allowed(void)
{
#ifdef CONFIG_PV
    return opt_transfer;
#else
    return false;
#endif
}

/* One item of the list, which ends at end. */
static int __init parse_gnttab_item(const char *s, const char *end)
{
    int val = parse_boolean("transitive", s, end);

    if ( val >= 0 )
    {
        opt_transitive_grants = val;
        return 0;
    }

#ifdef CONFIG_PV
    val = parse_boolean("transfer", s, end);
    if ( val >= 0 )
    {
        opt_transfer = val;
        return 0;
    }
#endif

    /* "max_ver" is how XSA-226 spelled it first. */
    if ( !strncmp(s, "max-ver:", 8) || !strncmp(s, "max_ver:", 8) )
    {
        const char *rest;
        long version = simple_strtol(s + 8, &rest, 10);

        if ( rest == end && version >= 1 && version <= 2 )
        {
            opt_gnttab_max_version = version;
            return 0;
        }
    }

    return -EINVAL;
}

static int __init cf_check parse_gnttab(const char *s)
{
    int rc = 0;

    for ( ; ; )
    {
        const char *end = strchr(s, ',') ?: strchr(s, '\0');

        rc = parse_gnttab_item(s, end) ?: rc;
        if ( !*end )
            return rc;
        s = end + 1;
    }
}
custom_param("gnttab", parse_gnttab);

unsigned int __read_mostly opt_max_grant_frames = 64;
unsigned int __read_mostly gdma_opt_max_maptrack_frames = 1024;

static int parse_frames(const char *arg, unsigned int *frames)
{
    const char *rest;
    unsigned long val = simple_strtoul(arg, &rest, 0);

    if ( *rest )
        return -EINVAL;

    if ( val > INT_MAX )
        return -ERANGE;

    *frames = val;

    return 0;
}

#ifdef CONFIG_HYPFS
/* What hypfs shows: a value in words, for each of the two. */
struct frames_text {
    char text[12];
};

static struct frames_text __read_mostly max_frames_text;
static struct frames_text __read_mostly max_maptrack_frames_text;

static void show_frames(struct param_hypfs *par, struct frames_text *to,
                        unsigned int frames)
{
    snprintf(to->text, sizeof(to->text), "%u", frames);
    custom_runtime_set_var(par, to->text);
}

static void __init cf_check max_frames_init(struct param_hypfs *par)
{
    show_frames(par, &max_frames_text, opt_max_grant_frames);
}

static void __init cf_check max_maptrack_frames_init(struct param_hypfs *par)
{
    show_frames(par, &max_maptrack_frames_text, gdma_opt_max_maptrack_frames);
}
#else
#define show_frames(par, to, frames) ((void)(frames))
#endif

static int cf_check parse_max_frames(const char *arg);
custom_runtime_param("gnttab_max_frames", parse_max_frames, max_frames_init);

static int cf_check parse_max_frames(const char *arg)
{
    int rc = parse_frames(arg, &opt_max_grant_frames);

    if ( !rc )
        show_frames(param_2_parfs(parse_max_frames), &max_frames_text,
                    opt_max_grant_frames);

    return rc;
}

static int cf_check parse_max_maptrack_frames(const char *arg);
custom_runtime_param("gnttab_max_maptrack_frames", parse_max_maptrack_frames,
                     max_maptrack_frames_init);

static int cf_check parse_max_maptrack_frames(const char *arg)
{
    int rc = parse_frames(arg, &gdma_opt_max_maptrack_frames);

    if ( !rc )
        show_frames(param_2_parfs(parse_max_maptrack_frames),
                    &max_maptrack_frames_text, gdma_opt_max_maptrack_frames);

    return rc;
}

/* Frames that one domain may have pinned for DMA at a time. */
unsigned int __read_mostly gdma_opt_max_pins = 16384;
integer_param("grant-dma-max-pins", gdma_opt_max_pins);

/* Device address spaces that one domain may have besides the default one. */
unsigned int __read_mostly gdma_opt_max_contexts = 32;
integer_param("grant-dma-max-contexts", gdma_opt_max_contexts);

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */

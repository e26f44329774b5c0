/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies between references and own frames; each element its own pages. */
#include "bench.h"

static struct wire_copy copies[NR];

static struct wire_copy_end reference(domid_t domid, grant_ref_t ref)
{
    return (struct wire_copy_end){ .ref = ref, .domid = domid };
}

static struct wire_copy_end own_frame(const uint8_t *pages, unsigned int nr)
{
    return (struct wire_copy_end){
        .frame = virt_to_gfn(&pages[nr * PAGE_SIZE]), .domid = DOMID_SELF,
    };
}

static void measure_prepared(const char *what)
{
    const struct cost_elements elements = COST_ARRAY(WIRE_COPY, copies);

    for ( unsigned int i = 0; i < NR_BATCHES; i++ )
    {
        struct cost cost = cost_begin("copy", what, batches[i], 0);

        for ( unsigned int round = 0; round < rounds; round++ )
            cost_round(&cost, &elements);
        cost_end(&cost);
    }
}

static void measure_length(const char *whose, domid_t domid, unsigned int len)
{
    char what[48];

    for ( unsigned int i = 0; i < NR; i++ )
        copies[i] = (struct wire_copy){
            .source = reference(domid, REF_A + i),
            .dest = own_frame(pages_b, i),
            .len = len,
            .flags = WIRE_COPY_SOURCE_REF,
        };
    snprintf(what, sizeof(what), "%s,gref-to-frame,%u", whose, len);
    measure_prepared(what);

    for ( unsigned int i = 0; i < NR; i++ )
        copies[i] = (struct wire_copy){
            .source = own_frame(pages_b, i),
            .dest = reference(domid, REF_A + i),
            .len = len,
            .flags = WIRE_COPY_DEST_REF,
        };
    snprintf(what, sizeof(what), "%s,frame-to-gref,%u", whose, len);
    measure_prepared(what);

    for ( unsigned int i = 0; i < NR; i++ )
        copies[i] = (struct wire_copy){
            .source = reference(domid, REF_A + i),
            .dest = reference(domid, REF_B + i),
            .len = len,
            .flags = WIRE_COPY_SOURCE_REF | WIRE_COPY_DEST_REF,
        };
    snprintf(what, sizeof(what), "%s,gref-to-gref,%u", whose, len);
    measure_prepared(what);
}

void measure_copies(const char *whose, domid_t domid)
{
    measure_length(whose, domid, 64);
    measure_length(whose, domid, PAGE_SIZE);
}

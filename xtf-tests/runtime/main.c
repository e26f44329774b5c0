/* SPDX-License-Identifier: GPL-2.0-only */
/* The C entry point of every test guest. */
#include <xtf/console.h>
#include <xtf/framework.h>
#include <xtf/lib.h>
#include <xtf/report.h>
#include <xtf/test.h>

int xtf_get_domid(void)
{
    return arch_get_domid();
}

void xtf_main(void)
{
    arch_setup();

    printk("--- Xen Test Framework ---\n");
    printk("Environment: %s\n", environment_description);
    printk("%s\n", test_title);

    test_main();

    xtf_exit();
}

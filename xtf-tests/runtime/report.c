/* SPDX-License-Identifier: GPL-2.0-only */
/* The result of a test, and the ways a guest ends. */
#include <xtf/console.h>
#include <xtf/framework.h>
#include <xtf/lib.h>
#include <xtf/report.h>

/* In order of severity: the largest one reported is the result. */
static enum result {
    RESULT_NONE,
    RESULT_SUCCESS,
    RESULT_SKIP,
    RESULT_ERROR,
    RESULT_FAILURE,
} result;

static bool warned;

static const struct {
    const char *name;
    enum machine_exit code;
} outcome[] = {
    [RESULT_SUCCESS] = { "SUCCESS", MACHINE_EXIT_SUCCESS },
    [RESULT_SKIP]    = { "SKIP",    MACHINE_EXIT_SKIP },
    [RESULT_ERROR]   = { "ERROR",   MACHINE_EXIT_ERROR },
    [RESULT_FAILURE] = { "FAILURE", MACHINE_EXIT_FAILURE },
};

static void report(enum result new, const char *fmt, va_list args)
{
    result = max(result, new);
    if ( fmt )
        vprintk(fmt, args);
}

/* The reporting functions differ in nothing but the result they carry. */
#define DEFINE_REPORT(name, value)          \
    void name(const char *fmt, ...)         \
    {                                       \
        va_list args;                       \
                                            \
        va_start(args, fmt);                \
        report(value, fmt, args);           \
        va_end(args);                       \
    }

DEFINE_REPORT(xtf_success, RESULT_SUCCESS)
DEFINE_REPORT(xtf_skip, RESULT_SKIP)
DEFINE_REPORT(xtf_error, RESULT_ERROR)
DEFINE_REPORT(xtf_failure, RESULT_FAILURE)

void xtf_warning(const char *fmt, ...)
{
    va_list args;

    warned = true;
    va_start(args, fmt);
    report(RESULT_NONE, fmt, args);
    va_end(args);
}

bool xtf_status_reported(void)
{
    return result != RESULT_NONE;
}

void xtf_report_status(void)
{
    if ( result == RESULT_NONE )
        xtf_error("The test ended without reporting a result\n");

    printk("Test result: %s%s\n", outcome[result].name,
           warned && result == RESULT_SUCCESS ? " with warnings" : "");
}

void xtf_exit(void)
{
    xtf_report_status();
    arch_exit(outcome[result].code);
}

void panic(const char *fmt, ...)
{
    va_list args;

    printk("PANIC: ");
    va_start(args, fmt);
    report(RESULT_ERROR, fmt, args);
    va_end(args);

    xtf_exit();
}

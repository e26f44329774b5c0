/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/arguments.h>

static const char *command_line(void)
{
#ifdef CONFIG_PV
    return (const char *)pv_start_info->cmd_line;
#else
    if ( !pvh_start_info || !pvh_start_info->cmdline_paddr )
        return "";

    return _p(pvh_start_info->cmdline_paddr);
#endif
}

const char *argument(const char *name, size_t *len)
{
    size_t name_len = strlen(name);
    const char *word = command_line();

    while ( *word )
    {
        size_t word_len = 0;

        while ( word[word_len] && word[word_len] != ' ' )
            word_len++;

        if ( word_len > name_len && word[name_len] == '=' &&
             !strncmp(word, name, name_len) )
        {
            *len = word_len - name_len - 1;
            return word + name_len + 1;
        }

        word += word_len;
        while ( *word == ' ' )
            word++;
    }

    return NULL;
}

unsigned long argument_number(const char *name, unsigned long otherwise)
{
    size_t len;
    const char *value = argument(name, &len);
    unsigned long number = 0;

    if ( !value || !len )
        return otherwise;

    for ( ; len && *value >= '0' && *value <= '9'; value++, len-- )
        number = number * 10 + *value - '0';

    return len ? otherwise : number;
}

bool argument_lists(const char *name, const char *item)
{
    size_t len, item_len = strlen(item);
    const char *value = argument(name, &len);

    if ( !value )
        return true;

    for ( ; ; )
    {
        size_t part = 0;

        while ( part < len && value[part] != ',' )
            part++;

        if ( part == item_len && !strncmp(value, item, part) )
            return true;
        if ( part == len )
            return false;

        value += part + 1;
        len -= part + 1;
    }
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prints the options of the configuration, for tests/cli/test_manual.py to compare with
 * keyturn.yaml(5): a line for each, with its names from the outermost on and what its row says,
 * separated by tabs.
 */
#include "config/option.h"

#include <stdio.h>

static const char *or_nothing(const char *text)
{
    return text != NULL ? text : "";
}

static void print(const char *prefix, const kt_option_t *options)
{
    for (; options->name != NULL; options++) {
        char name[128];

        if (options->kind == NULL)
            continue;
        (void)printf("%s%s\t%s", prefix, options->name, or_nothing(options->value));
        for (size_t i = 0; options->choices != NULL && options->choices[i] != NULL; i++)
            (void)printf("%s%s", i > 0 ? " | " : "", options->choices[i]);
        (void)printf("\t%s\t%s\t%s\t%s\t%s\n", or_nothing(options->text),
                     or_nothing(options->preset), or_nothing(options->least),
                     or_nothing(options->most), options->required ? "required" : "");
        (void)snprintf(name, sizeof(name), "%s%s.", prefix, options->name);
        if (options->options != NULL)
            print(name, options->options);
    }
}

int main(void)
{
    print("", kt_config_options);
    return fflush(stdout) == 0 ? 0 : 1;
}

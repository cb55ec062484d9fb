/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn undelete NAME: brings a deleted secret back. */
#include "cli.h"

kt_status_t verb_undelete(cli_t *cli)
{
    return cli_change(cli, kt_undelete);
}

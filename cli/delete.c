/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn delete NAME: ends reads of a secret, keeps its versions. */
#include "cli.h"

kt_status_t verb_delete(cli_t *cli)
{
    return cli_change(cli, kt_delete);
}

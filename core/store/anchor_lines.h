/* SPDX-License-Identifier: BSD-2-Clause */
/* anchor_lines.h: what a file of anchors consists of (anchor_files.c), for what writes one
 * (anchor_own.c). */
#ifndef KT_ANCHOR_LINES_H
#define KT_ANCHOR_LINES_H

#include "anchors.h"

#define KT_ANCHOR_MAGIC "keyturn-anchors 1\n"
#define KT_ANCHOR_FILE_MAX (1024u * 1024u)
#define KT_ANCHOR_BODY (KT_KEYID_SIZE + KT_ID_SIZE + 8u + KT_TAG_SIZE)
#define KT_ANCHOR_LINE_MAX (2u * KT_ANCHOR_BODY + 2u * KT_HASH_SIZE + 40u)
/* of a line as we write it: the generation has 20 digits */
#define KT_ANCHOR_LINE (2 * (KT_KEYID_SIZE + KT_ID_SIZE + KT_TAG_SIZE + KT_HASH_SIZE) + 20 + 5)

bool kt_anchor_parse(const char *line, kt_anchor_t *anchor);
/* `text` has room for KT_ANCHOR_LINE_MAX. */
void kt_anchor_format(const kt_anchor_t *anchor, char *text);
/* Opens the stream's folder; -1 with errno. */
int kt_anchor_folder(int folder, const char *stream);
/* The text of the file in the stream's open folder, NUL-terminated and malloc'ed; NULL: there is
 * none yet. Fails as kt_anchor_file_read() does. */
kt_status_t kt_anchor_file_text(const char *path, const char *stream, int own, char **ret_text);

#endif /* KT_ANCHOR_LINES_H */

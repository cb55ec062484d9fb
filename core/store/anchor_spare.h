/* SPDX-License-Identifier: BSD-2-Clause */
/* anchor_spare.h: space that is kept for the next file of anchors. `own`: the open folder of a
 * stream. errno says why a function answers false. */
#ifndef KT_ANCHOR_SPARE_H
#define KT_ANCHOR_SPARE_H

#include "base/base.h"

#define KT_SPARE ".generations.spare"

/* Is there a spare for `room` bytes in the folder STREAM of this folder? */
bool kt_spare_is_there(int folder, const char *stream, size_t room);
/* Makes it, or makes it larger. With the stream's lock. */
bool kt_spare_make(int own, size_t room);
/* The text becomes the contents of the file `name`, durably. With the stream's lock. */
bool kt_spare_use(int own, const char *name, const char *text, size_t size);

#endif /* KT_ANCHOR_SPARE_H */

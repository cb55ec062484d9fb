# SPDX-License-Identifier: BSD-2-Clause
$(eval $(call provider,redis,$(HIREDIS_CFLAGS),$(HIREDIS_EMBED) -pthread))

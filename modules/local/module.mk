# SPDX-License-Identifier: BSD-2-Clause
$(eval $(call provider,local,$(SQLITE_CFLAGS),$(SQLITE_LIBS) -pthread))

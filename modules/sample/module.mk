# SPDX-License-Identifier: BSD-2-Clause
# provider,NAME,CFLAGS,LIBS: with what libraries it needs, as in ../local/module.mk.
$(eval $(call provider,sample,,))

# SPDX-License-Identifier: BSD-2-Clause
$(eval $(call provider,file,,))

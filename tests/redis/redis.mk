# SPDX-License-Identifier: BSD-2-Clause
# A module that calls ours, for the tests.
CALLER_SO := $(BUILD)/tests/redis/caller.so
CALLER_OBJ := $(call objects,tests/redis/caller.c)
ifeq ($(HAVE_REDIS),yes)
TESTS += $(CALLER_SO)
endif

$(CALLER_OBJ): OBJ_CFLAGS = -isystem $(REDISMODULE_DIR)

$(CALLER_SO): $(CALLER_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -shared $(LDFLAGS) -o $@ $(CALLER_OBJ)

# SPDX-License-Identifier: BSD-2-Clause
# The Redis module, and the loader that servers are given (loader.c). In both, RedisModule_OnLoad must be marked visible
# in the source.

REDIS_LOADER_OBJ := $(call objects,$(wildcard redis-module/loader.c))
REDIS_OBJ := $(filter-out $(REDIS_LOADER_OBJ),$(call objects,$(wildcard redis-module/*.c)))
REDIS_LOADER := $(BUILD)/redis/keyturn.so
REDIS_SO := $(BUILD)/redis/redis-module.so

ifeq ($(HAVE_REDIS)$(if $(REDIS_OBJ),yes),yesyes)
ALL += $(REDIS_LOADER) $(REDIS_SO)
$(call installs,755,$(redismoddir),$(REDIS_LOADER))
$(call installs,755,$(libdir)/keyturn,$(REDIS_SO))
# for Valkey: the loader follows the link to the module
INSTALLED_LINKS += ../../redis/modules/$(notdir $(REDIS_LOADER)):$(valkeymoddir)/$(notdir $(REDIS_LOADER))
endif

# the header of Redis is not ours to warn about
$(REDIS_OBJ): OBJ_CFLAGS = -Iredis-module -isystem $(REDISMODULE_DIR) -pthread
$(REDIS_LOADER_OBJ): OBJ_CFLAGS = -isystem $(REDISMODULE_DIR) \
    -DKTR_LOADER='"$(redismoddir)/$(notdir $(REDIS_LOADER))"' -DKTR_MODULE='"$(libdir)/keyturn/$(notdir $(REDIS_SO))"'

$(REDIS_SO): $(REDIS_OBJ) $(LIBKEYTURN_DEV)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -shared $(LDFLAGS) -o $@ $(REDIS_OBJ) $(KEYTURN_LINK) -pthread

$(REDIS_LOADER): $(REDIS_LOADER_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -shared $(LDFLAGS) -o $@ $(REDIS_LOADER_OBJ) -ldl

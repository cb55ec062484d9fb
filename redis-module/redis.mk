# SPDX-License-Identifier: BSD-2-Clause
# The Redis module. RedisModule_OnLoad must be marked visible in the source.

REDIS_OBJ := $(call objects,$(wildcard redis-module/*.c))
REDIS_SO := $(BUILD)/redis/keyturn.so

ifeq ($(HAVE_REDIS)$(if $(REDIS_OBJ),yes),yesyes)
ALL += $(REDIS_SO)
$(call installs,755,$(redismoddir),$(REDIS_SO))
endif

# the header of Redis is not ours to warn about
$(REDIS_OBJ): OBJ_CFLAGS = -Iredis-module -isystem $(REDISMODULE_DIR) -pthread

$(REDIS_SO): $(REDIS_OBJ) $(LIBKEYTURN_DEV)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -shared $(LDFLAGS) -o $@ $(REDIS_OBJ) $(KEYTURN_LINK) -pthread

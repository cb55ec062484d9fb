# SPDX-License-Identifier: BSD-2-Clause
# Unit programs in which threads meet, once more under ThreadSanitizer, which gcc brings; with the
# core, and the provider that they load. `make tsan` makes them, auto/check runs them with the rest.
# Not test_memory, most of which is about pages and forks: it takes half a minute there.

TSAN_SRC := $(filter-out %/test_memory.c,$(shell grep -l pthread_create $(UNIT_SRC)))
TSAN_PROGRAMS := $(patsubst %.c,$(BUILD)/tests/tsan/%,$(notdir $(TSAN_SRC)))
TSAN_PROVIDERS := $(patsubst %,$(BUILD)/tests/tsan/keyturn/%.so,local redis)
TSAN_CFLAGS = -std=c11 -O1 -g -fsanitize=thread -fPIC
tsan_objects = $(patsubst %.c,$(BUILD)/obj/tsan/%.o,$(1))
TSAN_CORE := $(call tsan_objects,$(CORE_SRC) $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c)))

.PHONY: tsan
tsan: $(if $(filter yes,$(HAVE_CHECK)),$(TSAN_PROGRAMS) $(TSAN_PROVIDERS) $(BUILD)/tests/tsan/race)

$(BUILD)/obj/tsan/%.o: %.c $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,TSAN)$(CC) $(CPPFLAGS_ALL) -Icore -Itests/unit $(CHECK_CFLAGS) $(SODIUM_CFLAGS) $(YAML_CFLAGS) \
	    $(JANSSON_CFLAGS) $(CURL_CFLAGS) $(ZLIB_CFLAGS) $(SQLITE_CFLAGS) $(HIREDIS_CFLAGS) $(TSAN_CFLAGS) -MMD -MP -c -o $@ $<

define tsan_program
$(BUILD)/tests/tsan/$(notdir $(basename $(1))): $(call tsan_objects,$(1)) $$(TSAN_CORE)
	@mkdir -p $$(@D)
	$$(call say,TSAN)$$(CC) -pie -fsanitize=thread $$(LDFLAGS) -o $$@ $$< $$(TSAN_CORE) $$(CHECK_LIBS) $$(CORE_LIBS) $$(SQLITE_LIBS)
endef
$(foreach source,$(TSAN_SRC),$(eval $(call tsan_program,$(source))))

$(BUILD)/tests/tsan/race: $(call tsan_objects,tests/tsan/race.c)
	@mkdir -p $(@D)
	$(call say,TSAN)$(CC) -pie -fsanitize=thread $(LDFLAGS) -o $@ $^ -pthread

$(BUILD)/tests/tsan/keyturn/local.so: $(call tsan_objects,$(wildcard modules/local/*.c))
	@mkdir -p $(@D)
	$(call say,TSAN)$(CC) -shared -fsanitize=thread $(LDFLAGS) -o $@ $^ $(SQLITE_LIBS) -pthread

$(BUILD)/tests/tsan/keyturn/redis.so: $(BUILD)/lib/keyturn/redis.so
	@mkdir -p $(@D)
	$(call say,COPY)install -m 755 $< $@

.SECONDARY: $(call tsan_objects,$(TSAN_SRC))

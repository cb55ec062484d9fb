# SPDX-License-Identifier: BSD-2-Clause
# Each test_*.c in tests/unit/ and its folders, which are core's, is one Check program, linked with the core's
# objects themselves, so that it reaches internal functions. A root_*.c is one that root runs. Other .c files are
# helpers that all of them get.

UNIT_SRC := $(wildcard tests/unit/test_*.c tests/unit/root_*.c tests/unit/*/test_*.c)
UNIT_HELPERS := $(call objects,$(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c)))
UNIT_PROGRAMS := $(patsubst %.c,$(BUILD)/tests/unit/%,$(notdir $(UNIT_SRC)))

ifeq ($(HAVE_CHECK),yes)
UNIT += $(UNIT_PROGRAMS)
endif

# a test cuts texts on purpose (clang does not know that warning)
$(call objects,$(UNIT_SRC)) $(UNIT_HELPERS): OBJ_CFLAGS = -Icore -Itests/unit $(CHECK_CFLAGS) \
    -Wno-format-truncation -Wno-unknown-warning-option \
    $(SODIUM_CFLAGS) $(YAML_CFLAGS) $(JANSSON_CFLAGS) $(CURL_CFLAGS) $(ZLIB_CFLAGS) $(SQLITE_CFLAGS)

define unit_program
$(BUILD)/tests/unit/$(notdir $(basename $(1))): $(call objects,$(1)) $$(UNIT_HELPERS) $$(CORE_OBJ)
	@mkdir -p $$(@D)
	$$(call say,LINK)$$(CC) -pie $$(LDFLAGS) -o $$@ $$< $$(UNIT_HELPERS) $$(CORE_OBJ) $$(CHECK_LIBS) $$(CORE_LIBS) $$(SQLITE_LIBS)
endef
$(foreach source,$(UNIT_SRC),$(eval $(call unit_program,$(source))))

.SECONDARY: $(call objects,$(UNIT_SRC))

# What prints the options of the configuration, for tests/cli/test_manual.py.
UNIT_OPTIONS := $(BUILD)/tests/unit/options
UNIT += $(UNIT_OPTIONS)

$(call objects,tests/unit/config/options.c): OBJ_CFLAGS = -Icore
$(UNIT_OPTIONS): $(call objects,tests/unit/config/options.c) $(CORE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $^ $(CORE_LIBS)

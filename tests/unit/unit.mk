# SPDX-License-Identifier: BSD-2-Clause
# Each tests/unit/test_*.c is one Check program, linked with the core's objects themselves, so that it
# reaches internal functions; other .c files there are helpers that all of them get.

UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_HELPERS := $(call objects,$(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c)))
UNIT_PROGRAMS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SRC))

ifeq ($(HAVE_CHECK),yes)
UNIT += $(UNIT_PROGRAMS)
endif

# a test cuts texts on purpose (clang does not know that warning)
$(call objects,$(UNIT_SRC)) $(UNIT_HELPERS): OBJ_CFLAGS = -Icore -Itests/unit $(CHECK_CFLAGS) \
    -Wno-format-truncation -Wno-unknown-warning-option \
    $(SODIUM_CFLAGS) $(YAML_CFLAGS) $(JANSSON_CFLAGS) $(CURL_CFLAGS) $(SQLITE_CFLAGS)

$(UNIT_PROGRAMS): $(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(UNIT_HELPERS) $(CORE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $< $(UNIT_HELPERS) $(CORE_OBJ) $(CHECK_LIBS) $(CORE_LIBS) $(SQLITE_LIBS)

.SECONDARY: $(call objects,$(UNIT_SRC))

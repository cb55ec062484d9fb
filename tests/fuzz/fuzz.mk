# SPDX-License-Identifier: BSD-2-Clause
# The fuzz targets, for clang's libFuzzer, with ASan and UBSan. Not a part of `make tests`, which
# replays their corpora by tests/unit/test_fuzz.c; tests/build/test_fuzzers.py builds and starts them:
#
#   make fuzzers && build/tests/fuzz/fuzz_json -max_total_time=600 FOLDER tests/fuzz/corpus/json

FUZZ_CC ?= $(shell command -v clang || echo clang-14)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(FUZZ_SRC))
FUZZ_SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_CFLAGS = -std=gnu11 -g -O1 $(FUZZ_SANITIZERS) -Icore $(SODIUM_CFLAGS) $(YAML_CFLAGS) $(JANSSON_CFLAGS) $(CURL_CFLAGS) $(ZLIB_CFLAGS)
FUZZ_OBJ := $(patsubst core/%.c,$(BUILD)/obj/fuzz/%.o,$(CORE_SRC))

.PHONY: fuzzers
fuzzers: $(FUZZ_PROGRAMS)

# the core, once for all of them
$(FUZZ_OBJ): $(BUILD)/obj/fuzz/%.o: core/%.c $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,FUZZ)$(FUZZ_CC) $(CPPFLAGS_ALL) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(FUZZ_PROGRAMS): $(BUILD)/tests/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(FUZZ_OBJ)
	@mkdir -p $(@D)
	$(call say,FUZZ)$(FUZZ_CC) $(CPPFLAGS_ALL) $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $< $(FUZZ_OBJ) $(CORE_LIBS)

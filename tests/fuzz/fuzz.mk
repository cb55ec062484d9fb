# SPDX-License-Identifier: BSD-2-Clause
# The fuzz targets, for clang's libFuzzer (Debian's clang and libclang-rt-14-dev). Not a part of
# `make tests`, which replays their corpora by tests/unit/test_fuzz.c:
#
#   make fuzzers && build/tests/fuzz/fuzz_json -max_total_time=600 FOLDER tests/fuzz/corpus/json

FUZZ_CC ?= clang
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(FUZZ_SRC))
FUZZ_CFLAGS = -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -Icore

.PHONY: fuzzers
fuzzers: $(FUZZ_PROGRAMS)

$(FUZZ_PROGRAMS): $(BUILD)/tests/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(wildcard core/*.[ch])
	@mkdir -p $(@D)
	$(call say,FUZZ)$(FUZZ_CC) $(CPPFLAGS_ALL) $(FUZZ_CFLAGS) $(SODIUM_CFLAGS) $(YAML_CFLAGS) \
	    $(JANSSON_CFLAGS) $(CURL_CFLAGS) -o $@ $< $(wildcard core/*.c) $(CORE_LIBS)

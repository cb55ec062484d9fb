# SPDX-License-Identifier: BSD-2-Clause
# What auto/bench measures with. measure_*.c are consumers, linked with the library as it is installed;
# the others reach inside and are linked with the core's objects, as unit tests are.

BENCH_SRC := $(wildcard tests/bench/*.c)
BENCH_COMMON := $(call objects,$(wildcard tests/bench/bench.c))
BENCH_MEASURE := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(wildcard tests/bench/measure_*.c))
BENCH_INSIDE := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(filter-out tests/bench/bench.c tests/bench/measure_%,$(BENCH_SRC)))
BENCH_PROVIDER := $(BUILD)/tests/bench/keyturn/local.so

TESTS += $(BENCH_MEASURE) $(BENCH_INSIDE) $(BENCH_PROVIDER)

.PHONY: bench
bench: all $(BENCH_MEASURE) $(BENCH_INSIDE) $(BENCH_PROVIDER)

$(call objects,$(BENCH_SRC)): OBJ_CFLAGS = -Icore -Itests/bench $(SODIUM_CFLAGS) $(JANSSON_CFLAGS) $(SQLITE_CFLAGS) -pthread

$(BENCH_MEASURE): $(BUILD)/tests/bench/%: $(BUILD)/obj/tests/bench/%.o $(BENCH_COMMON) $(LIBKEYTURN_DEV)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $< $(BENCH_COMMON) $(KEYTURN_LINK) $(SODIUM_LIBS) $(SQLITE_LIBS) -pthread

$(BENCH_INSIDE): $(BUILD)/tests/bench/%: $(BUILD)/obj/tests/bench/%.o $(BENCH_COMMON) $(CORE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $< $(BENCH_COMMON) $(CORE_OBJ) $(CORE_LIBS) $(SQLITE_LIBS)

# the loader looks beside what it is part of
$(BENCH_PROVIDER): $(BUILD)/lib/keyturn/local.so
	@mkdir -p $(@D)
	$(call say,COPY)install -m 755 $< $@

.SECONDARY: $(call objects,$(BENCH_SRC))

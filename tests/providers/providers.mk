# SPDX-License-Identifier: BSD-2-Clause
# The driver of the conformance suite: it loads a provider as the core does, and links nothing of ours.
CONFORMANCE := $(BUILD)/tests/providers/conformance
CONFORMANCE_OBJ := $(call objects,$(wildcard tests/providers/*.c))
TESTS += $(CONFORMANCE)

$(CONFORMANCE): $(CONFORMANCE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $(CONFORMANCE_OBJ) -ldl -pthread

# The sample is not installed, so that a staged installation has none.
SAMPLE := $(BUILD)/tests/providers/sample.so
TESTS += $(SAMPLE)

$(SAMPLE): $(BUILD)/lib/keyturn/sample.so
	@mkdir -p $(@D)
	$(call say,COPY)install -m 755 $< $@

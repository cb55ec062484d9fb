# SPDX-License-Identifier: BSD-2-Clause
# The loader looks for providers in keyturn/ beside what it is part of: for a unit test that is the program.

UNIT_PROVIDERS := $(patsubst %,$(BUILD)/tests/unit/keyturn/%.so,local redis)
UNIT += $(if $(filter yes,$(HAVE_CHECK)),$(UNIT_PROVIDERS))

$(UNIT_PROVIDERS): $(BUILD)/tests/unit/keyturn/%.so: $(BUILD)/lib/keyturn/%.so
	@mkdir -p $(@D)
	$(call say,COPY)install -m 755 $< $@

# SPDX-License-Identifier: BSD-2-Clause
# Each folder of core/ as one object, for test_layers.py, which asks the linker who calls whom.

LAYER_OBJ := $(CORE_LAYERS:%=$(BUILD)/tests/layers/%.o)
TESTS += $(LAYER_OBJ)

define layer_object
$(BUILD)/tests/layers/$(1).o: $(call objects,$(wildcard core/$(1)/*.c))
	@mkdir -p $$(@D)
	$$(call say,LAYER)$$(CC) -nostdlib -r -o $$@ $$^
endef
$(foreach layer,$(CORE_LAYERS),$(eval $(call layer_object,$(layer))))

# SPDX-License-Identifier: BSD-2-Clause
# What rotates a secret while the tests load nginx: a consumer, linked with the library as it is installed.
ROTATOR := $(BUILD)/tests/nginx/rotator
ROTATOR_OBJ := $(call objects,tests/nginx/rotator.c)
TESTS += $(ROTATOR)

$(ROTATOR): $(ROTATOR_OBJ) $(LIBKEYTURN_DEV)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $(ROTATOR_OBJ) $(KEYTURN_LINK)

# SPDX-License-Identifier: BSD-2-Clause
# The keyturn command: a consumer like the servers.

CLI_OBJ := $(call objects,$(wildcard cli/*.c))
CLI := $(BUILD)/bin/keyturn

ifneq ($(CLI_OBJ),)
ALL += $(CLI)
$(call installs,755,$(bindir),$(CLI))
endif

$(CLI_OBJ): OBJ_CFLAGS = -Icli $(JANSSON_CFLAGS)

$(CLI): $(CLI_OBJ) $(LIBKEYTURN_DEV)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $(CLI_OBJ) $(KEYTURN_LINK) $(JANSSON_LIBS)

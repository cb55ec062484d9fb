# SPDX-License-Identifier: BSD-2-Clause
# The keyturn command: a consumer like the servers.

CLI_OBJ := $(call objects,$(wildcard cli/*.c cli/*/*.c))
CLI := $(BUILD)/bin/keyturn
CLI_COMPLETION := $(BUILD)/obj/completions/keyturn

ifneq ($(CLI_OBJ),)
ALL += $(CLI) $(CLI_COMPLETION)
$(call installs,755,$(bindir),$(CLI))
# where bash looks for a command's completion when it is first wanted
$(call installs,644,$(prefix)/share/bash-completion/completions,$(CLI_COMPLETION))
endif

$(CLI_OBJ): OBJ_CFLAGS = -Icli -Icli/lib -Icli/init -Icli/check \
    $(SODIUM_CFLAGS) $(JANSSON_CFLAGS) $(CRYPTO_CFLAGS) $(ZXCVBN_CFLAGS)

$(CLI): $(CLI_OBJ) $(LIBKEYTURN_DEV)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $(CLI_OBJ) \
	    $(KEYTURN_LINK) $(SODIUM_LIBS) $(JANSSON_LIBS) $(CRYPTO_LIBS) $(ZXCVBN_LIBS)

$(CLI_COMPLETION): $(CLI)
	@mkdir -p $(@D)
	$(call say,GEN)LD_LIBRARY_PATH=$(BUILD)/lib $(CLI) completion > $@

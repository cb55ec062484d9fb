# SPDX-License-Identifier: BSD-2-Clause
# The keyturn command: a consumer like the servers.

CLI_OBJ := $(call objects,$(wildcard cli/*.c cli/*/*.c))
CLI := $(BUILD)/bin/keyturn
# what each shell loads when the command is first completed
CLI_COMPLETIONS := $(addprefix $(BUILD)/obj/completions/,bash/keyturn zsh/_keyturn fish/keyturn.fish)

ifneq ($(CLI_OBJ),)
ALL += $(CLI) $(CLI_COMPLETIONS)
$(call installs,755,$(bindir),$(CLI))
$(call installs,644,$(prefix)/share/bash-completion/completions,$(filter %/bash/keyturn,$(CLI_COMPLETIONS)))
$(call installs,644,$(prefix)/share/zsh/vendor-completions,$(filter %/_keyturn,$(CLI_COMPLETIONS)))
$(call installs,644,$(prefix)/share/fish/vendor_completions.d,$(filter %.fish,$(CLI_COMPLETIONS)))
endif

$(CLI_OBJ): OBJ_CFLAGS = -Icli -Icli/lib -Icli/init -Icli/check -Icli/completion \
    $(SODIUM_CFLAGS) $(JANSSON_CFLAGS) $(CRYPTO_CFLAGS) $(ZXCVBN_CFLAGS)

$(CLI): $(CLI_OBJ) $(LIBKEYTURN_DEV)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $(CLI_OBJ) \
	    $(KEYTURN_LINK) $(SODIUM_LIBS) $(JANSSON_LIBS) $(CRYPTO_LIBS) $(ZXCVBN_LIBS)

$(CLI_COMPLETIONS): $(CLI)
	@mkdir -p $(@D)
	$(call say,GEN)LD_LIBRARY_PATH=$(BUILD)/lib $(CLI) completion $(notdir $(@D)) > $@

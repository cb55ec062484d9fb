# SPDX-License-Identifier: BSD-2-Clause
$(eval $(call provider,exec,,))

# What runs its commands: command.c of the core has the reason.
EXEC_HELPER := $(BUILD)/lib/keyturn/run
ALL += $(EXEC_HELPER)
$(call installs,755,$(libdir)/keyturn,$(EXEC_HELPER))

$(EXEC_HELPER): $(BUILD)/obj/modules/exec/helper/run.o $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -pie $(LDFLAGS) -o $@ $<

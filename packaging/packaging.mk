# SPDX-License-Identifier: BSD-2-Clause
# What describes keyturn's groups and folders to the system, and systemd's units.

PACKAGING_TMPFILES := $(BUILD)/obj/packaging/tmpfiles/keyturn.conf

ALL += $(PACKAGING_TMPFILES)
$(call installs,644,$(prefix)/lib/sysusers.d,packaging/sysusers.d/keyturn.conf)
$(call installs,644,$(prefix)/lib/tmpfiles.d,$(PACKAGING_TMPFILES))

$(PACKAGING_TMPFILES): packaging/tmpfiles.d/keyturn.conf $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,GEN)sed 's|^d /etc/|d $(sysconfdir)/|; s|^d /var/|d $(localstatedir)/|; s|/etc/tmpfiles|$(sysconfdir)/tmpfiles|' $< > $@

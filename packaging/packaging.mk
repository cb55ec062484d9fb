# SPDX-License-Identifier: BSD-2-Clause
# What describes keyturn's groups and folders to the system, and systemd's units.

PACKAGING_TMPFILES := $(BUILD)/obj/packaging/tmpfiles/keyturn.conf
PACKAGING_LOGROTATE := $(BUILD)/obj/packaging/logrotate/keyturn
PACKAGING_ROTATE_UNIT := $(BUILD)/obj/packaging/rotate-unit/keyturn-rotate.service
PACKAGING_REDIS_UNIT := $(BUILD)/obj/packaging/redis-unit/keyturn.conf

ALL += $(PACKAGING_TMPFILES) $(PACKAGING_LOGROTATE) $(PACKAGING_ROTATE_UNIT)
$(call installs,644,$(prefix)/lib/sysusers.d,packaging/sysusers.d/keyturn.conf)
$(call installs,644,$(prefix)/lib/tmpfiles.d,$(PACKAGING_TMPFILES))
$(call installs,644,$(sysconfdir)/logrotate.d,$(PACKAGING_LOGROTATE))
$(call installs,644,$(prefix)/lib/systemd/system,$(PACKAGING_ROTATE_UNIT))
$(call installs,644,$(prefix)/lib/systemd/system,packaging/systemd/keyturn-rotate.timer)

ifeq ($(HAVE_REDIS),yes)
ALL += $(PACKAGING_REDIS_UNIT)
$(foreach server,redis valkey,$(call installs,644,$(prefix)/lib/systemd/system/$(server)-server.service.d,$(PACKAGING_REDIS_UNIT)))
endif

$(PACKAGING_TMPFILES): packaging/tmpfiles.d/keyturn.conf $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,GEN)sed 's|^d /etc/|d $(sysconfdir)/|; s|^d /var/|d $(localstatedir)/|; s|/etc/tmpfiles|$(sysconfdir)/tmpfiles|' $< > $@

$(PACKAGING_LOGROTATE): packaging/logrotate.d/keyturn $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,GEN)sed 's|^#/var/|#$(localstatedir)/|' $< > $@

$(PACKAGING_ROTATE_UNIT): packaging/systemd/keyturn-rotate.service $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,GEN)sed 's|=/etc/|=$(sysconfdir)/|; s|=/usr/|=$(prefix)/|' $< > $@

$(PACKAGING_REDIS_UNIT): packaging/systemd/redis-server.service.d/keyturn.conf $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,GEN)sed 's|-/var/|-$(localstatedir)/|g' $< > $@

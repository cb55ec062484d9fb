# SPDX-License-Identifier: BSD-2-Clause
# One make for the whole tree. Each part has its own fragment (core/core.mk, modules/*/module.mk, ...),
# which adds to
#   ALL         what `make` makes
#   UNIT TESTS  what `make tests` also makes: unit test programs, and other helpers of tests
#   installs    (a function) rows of `make install`, which `make uninstall` also reads
# Everything made is in $(BUILD); `make BUILD=build/check` works in another folder that configure
# prepared with --builddir.

BUILD ?= build
.DEFAULT_GOAL := all
.SUFFIXES:
.DELETE_ON_ERROR:

ifneq ($(filter-out clean distclean,$(or $(MAKECMDGOALS),all)),)
ifeq ($(wildcard $(BUILD)/config.mk),)
$(error no $(BUILD)/config.mk: run ./configure first)
endif
include $(BUILD)/config.mk
endif

V ?=
Q := $(if $(V),,@)
# $(call say,VERB) goes before a quiet command; make -s says nothing at all
SILENT := $(findstring s,$(firstword -$(MAKEFLAGS)))
say = $(if $(V),,@$(if $(SILENT),,printf '  %-6s %s\n' '$(1)' '$(patsubst $(BUILD)/%,%,$@)';))

ABS_BUILD := $(abspath $(BUILD))
CONFIGURED := $(BUILD)/config.mk $(BUILD)/keyturn_config.h
CPPFLAGS_ALL = -include $(BUILD)/keyturn_config.h -Icore/include
CFLAGS_ALL = $(CFLAGS) $(WARNINGS) $(HARDENING) -fPIC -fvisibility=hidden
# a library must define all of its symbols; a host's module need not, nor must a library under sanitizers
NO_UNDEFINED = $(if $(SANITIZERS),,-Wl,-z,defs)

ALL :=
UNIT :=
TESTS :=
INSTALLED :=
INSTALLED_LINKS :=

# $(call installs,MODE,FOLDER,FILES)
installs = $(eval INSTALLED += $(foreach f,$(3),$(1):$(f):$(2)/$(notdir $(f))))
# $(call objects,SOURCES)
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

include core/core.mk
include $(wildcard modules/*/module.mk)
include cli/cli.mk
include packaging/packaging.mk
include nginx/nginx.mk
include redis-module/redis.mk
include postgresql/postgresql.mk
# unit.mk first: others use its lists
include tests/unit/unit.mk $(filter-out tests/unit/unit.mk,$(wildcard tests/*/*.mk))

.PHONY: all tests check install uninstall clean distclean

all: $(ALL)

tests: all $(UNIT) $(TESTS)

check:
	auto/check

# Compiling: a part adds flags with a target-specific OBJ_CFLAGS.
$(BUILD)/obj/%.o: %.c $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS_ALL) $(OBJ_CFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# Installing and uninstalling use the same rows. A new file replaces the old one in one step: a server that starts
# meanwhile finds one of them, whole, and one that runs keeps the file that it has.
MAN := $(filter-out modules/sample/%,$(wildcard */*.[1-8] modules/*/*.[1-8]))
$(foreach n,1 2 3 4 5 6 7 8,$(call installs,644,$(mandir)/man$(n),$(filter %.$(n),$(MAN))))
$(call installs,644,$(docdir),$(wildcard README.md CHANGELOG.md SECURITY.md LICENSE))
$(call installs,644,$(docdir)/docs,$(wildcard docs/*.md))
$(call installs,644,$(docdir)/docs/bench,$(wildcard docs/bench/*.svg))
$(call installs,644,$(docdir)/examples,$(wildcard docs/examples/* */examples/*))
$(call installs,644,$(docdir)/examples/sample,$(wildcard modules/sample/*))

install: all
	$(Q)set -e; \
	for row in $(INSTALLED); do \
	    mode=$${row%%:*}; from=$${row#*:}; to=$${from#*:}; from=$${from%%:*}; \
	    install -D -m $$mode $$from "$(DESTDIR)$$to.new"; \
	    mv -f "$(DESTDIR)$$to.new" "$(DESTDIR)$$to"; \
	done; \
	for row in $(INSTALLED_LINKS); do \
	    mkdir -p "$(DESTDIR)$$(dirname $${row#*:})"; \
	    ln -sf $${row%%:*} "$(DESTDIR)$${row#*:}"; \
	done
	$(Q)if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then PATH=$$PATH:/usr/sbin:/sbin ldconfig; \
	    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi; fi
	@if [ -z "$(DESTDIR)" ]; then echo "Installed. Next: \`keyturn init DIR\` for yourself, or \`keyturn init --system\` as root for the servers" \
	    "of this machine ($(docdir)/README.md, keyturn(1)). After an upgrade \`keyturn check\` names what has to be restarted."; fi

uninstall:
	$(Q)for row in $(INSTALLED); do rm -f "$(DESTDIR)$${row##*:}"; done; \
	for row in $(INSTALLED_LINKS); do rm -f "$(DESTDIR)$${row#*:}"; done; \
	rmdir "$(DESTDIR)$(libdir)/keyturn" "$(DESTDIR)$(prefix)/lib/systemd/system/redis-server.service.d" \
	    "$(DESTDIR)$(prefix)/lib/systemd/system/valkey-server.service.d" "$(DESTDIR)$(valkeymoddir)" "$(DESTDIR)$(docdir)/examples/sample" \
	    "$(DESTDIR)$(docdir)/examples" "$(DESTDIR)$(docdir)" 2>/dev/null || true

# clean keeps what configure wrote and build folders inside the build folder (build/check)
clean:
	rm -rf $(addprefix $(BUILD)/,obj lib bin nginx redis postgresql tests keyturn.pc)

distclean:
	rm -rf $(BUILD)

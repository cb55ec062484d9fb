# SPDX-License-Identifier: BSD-2-Clause
# libkeyturn: the layers of core/LAYERS, which core/README.md explains.

CORE_LAYERS := $(shell sed -n 's/^\([a-z][a-z]*\).*/\1/p' core/LAYERS)
CORE_SRC := $(foreach layer,$(CORE_LAYERS),$(wildcard core/$(layer)/*.c))

CORE_OBJ := $(call objects,$(CORE_SRC))
LIBKEYTURN := $(BUILD)/lib/libkeyturn.so.0
LIBKEYTURN_DEV := $(BUILD)/lib/libkeyturn.so
CORE_LIBS = $(SODIUM_LIBS) $(YAML_LIBS) $(JANSSON_LIBS) $(ZLIB_LIBS) -ldl -pthread

# what a consumer links with
KEYTURN_LINK = -L$(BUILD)/lib -lkeyturn $(RPATH)

ifneq ($(CORE_OBJ),)
ALL += $(LIBKEYTURN) $(LIBKEYTURN_DEV) $(BUILD)/keyturn.pc
endif

$(CORE_OBJ): OBJ_CFLAGS = -Icore $(SODIUM_CFLAGS) $(YAML_CFLAGS) $(JANSSON_CFLAGS) $(CURL_CFLAGS) $(ZLIB_CFLAGS) -pthread

$(LIBKEYTURN): $(CORE_OBJ) core/libkeyturn.map
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -shared -Wl,-soname,$(@F) -Wl,--version-script,core/libkeyturn.map \
	    $(LDFLAGS) $(NO_UNDEFINED) -o $@ $(CORE_OBJ) $(CORE_LIBS)

$(LIBKEYTURN_DEV): $(LIBKEYTURN)
	$(Q)ln -sf $(<F) $@

$(BUILD)/keyturn.pc: core/keyturn.pc.in $(CONFIGURED)
	$(Q)sed -e 's|@prefix@|$(prefix)|; s|@libdir@|$(libdir)|; s|@includedir@|$(includedir)|' \
	    -e 's|@version@|$(KEYTURN_VERSION)|' $< > $@

$(call installs,755,$(libdir),$(LIBKEYTURN))
INSTALLED_LINKS += libkeyturn.so.0:$(libdir)/libkeyturn.so
$(call installs,644,$(includedir),$(wildcard core/include/*.h))
$(call installs,644,$(libdir)/pkgconfig,$(BUILD)/keyturn.pc)

# $(eval $(call provider,NAME,CFLAGS,LIBS)): NAME.so from every .c file of modules/NAME. It links
# its own libraries and never libkeyturn; the one symbol it shows is its provider record. All are
# installed but the one that is there to be copied: of that the source is.
define provider
PROVIDER_$(1) := $$(BUILD)/lib/keyturn/$(1).so
PROVIDER_OBJ_$(1) := $$(call objects,$$(wildcard modules/$(1)/*.c))
ifneq ($$(PROVIDER_OBJ_$(1)),)
ALL += $$(PROVIDER_$(1))
$(if $(filter sample,$(1)),,$$(call installs,755,$$(libdir)/keyturn,$$(PROVIDER_$(1))))
endif
$$(PROVIDER_OBJ_$(1)): OBJ_CFLAGS = $(2)
$$(PROVIDER_$(1)): $$(PROVIDER_OBJ_$(1)) $$(CONFIGURED)
	@mkdir -p $$(@D)
	$$(call say,LINK)$$(CC) -shared $$(LDFLAGS) $$(NO_UNDEFINED) -o $$@ $$(PROVIDER_OBJ_$(1)) $(3)
endef

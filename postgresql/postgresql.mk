# SPDX-License-Identifier: BSD-2-Clause
# The PostgreSQL extension: PGXS compiles it by postgresql/Makefile, in the build folder.

PG_SO := $(BUILD)/postgresql/keyturn.so
PG_SRC := $(wildcard postgresql/src/*.c)

ifeq ($(HAVE_POSTGRESQL)$(if $(PG_SRC),yes),yesyes)
ALL += $(PG_SO)
$(call installs,755,$(PG_PKGLIBDIR),$(PG_SO))
$(call installs,644,$(PG_SHAREDIR)/extension,$(wildcard postgresql/*.control postgresql/sql/*--*.sql))
endif

# PostgreSQL's own headers warn under -Wextra, so its choice of warnings stands
PG_EXTRA = $(filter -Werror,$(WARNINGS)) $(filter -fsanitize% -fno-sanitize%,$(HARDENING))

$(PG_SO): $(PG_SRC) $(wildcard postgresql/src/*.h) postgresql/Makefile core/include/keyturn.h \
          $(CONFIGURED) $(LIBKEYTURN_DEV)
	@mkdir -p $(@D)/src
	$(call say,PGXS)$(MAKE) -C $(BUILD)/postgresql -f $(abspath postgresql/Makefile) $(if $(V),,-s) \
	    PG_CONFIG='$(PG_CONFIG)' CC='$(CC)' KEYTURN_INC=$(abspath core/include) \
	    KEYTURN_LIB=$(ABS_BUILD)/lib KEYTURN_CONFIG_H=$(ABS_BUILD)/keyturn_config.h \
	    KEYTURN_CFLAGS='$(PG_EXTRA)' KEYTURN_LDFLAGS='$(PG_EXTRA) $(RPATH)' keyturn.so

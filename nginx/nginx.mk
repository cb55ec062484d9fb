# SPDX-License-Identifier: BSD-2-Clause
# The nginx modules, by nginx' own configure: it must run in the folder of nginx-dev, by bash, with
# the conf_flags that Debian's nginx was built with. nginx/config takes KEYTURN_INC and KEYTURN_LIB,
# the folders of keyturn.h and of libkeyturn, from the environment.

NGINX_OUT := $(ABS_BUILD)/nginx
NGINX_HTTP := $(BUILD)/nginx/ngx_http_keyturn_module.so
NGINX_STREAM := $(BUILD)/nginx/ngx_stream_keyturn_module.so
NGINX_FROM := $(wildcard nginx/*.c nginx/*.h) core/include/keyturn.h

ifeq ($(HAVE_NGINX)$(wildcard nginx/config),yesnginx/config)
ALL += $(NGINX_HTTP) $(NGINX_STREAM)
$(call installs,755,$(nginxmoddir),$(NGINX_HTTP) $(NGINX_STREAM))
endif

# nginx has its own -Wall -Werror, and C of the compiler's default kind
NGINX_CC_OPT = $(filter-out -std=%,$(CFLAGS)) $(HARDENING) -fPIC -include $(ABS_BUILD)/keyturn_config.h
NGINX_LD_OPT = $(LDFLAGS) $(RPATH) -fPIC -Wl,--version-script,$(abspath nginx/modules.map)
export KEYTURN_INC := $(abspath core/include)
export KEYTURN_LIB := $(ABS_BUILD)/lib

$(BUILD)/nginx/Makefile: nginx/config $(CONFIGURED)
	@mkdir -p $(@D)
	$(call say,CONF)cd $(NGINX_SRC) && bash -c '. ./conf_flags && ./configure "$$@" "$${NGX_CONF_FLAGS[@]}"' configure \
	    --with-cc='$(CC)' --with-cc-opt='$(NGINX_CC_OPT)' --with-ld-opt='$(NGINX_LD_OPT)' \
	    --with-stream=dynamic --with-stream_ssl_module \
	    --builddir=$(NGINX_OUT) --add-dynamic-module=$(abspath nginx) > $(NGINX_OUT)/configure.log || \
	    { tail -5 $(NGINX_OUT)/configure.log >&2; rm -f $(NGINX_OUT)/Makefile; exit 1; }

# nginx' Makefile does not know all that our objects depend on, so they are made anew. Its target "modules" would
# make nginx' own stream module as well, whose source nginx-dev has not.
$(NGINX_HTTP) $(NGINX_STREAM) &: $(BUILD)/nginx/Makefile nginx/modules.map $(NGINX_FROM) $(LIBKEYTURN_DEV)
	$(Q)rm -rf $(NGINX_OUT)/addon/nginx/*.o $(NGINX_HTTP) $(NGINX_STREAM)
	$(call say,NGINX)$(MAKE) -f $(NGINX_OUT)/Makefile -C $(NGINX_SRC) $(if $(V),,-s) $(abspath $(NGINX_HTTP) $(NGINX_STREAM)) $(if $(V),,>/dev/null)

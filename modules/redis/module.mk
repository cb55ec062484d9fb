# SPDX-License-Identifier: BSD-2-Clause
# A build folder of before auto/ssl has no SSL_LIBS.
$(eval $(call provider,redis,$(HIREDIS_CFLAGS) $(SSL_CFLAGS),$(HIREDIS_EMBED) $(or $(SSL_LIBS),-lssl) $(CRYPTO_LIBS) -pthread))

# SPDX-License-Identifier: BSD-2-Clause
# The loader looks for providers in keyturn/ beside what it is part of: for a unit test that is the program.

UNIT_PROVIDERS := $(patsubst %,$(BUILD)/tests/unit/keyturn/%.so,local redis)
UNIT += $(if $(filter yes,$(HAVE_CHECK)),$(UNIT_PROVIDERS))

$(UNIT_PROVIDERS): $(BUILD)/tests/unit/keyturn/%.so: $(BUILD)/lib/keyturn/%.so
	@mkdir -p $(@D)
	$(call say,COPY)install -m 755 $< $@

# Calls that test_fault.c can make fail.
FAULTS := malloc calloc realloc reallocarray free strdup strndup asprintf __asprintf_chk kt_locked_alloc kt_locked_free kt_guarded_alloc \
    kt_guarded_reserve kt_guarded_free kt_secret_new open openat read write pread pwrite fsync fdatasync flock fstat fchmod ftruncate fallocate \
    posix_fallocate renameat linkat fflush fwrite mmap
$(BUILD)/tests/unit/test_fault: LDFLAGS += $(FAULTS:%=-Wl,--wrap=%)

# What test_files.c and test_folder.c can make fail.
$(BUILD)/tests/unit/test_files $(BUILD)/tests/unit/test_folder: LDFLAGS += -Wl,--wrap=readdir

# The clock that test_mocks.c moves.
$(BUILD)/tests/unit/test_mocks: LDFLAGS += -Wl,--wrap=kt_monotonic

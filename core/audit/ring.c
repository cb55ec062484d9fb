/* SPDX-License-Identifier: BSD-2-Clause */
/* ring.c: the file of a ring: made with all its blocks, locked while its process lives, opened by
 * the process that drains it. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ring_file.h"

#define MAGIC "KTG2"
#define SIZE_LARGEST (64u * 1024u * 1024u)

void kt_ring_name_of(const unsigned char id[KT_RING_ID], char ret_name[2 * KT_RING_ID + 1])
{
    (void)sodium_bin2hex(ret_name, 2 * KT_RING_ID + 1, id, KT_RING_ID);
}

static kt_ring_t *map(int fd, const char *name, uint64_t size)
{
    kt_ring_t *ring = calloc(1, sizeof(*ring));
    void *mapping = ring != NULL
                        ? mmap(NULL, HEADER + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                        : MAP_FAILED;

    if (mapping == MAP_FAILED) {
        free(ring);
        return NULL;
    }
    kt_dontfork(mapping, HEADER + size);
    ring->fd = fd;
    (void)snprintf(ring->name, sizeof(ring->name), "%s", name);
    ring->size = size;
    ring->header = mapping;
    ring->records = (unsigned char *)mapping + HEADER;
    return ring;
}

static void copy_salt(kt_ring_t *ring)
{
    memcpy(&ring->salt, ring->header->id, sizeof(ring->salt));
}

static kt_status_t failed(const char *path, const char *name, int error)
{
    return kt_fail(KT_AUDIT, "audit trail %s/rings/%s: %s", path, name, strerror(error));
}

/* Under the stream's lock, so that no other process finds the file before it is locked and takes
 * its owner for dead. */
kt_status_t kt_ring_create(const char *path, int rings, size_t size, const char *boot,
                           kt_ring_t **ret_ring)
{
    unsigned char id[KT_RING_ID];
    char name[2 * KT_RING_ID + 1];
    kt_ring_t *ring = NULL;
    int fd, error;

    randombytes_buf(id, sizeof(id));
    kt_ring_name_of(id, name);
    fd = openat(rings, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(path, name, errno);
    error = posix_fallocate(fd, 0, (off_t)(HEADER + size));
    if (error == 0 && flock(fd, LOCK_EX | LOCK_NB) != 0)
        error = errno;
    if (error == 0)
        ring = map(fd, name, size);
    if (error == 0 && ring != NULL)
        ring->recent = calloc(RECENT, sizeof(*ring->recent));
    if (ring == NULL || ring->recent == NULL) {
        (void)unlinkat(rings, name, 0);
        (void)failed(path, name, error != 0 ? error : ENOMEM);
        if (ring != NULL)
            kt_ring_close(ring);
        else
            (void)close(fd);
        return KT_AUDIT;
    }
    memcpy(ring->header->id, id, sizeof(id));
    ring->header->size = size;
    (void)snprintf(ring->header->boot, sizeof(ring->header->boot), "%s", boot);
    memcpy(ring->header->magic, MAGIC, 4);
    copy_salt(ring);
    *ret_ring = ring;
    return KT_SUCCESS;
}

kt_status_t kt_ring_room(const char *path, int folder, unsigned processes)
{
    char all[64] = "";
    struct statvfs disk;
    uint64_t room;

    if (fstatvfs(folder, &disk) != 0)
        return failed(path, "", errno);
    room = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (room / (HEADER + KT_RING_THREAD) >= processes)
        return KT_SUCCESS;
    if (processes > 1)
        (void)snprintf(all, sizeof(all), ", all %u of them %llu KiB", processes,
                       (unsigned long long)processes * ((HEADER + KT_RING_THREAD) / 1024));
    return kt_fail(KT_AUDIT,
                   "audit trail %s/rings: each process needs %u KiB for what it records%s, and the "
                   "disk has %llu KiB left",
                   path, (unsigned)((HEADER + KT_RING_THREAD) / 1024), all,
                   (unsigned long long)(room / 1024));
}

static bool is_ring(const kt_ring_t *ring, uint64_t size)
{
    const header_t *header = ring->header;
    unsigned char id[KT_RING_ID];
    size_t got = 0;

    return memcmp(header->magic, MAGIC, 4) == 0 && header->size == size &&
           (size & (size - 1)) == 0 && header->boot[sizeof(header->boot) - 1] == '\0' &&
           sodium_hex2bin(id, sizeof(id), ring->name, strlen(ring->name), NULL, &got, NULL) == 0 &&
           got == sizeof(id) && memcmp(id, header->id, sizeof(id)) == 0;
}

kt_ring_t *kt_ring_open(int rings, const char *name, uid_t owner)
{
    int fd = strlen(name) == 2 * KT_RING_ID
                 ? openat(rings, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
                 : -1;
    kt_ring_t *ring = NULL;
    struct stat st;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == owner &&
        st.st_size > (off_t)HEADER && st.st_size <= (off_t)(HEADER + SIZE_LARGEST) &&
        st.st_size % SLOT == 0)
        ring = map(fd, name, (uint64_t)st.st_size - HEADER);
    if (ring == NULL) {
        (void)close(fd);
        return NULL;
    }
    if (!is_ring(ring, ring->size)) {
        kt_ring_close(ring);
        return NULL;
    }
    copy_salt(ring);
    return ring;
}

void kt_ring_remove_unmade(int rings, const char *name, uid_t owner)
{
    int fd = strlen(name) == 2 * KT_RING_ID
                 ? openat(rings, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
                 : -1;
    char magic[4] = "";
    struct stat st;

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == owner &&
        flock(fd, LOCK_EX | LOCK_NB) == 0 && pread(fd, magic, sizeof(magic), 0) >= 0 &&
        memcmp(magic, "\0\0\0", 4) == 0)
        (void)unlinkat(rings, name, 0);
    (void)close(fd);
}

void kt_ring_close(kt_ring_t *ring)
{
    if (ring == NULL)
        return;
    (void)munmap(ring->header, HEADER + ring->size);
    (void)close(ring->fd); /* and with it the lock */
    free(ring->recent);
    free(ring);
}

void kt_ring_remove(int rings, kt_ring_t *ring)
{
    (void)unlinkat(rings, ring->name, 0);
}

uint64_t kt_ring_size(const kt_ring_t *ring)
{
    return ring->size;
}

bool kt_ring_is_removed(const kt_ring_t *ring)
{
    struct stat st;

    return fstat(ring->fd, &st) == 0 && st.st_nlink == 0;
}

/* Not by a pid, which may belong to another process by now. A child may still hold the file of its
 * dead parent open, and so the lock. */
bool kt_ring_adopt(kt_ring_t *ring)
{
    return flock(ring->fd, LOCK_EX | LOCK_NB) == 0;
}

const char *kt_ring_name(const kt_ring_t *ring)
{
    return ring->name;
}

const unsigned char *kt_ring_id(const kt_ring_t *ring)
{
    return ring->header->id;
}

bool kt_ring_is_of_boot(const kt_ring_t *ring, const char *boot)
{
    return strcmp(ring->header->boot, boot) == 0;
}

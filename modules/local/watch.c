/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch.c: was the store written, were the files replaced?
 *
 * A commit changes the header of the WAL index, the first 48 bytes of -shm: counters, salts, the
 * checksum of the last frame. The token is these bytes, read from mapped memory, and a digest of
 * which files they are.
 *
 * Why -shm is mapped here and not taken from SQLite (xShmMap of region 0): a reader without write
 * permission has no region as long as no writer is connected (SQLITE_READONLY_CANTINIT), and this
 * is the usual state of a web server, while a command starts, commits and exits. The descriptor
 * stays open until the process ends, because closing it would drop SQLite's own locks on the file;
 * so each -shm is opened once and kept in `maps`.
 *
 * The first connection of all truncates -shm to 3 bytes and rebuilds it. The page stays there, so
 * that reading it cannot fault; the header is zero for a moment, and a token taken then equals no
 * other.
 */
#define _GNU_SOURCE
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "process.h"

#define MAPS 64u /* -shm files of one process over its life; beyond, tokens are never equal */
#define HEADER_WORDS 12u /* 48 bytes, kept twice one after the other */
#define HEADER_PAIRS (HEADER_WORDS / 2)
#define HEADER_SIZE (sizeof(uint32_t) * HEADER_WORDS)
#define HEADER_BYTES (2 * HEADER_SIZE)
#define INIT_WORD 3u   /* holds isInit: 0 while the index is being rebuilt */
#define FRAMES_WORD 4u /* how many frames -wal has that are committed */

_Static_assert(LOCAL_INDEX_HEADER == HEADER_SIZE, "what a header is");
_Static_assert(KTP_TOKEN_SIZE == HEADER_SIZE + 2 * sizeof(uint64_t), "what a token is");

#define WAL_HEADER 32
#define FRAME_HEADER 24
#define TRIES 16u
#define LOOK_EVERY 1000 /* milliseconds */

static struct {
    pthread_mutex_t lock; /* of maps */
    local_map_t maps[MAPS];
    size_t nmaps;
    uint64_t unequal; /* makes tokens that equal no other */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- the files ---- */

static int same_id(const local_id_t *a, const local_id_t *b)
{
    return a->dev == b->dev && a->ino == b->ino;
}

static int64_t stat_id(const char *path, local_id_t *ret_id, struct stat *ret_stat)
{
    if (lstat(path, ret_stat) != 0)
        return -1;
    ret_id->dev = ret_stat->st_dev;
    ret_id->ino = ret_stat->st_ino;
    return ret_stat->st_size;
}

int local_stands_alone(const local_files_t *files)
{
    return files->wal.ino == 0 || (files->wal_size == 0 && files->shm.ino == 0);
}

static void look_at(const ktp_instance_t *instance, local_files_t *ret_files)
{
    struct stat db, st;

    memset(ret_files, 0, sizeof *ret_files);
    if (stat_id(instance->path, &ret_files->db, &db) < 0) {
        ret_files->error = errno;
        return;
    }
    if (!S_ISREG(db.st_mode) && !S_ISLNK(db.st_mode)) {
        ret_files->error = EISDIR; /* opening a FIFO would wait */
        return;
    }
    ret_files->size = db.st_size;
    ret_files->wal_size = stat_id(instance->wal, &ret_files->wal, &st);
    ret_files->wal_room = ret_files->wal_size < 0 ? 0 : (int64_t)st.st_blocks * 512;
    (void)stat_id(instance->shm, &ret_files->shm, &st);
    if (local_stands_alone(ret_files)) {
        ret_files->db_size = db.st_size;
        ret_files->db_mtime = (int64_t)db.st_mtim.tv_sec * 1000000000 + db.st_mtim.tv_nsec;
    }
}

/* The size of -wal matters only in whether the database stands alone. */
static int same_files(const local_files_t *a, const local_files_t *b)
{
    return a->error == b->error && same_id(&a->db, &b->db) && same_id(&a->wal, &b->wal) &&
           same_id(&a->shm, &b->shm) && a->db_size == b->db_size && a->db_mtime == b->db_mtime;
}

static uint64_t mix(uint64_t digest, uint64_t number)
{
    for (int i = 0; i < 8; i++) {
        digest = (digest ^ (number & 0xff)) * 0x100000001b3u;
        number >>= 8;
    }
    return digest;
}

static uint64_t digest_of(const local_files_t *files)
{
    uint64_t digest = 0xcbf29ce484222325u;

    digest = mix(mix(digest, files->db.dev), files->db.ino);
    digest = mix(mix(digest, files->wal.ino), files->shm.ino);
    return mix(mix(digest, (uint64_t)files->db_size), (uint64_t)files->db_mtime);
}

/* ---- the maps of this process ---- */

static local_map_t *find_map(const local_id_t *id)
{
    for (size_t i = 0; i < watch.nmaps; i++)
        if (watch.maps[i].fd >= 0 && same_id(&watch.maps[i].id, id))
            return &watch.maps[i];
    return NULL;
}

/* Gives up a file that has no name any more: its locks mean nothing, so that closing
 * does no harm. */
static int reclaim(local_map_t *map)
{
    struct stat st;

    if (map->fd >= 0) {
        if (map->users > 0 || fstat(map->fd, &st) != 0 || st.st_nlink > 0)
            return 0;
        if (map->header != NULL)
            munmap(map->header, HEADER_BYTES);
        close(map->fd);
    }
    map->fd = -1;
    map->header = NULL;
    return 1;
}

static local_map_t *free_map(void)
{
    if (watch.nmaps < MAPS)
        return &watch.maps[watch.nmaps++];
    for (size_t i = 0; i < MAPS; i++)
        if (reclaim(&watch.maps[i]))
            return &watch.maps[i];
    return NULL;
}

/* A file that was empty when it was opened has a page later, perhaps. */
static void map_header(local_map_t *map)
{
    struct stat st;
    void *header;

    if (map->header != NULL || fstat(map->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return;
    header = mmap(NULL, HEADER_BYTES, PROT_READ, MAP_SHARED, map->fd, 0);
    map->header = header == MAP_FAILED ? NULL : header;
}

/* Opens what the path names now, which may be another file than the one that was looked at: the map
 * says which. Once it is open it is kept. */
static local_map_t *add_map(const char *path)
{
    local_map_t *map = free_map();
    struct stat st;

    if (map == NULL)
        return NULL;
    memset(map, 0, sizeof *map);
    map->fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (map->fd < 0 || fstat(map->fd, &st) != 0)
        return NULL;
    map->id.dev = st.st_dev;
    map->id.ino = st.st_ino;
    return map;
}

/* `users` counts instances; a map in use keeps its memory. */
void local_use_map(ktp_instance_t *instance, const local_id_t *id)
{
    local_map_t *map = NULL;

    pthread_mutex_lock(&watch.lock);
    if (id != NULL && id->ino != 0) {
        map = find_map(id);
        if (map == NULL)
            map = add_map(instance->shm);
        if (map != NULL)
            map_header(map);
        if (map != NULL && !same_id(&map->id, id))
            map = NULL;
    }
    if (map != NULL)
        map->users++;
    if (instance->watch.map != NULL)
        instance->watch.map->users--;
    instance->watch.map = map;
    pthread_mutex_unlock(&watch.lock);
}

void local_look(ktp_instance_t *instance, int now)
{
    local_watch_t *w = &instance->watch;
    int64_t clock = local_clock();
    local_files_t files;

    if (!now && clock < w->next)
        return;
    look_at(instance, &files);
    if (w->epoch == 0 || !same_files(&files, &w->files))
        w->epoch++;
    w->files = files;
    w->digest = digest_of(&files);
    local_use_map(instance, &files.shm);
    /* what is not as it should be is looked at again at once */
    w->next = files.error != 0 || (w->map == NULL && !local_stands_alone(&files))
                  ? clock
                  : clock + LOOK_EVERY;
}

/* ---- the token ---- */

/* The header is written second copy first, with a barrier between: two copies that agree are one
 * header. Each read of a cached secret comes here. All of it goes word by word: a wider load of
 * what was just stored in words would wait for each of these stores. */
static inline int read_header(const void *header, unsigned char ret_bytes[HEADER_SIZE])
{
    const uint64_t *at = header;
    uint64_t word;

    for (unsigned try = 0; try < TRIES; try++) {
        uint64_t differs = 0;

        for (unsigned i = 0; i < HEADER_PAIRS; i++) {
            word = __atomic_load_n(&at[i], __ATOMIC_ACQUIRE);
            memcpy(ret_bytes + sizeof word * i, &word, sizeof word);
        }
        for (unsigned i = 0; i < HEADER_PAIRS; i++) {
            memcpy(&word, ret_bytes + sizeof word * i, sizeof word);
            differs |= word ^ __atomic_load_n(&at[HEADER_PAIRS + i], __ATOMIC_RELAXED);
        }
        if (differs == 0)
            return ret_bytes[4 * INIT_WORD] != 0;
    }
    return 0;
}

int local_index_header(const ktp_instance_t *instance, unsigned char ret_header[LOCAL_INDEX_HEADER])
{
    const local_map_t *map = instance->watch.map;

    return map != NULL && map->header != NULL && read_header(map->header, ret_header);
}

/* Words of the header: number and size of the frames that are committed. A page size of 65536 is
 * written as 1. */
int64_t local_wal_used(const ktp_instance_t *instance)
{
    const local_map_t *map = instance->watch.map;
    unsigned char header[HEADER_SIZE];
    uint32_t frames;
    uint16_t page;

    if (map == NULL || map->header == NULL || !read_header(map->header, header))
        return -1;
    memcpy(&page, &header[4 * INIT_WORD + 2], sizeof page);
    memcpy(&frames, &header[4 * FRAMES_WORD], sizeof frames);
    return WAL_HEADER + (int64_t)frames * (FRAME_HEADER + (page == 1 ? 65536 : page));
}

/* Equal to no token before or after it, of this process or another. */
static uint64_t unequal(void)
{
    return (uint64_t)local_process() << 40 |
           __atomic_add_fetch(&watch.unequal, 1, __ATOMIC_RELAXED);
}

ktp_status_t local_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    const local_watch_t *w = &instance->watch;
    uint64_t odd = 0;

    if (local_clock() >= w->next)
        local_look(instance, 1);
    if (w->files.error != 0)
        return local_errno_fail(instance, w->files.error, instance->path);
    if (w->map != NULL && w->map->header != NULL) {
        if (!read_header(w->map->header, ret_token))
            odd = unequal();
    } else {
        memset(ret_token, 0, HEADER_SIZE);
        if (!local_stands_alone(&w->files))
            odd = unequal();
    }
    memcpy(ret_token + HEADER_SIZE, &w->digest, sizeof w->digest);
    memcpy(ret_token + HEADER_SIZE + sizeof odd, &odd, sizeof odd);
    return KTP_SUCCESS;
}

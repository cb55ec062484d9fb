/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchor_own.c: the file of anchors that this process writes, ANCHORS/STREAM/generations.
 *
 * A process that goes on keeps the stream's folder, lock and file open: to open them takes longer
 * than to write a line. It also remembers what it wrote, so that it need not read all files again
 * because of its own anchor. What was removed or replaced since is opened anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "anchor_lines.h"
#include "anchor_spare.h"
#include "index.h"

#define NAME KT_ANCHOR_FILE
#define NEW ".generations.new"
#define LOCK ".lock"
#define MAGIC KT_ANCHOR_MAGIC
#define TRIES 3u
#define END 8 /* bytes of a line */

/* ---- what is open ---- */

void kt_anchor_own_close(kt_anchor_own_t *own)
{
    kt_close_fd(&own->file);
    kt_close_fd(&own->lock);
    kt_close_fd(&own->folder);
    free(own->text);
    own->text = NULL;
    own->followed = false;
}

static kt_status_t cannot_write(const char *path, const char *stream, const char *name)
{
    return kt_fail(errno == EACCES || errno == EPERM ? KT_PERMISSION : KT_NOSPACE, "%s/%s/%s: %s",
                   path, stream, name, strerror(errno));
}

/* The stream's folder. In that of another user our file would not count. */
static kt_status_t open_to_write(const char *path, int folder, const char *stream, int *ret_own)
{
    int own = kt_anchor_folder(folder, stream);
    struct stat st;
    kt_status_t status = KT_SUCCESS;

    if (own < 0 && errno == ENOENT) {
        status = kt_anchor_file_make(path, folder, stream);
        own = status == KT_SUCCESS ? kt_anchor_folder(folder, stream) : -1;
    }
    if (status != KT_SUCCESS)
        return status;
    if (own < 0 || fstat(own, &st) != 0)
        status = cannot_write(path, stream, ".");
    else if (st.st_uid != geteuid())
        status = kt_fail(
            KT_PERMISSION,
            "%s/%s: belongs to uid %u, but this process has uid %u (as root: `keyturn check`)",
            path, stream, (unsigned)st.st_uid, (unsigned)geteuid());
    if (status == KT_SUCCESS)
        *ret_own = own;
    else
        kt_close_fd(&own);
    return status;
}

/* Writers of the same stream's file wait here, so that no line of another type is lost. The wait
 * has a limit, because the holder may have been stopped, and the commit stands without its anchor.
 */
static kt_status_t lock_own(const char *path, const char *stream, kt_anchor_own_t *own)
{
    struct stat st;
    char holder[96];
    unsigned tries;

    for (tries = 0; tries < TRIES; tries++) {
        if (own->lock < 0)
            own->lock = openat(own->folder, LOCK,
                               O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (own->lock < 0)
            return cannot_write(path, stream, LOCK);
        if (!kt_lock_file(own->lock, KT_LOCK_WAIT))
            break;
        if (fstat(own->lock, &st) == 0 && st.st_nlink > 0) {
            own->loose = st.st_size > 0;
            return KT_SUCCESS;
        }
        kt_close_fd(&own->lock); /* others lock another file now */
        errno = EWOULDBLOCK;
    }
    if (errno != EWOULDBLOCK)
        return cannot_write(path, stream, LOCK);
    (void)snprintf(holder, sizeof(holder), "another process");
    if (own->lock >= 0)
        kt_lock_holder(own->lock, holder, sizeof(holder));
    return kt_fail(KT_TRYAGAIN, "%s/%s/" LOCK ": %s holds the lock", path, stream, holder);
}

static kt_status_t begin(const char *path, int folder, const char *stream, kt_anchor_own_t *own)
{
    kt_status_t status = KT_SUCCESS;

    if (strcmp(own->stream, stream) != 0) {
        kt_anchor_own_close(own);
        (void)snprintf(own->stream, sizeof(own->stream), "%s", stream);
    }
    own->followed = false;
    if (own->folder < 0)
        status = open_to_write(path, folder, stream, &own->folder);
    return status == KT_SUCCESS ? lock_own(path, stream, own) : status;
}

/* Not by closing it: a child of a fork may have it too. */
static void end(const kt_anchor_own_t *own)
{
    if (own->lock >= 0)
        (void)flock(own->lock, LOCK_UN);
}

/* ---- a whole new file ---- */

/* Is the line replaced by one of the job's? Also if its own MAC is wrong: a damaged generation must
 * not keep the true one out. */
static bool is_replaced(const char *line, const kt_anchor_job_t *job)
{
    kt_anchor_t other;
    size_t i;

    for (i = 0; kt_anchor_parse(line, &other) && i < job->count; i++) {
        const kt_anchor_t *ours = &job->lines[i];

        if (memcmp(other.key_id, ours->key_id, KT_KEYID_SIZE) == 0)
            return other.generation < ours->generation ||
                   memcmp(other.store_id, ours->store_id, KT_ID_SIZE) != 0 ||
                   (job->keys != NULL && !kt_anchor_holds(&other, job->keys[i]));
    }
    return false;
}

static bool has_key(const char *text, const kt_anchor_t *anchor)
{
    char key_id[2 * KT_KEYID_SIZE + 2];
    const char *line;

    key_id[0] = '\n';
    (void)sodium_bin2hex(key_id + 1, sizeof(key_id) - 1, anchor->key_id, KT_KEYID_SIZE);
    line = strstr(text, key_id);
    return line != NULL && line[2 * KT_KEYID_SIZE + 1] == ' ';
}

/* Is the job's line not needed? Without its key no other line is known to be whole. */
static bool is_there(const char *text, const kt_anchor_job_t *job, size_t i)
{
    char line[KT_ANCHOR_LINE_MAX];

    if (job->keys != NULL)
        return has_key(text, &job->lines[i]);
    kt_anchor_format(&job->lines[i], line);
    return strstr(text, line) != NULL;
}

/* The second line is for the next generation to be written over it: overwrite(). */
static char *add_twice(char *end, const kt_anchor_t *anchor, bool twice)
{
    kt_anchor_format(anchor, end);
    end += KT_ANCHOR_LINE;
    if (!twice)
        return end;
    kt_anchor_format(anchor, end);
    return end + KT_ANCHOR_LINE;
}

/* All other lines unchanged, and ours unless there is already a higher one. Splits `old`. The text
 * is malloc'ed; NULL: out of memory. */
static char *merge(char *old, const kt_anchor_job_t *job)
{
    size_t room =
        strlen(MAGIC) + (old != NULL ? strlen(old) : 0) + 2 * job->count * KT_ANCHOR_LINE_MAX + 2;
    size_t i;
    char *text = malloc(room), *end, *line, *rest = NULL;

    if (text == NULL)
        return NULL;
    end = stpcpy(text, MAGIC);
    for (line = old != NULL ? strtok_r(old + strlen(MAGIC), "\n", &rest) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (!is_replaced(line, job))
            end = stpcpy(stpcpy(end, line), "\n");
    }
    for (i = 0; i < job->count; i++) {
        if (!is_there(text, job, i))
            end = add_twice(end, &job->lines[i], (size_t)(end - text) < KT_ANCHOR_FILE_MAX / 2);
    }
    return text;
}

/*
 * The file is new (O_EXCL) and whole on the disk before it gets its name, and that is the one sync
 * of an anchor. The rename itself is not synced: after a power failure the name may lead to the old
 * file, which is whole too. Then the store is above its anchors, which raises no alarm, and the
 * next process that sees it writes the anchor (serve/settle.c). Only the first file of a stream may
 * not be lost with its name, because "no anchor at all" is an alarm: `first` costs a second sync,
 * once.
 */
static bool write_new(int own, const char *text, size_t size, bool first)
{
    bool good;
    int fd, error;

    fd = openat(own, NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    good = fd >= 0 && write(fd, text, size) == (ssize_t)size && fchmod(fd, 0644) == 0 &&
           fdatasync(fd) == 0 && renameat(own, NEW, own, NAME) == 0 && (!first || fsync(own) == 0);
    error = errno;
    kt_close_fd(&fd);
    errno = error;
    return good;
}

static bool replace(int own, const char *text, bool first)
{
    size_t size = strlen(text);

    if (write_new(own, text, size, first))
        return true;
    if (errno != ENOSPC && errno != EDQUOT)
        return false;
    (void)unlinkat(own, NEW, 0); /* what it has is needed */
    return kt_spare_use(own, NAME, text, size);
}

/* ---- a line of the file that is there ---- */

/* Says whether the file has lines that are not synced: the lock is a byte long while it has. That
 * is not synced either: after a power failure all that is left is on the disk. */
static bool say_loose(kt_anchor_own_t *own, bool loose)
{
    if (ftruncate(own->lock, loose ? 1 : 0) != 0)
        return false;
    own->loose = loose;
    return true;
}

/* The line to write over, of the two that the anchor's key has in the text, and what it says: the
 * older one, or the newer one if it may not be on the disk. NULL: this is not how the text is, and
 * the file has to be replaced. */
static char *find_slot(char *text, const kt_anchor_t *ours, const unsigned char key[KT_KEY_SIZE],
                       bool loose, kt_anchor_t *ret_replaced)
{
    char *line, *end, *slots[2] = {NULL, NULL}, key_id[2 * KT_KEYID_SIZE + 1];
    uint64_t generations[2] = {0, 0}, generation;
    unsigned lines = 0, at;
    kt_anchor_t others[2];

    (void)sodium_bin2hex(key_id, sizeof(key_id), ours->key_id, KT_KEYID_SIZE);
    for (line = text + strlen(MAGIC); (end = strchr(line, '\n')) != NULL; line = end + 1) {
        kt_anchor_t other;

        if (strncmp(line, key_id, 2 * KT_KEYID_SIZE) != 0 || !kt_anchor_parse(line, &other))
            continue;
        generation = kt_anchor_holds(&other, key) ? other.generation + 1 : 0;
        if (generation > ours->generation || end + 1 - line != KT_ANCHOR_LINE || lines == 2 ||
            memcmp(other.store_id, ours->store_id, KT_ID_SIZE) != 0)
            return NULL;
        slots[lines] = line;
        generations[lines] = generation;
        others[lines++] = other;
    }
    if (lines != 2 || (generations[0] == 0 && generations[1] == 0))
        return NULL;
    at = generations[1] < generations[0] ? 1 : 0;
    if (loose && generations[at] > 0) /* a line that is not whole is never the better one */
        at = 1 - at;
    *ret_replaced = others[at];
    return slots[at];
}

/* The line, and its end once more: see overwrite(). */
static bool put_line(int fd, const char *line, off_t at)
{
    const off_t end = KT_ANCHOR_LINE - END;

    return pwrite(fd, line, KT_ANCHOR_LINE, at) == KT_ANCHOR_LINE &&
           pwrite(fd, line + end, END, at + end) == END;
}

/*
 * Writes into the file that is there, which costs half of what a new one does: no name is made or
 * freed. The other line of the key is not touched, so that a write that is cut off leaves the
 * anchor before this one, as a lost rename does. A reader between the two skips the unfinished
 * line, and the time of the second write, when the line is complete, has it read the file again.
 *
 * A line that is not synced counts for all processes, and is lost with the power. Until it is
 * synced, each further line goes over it, so that the other one, which is on the disk, stays.
 */
static bool overwrite(kt_anchor_own_t *own, char *text, const kt_anchor_job_t *job)
{
    bool loose = own->loose, lazy = job->lazy && (loose || say_loose(own, true));
    char line[KT_ANCHOR_LINE_MAX], *slot;
    kt_anchor_t replaced;
    size_t i;

    for (i = 0; i < job->count; i++) {
        slot = find_slot(text, &job->lines[i], job->keys[i], loose, &replaced);
        if (slot == NULL)
            return false;
        if (job->replaced != NULL)
            job->replaced[i] = replaced;
        kt_anchor_format(&job->lines[i], line);
        memcpy(slot, line, KT_ANCHOR_LINE);
        if (!put_line(own->file, line, slot - text))
            return false;
    }
    if (lazy)
        return true;
    if (fdatasync(own->file) != 0)
        return false;
    if (loose)
        (void)say_loose(own, false);
    return true;
}

/* The text of the open file; NULL: it is not to be written any more, or cannot be. */
static char *text_of(int fd, const struct stat *st)
{
    size_t size = (size_t)st->st_size;
    char *text = NULL;

    if (st->st_mode == (S_IFREG | 0644) && st->st_nlink == 1 && st->st_uid == geteuid() &&
        st->st_size <= KT_ANCHOR_FILE_MAX)
        text = malloc(size + 1);
    if (text == NULL)
        return NULL;
    text[size] = '\0';
    if (pread(fd, text, size, 0) == (ssize_t)size && strlen(text) == size &&
        strncmp(text, MAGIC, strlen(MAGIC)) == 0)
        return text;
    free(text);
    return NULL;
}

/* Does the caller know what is in the file before the write? */
static bool is_known(const kt_anchor_own_t *own, const kt_anchor_job_t *job, const struct stat *st,
                     const char *text)
{
    return job->before != NULL && kt_anchor_file_is(st, job->before) &&
           (own->text == NULL || strcmp(own->text, text) == 0);
}

/* Writes into the file that is open. False: it is closed, and has to be read and written anew. */
static bool write_open(kt_anchor_own_t *own, const kt_anchor_job_t *job)
{
    struct stat st;
    char *text = fstat(own->file, &st) == 0 ? text_of(own->file, &st) : NULL;
    bool known = text != NULL && is_known(own, job, &st, text);

    free(own->text);
    own->text = NULL;
    if (text == NULL || !overwrite(own, text, job) || fstat(own->file, &st) != 0) {
        free(text);
        kt_close_fd(&own->file);
        return false;
    }
    own->text = text;
    own->racy = true;
    kt_anchor_file_take(&st, &own->state);
    own->followed = known;
    return true;
}

bool kt_anchor_own_holds(kt_anchor_own_t *own)
{
    struct timespec now;
    size_t size;
    char *text;
    bool same;

    if (!own->racy)
        return true;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    size = strlen(own->text);
    text = malloc(size + 1);
    same = text != NULL && pread(own->file, text, size + 1, 0) == (ssize_t)size &&
           memcmp(text, own->text, size) == 0;
    free(text);
    if (same && kt_time_before(&own->state.changed, &now))
        own->racy = false;
    return same;
}

/* ---- all of it ---- */

/* *ret_again: what is open is not what is there. */
static kt_status_t write_inlock(const char *path, const char *stream, kt_anchor_own_t *own,
                                const kt_anchor_job_t *job, bool *ret_again)
{
    bool was_open = own->file >= 0;
    char *old = NULL, *text = NULL;
    kt_status_t status;

    *ret_again = false;
    if (!was_open)
        (void)unlinkat(own->folder, NEW, 0); /* of a process that was killed; we have the lock */
    if (job->keys != NULL && !was_open)
        own->file =
            openat(own->folder, NAME, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (job->keys != NULL && own->file >= 0 && write_open(own, job))
        return KT_SUCCESS;
    *ret_again = was_open;
    if (was_open)
        return KT_SUCCESS;
    status = kt_anchor_file_text(path, stream, own->folder, &old);
    if (status == KT_FORBIDDEN)
        status = KT_SUCCESS; /* damaged: replaced by what is certain now */
    /* a file that could not be read stays, because it has lines of other types */
    if (status != KT_SUCCESS)
        return status;
    text = merge(old, job);
    if (text == NULL)
        status = kt_no_memory();
    else if (!replace(own->folder, text, job->first))
        status = cannot_write(path, stream, NAME);
    else if (own->loose)
        (void)say_loose(own, false);
    free(old);
    free(text);
    return status;
}

kt_status_t kt_anchor_file_write(const char *path, int folder, const char *stream,
                                 const kt_anchor_job_t *job, kt_anchor_own_t *own)
{
    kt_anchor_own_t once = KT_ANCHOR_OWN_INIT, *used = own != NULL ? own : &once;
    kt_status_t status;
    bool again = used->file < 0;

    do {
        if (again)
            kt_anchor_own_close(used);
        status = begin(path, folder, stream, used);
        if (status == KT_SUCCESS)
            status = write_inlock(path, stream, used, job, &again);
        end(used);
    } while (status == KT_SUCCESS && again);
    if (own == NULL || status != KT_SUCCESS)
        kt_anchor_own_close(used);
    if (status == KT_SUCCESS)
        kt_failure_clear();
    return status;
}

/* Without its folder there is nothing to sync. */
kt_status_t kt_anchor_file_sync(const char *path, int folder, const char *stream)
{
    kt_anchor_own_t own = KT_ANCHOR_OWN_INIT;
    kt_status_t status = KT_SUCCESS;

    own.folder = kt_anchor_folder(folder, stream);
    if (own.folder < 0 && errno == ENOENT)
        return KT_SUCCESS;
    (void)snprintf(own.stream, sizeof(own.stream), "%s", stream);
    status = begin(path, folder, stream, &own);
    if (status == KT_SUCCESS && own.loose) {
        own.file = openat(own.folder, NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (own.file < 0 || fdatasync(own.file) != 0 || !say_loose(&own, false))
            status = cannot_write(path, stream, NAME);
    }
    end(&own);
    kt_anchor_own_close(&own);
    return status;
}

/* Only a lack of space is a failure. */
static kt_status_t make_spare(const char *path, int folder, const char *stream, size_t room)
{
    kt_anchor_own_t own = KT_ANCHOR_OWN_INIT;
    kt_status_t status = begin(path, folder, stream, &own);
    bool full = false;

    if (status == KT_SUCCESS && !kt_spare_make(own.folder, room)) {
        full = errno == ENOSPC || errno == EDQUOT;
        status = cannot_write(path, stream, KT_SPARE);
    }
    end(&own);
    kt_anchor_own_close(&own);
    if (full)
        return kt_fail_prefix(status, "no space for the next anchor");
    kt_failure_clear();
    return KT_SUCCESS;
}

kt_status_t kt_anchor_file_reserve(const char *path, int folder, const char *stream, int64_t size)
{
    size_t room = (size_t)size + 2 * KT_ANCHOR_LINE_MAX;

    if (room > KT_ANCHOR_FILE_MAX || kt_spare_is_there(folder, stream, room))
        return KT_SUCCESS;
    return make_spare(path, folder, stream, room);
}

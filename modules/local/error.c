/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * error.c: what an SQLite error means to the core, and what an operator reads: which file, what
 * is wrong with it, which process is in the way, what to do. Neither a key nor a record is ever in
 * a text.
 */
#define _GNU_SOURCE
#include "error.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"

/* The file of the three that this process may not use, or `path`. */
static const char *culprit(const ktp_instance_t *instance, const char *path, int mode)
{
    const char *const files[] = {instance->path, instance->wal, instance->shm};

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (euidaccess(files[i], F_OK) == 0 && euidaccess(files[i], mode) != 0)
            return files[i];
    return path;
}

/* Owner and mode of the file, so that an operator can fix them. */
ktp_status_t local_forbidden(const ktp_instance_t *instance, const char *path, const char *doing)
{
    int mode = strcmp(doing, "writing") == 0 ? R_OK | W_OK : R_OK;
    struct stat st;

    path = culprit(instance, path, mode);
    if (lstat(path, &st) != 0)
        return ktp_fail(instance->services, KTP_FORBIDDEN,
                        "%s: %s: uid %d may not look into its folder", path, doing, (int)geteuid());
    return ktp_fail(instance->services, KTP_FORBIDDEN,
                    "%s: %s: no permission for uid %d (mode %04o, owner %d:%d)", path, doing,
                    (int)geteuid(), (unsigned)(st.st_mode & 07777), (int)st.st_uid, (int)st.st_gid);
}

ktp_status_t local_errno_fail(const ktp_instance_t *instance, int error, const char *path)
{
    char text[128];

    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return ktp_fail(
            instance->services, KTP_UNAVAIL,
            "no store at %s: if the path is right, `keyturn restore BACKUP` puts one there", path);
    case EISDIR:
        return ktp_fail(instance->services, KTP_MALFORMED,
                        "%s is not a regular file: choose another path", path);
    case EACCES:
    case EPERM:
    case EROFS:
        return local_forbidden(instance, path, "reading");
    case ENOSPC:
    case EDQUOT:
    case EIO:
        return ktp_fail(instance->services, KTP_NOSPACE, "%s: %s", path,
                        strerror_r(error, text, sizeof text));
    default:
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: %s", path,
                        strerror_r(error, text, sizeof text));
    }
}

/* Neither SQLite nor keyturn ever holds such a byte for reading: that only keeps writers out. */
ktp_status_t local_locked_fail(const ktp_instance_t *instance, const char *doing)
{
    local_holder_t holder;
    char who[200];

    if (!local_find_holder(instance, &holder))
        return ktp_fail(instance->services, KTP_TRYAGAIN, "%s: %s: another writer holds the lock",
                        instance->path, doing);
    local_describe_holder(&holder, who, sizeof who);
    if (holder.shared)
        return ktp_fail(instance->services, KTP_TRYAGAIN,
                        "%s: %s: %s keeps writers out by a lock for reading on %s, as no consumer "
                        "does: stop it, and ask what else it did",
                        instance->path, doing, who, holder.file);
    return ktp_fail(instance->services, KTP_TRYAGAIN, "%s: %s: %s holds the write lock",
                    instance->path, doing, who);
}

static ktp_status_t io_fail(const ktp_instance_t *instance, sqlite3 *db, int code,
                            const char *doing)
{
    if (code == SQLITE_IOERR_NOMEM)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: %s: out of memory", instance->path,
                        doing);
    if (code == SQLITE_IOERR_CORRUPTFS || code == SQLITE_IOERR_SHORT_READ)
        return ktp_fail(instance->services, KTP_MALFORMED, "%s is damaged (%s): restore a backup",
                        instance->path, sqlite3_errstr(code));
    return ktp_fail(instance->services, KTP_NOSPACE, "%s: %s: %s (SQLite %d, errno %d)",
                    instance->path, doing, sqlite3_errstr(code), code, sqlite3_system_errno(db));
}

ktp_status_t local_sqlite_fail(const ktp_instance_t *instance, sqlite3 *db, int code,
                               const char *doing)
{
    const char *path = instance->path;

    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
        return local_locked_fail(instance, doing);
    case SQLITE_FULL:
        return ktp_fail(instance->services, KTP_NOSPACE, "%s: %s: no space left", path, doing);
    case SQLITE_IOERR:
        return io_fail(instance, db, code, doing);
    case SQLITE_NOTADB:
        return ktp_fail(instance->services, KTP_MALFORMED,
                        "%s is not a keyturn store (not an SQLite file): if it was one, "
                        "restore a backup; if not, choose another path",
                        path);
    case SQLITE_CORRUPT:
    case SQLITE_FORMAT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
        return ktp_fail(instance->services, KTP_MALFORMED, "%s is damaged (%s): restore a backup",
                        path, sqlite3_errstr(code));
    case SQLITE_READONLY:
        if (code == SQLITE_READONLY_RECOVERY)
            return ktp_fail(instance->services, KTP_TRYAGAIN,
                            "%s: a writer died while it changed the index: try again", path);
        return local_forbidden(instance, path, doing);
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return local_forbidden(instance, path, doing);
    case SQLITE_CANTOPEN:
        if (code == SQLITE_CANTOPEN_SYMLINK)
            return ktp_fail(instance->services, KTP_FORBIDDEN,
                            "%s is a symbolic link: name the file itself", path);
        if (instance->watch.files.shm.ino == 0 && sqlite3_system_errno(db) == ENOENT)
            return ktp_fail(instance->services, KTP_UNAVAIL,
                            "%s is missing next to its -wal: the next write creates it again",
                            instance->shm);
        return local_errno_fail(instance, sqlite3_system_errno(db), path);
    default:
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: %s: %s (SQLite %d)", path, doing,
                        sqlite3_errstr(code), code);
    }
}

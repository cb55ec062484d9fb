/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_path.c: why this process may not open a file, and which command fixes it.
 *
 * The kernel says whether it may, by access(), which changes nothing; the process has the ids of
 * the user in question. The reason comes from owner, group and mode of the first folder or file on
 * the path that cannot be opened. Words of a command are quoted for a shell.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

bool kt_person_in(const kt_person_t *person, gid_t gid)
{
    int i;

    for (i = 0; i < person->ngroups; i++) {
        if (person->groups[i] == gid)
            return true;
    }
    return false;
}

const char *kt_shell_word(const char *path, char word[2 * PATH_MAX])
{
    const char *safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@:,=";
    size_t at = 0;

    if (path[strspn(path, safe)] == '\0') {
        (void)snprintf(word, 2 * PATH_MAX, "%s", path);
        return word;
    }
    word[at++] = '\'';
    for (; *path != '\0' && at < 2 * PATH_MAX - 8; path++) {
        if (*path == '\'')
            at += (size_t)snprintf(word + at, 8, "'\\''");
        else
            word[at++] = *path;
    }
    word[at++] = '\'';
    word[at] = '\0';
    return word;
}

/* "rw" of R_OK | W_OK */
static const char *letters(int wanted, char text[4])
{
    size_t at = 0;

    if (wanted & R_OK)
        text[at++] = 'r';
    if (wanted & W_OK)
        text[at++] = 'w';
    if (wanted & X_OK)
        text[at++] = 'x';
    text[at] = '\0';
    return text;
}

static const char *doing(int wanted)
{
    return wanted & W_OK ? "write" : wanted & R_OK ? "read" : "pass";
}

/* Copied, because the next getgrgid() overwrites the result. */
static const char *group_name(gid_t gid, char name[64])
{
    const struct group *group = getgrgid(gid);

    if (group != NULL)
        (void)snprintf(name, 64, "%s", group->gr_name);
    else
        (void)snprintf(name, 64, "%u", (unsigned)gid);
    return name;
}

static bool is_group(gid_t gid, const char *name)
{
    const struct group *group = name != NULL ? getgrnam(name) : NULL;

    return group != NULL && group->gr_gid == gid;
}

/* Why `path` itself cannot be opened; its folder can be passed. */
static void explain(const kt_person_t *person, const char *path, int wanted, const char *expected,
                    char *text, size_t size)
{
    char word[2 * PATH_MAX], mode[4], group[64];
    struct stat st;
    unsigned bits = (unsigned)wanted;

    if (stat(path, &st) != 0) {
        (void)snprintf(text, size, "%s cannot examine %s: %s", person->name, path, strerror(errno));
        return;
    }
    (void)group_name(st.st_gid, group);
    if (st.st_uid == person->uid)
        (void)snprintf(text, size, "%s cannot %s %s, its own: `chmod u+%s %s`", person->name,
                       doing(wanted), path, letters(wanted, mode), kt_shell_word(path, word));
    else if (!(wanted & W_OK) && is_group(st.st_gid, person->writers) &&
             !kt_person_in(person, st.st_gid))
        (void)snprintf(
            text, size, "%s cannot %s %s, which all users need: `chmod o+%s %s`", person->name,
            doing(wanted), path, letters(wanted, mode),
            kt_shell_word(path, word)); /* to read, it must not join the group of the writers */
    else if (kt_person_in(person, st.st_gid))
        (void)snprintf(text, size, "%s cannot %s %s, of its group %s: `chmod g+%s %s`",
                       person->name, doing(wanted), path, group, letters(wanted, mode),
                       kt_shell_word(path, word));
    else if ((st.st_mode >> 3 & bits) == bits && is_group(st.st_gid, expected))
        (void)snprintf(text, size, "%s is not in group %s and cannot %s %s: `usermod -aG %s %s`",
                       person->name, group, doing(wanted), path, group, person->name);
    else if (expected != NULL)
        (void)snprintf(
            text, size, "%s cannot %s %s (mode %04o, group %s): `chgrp %s %s && chmod g+%s %s`",
            person->name, doing(wanted), path, (unsigned)(st.st_mode & 07777), group, expected,
            kt_shell_word(path, word), letters(wanted, mode), kt_shell_word(path, word));
    else
        (void)snprintf(text, size, "%s cannot %s %s (mode %04o): `chown %s %s && chmod u+%s %s`",
                       person->name, doing(wanted), path, (unsigned)(st.st_mode & 07777),
                       person->name, kt_shell_word(path, word), letters(wanted, mode),
                       kt_shell_word(path, word));
}

kt_status_t kt_path_check(const kt_person_t *person, const char *path, int wanted,
                          const char *group, char *ret_text, size_t size)
{
    char part[PATH_MAX];
    const char *slash;

    for (slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (access(part, X_OK) == 0)
            continue;
        if (errno == ENOENT)
            break;
        explain(person, part, X_OK, person->readers, ret_text, size);
        return KT_PERMISSION;
    }
    if (access(path, wanted) == 0)
        return KT_SUCCESS;
    if (errno == ENOENT || errno == ENOTDIR) {
        (void)snprintf(ret_text, size, "%s does not exist", path);
        return KT_UNAVAIL;
    }
    if (errno == EROFS)
        (void)snprintf(ret_text, size, "%s cannot write %s: the file system is mounted read-only",
                       person->name, path);
    else
        explain(person, path, wanted, group, ret_text, size);
    return KT_PERMISSION;
}

kt_status_t kt_path_closed(const kt_person_t *person, const char *path, int unwanted,
                           const char *what, char *ret_text, size_t size)
{
    char word[2 * PATH_MAX], mode[4], group[64];
    struct stat st;

    if (access(path, unwanted) != 0 || stat(path, &st) != 0)
        return KT_SUCCESS;
    (void)group_name(st.st_gid, group);
    if (st.st_uid == person->uid)
        (void)snprintf(ret_text, size, "%s owns %s, %s: `chown root %s`", person->name, path, what,
                       kt_shell_word(path, word));
    else if (!kt_person_in(person, st.st_gid))
        (void)snprintf(ret_text, size, "%s may %s %s, %s, as every user may: `chmod o-%s %s`",
                       person->name, doing(unwanted), path, what, letters(unwanted, mode),
                       kt_shell_word(path, word));
    else if (st.st_gid != person->gid)
        (void)snprintf(ret_text, size, "%s is in group %s and may %s %s, %s: `gpasswd -d %s %s`",
                       person->name, group, doing(unwanted), path, what, person->name, group);
    else
        (void)snprintf(ret_text, size, "%s may %s %s, %s, by its group: `chmod g-%s %s`",
                       person->name, doing(unwanted), path, what, letters(unwanted, mode),
                       kt_shell_word(path, word));
    return KT_PERMISSION;
}

/* Does every file in the folder belong to the user? A folder that does not exist has none. */
static bool owns_all(const kt_person_t *person, const char *folder, char *ret_text, size_t size)
{
    char found[PATH_MAX], word[2 * PATH_MAX];
    bool foreign = false, whole;
    kt_folder_t list;
    struct stat st;

    whole = kt_folder_open(&list, AT_FDCWD, folder);
    if (!whole && errno == ENOENT)
        return true;
    if (whole) {
        while (!foreign && kt_folder_next(&list))
            foreign = snprintf(found, PATH_MAX, "%s/%s", folder, list.name) < PATH_MAX &&
                      lstat(found, &st) == 0 && !S_ISLNK(st.st_mode) && st.st_uid != person->uid;
        whole = kt_folder_close(&list);
    }
    if (foreign)
        (void)snprintf(ret_text, size, "%s does not own %s: `chown -R %s %s`", person->name, found,
                       person->name, kt_shell_word(folder, word));
    else if (!whole)
        (void)snprintf(ret_text, size, "%s cannot list %s: %s", person->name, folder,
                       strerror(errno));
    return whole && !foreign;
}

/* A file of another owner in it does not count. */
kt_status_t kt_path_anchors(const kt_person_t *person, const char *path, char *ret_text,
                            size_t size)
{
    char word[2 * PATH_MAX], group[64];
    struct stat st;

    if (lstat(path, &st) != 0 && errno == ENOENT) {
        (void)snprintf(ret_text, size, "%s does not exist: `install -d -m 755 -o %s -g %s %s`",
                       path, person->name, group_name(person->gid, group),
                       kt_shell_word(path, word));
        return KT_PERMISSION;
    }
    if (lstat(path, &st) == 0 && st.st_uid != person->uid) {
        (void)snprintf(ret_text, size, "%s does not own %s: `chown -R %s %s`", person->name, path,
                       person->name, kt_shell_word(path, word));
        return KT_PERMISSION;
    }
    if ((st.st_mode & 0777) != 0755) {
        (void)snprintf(ret_text, size,
                       "%s has mode %04o, and other users read there: `chmod 755 %s`", path,
                       (unsigned)(st.st_mode & 07777), kt_shell_word(path, word));
        return KT_PERMISSION;
    }
    return owns_all(person, path, ret_text, size) ? KT_SUCCESS : KT_PERMISSION;
}

kt_status_t kt_path_owned(const kt_person_t *person, const char *path, char *ret_text, size_t size)
{
    static const char *const files[] = {"log", "state"};
    char word[2 * PATH_MAX], found[PATH_MAX], rings[PATH_MAX];
    size_t i;
    char group[64];
    struct stat st;

    if (lstat(path, &st) != 0 && errno == ENOENT) {
        (void)snprintf(ret_text, size, "%s does not exist: `install -d -m %s -o %s -g %s %s`", path,
                       person->auditors != NULL ? "2750" : "700", person->name,
                       person->auditors != NULL ? person->auditors : group_name(person->gid, group),
                       kt_shell_word(path, word));
        return KT_AUDIT;
    }
    if (lstat(path, &st) == 0 && st.st_uid != person->uid) {
        const struct passwd *other = getpwuid(st.st_uid);

        (void)snprintf(ret_text, size, "%s cannot write %s, which belongs to %s: `chown -R %s %s`",
                       person->name, path, other != NULL ? other->pw_name : "another user",
                       person->name, kt_shell_word(path, word));
        return KT_AUDIT;
    }
    if (kt_path_check(person, path, R_OK | W_OK | X_OK, NULL, ret_text, size) != KT_SUCCESS)
        return KT_AUDIT;
    for (i = 0; i < KT_ARRAY(files); i++) {
        (void)snprintf(found, sizeof(found), "%s/%s", path, files[i]);
        if (lstat(found, &st) == 0 && st.st_uid == person->uid &&
            kt_path_check(person, found, R_OK | W_OK, NULL, ret_text, size) != KT_SUCCESS)
            return KT_AUDIT;
    }
    (void)snprintf(rings, sizeof(rings), "%s/rings", path);
    return owns_all(person, path, ret_text, size) && owns_all(person, rings, ret_text, size)
               ? KT_SUCCESS
               : KT_AUDIT;
}

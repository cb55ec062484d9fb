/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_user.c: what a server's user may open, tried as that user. Root forks a child, which takes
 * the user's ids and groups as a login or a unit would, and reports through a pipe, a line for each
 * thing it finds. The child wipes the keys that it inherited before it becomes the user. Nothing is
 * changed, and no server needs to run.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define CHILD_SECONDS 60u

/* ---- the child ---- */

static kt_status_t find_person(const kt_check_user_t *asked, kt_person_t *ret_person)
{
    const struct passwd *user = getpwnam(asked->user);
    const struct group *group;
    kt_person_t *p = ret_person;

    if (user == NULL)
        return kt_fail(KT_CONFIG, "there is no user %s", asked->user);
    memset(p, 0, sizeof(*p));
    (void)snprintf(p->name, sizeof(p->name), "%s", asked->user);
    p->uid = user->pw_uid;
    p->gid = user->pw_gid;
    group = getgrgid(p->gid);
    /* the group of a person may have other members: then the key file belongs to the user */
    if (group != NULL &&
        (strncmp(asked->stream, "cli-", 4) != 0 || strcmp(group->gr_name, asked->user) == 0))
        (void)snprintf(p->own_group, sizeof(p->own_group), "%s", group->gr_name);
    p->readers = asked->readers;
    p->writers = asked->writers;
    p->auditors = asked->auditors;
    p->ngroups = KT_GROUPS_MAX;
    if (getgrouplist(asked->user, p->gid, p->groups, &p->ngroups) < 0)
        return kt_fail(KT_INTERNAL, "%s is in more than %u groups", asked->user, KT_GROUPS_MAX);
    return KT_SUCCESS;
}

static bool become(const kt_person_t *p)
{
    return prctl(PR_SET_DUMPABLE, 0) == 0 && setgroups((size_t)p->ngroups, p->groups) == 0 &&
           setresgid(p->gid, p->gid, p->gid) == 0 && setresuid(p->uid, p->uid, p->uid) == 0;
}

/* `setup` is the copy of this process, after fork(). */
static void child(kt_setup_t *setup, const kt_check_user_t *asked, const kt_person_t *person,
                  int out)
{
    kt_inspection_t v = {
        .setup = setup, .config = setup->config, .asked = asked, .person = *person};

    (void)alarm(CHILD_SECONDS);
    kt_keyring_free(setup->keyring);
    setup->keyring = NULL;
    v.out = fdopen(out, "w");
    if (v.out == NULL || !become(person))
        _exit(1);
    kt_inspect(&v);
    _exit(fflush(v.out) == 0 ? 0 : 1);
}

/* ---- the parent ---- */

static kt_status_t read_lines(FILE *in, const char *what, kt_check_fn fn, void *arg)
{
    char line[KT_INSPECTION_TEXT + 32], *text;
    kt_status_t worst = KT_SUCCESS;

    while (fgets(line, sizeof(line), in) != NULL) {
        kt_status_t status = (kt_status_t)strtol(line, &text, 10);

        text[strcspn(text, "\n")] = '\0';
        worst = kt_worse(worst, status);
        fn(arg, status, what, *text == ' ' ? text + 1 : text);
    }
    return worst;
}

static kt_status_t run_as(kt_setup_t *setup, const kt_check_user_t *asked,
                          const kt_person_t *person, kt_check_fn fn, void *arg)
{
    kt_status_t status = KT_SUCCESS;
    int ends[2], ended = 0;
    FILE *in;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return kt_fail(KT_INTERNAL, "%s", strerror(errno));
    pid = fork();
    if (pid == 0)
        child(setup, asked, person, ends[1]);
    (void)close(ends[1]);
    in = pid > 0 ? fdopen(ends[0], "r") : NULL;
    if (in != NULL) {
        status = read_lines(in, asked->stream, fn, arg);
        (void)fclose(in);
    } else {
        (void)close(ends[0]);
        status = kt_fail(KT_INTERNAL, "%s", strerror(errno));
    }
    while (pid > 0 && waitpid(pid, &ended, 0) < 0 && errno == EINTR)
        ;
    if (pid > 0 && (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0))
        return kt_fail(KT_INTERNAL, "the check as %s failed or was killed", asked->user);
    return status;
}

kt_status_t kt_check_user(kt_setup_t *setup, const kt_check_user_t *user, kt_check_fn fn, void *arg)
{
    kt_person_t person;
    kt_status_t status = KT_SUCCESS;

    kt_failure_clear();
    if (setup->modules == NULL || user->size < sizeof(*user))
        status = kt_fail(KT_USAGE, "the configuration was not read");
    else if (geteuid() != 0)
        status = kt_fail(KT_PERMISSION, "only root can try what other users may open");
    if (status == KT_SUCCESS)
        status = find_person(user, &person);
    if (status == KT_SUCCESS)
        status = run_as(setup, user, &person, fn, arg);
    if (status != KT_SUCCESS && kt_failure()[0] != '\0')
        fn(arg, status, user->stream, kt_failure());
    return status;
}

const char *kt_setup_key(const kt_setup_t *setup, size_t i)
{
    size_t n;

    for (n = 0; setup->config != NULL && n < setup->config->nkeys; n++) {
        if (setup->config->keys[n].host != NULL && i-- == 0)
            return setup->config->keys[n].host;
    }
    return NULL;
}

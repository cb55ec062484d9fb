/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchor_notify.c: has nothing happened to any file of anchors? A process that reads often asks the
 * kernel's queue of events, which takes one short call, instead of looking at each file.
 *
 * The events are those of the folder of all streams and of each stream's folder, whose files they
 * include. An event is in the queue before the call returns that changed the file. A process that
 * does not get a queue (each user has 128) looks at the files at each read, as all processes do now
 * and then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "anchor_list.h"

#define AFTER 64u /* looks without a change, after which a queue is worth its place */
#define LOOK_MS 1000
#define RECENT_MS 50
#define WATCHED_FOR                                                                                \
    (IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF |     \
     IN_ONLYDIR)

void kt_anchor_notify_end(kt_anchors_t *anchors)
{
    kt_close_fd(&anchors->notify);
    anchors->calm = false;
    anchors->looks = 0;
}

/* By the open folder, whatever the path leads to now. */
static bool watch(const kt_anchors_t *anchors, const char *stream)
{
    char path[KT_STREAM_MAX + 64];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", anchors->folder, stream);
    return inotify_add_watch(anchors->notify, path, WATCHED_FOR) >= 0;
}

/* Before the files are looked at, so that no change comes in between. */
void kt_anchor_notify_begin(kt_anchors_t *anchors)
{
    bool good = true, any = false;
    size_t i;

    anchors->calm = false;
    if (anchors->notify >= 0 || !anchors->loaded || anchors->looks++ < AFTER)
        return;
    anchors->looks = 0;
    for (i = 0; i < anchors->nstreams; i++) {
        const kt_anchor_file_t *file = &anchors->streams[i].file;

        any = any || file->fd >= 0; /* the file system tells of changes */
        good = good && (file->fd >= 0 || !file->there);
    }
    if (good && any)
        anchors->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    good = anchors->notify >= 0 && watch(anchors, ".");
    for (i = 0; i < anchors->nstreams && good; i++)
        good = watch(anchors, anchors->streams[i].name);
    if (!good)
        kt_close_fd(&anchors->notify);
}

void kt_anchor_notify_looked(kt_anchors_t *anchors)
{
    anchors->calm = anchors->notify >= 0;
    anchors->looked = anchors->asked = kt_monotonic();
}

bool kt_anchors_are_recent(const kt_anchors_t *anchors)
{
    return anchors == NULL || (anchors->calm && kt_monotonic() - anchors->asked < RECENT_MS);
}

bool kt_anchor_notify_is_calm(kt_anchors_t *anchors)
{
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    int64_t now = kt_monotonic();
    bool calm = anchors->calm;
    ssize_t got;

    if (!calm || now - anchors->looked >= LOOK_MS)
        return false;
    while ((got = read(anchors->notify, events, sizeof(events))) > 0)
        calm = false;
    calm = calm && got < 0 && errno == EAGAIN;
    if (calm)
        anchors->asked = now;
    else
        anchors->calm = false;
    return calm;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* anchor_write.c: the anchors of a change, before and after its commit. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "anchor_list.h"
#include "index.h"

static kt_anchor_stream_t *find_stream(const kt_anchors_t *anchors, const char *name)
{
    size_t i;

    for (i = 0; i < anchors->nstreams; i++)
        if (strcmp(anchors->streams[i].name, name) == 0)
            return &anchors->streams[i];
    return NULL;
}

static bool follow_line(const kt_anchors_t *anchors, const kt_anchor_t *replaced,
                        const kt_anchor_t *line)
{
    size_t i;

    for (i = 0; i < anchors->count; i++) {
        kt_known_t *known = &anchors->list[i];

        if (known->seen || memcmp(&known->anchor, replaced, sizeof(*replaced)) != 0)
            continue;
        *known = (kt_known_t){.anchor = *line, .checked = true, .true_mac = true};
        return true;
    }
    return false;
}

/* What this process wrote is known, so that the files need not be read again. */
static void follow(kt_anchors_t *anchors, kt_anchor_stream_t *stream, const kt_anchor_job_t *job)
{
    int fd = stream->file.fd;
    size_t i;

    for (i = 0; i < job->count && anchors->own.followed; i++)
        anchors->own.followed = follow_line(anchors, &job->replaced[i], &job->lines[i]);
    if (anchors->own.followed) {
        stream->file = anchors->own.state;
        stream->file.fd = fd;
    } else {
        anchors->loaded = false;
    }
}

static kt_status_t write_job(kt_anchors_t *anchors, const char *name, kt_anchor_job_t *job)
{
    kt_anchor_stream_t *stream = find_stream(anchors, name);
    bool keeps = stream != NULL && stream->file.fd >= 0;
    kt_status_t status;

    kt_anchor_notify_end(anchors); /* it would tell of this */
    if (keeps && anchors->loaded && !anchors->racy)
        job->before = &stream->file;
    status = kt_anchor_file_write(anchors->path, anchors->folder, name, job,
                                  keeps ? &anchors->own : NULL);
    if (keeps && status == KT_SUCCESS)
        follow(anchors, stream, job);
    return status;
}

static kt_status_t write_all(kt_anchors_t *anchors, const char *stream, const kt_anchored_t *list,
                             size_t count, bool first, bool lazy)
{
    kt_anchor_t *lines = calloc(2 * count + 1, sizeof(*lines));
    const unsigned char **keys = calloc(count + 1, sizeof(*keys));
    kt_anchor_job_t job = {.lines = lines, .keys = keys, .first = first, .lazy = lazy};
    kt_status_t status = KT_SUCCESS;
    size_t i;

    if (lines == NULL || keys == NULL)
        status = kt_no_memory();
    for (i = 0; i < count && status == KT_SUCCESS; i++) {
        kt_anchored_t anchored = list[i];

        if (first) {
            anchored.generation = 0;
            memset(anchored.root, 0, sizeof(anchored.root));
        }
        kt_anchor_now(&anchored, &lines[job.count]);
        keys[job.count++] = list[i].key;
    }
    if (status == KT_SUCCESS && job.count > 0) {
        job.replaced = lines + count;
        status = write_job(anchors, stream, &job);
    }
    free(lines);
    free(keys);
    return status;
}

kt_status_t kt_anchors_prepare(kt_anchors_t *anchors, const char *stream, const kt_anchored_t *list,
                               size_t count)
{
    kt_anchored_t *without = anchors != NULL ? calloc(count + 1, sizeof(*without)) : NULL;
    kt_status_t status = KT_SUCCESS;
    size_t n = 0, i;
    uint64_t highest;

    if (anchors == NULL)
        return KT_SUCCESS;
    if (without == NULL)
        return kt_no_memory();
    for (i = 0; i < count; i++) {
        if (list[i].generation > 0 && !kt_anchors_have(anchors, &list[i], &highest))
            without[n++] = list[i];
    }
    if (n > 0)
        status = write_all(anchors, stream, without, n, true, false);
    free(without);
    return status == KT_SUCCESS ? status : kt_fail_prefix(status, "the first anchor of a type");
}

kt_status_t kt_anchors_reserve(const kt_anchors_t *anchors, const char *stream)
{
    const kt_anchor_stream_t *known = anchors != NULL ? find_stream(anchors, stream) : NULL;

    return anchors != NULL ? kt_anchor_file_reserve(anchors->path, anchors->folder, stream,
                                                    known != NULL ? known->file.size : 0)
                           : KT_SUCCESS;
}

kt_status_t kt_anchors_write(kt_anchors_t *anchors, const char *stream, const kt_anchored_t *list,
                             size_t count, bool lazy)
{
    kt_status_t status;
    size_t i;

    if (anchors == NULL)
        return KT_SUCCESS;
    status = write_all(anchors, stream, list, count, false, lazy);
    for (i = 0; i < count; i++) {
        if (status == KT_SUCCESS)
            kt_unanchored_drop(&anchors->missing, list[i].key_id);
        else
            kt_unanchored_add(&anchors->missing, &list[i], true);
    }
    return status;
}

const char *kt_anchors_folder(const kt_anchors_t *anchors)
{
    return anchors->path;
}

kt_status_t kt_anchors_sync(const char *path, const char *stream)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    kt_status_t status;

    if (folder < 0)
        return KT_SUCCESS; /* the next read will say so */
    status = kt_anchor_file_sync(path, folder, stream);
    (void)close(folder);
    return status;
}

kt_status_t kt_anchors_put(const kt_anchors_t *anchors, const char *stream,
                           const kt_anchor_t *lines, size_t count)
{
    const kt_anchor_job_t job = {.lines = lines, .count = count};

    return kt_anchor_file_write(anchors->path, anchors->folder, stream, &job, NULL);
}

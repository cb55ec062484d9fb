/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/seal.c, key.c, verify_trail.c: a change of what was sealed is found, and a crash is
 * not taken for a change. */
#include "process.h"
#include "vectors.h"
#include "world.h"

#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/stream.h"
#include "audit/verify.h"

static kt_config_t config;
static kt_audit_t *audit;
static char folder[160], stream[176], state_path[192], key_path[192], old_log[192];
static char audit_key[KT_AUDIT_KEY_LINE];
static uint64_t reach = KT_AUDIT_REACH;

static void open_trail(void)
{
    assert_ok(kt_audit_open(&config, "nginx", &audit));
}

static void close_trail(void)
{
    kt_audit_close(audit);
    audit = NULL;
}

static void make_world(void)
{
    char error[KT_ERROR_SIZE] = "";

    world_make(NULL, NULL, NULL);
    memset(&config, 0, sizeof(config));
    (void)snprintf(config.environment, sizeof(config.environment), "production");
    (void)snprintf(folder, sizeof(folder), "%s/audit", world.dir);
    (void)snprintf(stream, sizeof(stream), "%s/nginx", folder);
    (void)snprintf(state_path, sizeof(state_path), "%s/state", stream);
    (void)snprintf(old_log, sizeof(old_log), "%s/log.1", stream);
    (void)snprintf(key_path, sizeof(key_path), "%s/audit.key", world.dir);
    config.audit_path = folder;
    assert_ok(kt_audit_keygen(audit_key));
    world_write(key_path, audit_key, 0600);
    ck_assert_msg(kt_audit_start(stream, "prod", "nginx", key_path, error, sizeof(error)) ==
                      KT_SUCCESS,
                  "%s", error);
    open_trail();
}

static void end_world(void)
{
    close_trail();
    world_end();
}

static void record(const char *reference, bool durable)
{
    kt_event_t event = {.action = durable ? "write" : "read",
                        .subject = ALL,
                        .reference = reference,
                        .status = "success",
                        .durable = durable};

    assert_ok(kt_audit_write(audit, &event));
}

/* Out of the ring: lines, and their seal. */
static void drain(void)
{
    assert_ok(kt_audit_drain(audit));
}

/* Three blocks: a start and one line, two lines, one line. */
static void write_some(void)
{
    record("a/1", true);
    record("a/2", false);
    record("a/3", true);
    record("a/4", true);
}

/* ---- the page ---- */

/* A first block as docs/format.md has it: abi/test_format.py verifies it without this code. */
START_TEST(a_block_is_that_of_the_page)
{
    const kt_audit_name_t name = {"production", "nginx", "00000000-0000-4000-8000-000000000000"};
    const kt_event_t event = {.action = "read",
                              .subject = "nginx:example.org",
                              .reference = "api-keys/stripe",
                              .version = 3,
                              .provider = "local",
                              .status = "success",
                              .count = 7,
                              .purpose = "proxy"};
    const int64_t now = 1795435200250; /* 2026-11-23T12:00:00.250Z */
    kt_audit_state_t trail = {.keyed = true};
    kt_audit_range_t range = {.from = 1, .to = 1};
    kt_lines_t lines = {.size = 0};

    memcpy(trail.instance, vector("trail_instance").bytes, KT_AUDIT_ID);
    memcpy(range.ring, vector("trail_ring").bytes, KT_RING_ID);
    kt_audit_first_key(vector("audit_key").bytes, &name, trail.instance, trail.key);
    assert_vector(trail.key, sizeof(trail.key), "trail_key");
    assert_ok(kt_lines_begin(&lines, KT_LINES_MIN));
    kt_line_log(&lines, &name, &trail, now);
    kt_line_event(&lines, &name, &event, ++trail.recorded.sequence, now);
    kt_audit_seal_block(&trail, &lines, &range, now);
    assert_vector(lines.text, lines.size, "trail_block");
    assert_vector(trail.key, sizeof(trail.key), "trail_next_key");
    kt_lines_free(&lines);
}
END_TEST

static const struct {
    int64_t time;
    const char *text;
} moments[] = {
    {0, "\"1970-01-01T00:00:00.000Z\""},
    {951782399999, "\"2000-02-28T23:59:59.999Z\""},
    {951782400000, "\"2000-02-29T00:00:00.000Z\""},
    {951868800001, "\"2000-03-01T00:00:00.001Z\""},
    {1735689599010, "\"2024-12-31T23:59:59.010Z\""},
    {4107542400000, "\"2100-03-01T00:00:00.000Z\""},
    {253402300799999, "\"9999-12-31T23:59:59.999Z\""},
};

START_TEST(a_time_is_that_of_the_calendar)
{
    const kt_audit_name_t name = {"production", "nginx", ""};
    const kt_event_t event = {.action = "read", .status = "success"};
    kt_lines_t lines = {.size = 0};

    assert_ok(kt_lines_begin(&lines, KT_LINES_MIN));
    (void)kt_line_event(&lines, &name, &event, 1, moments[_i].time);
    ck_assert_int_eq(strncmp(lines.text + 8, moments[_i].text, strlen(moments[_i].text)), 0);
    kt_lines_free(&lines);
}
END_TEST

/* ---- what verify says ---- */

typedef struct findings {
    unsigned wrong;
    char text[4096];
} findings_t;
static findings_t findings;

static void find(void *arg, kt_status_t status, const char *what, const char *detail)
{
    findings_t *found = arg;
    size_t at = strlen(found->text);

    found->wrong += status != KT_SUCCESS;
    (void)snprintf(found->text + at, sizeof(found->text) - at, "%s %s %s\n", kt_status_name(status),
                   what, detail);
}

static kt_status_t verify(const char *key)
{
    memset(&findings, 0, sizeof(findings));
    return kt_audit_verify_within(folder, key, NULL, false, reach, find, &findings);
}

static void assert_verified(const char *key)
{
    kt_status_t status = verify(key);

    ck_assert_msg(status == KT_SUCCESS && findings.wrong == 0, "%s: %s", kt_failure(),
                  findings.text);
}

static void assert_wrong(const char *key, const char *text)
{
    kt_status_t status = verify(key);

    ck_assert_msg(status == KT_MALFORMED && findings.wrong > 0, "%s: %s", kt_status_name(status),
                  findings.text);
    ck_assert_msg(strstr(findings.text, text) != NULL, "no \"%s\" in: %s", text, findings.text);
}

START_TEST(a_trail_is_proved)
{
    assert_status(verify(audit_key), KT_NOTFOUND);
    write_some();
    assert_verified(audit_key);
    ck_assert_ptr_nonnull(strstr(
        findings.text, "success nginx 4 lines in 3 blocks and 1 file, 0 of them not sealed yet\n"));
    assert_verified(key_path);
    record("a/5", false);
    assert_verified(audit_key); /* it waits in its ring */
    ck_assert_ptr_nonnull(strstr(findings.text, "4 lines in 3 blocks"));
    close_trail();
    assert_verified(audit_key);
    ck_assert_ptr_nonnull(
        strstr(findings.text, "5 lines in 4 blocks and 1 file, 0 of them not sealed"));
    assert_verified(NULL);
    ck_assert_ptr_nonnull(strstr(findings.text, "not who wrote them"));
    ck_assert_int_eq(unlink(state_path), 0); /* another machine */
    assert_verified(audit_key);
    ck_assert_ptr_nonnull(
        strstr(findings.text, "it is not known whether lines after the last are missing"));
    memset(&findings, 0, sizeof(findings));
    assert_ok(kt_audit_verify(stream, audit_key, find, &findings)); /* the stream's own folder */
}
END_TEST

START_TEST(another_key_proves_nothing)
{
    char other[KT_AUDIT_KEY_LINE];

    write_some();
    assert_ok(kt_audit_keygen(other));
    assert_wrong(other, "log:3: block 0: not sealed with the key of this block");
    assert_status(verify("keyturn-audit-key 1 AAAA"), KT_CONFIG);
    assert_status(verify("/nonexistent"), KT_CONFIG);
    world_write(key_path, audit_key, 0644);
    assert_status(verify(key_path), KT_PERMISSION);
    assert_status(kt_audit_verify("/nonexistent", NULL, find, &findings), KT_NOTFOUND);
}
END_TEST

/* A stream whose start state is missing or was removed is not a proof, and is not taken for one. */
START_TEST(an_instance_without_the_key_is_reported)
{
    char error[KT_ERROR_SIZE];

    write_some();
    ck_assert_int_eq(unlink(state_path), 0);
    write_some();
    assert_wrong(audit_key, "begun without the audit key");
    ck_assert_uint_eq(findings.wrong, 1);
    assert_verified(NULL);
    ck_assert_ptr_nonnull(strstr(findings.text, "a new instance begins"));
    ck_assert_int_eq(kt_audit_start(stream, "production", "nginx", audit_key, error, sizeof(error)),
                     KT_SUCCESS); /* in place of one without the key, and of no other */
    ck_assert_int_eq(kt_audit_start(stream, "production", "nginx", audit_key, error, sizeof(error)),
                     KT_CONFLICT);
    write_some(); /* names the end of the one before */
    assert_verified(audit_key);
    ck_assert_ptr_nonnull(strstr(findings.text, "proves that it has not changed since"));
}
END_TEST

START_TEST(the_log_of_another_stream_is_reported)
{
    char other[192];

    write_some();
    (void)snprintf(other, sizeof(other), "%s/redis", folder);
    ck_assert_int_eq(rename(stream, other), 0);
    assert_wrong(audit_key, "the log of another stream, \"nginx\"");
}
END_TEST

START_TEST(a_start_needs_names_and_a_key)
{
    char error[KT_ERROR_SIZE], other[192];
    struct stat st;

    (void)snprintf(other, sizeof(other), "%s/redis", folder);
    ck_assert_int_eq(kt_audit_start(other, "production", "../x", audit_key, error, sizeof(error)),
                     KT_USAGE);
    ck_assert_int_eq(kt_audit_start(other, "../x", "redis", audit_key, error, sizeof(error)),
                     KT_USAGE);
    ck_assert_int_eq(
        kt_audit_start(other, "production", "redis", "/nonexistent", error, sizeof(error)),
        KT_CONFIG);
    ck_assert_int_ne(access(other, F_OK), 0);
    ck_assert_int_eq(kt_audit_start(other, "production", "redis", audit_key, error, sizeof(error)),
                     KT_SUCCESS);
    ck_assert_int_eq(kt_audit_start(other, "production", "redis", audit_key, error, sizeof(error)),
                     KT_CONFLICT);
    ck_assert_ptr_nonnull(strstr(error, "has begun"));
    ck_assert_int_eq(stat(state_path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(st.st_size, KT_AUDIT_STATE);
}
END_TEST

/* ---- tampering ---- */

typedef struct text {
    char *lines[64];
    size_t count;
} text_t;

/* What a test has allocated goes with its process; kept in sight of a leak checker, which looks for
 * what the core forgets. */
static char *keep(char *line)
{
    static char *all[1u << 16];
    static size_t count;

    ck_assert(line != NULL && count < KT_ARRAY(all));
    return all[count++] = line;
}

static void split(text_t *text)
{
    char *log = world_read(world.log, NULL), *line = log, *end;

    for (text->count = 0; (end = strchr(line, '\n')) != NULL; line = end + 1)
        text->lines[text->count++] = keep(strndup(line, (size_t)(end - line)));
    free(log);
}

/* Writes the lines in place, without changing the file's inode. */
static void join(const text_t *text)
{
    FILE *file = fopen(world.log, "r+");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(ftruncate(fileno(file), 0), 0);
    for (size_t i = 0; i < text->count; i++)
        if (text->lines[i] != NULL)
            (void)fprintf(file, "%s\n", text->lines[i]);
    (void)fclose(file);
}

enum { FLIP, DELETE, SWAP, TWICE, TRUNCATE, INSERT, WAYS };

static bool tamper(text_t *text, size_t line, int way)
{
    char *kept = text->lines[line];

    switch (way) {
    case FLIP:
        kept[strlen(kept) / 2] ^= 1;
        break;
    case DELETE:
        text->lines[line] = NULL;
        break;
    case SWAP:
        if (line + 1 == text->count)
            return false;
        text->lines[line] = text->lines[line + 1];
        text->lines[line + 1] = kept;
        break;
    case TWICE:
        text->lines[line] = keep(malloc(2 * strlen(kept) + 2));
        (void)sprintf(text->lines[line], "%s\n%s", kept, kept);
        break;
    case TRUNCATE:
        text->count = line;
        break;
    default:
        text->lines[line] = keep(malloc(strlen(kept) + 200));
        (void)sprintf(text->lines[line],
                      "{\"time\":\"2026-11-23T00:00:00.000Z\",\"boot\":\"\",\"stream\":\"nginx\","
                      "\"seq\":1,\"action\":\"read\"}\n%s",
                      kept);
    }
    return true;
}

/* Any line, in any way, with the key and without: on the machine itself. (What follows
 * the end that the state names is being written, and the next writer cuts it.) */
START_TEST(each_change_of_each_line_is_found)
{
    text_t text;
    size_t count;

    write_some();
    record("a/5", false);
    drain();
    split(&text);
    count = text.count;
    ck_assert_uint_eq(count, 10);
    for (int way = 0; way < WAYS; way++) {
        for (size_t line = 0; line < count; line++) {
            split(&text);
            if ((way != TWICE || line + 1 < count) && tamper(&text, line, way)) {
                char *before = world_read(world.log, NULL);

                join(&text);
                ck_assert_msg(verify(audit_key) != KT_SUCCESS, "way %d, line %zu", way, line);
                ck_assert_msg(verify(NULL) != KT_SUCCESS, "way %d, line %zu, without key", way,
                              line);
                world_write(world.log, before, 0640);
                free(before);
            }
        }
    }
    assert_verified(audit_key);
}
END_TEST

/* On another machine, without the state: all but a tail that is cut off, which no log can show. */
START_TEST(each_change_is_found_elsewhere)
{
    text_t text;
    size_t count;

    write_some();
    ck_assert_int_eq(unlink(state_path), 0);
    split(&text);
    count = text.count;
    for (int way = 0; way < WAYS; way++) {
        for (size_t line = 0; line < count; line++) {
            char *before;

            split(&text);
            if (way == TRUNCATE || (way == DELETE && line + 1 == count) ||
                !tamper(&text, line, way))
                continue;
            before = world_read(world.log, NULL);
            join(&text);
            ck_assert_msg(verify(audit_key) != KT_SUCCESS, "way %d, line %zu", way, line);
            world_write(world.log, before, 0640);
            free(before);
        }
    }
}
END_TEST

START_TEST(what_is_wrong_is_said_with_its_line)
{
    text_t text;

    write_some();
    split(&text);
    free(text.lines[4]);
    text.lines[4] = NULL; /* number 3 */
    join(&text);
    assert_wrong(audit_key,
                 "log:5: block 1: its lines from log:4 on are not the lines that were sealed");
    ck_assert_ptr_nonnull(
        strstr(findings.text, "the seal is for numbers 2 to 3, but the lines have 2 to 2"));
}
END_TEST

/* An intruder after block 2 has the state. It rewrites block 1 and the chain, and
 * seals all with the key that it found: the fault of CVE-2023-31439 is to take a block under a
 * later key than its own. */
START_TEST(a_later_key_seals_no_earlier_block)
{
    unsigned char bytes[KT_AUDIT_STATE], chain[KT_AUDIT_HASH] = {0}, mac[KT_AUDIT_HASH];
    char hex[2 * KT_AUDIT_HASH + 1], line[8192], *log, *at, *end, *seal;
    kt_audit_chain_t links;
    kt_audit_state_t state;
    FILE *file;
    int fd;

    write_some();
    fd = open(state_path, O_RDONLY);
    ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), KT_AUDIT_STATE);
    (void)close(fd);
    ck_assert(kt_audit_decode_state(bytes, &state) && state.block == 3);
    log = world_read(world.log, NULL);
    at = strstr(log, "a/3");
    at[2] = '9';
    file = fopen(world.log, "r+");
    kt_chain_begin(&links, chain);
    for (at = log; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        (void)snprintf(line, sizeof(line), "%.*s", (int)(end - at + 1), at);
        kt_chain_through(&links, chain);
        seal = strncmp(line, KT_AUDIT_SEAL, 8) == 0 ? strstr(line, "\"chain\":\"") + 9 : NULL;
        if (seal != NULL && line[8] > '0') { /* of blocks 1 and 2, made again */
            memcpy(seal, sodium_bin2hex(hex, sizeof(hex), chain, sizeof(chain)), 64);
            kt_audit_mac(state.key, chain, line, (size_t)(seal + 65 - line), mac);
            memcpy(strstr(line, "\"mac\":\"") + 7,
                   sodium_bin2hex(hex, sizeof(hex), mac, sizeof(mac)), 64);
        }
        if (seal != NULL)
            kt_chain_seal(&links, chain, line, strlen(line));
        else
            kt_chain_add(&links, line, strlen(line));
        (void)fputs(line, file);
    }
    (void)fclose(file);
    free(log);
    memcpy(state.recorded.chain, links.sealed, sizeof(chain)); /* the forged state agrees */
    memcpy(state.sealed.chain, links.sealed, sizeof(chain));
    kt_audit_encode_state(&state, bytes);
    fd = open(state_path, O_WRONLY);
    ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), KT_AUDIT_STATE);
    (void)close(fd);
    assert_verified(NULL); /* a chain proves no more than that */
    assert_wrong(audit_key, "log:6: block 1: not sealed with the key of this block");
    ck_assert_ptr_nonnull(
        strstr(findings.text, "log:8: block 2: not sealed with the key of this block"));
}
END_TEST

/* A log of another instance that says it goes on at a block far away; its number is what it likes.
 */
static void add_far_log(const char *name, unsigned block)
{
    char path[256], instance[] = "00000000000000000000000000000000", text[1024];
    char *log = world_read(world.log, NULL), *end = strchr(log, '\n');
    const char *rest = strstr(log, "\",\"keyed\"");
    char *number = strstr(log, "\"block\":0");

    instance[0] = name[4];
    *end = '\0';
    *number = '\0';
    (void)snprintf(text, sizeof(text), "{\"log\":\"continue\",\"instance\":\"%s%s\"block\":%u%s\n",
                   instance, rest, block, number + 9);
    (void)snprintf(path, sizeof(path), "%s/%s", stream, name);
    world_write(path, text, 0640);
    free(log);
}

/* Otherwise the writer of a log decides how long a verification takes: hours for such a file. */
START_TEST(a_made_up_block_number_is_not_counted_to)
{
    reach = 1000;
    write_some();
    add_far_log("log.2", 800);
    (void)verify(audit_key);
    ck_assert_msg(strstr(findings.text, "blocks 0 to 799") != NULL &&
                      strstr(findings.text, "blocks are missing") == NULL,
                  "%s", findings.text);
    add_far_log("log.3", 201); /* all in all */
    assert_wrong(audit_key, "more than 1000 blocks are missing: what follows cannot be verified");
    add_far_log("log.2", 4000000000u);
    assert_wrong(audit_key, "more than 1000 blocks are missing");
}
END_TEST

/* ---- crashes ---- */

static char *saved;

static void save_state(void)
{
    size_t size;

    saved = world_read(state_path, &size);
    ck_assert_uint_eq(size, KT_AUDIT_STATE);
}

static void put_state(void)
{
    int fd = open(state_path, O_WRONLY);

    ck_assert_int_eq(write(fd, saved, KT_AUDIT_STATE), KT_AUDIT_STATE);
    (void)close(fd);
}

/* Killed between the log and the state: the block is sealed, and is taken. Also two, when the disk
 * has an older state. */
static const int blocks[] = {1, 2, 3};

START_TEST(a_sealed_block_after_the_state_is_accepted)
{
    write_some();
    save_state();
    for (int i = 0; i < blocks[_i]; i++)
        record("b/1", true);
    put_state();
    record("c/1", true);
    ck_assert_uint_eq(world_lines("b/1", NULL), (unsigned)blocks[_i]);
    ck_assert_uint_eq(world_lines("recover", NULL), 0);
    assert_verified(audit_key);
    free(saved);
}
END_TEST

/* A drain that was killed in the middle: its records are in the ring still. */
START_TEST(lines_without_a_seal_are_cut)
{
    size_t size;
    char *log;

    write_some();
    save_state();
    record("b/1", false);
    drain();
    log = world_read(world.log, &size);
    ck_assert_int_eq(truncate(world.log, strstr(log, "{\"seal\":3") - log), 0);
    free(log);
    put_state();
    record("c/1", false);
    drain();
    ck_assert_uint_eq(world_lines("b/1", NULL), 0); /* the ring has it as drained */
    ck_assert_uint_eq(world_lines("\"recover\"", "\"missing\":0", NULL), 1);
    assert_wrong(audit_key,
                 "has the records 3 to 3 of a process, and the block before has them up to 1");
    ck_assert_uint_eq(findings.wrong, 1);
    free(saved);
}
END_TEST

/* A forged seal after the end that the state names. */
START_TEST(a_foreign_block_after_the_state_is_cut)
{
    char *log, *mac;
    FILE *file;

    write_some();
    save_state();
    record("b/1", true);
    log = world_read(world.log, NULL);
    mac = strrchr(log, '{');
    mac = strstr(mac, "\"mac\":\"") + 7;
    *mac = *mac == '0' ? '1' : '0';
    file = fopen(world.log, "r+");
    (void)fputs(log, file);
    (void)fclose(file);
    put_state();
    record("c/1", true);
    ck_assert_uint_eq(world_lines("b/1", NULL), 0);
    ck_assert_uint_eq(world_lines("\"recover\"", NULL), 1);
    assert_verified(audit_key);
    free(log);
    free(saved);
}
END_TEST

/* ---- logrotate ---- */

START_TEST(blocks_go_on_over_logs)
{
    char older[192];

    write_some();
    record("a/5", false);
    drain();
    ck_assert_int_eq(rename(world.log, old_log), 0);
    record("b/1", false);
    record("b/2", false);
    drain();
    ck_assert_uint_eq(world_lines("{\"log\":\"continue\"", "\"block\":4,\"last\":5,", NULL), 1);
    assert_verified(audit_key);
    ck_assert_ptr_nonnull(
        strstr(findings.text, "7 lines in 5 blocks and 2 files, 0 of them not sealed yet"));
    (void)snprintf(older, sizeof(older), "%s/log.2", stream);
    ck_assert_int_eq(rename(old_log, older), 0);
    ck_assert_int_eq(rename(world.log, old_log), 0);
    record("c/1", true);
    assert_verified(audit_key);
    ck_assert_int_eq(unlink(old_log), 0); /* from the middle */
    assert_wrong(audit_key,
                 "2 decisions before it (numbers 6 to 7, in the blocks 4 to 4): in none");
    /* and now from the beginning: retention would have said so */
    ck_assert_int_eq(unlink(older), 0);
    assert_wrong(audit_key,
                 "7 decisions before it (numbers 1 to 7, in the blocks 0 to 4): in none");
    assert_wrong(NULL, "and not removed by retention");
}
END_TEST

START_TEST(a_log_in_the_way_is_left_as_it_is)
{
    kt_event_t event = {.action = "read", .status = "success", .durable = true};

    write_some();
    ck_assert_int_eq(rename(world.log, old_log), 0);
    world_write(world.log, "something\n", 0640);
    assert_ok(kt_audit_write(audit, &event));
    ck_assert_uint_eq(world_lines("something", NULL), 0);
    ck_assert_uint_eq(world_lines("\"gap\"", NULL), 0); /* nothing of the trail is missing */
    assert_wrong(audit_key, "comes before the first line of an instance");
}
END_TEST

/* ---- when a seal is set ---- */

START_TEST(reads_share_a_seal)
{
    record("a/1", true);
    for (int i = 0; i < 100; i++)
        record("a/2", false);
    ck_assert_uint_eq(world_lines("{\"seal\":", NULL), 1);
    (void)usleep(1050000);
    record("a/3", false);
    ck_assert_uint_eq(world_lines("{\"seal\":", "\"last\":101,", "\"from\":1,\"to\":100,", NULL),
                      1);
    for (int i = 0; i < 1500; i++) /* half of the ring, and again */
        record("a/2", false);
    ck_assert_uint_ge(world_lines("{\"seal\":", NULL), 3);
    close_trail();
    ck_assert_uint_eq(world_lines("{\"seal\":", "\"last\":1602,", "\"to\":1601,", NULL), 1);
    assert_verified(audit_key);
}
END_TEST

/* ---- many at once ---- */

START_TEST(a_hundred_short_processes_write_one_trail)
{
    pid_t pids[100];

    close_trail();
    for (int i = 0; i < 100; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            kt_event_t event = {.action = "read",
                                .subject = ALL,
                                .reference = "a/b",
                                .status = "success",
                                .durable = i % 3 == 0};
            kt_audit_t *mine = NULL;
            bool done = kt_audit_open(&config, "nginx", &mine) == KT_SUCCESS;

            for (int k = 0; k < 5 && done; k++)
                done = kt_audit_write(mine, &event) == KT_SUCCESS;
            kt_audit_close(mine);
            _exit(done ? 0 : 1);
        }
    }
    for (int i = 0; i < 100; i++) {
        wait_for_child(pids[i], 0);
    }
    assert_verified(audit_key);
    ck_assert_ptr_nonnull(strstr(findings.text, "success nginx 500 lines in"));
    ck_assert_ptr_nonnull(strstr(findings.text, " 0 of them not sealed"));
}
END_TEST

START_TEST(killed_writers_leave_a_trail_that_holds)
{
    for (unsigned i = 0; i < 40; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            open_trail(); /* what was opened before the fork is the parent's */
            for (unsigned k = 0;; k++) {
                record("k/1", k % 3 == 0);
                if (k % 50 == 49) {
                    char *name = NULL;

                    if (asprintf(&name, "%s-%u-%u", old_log, i, k) < 0)
                        _exit(1);
                    (void)rename(world.log, name);
                    free(name);
                }
            }
        }
        (void)usleep(1000 + i * 331 % 4000);
        (void)kill(pid, SIGKILL);
        wait_for_child(pid, SIGKILL);
        record("l/1", false);
    }
    drain();
    assert_verified(audit_key);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, a_block_is_that_of_the_page);
    UNIT_TABLE(tests, a_time_is_that_of_the_calendar, moments);
    tcase_add_test(tests, a_trail_is_proved);
    tcase_add_test(tests, another_key_proves_nothing);
    tcase_add_test(tests, an_instance_without_the_key_is_reported);
    tcase_add_test(tests, the_log_of_another_stream_is_reported);
    tcase_add_test(tests, a_start_needs_names_and_a_key);
    tcase_add_test(tests, each_change_of_each_line_is_found);
    tcase_add_test(tests, each_change_is_found_elsewhere);
    tcase_add_test(tests, what_is_wrong_is_said_with_its_line);
    tcase_add_test(tests, a_later_key_seals_no_earlier_block);
    tcase_add_test(tests, a_made_up_block_number_is_not_counted_to);
    UNIT_TABLE(tests, a_sealed_block_after_the_state_is_accepted, blocks);
    tcase_add_test(tests, lines_without_a_seal_are_cut);
    tcase_add_test(tests, a_foreign_block_after_the_state_is_cut);
    tcase_add_test(tests, blocks_go_on_over_logs);
    tcase_add_test(tests, a_log_in_the_way_is_left_as_it_is);
    tcase_add_test(tests, reads_share_a_seal);
    tcase_add_test(tests, a_hundred_short_processes_write_one_trail);
    tcase_add_test(tests, killed_writers_leave_a_trail_that_holds);
}

UNIT_MAIN("audit seals", add_tests)

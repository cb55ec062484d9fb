/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn audit report [--since T] [DIR]: who was refused, what failed, who read and changed what.
 * It needs nothing but the lines of the audit logs, so it also works on a copy from another
 * machine.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

#define SUSPICIOUS 5 /* a source with more refusals and failures is printed */
#define HEAVY 1000   /* a secret with more reads is heavily used */

typedef struct {
    cli_trail_t trail;  /* first: its notes are [{stream, note}], what was skipped */
    json_t *marked;     /* {stream: {mark: lines}}: what something is wrong with */
    json_t *streams;    /* {stream: lines} */
    json_t *sources;    /* {subject and peer: {...}} */
    json_t *patterns;   /* {action, reference and subject: {...}} */
    json_t *actions;    /* {action: {status: count}} */
    json_t *severities; /* {severity: count} */
    json_t *alerts;     /* the lines */
    json_t *secrets;    /* {name: {...}} */
    json_t *all;        /* owns these */
    json_int_t lines, malformed, refusals, failures, foreign;
} report_t;

static const char *text_of(const json_t *object, const char *key)
{
    return cli_json_text(object, key, "");
}

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void add(json_t *object, const char *key, json_int_t count)
{
    json_object_set_new(object, key, json_integer(number_of(object, key) + count));
}

/* The object at `key`, which is made if it is missing. */
static json_t *at(json_t *object, const char *key)
{
    if (!json_object_get(object, key))
        json_object_set_new(object, key, json_object());
    return json_object_get(object, key);
}

static void set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, json_string(text));
}

static bool is_marked(const json_t *line, const char *mark)
{
    const json_t *word;
    size_t i;

    json_array_foreach(json_object_get(line, "marks"), i,
                       word) if (strcmp(json_string_value(word), mark) == 0) return true;
    return false;
}

/* Whom the line is about: a stream can name its own subjects only, and of any other claim the
 * stream itself is what is known. */
static const char *subject_of(const json_t *line)
{
    return is_marked(line, "foreign-subject") || is_marked(line, "foreign-stream")
               ? text_of(line, "stream")
               : text_of(line, "subject");
}

/* Lines come stream by stream, so the times are not in order. */
static void widen(json_t *object, const json_t *line)
{
    const char *time = is_marked(line, "future") ? "" : text_of(line, "time");
    const char *first = text_of(object, "first"), *last = text_of(object, "last");

    if (!time[0])
        return;
    if (!first[0] || strcmp(time, first) < 0)
        set_text(object, "first", time);
    if (strcmp(time, last) > 0)
        set_text(object, "last", time);
}

static bool is_one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return false;
}

static bool is_failure(const char *status)
{
    static const char *const answers[] = {"success",  "intent", "notfound",
                                          "conflict", "denied", NULL};

    return !is_one_of(status, answers);
}

/* ---- counting ---- */

static void count_source(report_t *report, const json_t *line, bool refusal, json_int_t count)
{
    const char *subject = subject_of(line), *peer = text_of(line, "peer");
    char key[600];
    json_t *source;

    snprintf(key, sizeof key, "%.280s %.280s", subject, peer);
    source = at(report->sources, key);
    set_text(source, "subject", subject);
    set_text(source, "peer", peer);
    add(source, refusal ? "refusals" : "failures", count);
    add(source, "count", count);
    widen(source, line);
}

/* An access without a name. */
static void count_pattern(report_t *report, const json_t *line, json_int_t count)
{
    const char *subject = text_of(line, "subject"), *colon = strrchr(subject, ':');
    char key[1000];
    json_t *pattern;

    if (subject[0] && strcmp(colon ? colon + 1 : subject, "anonymous") != 0)
        return;
    snprintf(key, sizeof key, "%.60s %.600s %.280s", text_of(line, "action"),
             text_of(line, "reference"), subject);
    pattern = at(report->patterns, key);
    json_object_update_new(pattern, json_pack("{s:s, s:s, s:s, s:s}", "pattern", "anonymous",
                                              "subject", subject, "action", text_of(line, "action"),
                                              "reference", text_of(line, "reference")));
    add(pattern, "count", count);
    widen(pattern, line);
}

static void count_read(json_t *secret, const json_t *line, json_int_t count)
{
    const char *time = is_marked(line, "future") ? "" : text_of(line, "time");

    add(secret, "accesses", count);
    add(at(secret, "streams"), text_of(line, "stream"), count);
    add(at(secret, "subjects"), subject_of(line), count);
    if (text_of(line, "actor")[0])
        add(at(secret, "actors"), text_of(line, "actor"), count);
    if (strcmp(time, text_of(secret, "last_access")) > 0) {
        set_text(secret, "last_access", time);
        set_text(secret, "last_subject", subject_of(line));
        set_text(secret, "last_stream", text_of(line, "stream"));
    }
}

static void remember_change(json_t *secret, const json_t *line)
{
    static const char *const keys[] = {"time",  "action", "version", "stream",
                                       "actor", "status", "marks",   NULL};
    json_t *changes = json_object_get(secret, "changes"), *change = json_object();

    if (!changes) {
        changes = json_array();
        json_object_set_new(secret, "changes", changes);
    }
    for (size_t i = 0; keys[i]; i++)
        if (json_object_get(line, keys[i]))
            json_object_set(change, keys[i], json_object_get(line, keys[i]));
    set_text(change, "subject", subject_of(line));
    json_array_append_new(changes, change);
}

static void count_secret(report_t *report, const json_t *line, json_int_t count)
{
    static const char *const changing[] = {"write",    "rollback", "delete",
                                           "undelete", "destroy",  NULL};
    const char *action = text_of(line, "action"), *status = text_of(line, "status");
    const char *reference = text_of(line, "reference");
    char name[KT_NAME_MAX + 1];
    size_t size = strcspn(reference, "#@");
    json_t *secret;

    if (size == 0 || size > KT_NAME_MAX || strchr(reference, '*') || strcmp(status, "intent") == 0)
        return;
    snprintf(name, sizeof name, "%.*s", (int)size, reference);
    if (strcmp(action, "read") == 0 && strcmp(status, "success") == 0) {
        count_read(at(report->secrets, name), line, count);
    } else if (strcmp(status, "denied") == 0 || is_failure(status)) {
        secret = at(report->secrets, name);
        add(secret, is_failure(status) ? "failures" : "refusals", count);
        if (strncmp(action, "rotate", 6) == 0)
            remember_change(secret, line);
    } else if (strcmp(status, "success") == 0 &&
               (strncmp(action, "rotate", 6) == 0 || is_one_of(action, changing))) {
        remember_change(at(report->secrets, name), line);
    }
}

/* A claim about others is an alert: somebody uses the stream for what is not its own. */
static void count_marks(report_t *report, json_t *line)
{
    const json_t *mark;
    size_t i;

    json_array_foreach(json_object_get(line, "marks"), i, mark)
        add(at(report->marked, text_of(line, "stream")), json_string_value(mark), 1);
    if (is_marked(line, "foreign-subject") || is_marked(line, "foreign-stream")) {
        json_array_append(report->alerts, line);
        report->foreign++;
    }
}

static void count_line(report_t *report, json_t *line)
{
    const char *action = text_of(line, "action"), *status = text_of(line, "status");
    const char *severity = text_of(line, "severity");
    /* a state of many secrets is read once */
    bool many = number_of(line, "count") > 1 && strcmp(action, "state") != 0;
    json_int_t count = many ? number_of(line, "count") : 1;

    report->lines++;
    widen(report->all, line);
    count_marks(report, line);
    add(report->streams, text_of(line, "stream"), 1);
    add(at(report->actions, action), status, count);
    if (severity[0])
        add(report->severities, severity, count);
    if (strcmp(action, "alert") == 0) {
        json_array_append(report->alerts, line);
        return; /* its refusals have lines of their own */
    }
    if (strcmp(status, "denied") == 0) {
        report->refusals += count;
        count_source(report, line, true, count);
    } else if (is_failure(status)) {
        report->failures += count;
        count_source(report, line, false, count);
    }
    if (strcmp(action, "recover") != 0)
        count_pattern(report, line, count);
    count_secret(report, line, count);
}

static int count_text(void *arg, const kt_audit_line_t *text)
{
    report_t *report = arg;
    json_t *line = cli_trail_parse(text);

    if (text_of(line, "time")[0] && text_of(line, "action")[0])
        count_line(report, line);
    else
        report->malformed++;
    json_decref(line);
    return 0;
}

/* ---- the answer ---- */

/* The values whose number at `key` is above `over`, highest first. */
static json_t *ranked(const json_t *object, const char *key, json_int_t over)
{
    json_t *list = json_array(), *value;
    const char *name;
    size_t i;

    json_object_foreach((json_t *)object, name, value)
    {
        json_int_t rank = number_of(value, key);

        if (rank <= over)
            continue;
        for (i = 0; i < json_array_size(list); i++)
            if (number_of(json_array_get(list, i), key) < rank)
                break;
        json_array_insert(list, i, value);
    }
    return list;
}

/* Names of the secrets that are heavily used, or else of those that were never read. */
static json_t *names(const report_t *report, bool heavy)
{
    json_t *list = json_array(), *secret;
    const char *name;

    json_object_foreach(report->secrets, name, secret)
    {
        json_int_t accesses = number_of(secret, "accesses");

        if (heavy ? accesses > HEAVY : accesses == 0 && json_object_get(secret, "changes"))
            json_array_append_new(list, json_string(name));
    }
    return list;
}

static json_t *to_json(const report_t *report, int64_t since, int64_t now)
{
    return json_pack(
        "{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:O, s:O, s:o, s:o, s:O, s:O, "
        "s:O, s:O, s:o, s:o, s:O}",
        "analysis_time", cli_json_time(now), "since", cli_json_time(since), "lines", report->lines,
        "malformed", report->malformed, "refusals", report->refusals, "failures", report->failures,
        "total_failed_attempts", report->refusals + report->failures, "first",
        text_of(report->all, "first"), "last", text_of(report->all, "last"), "streams",
        report->streams, "passed_over", report->trail.notes, "suspicious_sources",
        ranked(report->sources, "count", SUSPICIOUS), "suspicious_patterns",
        ranked(report->patterns, "count", 0), "alerts", report->alerts, "severities",
        report->severities, "actions", report->actions, "secrets", report->secrets, "unused",
        names(report, false), "heavily_used", names(report, true), "marked", report->marked);
}

static void print_counts(const json_t *counts)
{
    const char *key;
    json_t *count;

    json_object_foreach((json_t *)counts, key, count)
    {
        fputs("  ", stdout);
        cli_print(key, 0);
        printf(" %lld", (long long)json_integer_value(count));
    }
    putchar('\n');
}

static void print_sources(const json_t *answer)
{
    const json_t *sources = json_object_get(answer, "suspicious_sources");
    const json_t *patterns = json_object_get(answer, "suspicious_patterns");
    size_t i;
    json_t *row;

    if (json_array_size(sources) > 0)
        printf("\nSources of more than %d refusals and failures:\n", SUSPICIOUS);
    json_array_foreach(sources, i, row)
    {
        printf("  %6lld  ", (long long)number_of(row, "count"));
        cli_print(text_of(row, "subject")[0] ? text_of(row, "subject") : "(unknown)", 26);
        putchar(' ');
        cli_print(text_of(row, "peer")[0] ? text_of(row, "peer") : "-", 16);
        printf(" %.24s to %.24s\n", text_of(row, "first"), text_of(row, "last"));
    }
    if (json_array_size(patterns) > 0)
        printf("\nAnonymous accesses:\n");
    json_array_foreach(patterns, i, row)
    {
        printf("  %6lld  ", (long long)number_of(row, "count"));
        cli_print(text_of(row, "action"), 13);
        putchar(' ');
        cli_print_line(text_of(row, "reference"));
    }
}

static bool has_lockouts(const json_t *alerts)
{
    const json_t *row;
    size_t i;

    json_array_foreach(alerts, i,
                       row) if (strcmp(text_of(row, "action"), "alert") == 0) return true;
    return false;
}

static void print_marked(const report_t *report)
{
    const char *stream, *mark;
    json_t *marks, *count;

    if (json_object_size(report->marked) > 0)
        printf("\nLines that something is wrong with (keyturn(1), audit tail):\n");
    json_object_foreach(report->marked, stream, marks)
    {
        json_object_foreach(marks, mark, count)
        {
            printf("  %6lld  %-16s ", (long long)json_integer_value(count), mark);
            cli_print_line(stream);
        }
    }
}

static void print_alerts(const json_t *alerts)
{
    size_t i;
    json_t *row;

    if (has_lockouts(alerts))
        printf("\nLocked out:\n");
    json_array_foreach(alerts, i, row)
    {
        if (strcmp(text_of(row, "action"), "alert") != 0)
            continue;
        printf("  %.24s ", text_of(row, "time"));
        cli_print(text_of(row, "subject"), 26);
        putchar(' ');
        cli_print(text_of(row, "peer"), 16);
        printf(" for %lld s\n", (long long)number_of(row, "seconds"));
    }
}

/*           read by nginx:shop 12, uid:root 3 */
static void print_counts_of(const char *what, const json_t *counts)
{
    const char *key, *comma = "";
    json_t *count;

    if (json_object_size(counts) > 0)
        printf("          %s ", what);
    json_object_foreach((json_t *)counts, key, count)
    {
        fputs(comma, stdout);
        cli_print(key[0] ? key : "(unknown)", 0);
        printf(" %lld", (long long)json_integer_value(count));
        comma = ", ";
    }
    if (json_object_size(counts) > 0)
        putchar('\n');
}

static void print_secrets(const json_t *secrets)
{
    const char *name;
    json_t *secret;

    if (json_object_size(secrets) > 0)
        printf("\n   reads  last read                 changes  last change               name\n");
    json_object_foreach((json_t *)secrets, name, secret)
    {
        const json_t *changes = json_object_get(secret, "changes");
        size_t count = json_array_size(changes);
        const char *read = text_of(secret, "last_access");
        const char *changed = text_of(json_array_get(changes, count ? count - 1 : 0), "time");

        printf("%8lld  %-24.24s  %7zu  %-24.24s  ", (long long)number_of(secret, "accesses"),
               read[0] ? read : "-", count, changed[0] ? changed : "-");
        cli_print(name, 0);
        if (number_of(secret, "accesses") > HEAVY)
            printf("  (heavily used)");
        else if (count > 0 && !read[0])
            printf("  (unused)");
        putchar('\n');
        print_counts_of("read by", json_object_get(secret, "subjects"));
        print_counts_of("persons", json_object_get(secret, "actors"));
    }
}

static void print(const report_t *report, const json_t *answer)
{
    const char *action;
    json_t *counts;
    size_t nstreams = json_object_size(report->streams);

    printf("%lld %s of %zu %s, %lld malformed skipped", (long long)report->lines,
           cli_plural((uint64_t)report->lines, "line", "lines"), nstreams,
           cli_plural(nstreams, "stream", "streams"), (long long)report->malformed);
    if (report->lines > 0)
        printf("; from %.24s to %.24s", text_of(report->all, "first"),
               text_of(report->all, "last"));
    printf("\nrefusals %lld, failures %lld, alerts %zu\n", (long long)report->refusals,
           (long long)report->failures, json_array_size(report->alerts));
    print_marked(report);
    print_alerts(report->alerts);
    print_sources(answer);
    if (json_object_size(report->actions) > 0)
        printf("\nActions:\n");
    json_object_foreach(report->actions, action, counts)
    {
        printf("  ");
        cli_print(action, 14);
        print_counts(counts);
    }
    print_secrets(report->secrets);
}

static void init(report_t *report)
{
    memset(report, 0, sizeof *report);
    report->all = json_object();
    report->trail.notes = json_array();
    report->alerts = json_array();
    json_object_set_new(report->all, "notes", report->trail.notes);
    json_object_set_new(report->all, "alerts", report->alerts);
    report->streams = at(report->all, "streams");
    report->marked = at(report->all, "marked");
    report->sources = at(report->all, "sources");
    report->patterns = at(report->all, "patterns");
    report->actions = at(report->all, "actions");
    report->severities = at(report->all, "severities");
    report->secrets = at(report->all, "secrets");
}

kt_status_t verb_audit_report(cli_t *cli)
{
    const char *dir = cli->nargs > 0 ? cli->args[0] : NULL;
    int64_t since;
    report_t report;
    json_t *answer;
    kt_status_t status = cli_since(cli, &since);

    if (!status && !dir)
        status = cli_trail_path(cli, &dir);
    if (status)
        return status;
    init(&report);
    report.trail.cli = cli;
    status = kt_audit_scan(dir, since, count_text, cli_trail_note, &report);
    if (status && (status != KT_MALFORMED || cli->json)) {
        json_decref(report.all);
        return cli_check(cli, status, kt_error(NULL));
    }
    answer = to_json(&report, since, cli_now());
    if (cli->json) {
        status = cli_answer(cli, answer);
    } else {
        print(&report, answer);
        json_decref(answer);
    }
    json_decref(report.all);
    return cli_check(cli, status, kt_error(NULL));
}

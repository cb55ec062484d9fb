/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The manual pages and the comment on top of keyturn.h say what is true: their examples compile,
 * the synopsis has all of the header's prototypes, each status stands next to its exit number,
 * and the example configurations are accepted.
 *
 * Runs in the source tree, or where KT_TOP says it is.
 */
#include "unit.h"

#include <ctype.h>
#include <stdio.h>
#include <unistd.h>

#include "config/parse.h"

static char work[64]; /* the folder of this test's files */

static char *read_source(const char *name)
{
    const char *top = getenv("KT_TOP");
    char path[512], *text = calloc(1, 1 << 18);
    FILE *in;

    snprintf(path, sizeof(path), "%s/%s", top != NULL ? top : ".", name);
    in = fopen(path, "r");
    ck_assert_msg(in != NULL && text != NULL, "%s cannot be read", path);
    ck_assert_uint_lt(fread(text, 1, (1 << 18) - 1, in), (1 << 18) - 1);
    fclose(in);
    return text;
}

/* Compiles a text as C; `head` goes before it. */
static void compile(const char *what, const char *head, const char *text)
{
    const char *top = getenv("KT_TOP"), *cc = getenv("CC");
    char path[128], command[1024];
    FILE *out;

    snprintf(path, sizeof(path), "%s/%s.c", work, what);
    out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    fprintf(out, "%s%s", head, text);
    ck_assert_int_eq(fclose(out), 0);
    snprintf(command, sizeof(command),
             "%s -std=c11 -D_GNU_SOURCE -fsyntax-only -Wall -Wextra -Wshadow -Wmissing-prototypes "
             "-Werror -I%s/core/include %s",
             cc != NULL ? cc : "cc", top != NULL ? top : ".", path);
    ck_assert_msg(system(command) == 0, "%s does not compile", what);
    ck_assert_int_eq(unlink(path), 0);
}

/* The next line of *text, ended by NUL, or NULL. */
static char *next_line(char **text)
{
    char *line = *text, *end;

    if (*line == '\0')
        return NULL;
    end = strchr(line, '\n');
    ck_assert_ptr_nonnull(end);
    *end = '\0';
    *text = end + 1;
    return line;
}

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

START_TEST(the_headers_example_compiles)
{
    static const char margin[] = " *     ";
    char *header = read_source("core/include/keyturn.h"), *rest, *line;
    char *code = calloc(1, 8192);

    rest = strstr(header, " * An example with all outcomes");
    ck_assert_ptr_nonnull(rest);
    next_line(&rest);
    strcpy(code, "static void example(void)\n{\n");
    while ((line = next_line(&rest)) != NULL && (begins(line, margin) || strcmp(line, " *") == 0))
        strcat(strcat(code, begins(line, margin) ? line + sizeof(margin) - 1 : ""), "\n");
    ck_assert_uint_gt(strlen(code), 500);
    strcat(code, "}\nint main(void)\n{\n    example();\n    return 0;\n}\n");
    compile("header",
            "#include <err.h>\n#include <keyturn.h>\n"
            "static void use(const unsigned char *data, size_t size) { (void)data; (void)size; }\n",
            code);
    free(code);
    free(header);
}
END_TEST

/* ---- Pages ---- */

/* roff's backslash back to C's. */
static void unescape(char *text)
{
    char *to = text;

    for (; *text != '\0'; text++)
        if (text[0] == '\\' && text[1] == 'e')
            *to++ = *text++;
        else
            *to++ = *text;
    *to = '\0';
}

static const struct {
    const char *page;
    int examples;
} pages[] = {{"core/keyturn.3", 3}, {"core/keyturn-provider.3", 1}};

START_TEST(the_examples_of_pages_compile)
{
    char *page = read_source(pages[_i].page), *rest = strstr(page, "\n.Sh EXAMPLES\n"), *end;
    char name[32];
    int count = 0;

    ck_assert_ptr_nonnull(rest);
    while ((rest = strstr(rest, "\n.Bd -literal\n")) != NULL) {
        rest += strlen("\n.Bd -literal\n");
        end = strstr(rest, ".Ed\n");
        ck_assert_ptr_nonnull(end);
        *end = '\0';
        unescape(rest);
        snprintf(name, sizeof(name), "example%d", ++count);
        compile(name, "", rest);
        rest = end + 1;
    }
    ck_assert_int_eq(count, pages[_i].examples);
    free(page);
}
END_TEST

/* The arguments of .Fn and .Fo: the words of a line, or what stands between quotes. */
static char *argument(char **line)
{
    char *start = *line + strspn(*line, " "), *end;
    bool quoted = *start == '"';

    if (*start == '\0')
        return NULL;
    start += quoted;
    end = start + strcspn(start, quoted ? "\"" : " ");
    *line = *end == '\0' ? end : end + 1;
    *end = '\0';
    return start;
}

/* A declaration for each function of the page's synopsis. */
static char *declarations(const char *name)
{
    char *page = read_source(name), *rest = strstr(page, "\n.Sh SYNOPSIS\n") + 1;
    char *code = calloc(1, 1 << 16), *line, *text;
    bool first = false;

    next_line(&rest);
    while ((line = next_line(&rest)) != NULL && !begins(line, ".Sh ")) {
        char *words = line + 3;

        if (begins(line, ".Ft "))
            strcat(strcat(code, argument(&words)), " ");
        else if (begins(line, ".Vt "))
            strcat(strcat(code, words), "\n");
        else if (begins(line, ".Fn ") || begins(line, ".Fo ")) {
            strcat(strcat(code, argument(&words)), "(");
            for (first = true; (text = argument(&words)) != NULL; first = false)
                strcat(strcat(code, first ? "" : ", "), text);
            strcat(code, begins(line, ".Fn ") ? ");\n" : "");
        } else if (begins(line, ".Fa ")) {
            strcat(strcat(code, first ? "" : ", "), argument(&words));
            first = false;
        } else if (begins(line, ".Fc"))
            strcat(code, ");\n");
    }
    free(page);
    return code;
}

START_TEST(the_synopsis_has_the_headers_prototypes)
{
    char *code = declarations("core/keyturn.3");

    ck_assert_ptr_nonnull(strstr(code, "kt_status_t kt_get(kt_ctx_t *ctx, const kt_request_t *req, "
                                       "kt_secret_t **ret_secret);\n"));
    compile("synopsis", "#include <keyturn.h>\n", code);
    free(code);
    code = declarations("core/keyturn-provider.3");
    ck_assert_str_eq(code, " extern const ktp_provider_t keyturn_provider ;\n"
                           "static inline ktp_status_t ktp_fail(const ktp_services_t *services, "
                           "ktp_status_t status, const char *format, ...);\n");
    compile("provider", "#include <keyturn_provider.h>\n", code);
    free(code);
}
END_TEST

/* Calls `fn` for each function that the header exports. */
static size_t for_functions(char *header, void (*fn)(const char *name, void *arg), void *arg)
{
    char *at = strstr(header, "extern \"C\"");
    size_t count = 0;

    ck_assert_ptr_nonnull(at);
    while ((at = strstr(at, "\nKT_API ")) != NULL) {
        char name[64] = "";
        char *paren = strchr(at, '('), *start = paren;

        while (isalnum((unsigned char)start[-1]) || start[-1] == '_')
            start--;
        memcpy(name, start, (size_t)(paren - start));
        fn(name, arg);
        count++;
        at = paren;
    }
    return count;
}

static void has_declaration(const char *name, void *code)
{
    char call[80];

    snprintf(call, sizeof(call), "%s(", name);
    ck_assert_msg(strstr(code, call) != NULL, "%s is not in the synopsis", name);
}

/* It is also in the text: a prototype alone does not say who frees. */
static void has_text(const char *name, void *text)
{
    char macro[80];

    snprintf(macro, sizeof(macro), ".Fn %s\n", name);
    if (strstr(text, macro) != NULL)
        return;
    snprintf(macro, sizeof(macro), ".Fn %s ", name);
    ck_assert_msg(strstr(text, macro) != NULL, "%s is not described", name);
}

START_TEST(each_function_is_documented)
{
    char *header = read_source("core/include/keyturn.h"), *code = declarations("core/keyturn.3");
    char *page = read_source("core/keyturn.3"), *text = strstr(page, "\n.Sh DESCRIPTION\n");
    size_t count = 0, exported = for_functions(header, has_declaration, code);

    for (const char *at = code; (at = strstr(at, ");\n")) != NULL; at++)
        count++;
    ck_assert_uint_eq(count, exported);
    ck_assert_uint_gt(count, 70);
    (void)for_functions(header, has_text, text);
    free(page);
    free(code);
    free(header);
}
END_TEST

START_TEST(each_status_is_documented)
{
    char *page = read_source("core/keyturn.3"), row[64], upper[32];

    for (int i = 0; i < (int)KT_STATUSES; i++) {
        const char *name = kt_status_name((kt_status_t)i);
        size_t len = strlen(name);

        for (size_t j = 0; j <= len; j++)
            upper[j] = (char)toupper((unsigned char)name[j]);
        snprintf(row, sizeof(row), "\n.It Dv KT_%s Ta %d Ta ", upper,
                 kt_status_exit((kt_status_t)i));
        ck_assert_msg(strstr(page, row) != NULL, "no `%s`", row + 1);
    }
    free(page);
}
END_TEST

/* The word at `text`, of letters, digits and underscores. */
static size_t word(const char *text)
{
    size_t len = 0;

    while (isalnum((unsigned char)text[len]) || text[len] == '_')
        len++;
    return len;
}

START_TEST(each_member_of_the_providers_table_is_documented)
{
    char *header = read_source("core/include/keyturn_provider.h");
    char *page = read_source("core/keyturn-provider.3");
    char *table = strstr(header, "typedef struct ktp_provider {"), macro[80];
    int count = 0;

    ck_assert_ptr_nonnull(table);
    for (char *at = table; (at = strstr(at, "(*")) != NULL; at++) {
        if (at[2 + word(at + 2)] != ')')
            continue;
        if (begins(at, "(*fn)")) /* a parameter of list */
            continue;
        snprintf(macro, sizeof(macro), "\n.It Fn %.*s ", (int)word(at + 2), at + 2);
        ck_assert_msg(strstr(page, macro) != NULL, "no `%s`", macro + 1);
        count++;
    }
    ck_assert_int_ge(count, 16);
    for (char *at = header; (at = strstr(at, "\n    KTP_")) != NULL; at++) {
        snprintf(macro, sizeof(macro), "Dv %.*s\n", (int)word(at + 5), at + 5);
        if (strstr(page, macro) == NULL)
            snprintf(macro, sizeof(macro), "Dv %.*s ", (int)word(at + 5), at + 5);
        ck_assert_msg(strstr(page, macro) != NULL, "no `%s`", macro);
    }
    snprintf(macro, sizeof(macro), "\n.It %d.%d\n", KTP_ABI_MAJOR, KTP_ABI_MINOR);
    ck_assert_msg(strstr(page, macro) != NULL, "the history has no `%s`", macro + 1);
    free(page);
    free(header);
}
END_TEST

/* What a user copies from there is accepted, too. */
START_TEST(the_example_configurations_are_taken)
{
    char *page = read_source("cli/keyturn.yaml.5"), *rest = strstr(page, "\n.Sh EXAMPLES\n");
    char *file = read_source("docs/examples/keyturn.yaml"), *end;
    kt_config_t *config = NULL;

    assert_ok(kt_config_parse("docs/examples/keyturn.yaml", file, strlen(file), &config));
    kt_config_unref(config);
    ck_assert_ptr_nonnull(rest);
    rest = strstr(rest, "\n.Bd -literal");
    ck_assert_ptr_nonnull(rest);
    rest = strchr(rest + 1, '\n') + 1;
    end = strstr(rest, "\n.Ed\n");
    ck_assert_ptr_nonnull(end);
    assert_ok(kt_config_parse("cli/keyturn.yaml.5", rest, (size_t)(end - rest), &config));
    ck_assert_uint_ge(config->nrules, 1);
    kt_config_unref(config);
    free(file);
    free(page);
}
END_TEST

static void make_folder(void)
{
    const char *top = getenv("TMPDIR");

    snprintf(work, sizeof(work), "%s/kt-XXXXXX", top != NULL && strlen(top) < 40 ? top : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(work));
}

static void remove_folder(void)
{
    ck_assert_int_eq(rmdir(work), 0);
}

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_folder, remove_folder);
    tcase_add_test(tests, the_headers_example_compiles);
    UNIT_TABLE(tests, the_examples_of_pages_compile, pages);
    tcase_add_test(tests, the_synopsis_has_the_headers_prototypes);
    tcase_add_test(tests, each_function_is_documented);
    tcase_add_test(tests, each_status_is_documented);
    tcase_add_test(tests, each_member_of_the_providers_table_is_documented);
    tcase_add_test(tests, the_example_configurations_are_taken);
}

UNIT_MAIN("manual", add_tests)

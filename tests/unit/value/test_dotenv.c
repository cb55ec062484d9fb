/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/value/dotenv*.c. dotenv_readers.json has 56 inputs and what each tool made of them when it
 * was run: npm dotenv 18.0.10, python-dotenv 1.2.4, compose-go 2.16.2, docker (cli 29.9.3), systemd
 * 252, bash 5.2. Each dialect reads them as its tool, but for what is listed here.
 */
#include <jansson.h>

#include "unit.h"
#include "value/value.h"

/* What a dialect refuses although its tool answers something. */
static const struct {
    const char *dialect, *row, *says;
} refused[] = {
    {"python", "dollar_brace_unq", "expansion"},  {"python", "dollar_dq", "expansion"},
    {"python", "dollar_sq", "expansion"},         {"python", "dollar_default", "expansion"},
    {"compose", "dollar_unq", "expansion"},       {"compose", "dollar_unset", "expansion"},
    {"compose", "dollar_brace_unq", "expansion"}, {"compose", "dollar_dq", "expansion"},
    {"compose", "dollar_default", "expansion"},   {"shell", "dollar_unq", "expansion"},
    {"shell", "dollar_unset", "expansion"},       {"shell", "dollar_brace_unq", "expansion"},
    {"shell", "dollar_dq", "expansion"},          {"shell", "dollar_default", "expansion"},
    {"shell", "dollar_dollar", "expansion"},      {"shell", "cmdsub", "expansion"},
    {"shell", "backtick", "expansion"},           {"shell", "tilde", "expansion"},
    {"shell", "bad_line", "a command"},           {"npm", "nonutf8", "not UTF-8"},
    {"compose", "nonutf8", "not UTF-8"},          {NULL, "nul", "NUL"},
};

static const char *const dialects[] = {"common",  "npm",     "python", "compose",
                                       "docker", "systemd", "shell"};

static const char *is_refused(const char *dialect, const char *row)
{
    for (size_t i = 0; i < KT_ARRAY(refused); i++) {
        if ((refused[i].dialect == NULL || strcmp(refused[i].dialect, dialect) == 0) &&
            strcmp(refused[i].row, row) == 0)
            return refused[i].says;
    }
    return NULL;
}

static json_t *load(void)
{
    const char *top = getenv("KT_TOP");
    char path[4096];
    json_error_t error;
    json_t *all;

    (void)snprintf(path, sizeof(path), "%s/tests/unit/value/dotenv_readers.json",
                   top != NULL ? top : ".");
    all = json_load_file(path, JSON_ALLOW_NUL, &error);
    ck_assert_msg(all != NULL, "%s: %s", path, error.text);
    return all;
}

/* json_t of the pairs; bytes that are not UTF-8 become \xNN. */
static int add_pair(void *arg, const kt_pair_t *pair)
{
    char name[256], value[1024] = "";

    ck_assert_uint_lt(pair->name_size, sizeof(name));
    memcpy(name, pair->name, pair->name_size);
    name[pair->name_size] = '\0';
    ck_assert_int_eq(pair->value[pair->value_size], '\0');
    for (size_t i = 0; i < pair->value_size; i++)
        (void)sprintf(value + strlen(value),
                      (unsigned char)pair->value[i] < 0x80 ? "%c" : "\\x%02x",
                      (unsigned char)pair->value[i]);
    ck_assert_int_eq(json_object_set_new(arg, name, json_string(value)), 0);
    return 0;
}

static void try_row(const char *row, const char *dialect, const char *input, size_t size,
                    const json_t *expected)
{
    const char *says = is_refused(dialect, row);
    bool error = says != NULL || json_is_string(expected);
    json_t *found = json_object();
    kt_status_t status = kt_dotenv_read(dialect, "x.env", input, size, add_pair, found);
    char *text = json_dumps(found, 0);

    ck_assert_msg(error == (status == KT_MALFORMED), "%s as %s: %d, %s (%s)", row, dialect, status,
                  text, kt_failure());
    ck_assert_msg(error || json_equal(found, expected), "%s as %s: %s", row, dialect, text);
    if (error) {
        ck_assert_msg(strncmp(kt_failure(), "x.env:", 6) == 0, "%s", kt_failure());
        ck_assert_msg(says == NULL || strstr(kt_failure(), says) != NULL, "%s as %s: %s", row,
                      dialect, kt_failure());
    }
    free(text);
    json_decref(found);
}

START_TEST(each_row_as_its_tool)
{
    json_t *all = load(), *columns;
    const char *row;

    ck_assert_uint_eq(json_object_size(all), 56);
    json_object_foreach(all, row, columns)
    {
        const json_t *input = json_object_get(columns, "input");
        const char *text = json_string_value(input);
        size_t size = json_string_length(input);

        if (strcmp(row, "nonutf8") == 0) {
            text = "A=\xff\xfe\n";
            size = strlen(text);
        }
        try_row(row, dialects[_i], text, size, json_object_get(columns, dialects[_i]));
    }
    json_decref(all);
}
END_TEST

/* ---- what the 56 inputs do not have ---- */

static const struct {
    const char *dialect, *input, *pairs; /* pairs NULL: refused */
} more[] = {
    {"common", "", "{}"},
    {"common", "\n \n# c\n\t# d\n", "{}"},
    {"common", "A='x' \n", NULL},
    {"common", "A=\"x\"y\n", NULL},
    {"common", "1A=x\n", NULL},
    {"common", "=x\n", NULL},
    {"common", "export\tA=x\nexport=1\n", "{\"A\": \"x\", \"export\": \"1\"}"},
    {"common", "A=\"a\r\nb\"\n", NULL},
    {"common", "A=\rb\n", NULL},
    {"common", "A='x", NULL},
    {"npm", "A=\n\"x\"\n", "{\"A\": \"x\"}"},
    {"npm", "A='x'#c\n", "{\"A\": \"x\"}"},
    {"npm", "export =1\nB =2\n", "{\"export\": \"1\", \"B\": \"2\"}"},
    {"npm", "A=`a\n'b'`\n", "{\"A\": \"a\\n'b'\"}"},
    {"npm", "A=\"a\\rb\\tc\"\n", "{\"A\": \"a\\rb\\\\tc\"}"},
    {"python", "'A b'=x\n", "{\"A b\": \"x\"}"},
    {"python", "A=\"a\\tb\\qc\"\n", "{\"A\": \"a\\tb\\\\qc\"}"},
    {"python", "A=x #c\nB=x#c\n", "{\"A\": \"x\", \"B\": \"x#c\"}"},
    {"compose", "A=\"a\\tb\\qc\"\n", "{\"A\": \"a\\tb\\\\qc\"}"},
    {"compose", "A[0]=x\n", "{\"A[0]\": \"x\"}"},
    {"compose", "A=\"\\$B\"\n", NULL},
    {"docker", "A=x \r\n B=y\n", "{\"A\": \"x \", \"B\": \"y\"}"},
    {"docker", "=x\n", NULL},
    {"docker", "#A=x\n\n  #B=y\nC\n", "{}"},
    {"systemd", "A=a 'b' c\n", "{\"A\": \"a 'b' c\"}"},
    {"systemd", "A='a' \"b\"c \n", "{\"A\": \"abc\"}"},
    {"systemd", "# a\\\nB=1\nC=2\n", "{\"C\": \"2\"}"},
    {"systemd", "A=a\\ \n", "{\"A\": \"a \"}"},
    {"shell", "A=a'b'\"c\"\\d\n", "{\"A\": \"abcd\"}"},
    {"shell", "A=\"a\\\"\\\\\\q$\"\n", "{\"A\": \"a\\\"\\\\\\\\q$\"}"},
    {"shell", "A=x B=y\n", NULL},
    {"shell", "A=x;\n", NULL},
    {"shell", "A=/a:~/b\n", NULL},
    {"shell", "A=\"$B\"\n", NULL},
    {"shell", "A=$'x'\n", NULL},
    {"shell", "A=\n#c\nB=#d #e\n", "{\"A\": \"\", \"B\": \"#d\"}"},
};

START_TEST(more_by_table)
{
    json_t *found = json_object();
    kt_status_t status = kt_dotenv_read(more[_i].dialect, "x.env", more[_i].input,
                                        strlen(more[_i].input), add_pair, found);
    char *text = json_dumps(found, 0);

    ck_assert_msg((status == KT_SUCCESS) == (more[_i].pairs != NULL), "%s: %s %s", more[_i].input,
                  text, kt_failure());
    if (status == KT_SUCCESS)
        ck_assert_str_eq(text, more[_i].pairs);
    free(text);
    json_decref(found);
}
END_TEST

START_TEST(an_error_names_its_place)
{
    static const char text[] = "A=1\n\n  B=CANARY#x\n";
    json_t *found = json_object();

    ck_assert_int_eq(
        kt_dotenv_read("common", "/etc/x.env", text, sizeof(text) - 1, add_pair, found),
        KT_MALFORMED);
    ck_assert_str_eq(kt_failure(), "/etc/x.env:3: column 11: # in a value: quote it (npm dotenv "
                                   "ends the value here, Compose does not)");
    ck_assert_int_eq(kt_dotenv_read("Common", "x", "", 0, add_pair, found), KT_USAGE);
    json_decref(found);
}
END_TEST

static int stop(void *arg, const kt_pair_t *pair)
{
    (void)pair;
    return ++*(int *)arg == 2;
}

START_TEST(it_stops_when_asked)
{
    int calls = 0;

    ck_assert_int_eq(kt_dotenv_read(dialects[_i], "x", "A=1\nB=2\nC=3\n", 12, stop, &calls),
                     KT_SUCCESS);
    ck_assert_int_eq(calls, 2);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, each_row_as_its_tool, dialects);
    UNIT_TABLE(tests, more_by_table, more);
    tcase_add_test(tests, an_error_names_its_place);
    UNIT_TABLE(tests, it_stops_when_asked, dialects);
}

UNIT_MAIN("dotenv", add_tests)

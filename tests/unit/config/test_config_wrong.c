/* SPDX-License-Identifier: BSD-2-Clause */
/* core/config*.c, core/config/yaml.c: what each wrong configuration is told, with file and line. */
#include "config_text.h"

#include <stdio.h>

#define E "environment: dev\n" /* line 1 */
#define P E "providers: {local: {}, vault: {}}\n"

static const struct {
    const char *text, *failure; /* behind PATH and a colon */
} wrong[] = {
    /* YAML */
    {"", "1: the file is empty"},
    {"# nothing\n", "1: the file is empty"},
    {"---\n", "2: the configuration is no map of keys to values"},
    {"- a\n", "1: the configuration is no map of keys to values"},
    {"text\n", "1: the configuration is no map of keys to values"},
    {E "environment: dev\n", "2: `environment` is there twice, see line 1"},
    {E "cache:\n  ttl: 1s\n  stale: 1s\n  ttl: 2s\n", "5: `ttl` is there twice, see line 3"},
    {E "---\n" E, "2: a second document begins: there is only one in a configuration"},
    {E "cache: &a {ttl: 1s}\n",
     "2: anchors (&) and aliases (*) are not read; quote a text that begins with a star"},
    {E "policy: [*a]\n",
     "2: anchors (&) and aliases (*) are not read; quote a text that begins with a star"},
    {E "switch:\n  *: local\n", "3: did not find expected alphabetic or numeric character while "
                                "scanning an alias; quote a text that begins with a star"},
    {E "cache: !!map {ttl: 1s}\n", "2: tags (!) are not read"},
    {E "audit: {path: !!str a}\n", "2: tags (!) are not read"},
    {E "policy: !x [a]\n", "2: tags (!) are not read"},
    {"\tenvironment: dev\n", "1: a tab in the indentation: YAML wants spaces"},
    {E "cache:\n\tttl: 1s\n", "3: a tab in the indentation: YAML wants spaces"},
    {E "cache:\n  \tttl: 1s\n", "3: a tab in the indentation: YAML wants spaces"},
    {E "cache: {ttl: 1s\n", "3: did not find expected ',' or '}' while parsing a flow mapping"},
    {E "audit: {path: \"a\n", "3: found unexpected end of stream while scanning a quoted scalar"},
    {E "audit: {path: \"a\\0b\"}\n", "2: a text holds a zero byte"},
    {E "# \xff\n", "2: invalid leading UTF-8 octet"},
    {E "\n\naudit: {path: \xc3\x28}\n", "4: invalid trailing UTF-8 octet"},
    {E "a: \x01\n", "2: control characters are not allowed"},
    {E "{a: b}: c\n", "2: a key is no text"},
    {E "? [a]\n: c\n", "2: a key is no text"},
    {E "~: c\n", "2: a key is no text"},
    {E "cache: [[[[[[[[a]]]]]]]]\n", "2: more than 8 maps and lists inside each other"},
    /* keys */
    {"key: file:a\n", "1: the configuration has no `environment`"},
    {"# c\n\nkey: file:a\n", "3: the configuration has no `environment`"},
    {E "polcy: []\n", "2: unknown key `polcy`, did you mean `policy`?"},
    {E "Cache: {}\n", "2: unknown key `Cache`, did you mean `cache`?"},
    {E "<<: {}\n", "2: unknown key `<<`: there are environment, key, providers, switch, cache, "
                   "targets, policy, audit, api, manifest, secret_memory"},
    {E "cache: {tll: 1s}\n", "2: unknown key `tll`, did you mean `ttl`?"},
    {E "cache: {room: 1s}\n", "2: unknown key `room`: there are ttl, negative, stale, size"},
    {E "cache: {size: 1s}\n", "2: `size` is no size from 512K to 1024M"},
    {E "cache: {size: 511K}\n", "2: `size` is no size from 512K to 1024M"},
    {E "cache: {size: 1025M}\n", "2: `size` is no size from 512K to 1024M"},
    {E "cache: {size: 99999999999999999999M}\n", "2: `size` is no size from 512K to 1024M"},
    {E "cache: {size: M}\n", "2: `size` is no size from 512K to 1024M"},
    {E "cache: {size: [1M]}\n", "2: `size` is no size from 512K to 1024M"},
    {E "audit:\n  pth: a\n", "3: unknown key `pth`, did you mean `path`?"},
    {E "policy:\n- {who: a, name: [a], allow: [read]}\n",
     "3: unknown key `name`, did you mean `names`?"},
    {E "targets: [a]\n", "2: `targets` is no map of name patterns to targets"},
    {E "targets: {a b: {exec: /x}}\n",
     "2: `a b`: as a pattern, a name has a byte other than A-Z a-z 0-9 . _ - /"},
    {E "targets: {a: /x}\n", "2: the target of `a` is no map of keys to values"},
    {E "targets: {a: {}}\n", "2: the target of `a` has neither `exec` nor `notify` nor `webhook`"},
    {E "targets: {a: {old: true}}\n",
     "2: the target of `a` has neither `exec` nor `notify` nor `webhook`"},
    {E "targets: {a: {exce: /x}}\n", "2: unknown key `exce`, did you mean `exec`?"},
    {E "targets: {a: {shell: /x}}\n", "2: unknown key `shell`: there are exec, notify, webhook, "
                                      "webhook_key, webhook_ca, old, whole, test, timeout"},
    {E "targets: {a: {exec: }}\n", "2: `exec` has no value"},
    {E "targets: {a: {exec: x}}\n", "2: `exec` does not begin with the absolute path of a command"},
    {E "targets: {a: {exec: ' '}}\n",
     "2: `exec` does not begin with the absolute path of a command"},
    {E "targets: {a: {exec: []}}\n",
     "2: `exec` does not begin with the absolute path of a command"},
    {E "targets: {a: {exec: [/x, [y]]}}\n", "2: a word of `exec` is no text"},
    {E "targets: {a: {exec: {b: c}}}\n", "2: `exec` is no command"},
    {E "targets: {a: {exec: '/x \"a b\"'}}\n",
     "2: `exec` is split at blanks and knows no quotes: write a script"},
    {E "targets: {a: {webhook: 'ftp://CANARY', webhook_key: k}}\n",
     "2: `webhook` is no URL such as https://HOST/PATH"},
    {E "targets: {a: {webhook: [b], webhook_key: k}}\n", "2: `webhook` is no text"},
    {E "targets: {a: {webhook: 'https://h/', webhook_key: 'a b'}}\n",
     "2: `webhook_key` is no name of a secret"},
    {E "targets: {a: {webhook: 'https://h/'}}\n",
     "2: the target of `a` has only one of `webhook` and `webhook_key`: what is not signed "
     "could come from anybody"},
    {E "targets: {a: {exec: /x, old: yes}}\n", "2: `old` is neither true nor false"},
    {E "targets: {a: {exec: /x, timeout: 0}}\n", "2: `timeout` is 1ms to 1h"},
    {E "targets: {a: {exec: /x, timeout: 2h}}\n", "2: `timeout` is 1ms to 1h"},
    {E "api: {}\n", "2: `api` is not available in this version"},
    {E "manifest: a.yaml\n", "2: `manifest` is not available in this version"},
    {E "audit: {sinks: syslog:auth}\n", "2: `sinks` is no list such as [\"syslog:auth\"]"},
    {E "audit: {sinks: [{a: b}]}\n",
     "2: a sink is a text such as \"syslog:auth\" or \"exec:/path/command\""},
    {E "audit: {sinks: [\"webhook:https://a\"]}\n",
     "2: unknown kind of sink: there are syslog:FACILITY and exec:COMMAND"},
    {E "audit: {sinks: [\"syslog:aut\"]}\n", "2: unknown facility `aut` of syslog: there are auth, "
                                             "authpriv, daemon, user, local0 to local7 "
                                             "and others, see syslog(3)"},
    {E "audit: {sinks: [\"syslog:auth@log\"]}\n",
     "2: the socket behind `@` needs a whole path of at most 107 bytes"},
    {E "audit: {sinks: [\"exec:ship\"]}\n",
     "2: a command of `sinks` does not begin with the absolute path of a command"},
    {E "audit: {sinks: [\"exec:\"]}\n",
     "2: a command of `sinks` does not begin with the absolute path of a command"},
    {E "audit: {sinks: [\"exec:/a 'b c'\"]}\n",
     "2: a command of `sinks` is split at blanks and knows no quotes: write a script"},
    {E "audit: {sinks: [\"syslog:auth\", \"syslog:auth\"]}\n", "2: the same sink twice"},
    {E "audit: {sinks: [a, a, a, a, a, a, a, a, a]}\n", "2: `sinks` has more than 8"},
    {E "audit: {send: some}\n", "2: unknown choice `some`: there are alerts, seals, all"},
    {E "audit: {checkpoint: 2h}\n", "2: `checkpoint` is 1s to 1h"},
    {E "audit: {checkpoint: 10ms}\n", "2: `checkpoint` is 1s to 1h"},
    /* environment */
    {"environment:\n", "1: `environment` has no value"},
    {"environment: ''\n", "1: `environment` has no value"},
    {"environment: [a]\n", "1: `environment` is no text"},
    {"environment: a/b\n", "1: an environment has a byte other than A-Z a-z 0-9 . _ -"},
    /* key */
    {E "key:\n", "2: `key` has no value"},
    {E "key: [file:a]\n", "2: `key` is neither a source nor a map of hosts to sources"},
    {E "key: {}\n", "2: `key` is neither a source nor a map of hosts to sources"},
    {E "key: CANARY\n", "2: `key` is none of file:PATH, credential:NAME, exec:COMMAND, "
                        "keyring:DESC and passphrase:PROMPT"},
    {E "key: 'file:'\n", "2: `key` is none of file:PATH, credential:NAME, exec:COMMAND, "
                         "keyring:DESC and passphrase:PROMPT"},
    {E "key: 'credential:'\n", "2: `key` is none of file:PATH, credential:NAME, exec:COMMAND, "
                               "keyring:DESC and passphrase:PROMPT"},
    {E "key: 'credential:a/b'\n", "2: `key` is none of file:PATH, credential:NAME, exec:COMMAND, "
                                  "keyring:DESC and passphrase:PROMPT"},
    {E "key: 'credential:..'\n", "2: `key` is none of file:PATH, credential:NAME, exec:COMMAND, "
                                 "keyring:DESC and passphrase:PROMPT"},
    {E "key: 'exec:CANARY'\n", "2: exec: wants the whole path of a command, from / on"},
    {E "key: 'exec: /bin/CANARY'\n", "2: exec: wants the whole path of a command, from / on"},
    {E "key: 'passphrase:'\n", "2: `key` is none of file:PATH, credential:NAME, exec:COMMAND, "
                               "keyring:DESC and passphrase:PROMPT"},
    {E "key:\n  cli: file:a\n  nginx: 'keyring:'\n",
     "4: `key` is none of file:PATH, "
     "credential:NAME, exec:COMMAND, keyring:DESC and passphrase:PROMPT"},
    {E "key:\n  cli: file:a\n  ngnix: file:a\n", "4: unknown host `ngnix`, did you mean `nginx`?"},
    {E "key: {cli: }\n", "2: `cli` has no value"},
    {E "key: {cli: {a: b}}\n", "2: `cli` is no text"},
    /* providers */
    {E "providers:\n", "2: `providers` has no value"},
    {E "providers: [local]\n", "2: `providers` is no map of providers"},
    {E "providers: {Local: {}}\n", "2: `Local` is no provider's name: 1 to 32 of a-z 0-9 _ -"},
    {E "providers: {../a: {}}\n", "2: `../a` is no provider's name: 1 to 32 of a-z 0-9 _ -"},
    {E "providers: {local: a}\n", "2: provider local is no map of options"},
    {E "providers: {local: [a]}\n", "2: provider local is no map of options"},
    {E "providers:\n  local:\n    path:\n", "4: `path` of provider local has no value"},
    {E "providers:\n  local:\n    path: [CANARY]\n", "4: `path` of provider local is no text"},
    /* switch */
    {P "switch: local\n", "3: `switch` is no map of name patterns to providers"},
    {P "switch: {}\n", "3: `switch` is no map of name patterns to providers"},
    {P "switch: [local]\n", "3: `switch` is no map of name patterns to providers"},
    {P "switch:\n", "3: `switch` has no value"},
    {P "switch:\n  a b: local\n",
     "4: `a b`: as a pattern, a name has a byte other than A-Z a-z 0-9 . _ - /"},
    {P "switch:\n  a:\n", "4: the route of `a` is no text with names of providers"},
    {P "switch:\n  a: [local]\n", "4: the route of `a` is no text with names of providers"},
    {P "switch:\n  a: ''\n", "4: the route of `a` names no provider"},
    {P "switch:\n  a: locl\n", "4: `locl` is no configured provider, did you mean `local`?"},
    {P "switch:\n  a: redis\n",
     "4: `redis` is no configured provider: it has no entry in `providers`"},
    {E "switch: {a: redis}\n",
     "2: `redis` is no configured provider: it has no entry in `providers`"},
    {P "switch:\n  a: local vault local\n", "4: the route asks twice for `local`"},
    {P "switch:\n  a: '[NOTFOUND=return]'\n",
     "4: a provider's name is wanted before `[NOTFOUND=return]`"},
    {P "switch:\n  a: local = vault\n", "4: a provider's name is wanted before `= vault`"},
    {P "switch:\n  a: local ] vault\n", "4: a provider's name is wanted before `] vault`"},
    {P "switch:\n  a: local [GONE=return] [UNAVAIL=return]\n",
     "4: a provider's name is wanted before `[UNAVAIL=return]`"},
    {P "switch:\n  a: local [UNAVAIL=continue\n", "4: a `[` of the route is not closed"},
    {P "switch:\n  a: local [\n", "4: a `[` of the route is not closed"},
    {P "switch:\n  a: local [=return]\n",
     "4: in [ ] STATUS=return or STATUS=continue is wanted before `=return]`"},
    {P "switch:\n  a: local ['unavail'=return]\n",
     "4: a route knows the statuses NOTFOUND, GONE, FORBIDDEN, UNAVAIL, TRYAGAIN, MALFORMED and "
     "NOKEY, not `'unavail'`"},
    {P "switch:\n  a: local [!SUCCESS=continue]\n",
     "4: a route knows the statuses NOTFOUND, GONE, FORBIDDEN, UNAVAIL, TRYAGAIN, MALFORMED and "
     "NOKEY, not `!SUCCESS`"},
    {P "switch:\n  a: local [SUCCESS=return]\n",
     "4: a route chooses for NOTFOUND, GONE, FORBIDDEN, UNAVAIL, TRYAGAIN, MALFORMED and NOKEY, "
     "not for `SUCCESS`"},
    {P "switch:\n  a: local [ROLLEDBACK=continue]\n",
     "4: a route chooses for NOTFOUND, GONE, FORBIDDEN, UNAVAIL, TRYAGAIN, MALFORMED and NOKEY, "
     "not for `ROLLEDBACK`"},
    {P "switch:\n  a: local [UNAVAIL]\n", "4: `=return` or `=continue` is wanted behind `UNAVAIL`"},
    {P "switch:\n  a: local [UNAVAIL=]\n",
     "4: `=return` or `=continue` is wanted behind `UNAVAIL`"},
    {P "switch:\n  a: local [UNAVAIL=Continue]\n",
     "4: `=return` or `=continue` is wanted behind `UNAVAIL`"},
    {P "switch:\n  a: local [GONE=return GONE=continue]\n", "4: one step chooses twice for `GONE`"},
    {P "switch:\n  \"*\": local\n  database/*: vault\n",
     "5: `database/*` is never reached: `*` in line 4 takes its names"},
    {P "switch:\n  a/*: local\n  b/*: local\n  a/b/*: vault\n",
     "6: `a/b/*` is never reached: `a/*` in line 4 takes its names"},
    /* cache, audit, secret_memory */
    {E "cache: 5\n", "2: `cache` is no map of keys to values"},
    {E "cache:\n", "2: `cache` has no value"},
    {E "cache: {ttl: }\n", "2: `ttl` has no value"},
    {E "cache:\n  stale: 5\n", "3: `stale` is no duration such as 250ms, 300s, 12h or 90d"},
    {E "cache: {ttl: -1s}\n", "2: `ttl` is no duration such as 250ms, 300s, 12h or 90d"},
    {E "cache: {ttl: [1s]}\n", "2: `ttl` is no duration such as 250ms, 300s, 12h or 90d"},
    {E "audit: /var/log\n", "2: `audit` is no map of keys to values"},
    {E "audit: {path: }\n", "2: `path` has no value"},
    {E "audit: {path: ''}\n", "2: `path` has no value"},
    {E "audit: {path: {}}\n", "2: `path` is no text"},
    {E "audit: {required: yes}\n", "2: `required` is neither true nor false"},
    {E "audit: {required: 'true'}\n", "2: `required` is neither true nor false"},
    {E "audit: {reads: often}\n", "2: `reads` is no duration such as 250ms, 300s, 12h or 90d"},
    {E "secret_memory: requir\n", "2: unknown choice `requir`, did you mean `require`?"},
    {E "secret_memory: true\n", "2: unknown choice `true`: there are prefer, require"},
    /* policy */
    {E "policy: {}\n", "2: `policy` is no list of rules"},
    {E "policy:\n- nginx\n", "3: a rule of `policy` is no map of keys to values"},
    {E "policy:\n- {names: [a], allow: [read]}\n", "3: a rule of `policy` has no `who`"},
    {E "policy:\n- {who: a, allow: [read]}\n", "3: a rule of `policy` has no `names`"},
    {E "policy:\n- {who: a, names: [a]}\n", "3: a rule has neither `allow` nor `deny`"},
    {E "policy:\n- who: a\n  names: a\n", "4: `names` is no list of name patterns such as "
                                          "[\"database/*\"]"},
    {E "policy:\n- {who: a, names: []}\n",
     "3: `names` is no list of name patterns such as [\"database/*\"]"},
    {E "policy:\n- {who: a, names: [[a]]}\n", "3: `names` is no text"},
    {E "policy:\n- {who: a, names: [a, ]}\n", "3: a rule has neither `allow` nor `deny`"},
    {E "policy:\n- {who: a, names: ['']}\n", "3: `names` has no value"},
    {E "policy:\n- who: a\n  names:\n  - a\n  - a//b\n",
     "6: `a//b`: as a pattern, a name has an empty segment"},
    {E "policy:\n- {who: [a], names: [a], allow: [read]}\n", "3: `who` is no text"},
    {E "policy:\n- {who: '', names: [a], allow: [read]}\n", "3: `who` has no value"},
    {E "policy:\n- {who: a, names: [a], allow: read}\n",
     "3: `allow` is no list of capabilities such as [read, list]"},
    {E "policy:\n- {who: a, names: [a], deny: []}\n",
     "3: `deny` is no list of capabilities such as [read, list]"},
    {E "policy:\n- {who: a, names: [a], allow: [{}]}\n", "3: `allow` is no text"},
    {E "policy:\n- who: a\n  names: [a]\n  allow: [read, rotat]\n",
     "5: unknown capability `rotat`, did you mean `rotate`?"},
    {E "policy:\n- {who: a, names: [a], allow: [all]}\n",
     "3: unknown capability `all`: there are read, write, rotate, list, delete, admin"},
};

START_TEST(wrong_ones_by_table)
{
    kt_config_t *config;

    assert_status(parse(wrong[_i].text, &config), KT_CONFIG);
    ck_assert_int_eq(strncmp(kt_failure(), PATH ":", sizeof(PATH)), 0);
    ck_assert_str_eq(kt_failure() + sizeof(PATH), wrong[_i].failure);
    ck_assert_ptr_null(strstr(kt_failure(), "CANARY"));
    ck_assert_ptr_null(config);
}
END_TEST

START_TEST(a_zero_byte_is_told)
{
    static const char text[] = "environment: dev\n# a\0b\n";
    kt_config_t *config = NULL;

    assert_status(kt_config_parse("k", text, sizeof(text) - 1, &config), KT_CONFIG);
    assert_failure_has("k:2: the file holds a zero byte");
    ck_assert_ptr_null(config);
}
END_TEST

/* Cut anywhere or with a byte changed it is read or refused, and memory checkers stay quiet. */
START_TEST(no_damage_does_harm)
{
    char text[sizeof(whole)];
    kt_config_t *config;

    for (size_t i = 0; i < sizeof(whole) - 1; i++) {
        static const char bytes[] = {'\n', ' ', '[', ':', '"', '*', '\xff'};

        if (kt_config_parse(PATH, whole, i, &config) == KT_SUCCESS)
            kt_config_unref(config);
        for (size_t j = 0; j < sizeof(bytes); j++) {
            memcpy(text, whole, sizeof(text));
            text[i] = bytes[j];
            if (parse(text, &config) == KT_SUCCESS)
                kt_config_unref(config);
        }
    }
}
END_TEST

static char *many(const char *head, const char *item, size_t count)
{
    char *text = malloc(strlen(head) + (strlen(item) + 16) * count + 1), *at = text;

    ck_assert_ptr_nonnull(text);
    at += sprintf(at, "%s", head);
    for (size_t i = 0; i < count; i++)
        at += sprintf(at, item, i);
    return text;
}

START_TEST(maps_and_lists_have_a_limit)
{
    kt_config_t *config;

    for (size_t count = KT_YAML_ITEMS_MAX / 2 - 1; count <= KT_YAML_ITEMS_MAX / 2 + 1; count++) {
        char *text = many(E "providers:\n", "  p%zu: {}\n", count);
        bool fits = count <= KT_YAML_ITEMS_MAX / 2;

        assert_status(parse(text, &config), fits ? KT_SUCCESS : KT_CONFIG);
        if (fits)
            kt_config_unref(config);
        free(text);
    }
    assert_failure_has(":2051: more than 2048 entries in one map or list");
    for (size_t count = KT_YAML_ITEMS_MAX - 1; count <= KT_YAML_ITEMS_MAX + 1; count++) {
        char *text = many(E "policy:\n", "- {who: u%zu, names: [a], allow: [read]}\n", count);
        bool fits = count <= KT_YAML_ITEMS_MAX;

        assert_status(parse(text, &config), fits ? KT_SUCCESS : KT_CONFIG);
        if (fits)
            kt_config_unref(config);
        free(text);
    }
    assert_failure_has(":4099: more than 4096 entries in one map or list");
}
END_TEST

START_TEST(names_have_limits)
{
    char text[1024], name[300];
    kt_config_t *config;

    memset(name, 'n', sizeof(name));
    for (int len = 31; len <= 33; len++) {
        snprintf(text, sizeof(text), E "providers: {%.*s: {}}\n", len, name);
        assert_status(parse(text, &config), len <= 32 ? KT_SUCCESS : KT_CONFIG);
        kt_config_unref(config);
    }
    for (int len = 254; len <= 256; len++) {
        snprintf(text, sizeof(text), E "policy: [{who: %.*s, names: [a], allow: [read]}]\n", len,
                 name);
        assert_status(parse(text, &config), len <= 255 ? KT_SUCCESS : KT_CONFIG);
        kt_config_unref(config);
    }
    assert_failure(PATH ":2: `who` has more than 255 bytes");
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, wrong_ones_by_table, wrong);
    tcase_add_test(tests, a_zero_byte_is_told);
    tcase_add_test(tests, no_damage_does_harm);
    tcase_add_test(tests, maps_and_lists_have_a_limit);
    tcase_add_test(tests, names_have_limits);
}

UNIT_MAIN("config_wrong", add_tests)

/* SPDX-License-Identifier: BSD-2-Clause */
/* core/config: the error of each wrong configuration, with file and line. */
#include "config_text.h"

#include <stdio.h>

#define E "environment: dev\n" /* line 1 */
#define P E "providers: {local: {}, vault: {}}\n"

static const struct {
    const char *text, *failure; /* after PATH and a colon */
} wrong[] = {
    /* YAML */
    {"", "1: the file is empty"},
    {"# nothing\n", "1: the file is empty"},
    {"---\n", "2: the configuration: not a map (write lines such as `key: value`)"},
    {"- a\n", "1: the configuration: not a map (write lines such as `key: value`)"},
    {"text\n", "1: the configuration: not a map (write lines such as `key: value`)"},
    {E "environment: dev\n", "2: `environment`: given twice, first in line 1 (remove one)"},
    {E "cache:\n  ttl: 1s\n  stale: 1s\n  ttl: 2s\n",
     "5: `ttl`: given twice, first in line 3 (remove one)"},
    {E "---\n" E, "2: a second document begins (a configuration is one document)"},
    {E "cache: &a {ttl: 1s}\n",
     "2: anchors (&) and aliases (*) are not supported (quote a string that begins with a star)"},
    {E "policy: [*a]\n",
     "2: anchors (&) and aliases (*) are not supported (quote a string that begins with a star)"},
    {E "switch:\n  *: local\n", "3: did not find expected alphabetic or numeric character while "
                                "scanning an alias (quote a string that begins with a star)"},
    {E "cache: !!map {ttl: 1s}\n", "2: tags (!) are not supported"},
    {E "audit: {path: !!str a}\n", "2: tags (!) are not supported"},
    {E "policy: !x [a]\n", "2: tags (!) are not supported"},
    {"\tenvironment: dev\n", "1: a tab in the indentation (use spaces)"},
    {E "cache:\n\tttl: 1s\n", "3: a tab in the indentation (use spaces)"},
    {E "cache:\n  \tttl: 1s\n", "3: a tab in the indentation (use spaces)"},
    {E "cache: {ttl: 1s\n", "3: did not find expected ',' or '}' while parsing a flow mapping"},
    {E "audit: {path: \"a\n", "3: found unexpected end of stream while scanning a quoted scalar"},
    {E "audit: {path: \"a\\0b\"}\n", "2: a string contains a zero byte"},
    {E "# \xff\n", "2: invalid leading UTF-8 octet"},
    {E "\n\naudit: {path: \xc3\x28}\n", "4: invalid trailing UTF-8 octet"},
    {E "a: \x01\n", "2: control characters are not allowed"},
    {E "{a: b}: c\n", "2: a key is not a string"},
    {E "? [a]\n: c\n", "2: a key is not a string"},
    {E "~: c\n", "2: a key is not a string"},
    {E "cache: [[[[[[[[a]]]]]]]]\n", "2: maps and lists are nested more than 8 deep"},
    /* keys */
    {"key: file:a\n", "1: the configuration: `environment` is missing"},
    {"# c\n\nkey: file:a\n", "3: the configuration: `environment` is missing"},
    {E "polcy: []\n", "2: unknown key `polcy` (did you mean `policy`?)"},
    {E "Cache: {}\n", "2: unknown key `Cache` (did you mean `cache`?)"},
    {E "<<: {}\n", "2: unknown key (not shown) (known: environment, key, providers, switch, cache, "
                   "targets, policy, audit, api, manifest, secret_memory)"},
    {E "cache: {tll: 1s}\n", "2: unknown key `tll` (did you mean `ttl`?)"},
    {E "cache: {room: 1s}\n", "2: unknown key `room` (known: ttl, negative, stale, size)"},
    {E "cache: {size: 1s}\n",
     "2: `size`: not a size from 512K to 1024M (write 4M, 512K or a number of bytes)"},
    {E "cache: {size: 511K}\n",
     "2: `size`: not a size from 512K to 1024M (write 4M, 512K or a number of bytes)"},
    {E "cache: {size: 1025M}\n",
     "2: `size`: not a size from 512K to 1024M (write 4M, 512K or a number of bytes)"},
    {E "cache: {size: 99999999999999999999M}\n",
     "2: `size`: not a size from 512K to 1024M (write 4M, 512K or a number of bytes)"},
    {E "cache: {size: M}\n",
     "2: `size`: not a size from 512K to 1024M (write 4M, 512K or a number of bytes)"},
    {E "cache: {size: [1M]}\n",
     "2: `size`: not a size from 512K to 1024M (write 4M, 512K or a number of bytes)"},
    {E "audit:\n  pth: a\n", "3: unknown key `pth` (did you mean `path`?)"},
    {E "policy:\n- {who: a, name: [a], allow: [read]}\n",
     "3: unknown key `name` (did you mean `names`?)"},
    {E "targets: [a]\n", "2: `targets`: not a map of patterns to targets"},
    {E "targets: {a b: {exec: /x}}\n",
     "2: `a b`: as a pattern, a name may only have the bytes A-Z a-z 0-9 . _ - /"},
    {E "targets: {a: /x}\n", "2: the target of `a`: not a map (write lines such as `key: value`)"},
    {E "targets: {a: {}}\n",
     "2: the target of `a`: nothing to do (add `exec`, `redis`, `notify` or `webhook`)"},
    {E "targets: {a: {old: true}}\n",
     "2: the target of `a`: nothing to do (add `exec`, `redis`, `notify` or `webhook`)"},
    {E "targets: {a: {exce: /x}}\n", "2: unknown key `exce` (did you mean `exec`?)"},
    {E "targets: {a: {shell: /x}}\n",
     "2: unknown key `shell` (known: exec, redis, notify, webhook, "
     "webhook_key, webhook_ca, old, whole, test, timeout)"},
    {E "targets: {a: {exec: }}\n", "2: `exec`: the value is missing"},
    {E "targets: {a: {exec: x}}\n",
     "2: `exec`: the command needs an absolute path (write /path/to/command)"},
    {E "targets: {a: {exec: ' '}}\n",
     "2: `exec`: the command needs an absolute path (write /path/to/command)"},
    {E "targets: {a: {exec: []}}\n",
     "2: `exec`: the command needs an absolute path (write /path/to/command)"},
    {E "targets: {a: {exec: [/x, [y]]}}\n", "2: `exec`: a word is not a string"},
    {E "targets: {a: {exec: {b: c}}}\n",
     "2: `exec`: not a command (write a string or a list of words)"},
    {E "targets: {a: {exec: '/x \"a b\"'}}\n",
     "2: `exec`: quotes are not supported, because the command is split at blanks (use a script)"},
    {E "targets: {a: {webhook: 'ftp://CANARY', webhook_key: k}}\n",
     "2: `webhook`: not a URL (write https://HOST/PATH)"},
    {E "targets: {a: {webhook: [b], webhook_key: k}}\n", "2: `webhook`: not a string"},
    {E "targets: {a: {webhook: 'https://h/', webhook_key: 'a b'}}\n",
     "2: `webhook_key`: not a name of a secret"},
    {E "targets: {a: {webhook: 'https://h/'}}\n",
     "2: the target of `a`: `webhook` and `webhook_key` need each other, because an unsigned "
     "message could come from anyone (add the missing one)"},
    {E "targets: {a: {exec: /x, old: yes}}\n",
     "2: `old`: not a boolean (write true or false, without quotes)"},
    {E "targets: {a: {exec: /x, timeout: 0}}\n", "2: `timeout`: out of range (from 1ms to 1h)"},
    {E "targets: {a: {exec: /x, timeout: 2h}}\n", "2: `timeout`: out of range (from 1ms to 1h)"},
    {E "targets: {a: {notify: /x, redis: {}}}\n", "2: `redis`: `servers` is missing"},
    {E "targets: {a: {redis: {user: u, servers: []}}}\n",
     "2: the target of `a`: `servers` has no address"},
    {E "targets: {a: {redis: {user: u, servers: s}}}\n",
     "2: `servers`: not a list (write [ONE, ANOTHER])"},
    {E "targets: {a: {redis: {user: u, servers: [[s]]}}}\n", "2: `servers`: not a string"},
    {E "targets: {a: {redis: {servers: [s]}}}\n",
     "2: the target of `a`: `user` is missing (or, for servers without ACL users, `requirepass: "
     "true`)"},
    {E "targets: {a: {redis: {user: u, servers: [s], requirepass: true}}}\n",
     "2: the target of `a`: `requirepass` is the password of the user default, and not of another "
     "one (leave out `user`)"},
    {E "targets: {a: {exec: /x, redis: {user: u, servers: [s]}}}\n",
     "2: the target of `a`: `exec` and `redis` exclude each other"},
    {E "targets: {a: {redis: {user: u, servers: [s], admin: {password: 'CANARY x'}}}}\n",
     "2: `password`: neither the name of a secret nor file:PATH (a configuration holds no "
     "secrets)"},
    {E "targets: {a: {redis: {user: u, servers: [s], admin: {username: a}}}}\n",
     "2: `admin`: `password` is missing"},
    {E "targets: {a: {redis: {user: u, servers: [s], overlap: 31d}}}\n",
     "2: `overlap`: out of range (from 0 to 30d)"},
    {E "api: {}\n", "2: `api`: not available in this version"},
    {E "manifest: a.yaml\n", "2: `manifest`: not available in this version"},
    {E "audit: {sinks: syslog:auth}\n", "2: `sinks`: not a list (write [\"syslog:auth\"])"},
    {E "audit: {sinks: [{a: b}]}\n",
     "2: a sink: not a string (write \"syslog:auth\" or \"exec:/path/command\")"},
    {E "audit: {sinks: [\"webhook:https://a\"]}\n",
     "2: a sink: unknown kind (write syslog:FACILITY or exec:COMMAND)"},
    {E "audit: {sinks: [\"syslog:aut\"]}\n",
     "2: unknown facility `aut` of syslog (known: auth, authpriv, daemon, user, local0 to local7 "
     "and others, see syslog(3))"},
    {E "audit: {sinks: [\"syslog:auth@log\"]}\n",
     "2: a sink: the socket after `@` needs an absolute path of at most 107 bytes"},
    {E "audit: {sinks: [\"exec:ship\"]}\n",
     "2: a command of `sinks`: the command needs an absolute path (write /path/to/command)"},
    {E "audit: {sinks: [\"exec:\"]}\n",
     "2: a command of `sinks`: the command needs an absolute path (write /path/to/command)"},
    {E "audit: {sinks: [\"exec:/a 'b c'\"]}\n",
     "2: a command of `sinks`: quotes are not supported, because the command is split at blanks "
     "(use a script)"},
    {E "audit: {sinks: [\"syslog:auth\", \"syslog:auth\"]}\n",
     "2: `sinks`: the same sink twice (remove one)"},
    {E "audit: {sinks: [a, a, a, a, a, a, a, a, a]}\n", "2: `sinks`: more than 8 sinks"},
    {E "audit: {send: some}\n", "2: unknown choice `some` (known: alerts, seals, all)"},
    {E "audit: {checkpoint: 2h}\n", "2: `checkpoint`: out of range (from 1s to 1h)"},
    {E "audit: {checkpoint: 10ms}\n", "2: `checkpoint`: out of range (from 1s to 1h)"},
    /* environment */
    {"environment:\n", "1: `environment`: the value is missing"},
    {"environment: ''\n", "1: `environment`: the value is missing"},
    {"environment: [a]\n", "1: `environment`: not a string"},
    {"environment: a/b\n", "1: an environment has a byte other than A-Z a-z 0-9 . _ -"},
    /* key */
    {E "key:\n", "2: `key`: the value is missing"},
    {E "key: [file:a]\n", "2: `key`: neither a source nor a map of hosts to sources"},
    {E "key: {}\n", "2: `key`: neither a source nor a map of hosts to sources"},
    {E "key: CANARY\n", "2: `key`: unknown source (write file:PATH, credential:NAME, exec:COMMAND, "
                        "keyring:DESC or passphrase:PROMPT)"},
    {E "key: 'file:'\n", "2: `key`: unknown source (write file:PATH, credential:NAME, "
                         "exec:COMMAND, keyring:DESC or passphrase:PROMPT)"},
    {E "key: 'credential:'\n", "2: `key`: unknown source (write file:PATH, credential:NAME, "
                               "exec:COMMAND, keyring:DESC or passphrase:PROMPT)"},
    {E "key: 'credential:a/b'\n", "2: `key`: unknown source (write file:PATH, credential:NAME, "
                                  "exec:COMMAND, keyring:DESC or passphrase:PROMPT)"},
    {E "key: 'credential:..'\n", "2: `key`: unknown source (write file:PATH, credential:NAME, "
                                 "exec:COMMAND, keyring:DESC or passphrase:PROMPT)"},
    {E "key: 'exec:CANARY'\n",
     "2: `key`: the command needs an absolute path (write exec:/path/to/command)"},
    {E "key: 'exec: /bin/CANARY'\n",
     "2: `key`: the command needs an absolute path (write exec:/path/to/command)"},
    {E "key: 'passphrase:'\n", "2: `key`: unknown source (write file:PATH, credential:NAME, "
                               "exec:COMMAND, keyring:DESC or passphrase:PROMPT)"},
    {E "key:\n  cli: file:a\n  nginx: 'keyring:'\n",
     "4: `key`: unknown source (write file:PATH, credential:NAME, exec:COMMAND, keyring:DESC or "
     "passphrase:PROMPT)"},
    {E "key:\n  cli: file:a\n  ngnix: file:a\n", "4: unknown host `ngnix` (did you mean `nginx`?)"},
    {E "key: {cli: }\n", "2: `cli`: the value is missing"},
    {E "key: {cli: {a: b}}\n", "2: `cli`: not a string"},
    /* providers */
    {E "providers:\n", "2: `providers`: the value is missing"},
    {E "providers: [local]\n", "2: `providers`: not a map of providers"},
    {E "providers: {Local: {}}\n",
     "2: `Local`: not a name of a provider (use 1 to 32 of a-z 0-9 _ -)"},
    {E "providers: {../a: {}}\n",
     "2: `../a`: not a name of a provider (use 1 to 32 of a-z 0-9 _ -)"},
    {E "providers: {local: a}\n", "2: provider local: not a map of options"},
    {E "providers: {local: [a]}\n", "2: provider local: not a map of options"},
    {E "providers:\n  local:\n    path:\n", "4: provider local: `path` has no value"},
    {E "providers:\n  local:\n    path: []\n", "4: provider local: `path` is not a string"},
    {E "providers:\n  local:\n    path: [a, [CANARY]]\n",
     "4: provider local: `path` is not a string"},
    {E "providers:\n  local:\n    path: [\"CAN\\nARY\"]\n",
     "4: provider local: `path` has a line break"},
    {E "providers:\n  local:\n    path: {a: {b: CANARY}}\n",
     "4: provider local: `path.a` is not a string"},
    /* switch */
    {P "switch: local\n", "3: `switch`: not a map of patterns to providers"},
    {P "switch: {}\n", "3: `switch`: not a map of patterns to providers"},
    {P "switch: [local]\n", "3: `switch`: not a map of patterns to providers"},
    {P "switch:\n", "3: `switch`: the value is missing"},
    {P "switch:\n  a b: local\n",
     "4: `a b`: as a pattern, a name may only have the bytes A-Z a-z 0-9 . _ - /"},
    {P "switch:\n  a:\n", "4: the route of `a`: not a string with names of providers"},
    {P "switch:\n  a: [local]\n", "4: the route of `a`: not a string with names of providers"},
    {P "switch:\n  a: ''\n", "4: the route of `a`: no provider is named"},
    {P "switch:\n  a: locl\n", "4: `locl`: not a configured provider (did you mean `local`?)"},
    {P "switch:\n  a: redis\n", "4: `redis`: not a configured provider (add it to `providers`)"},
    {E "switch: {a: redis}\n", "2: `redis`: not a configured provider (add it to `providers`)"},
    {P "switch:\n  a: local vault local\n", "4: a route: the provider is named twice: `local`"},
    {P "switch:\n  a: '[NOTFOUND=return]'\n",
     "4: a route: expected the name of a provider at `[NOTFOUND=return]`"},
    {P "switch:\n  a: local = vault\n", "4: a route: expected the name of a provider at `= vault`"},
    {P "switch:\n  a: local ] vault\n", "4: a route: expected the name of a provider at `] vault`"},
    {P "switch:\n  a: local [GONE=return] [UNAVAIL=return]\n",
     "4: a route: expected the name of a provider at `[UNAVAIL=return]`"},
    {P "switch:\n  a: local [UNAVAIL=continue\n", "4: a route: a `[` is not closed (add `]`)"},
    {P "switch:\n  a: local [\n", "4: a route: a `[` is not closed (add `]`)"},
    {P "switch:\n  a: local [=return]\n",
     "4: a route: expected STATUS=return or STATUS=continue at `=return]`"},
    {P "switch:\n  a: local ['unavail'=return]\n",
     "4: a route: the status must be NOTFOUND, GONE, FORBIDDEN, UNAVAIL, TRYAGAIN, MALFORMED or "
     "NOKEY, not `'unavail'`"},
    {P "switch:\n  a: local [!SUCCESS=continue]\n",
     "4: a route: the status must be NOTFOUND, GONE, FORBIDDEN, UNAVAIL, TRYAGAIN, MALFORMED or "
     "NOKEY, not `!SUCCESS`"},
    {P "switch:\n  a: local [SUCCESS=return]\n",
     "4: a route: the status must be NOTFOUND, GONE, FORBIDDEN, UNAVAIL, TRYAGAIN, MALFORMED or "
     "NOKEY, not `SUCCESS`"},
    {P "switch:\n  a: local [ROLLEDBACK=continue]\n",
     "4: a route: the status must be NOTFOUND, GONE, FORBIDDEN, UNAVAIL, TRYAGAIN, MALFORMED or "
     "NOKEY, not `ROLLEDBACK`"},
    {P "switch:\n  a: local [UNAVAIL]\n",
     "4: a route: expected =return or =continue after `UNAVAIL`"},
    {P "switch:\n  a: local [UNAVAIL=]\n",
     "4: a route: expected =return or =continue after `UNAVAIL`"},
    {P "switch:\n  a: local [UNAVAIL=Continue]\n",
     "4: a route: expected =return or =continue after `UNAVAIL`"},
    {P "switch:\n  a: local [GONE=return GONE=continue]\n",
     "4: a route: one provider has two actions for `GONE`"},
    {P "switch:\n  \"*\": local\n  database/*: vault\n",
     "5: `database/*`: never reached, because `*` in line 4 matches its names (move it up)"},
    {P "switch:\n  a/*: local\n  b/*: local\n  a/b/*: vault\n",
     "6: `a/b/*`: never reached, because `a/*` in line 4 matches its names (move it up)"},
    /* cache, audit, secret_memory */
    {E "cache: 5\n", "2: `cache`: not a map (write lines such as `key: value`)"},
    {E "cache:\n", "2: `cache`: the value is missing"},
    {E "cache: {ttl: }\n", "2: `ttl`: the value is missing"},
    {E "cache:\n  stale: 5\n", "3: `stale`: not a duration (write 250ms, 300s, 12h or 90d)"},
    {E "cache: {ttl: -1s}\n", "2: `ttl`: not a duration (write 250ms, 300s, 12h or 90d)"},
    {E "cache: {ttl: [1s]}\n", "2: `ttl`: not a duration (write 250ms, 300s, 12h or 90d)"},
    {E "audit: /var/log\n", "2: `audit`: not a map (write lines such as `key: value`)"},
    {E "audit: {path: }\n", "2: `path`: the value is missing"},
    {E "audit: {path: ''}\n", "2: `path`: the value is missing"},
    {E "audit: {path: {}}\n", "2: `path`: not a string"},
    {E "audit: {required: yes}\n",
     "2: `required`: not a boolean (write true or false, without quotes)"},
    {E "audit: {required: 'true'}\n",
     "2: `required`: not a boolean (write true or false, without quotes)"},
    {E "audit: {reads: often}\n", "2: `reads`: not a duration (write 250ms, 300s, 12h or 90d)"},
    {E "secret_memory: requir\n", "2: unknown choice `requir` (did you mean `require`?)"},
    {E "secret_memory: true\n", "2: unknown choice `true` (known: prefer, require)"},
    /* policy */
    {E "policy: {}\n", "2: `policy`: not a list of rules"},
    {E "policy:\n- nginx\n", "3: a rule of `policy`: not a map (write lines such as `key: value`)"},
    {E "policy:\n- {names: [a], allow: [read]}\n", "3: a rule of `policy`: `who` is missing"},
    {E "policy:\n- {who: a, allow: [read]}\n", "3: a rule of `policy`: `names` is missing"},
    {E "policy:\n- {who: a, names: [a]}\n",
     "3: a rule of `policy`: neither `allow` nor `deny` is given (add one)"},
    {E "policy:\n- who: a\n  names: a\n",
     "4: `names`: not a list of patterns (write [\"database/*\"])"},
    {E "policy:\n- {who: a, names: []}\n",
     "3: `names`: not a list of patterns (write [\"database/*\"])"},
    {E "policy:\n- {who: a, names: [[a]]}\n", "3: `names`: not a string"},
    {E "policy:\n- {who: a, names: [a, ]}\n",
     "3: a rule of `policy`: neither `allow` nor `deny` is given (add one)"},
    {E "policy:\n- {who: a, names: ['']}\n", "3: `names`: the value is missing"},
    {E "policy:\n- who: a\n  names:\n  - a\n  - a//b\n",
     "6: `a//b`: as a pattern, a name must not have an empty segment"},
    {E "policy:\n- {who: [a], names: [a], allow: [read]}\n", "3: `who`: not a string"},
    {E "policy:\n- {who: '', names: [a], allow: [read]}\n", "3: `who`: the value is missing"},
    {E "policy:\n- {who: a, names: [a], allow: read}\n",
     "3: `allow`: not a list of capabilities (write [read, list])"},
    {E "policy:\n- {who: a, names: [a], deny: []}\n",
     "3: `deny`: not a list of capabilities (write [read, list])"},
    {E "policy:\n- {who: a, names: [a], allow: [{}]}\n", "3: `allow`: not a string"},
    {E "policy:\n- who: a\n  names: [a]\n  allow: [read, rotat]\n",
     "5: unknown capability `rotat` (did you mean `rotate`?)"},
    {E "policy:\n- {who: a, names: [a], allow: [all]}\n",
     "3: unknown capability `all` (known: read, write, rotate, list, delete, admin, state)"},
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

START_TEST(a_zero_byte_is_reported)
{
    static const char text[] = "environment: dev\n# a\0b\n";
    kt_config_t *config = NULL;

    assert_status(kt_config_parse("k", text, sizeof(text) - 1, &config), KT_CONFIG);
    assert_failure_has("k:2: the file contains a zero byte");
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
        char *text = many(E "policy:\n", "- {who: uid:u%zu, names: [a], allow: [read]}\n", count);
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
        snprintf(text, sizeof(text), E "policy: [{who: 'uid:%.*s', names: [a], allow: [read]}]\n",
                 len - 4, name);
        assert_status(parse(text, &config), len <= 255 ? KT_SUCCESS : KT_CONFIG);
        kt_config_unref(config);
    }
    assert_failure(PATH ":2: `who`: longer than 255 bytes");
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, wrong_ones_by_table, wrong);
    tcase_add_test(tests, a_zero_byte_is_reported);
    tcase_add_test(tests, no_damage_does_harm);
    tcase_add_test(tests, maps_and_lists_have_a_limit);
    tcase_add_test(tests, names_have_limits);
}

UNIT_MAIN("config_wrong", add_tests)

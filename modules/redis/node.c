/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * node.c: one server of an account whose password changes: look, add, save, test, remove.
 *
 * Passwords are sent, and never asked for: of those that a server has, ACL GETUSER answers hashes.
 * No error shows what a server answered, because it may repeat what it was sent.
 */
#include "node.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "open.h"

#define TEXT(text) ((kr_argument_t){(text), strlen(text)})
#define BYTES(bytes) ((kr_argument_t){(bytes).data, (bytes).size})
#define HASH_SIZE 64u /* hexadecimal digits of SHA-256 */
#define PREFIXED_MAX 4096u

/* ---- connections ---- */

static void start(ktp_instance_t *server, const ktp_services_t *services, unsigned timeout)
{
    memset(server, 0, sizeof(*server));
    server->services = services;
    server->pid = getpid();
    server->timeout = timeout;
}

ktp_status_t kr_node_init(kr_node_t *node, const ktp_services_t *services,
                          const ktp_account_t *account, const char *address)
{
    memset(node, 0, sizeof(*node));
    start(&node->server, services, account->timeout);
    node->account = account;
    node->server.address = address;
    node->server.files = (kr_tls_t){account->ca, account->cert, account->key, account->name};
    if (account->ca != NULL || account->cert != NULL || account->name != NULL)
        node->server.tls = &node->server.files;
    node->server.username = account->admin;
    node->server.password = account->admin_password.data;
    node->server.password_size = account->admin_password.size;
    if (kr_address(&node->server, address) != 0)
        return kr_fail(&node->server, KTP_MALFORMED,
                       "not HOST:PORT, [IPV6]:PORT, rediss://HOST:PORT or unix:/PATH");
    return KTP_SUCCESS;
}

static void forget_user(kr_node_t *node)
{
    if (node->user != NULL)
        freeReplyObject(node->user);
    node->user = NULL;
}

void kr_node_close(kr_node_t *node)
{
    forget_user(node);
    kr_close(&node->server.commands);
    free(node->server.host);
    node->server.host = NULL;
}

/* ---- commands ---- */

ktp_status_t kr_node_ask(kr_node_t *node, const kr_argument_t *arguments, size_t count,
                         redisReply **ret_reply)
{
    ktp_instance_t *server = &node->server;

    if (server->commands.context == NULL)
        return kr_fail(server, KTP_UNAVAIL, "the connection is broken");
    return kr_answer(server, &server->commands, kr_clock() + server->timeout, arguments, count,
                     ret_reply);
}

static int starts(const redisReply *reply, const char *text)
{
    return reply->type == REDIS_REPLY_ERROR && reply->len >= strlen(text) &&
           memcmp(reply->str, text, strlen(text)) == 0;
}

ktp_status_t kr_node_refused(kr_node_t *node, redisReply *reply, const char *name,
                             const char *right)
{
    const char *admin = node->account->admin;
    ktp_status_t status;

    if (starts(reply, "NOPERM"))
        status = kr_fail(&node->server, KTP_FORBIDDEN,
                         "the user \"%.64s\", as which keyturn logs in, may not run %s (ACL "
                         "SETUSER %.64s %s)",
                         admin != NULL ? admin : "default", name, admin != NULL ? admin : "default",
                         right);
    else if (starts(reply, "NOAUTH"))
        status = kr_fail(&node->server, KTP_FORBIDDEN,
                         "the server asks for a password (name it in `admin`)");
    else if (starts(reply, "ERR unknown command") || starts(reply, "ERR Unknown subcommand"))
        status =
            kr_fail(&node->server, KTP_CONFLICT,
                    "there is no command %s (renamed, or the server is older than Redis 6)", name);
    else if (starts(reply, "LOADING") || starts(reply, "BUSY"))
        status = kr_fail(&node->server, KTP_TRYAGAIN, "the server is busy");
    else
        status = kr_fail(&node->server, KTP_CONFLICT, "it refuses %s (its log may say why)", name);
    freeReplyObject(reply);
    return status;
}

ktp_status_t kr_node_run(kr_node_t *node, const kr_argument_t *arguments, size_t count,
                         const char *name, const char *right)
{
    redisReply *reply = NULL;
    ktp_status_t status = kr_node_ask(node, arguments, count, &reply);

    if (status != KTP_SUCCESS)
        return status;
    if (reply->type == REDIS_REPLY_ERROR)
        return kr_node_refused(node, reply, name, right);
    freeReplyObject(reply);
    return KTP_SUCCESS;
}

/* The text of one parameter of the configuration, which is not a password; "" if it has none. */
static ktp_status_t get_parameter(kr_node_t *node, const char *name, char *ret_text, size_t size)
{
    const kr_argument_t get[] = {KR_TEXT("CONFIG"), KR_TEXT("GET"), TEXT(name)};
    redisReply *reply = NULL;
    ktp_status_t status = kr_node_ask(node, get, 3, &reply);
    const redisReply *text;

    ret_text[0] = '\0';
    if (status != KTP_SUCCESS)
        return status;
    if (reply->type == REDIS_REPLY_ERROR)
        return kr_node_refused(node, reply, "CONFIG GET", "+config|get");
    text = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 ? reply->element[1] : NULL;
    if (text != NULL && text->type == REDIS_REPLY_STRING && text->len < size)
        memcpy(ret_text, text->str, text->len + 1);
    freeReplyObject(reply);
    return KTP_SUCCESS;
}

/* ---- the user ---- */

/* The list at `name` in the answer of ACL GETUSER, or NULL. */
static const redisReply *list_of(const redisReply *user, const char *name)
{
    size_t i;

    for (i = 0; i + 1 < user->elements; i += 2) {
        const redisReply *key = user->element[i], *list = user->element[i + 1];

        if (key->type == REDIS_REPLY_STRING && strcmp(key->str, name) == 0)
            return list->type == REDIS_REPLY_ARRAY ? list : NULL;
    }
    return NULL;
}

static int has(const redisReply *list, const char *text, size_t size)
{
    size_t i;

    for (i = 0; list != NULL && i < list->elements; i++) {
        const redisReply *item = list->element[i];

        /* flags are status replies in some versions */
        if ((item->type == REDIS_REPLY_STRING || item->type == REDIS_REPLY_STATUS) &&
            item->len == size && memcmp(item->str, text, size) == 0)
            return 1;
    }
    return 0;
}

int kr_node_has(const kr_node_t *node, const char *hash, size_t size)
{
    return node->user != NULL && hash != NULL && has(list_of(node->user, "passwords"), hash, size);
}

static ktp_status_t get_user(kr_node_t *node)
{
    const kr_argument_t get[] = {KR_TEXT("ACL"), KR_TEXT("GETUSER"), TEXT(node->account->user)};
    redisReply *reply = NULL;
    ktp_status_t status = kr_node_ask(node, get, 3, &reply);

    forget_user(node);
    if (status != KTP_SUCCESS)
        return status;
    if (reply->type == REDIS_REPLY_ERROR)
        return kr_node_refused(node, reply, "ACL GETUSER", "+acl|getuser");
    if (reply->type == REDIS_REPLY_ARRAY && list_of(reply, "passwords") != NULL) {
        node->user = reply;
        return KTP_SUCCESS;
    }
    freeReplyObject(reply);
    return kr_fail(&node->server, KTP_CONFLICT,
                   "there is no user \"%.64s\" (make it there, with the current password)",
                   node->account->user);
}

/* Beside `nopass` a password protects nothing; without one, or switched off, there is no user to
 * keep working. */
static ktp_status_t check_user(kr_node_t *node)
{
    const redisReply *flags = list_of(node->user, "flags");
    const char *user = node->account->user;

    if (has(flags, "nopass", 6))
        return kr_fail(&node->server, KTP_CONFLICT,
                       "the user \"%.64s\" needs no password (nopass): give it the current one "
                       "first (ACL SETUSER %.64s resetpass, and then >PASSWORD)",
                       user, user);
    if (list_of(node->user, "passwords")->elements == 0)
        return kr_fail(&node->server, KTP_CONFLICT,
                       "the user \"%.64s\" has no password, so no client can log in as it "
                       "(resetpass): give it the current one first",
                       user);
    if (has(flags, "off", 3))
        return kr_fail(&node->server, KTP_CONFLICT,
                       "the user \"%.64s\" is switched off (ACL SETUSER %.64s on)", user, user);
    return KTP_SUCCESS;
}

/* ---- keeping changes ---- */

static ktp_status_t save_users(kr_node_t *node)
{
    static const kr_argument_t save[] = {KR_TEXT("ACL"), KR_TEXT("SAVE")};
    redisReply *reply = NULL;
    ktp_status_t status = kr_node_ask(node, save, 2, &reply);

    if (status != KTP_SUCCESS)
        return status;
    if (starts(reply, "ERR")) {
        freeReplyObject(reply);
        return kr_fail(&node->server, KTP_CONFLICT,
                       "it cannot write its ACL file (its log says why)");
    }
    if (reply->type == REDIS_REPLY_ERROR)
        return kr_node_refused(node, reply, "ACL SAVE", "+acl|save");
    freeReplyObject(reply);
    return KTP_SUCCESS;
}

static ktp_status_t save_configuration(kr_node_t *node)
{
    static const kr_argument_t rewrite[] = {KR_TEXT("CONFIG"), KR_TEXT("REWRITE")};
    redisReply *reply = NULL;
    ktp_status_t status = kr_node_ask(node, rewrite, 2, &reply);

    if (status != KTP_SUCCESS)
        return status;
    if (starts(reply, "ERR The server is running without a config file"))
        status = kr_fail(&node->server, KTP_CONFLICT,
                         "it runs without a configuration file, so that a change would be lost "
                         "with its end (start it with one, or set `save: false`)");
    else if (starts(reply, "ERR Rewriting"))
        status = kr_fail(&node->server, KTP_CONFLICT,
                         "it cannot write its configuration file (its log says why)");
    else if (reply->type == REDIS_REPLY_ERROR)
        return kr_node_refused(node, reply, "CONFIG REWRITE", "+config|rewrite");
    freeReplyObject(reply);
    return status;
}

/* Users are in the ACL file if there is one; all else is in the configuration file. */
ktp_status_t kr_node_save(kr_node_t *node)
{
    unsigned flags = node->account->flags;
    ktp_status_t status = KTP_SUCCESS;

    if (!(flags & KTP_ACCOUNT_SAVE))
        return KTP_SUCCESS;
    if (node->acl_file)
        status = save_users(node);
    if (status == KTP_SUCCESS &&
        (!node->acl_file || (flags & (KTP_ACCOUNT_REPLICATION | KTP_ACCOUNT_DEFAULT))))
        status = save_configuration(node);
    return status;
}

/* ---- look ---- */

/* Another user than ours would get our password, or ours none. */
static ktp_status_t check_link(kr_node_t *node)
{
    const char *user = node->account->user;
    char name[256];
    ktp_status_t status;

    if (!(node->account->flags & KTP_ACCOUNT_REPLICATION))
        return KTP_SUCCESS;
    status = get_parameter(node, "masteruser", name, sizeof(name));
    if (status != KTP_SUCCESS || strcmp(name[0] != '\0' ? name : "default", user) == 0)
        return status;
    return kr_fail(&node->server, KTP_CONFLICT,
                   "it logs in to its master as \"%.64s\" and not as \"%.64s\" (set masteruser "
                   "there, or leave out `masterauth`)",
                   name[0] != '\0' ? name : "default", user);
}

ktp_status_t kr_node_look(kr_node_t *node)
{
    ktp_instance_t *server = &node->server;
    char path[PREFIXED_MAX];
    ktp_status_t status = KTP_SUCCESS;

    if (server->commands.context == NULL)
        status = kr_open(server, &server->commands, kr_clock() + server->timeout);
    if (status == KTP_SUCCESS)
        status = get_user(node);
    if (status == KTP_SUCCESS)
        status = check_user(node);
    if (status == KTP_SUCCESS && (node->account->flags & KTP_ACCOUNT_SAVE)) {
        status = get_parameter(node, "aclfile", path, sizeof(path));
        node->acl_file = path[0] != '\0';
    }
    if (status == KTP_SUCCESS)
        status = check_link(node);
    return status == KTP_SUCCESS ? kr_node_save(node) : status;
}

/* ---- change ---- */

/* ACL SETUSER with a rule that is a character before a text. */
static ktp_status_t set_user(kr_node_t *node, char rule, const char *text, size_t size)
{
    char prefixed[PREFIXED_MAX];
    kr_argument_t set[] = {
        KR_TEXT("ACL"), KR_TEXT("SETUSER"), TEXT(node->account->user), {prefixed, size + 1}};
    ktp_status_t status;

    if (size >= sizeof(prefixed))
        return kr_fail(&node->server, KTP_CONFLICT, "the password is too long");
    prefixed[0] = rule;
    memcpy(prefixed + 1, text, size);
    node->touched = 1;
    status = kr_node_run(node, set, 4, "ACL SETUSER", "+acl|setuser");
    explicit_bzero(prefixed, sizeof(prefixed));
    return status;
}

static ktp_status_t set_parameter(kr_node_t *node, const char *name, kr_argument_t value)
{
    const kr_argument_t set[] = {KR_TEXT("CONFIG"), KR_TEXT("SET"), TEXT(name), value};

    node->touched = 1;
    return kr_node_run(node, set, 4, "CONFIG SET", "+config|set");
}

ktp_status_t kr_node_add(kr_node_t *node)
{
    return set_user(node, '>', node->account->password.data, node->account->password.size);
}

ktp_status_t kr_node_link(kr_node_t *node)
{
    if (!(node->account->flags & KTP_ACCOUNT_REPLICATION))
        return KTP_SUCCESS;
    return set_parameter(node, "masterauth", BYTES(node->account->password));
}

ktp_status_t kr_node_test(kr_node_t *node)
{
    ktp_instance_t *client = malloc(sizeof(*client));
    ktp_status_t status;

    if (client == NULL)
        return kr_fail(&node->server, KTP_UNAVAIL, "out of memory");
    start(client, node->server.services, node->account->timeout);
    client->host = node->server.host;
    client->port = node->server.port;
    client->path = node->server.path;
    client->secure = node->server.secure;
    client->tls = node->server.tls;
    client->username = node->account->user;
    client->password = node->account->password.data;
    client->password_size = node->account->password.size;
    status = kr_open(client, &client->commands, kr_clock() + client->timeout);
    if (status != KTP_SUCCESS)
        (void)kr_fail(&node->server, status, "a login as \"%.64s\" with the new password: %.128s",
                      node->account->user, client->error);
    kr_close(&client->commands);
    free(client);
    return status;
}

/* ---- remove ---- */

static int is_removed(const ktp_account_t *account, const char *hash)
{
    size_t i;

    if (account->password_hash.size == HASH_SIZE &&
        memcmp(hash, account->password_hash.data, HASH_SIZE) == 0)
        return 0;
    for (i = 0; account->removed != NULL && account->removed[i] != NULL; i++) {
        if (strcmp(account->removed[i], hash) == 0)
            return 1;
    }
    return 0;
}

/* Each password of the user that is to go, or that is to stay, by one rule. */
static ktp_status_t set_each(kr_node_t *node, int removed, char rule)
{
    const redisReply *passwords = list_of(node->user, "passwords");
    ktp_status_t status = KTP_SUCCESS;
    size_t i;

    for (i = 0; status == KTP_SUCCESS && i < passwords->elements; i++) {
        const redisReply *hash = passwords->element[i];

        if (hash->type == REDIS_REPLY_STRING && hash->len == HASH_SIZE &&
            is_removed(node->account, hash->str) == removed)
            status = set_user(node, rule, hash->str, hash->len);
    }
    return status;
}

/* requirepass takes all other passwords from the default user, so those that stay are given back
 * in the same transaction. */
static ktp_status_t set_requirepass(kr_node_t *node)
{
    static const kr_argument_t multi[] = {KR_TEXT("MULTI")}, exec[] = {KR_TEXT("EXEC")};
    redisReply *reply = NULL;
    ktp_status_t status = kr_node_run(node, multi, 1, "MULTI", "+multi");
    size_t i;

    if (status == KTP_SUCCESS)
        status = set_parameter(node, "requirepass", BYTES(node->account->password));
    if (status == KTP_SUCCESS)
        status = set_each(node, /* removed= */ 0, '#');
    if (status == KTP_SUCCESS)
        status = kr_node_ask(node, exec, 1, &reply);
    if (status != KTP_SUCCESS) {
        kr_close(&node->server.commands); /* what is queued is dropped */
        return status;
    }
    if (reply->type != REDIS_REPLY_ARRAY)
        status = kr_fail(&node->server, KTP_CONFLICT, "it refuses to set requirepass");
    for (i = 0; status == KTP_SUCCESS && i < reply->elements; i++) {
        if (reply->element[i]->type == REDIS_REPLY_ERROR)
            status = kr_fail(&node->server, KTP_CONFLICT, "it refuses to set requirepass");
    }
    freeReplyObject(reply);
    return status;
}

ktp_status_t kr_node_remove(kr_node_t *node)
{
    ktp_status_t status = get_user(node);

    if (status != KTP_SUCCESS)
        return status;
    if (node->account->flags & KTP_ACCOUNT_DEFAULT)
        return set_requirepass(node);
    return set_each(node, /* removed= */ 1, '!');
}

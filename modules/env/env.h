/* SPDX-License-Identifier: BSD-2-Clause */
/* env.h: an instance, and names.c: which variable a name means, and which name a variable has. */
#ifndef ENV_H
#define ENV_H

#include <keyturn_provider.h>

#define NAME_ROOM 256u
#define VARIABLE_ROOM 768u /* a prefix or an alias, around a name */
#define VARIABLE_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

struct ktp_instance {
    const ktp_services_t *services;
    const char *prefix;  /* the host's */
    const char *aliases; /* the host's: a line for each name, with a tab before each variable */
    int detect;
};

/* Where the walk over the variables of a name's aliases is. */
typedef struct alias {
    const char *map; /* all of them, at first */
    const char *at;  /* NULL at first */
    const char *star;
    size_t star_size;
} alias_t;

/* The next variable that an alias of this name gives it, in the order of the configuration; 0:
 * there is none. */
int alias_next(alias_t *walk, const char *name, char variable[VARIABLE_ROOM], size_t *ret_length);
/* The next name of the map that has no star; 0: there is none. `line` moves to the next one. */
int alias_name(const char **line, char name[NAME_ROOM]);
/* Has the map an entry of exactly this name? */
int alias_has(const char *map, const char *name);

/* The prefix and the name; 0: no variable can be so long. */
int variable_of(const ktp_instance_t *instance, const char *name, char variable[VARIABLE_ROOM],
                size_t *ret_length);
/* The variable without the prefix, as a name; 0: it has another prefix, or no name can be so. */
int name_of(const ktp_instance_t *instance, const char *variable, size_t length,
            char name[NAME_ROOM]);

/* Is a variable a secret, as far as its name and its value tell? */
int looks_secret(const char *variable, size_t length, const char *value);

#endif /* ENV_H */

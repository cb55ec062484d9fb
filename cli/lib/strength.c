/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is weak about a value that somebody chose: the classes of kt_strength(), and how soon it
 * would be guessed. An estimate knows more than a class does: `Summer2026Summer2026` has every kind
 * of character, and 32 letters of base 32 have one.
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zxcvbn.h>

#include "cli.h"

#define ESTIMATED_MAX 128 /* bytes: the rest of a longer value can only make it stronger */
#define STRONG_BITS 60.0  /* 2^60 tries against a fast hash take a rich attacker a year */
#define HEX_LEAST 16      /* digits: 64 bits, if they are random */
/* Of 16 random digits the estimate takes many for dates and sequences: it is below 60 for one value
 * of five, and below 45 for one of 300. `deadbeefcafebabe` has 44. */
#define STRONG_BITS_HEX 45.0

/* zxcvbn takes text. Other bytes were made by a program, and have no habits to be guessed by. */
static bool is_text(const kt_secret_t *value)
{
    const unsigned char *bytes = kt_secret_bytes(value);

    for (size_t i = 0; i < kt_secret_size(value); i++)
        if (!isprint(bytes[i]) && !isspace(bytes[i]))
            return false;
    return kt_secret_size(value) > 0;
}

static double line_of(const kt_secret_t *value)
{
    const unsigned char *bytes = kt_secret_bytes(value);

    for (size_t i = 0; i < kt_secret_size(value); i++)
        if (!isxdigit(bytes[i]))
            return STRONG_BITS;
    return kt_secret_size(value) >= HEX_LEAST ? STRONG_BITS_HEX : STRONG_BITS;
}

/* The child's whole life. The copies of the value that the library makes end with it. */
static void estimate(const char *text, int fd)
{
    double bits = ZxcvbnMatch(text, NULL, NULL);

    _exit(write(fd, &bits, sizeof bits) == (ssize_t)sizeof bits ? 0 : 1);
}

/* The logarithm to base 2 of the number of tries; negative: not known. */
static double bits_of(const kt_secret_t *value)
{
    char text[ESTIMATED_MAX + 1] = "";
    size_t size = kt_secret_size(value);
    double bits = -1;
    int ends[2];
    pid_t child;

    if (!is_text(value) || pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    memcpy(text, kt_secret_bytes(value), size < ESTIMATED_MAX ? size : ESTIMATED_MAX);
    child = fork();
    if (child == 0)
        estimate(text, ends[1]);
    explicit_bzero(text, sizeof text);
    close(ends[1]);
    if (child > 0) {
        if (read(ends[0], &bits, sizeof bits) != (ssize_t)sizeof bits)
            bits = -1;
        waitpid(child, NULL, 0);
    }
    close(ends[0]);
    return bits;
}

static void append(char *text, size_t size, const char *more)
{
    size_t used = strlen(text);

    snprintf(text + used, size - used, "%s%s", used > 0 ? "; " : "", more);
}

bool cli_weakness(const kt_secret_t *value, kt_strength_t kind, unsigned ignored, char *text,
                  size_t size)
{
    unsigned weak = kt_strength(value, kind) & ~ignored;
    double bits = bits_of(value);
    char guess[60];

    text[0] = '\0';
    if (bits >= 0)
        weak &= ~(unsigned)(KT_WEAK_PLAIN | KT_WEAK_PATTERN);
    for (unsigned bit = 1; bit <= weak; bit <<= 1)
        if (weak & bit)
            append(text, size, kt_strength_text(bit));
    if (bits >= 0 && bits < line_of(value)) {
        snprintf(guess, sizeof guess, "guessed after about 2^%.0f tries", bits);
        append(text, size, guess);
    }
    return text[0] != '\0';
}

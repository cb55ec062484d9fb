/* SPDX-License-Identifier: BSD-2-Clause */
/* race.c: a race that ThreadSanitizer has to see, or it sees none on this machine. */
#include <pthread.h>

static int counter;

static void *count(void *arg)
{
    for (int i = 0; i < 1000; i++)
        counter++;
    return arg;
}

int main(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, count, NULL) != 0)
        return 1;
    (void)count(NULL);
    (void)pthread_join(thread, NULL);
    return 0;
}

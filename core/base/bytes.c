/* SPDX-License-Identifier: BSD-2-Clause */
/* bytes.c: numbers in big-endian order. */
#include "base.h"

void kt_put_u64(unsigned char *at, uint64_t value)
{
    int i;

    for (i = 7; i >= 0; i--, value >>= 8)
        at[i] = (unsigned char)(value & 0xff);
}

uint32_t kt_get_u32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

uint64_t kt_get_u64(const unsigned char *at)
{
    return (uint64_t)kt_get_u32(at) << 32 | kt_get_u32(at + 4);
}

void kt_put_u32(unsigned char *at, uint32_t value)
{
    at[0] = (unsigned char)(value >> 24);
    at[1] = (unsigned char)(value >> 16);
    at[2] = (unsigned char)(value >> 8);
    at[3] = (unsigned char)value;
}

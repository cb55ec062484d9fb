/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn 0.1 to 0.2 */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION keyturn UPDATE TO '0.2'" to load this file. \quit

-- CREATE EXTENSION runs keyturn--0.1.sql and then this file, so a server that
-- was upgraded has the same objects as a new one. 0.1 is not changed any more.
-- Nothing is granted to PUBLIC.

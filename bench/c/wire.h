/* Shared by the upstream and the load generator: the clock, the sums over a body, and the tails that follow them. */
#ifndef WIRE_H
#define WIRE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A response ends with the sums of all bytes before them, as 16 hexadecimal digits, and then one of these. */
#define JSON_TAIL "\"}"
#define STREAM_TAIL "\"}\n\ndata: [DONE]\n\n"
#define SUM_DIGITS 16

/* Each event carries its send time: this mark, and microseconds of the monotonic clock in SENT_DIGITS digits. */
#define SENT_MARK '@'
#define SENT_DIGITS 16

struct sums {
    uint32_t bytes, places;
};

/* Fletcher's sums: a missing, added, changed or moved byte changes them; one cycle per byte. */
static inline void sums_add(struct sums *sums, const char *data, size_t length) {
    uint32_t bytes = sums->bytes, places = sums->places;
    for (size_t i = 0; i < length; i++) {
        bytes += (unsigned char)data[i] + 1u;
        places += bytes;
    }
    sums->bytes = bytes;
    sums->places = places;
}

static inline void sums_text(const struct sums *sums, char text[SUM_DIGITS + 1]) {
    snprintf(text, SUM_DIGITS + 1, "%08x%08x", sums->bytes, sums->places);
}

static inline uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

/* The number after `name` in the head, in any case, or -1. */
static inline long header_number(const char *head, const char *name) {
    const char *found = strcasestr(head, name);
    return found ? strtol(found + strlen(name), NULL, 10) : -1;
}

#endif

/* Parses one response as it arrives: head, body (plain or chunked), times, and whether its sums are right. */
#ifndef RESPONSE_H
#define RESPONSE_H

#include "wire.h"
#include <stdbool.h>

#define TAIL_SIZE 128

struct series {
    uint32_t *values;
    size_t count, size;
};

struct response {
    char head[4096];
    size_t head_length;
    bool in_body, stream;
    long left;                                                  /* bytes of the body, or of its chunk */
    enum { SIZE, SIZE_END, DATA, DATA_END, TRAILER } expecting; /* of the chunked coding */
    bool line_empty;
    char tail[TAIL_SIZE]; /* the last bytes of the body, not yet in the sums */
    size_t tail_length;
    struct sums sums;
    int digits; /* digits seen of a time in the stream; -1 outside one */
    uint64_t time, began;
};

/* Totals of all responses. */
struct seen {
    unsigned long calls, chunks, bytes, failed, wrong;
    struct series first_byte, whole, age;
    bool full; /* every connection is in a call, so ages count */
};

static inline void add(struct series *s, uint64_t value) {
    if (s->count == s->size)
        s->values = realloc(s->values, (s->size = s->size * 2 + 65536) * sizeof *s->values);
    s->values[s->count++] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static inline int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static inline void print_series(const char *name, struct series *s) {
    qsort(s->values, s->count, sizeof *s->values, by_value);
#define AT(share) (s->count ? s->values[(size_t)((double)(s->count - 1) * (share))] : 0)
    printf(",\"%s\":{\"count\":%zu,\"p50\":%u,\"p99\":%u,\"max\":%u}", name, s->count, AT(0.5), AT(0.99), AT(1));
}

static inline void response_begin(struct response *a) {
    a->head_length = a->tail_length = 0;
    a->in_body = a->stream = false;
    a->expecting = SIZE;
    a->left = 0;
    a->sums = (struct sums){0, 0};
    a->digits = -1;
    a->began = now_us();
}

/* Whether a complete response has the bytes that were sent. */
static inline bool response_is_intact(struct response *a) {
    const char *tail = a->stream ? STREAM_TAIL : JSON_TAIL;
    size_t length = strlen(tail);
    if (a->tail_length < SUM_DIGITS + length)
        return false;
    size_t before = a->tail_length - SUM_DIGITS - length;
    char sums[SUM_DIGITS + 1];
    sums_add(&a->sums, a->tail, before);
    sums_text(&a->sums, sums);
    return !memcmp(a->tail + before, sums, SUM_DIGITS) && !memcmp(a->tail + before + SUM_DIGITS, tail, length);
}

/* Find the times in a stream and add the age of each chunk. */
static inline void take_times(struct response *a, struct seen *seen, const char *data, size_t length, uint64_t now) {
    for (const char *end = data + length; data < end;) {
        if (a->digits < 0) {
            data = memchr(data, SENT_MARK, (size_t)(end - data));
            if (!data)
                return;
            data++;
            a->digits = 0;
            a->time = 0;
        } else {
            a->time = a->time * 10 + (uint64_t)(*data++ - '0');
            if (++a->digits == SENT_DIGITS) {
                a->digits = -1;
                seen->chunks++;
                if (seen->full)
                    add(&seen->age, now - a->time);
            }
        }
    }
}

static inline void take_body(struct response *a, struct seen *seen, const char *data, size_t length, uint64_t now) {
    if (!a->tail_length)
        add(&seen->first_byte, now - a->began);
    seen->bytes += length;
    if (a->stream)
        take_times(a, seen, data, length, now);
    size_t keep = length < TAIL_SIZE ? length : TAIL_SIZE;
    size_t old = a->tail_length + keep > TAIL_SIZE ? a->tail_length + keep - TAIL_SIZE : 0;
    sums_add(&a->sums, a->tail, old);
    memmove(a->tail, a->tail + old, a->tail_length - old);
    sums_add(&a->sums, data, length - keep);
    memcpy(a->tail + a->tail_length - old, data + length - keep, keep);
    a->tail_length += keep - old;
}

/* Parse chunked coding; return whether the body has ended. */
static inline bool take_chunked(struct response *a, struct seen *seen, const char *data, size_t length, uint64_t now) {
    for (const char *end = data + length; data < end;) {
        char byte = *data;
        switch (a->expecting) {
        case SIZE:
            if (byte == '\r' || byte == ';')
                a->expecting = SIZE_END;
            else
                a->left = a->left * 16 + (byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10);
            data++;
            break;
        case SIZE_END:
            if (byte == '\n') {
                a->expecting = a->left ? DATA : TRAILER;
                a->line_empty = true;
            }
            data++;
            break;
        case DATA: {
            size_t some = (size_t)(end - data) < (size_t)a->left ? (size_t)(end - data) : (size_t)a->left;
            take_body(a, seen, data, some, now);
            data += some;
            a->left -= (long)some;
            if (!a->left)
                a->expecting = DATA_END;
            break;
        }
        case DATA_END:
            if (byte == '\n')
                a->expecting = SIZE;
            data++;
            break;
        default:
            if (byte == '\n' && a->line_empty)
                return true;
            a->line_empty = byte == '\r' ? a->line_empty : byte == '\n';
            data++;
        }
    }
    return false;
}

/* Process received bytes; return 1 at the end of the response, -1 if it is not a 200, else 0. */
static inline int response_take(struct response *a, struct seen *seen, const char *data, size_t length, uint64_t now) {
    if (!a->in_body) {
        size_t some = sizeof a->head - 1 - a->head_length;
        some = length < some ? length : some;
        memcpy(a->head + a->head_length, data, some);
        a->head[a->head_length + some] = 0;
        char *end = strstr(a->head, "\r\n\r\n");
        if (!end) {
            a->head_length += some;
            return some < length ? -1 : 0;
        }
        size_t used = (size_t)(end + 4 - a->head) - a->head_length;
        end[2] = 0;
        if (strncmp(a->head, "HTTP/1.1 200", 12)) {
            fprintf(stderr, "%s\n%.*s\n", a->head, (int)(length - used), data + used);
            return -1;
        }
        a->in_body = true;
        long size = header_number(a->head, "\r\ncontent-length:");
        a->stream = size < 0;
        a->left = size < 0 ? 0 : size;
        data += used;
        length -= used;
    }
    if (!length)
        return 0;
    if (a->stream)
        return take_chunked(a, seen, data, length, now);
    take_body(a, seen, data, length, now);
    a->left -= (long)length;
    return a->left <= 0;
}

#endif

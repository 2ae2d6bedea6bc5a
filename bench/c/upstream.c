/* The mock upstream: responds like Azure OpenAI, as fast as one core allows, so that it is never the bottleneck.

       upstream                                    prints its port, and serves 127.0.0.1 until it is killed

   The deployment in the path says what to send: json-BYTES, or stream-CHUNKS-PAUSE with the pause between chunks in
   microseconds. Every chunk is a separate write. GET /count returns the number of calls so far. */

#include "wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SAFE "{\"filtered\":false,\"severity\":\"safe\"}"
#define FILTERS "{\"hate\":" SAFE ",\"self_harm\":" SAFE ",\"sexual\":" SAFE ",\"violence\":" SAFE "}"
#define CHUNK_TOP "\"created\":1731500370,\"id\":\"chatcmpl-AT1xVJfJq4G0\",\"model\":\"gpt-4o-2024-11-20\","
#define CHUNK_KIND "\"object\":\"chat.completion.chunk\","
#define HEAD "HTTP/1.1 200 OK\r\nx-ms-region: Sweden Central\r\napim-request-id: 90ada254-7916-4e05-a761-c290afc3ea2a\r\n"
#define JSON_BEGIN \
    "{\"choices\":[{\"content_filter_results\":" FILTERS ",\"finish_reason\":\"stop\",\"index\":0,\"logprobs\":null," \
    "\"message\":{\"content\":\""
#define JSON_END \
    "\",\"refusal\":null,\"role\":\"assistant\"}}]," CHUNK_TOP "\"object\":\"chat.completion\"," \
    "\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":" FILTERS "}],\"usage\":{" \
    "\"completion_tokens\":100,\"prompt_tokens\":200,\"total_tokens\":300},\"system_fingerprint\":\"fp_"
#define FRAME (long)(sizeof JSON_BEGIN + sizeof JSON_END + SUM_DIGITS + sizeof JSON_TAIL - 3)
#define JSON_TYPE "content-type: application/json\r\ncontent-length: %zu\r\n\r\n"
#define FIRST \
    "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[" \
    "{\"prompt_index\":0,\"content_filter_results\":" FILTERS "}],\"sent\":\"%c%016lu\"}\n\n"
#define TOKEN \
    "data: {\"choices\":[{\"content_filter_results\":" FILTERS ",\"delta\":{\"content\":\"%c%016lu\"}," \
    "\"finish_reason\":null,\"index\":0,\"logprobs\":null}]," CHUNK_TOP CHUNK_KIND \
    "\"obfuscation\":\"%09lu\",\"system_fingerprint\":\"fp_b6f445\"%s}\n\n"
#define STOP \
    "data: {\"choices\":[{\"content_filter_results\":{},\"delta\":{},\"finish_reason\":\"stop\",\"index\":0," \
    "\"logprobs\":null}]," CHUNK_TOP CHUNK_KIND "\"sent\":\"%c%016lu\"%s,\"system_fingerprint\":\"fp_"
#define USAGE \
    "data: {\"choices\":[]," CHUNK_TOP CHUNK_KIND "\"usage\":{" \
    "\"completion_tokens\":%ld,\"prompt_tokens\":200,\"total_tokens\":%ld}}\n\n"
#define DONE "data: [DONE]\n\n"

struct connection {
    int socket, timer;
    char *in;
    size_t in_length, in_size;
    char *out;
    size_t out_length, out_sent, out_size;
    long chunks, sent, pause; /* of the stream in flight; none if chunks is 0 */
    bool usage;
    struct sums sums;
    struct connection *next_closed;
};

static int poller;
static struct connection *closed; /* freed after the batch of events that may still refer to them */
static unsigned long count;

static void append(struct connection *c, const char *data, size_t length) {
    if (c->out_length + length > c->out_size)
        c->out = realloc(c->out, c->out_size = (c->out_length + length) * 2);
    memcpy(c->out + c->out_length, data, length);
    c->out_length += length;
}

static void watch(struct connection *c, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->socket, &event);
}

/* Send the buffered data; return whether all was sent. The next read detects a closed peer. */
static bool flush(struct connection *c) {
    while (c->out_sent < c->out_length) {
        ssize_t n = send(c->socket, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN)
                watch(c, EPOLLIN | EPOLLOUT);
            return false;
        }
        c->out_sent += (size_t)n;
    }
    c->out_length = c->out_sent = 0;
    return true;
}

static void send_json(struct connection *c, long size) {
    static char *response; /* the last one made, with its head: a run requests one size */
    static size_t length;
    static long made;
    if (size != made) {
        size_t filler = size > FRAME ? (size_t)(size - FRAME) : 0;
        char *body = malloc(FRAME + filler + 1);
        size_t end = (size_t)sprintf(body, "%s%*s%s", JSON_BEGIN, (int)filler, "", JSON_END);
        memset(body + sizeof JSON_BEGIN - 1, 'x', filler);
        struct sums sums = {0, 0};
        sums_add(&sums, body, end);
        sums_text(&sums, body + end);
        strcpy(body + end + SUM_DIGITS, JSON_TAIL);
        response = realloc(response, FRAME + filler + 512);
        length = (size_t)sprintf(response, HEAD JSON_TYPE "%s", strlen(body), body);
        made = size;
        free(body);
    }
    append(c, response, length);
    flush(c);
}

static void append_chunk(struct connection *c, const char *text, size_t length) {
    char size[16];
    append(c, size, (size_t)sprintf(size, "%zx\r\n", length));
    append(c, text, length);
    append(c, "\r\n", 2);
}

#define NO_USAGE(c) ((c)->usage ? ",\"usage\":null" : "")

/* Append one chunk; the last one adds the sums, the usage if requested, and the end. The load never requests usage, so
   the sums are those of what it must get: chunks without the null that the request for usage adds. */
static void append_next(struct connection *c) {
    char text[2048];
    int length;
    unsigned long now = now_us(); /* also for the obfuscation, which differs each time */
    if (++c->sent < c->chunks) {
        if (c->sent == 1) {
            length = sprintf(text, FIRST, SENT_MARK, now);
            sums_add(&c->sums, text, (size_t)length);
        } else {
            sums_add(&c->sums, text, (size_t)sprintf(text, TOKEN, SENT_MARK, now, now % 1000000000, ""));
            length = sprintf(text, TOKEN, SENT_MARK, now, now % 1000000000, NO_USAGE(c));
        }
        append_chunk(c, text, (size_t)length);
        return;
    }
    sums_add(&c->sums, text, (size_t)sprintf(text, STOP, SENT_MARK, now, ""));
    length = sprintf(text, STOP, SENT_MARK, now, NO_USAGE(c));
    sums_text(&c->sums, text + length);
    length += SUM_DIGITS + sprintf(text + length + SUM_DIGITS, "\"}\n\n");
    append_chunk(c, text, (size_t)length);
    if (c->usage)
        append_chunk(c, text, (size_t)sprintf(text, USAGE, c->chunks - 2, c->chunks + 198));
    append_chunk(c, DONE, sizeof DONE - 1);
    append(c, "0\r\n\r\n", 5);
    c->chunks = 0;
}

/* Continue a stream: send `due` chunks, each in a separate write. */
static void continue_stream(struct connection *c, uint64_t due) {
    while (c->chunks && due-- && !c->out_length) {
        append_next(c);
        flush(c);
    }
    if (!c->chunks && c->timer >= 0) {
        close(c->timer);
        c->timer = -1;
    }
}

static void send_stream(struct connection *c, long chunks, long pause) {
    char head[512];
    c->chunks = chunks;
    c->sent = 0;
    c->pause = pause;
    c->sums = (struct sums){0, 0};
    append(c, head, (size_t)sprintf(head, HEAD "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"));
    append_next(c);
    flush(c);
    if (!pause) {
        continue_stream(c, UINT64_MAX);
        return;
    }
    struct itimerspec every = {.it_interval = {pause / 1000000, pause % 1000000 * 1000}};
    every.it_value = every.it_interval;
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    timerfd_settime(c->timer, 0, &every, NULL);
    /* the lowest bit of the pointer distinguishes a timer from a socket */
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)c | 1};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->timer, &event);
}

static void respond(struct connection *c, const char *head, const char *body) {
    const char *json = strstr(head, "/json-"), *stream = strstr(head, "/stream-");
    if (json || stream)
        count++;
    if (stream) {
        char *rest;
        long chunks = strtol(stream + 8, &rest, 10);
        c->usage = strstr(body, "\"include_usage\":true") || strstr(body, "\"include_usage\": true");
        send_stream(c, chunks, strtol(rest + 1, NULL, 10));
    } else if (json) {
        send_json(c, strtol(json + 6, NULL, 10));
    } else {
        char text[128], number[32];
        int length = sprintf(number, "%lu", count);
        append(c, text, (size_t)sprintf(text, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", length, number));
        flush(c);
    }
}

static void close_connection(struct connection *c) {
    if (c->timer >= 0)
        close(c->timer);
    close(c->socket);
    c->timer = c->socket = -1;
    c->next_closed = closed;
    closed = c;
}

static void free_closed(void) {
    while (closed) {
        struct connection *c = closed;
        closed = c->next_closed;
        free(c->in);
        free(c->out);
        free(c);
    }
}

static void receive(struct connection *c) {
    if (c->in_size - c->in_length < 65536)
        c->in = realloc(c->in, c->in_size += 65536 + c->in_size);
    ssize_t n = recv(c->socket, c->in + c->in_length, c->in_size - c->in_length - 1, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            close_connection(c);
        return;
    }
    c->in_length += (size_t)n;
    c->in[c->in_length] = 0;
    char *body = memmem(c->in, c->in_length, "\r\n\r\n", 4);
    if (!body)
        return;
    body += 4;
    body[-2] = 0; /* ends the head */
    long length = header_number(c->in, "\r\ncontent-length:");
    bool whole = c->in_length - (size_t)(body - c->in) >= (size_t)(length > 0 ? length : 0);
    body[-2] = '\r';
    if (whole) {
        c->in_length = 0;
        respond(c, c->in, body);
    }
}

static void serve(int listener) {
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) { /* the listener */
                int on = 1;
                c = calloc(1, sizeof *c);
                c->timer = -1;
                c->socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
                epoll_ctl(poller, EPOLL_CTL_ADD, c->socket, &event);
            } else if (events[i].data.u64 & 1) { /* a timer */
                uint64_t due;
                c = (struct connection *)(events[i].data.u64 & ~1ul);
                if (c->timer >= 0 && read(c->timer, &due, sizeof due) == sizeof due)
                    continue_stream(c, due);
            } else if (events[i].events & ~(uint32_t)EPOLLOUT) {
                receive(c);
            } else if (flush(c)) {
                watch(c, EPOLLIN);
                continue_stream(c, c->pause ? 1 : UINT64_MAX);
            }
        }
        free_closed();
    }
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096))
        fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    serve(listener);
}

/* The load generator: makes calls over keep-alive connections, checks every byte of the responses, and prints JSON.

       load PORT CONNECTIONS SECONDS SPREAD REQUEST [any]

   REQUEST is a file with a whole HTTP request. Each connection sends it again as soon as the response has
   ended; the first ones are sent at random times within SPREAD seconds. After SECONDS no call starts, and open calls
   run to their end. `%trace%` in the file is replaced by a new trace id for each call.

   `wrong` counts responses whose sums do not match their bytes; `any` omits that check, for a proxy that rewrites
   responses. The age of a chunk on arrival counts while every connection is in a call. */

#include "response.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRACE_MARK "%trace%"

struct connection {
    int socket;
    size_t sent;
    struct response response;
};

static int poller;
static int connections, left, in_call; /* all of them; those with calls left to make; those in a call */
static bool any_bytes;
static uint64_t deadline;
static char *request;
static size_t request_length;
static char *trace; /* its position in the request */
static struct seen seen;

static void open_connection(struct connection *c, int port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->socket, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->socket, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->socket, &event);
}

static void watch(struct connection *c, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->socket, &event);
}

static void continue_sending(struct connection *c) {
    while (c->sent < request_length) {
        ssize_t n = send(c->socket, request + c->sent, request_length - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN)
                watch(c, EPOLLIN | EPOLLOUT);
            return;
        }
        c->sent += (size_t)n;
    }
}

static void begin_call(struct connection *c) {
    seen.full = ++in_call == connections;
    c->sent = 0;
    if (trace) {
        char id[33];
        snprintf(id, sizeof id, "%08lx%08lx%016lx", random() + 1, random(), seen.calls + (unsigned long)in_call);
        memcpy(trace, id, 32);
    }
    response_begin(&c->response);
    continue_sending(c);
}

static void end_call(struct connection *c, bool good) {
    seen.full = --in_call == connections;
    if (good) {
        seen.calls++;
        seen.wrong += !any_bytes && !response_is_intact(&c->response);
        add(&seen.whole, now_us() - c->response.began);
    } else {
        seen.failed++;
    }
    if (good && now_us() < deadline) {
        begin_call(c);
    } else {
        left--;
        close(c->socket);
    }
}

static void receive(struct connection *c) {
    static char data[1 << 18];
    ssize_t n = recv(c->socket, data, sizeof data, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    int end = n <= 0 ? -1 : response_take(&c->response, &seen, data, (size_t)n, now_us());
    if (end)
        end_call(c, end > 0);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    struct stat about;
    if (!file || fstat(fileno(file), &about))
        fail(path);
    request = calloc(1, (size_t)about.st_size + 64);
    request_length = fread(request, 1, (size_t)about.st_size, file);
    fclose(file);
    trace = memmem(request, request_length, TRACE_MARK, strlen(TRACE_MARK));
    if (trace) {
        size_t mark = strlen(TRACE_MARK);
        memmove(trace + 32, trace + mark, request_length - (size_t)(trace - request) - mark);
        request_length += 32 - mark;
    }
}

int main(int argc, char **argv) {
    if (argc < 6)
        return 2;
    int count = atoi(argv[2]), begun = 0;
    double spread = atof(argv[4]) * 1e6;
    read_request(argv[5]);
    any_bytes = argc > 6;
    connections = left = count;
    poller = epoll_create1(0);
    struct connection *all = calloc((size_t)count, sizeof *all);
    for (int i = 0; i < count; i++)
        open_connection(&all[i], atoi(argv[1]));
    srandom(1);
    uint64_t began = now_us();
    deadline = began + (uint64_t)(atof(argv[3]) * 1e6);
    /* at a random time in each of `count` equal parts of the spread, so that they stay in order */
    uint64_t next = began + (uint64_t)(spread * (double)random() / RAND_MAX / count);
    struct epoll_event events[256];
    while (left) {
        while (begun < count && now_us() >= next) {
            begin_call(&all[begun++]);
            next = began + (uint64_t)(spread * ((double)random() / RAND_MAX + begun) / count);
        }
        uint64_t now = now_us();
        int wait = begun == count ? -1 : next > now ? (int)((next - now) / 1000) : 0;
        int ready = epoll_wait(poller, events, 256, wait);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                watch(c, EPOLLIN);
                continue_sending(c);
            }
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                receive(c);
        }
    }
    printf("{\"calls\":%lu,\"chunks\":%lu,\"bytes\":%lu,\"failed\":%lu,\"wrong\":%lu,\"seconds\":%.3f", seen.calls,
           seen.chunks, seen.bytes, seen.failed, seen.wrong, (double)(now_us() - began) / 1e6);
    print_series("first_byte_us", &seen.first_byte);
    print_series("whole_us", &seen.whole);
    print_series("age_us", &seen.age);
    printf("}\n");
    return seen.failed || seen.wrong;
}

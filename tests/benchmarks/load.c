/* A platform that only makes load, so that one core of C can keep any agent in Python busy.

   load PHASES: prints its port, reads the pid of the agent from standard input, serves the connections of that
   agent one after another. It answers every challenge and verify, upgrades, and then runs the phases of its command
   line, `WINDOW SECONDS` each: it keeps WINDOW commands unanswered on the link for SECONDS, then waits for the rest. For
   each phase it prints one JSON object. Any response that is no success, names no command, names one twice or bears the
   time of its command, ends the run with status 1.

   Times are CLOCK_MONOTONIC; the agent's CPU is read from its own CPU clock (clock_getcpuclockid). */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define COMMAND_TIME "2026-05-01T12:34:56.789Z"
enum { MAX_WINDOW = 1024, MAX_COMMANDS = 1 << 23, BUFFER_BYTES = 1 << 20, COMMAND_BYTES = 165, FRAME_BYTES = 4 + COMMAND_BYTES };

static unsigned char seen[MAX_COMMANDS];          /* by number of a command: 1 sent, 2 answered */
static double sent_at[MAX_COMMANDS];
static float round_trip_us[MAX_COMMANDS];
static unsigned char input[BUFFER_BYTES], output[MAX_WINDOW * FRAME_BYTES + 256];
static size_t input_bytes, output_bytes;
static unsigned char pong[127];
static size_t pong_bytes;
static unsigned next_number, answered, in_flight;

static void fail(const char *why) { fprintf(stderr, "load: %s\n", why); exit(1); }

static double clock_s(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t)) fail("a clock cannot be read");
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void send_all(int fd, const void *data, size_t size) {
    while (size) {
        ssize_t n = send(fd, data, size, 0);
        if (n <= 0) fail("the agent takes no more bytes");
        data = (const char *)data + n, size -= n;
    }
}

static int receive_more(int fd) {
    ssize_t n = recv(fd, input + input_bytes, BUFFER_BYTES - 1 - input_bytes, 0);
    if (n > 0) input[input_bytes += n] = 0;
    return n > 0;
}

static void drop(size_t size) { memmove(input, input + size, (input_bytes -= size) + 1); }

/* --- HTTP --------------------------------------------------------------------------------------------------------- */

static uint32_t rol(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1(const unsigned char *text, size_t size, unsigned char digest[20]) {
    unsigned char padded[128] = {0};              /* a key and the GUID: 60 bytes, so two blocks */
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    memcpy(padded, text, size);
    padded[size] = 0x80;
    padded[126] = size * 8 >> 8, padded[127] = size * 8;
    for (int block = 0; block < 128; block += 64) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            const unsigned char *p = padded + block + 4 * i;
            w[i] = i < 16 ? (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]
                          : rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
            uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5A827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                                  : (b ^ c ^ d) + 0xCA62C1D6;
            uint32_t next = rol(a, 5) + f + e + w[i];
            e = d, d = c, c = rol(b, 30), b = a, a = next;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = h[i / 4] >> (24 - 8 * (i % 4));
}

static void accept_key(const char *key, char accept[29]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char text[61], digest[21] = {0};
    snprintf((char *)text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1(text, 60, digest);
    for (int i = 0; i < 7; i++) {
        uint32_t v = (uint32_t)digest[3 * i] << 16 | digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++) accept[4 * i + j] = letters[v >> (18 - 6 * j) & 63];
    }
    memcpy(accept + 27, "=", 2);
}

static void answer_json(int fd, const char *body) {
    char text[512];
    int size = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                        strlen(body), body);
    send_all(fd, text, size);
}

/* Answer requests until the connection is a WebSocket; 0 if it ended before. */
static int upgraded(int fd) {
    for (;;) {
        char *head, *end, *field;
        while (!(end = strstr(head = (char *)input, "\r\n\r\n")))
            if (!receive_more(fd)) return 0;
        if ((field = strcasestr(head, "\r\nSec-WebSocket-Key: ")) && field < end) {
            char accept[29], text[256];
            accept_key(field + 21, accept);
            int size = snprintf(text, sizeof text, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
            drop(end + 4 - head);
            send_all(fd, text, size);
            return 1;
        }
        size_t body = 0;
        if ((field = strcasestr(head, "\r\nContent-Length: ")) && field < end) body = strtoul(field + 18, NULL, 10);
        int challenge = strstr(head, "/auth/challenge") != NULL;
        size_t size = end + 4 - head + body;
        while (input_bytes < size)
            if (!receive_more(fd)) return 0;
        drop(size);
        answer_json(fd, challenge ? "{\"challenge\":\"a-challenge-that-is-long-enough\",\"expires_at\":\"2026-05-01T12:34:56Z\"}"
                                  : "{\"valid\":true,\"token\":\"an-opaque-token\"}");
    }
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

static void add_command(void) {
    unsigned char *frame = output + output_bytes;
    if (next_number == MAX_COMMANDS) fail("out of command numbers");
    frame[0] = 0x81, frame[1] = 126, frame[2] = 0, frame[3] = COMMAND_BYTES;
    int size = snprintf((char *)frame + 4, COMMAND_BYTES + 1,
                        "{\"type\":\"command\",\"id\":\"cmd-%032x\",\"data\":{\"command\":\"echo\",\"args\":{\"text\":\"abcdef\"},"
                        "\"timeout\":30},\"timestamp\":\"" COMMAND_TIME "\"}", next_number);
    if (size > COMMAND_BYTES) fail("the command is longer than it should be");
    memset(frame + 4 + size, ' ', COMMAND_BYTES - size);
    seen[next_number++] = 1;
    output_bytes += FRAME_BYTES;
    in_flight++;
}

static void flush(int fd) {
    double now = clock_s(CLOCK_MONOTONIC);
    for (unsigned n = 0; n < in_flight && n < next_number; n++)
        if (sent_at[next_number - 1 - n] == 0) sent_at[next_number - 1 - n] = now; else break;
    memcpy(output + output_bytes, pong, pong_bytes);
    send_all(fd, output, output_bytes + pong_bytes);
    output_bytes = pong_bytes = 0;
}

static void hear_text(const char *text, size_t size, double now) {
    char *id = memmem(text, size, "\"command_id\"", 12);
    if (!id) return;                              /* a heartbeat or a status */
    id = memmem(id, text + size - id, "cmd-", 4);
    if (!id || !memmem(text, size, "success", 7) || !memmem(text, size, "abcdef", 6)) fail("a response is no success");
    if (memmem(text, size, COMMAND_TIME, sizeof COMMAND_TIME - 1)) fail("a response bears the time of its command");
    char digits[33] = {0};
    memcpy(digits, id + 4, 32);
    unsigned number = strtoul(digits, NULL, 16);
    if (number >= next_number || seen[number] != 1) fail("a response answers nothing, or twice");
    seen[number] = 2;
    round_trip_us[answered++] = (now - sent_at[number]) * 1e6;
    in_flight--;
}

/* Take the whole frames out of the input; the agent's frames are masked and not fragmented. 0 after a close. */
static int hear(void) {
    size_t place = 0;
    double now = clock_s(CLOCK_MONOTONIC);
    while (input_bytes - place >= 6) {
        unsigned char *frame = input + place;
        size_t head = 6, size = frame[1] & 127;
        if (!(frame[1] & 128) || !(frame[0] & 128)) fail("a frame is fragmented or not masked");
        if (size == 127) fail("a frame is large");
        if (size == 126) size = frame[2] << 8 | frame[3], head = 8;
        if (input_bytes - place < head + size) break;
        unsigned char *payload = frame + head, *key = payload - 4;
        for (size_t i = 0; i < size; i++) payload[i] ^= key[i & 3];
        if ((frame[0] & 15) == 1) hear_text((char *)payload, size, now);
        if ((frame[0] & 15) == 9) {               /* a ping: the pong goes out with the commands of this turn */
            pong[0] = 0x8A, pong[1] = size;
            memcpy(pong + 2, payload, size);
            pong_bytes = size + 2;
        }
        if ((frame[0] & 15) == 8) return 0;
        place += head + size;
    }
    drop(place);
    return 1;
}

/* --- phases ------------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void run_phase(int fd, unsigned window, double seconds, clockid_t agent_clock) {
    unsigned first = answered;
    double agent_s = clock_s(agent_clock), own_s = clock_s(CLOCK_PROCESS_CPUTIME_ID), start = clock_s(CLOCK_MONOTONIC);
    double end = start + seconds;
    while (in_flight < window) add_command();
    flush(fd);
    while (in_flight) {
        if (!receive_more(fd) || !hear()) fail("the agent ended the connection");
        if (clock_s(CLOCK_MONOTONIC) < end)
            while (in_flight < window) add_command();
        if (output_bytes + pong_bytes) flush(fd);
    }
    double wall_s = clock_s(CLOCK_MONOTONIC) - start;
    agent_s = clock_s(agent_clock) - agent_s, own_s = clock_s(CLOCK_PROCESS_CPUTIME_ID) - own_s;
    unsigned count = answered - first;
    qsort(round_trip_us + first, count, sizeof(float), by_size);
    printf("{\"window\":%u,\"responses\":%u,\"wall_s\":%.6f,\"agent_cpu_s\":%.6f,\"load_cpu_s\":%.6f,\"p50_us\":%.2f,"
           "\"p99_us\":%.2f}\n", window, count, wall_s, agent_s, own_s, round_trip_us[first + count / 2],
           round_trip_us[first + (unsigned)(count * 0.99)]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    int pid, on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    clockid_t agent_clock;
    signal(SIGPIPE, SIG_IGN);
    alarm(120);                                   /* whatever hangs, this does not outlive its runner for long */
    if (bind(listener, (void *)&address, size) || listen(listener, 8) || getsockname(listener, (void *)&address, &size))
        fail("cannot listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    if (scanf("%d", &pid) != 1 || clock_getcpuclockid(pid, &agent_clock)) fail("no pid of an agent came");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) fail("cannot accept");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        input_bytes = 0, input[0] = 0;
        if (!upgraded(fd)) { close(fd); continue; }
        for (int i = 1; i + 1 < argc; i += 2) {
            unsigned window = strtoul(argv[i], NULL, 10);
            if (window < 1 || window > MAX_WINDOW) fail("a window is 1 to 1024");
            run_phase(fd, window, strtod(argv[i + 1], NULL), agent_clock);
        }
        send_all(fd, "\x88\2\3\xE8", 4);
        shutdown(fd, SHUT_WR);
        while (receive_more(fd)) input_bytes = 0;
        return 0;
    }
}

/* smtpload: clients that send all the time, and a ledger of what they were promised.
 *
 *   cc -O2 -pthread -o smtpload smtpload.c
 *   smtpload PORT AUTH SENDER CLIENTS MESSAGES TAG LEDGER
 *
 * Each of CLIENTS signs in with AUTH PLAIN (AUTH is its argument, in base64; there is no TLS) and sends messages from SENDER in
 * pipelined transactions, ten a session, each to the two recipients below, the second of them blind. When a session breaks, or
 * a message is refused for now, the client opens another session and sends the same message again, octet by octet, until it
 * has its 250: then, and before anything else, the message's name is a line of LEDGER. Ends with status 0 when MESSAGES of
 * them have one, with status 1 and a line on standard error when a reply says that something will never be taken.
 *
 * A name is TAG-NUMBER. It is in the Message-ID, and the body is the same line again and again, with the name in it; X-Lines
 * tells how often, so that whoever gets it can tell whether it is whole, and its own. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TO "bob@example.net"
#define BLIND "blind@example.net"
#define A_SESSION 10
#define PATIENCE 60 /* seconds for a reply */
#define PAUSE 20000 /* microseconds before another session after one that broke */

/* Octets, about: most go into their row, the last two into a file or rows of chunks. */
static const int sizes[] = {200, 200, 1000, 1000, 4000, 4000, 30000, 30000, 100000, 400000};

static int port, messages, ledger;
static const char *auth, *sender, *tag;
static atomic_int numbers, accepted;

struct session {
    int fd;
    size_t have, at;
    char in[4096];
};

static int put(struct session *s, const char *octets, size_t count) {
    while (count) {
        ssize_t sent = send(s->fd, octets, count, MSG_NOSIGNAL);
        if (sent <= 0) return 0;
        octets += sent;
        count -= sent;
    }
    return 1;
}

static int say(struct session *s, const char *text) { return put(s, text, strlen(text)); }

/* The code of the next reply, with all its lines read; 0 when the session is broken. */
static int reply(struct session *s) {
    char line[1024];
    size_t length = 0;
    for (;;) {
        if (s->at == s->have) {
            ssize_t got = recv(s->fd, s->in, sizeof s->in, 0);
            if (got <= 0) return 0;
            s->have = got;
            s->at = 0;
        }
        char octet = s->in[s->at++];
        if (length < sizeof line - 1) line[length++] = octet;
        if (octet != '\n') continue;
        line[length] = 0;
        if (length >= 4 && line[3] != '-') break;
        length = 0;
    }
    int code = atoi(line);
    if (code >= 500) {
        fprintf(stderr, "refused for good: %s", line);
        exit(1);
    }
    return code;
}

static int ask(struct session *s, const char *command, int expected) { return say(s, command) && reply(s) == expected; }

static int open_session(struct session *s) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE};
    int one = 1;
    char command[512];
    memset(s, 0, sizeof *s);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s->fd, (struct sockaddr *)&there, sizeof there) || reply(s) != 220) return 0;
    if (!ask(s, "EHLO load.example\r\n", 250)) return 0;
    snprintf(command, sizeof command, "AUTH PLAIN %s\r\n", auth);
    return ask(s, command, 235);
}

/* The whole of message `number`, dot included: always the same octets. The caller frees it. */
static char *content(int number, char *name, size_t *length) {
    char line[128], *text;
    int size = sizes[number % (sizeof sizes / sizeof *sizes)];
    snprintf(name, 64, "%s-%d", tag, number);
    int width = snprintf(line, sizeof line, "%s is the name in each of these lines\r\n", name), lines = size / width + 1;
    text = malloc(1024 + (size_t)lines * width);
    size_t at = sprintf(text,
                        "From: <%s>\r\nTo: <" TO ">\r\nSubject: load\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
                        "Message-ID: <%s@load.example>\r\nX-Lines: %d\r\n\r\n",
                        sender, name, lines);
    for (int i = 0; i < lines; i++, at += width) memcpy(text + at, line, width);
    memcpy(text + at, ".\r\n", 3);
    *length = at + 3;
    return text;
}

/* Whether it got its 250. */
static int transaction(struct session *s, const char *text, size_t length) {
    char commands[1024];
    snprintf(commands, sizeof commands, "MAIL FROM:<%s>\r\nRCPT TO:<" TO ">\r\nRCPT TO:<" BLIND ">\r\nDATA\r\n", sender);
    if (!say(s, commands)) return 0;
    for (int expected = 0; expected < 3; expected++)
        if (reply(s) != 250) return 0;
    return reply(s) == 354 && put(s, text, length) && reply(s) == 250;
}

static void write_down(const char *name) {
    char line[80];
    int length = snprintf(line, sizeof line, "%s\n", name);
    if (write(ledger, line, length) != length) abort();
    accepted++;
}

static void *client(void *unused) {
    char name[64], *text = NULL;
    size_t length = 0;
    while (accepted < messages) {
        struct session s;
        int good = open_session(&s);
        for (int i = 0; good && i < A_SESSION && accepted < messages; i++) {
            if (text == NULL) text = content(++numbers, name, &length);
            good = transaction(&s, text, length);
            if (good) {
                write_down(name);
                free(text);
                text = NULL;
            }
        }
        if (good) ask(&s, "QUIT\r\n", 221);
        close(s.fd);
        if (!good) usleep(PAUSE);
    }
    return unused;
}

int main(int count, char **words) {
    if (count != 8) return 2;
    port = atoi(words[1]), auth = words[2], sender = words[3], messages = atoi(words[5]), tag = words[6];
    ledger = open(words[7], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    int clients = atoi(words[4]);
    pthread_t threads[clients];
    for (int i = 0; i < clients; i++) pthread_create(&threads[i], NULL, client, NULL);
    for (int i = 0; i < clients; i++) pthread_join(threads[i], NULL);
    return 0;
}

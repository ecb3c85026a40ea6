/* smtpload: SMTP submission clients in one thread: EHLO, TLS, AUTH PLAIN, pipelined envelopes, N messages a session.
 *
 *   cc -O2 -o smtpload smtpload.c -lssl -lcrypto
 *   smtpload -p 587 -t starttls -u 'user%d@example.com' -w secret -a 50 -c 20 -m 1000 -n 10 -s 4096
 *
 *   -p PORT   of 127.0.0.1                   -t none|starttls|smtps    security
 *   -u USER   %d: number of the account      -w PASS   password
 *   -a N      accounts to choose from        -z N      numbers from one account to the next (default 1)
 *   -o        accounts in their order, from  -f N      the first account's number
 *             the first on, not by chance
 *   -c N      connections at once            -m N      messages in all
 *   -n N      messages a session; 0: sign in and quit, and -m counts sign-ins
 *   -r N      recipients a message           -B        blind: To names nobody
 *   -s BYTES  body                           -R        resume TLS sessions
 *   -e SEC    rest of a connection between two sessions
 *   -i        idle: greet, then be silent; prints "open" once all are, and goes on until SIGTERM
 *   -g        guess: a wrong password a session, without an end, until SIGTERM, each from another address
 *   -T SEC    give up after SEC seconds
 *
 * Prints one JSON object: counts, seconds, latencies in ms, replies by code. Status 1 when not everything was accepted. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINE 76       /* octets of a body line, its CRLF included */
#define AT_THE_DOOR 100 /* idle connections that are opened at the same time */

enum security { NONE, STARTTLS, SMTPS };
enum state { CONNECTING, HANDSHAKE, GREETING, EHLO, TLS, EHLO_AGAIN, AUTH, ENVELOPE, BODY, SILENT, QUIT, DONE };

struct connection {
    int fd, want, replies_left, sent, guessed;
    enum state state, after_tls;
    SSL *ssl;
    char *out; size_t out_length, out_at, out_room;
    char in[16384]; size_t in_length;
    double began, auth_began, message_began, next; /* next: when to open it again; 0: never */
    char user[256];
    int number;
};

static const char *user, *pass = "";
static int port = 25, at_once = 10, total = 1000, each = 10, recipients = 1, accounts = 1, stride = 1, first_account;
static int blind, resume, in_order, idle, guess;
static size_t body_size = 4096;
static double limit = 300, rest;
static enum security security = NONE;

static SSL_CTX *context; static SSL_SESSION *session;
static char *body; static size_t body_length;
static int poller, sessions, opened, started, accepted, rejected, auths, auth_failed, failed, resumed, live, pending, silent, guesses;
static int codes[1000];
static volatile sig_atomic_t stopped;
static float *message_ms, *auth_ms, *session_ms; static int messages_timed, auths_timed, sessions_timed;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static void stop(int signal) { (void)signal; stopped = 1; }

static void push(struct connection *c, const char *octets, size_t n) {
    if (c->out_at == c->out_length) c->out_at = c->out_length = 0;
    if (c->out_length + n > c->out_room) { c->out_room = (c->out_length + n) * 2; c->out = realloc(c->out, c->out_room); }
    memcpy(c->out + c->out_length, octets, n); c->out_length += n;
}
static void say(struct connection *c, const char *format, ...) {
    char line[2048]; va_list rest; va_start(rest, format);
    int n = vsnprintf(line, sizeof line, format, rest); va_end(rest); push(c, line, n);
}
static void quit(struct connection *c) { say(c, "QUIT\r\n"); c->state = QUIT; }

/* Connections */

static void open_connection(struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) { perror("smtpload: socket"); exit(2); }
    int one = 1; setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (guess) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f400001 + opened % 0x3ffffe)};
        bind(c->fd, (struct sockaddr *)&from, sizeof from);
    }
    c->ssl = NULL; c->in_length = c->out_length = c->out_at = 0; c->sent = c->guessed = 0; c->next = 0; pending--;
    c->state = CONNECTING; c->began = now(); live++;
    int which = in_order ? opened % accounts : rand() % accounts;
    if (user) snprintf(c->user, sizeof c->user, user, first_account + which * stride);
    opened++;
    connect(c->fd, (struct sockaddr *)&to, sizeof to);
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c}; epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e); c->want = EPOLLOUT;
}
static void watch(struct connection *c, int events) {
    if (events == c->want) return;
    struct epoll_event e = {.events = events, .data.ptr = c}; epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e); c->want = events;
}
static void open_again(struct connection *c, double pause) { c->next = now() + pause; pending++; }
static void close_connection(struct connection *c) {
    if (c->ssl) {
        if (resume && SSL_is_init_finished(c->ssl)) {
            SSL_SESSION *latest = SSL_get1_session(c->ssl);
            if (latest) { SSL_SESSION_free(session); session = latest; }
        }
        SSL_set_quiet_shutdown(c->ssl, 1); SSL_shutdown(c->ssl); SSL_free(c->ssl); c->ssl = NULL;
    }
    epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL); close(c->fd); c->fd = -1; live--;
    if (guess) open_again(c, c->guessed ? 0 : 0.2); /* whoever is turned away at the door does not come at once */
    else if (opened < sessions) open_again(c, rest);
}
static void drop(struct connection *c) { /* the session ended before its QUIT was answered */
    if (c->state != QUIT && c->state != DONE && !guess) {
        failed++;
        if (c->state == ENVELOPE || c->state == BODY) rejected++;
    }
    ERR_clear_error(); close_connection(c);
}
static void start_tls(struct connection *c, enum state after) {
    c->ssl = SSL_new(context); SSL_set_fd(c->ssl, c->fd); SSL_set_connect_state(c->ssl);
    if (resume && session) SSL_set_session(c->ssl, session);
    c->state = HANDSHAKE; c->after_tls = after; c->in_length = 0;
}

/* The language */

static void next_message(struct connection *c) {
    if (c->sent >= each || started >= total) { quit(c); return; }
    c->number = ++started; c->sent++; c->message_began = now(); c->state = ENVELOPE; c->replies_left = recipients + 2;
    say(c, "MAIL FROM:<%s>\r\n", c->user);
    for (int i = 0; i < recipients; i++) say(c, "RCPT TO:<rcpt%d@example.net>\r\n", i);
    say(c, "DATA\r\n");
}
static void message(struct connection *c) {
    say(c, "From: <%s>\r\nTo: ", c->user);
    if (blind) say(c, "undisclosed-recipients:;");
    else for (int i = 0; i < recipients; i++) say(c, "%s<rcpt%d@example.net>", i ? ",\r\n " : "", i);
    say(c, "\r\nSubject: load\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d.%d@load.example.com>\r\n"
           "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n", c->number, (int)getpid());
    push(c, body, body_length); c->state = BODY; c->replies_left = 1;
}
static void sign_in(struct connection *c) {
    if (idle) { silent++; c->state = SILENT; return; }
    char raw[800], encoded[1200];
    int n = snprintf(raw, sizeof raw, "%c%s%c%s", 0, c->user, 0, pass);
    if (guess) { n = snprintf(raw, sizeof raw, "%c%s%cguess %d", 0, c->user, 0, ++guesses); c->guessed = 1; }
    EVP_EncodeBlock((unsigned char *)encoded, (unsigned char *)raw, n);
    c->auth_began = now(); say(c, "AUTH PLAIN %s\r\n", encoded); c->state = AUTH;
}
static void signed_in(struct connection *c, int code) {
    if (guess) { quit(c); return; }
    auth_ms[auths_timed++] = (now() - c->auth_began) * 1e3;
    if (code != 235) { auth_failed++; quit(c); return; }
    auths++;
    next_message(c);
}
static void reply(struct connection *c, int code) { /* one whole reply has come */
    codes[code]++;
    switch (c->state) {
    case GREETING: if (code != 220) { failed += !guess; quit(c); break; }
        say(c, "EHLO load.example.com\r\n"); c->state = EHLO; break;
    case EHLO: if (security == STARTTLS) { say(c, "STARTTLS\r\n"); c->state = TLS; } else sign_in(c); break;
    case TLS: if (code == 220) start_tls(c, EHLO_AGAIN); else drop(c); break;
    case EHLO_AGAIN: sign_in(c); break;
    case AUTH: signed_in(c, code); break;
    case ENVELOPE: if (--c->replies_left) break;
        if (code == 354) message(c); else { rejected++; quit(c); }
        break;
    case BODY: if (code == 250) { accepted++; message_ms[messages_timed++] = (now() - c->message_began) * 1e3; } else rejected++;
        next_message(c); break;
    case QUIT: c->state = DONE;
        if (!guess) session_ms[sessions_timed++] = (now() - c->began) * 1e3;
        close_connection(c); break;
    default: break;
    }
}
static void take(struct connection *c) { /* what is in the buffer: lines, and replies of lines */
    size_t at = 0; char *end;
    while (c->fd >= 0 && c->state != HANDSHAKE && (end = memchr(c->in + at, '\n', c->in_length - at))) {
        char *line = c->in + at; size_t n = end - line + 1; at += n;
        int code = n >= 4 && line[3] != '-' ? atoi(line) : 0;
        if (code > 0 && code < 1000) reply(c, code);
    }
    if (c->fd < 0 || c->state == HANDSHAKE) { c->in_length = 0; return; }
    memmove(c->in, c->in + at, c->in_length - at); c->in_length -= at;
    if (c->in_length == sizeof c->in) drop(c);
}

/* Input and output. Each is -1 when the connection is gone, 0 when it has to wait, 1 when it may go on. */

static int shake_hands(struct connection *c) {
    int r = SSL_do_handshake(c->ssl);
    if (r != 1) {
        int e = SSL_get_error(c->ssl, r);
        if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE) { drop(c); return -1; }
        watch(c, e == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT); return 0;
    }
    resumed += SSL_session_reused(c->ssl);
    if (c->after_tls == EHLO_AGAIN) say(c, "EHLO load.example.com\r\n");
    c->state = c->after_tls;
    return 1;
}
static int flush(struct connection *c) {
    while (c->out_at < c->out_length) {
        char *octets = c->out + c->out_at; size_t n = c->out_length - c->out_at;
        ssize_t w = c->ssl ? SSL_write(c->ssl, octets, n) : send(c->fd, octets, n, MSG_NOSIGNAL);
        if (w > 0) { c->out_at += w; continue; }
        if (c->ssl ? SSL_get_error(c->ssl, w) == SSL_ERROR_WANT_WRITE : errno == EAGAIN) return 0;
        drop(c); return -1;
    }
    return 1;
}
static void pump(struct connection *c) {
    if (c->state == CONNECTING) {
        int error = 0; socklen_t n = sizeof error; getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
        if (error) { drop(c); return; }
        if (security == SMTPS) start_tls(c, GREETING); else c->state = GREETING;
    }
    for (;;) {
        if (c->state == HANDSHAKE && shake_hands(c) != 1) return;
        int flushed = flush(c);
        if (flushed < 0) return;
        char *room = c->in + c->in_length; size_t n = sizeof c->in - c->in_length;
        ssize_t r = c->ssl ? SSL_read(c->ssl, room, n) : recv(c->fd, room, n, 0);
        if (r <= 0) {
            int wait = c->ssl ? SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ : r < 0 && errno == EAGAIN;
            if (wait) watch(c, flushed ? EPOLLIN : EPOLLIN | EPOLLOUT); else drop(c);
            return;
        }
        c->in_length += r; take(c);
        if (c->fd < 0) return;
    }
}

/* All of it */

static void make_body(void) {
    body = malloc(body_size + LINE + 3);
    while (body_length < body_size) {
        for (int i = 0; i < LINE - 2; i++) body[body_length++] = 'a' + i % 26;
        body[body_length++] = '\r'; body[body_length++] = '\n';
        if (body_length > body_size) { body_length = body_size < 2 ? 2 : body_size; memcpy(body + body_length - 2, "\r\n", 2); }
    }
    memcpy(body + body_length, ".\r\n", 3); body_length += 3;
}
static int by_size(const void *a, const void *b) { float x = *(float *)a, y = *(float *)b; return (x > y) - (x < y); }
static void tell(const char *name, float *v, int n) {
    qsort(v, n, sizeof *v, by_size);
    printf(" \"%s_ms\": {\"n\": %d, \"p50\": %.2f, \"p95\": %.2f, \"p99\": %.2f, \"max\": %.2f},\n", name, n, n ? v[n / 2] : 0,
           n ? v[(int)(n * .95)] : 0, n ? v[(int)(n * .99)] : 0, n ? v[n - 1] : 0);
}
static void report(double seconds) {
    printf("{\"seconds\": %.3f, \"accepted\": %d, \"rejected\": %d, \"sessions\": %d, \"resumed\": %d, \"failed\": %d,"
           " \"auths\": %d, \"auth_failed\": %d, \"guesses\": %d, \"octets\": %.0f,\n",
           seconds, accepted, rejected, sessions_timed, resumed, failed, auths, auth_failed, guesses, (double)accepted * body_length);
    tell("message", message_ms, messages_timed); tell("auth", auth_ms, auths_timed); tell("session", session_ms, sessions_timed);
    printf(" \"codes\": {");
    for (int i = 0, k = 0; i < 1000; i++) if (codes[i]) printf("%s\"%d\": %d", k++ ? ", " : "", i, codes[i]);
    printf("}}\n");
}
static void options(int argc, char **argv) {
    int o;
    while ((o = getopt(argc, argv, "p:t:u:w:a:z:f:c:m:n:r:s:e:T:oBRig")) != -1) switch (o) {
        case 'p': port = atoi(optarg); break;
        case 't': security = !strcmp(optarg, "starttls") ? STARTTLS : !strcmp(optarg, "smtps") ? SMTPS : NONE; break;
        case 'u': user = optarg; break;         case 'w': pass = optarg; break;
        case 'a': accounts = atoi(optarg); break; case 'z': stride = atoi(optarg); break;
        case 'f': first_account = atoi(optarg); break; case 'o': in_order = 1; break;
        case 'c': at_once = atoi(optarg); break; case 'm': total = atoi(optarg); break;
        case 'n': each = atoi(optarg); break;   case 'r': recipients = atoi(optarg); break;
        case 'B': blind = 1; break;             case 's': body_size = atol(optarg); break;
        case 'R': resume = 1; break;            case 'e': rest = atof(optarg); break;
        case 'i': idle = 1; break;              case 'g': guess = 1; break;
        case 'T': limit = atof(optarg); break;  default: exit(2);
    }
}
int main(int argc, char **argv) {
    options(argc, argv);
    signal(SIGTERM, stop);
    context = SSL_CTX_new(TLS_client_method()); SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT);
    make_body();
    sessions = idle || guess ? at_once : each ? (total + each - 1) / each : total;
    message_ms = malloc(sizeof(float) * (total + 1));
    auth_ms = malloc(sizeof(float) * (sessions + 1)); session_ms = malloc(sizeof(float) * (sessions + 1));
    poller = epoll_create1(0);
    struct connection *all = calloc(at_once, sizeof *all);
    double began = now(); int told = 0;
    for (int i = 0; i < at_once; i++) { all[i].fd = -1; if (i < sessions) open_again(&all[i], 0); }
    struct epoll_event events[256];
    while ((live || pending) && !stopped && now() - began < limit) {
        /* the idle are opened in their order, a few at a time, and never again */
        for (int i = idle ? opened : 0; i < at_once && pending && !(idle && live - silent >= AT_THE_DOOR); i++) {
            struct connection *c = &all[i];
            if (c->fd >= 0 || !c->next || c->next > now()) continue;
            if (guess || opened < sessions) open_connection(c); else { c->next = 0; pending--; }
        }
        int n = epoll_wait(poller, events, 256, pending ? 1 : 200);
        for (int i = 0; i < n; i++) { struct connection *c = events[i].data.ptr; if (c->fd >= 0) pump(c); }
        if (idle && !told && silent == at_once) { told = 1; printf("open\n"); fflush(stdout); }
    }
    report(now() - began);
    return idle || guess || (each ? accepted : auths) == total ? 0 : 1;
}

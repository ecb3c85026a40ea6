/* wrong_clock: a wall clock that is wrong by as many seconds as the file $WRONG_CLOCK says at this moment (a 64-bit integer),
 * and the time since boot by as many as its second integer says.
 *
 *   cc -shared -fPIC -O2 -o wrong_clock.so wrong_clock.c
 *   LD_PRELOAD=./wrong_clock.so WRONG_CLOCK=file program
 *
 * The monotonic clock is left alone, and the time since boot is right on every machine: it is put forward to pass a limit at once. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long *wrong;

__attribute__((constructor)) static void look(void) {
    int file = open(getenv("WRONG_CLOCK"), O_RDONLY | O_CLOEXEC);
    wrong = mmap(NULL, 2 * sizeof *wrong, PROT_READ, MAP_SHARED, file, 0);
    if (wrong == MAP_FAILED) abort();
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int result = syscall(SYS_clock_gettime, clock, at);
    if (result == 0 && wrong && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += wrong[0];
    if (result == 0 && wrong && clock == CLOCK_BOOTTIME) at->tv_sec += wrong[1];
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    at->tv_sec = precise.tv_sec;
    at->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (at) *at = precise.tv_sec;
    return precise.tv_sec;
}

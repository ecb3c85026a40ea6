/* no_thread: the system lets a process start $THREADS threads and no more, as TasksMax and ulimit -u do.
 *
 *   cc -shared -fPIC -O2 -o no_thread.so no_thread.c -ldl
 *   LD_PRELOAD=./no_thread.so THREADS=3 ONLY=gateway.worker program
 *
 * With ONLY, that holds for processes that have it in their command line. A limit of the kernel's would not hold for root. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int creator(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static creator *create;
static int limited;
static atomic_int left;

__attribute__((constructor)) static void look(void) {
    char line[4096];
    const char *only = getenv("ONLY");
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = read(file, line, sizeof line);
    close(file);
    create = (creator *)dlsym(RTLD_NEXT, "pthread_create");
    limited = !only || (size > 0 && memmem(line, size, only, strlen(only)) != NULL);
    left = atoi(getenv("THREADS"));
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    if (limited && atomic_fetch_sub(&left, 1) <= 0) return EAGAIN;
    return create(thread, attributes, start, argument);
}

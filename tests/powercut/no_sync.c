/* Loaded before the C library in the service of the guest, to see that the check notices a missing sync: a sync of a file
 * whose name ends with $NO_SYNC_OF reports success and does nothing. Rust's standard library and SQLite both sync through
 * these two functions. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_left_out(int file) {
    const char *end = getenv("NO_SYNC_OF");
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (end == NULL || length < (ssize_t)strlen(end)) return 0;
    name[length] = 0;
    return strcmp(name + length - strlen(end), end) == 0;
}

int fdatasync(int file) { return is_left_out(file) ? 0 : (int)syscall(SYS_fdatasync, file); }

int fsync(int file) { return is_left_out(file) ? 0 : (int)syscall(SYS_fsync, file); }

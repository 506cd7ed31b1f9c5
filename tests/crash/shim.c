/* What a process does to the files of one directory, counted, and made to fail; for LD_PRELOAD.
 *
 * Counts the calls of the C library that change files (and those that open them) under CRASH_DIR, from the moment at
 * which the test arms it, and does what CRASH_MODE says to the CRASH_AT-th of them:
 *
 *   count    nothing
 *   once     that one fails with CRASH_ERRNO
 *   ever     that one fails, and every later one
 *   torn     as once, but half of what a write was to write is written all the same
 *   short    that one and every later write write a half and say so, which is allowed
 *   lie      that one and every later write or sync do nothing, and say that all is well
 *   nosync   that one and every later sync do nothing, and say that all is well
 *
 * CRASH_KINDS narrows which calls are meant: letters of w(rite) s(ync) o(pen) r(ename) t(runcate) u(nlink).
 * CRASH_MATCH narrows it to files whose path contains that. CRASH_TOLD is a file of struct told, which both sides
 * map.
 *
 * The calls are made by number, so that nothing of the C library has to be found first. What a program does without the
 * C library (flock, fallocate and statvfs of ours) is not seen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct told {
    _Atomic uint64_t armed;   /* set by the test */
    _Atomic uint64_t calls;   /* since then */
    _Atomic uint64_t hits;    /* of them, those to which something was done */
    _Atomic uint64_t at_ns;   /* when the first was, CLOCK_MONOTONIC */
    char what[224];           /* which call that was, and of which file */
};

enum mode { COUNT, ONCE, EVER, TORN, SHORT, LIE, NOSYNC };
static const char *const MODES[] = {"count", "once", "ever", "torn", "short", "lie", "nosync"};

static struct told *told;
static enum mode mode;
static uint64_t from;
static int error;
static const char *kinds = "wsortu", *match = "";
static char directory[PATH_MAX];
static size_t directory_length;

__attribute__((constructor)) static void begin(void)
{
    const char *dir = getenv("CRASH_DIR"), *path = getenv("CRASH_TOLD"), *name = getenv("CRASH_MODE");
    if (dir == NULL || path == NULL || name == NULL || strlen(dir) >= sizeof directory)
        return;
    strcpy(directory, dir);
    directory_length = strlen(directory);
    for (size_t i = 0; i < sizeof MODES / sizeof *MODES; i++)
        if (strcmp(MODES[i], name) == 0)
            mode = (enum mode)i;
    from = getenv("CRASH_AT") ? strtoull(getenv("CRASH_AT"), NULL, 10) : 1;
    error = getenv("CRASH_ERRNO") ? atoi(getenv("CRASH_ERRNO")) : EIO;
    if (getenv("CRASH_KINDS"))
        kinds = getenv("CRASH_KINDS");
    if (getenv("CRASH_MATCH"))
        match = getenv("CRASH_MATCH");
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct told), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped != MAP_FAILED)
        told = mapped;
}

static int inside(const char *path)
{
    return strncmp(path, directory, directory_length) == 0 && strstr(path, match) != NULL;
}

static int fd_path(int fd, char *path, size_t room)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, room - 1);
    path[length > 0 ? length : 0] = '\0';
    return length > 0;
}

/* What to do to a call: 0 is nothing. */
static int meet(char kind, const char *call, const char *path)
{
    if (!atomic_load(&told->armed) || strchr(kinds, kind) == NULL || !inside(path))
        return 0;
    uint64_t n = atomic_fetch_add(&told->calls, 1) + 1;
    int meant = mode == ONCE || mode == TORN ? n == from : mode != COUNT && n >= from;
    if (mode == SHORT)
        meant = meant && kind == 'w';
    if (mode == LIE)
        meant = meant && (kind == 'w' || kind == 's');
    if (mode == NOSYNC)
        meant = meant && kind == 's';
    if (!meant)
        return 0;
    /* Whoever else meets one waits until the first is told of: its error may end the process. */
    static atomic_flag first = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&first)) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        const char *tail = path + directory_length;
        snprintf(told->what, sizeof told->what, "%s(%.180s)", call, *tail == '/' ? tail + 1 : tail);
        atomic_store(&told->at_ns, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    } else {
        while (atomic_load(&told->at_ns) == 0)
            sched_yield();
    }
    atomic_fetch_add(&told->hits, 1);
    return 1;
}

static int meet_fd(char kind, const char *call, int fd)
{
    char path[PATH_MAX];
    if (told == NULL || !atomic_load(&told->armed))
        return 0;
    return fd_path(fd, path, sizeof path) && meet(kind, call, path);
}

static int meet_path(char kind, const char *call, int folder, const char *name)
{
    char path[2 * PATH_MAX];
    if (told == NULL || !atomic_load(&told->armed) || name == NULL)
        return 0;
    if (name[0] == '/')
        return meet(kind, call, name);
    if (folder == AT_FDCWD || !fd_path(folder, path, PATH_MAX))
        return 0;
    size_t length = strlen(path);
    snprintf(path + length, sizeof path - length, "/%s", name);
    return meet(kind, call, path);
}

static int fails(void)
{
    errno = error;
    return -1;
}

/* A write, met: how much of it to write (then go on), or what to return (-2: go on with all). */
static ssize_t wrong(size_t length, size_t *write_length)
{
    *write_length = length > 1 ? length / 2 : length;
    switch (mode) {
    case SHORT:
        return -2;
    case LIE:
        *write_length = 0;
        return (ssize_t)length;
    case TORN:
        return fails();
    default:
        *write_length = 0;
        return fails();
    }
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
    if (!meet_fd('w', "pwrite", fd))
        return syscall(SYS_pwrite64, fd, bytes, length, at);
    size_t part;
    ssize_t answer = wrong(length, &part);
    int why = errno;
    ssize_t written = part > 0 ? syscall(SYS_pwrite64, fd, bytes, part, at) : 0;
    errno = why;
    return answer == -2 ? written : answer;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
    return pwrite64(fd, bytes, length, at);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    if (!meet_fd('w', "write", fd))
        return syscall(SYS_write, fd, bytes, length);
    size_t part;
    ssize_t answer = wrong(length, &part);
    int why = errno;
    ssize_t written = part > 0 ? syscall(SYS_write, fd, bytes, part) : 0;
    errno = why;
    return answer == -2 ? written : answer;
}

static size_t length_of(const struct iovec *parts, int count)
{
    size_t length = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    return length;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (count <= 0 || !meet_fd('w', "writev", fd))
        return syscall(SYS_writev, fd, parts, count);
    size_t part;
    ssize_t answer = wrong(length_of(parts, count), &part);
    int why = errno;
    /* The first piece stands for the half. */
    ssize_t written = part > 0 ? syscall(SYS_writev, fd, parts, 1) : 0;
    errno = why;
    return answer == -2 ? written : answer;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
    if (count <= 0 || !meet_fd('w', "pwritev", fd))
        return syscall(SYS_pwritev, fd, parts, count, at, 0);
    size_t part;
    ssize_t answer = wrong(length_of(parts, count), &part);
    int why = errno;
    ssize_t written = part > 0 ? syscall(SYS_pwritev, fd, parts, 1, at, 0) : 0;
    errno = why;
    return answer == -2 ? written : answer;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return pwritev64(fd, parts, count, at);
}

static int synced(void)
{
    return mode == LIE || mode == NOSYNC ? 0 : fails();
}

int fsync(int fd)
{
    return meet_fd('s', "fsync", fd) ? synced() : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return meet_fd('s', "fdatasync", fd) ? synced() : (int)syscall(SYS_fdatasync, fd);
}

int sync_file_range(int fd, off64_t at, off64_t length, unsigned int flags)
{
    if (meet_fd('s', "sync_file_range", fd))
        return synced();
    return (int)syscall(SYS_sync_file_range, fd, at, length, flags);
}

#define MODE_ARGUMENT(flags, permissions)                  \
    mode_t permissions = 0;                                \
    if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) { \
        va_list rest;                                      \
        va_start(rest, flags);                             \
        permissions = va_arg(rest, mode_t);                \
        va_end(rest);                                      \
    }

static int opened(int folder, const char *path, int flags, mode_t permissions)
{
    if (meet_path('o', "open", folder, path))
        return fails();
    return (int)syscall(SYS_openat, folder, path, flags, permissions);
}

int open(const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags, permissions)
    return opened(AT_FDCWD, path, flags, permissions);
}

int open64(const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags, permissions)
    return opened(AT_FDCWD, path, flags, permissions);
}

int openat(int folder, const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags, permissions)
    return opened(folder, path, flags, permissions);
}

int openat64(int folder, const char *path, int flags, ...)
{
    MODE_ARGUMENT(flags, permissions)
    return opened(folder, path, flags, permissions);
}

int rename(const char *old, const char *new)
{
    if (meet_path('r', "rename", AT_FDCWD, old))
        return fails();
    return (int)syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0);
}

int ftruncate64(int fd, off64_t length)
{
    return meet_fd('t', "ftruncate", fd) ? fails() : (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int unlink(const char *path)
{
    return meet_path('u', "unlink", AT_FDCWD, path) ? fails() : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int unlinkat(int folder, const char *path, int flags)
{
    return meet_path('u', "unlinkat", folder, path) ? fails() : (int)syscall(SYS_unlinkat, folder, path, flags);
}

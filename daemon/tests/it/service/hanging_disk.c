/* A disk that hangs: fdatasync waits as long as the file that HANGING_DISK names is there. Loaded before the C library
 * (LD_PRELOAD), because no file system that a test may mount can be told to hang. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int fd)
{
    const char *name = getenv("HANGING_DISK");

    while (name && access(name, F_OK) == 0)
        usleep(10000);
    return syscall(SYS_fdatasync, fd);
}

/*
 * A disk that fails on demand, for a program that this is loaded into (LD_PRELOAD).
 *
 * Files whose path has SLUICE_FAULTY_FILES in it (but for shared memory, "-shm") are on that disk. While a file of the name
 * on the left is in the folder SLUICE_FAULTS, the disk does what is on the right:
 *
 *   write-fails   writes fail with EIO
 *   sync-fails    fsync and fdatasync fail with EIO; what was written is still to be read, as with ext4
 *   sync-loses    the same, and what was written since the last sync is gone from the file, as with file systems that drop
 *                 pages that could not be written; a later sync of nothing succeeds
 *   sync-stalls   fsync and fdatasync return when the file is gone
 *
 * What a write replaces is remembered until the next sync of that file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* The bytes that a write has replaced; `size` is the file's before it. */
struct piece {
    struct piece *before;
    dev_t device;
    ino_t inode;
    off_t at, size;
    size_t length;
    char bytes[];
};

static struct piece *latest;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*true_write)(int, const void *, size_t);
static ssize_t (*true_pwrite)(int, const void *, size_t, off_t);
static int (*true_fsync)(int);
static int (*true_fdatasync)(int);

__attribute__((constructor)) static void find(void) {
    true_write = dlsym(RTLD_NEXT, "write");
    true_pwrite = dlsym(RTLD_NEXT, "pwrite");
    true_fsync = dlsym(RTLD_NEXT, "fsync");
    true_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
}

static int happens(const char *fault) {
    char path[4096];
    const char *folder = getenv("SLUICE_FAULTS");
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, fault);
    return access(path, F_OK) == 0;
}

static int is_on_it(int file) {
    char link[64], path[4096];
    const char *name = getenv("SLUICE_FAULTY_FILES");
    if (!name) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, name) && !strstr(path, "-shm");
}

static void remember(int file, size_t length, off_t at) {
    struct stat known;
    if (fstat(file, &known) != 0) return;
    struct piece *piece = malloc(sizeof *piece + length);
    if (!piece) abort();
    piece->device = known.st_dev;
    piece->inode = known.st_ino;
    piece->at = at;
    piece->size = known.st_size;
    ssize_t read = pread(file, piece->bytes, length, at);
    piece->length = read > 0 ? (size_t)read : 0;
    pthread_mutex_lock(&lock);
    piece->before = latest;
    latest = piece;
    pthread_mutex_unlock(&lock);
}

/* Forgets what was written to a file since its last sync; the latest first, it is undone before. */
static void forget(int file, int undo) {
    struct stat known;
    if (fstat(file, &known) != 0) return;
    pthread_mutex_lock(&lock);
    for (struct piece **at = &latest; *at;) {
        struct piece *piece = *at;
        if (piece->device != known.st_dev || piece->inode != known.st_ino) {
            at = &piece->before;
            continue;
        }
        if (undo && (true_pwrite(file, piece->bytes, piece->length, piece->at) < 0 || ftruncate(file, piece->size) != 0))
            abort();
        *at = piece->before;
        free(piece);
    }
    pthread_mutex_unlock(&lock);
}

static int sync_with(int (*true_sync)(int), int file) {
    if (!is_on_it(file)) return true_sync(file);
    while (happens("sync-stalls")) usleep(5000);
    int loses = happens("sync-loses");
    if (loses || happens("sync-fails")) {
        forget(file, loses);
        errno = EIO;
        return -1;
    }
    forget(file, 0);
    return true_sync(file);
}

int fsync(int file) { return sync_with(true_fsync, file); }
int fdatasync(int file) { return sync_with(true_fdatasync, file); }

ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) {
    if (is_on_it(file)) {
        if (happens("write-fails")) {
            errno = EIO;
            return -1;
        }
        remember(file, length, at);
    }
    return true_pwrite(file, bytes, length, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t at) { return pwrite(file, bytes, length, at); }

ssize_t write(int file, const void *bytes, size_t length) {
    if (is_on_it(file)) {
        if (happens("write-fails")) {
            errno = EIO;
            return -1;
        }
        off_t at = lseek(file, 0, SEEK_CUR);
        if (at >= 0) remember(file, length, at);
    }
    return true_write(file, bytes, length);
}

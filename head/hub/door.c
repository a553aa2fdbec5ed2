// SPDX-License-Identifier: Apache-2.0
//
// door.c - see door.h.
//
// Descriptors are used again, and what the monitor tells comes late: a socket is known by its inode
// as well, and only shut if the descriptor is still that socket. A shut connection stays in the
// table until the monitor says that libzmq has closed it.

#include "head/hub/door.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/alloc.h"

#define FDS_MAX    1048576
#define SIZE_LEAST 256
#define TRIM_MS    200 // from cutting a message to giving its memory back
#define NOBODY     (-1)

typedef struct door {
    ino_t inode;
    uint64_t since_ms; // silent since
    uint64_t bytes;    // that the kernel had received when it was last seen to speak
    int prev;          // in the list of silent ones, by their age
    int next;
    bool is_open;
    bool is_silent; // in the list
    bool is_tcp;
    bool has_spoken; // since its bytes were looked at
} door_t;

struct shoal_doors {
    door_t *doors; // by descriptor
    size_t size;
    size_t descriptors;
    size_t open;
    size_t tcp;
    size_t silent;
    int first; // silent for longest
    int last;
    uint64_t shut;
    int memory_fd; // /proc/self/statm
    uint64_t memory_bytes;
    uint64_t look_ms;
    uint64_t trim_ms;
};

shoal_doors_t *
shoal_doors_new(size_t descriptors)
{
    shoal_doors_t *doors = shoal_alloc(sizeof(*doors));
    doors->descriptors = descriptors;
    doors->first = doors->last = NOBODY;
    doors->trim_ms = SHOAL_TIME_NEVER;
    doors->memory_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    return doors;
}

void
shoal_doors_destroy(shoal_doors_t **doors)
{
    if (!doors || !*doors) {
        return;
    }
    if ((*doors)->memory_fd >= 0) {
        (void)close((*doors)->memory_fd);
    }
    free((*doors)->doors);
    free(*doors);
    *doors = NULL;
}

static door_t *
door_find(const shoal_doors_t *doors, int fd)
{
    return fd >= 0 && (size_t)fd < doors->size && doors->doors[fd].is_open ? &doors->doors[fd]
                                                                           : NULL;
}

// ---- the list of silent ones

static void
silent_add(shoal_doors_t *doors, int fd, uint64_t now_ms)
{
    door_t *door = &doors->doors[fd];
    door->is_silent = true;
    door->since_ms = now_ms;
    door->prev = doors->last;
    door->next = NOBODY;
    *(doors->last != NOBODY ? &doors->doors[doors->last].next : &doors->first) = fd;
    doors->last = fd;
    doors->silent++;
}

static void
silent_remove(shoal_doors_t *doors, int fd)
{
    door_t *door = &doors->doors[fd];
    if (door->is_silent) {
        *(door->prev != NOBODY ? &doors->doors[door->prev].next : &doors->first) = door->next;
        *(door->next != NOBODY ? &doors->doors[door->next].prev : &doors->last) = door->prev;
        door->is_silent = false;
        doors->silent--;
    }
}

// ---- shutting

// The inode of a socket; 0: it is none.
static ino_t
socket_inode(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode) ? about.st_ino : 0;
}

// libzmq sees its end and closes it.
static void
door_shut(shoal_doors_t *doors, int fd)
{
    silent_remove(doors, fd);
    if (socket_inode(fd) == doors->doors[fd].inode && shutdown(fd, SHUT_RDWR) == 0) {
        doors->shut++;
    }
}

// ---- what happens to a connection

static void
table_grow(shoal_doors_t *doors, size_t least)
{
    size_t size = doors->size ? doors->size : SIZE_LEAST;
    while (size < least) {
        size *= 2;
    }
    if (size > doors->size) {
        doors->doors = shoal_realloc(doors->doors, size * sizeof(door_t));
        memset(&doors->doors[doors->size], 0, (size - doors->size) * sizeof(door_t));
        doors->size = size;
    }
}

static bool
is_tcp(int fd)
{
    int domain = 0;
    socklen_t len = sizeof(domain);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
           (domain == AF_INET || domain == AF_INET6);
}

void
shoal_door_open(shoal_doors_t *doors, int fd, uint64_t now_ms)
{
    ino_t inode = fd >= 0 && fd < FDS_MAX ? socket_inode(fd) : 0;
    const door_t *known = door_find(doors, fd);
    if (inode == 0 || (known && known->inode == inode)) {
        return; // gone again already, or heard before the monitor told of it
    }
    shoal_door_close(doors, fd);
    table_grow(doors, (size_t)fd + 1);
    door_t *door = &doors->doors[fd];
    *door = (door_t){.inode = inode, .is_open = true, .is_tcp = is_tcp(fd)};
    doors->open++;
    doors->tcp += door->is_tcp ? 1 : 0;
    silent_add(doors, fd, now_ms);
    bool is_crowded = doors->silent > SHOAL_DOORS_SILENT_MAX ||
                      doors->open + SHOAL_DOORS_SPARE > doors->descriptors;
    if (is_crowded) {
        door_shut(doors, doors->first);
    }
}

void
shoal_door_heard(shoal_doors_t *doors, int fd)
{
    door_t *door = door_find(doors, fd);
    if (!door) {
        shoal_door_open(doors, fd, 0);
        door = door_find(doors, fd);
    }
    if (door) {
        door->has_spoken = true;
        silent_remove(doors, fd);
    }
}

void
shoal_door_quiet(shoal_doors_t *doors, int fd, uint64_t now_ms)
{
    const door_t *door = door_find(doors, fd);
    if (door && !door->is_silent && socket_inode(fd) == door->inode) {
        silent_add(doors, fd, now_ms);
    }
}

void
shoal_door_close(shoal_doors_t *doors, int fd)
{
    door_t *door = door_find(doors, fd);
    if (door) {
        silent_remove(doors, fd);
        door->is_open = false;
        doors->open--;
        doors->tcp -= door->is_tcp ? 1 : 0;
    }
}

// ---- messages without end

static uint64_t
process_bytes(const shoal_doors_t *doors)
{
    char text[128] = "";
    ssize_t len = doors->memory_fd < 0 ? 0 : pread(doors->memory_fd, text, sizeof(text) - 1, 0);
    const char *second = len > 0 ? strchr(text, ' ') : NULL; // pages: all, resident, ...
    uint64_t resident = second ? strtoull(second, NULL, 10) : 0;
    if (resident == 0) {
        return UINT64_MAX; // not known: look at everybody each time
    }
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

// What libzmq has freed of messages that were cut would stay with the process: the next one could
// begin where the last one ended.
static void
memory_trim(shoal_doors_t *doors, uint64_t now_ms)
{
    if (now_ms >= doors->trim_ms) {
        (void)malloc_trim(0);
        doors->trim_ms = SHOAL_TIME_NEVER;
    }
}

static void
bytes_look(shoal_doors_t *doors, uint64_t now_ms)
{
    for (size_t fd = 0; fd < doors->size; fd++) {
        door_t *door = &doors->doors[fd];
        struct tcp_info info = {0};
        socklen_t len = sizeof(info);
        if (!door->is_open || !door->is_tcp ||
            getsockopt((int)fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0) {
            continue;
        }
        if (door->has_spoken) {
            door->has_spoken = false;
            door->bytes = info.tcpi_bytes_received;
        } else if (info.tcpi_bytes_received - door->bytes > SHOAL_DOORS_MESSAGE_MAX) {
            door_shut(doors, (int)fd);
            doors->trim_ms = doors->trim_ms < now_ms + TRIM_MS ? doors->trim_ms : now_ms + TRIM_MS;
        }
    }
}

uint64_t
shoal_doors_run(shoal_doors_t *doors, uint64_t now_ms)
{
    while (doors->first != NOBODY &&
           doors->doors[doors->first].since_ms + SHOAL_DOORS_SILENT_MS <= now_ms) {
        door_shut(doors, doors->first);
    }
    uint64_t due_ms = doors->first == NOBODY
                          ? SHOAL_TIME_NEVER
                          : doors->doors[doors->first].since_ms + SHOAL_DOORS_SILENT_MS;
    if (doors->tcp == 0) {
        return due_ms;
    }
    memory_trim(doors, now_ms);
    if (now_ms >= doors->look_ms) {
        uint64_t bytes = process_bytes(doors);
        doors->look_ms = now_ms + SHOAL_DOORS_LOOK_MS;
        if (bytes < doors->memory_bytes) {
            doors->memory_bytes = bytes;
        } else if (bytes - doors->memory_bytes > SHOAL_DOORS_GROWTH) {
            doors->memory_bytes = bytes;
            bytes_look(doors, now_ms);
        }
    }
    return due_ms < doors->look_ms ? due_ms : doors->look_ms;
}

size_t
shoal_doors_open(const shoal_doors_t *doors)
{
    return doors->open;
}

size_t
shoal_doors_silent(const shoal_doors_t *doors)
{
    return doors->silent;
}

uint64_t
shoal_doors_shut(const shoal_doors_t *doors)
{
    return doors->shut;
}

/* Lock-step shim for Luanti/Minetest 5.6 (Irrlicht on X11/GLX), loaded with LD_PRELOAD.
 *
 * The game believes in a clock that only this file advances: one tick (tick_us) for each finished frame. In
 * glXSwapBuffers, where a frame is complete, the main thread
 *   1. waits until the server thread has simulated as much time as the client,
 *   2. copies the picture and writes one byte 'd' (done) to the control socket,
 *   3. sleeps in read() until the controlling process sends one byte 'g' (go), and
 *   4. puts the keys, buttons and pointer motion found in shared memory into the X queue.
 * A closed control socket ends the game: a controller that dies takes its game with it.
 * The server mod (mod/init.lua) calls steve_publish and steve_fetch through LuaJIT's ffi.
 */
#define _GNU_SOURCE
#include <X11/Xlib.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { COMMAND_AT = 64 << 10, STATE_AT = 128 << 10, PIXELS_AT = 1 << 20, MAX_EVENTS = 64, WARMUP_FRAMES = 6, STALL_US = 3000000 };
enum { GL_BGRA_ = 0x80E1, GL_UNSIGNED_BYTE_ = 0x1401 };

/* The order of these fields is repeated in shared.py. */
struct input { int32_t type, code; };
struct shared {
    uint32_t lockstep, width, height, tick_us;
    uint32_t n_inputs, gui_open, server_steps, stalls;
    uint32_t command_len, state_len, state_seq, grace_us;
    int32_t dx, dy, pointer_x, pointer_y;
    double client_time, server_time, lead;
    struct input inputs[MAX_EVENTS];
};

static volatile struct shared *shm;
static char *area;
static int control = -1;
static volatile int locked;              /* the virtual clock runs; set after the times that it begins with */
static int64_t virtual_us, start_monotonic_us, start_wall_us;
static pthread_t main_thread;
static uint16_t drawn_port, own_port;    /* network byte order; own_port is reserved by the controller */
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);

static int64_t real_us(int clock) {
    struct timespec t;
    syscall(SYS_clock_gettime, clock, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void real_sleep(long us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    syscall(SYS_nanosleep, &t, NULL);
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("STEVE_SHM"), *number = getenv("STEVE_FD");
    struct stat info;
    main_thread = pthread_self();
    real_sem_timedwait = dlsym(RTLD_NEXT, "sem_timedwait");
    if (!path || !number) return;
    int file = open(path, O_RDWR);
    if (file < 0 || fstat(file, &info) != 0) return;
    area = mmap(NULL, info.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (area == MAP_FAILED) return;
    shm = (volatile struct shared *)area;
    control = atoi(number);
    if (getenv("STEVE_PORT")) own_port = htons(atoi(getenv("STEVE_PORT")));
    unsetenv("LD_PRELOAD");
}

/* ---- the clock ---- */

int clock_gettime(clockid_t clock, struct timespec *t) {
    if (clock != CLOCK_MONOTONIC_RAW || !locked) return syscall(SYS_clock_gettime, clock, t);
    int64_t now = start_monotonic_us + virtual_us;
    t->tv_sec = now / 1000000;
    t->tv_nsec = now % 1000000 * 1000;
    return 0;
}

int gettimeofday(struct timeval *t, void *zone) {
    (void)zone;
    int64_t now = locked ? start_wall_us + virtual_us : real_us(CLOCK_REALTIME);
    t->tv_sec = now / 1000000;
    t->tv_usec = now % 1000000;
    return 0;
}

/* The frame limiter of the main thread would sleep real time for virtual reasons. */
static int is_limiter(void) { return locked && pthread_equal(pthread_self(), main_thread); }

int usleep(useconds_t us) {
    if (!is_limiter()) real_sleep(us);
    return 0;
}

int nanosleep(const struct timespec *span, struct timespec *rest) {
    return is_limiter() ? 0 : syscall(SYS_nanosleep, span, rest);
}

static int server_is_behind(void) { return shm->client_time - shm->server_time - shm->lead > 0.4e-6 * shm->tick_us; }

/* Deadlines come from the virtual gettimeofday above, so they are translated to real time (at most 50 ms). The
 * server thread wakes at once when a simulation step is due, instead of waiting for packets until its deadline. */
int sem_timedwait(sem_t *semaphore, const struct timespec *deadline) {
    static __thread int is_server = -1;
    if (!shm || !locked) return real_sem_timedwait(semaphore, deadline);
    if (is_server < 0) {
        char name[32] = "";
        pthread_getname_np(pthread_self(), name, sizeof name);
        is_server = strcmp(name, "Server") == 0;
    }
    int64_t span = deadline->tv_sec * 1000000LL + deadline->tv_nsec / 1000 - (start_wall_us + virtual_us);
    span = span < 0 ? 0 : span > 50000 ? 50000 : span;
    int64_t now = real_us(CLOCK_REALTIME), end = now + span;
    for (;;) {
        int64_t until = is_server && end > now + 200 ? now + 200 : end;
        struct timespec t = {until / 1000000, until % 1000000 * 1000};
        if (real_sem_timedwait(semaphore, &t) == 0) return 0;
        if (errno == EINTR) return -1;
        now = real_us(CLOCK_REALTIME);
        if (now >= end || (is_server && server_is_behind())) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
}

/* ---- the port: a single-player game draws one from the time in seconds, so two starts can draw the same ---- */

static uint16_t *port_of(const struct sockaddr *address) {
    if (!address || !own_port) return NULL;
    if (address->sa_family == AF_INET) return &((struct sockaddr_in *)address)->sin_port;
    if (address->sa_family == AF_INET6) return &((struct sockaddr_in6 *)address)->sin6_port;
    return NULL;
}

int bind(int socket, const struct sockaddr *address, socklen_t length) {
    struct sockaddr_storage copy;
    uint16_t *port = port_of(address);
    if (!port || !*port || length > sizeof copy) return syscall(SYS_bind, socket, address, length);
    drawn_port = *port;
    memcpy(&copy, address, length);
    *port_of((struct sockaddr *)&copy) = own_port;
    return syscall(SYS_bind, socket, &copy, length);
}

ssize_t sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    struct sockaddr_storage copy;
    uint16_t *port = port_of(to);
    if (port && drawn_port && *port == drawn_port && length <= sizeof copy) {
        memcpy(&copy, to, length);
        *port_of((struct sockaddr *)&copy) = own_port;
        to = (struct sockaddr *)&copy;
    }
    return syscall(SYS_sendto, socket, data, size, flags, to, length);
}

ssize_t recvfrom(int socket, void *data, size_t size, int flags, struct sockaddr *from, socklen_t *length) {
    ssize_t got = syscall(SYS_recvfrom, socket, data, size, flags, from, length);
    uint16_t *port = got >= 0 ? port_of(from) : NULL;
    if (port && drawn_port && *port == own_port) *port = drawn_port;
    return got;
}

/* ---- the server mod's side ---- */

int steve_publish(double dtime, const char *json, int length) {
    if (!shm) return 0;
    if (length > 0 && length < PIXELS_AT - STATE_AT) {
        shm->state_seq++;                /* odd while the text changes */
        __sync_synchronize();
        memcpy(area + STATE_AT, json, length);
        shm->state_len = length;
        __sync_synchronize();
        shm->state_seq++;
    }
    shm->server_time += dtime;
    shm->server_steps++;
    return 1;
}

int steve_fetch(char *buffer, int size) {
    if (!shm || !buffer) return 0;
    int length = shm->command_len;
    if (length <= 0 || length >= size) return 0;
    memcpy(buffer, area + COMMAND_AT, length);
    __sync_synchronize();
    shm->command_len = 0;
    return length;
}

/* ---- the pointer: hidden and put back to the middle when it moved, except while a menu is open ---- */

int XDefineCursor(Display *d, Window w, Cursor cursor) {
    static int (*real)(Display *, Window, Cursor);
    if (!real) real = dlsym(RTLD_NEXT, "XDefineCursor");
    if (shm) shm->gui_open = 0;          /* the only cursor that this game defines is the invisible one */
    return real(d, w, cursor);
}

int XUndefineCursor(Display *d, Window w) {
    static int (*real)(Display *, Window);
    if (!real) real = dlsym(RTLD_NEXT, "XUndefineCursor");
    if (shm) shm->gui_open = 1;
    return real(d, w);
}

Bool XQueryPointer(Display *d, Window w, Window *root, Window *child, int *root_x, int *root_y, int *x, int *y,
                   unsigned *mask) {
    static Bool (*real)(Display *, Window, Window *, Window *, int *, int *, int *, int *, unsigned *);
    if (!real) real = dlsym(RTLD_NEXT, "XQueryPointer");
    if (!locked) return real(d, w, root, child, root_x, root_y, x, y, mask);
    *root = w;
    *child = 0;
    *root_x = *x = shm->pointer_x;
    *root_y = *y = shm->pointer_y;
    *mask = 0;
    return True;
}

static int note_warp(int x, int y) {
    if (!shm) return 0;
    shm->pointer_x = x;
    shm->pointer_y = y;
    return locked;
}

int XWarpPointer(Display *d, Window from, Window to, int a, int b, unsigned e, unsigned g, int x, int y) {
    static int (*real)(Display *, Window, Window, int, int, unsigned, unsigned, int, int);
    if (!real) real = dlsym(RTLD_NEXT, "XWarpPointer");
    return note_warp(x, y) ? 1 : real(d, from, to, a, b, e, g, x, y);
}

int XIWarpPointer(Display *d, int device, Window from, Window to, double a, double b, unsigned e, unsigned g, double x,
                  double y) {
    static int (*real)(Display *, int, Window, Window, double, double, unsigned, unsigned, double, double);
    if (!real) real = dlsym(RTLD_NEXT, "XIWarpPointer");
    return note_warp((int)x, (int)y) ? 0 : real(d, device, from, to, a, b, e, g, x, y);
}

/* ---- input ---- */

static int clamp(int value, int limit) { return value < 0 ? 0 : value >= limit ? limit - 1 : value; }

static void inject(Display *display, Window window) {
    static unsigned held;
    XEvent queue[MAX_EVENTS + 1];
    int n = 0;
    memset(queue, 0, sizeof queue);
    if (shm->dx || shm->dy) {
        int x = shm->pointer_x + shm->dx, y = shm->pointer_y + shm->dy;
        if (shm->gui_open) { x = clamp(x, shm->width); y = clamp(y, shm->height); }
        shm->pointer_x = x;
        shm->pointer_y = y;
        XMotionEvent *e = &queue[n++].xmotion;
        e->type = MotionNotify;
        e->x = x;
        e->y = y;
        e->state = held;
        e->same_screen = 1;
    }
    for (uint32_t i = 0; i < shm->n_inputs && i < MAX_EVENTS; i++) {
        int type = shm->inputs[i].type, code = shm->inputs[i].code;
        XEvent *e = &queue[n++];
        e->xany.type = type;
        if (type == KeyPress || type == KeyRelease) {
            e->xkey.keycode = code;
            e->xkey.time = virtual_us / 1000;
            e->xkey.x = shm->pointer_x;
            e->xkey.y = shm->pointer_y;
            e->xkey.same_screen = 1;
        } else if (type == ButtonPress || type == ButtonRelease) {
            unsigned bit = Button1Mask << (code - 1);
            held = type == ButtonPress ? held | bit : held & ~bit;
            e->xbutton.button = code;
            e->xbutton.state = held;
            e->xbutton.time = virtual_us / 1000;
            e->xbutton.x = shm->pointer_x;
            e->xbutton.y = shm->pointer_y;
            e->xbutton.same_screen = 1;
        }
    }
    shm->n_inputs = 0;
    shm->dx = shm->dy = 0;
    while (n--) {                        /* the queue is a stack: the first event goes in last */
        queue[n].xany.display = display;
        queue[n].xany.window = window;
        XPutBackEvent(display, &queue[n]);
    }
}

/* ---- the barrier ---- */

extern void glReadPixels(int, int, int, int, unsigned, unsigned, void *);

static void wait_for_server(void) {
    static unsigned frames;
    int64_t begin = real_us(CLOCK_MONOTONIC);
    if (++frames <= WARMUP_FRAMES) real_sleep(80000);
    /* By how much the server's clock lags when it has done all it was told is the smallest lag ever seen. */
    if (shm->client_time - shm->server_time < shm->lead) shm->lead = shm->client_time - shm->server_time;
    while (server_is_behind()) {
        if (real_us(CLOCK_MONOTONIC) - begin > STALL_US) {
            shm->stalls++;
            shm->lead = shm->client_time - shm->server_time;
            break;
        }
        real_sleep(50);
    }
    if (shm->grace_us) real_sleep(shm->grace_us);
}

void glXSwapBuffers(Display *display, unsigned long drawable) {
    static void (*real)(Display *, unsigned long);
    char byte = 'd';
    if (!real) real = dlsym(RTLD_NEXT, "glXSwapBuffers");
    if (!shm || !shm->lockstep) { real(display, drawable); return; }
    if (!locked) {
        start_monotonic_us = real_us(CLOCK_MONOTONIC_RAW);
        start_wall_us = real_us(CLOCK_REALTIME);
        shm->client_time = 0;
        shm->lead = 1e9;
        __sync_synchronize();            /* other threads read the times as soon as they see this */
        locked = 1;
    } else {
        shm->client_time += shm->tick_us * 1e-6;
        wait_for_server();
    }
    glReadPixels(0, 0, shm->width, shm->height, GL_BGRA_, GL_UNSIGNED_BYTE_, area + PIXELS_AT);
    if (write(control, &byte, 1) != 1 || read(control, &byte, 1) != 1) _exit(0);
    inject(display, drawable);
    virtual_us += shm->tick_us;
}

/* The part of demond that runs in JACK's real-time thread, and the atomic words that all processes share.
 *
 * Built as a plain shared object for ctypes: no Python headers, no JACK headers, no libjack. The audio process hands
 * the two libjack functions that the callback needs over as pointers. Everything the callback touches is either the
 * shared playback loop (struct header and the two areas behind it) or the player, which the audio process allocates.
 *
 * Contract: demond_process() runs in JACK's process thread. It never allocates, locks, logs or calls libc beyond
 * memset and clock_gettime. demond_on_*() run in JACK's notification thread and only count. All else runs in ordinary
 * threads. The layout's other half, with the meaning of each word, is demond/audio/layout.py.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
#define LINE 64
#define BUCKETS 192
#define LAYOUT_VERSION 1

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free");

typedef _Atomic uint64_t word;

struct header {
    /* the daemon, once */
    _Alignas(LINE) word magic;
    word version, capacity, areas;
    /* the daemon */
    _Alignas(LINE) word gain;
    word mute, running;
    /* the engine */
    _Alignas(LINE) word generation;
    word rates[2], frames[2];
    _Alignas(LINE) word journal;
    word journal_start, journal_length;
    _Alignas(LINE) word engine_heartbeat;
    _Alignas(LINE) word figures_sequence;
    word figures[2][24];
    /* the audio process: its callback */
    _Alignas(LINE) word place_sequence;
    word places[2][4];
    _Alignas(LINE) word cycles;
    word rate, period, last_frame_time, skipped, silent_frames, settled, longest_ns;
    _Alignas(LINE) word histogram[BUCKETS];
    /* the audio process: JACK's notification thread */
    _Alignas(LINE) word xruns;
    /* the audio process: its main thread */
    _Alignas(LINE) word audio_heartbeat;
    word connected, latency_min, latency_max, starts, native;
    _Alignas(LINE) word end;
};

/* what places[] holds: one consistent reading of the playhead */
enum { PLAYHEAD, POSITION, FRAMES, GENERATION };

/* ---- the layout, for the test that C and Python agree ----------------------------------------------------------- */

#define FIELD(name) { #name, offsetof(struct header, name) }
static const struct { const char *name; size_t offset; } fields[] = {
    FIELD(magic), FIELD(version), FIELD(capacity), FIELD(areas),
    FIELD(gain), FIELD(mute), FIELD(running),
    FIELD(generation), FIELD(rates), FIELD(frames),
    FIELD(journal), FIELD(journal_start), FIELD(journal_length),
    FIELD(engine_heartbeat), FIELD(figures_sequence), FIELD(figures),
    FIELD(place_sequence), FIELD(places),
    FIELD(cycles), FIELD(rate), FIELD(period), FIELD(last_frame_time), FIELD(skipped), FIELD(silent_frames),
    FIELD(settled), FIELD(longest_ns), FIELD(histogram),
    FIELD(xruns),
    FIELD(audio_heartbeat), FIELD(connected), FIELD(latency_min), FIELD(latency_max), FIELD(starts), FIELD(native),
    FIELD(end),
};

EXPORT uint64_t demond_layout_version(void) { return LAYOUT_VERSION; }
EXPORT uint64_t demond_layout_fields(void) { return sizeof fields / sizeof *fields; }
EXPORT const char *demond_layout_name(uint64_t i) { return fields[i].name; }
EXPORT uint64_t demond_layout_offset(uint64_t i) { return fields[i].offset; }

/* ---- words ------------------------------------------------------------------------------------------------------ */

static inline uint64_t get(const word *w) { return atomic_load_explicit(w, memory_order_relaxed); }
static inline uint64_t acquire(const word *w) { return atomic_load_explicit(w, memory_order_acquire); }
static inline void set(word *w, uint64_t value) { atomic_store_explicit(w, value, memory_order_relaxed); }
static inline void release(word *w, uint64_t value) { atomic_store_explicit(w, value, memory_order_release); }
/* only for words with one writer, which is us: cheaper than a locked instruction */
static inline void add(word *w, uint64_t value) { release(w, get(w) + value); }

EXPORT uint64_t demond_load_u64(const word *w) { return acquire(w); }
EXPORT void demond_store_u64(word *w, uint64_t value) { release(w, value); }
EXPORT void demond_fence(void) { atomic_thread_fence(memory_order_seq_cst); }

/* ---- the player: what the callback keeps for itself ------------------------------------------------------------- */

typedef void *get_buffer_function(void *port, uint32_t frames);
typedef uint32_t last_frame_time_function(const void *client);

/* a value on its way to `target` in `left` equal steps */
struct ramp {
    float value, target, step;
    uint32_t left;
};

/* one loop as the callback plays it */
struct source {
    uint64_t generation, frames, position;
    const float *samples;
};

struct player {
    /* written by the notification threads, read by the main thread: keep first, in this order */
    word shutdowns, port_changes, latency_changes;
    /* written by the main thread: fade out and stay silent */
    word leaving;
    /* written by the callback for the main thread: cycles in a row in which all was silent */
    word silent_cycles;
    /* written by the notification threads, read by the callback */
    word discontinuities, freewheeling, rate;

    struct header *header;
    void *client, *ports[2];
    get_buffer_function *get_buffer;
    last_frame_time_function *last_frame_time;

    uint64_t playhead;
    struct source now, next; /* next.generation != 0: crossfading to it */
    struct ramp gain, fade, cross;
    uint64_t known_rate, known_discontinuities, sequence;
    uint32_t expected_frame_time, known_period;
    int started;
};

EXPORT uint64_t demond_player_size(void) { return sizeof(struct player); }

static struct source source_of(struct header *h, uint64_t generation, uint64_t *rate) {
    struct source s = { generation, 0, 0, NULL };
    uint64_t slot = generation & 1, capacity = get(&h->capacity);
    *rate = get(&h->rates[slot]);
    s.frames = get(&h->frames[slot]);
    if (s.frames > capacity)
        s.frames = 0;
    s.samples = (const float *)((const char *)h + get(&h->areas)) + slot * capacity * 2;
    return s;
}

/* Main thread, before activation. Continues at the place where an earlier audio process was killed. */
EXPORT void demond_player_init(struct player *p, struct header *h, void *client, void *port_1, void *port_2,
                               void *get_buffer, void *last_frame_time, uint64_t rate, uint64_t period) {
    memset(p, 0, sizeof *p);
    p->header = h;
    p->client = client;
    p->ports[0] = port_1;
    p->ports[1] = port_2;
    p->get_buffer = (get_buffer_function *)get_buffer;
    p->last_frame_time = (last_frame_time_function *)last_frame_time;
    set(&p->rate, rate);
    p->known_rate = rate;
    release(&h->rate, rate);
    release(&h->period, period);

    p->sequence = acquire(&h->place_sequence);
    const word *place = h->places[p->sequence & 1];
    uint64_t unused;
    p->playhead = get(&place[PLAYHEAD]);
    p->now = source_of(h, get(&place[GENERATION]), &unused);
    uint64_t frames = get(&place[FRAMES]), position = get(&place[POSITION]);
    if (frames <= get(&h->capacity) && position < frames) {
        p->now.frames = frames; /* only for the proportion, until the newest generation is looked at */
        p->now.position = position;
    } else {
        p->now.frames = 0;
    }
}

EXPORT int demond_on_xrun(void *arg) {
    add(&((struct player *)arg)->header->xruns, 1);
    return 0;
}
EXPORT void demond_on_shutdown(int code, const char *reason, void *arg) {
    (void)code, (void)reason;
    add(&((struct player *)arg)->shutdowns, 1);
}
EXPORT void demond_on_port(uint32_t id, int registered, void *arg) {
    (void)id, (void)registered;
    add(&((struct player *)arg)->port_changes, 1);
}
EXPORT void demond_on_latency(int mode, void *arg) {
    (void)mode;
    add(&((struct player *)arg)->latency_changes, 1);
}
EXPORT int demond_on_period(uint32_t frames, void *arg) {
    (void)frames;
    add(&((struct player *)arg)->discontinuities, 1);
    add(&((struct player *)arg)->latency_changes, 1);
    return 0;
}
EXPORT void demond_on_freewheel(int starting, void *arg) {
    release(&((struct player *)arg)->freewheeling, starting != 0);
    add(&((struct player *)arg)->discontinuities, 1);
}
EXPORT int demond_on_rate(uint32_t rate, void *arg) {
    release(&((struct player *)arg)->rate, rate);
    add(&((struct player *)arg)->discontinuities, 1);
    return 0;
}
/* libjack reports a missing server on stderr at every attempt; the audio process says it once, in words of its own */
EXPORT void demond_on_message(const char *message) { (void)message; }

/* ---- the callback's parts --------------------------------------------------------------------------------------- */

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Eight buckets an octave from 128 ns on: bucket b ends at (9 + b % 8) << (4 + b / 8) ns. The first holds all that is
 * shorter, the last all that is longer. */
static uint32_t bucket(uint64_t ns) {
    if (ns < 128)
        return 0;
    uint32_t octave = 63u - (uint32_t)__builtin_clzll(ns);
    uint32_t b = (octave - 7) * 8 + (uint32_t)((ns >> (octave - 3)) & 7);
    return b < BUCKETS ? b : BUCKETS - 1;
}
EXPORT uint32_t demond_bucket(uint64_t ns) { return bucket(ns); }

static void aim(struct ramp *r, float target, double seconds, uint64_t rate) {
    if (r->target == target)
        return;
    r->target = target;
    r->left = (uint32_t)(seconds * (double)rate);
    if (r->left == 0)
        r->left = 1;
    r->step = (target - r->value) / (float)r->left;
}

static inline float next_of(struct ramp *r) {
    if (r->left)
        r->value = r->target - r->step * (float)--r->left; /* counted from the end: no rounding adds up */
    return r->value;
}

/* A model that went wrong can write NaN or infinity; the clients behind us may never get rid of one. */
static inline float finite(float x) { return x - x == 0.0f ? x : 0.0f; }

/* Copies `frames` frames from the loop at its position, and moves the position on. */
static void copy_loop(struct source *s, float *left, float *right, uint32_t frames) {
    while (frames) {
        uint64_t run = s->frames - s->position;
        uint32_t n = run < frames ? (uint32_t)run : frames;
        const float *from = s->samples + s->position * 2;
        for (uint32_t i = 0; i < n; i++) {
            left[i] = finite(from[2 * i]);
            right[i] = finite(from[2 * i + 1]);
        }
        left += n, right += n, frames -= n;
        s->position += n;
        if (s->position == s->frames)
            s->position = 0;
    }
}

/* Fades from `old` to what is in the buffers already, as far as the crossfade goes. */
static void mix_old(struct source *old, struct ramp *cross, float *left, float *right, uint32_t frames) {
    for (uint32_t i = 0; i < frames && cross->left; i++) {
        float share = next_of(cross);
        const float *from = old->samples + old->position * 2;
        left[i] = finite(from[0]) + share * (left[i] - finite(from[0]));
        right[i] = finite(from[1]) + share * (right[i] - finite(from[1]));
        if (++old->position == old->frames)
            old->position = 0;
    }
}

static void take_next(struct player *p) {
    p->now = p->next;
    p->next.generation = 0;
}

/* The place keeps its proportion in a loop of another length. Frames are far below 2^32, so nothing overflows. */
static uint64_t rescaled(uint64_t position, uint64_t from, uint64_t to) {
    if (from == 0 || to == 0 || from == to)
        return to ? position % to : 0;
    return position * to / from % to;
}

static int faded_out(const struct player *p) { return p->fade.value == 0.0f && p->fade.left == 0; }

/* Looks for new content, and decides what to play and whether to be heard: 1 when to be heard. */
static int follow(struct player *p, uint64_t rate) {
    struct header *h = p->header;
    uint64_t generation = acquire(&h->generation), newest_rate;
    if (p->next.generation == 0 && generation != p->now.generation) {
        struct source next = source_of(h, generation, &newest_rate);
        next.position = rescaled(p->now.position, p->now.frames, next.frames);
        if (faded_out(p) || p->now.frames == 0) {
            p->now = next;
        } else if (newest_rate == rate && next.frames) {
            p->next = next;
            p->cross = (struct ramp){ 0.0f, 0.0f, 0.0f, 0 };
            aim(&p->cross, 1.0f, 0.010, rate);
        }
    }
    const struct source *wanted = p->next.generation ? &p->next : &p->now;
    int heard = wanted->generation == generation && wanted->frames != 0 && get(&h->rates[generation & 1]) == rate;
    return heard && get(&h->running) && !acquire(&p->leaving);
}

static void count_skipped(struct player *p, uint32_t frames, uint64_t discontinuities) {
    struct header *h = p->header;
    uint32_t time = p->last_frame_time(p->client);
    int32_t gap = (int32_t)(time - p->expected_frame_time);
    int continuous = p->started && frames == p->known_period && discontinuities == p->known_discontinuities &&
                     !acquire(&p->freewheeling);
    if (continuous && gap > 0) {
        uint64_t cycles = ((uint64_t)gap + frames / 2) / frames;
        add(&h->skipped, cycles ? cycles : 1);
    }
    p->started = 1;
    p->known_period = frames;
    p->known_discontinuities = discontinuities;
    p->expected_frame_time = time + frames;
    release(&h->last_frame_time, time);
}

/* Fills the buffers; returns how many frames were silent because we are faded out. */
static uint32_t render(struct player *p, int heard, float *left, float *right, uint32_t frames, uint64_t rate) {
    struct header *h = p->header;
    union { uint64_t bits; double value; } gain = { get(&h->gain) };
    float target = get(&h->mute) ? 0.0f : (float)gain.value;
    if (faded_out(p)) /* nobody hears the gain move */
        p->gain = (struct ramp){ target, target, 0.0f, 0 };
    aim(&p->gain, target, 0.020, rate);
    aim(&p->fade, heard ? 1.0f : 0.0f, 0.050, rate);

    if (faded_out(p) || p->now.frames == 0) {
        if (p->next.generation)
            take_next(p);
        memset(left, 0, frames * sizeof *left);
        memset(right, 0, frames * sizeof *right);
        if (p->now.frames)
            p->now.position = (p->now.position + frames) % p->now.frames;
        return frames;
    }
    if (p->next.generation) {
        copy_loop(&p->next, left, right, frames);
        mix_old(&p->now, &p->cross, left, right, frames);
        if (p->cross.left == 0)
            take_next(p);
    } else {
        copy_loop(&p->now, left, right, frames);
    }
    if (p->gain.left == 0 && p->fade.left == 0) {
        float level = p->gain.value * p->fade.value;
        if (level != 1.0f)
            for (uint32_t i = 0; i < frames; i++)
                left[i] *= level, right[i] *= level;
        return 0;
    }
    uint32_t silent = 0;
    for (uint32_t i = 0; i < frames; i++) {
        float fade = next_of(&p->fade), level = next_of(&p->gain) * fade;
        left[i] *= level;
        right[i] *= level;
        silent += fade == 0.0f;
    }
    return silent;
}

/* Two slots in turn: a reader never sees one half-written, even if this process is killed in between. */
static void publish_place(struct player *p, uint32_t frames) {
    struct header *h = p->header;
    const struct source *s = p->next.generation ? &p->next : &p->now;
    p->playhead += frames;
    word *place = h->places[(p->sequence + 1) & 1];
    release(&place[PLAYHEAD], p->playhead);
    release(&place[POSITION], s->position);
    release(&place[FRAMES], s->frames);
    release(&place[GENERATION], s->generation);
    release(&h->place_sequence, ++p->sequence);
    release(&h->settled, p->now.generation == s->generation ? s->generation : 0);
}

/* JACK's process callback. */
EXPORT int demond_process(uint32_t frames, void *arg) {
    uint64_t begin = now_ns();
    struct player *p = arg;
    struct header *h = p->header;
    float *left = p->get_buffer(p->ports[0], frames), *right = p->get_buffer(p->ports[1], frames);

    uint64_t discontinuities = acquire(&p->discontinuities), rate = acquire(&p->rate);
    if (frames != get(&h->period))
        release(&h->period, frames);
    if (rate != p->known_rate)
        release(&h->rate, p->known_rate = rate);
    count_skipped(p, frames, discontinuities);
    uint32_t silent = render(p, follow(p, rate), left, right, frames, rate);
    publish_place(p, frames);
    if (silent)
        add(&h->silent_frames, silent);
    set(&p->silent_cycles, silent == frames ? get(&p->silent_cycles) + 1 : 0);
    add(&h->cycles, 1);

    uint64_t spent = now_ns() - begin;
    add(&h->histogram[bucket(spent)], 1);
    if (spent > get(&h->longest_ns))
        release(&h->longest_ns, spent);
    return 0;
}

/* setuptools asks the linker for this name on some platforms; nobody imports the module. */
EXPORT void *PyInit__native(void) { return NULL; }

/* The part of demond that runs in JACK's real-time thread, and the atomic words that all processes share.
 *
 * Built as a plain shared object for ctypes: no Python headers, no JACK headers, no libjack. The audio process hands
 * the libjack functions that the callbacks need over as pointers. Everything the callback touches is either the
 * shared playback loop (_loop.h) or the player, which the audio process allocates.
 *
 * Contract: demond_process() and demond_timebase() run in JACK's process thread. They never allocate, lock, log or call
 * libc beyond memset and clock_gettime. demond_on_*() run in JACK's notification thread and only count. All else runs in ordinary
 * threads.
 */
#define _POSIX_C_SOURCE 200809L
#include <string.h>
#include <time.h>

#include "_loop.h"
#include "_timebase.h"
#include "_voice.h"

/* ---- the layout, for the test that C and Python agree ----------------------------------------------------------- */

#define FIELD(name) { #name, offsetof(struct header, name) }
static const struct { const char *name; size_t offset; } fields[] = {
    FIELD(magic), FIELD(version), FIELD(capacity), FIELD(areas),
    FIELD(gain), FIELD(mute), FIELD(running), FIELD(dry_wet), FIELD(band),
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

EXPORT uint64_t demond_load_u64(const word *w) { return acquire(w); }
EXPORT void demond_store_u64(word *w, uint64_t value) { release(w, value); }
EXPORT void demond_fence(void) { atomic_thread_fence(memory_order_seq_cst); }
EXPORT void demond_band(uint64_t shares, uint64_t frames, uint64_t rate, uint64_t *ends) {
    struct band band = band_of(shares, frames, rate);
    ends[0] = band.a;
    ends[1] = band.b;
}

/* ---- the player: what the callback keeps for itself ------------------------------------------------------------- */

typedef void *get_buffer_function(void *port, uint32_t frames);
typedef uint32_t last_frame_time_function(const void *client);

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
    struct voice now, old; /* cross.share.left != 0: crossfading from the old one */
    struct crossfade cross;
    struct ramp gain, fade, wet;
    uint64_t known_rate, known_discontinuities, sequence;
    uint32_t expected_frame_time, known_period;
    int started;

    cycle_times_function *cycle_times;
    struct lead lead;
};

EXPORT uint64_t demond_player_size(void) { return sizeof(struct player); }

static struct voice voice_of(struct header *h, uint64_t generation) {
    uint64_t slot = generation & 1, capacity = get(&h->capacity);
    struct voice v = { generation, get(&h->rates[slot]), get(&h->frames[slot]), 0, NULL, NULL };
    if (v.frames > capacity)
        v.frames = 0;
    v.wet = (const float *)((const char *)h + get(&h->areas)) + slot * capacity * 2;
    v.dry = v.wet + capacity * 4;
    return v;
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
    p->playhead = get(&place[PLAYHEAD]);
    p->now = voice_of(h, get(&place[GENERATION]));
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

/* The place keeps its proportion in a loop of another length. Frames are far below 2^32, so nothing overflows. */
static uint64_t rescaled(uint64_t position, uint64_t from, uint64_t to) {
    if (from == 0 || to == 0 || from == to)
        return to ? position % to : 0;
    return position * to / from % to;
}

static int faded_out(const struct player *p) { return p->fade.value == 0.0f && p->fade.left == 0; }

static int crossfading(const struct player *p) { return p->cross.share.left != 0; }

static void crossfade_to(struct player *p, struct voice next, uint64_t rate) {
    p->old = p->now;
    p->now = next;
    begin_crossfade(&p->cross, &p->old, &p->now, p->wet, rate);
}

/* Looks for new content, and decides whether to be heard: 1 when to be heard. */
static int follow(struct player *p, uint64_t rate) {
    struct header *h = p->header;
    uint64_t generation = acquire(&h->generation);
    if (!crossfading(p) && generation != p->now.generation) {
        struct voice next = voice_of(h, generation);
        next.position = rescaled(p->now.position, p->now.frames, next.frames);
        if (faded_out(p) || p->now.frames == 0)
            p->now = next;
        else if (next.rate == rate && next.frames)
            crossfade_to(p, next, rate);
    }
    int heard = p->now.generation == generation && p->now.frames != 0 && p->now.rate == rate;
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

/* Plays on inside the band. Whenever the place is outside, at the band's end or because the band has moved, it jumps
 * to where it belongs, and what lies beyond is faded from; a crossfade that is under way is finished first. */
static void play(struct player *p, float *left, float *right, uint32_t frames, uint64_t rate) {
    struct voice *now = &p->now;
    struct band band = band_of(get(&p->header->band), now->frames, now->rate);
    int whole = band.b - band.a == now->frames;
    while (frames) {
        uint32_t n = frames;
        if (!crossfading(p) && !whole) {
            uint64_t place = inside(band, now->position, now->frames);
            if (place != now->position) {
                struct voice next = *now;
                next.position = place;
                crossfade_to(p, next, rate);
            } else if (n > band.b - place) {
                n = (uint32_t)(band.b - place);
            }
        }
        if (crossfading(p) && n > p->cross.share.left)
            n = p->cross.share.left;
        struct ramp wet = p->wet;
        copy_voice(now, &p->wet, left, right, n);
        if (crossfading(p))
            mix_old(&p->old, wet, &p->cross, left, right, n);
        left += n, right += n, frames -= n;
    }
}

/* Time goes on in silence: the place moves as it would if it were heard. */
static void pass(struct player *p, uint32_t frames) {
    struct voice *now = &p->now;
    p->cross.share.left = 0;
    if (now->frames) {
        struct band band = band_of(get(&p->header->band), now->frames, now->rate);
        uint64_t since = inside(band, now->position, now->frames) - band.a;
        now->position = band.a + (since + frames) % (band.b - band.a);
    }
}

/* Fills the buffers; returns how many frames were silent because we are faded out. */
static uint32_t render(struct player *p, int heard, float *left, float *right, uint32_t frames, uint64_t rate) {
    struct header *h = p->header;
    float gain = get(&h->mute) ? 0.0f : number(&h->gain), wet = number(&h->dry_wet);
    if (faded_out(p)) { /* nobody hears them move */
        p->gain = (struct ramp){ gain, gain, 0.0f, 0 };
        p->wet = (struct ramp){ wet, wet, 0.0f, 0 };
    }
    aim(&p->gain, gain, 0.020, rate);
    aim(&p->wet, wet, 0.020, rate);
    aim(&p->fade, heard ? 1.0f : 0.0f, 0.050, rate);

    if (faded_out(p) || p->now.frames == 0) {
        memset(left, 0, frames * sizeof *left);
        memset(right, 0, frames * sizeof *right);
        pass(p, frames);
        return frames;
    }
    play(p, left, right, frames, rate);
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
    const struct voice *now = &p->now;
    int alone = !crossfading(p) || p->old.generation == now->generation;
    p->playhead += frames;
    word *place = h->places[(p->sequence + 1) & 1];
    release(&place[PLAYHEAD], p->playhead);
    release(&place[POSITION], now->position);
    release(&place[FRAMES], now->frames);
    release(&place[GENERATION], now->generation);
    release(&h->place_sequence, ++p->sequence);
    release(&h->settled, alone ? now->generation : 0);
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

/* Main thread, before demond_timebase is set, and then whenever the beat has changed. See lead_say. */
EXPORT void demond_player_lead(struct player *p, void *cycle_times, double beat, double usecs, double bpm,
                               double meter, int rolls) {
    p->cycle_times = (cycle_times_function *)cycle_times;
    lead_say(&p->lead, beat, usecs, bpm, meter, rolls);
}

/* JACK's timebase callback: it is asked for the place of the next cycle. */
EXPORT void demond_timebase(int state, uint32_t frames, struct jack_place *place, int is_new, void *arg) {
    (void)state, (void)frames, (void)is_new;
    struct player *p = arg;
    uint32_t current;
    uint64_t now, next;
    float period;
    if (p->cycle_times(p->client, &current, &now, &next, &period))
        next = place->usecs;
    timebase_place(&p->lead, (double)next, place);
}

/* setuptools asks the linker for this name on some platforms; nobody imports the module. */
EXPORT void *PyInit__native(void) { return NULL; }

/* The shared playback loop as C sees it: a header of words, then four areas of stereo float32 frames.
 *
 * The layout's other half, with the meaning and the writer of each word, is demond/audio/layout.py; a test compares the
 * two field by field. What is computed from the words here is computed by demond/audio/band.py in the same way.
 */
#ifndef DEMOND_LOOP_H
#define DEMOND_LOOP_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define LINE 64
#define BUCKETS 192
#define LAYOUT_VERSION 2

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free");

typedef _Atomic uint64_t word;

struct header {
    /* the daemon, once */
    _Alignas(LINE) word magic;
    word version, capacity, areas;
    /* the daemon */
    _Alignas(LINE) word gain;
    word mute, running, dry_wet, band;
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

static inline uint64_t get(const word *w) { return atomic_load_explicit(w, memory_order_relaxed); }
static inline uint64_t acquire(const word *w) { return atomic_load_explicit(w, memory_order_acquire); }
static inline void set(word *w, uint64_t value) { atomic_store_explicit(w, value, memory_order_relaxed); }
static inline void release(word *w, uint64_t value) { atomic_store_explicit(w, value, memory_order_release); }
/* only for words with one writer, which is us: cheaper than a locked instruction */
static inline void add(word *w, uint64_t value) { release(w, get(w) + value); }

static inline float number(const word *w) {
    union { uint64_t bits; double value; } x = { get(w) };
    return (float)x.value;
}

/* The part of the loop that is played: positions from `a` up to, not including, `b`. */
struct band {
    uint64_t a, b;
};

/* Both ends are shares of the loop in steps of 2^-31, in one word so that nobody reads a mix of two bands. A band that
 * is shorter than a quarter of a second is made as long by moving its end, and at the loop's end its beginning.
 * Frames are below 2^32, so nothing overflows. */
static struct band band_of(uint64_t shares, uint64_t frames, uint64_t rate) {
    const uint64_t half = 1u << 30;
    uint64_t least = rate < 4 ? 1 : rate / 4;
    struct band band = { ((shares >> 32) * frames + half) >> 31, ((shares & 0xffffffffu) * frames + half) >> 31 };
    if (band.b < band.a + least)
        band.b = band.a + least;
    if (band.b > frames) {
        uint64_t most = frames > least ? frames - least : 0;
        band.b = frames;
        if (band.a > most)
            band.a = most;
    }
    return band;
}

/* Where in the band a position of the loop belongs: itself when it is inside. From outside the band's length is taken
 * away from the way since its beginning until the rest lies inside, so that a beat goes on as if the band had been
 * played all the time; and playing on for n frames first or afterwards leads to the same place. */
static inline uint64_t inside(struct band band, uint64_t position, uint64_t frames) {
    uint64_t since = position >= band.a ? position - band.a : position + frames - band.a;
    return band.a + since % (band.b - band.a);
}

#endif

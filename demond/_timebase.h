/* Bars and beats for JACK's transport, while demond is its timebase master.
 *
 * The audio process's main thread says where the beat is (lead_say), JACK's process thread asks (timebase_place, right
 * after the process callback): it allocates nothing, takes no lock, and calls libjack's jack_get_cycle_times alone,
 * which may be called there.
 */
#ifndef DEMOND_TIMEBASE_H
#define DEMOND_TIMEBASE_H
#include "_loop.h"

#define TICKS_PER_BEAT 1920.0
#define POSITION_BBT 0x10

/* The beginning of jack_position_t (jack/types.h), as far as it is written here. Each member lies on a multiple of its
 * size, so it is the same whether or not JACK's headers pack it. */
struct jack_place {
    uint64_t unique, usecs;
    uint32_t frame_rate, frame, valid;
    int32_t bar, beat, tick;
    double bar_start_tick;
    float beats_per_bar, beat_type;
    double ticks_per_beat, beats_per_minute;
};

typedef int cycle_times_function(const void *client, uint32_t *frames, uint64_t *now, uint64_t *next, float *period);

/* Two slots in turn, so that a reader never meets one half-written unless two are written while it looks; then it
 * looks again. Doubles as their bits. */
enum { LEAD_BEAT, LEAD_USECS, LEAD_BPM, LEAD_METER, LEAD_ROLLS, LEAD_FIELDS };
struct lead {
    word sequence, slots[2][LEAD_FIELDS];
};

static inline uint64_t bits_of(double value) {
    union { double value; uint64_t bits; } x = { value };
    return x.bits;
}

static inline double double_of(const word *w) {
    union { uint64_t bits; double value; } x = { get(w) };
    return x.value;
}

/* Main thread: at `usecs` of JACK's clock a cycle begins whose first frame is at `beat`. */
static void lead_say(struct lead *lead, double beat, double usecs, double bpm, double meter, int rolls) {
    uint64_t next = get(&lead->sequence) + 1;
    word *slot = lead->slots[next & 1];
    release(&slot[LEAD_BEAT], bits_of(beat));
    release(&slot[LEAD_USECS], bits_of(usecs));
    release(&slot[LEAD_BPM], bits_of(bpm));
    release(&slot[LEAD_METER], bits_of(meter));
    release(&slot[LEAD_ROLLS], bits_of(rolls ? 1.0 : 0.0));
    release(&lead->sequence, next);
}

/* Process thread: fills in the place of the cycle that begins at `usecs`. Before anything was said it does nothing. */
static void timebase_place(const struct lead *lead, double usecs, struct jack_place *place) {
    double beat = 0, since = 0, bpm = 0, meter = 0, rolls = 0;
    uint64_t sequence;
    do {
        sequence = acquire(&lead->sequence);
        const word *slot = lead->slots[sequence & 1];
        beat = double_of(&slot[LEAD_BEAT]);
        since = double_of(&slot[LEAD_USECS]);
        bpm = double_of(&slot[LEAD_BPM]);
        meter = double_of(&slot[LEAD_METER]);
        rolls = double_of(&slot[LEAD_ROLLS]);
    } while (acquire(&lead->sequence) - sequence > 1);
    if (bpm <= 0 || meter < 1)
        return;
    beat += rolls * (usecs - since) * bpm / 60e6;
    if (beat < 0)
        beat = 0;
    uint64_t bar = (uint64_t)(beat / meter);
    double in_bar = beat - (double)bar * meter;
    int32_t whole = (int32_t)in_bar;
    place->valid = POSITION_BBT;
    place->bar = (int32_t)bar + 1;
    place->beat = whole + 1;
    place->tick = (int32_t)((in_bar - whole) * TICKS_PER_BEAT);
    place->bar_start_tick = (double)bar * meter * TICKS_PER_BEAT;
    place->beats_per_bar = (float)meter;
    place->beat_type = 4.0f;
    place->ticks_per_beat = TICKS_PER_BEAT;
    place->beats_per_minute = bpm;
}

#endif

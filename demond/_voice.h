/* The sound of the process callback: loops that are read at a place, values that glide, and the crossfade of two loops.
 *
 * Nothing here allocates, locks or calls anything; all of it runs in JACK's process thread.
 */
#ifndef DEMOND_VOICE_H
#define DEMOND_VOICE_H
#include "_loop.h"

#define CROSSFADE_SECONDS 0.010
#define CHUNK 64

/* a value on its way to `target` in `left` equal steps */
struct ramp {
    float value, target, step;
    uint32_t left;
};

/* one loop as the callback plays it: what the engine made, and its source, at the same place */
struct voice {
    uint64_t generation, rate, frames, position;
    const float *wet, *dry;
};

/* from one voice to another: the share of the new one, and how alike the two are */
struct crossfade {
    struct ramp share;
    float alike;
};

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

/* Copies `frames` frames from a voice at its position, and moves the position on; `wet` glides on the way. The law is
 * linear: source and result are often the same music in large parts, of which equal power would make a bump of 3 dB;
 * and whatever the two are, the mix is never louder than the louder of them. */
static void copy_voice(struct voice *v, struct ramp *wet, float *left, float *right, uint32_t frames) {
    while (frames) {
        uint64_t run = v->frames - v->position;
        uint32_t n = run < frames ? (uint32_t)run : frames;
        const float *from = v->wet + v->position * 2, *source = v->dry + v->position * 2;
        if (wet->left == 0 && wet->value == 1.0f) {
            for (uint32_t i = 0; i < n; i++) {
                left[i] = finite(from[2 * i]);
                right[i] = finite(from[2 * i + 1]);
            }
        } else {
            for (uint32_t i = 0; i < n; i++) {
                float share = next_of(wet), rest = 1.0f - share;
                left[i] = share * finite(from[2 * i]) + rest * finite(source[2 * i]);
                right[i] = share * finite(from[2 * i + 1]) + rest * finite(source[2 * i + 1]);
            }
        }
        left += n, right += n, frames -= n;
        v->position += n;
        if (v->position == v->frames)
            v->position = 0;
    }
}

/* The correlation of what both voices will play in the next `frames` frames: 1 for the same music, 0 for unrelated
 * music, silence and opposites. Some 2 ns a frame, once for each crossfade. */
static float correlation(struct voice old, struct voice now, struct ramp wet, uint32_t frames) {
    float left[2][CHUNK], right[2][CHUNK];
    struct ramp wet_now = wet;
    float both = 0.0f, of_old = 0.0f, of_now = 0.0f;
    while (frames) {
        uint32_t n = frames < CHUNK ? frames : CHUNK;
        copy_voice(&old, &wet, left[0], right[0], n);
        copy_voice(&now, &wet_now, left[1], right[1], n);
        for (uint32_t i = 0; i < n; i++) {
            both += left[0][i] * left[1][i] + right[0][i] * right[1][i];
            of_old += left[0][i] * left[0][i] + right[0][i] * right[0][i];
            of_now += left[1][i] * left[1][i] + right[1][i] * right[1][i];
        }
        frames -= n;
    }
    float energy = of_old * of_now;
    if (both <= 0.0f || !(energy > 0.0f))
        return 0.0f;
    float alike = both / __builtin_sqrtf(energy);
    return alike < 1.0f ? alike : 1.0f;
}

static void begin_crossfade(struct crossfade *c, const struct voice *old, const struct voice *now, struct ramp wet,
                            uint64_t rate) {
    c->share = (struct ramp){ 0.0f, 0.0f, 0.0f, 0 };
    aim(&c->share, 1.0f, CROSSFADE_SECONDS, rate);
    c->alike = correlation(*old, *now, wet, c->share.left);
}

/* Fades from `old` to what is in the buffers already, for `frames` of the frames that the crossfade still has. Gains u
 * and 1 - u, divided by the level of their sum, so that the power stays the same: linear for the same music, equal
 * power for unrelated music, as in engine/fades.py. */
static void mix_old(struct voice *old, struct ramp wet, struct crossfade *c, float *left, float *right,
                    uint32_t frames) {
    float old_left[CHUNK], old_right[CHUNK];
    while (frames) {
        uint32_t n = frames < CHUNK ? frames : CHUNK;
        copy_voice(old, &wet, old_left, old_right, n);
        for (uint32_t i = 0; i < n; i++) {
            float u = next_of(&c->share), rest = 1.0f - u;
            float level = __builtin_sqrtf(u * u + rest * rest + 2.0f * c->alike * u * rest);
            left[i] = (u * left[i] + rest * old_left[i]) / level;
            right[i] = (u * right[i] + rest * old_right[i]) / level;
        }
        left += n, right += n, frames -= n;
    }
}

#endif

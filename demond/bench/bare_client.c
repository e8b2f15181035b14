/* The yardstick of `demond bench audio`: the least that a JACK client which plays a stored loop can do.
 *
 *   bare_client SERVER FILE SECONDS
 *
 * Plays FILE (interleaved stereo float32) round and round to the first two physical ports, with its memory locked,
 * and prints one line of JSON at the end: cycles, skipped cycles (gaps in JACK's frame clock), xruns, and the time
 * spent in the callback.
 */
#define _POSIX_C_SOURCE 200809L
#include <jack/jack.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MOST_CYCLES (1 << 22)

static jack_client_t *client;
static jack_port_t *ports[2];
static float *loop;
static size_t loop_frames, position;
static uint32_t *times_ns;
static atomic_uint cycles, skipped, xruns;
static atomic_int gone;
static uint32_t expected, last_frames;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int process(jack_nframes_t frames, void *arg) {
    (void)arg;
    uint64_t begin = now_ns();
    float *left = jack_port_get_buffer(ports[0], frames), *right = jack_port_get_buffer(ports[1], frames);
    uint32_t time = jack_last_frame_time(client), n = atomic_load(&cycles);
    int32_t gap = (int32_t)(time - expected);
    if (n && frames == last_frames && gap > 0) {
        uint32_t lost = ((uint32_t)gap + frames / 2) / frames;
        atomic_fetch_add(&skipped, lost ? lost : 1);
    }
    expected = time + frames;
    last_frames = frames;
    for (uint32_t i = 0; i < frames; i++) {
        left[i] = loop[2 * position];
        right[i] = loop[2 * position + 1];
        if (++position == loop_frames)
            position = 0;
    }
    uint64_t spent = now_ns() - begin;
    times_ns[n % MOST_CYCLES] = spent < UINT32_MAX ? (uint32_t)spent : UINT32_MAX;
    atomic_store(&cycles, n + 1);
    return 0;
}

static int on_xrun(void *arg) { (void)arg; atomic_fetch_add(&xruns, 1); return 0; }
static void on_shutdown(void *arg) { (void)arg; atomic_store(&gone, 1); }
static void quiet(const char *message) { (void)message; }
static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int fail(const char *what) {
    fprintf(stderr, "bare_client: %s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return fail("SERVER FILE SECONDS");
    FILE *file = fopen(argv[2], "rb");
    if (!file || fseek(file, 0, SEEK_END))
        return fail("cannot read the loop");
    loop_frames = (size_t)ftell(file) / (2 * sizeof *loop);
    rewind(file);
    loop = malloc(loop_frames * 2 * sizeof *loop);
    times_ns = calloc(MOST_CYCLES, sizeof *times_ns);
    if (!loop_frames || !loop || !times_ns || fread(loop, 2 * sizeof *loop, loop_frames, file) != loop_frames)
        return fail("cannot read the loop");
    fclose(file);
    mlockall(MCL_CURRENT | MCL_FUTURE);
    jack_set_info_function(quiet);
    client = jack_client_open("bare_client", JackNoStartServer | JackServerName, NULL, argv[1]);
    if (!client)
        return fail("no JACK server");
    ports[0] = jack_port_register(client, "out_1", JACK_DEFAULT_AUDIO_TYPE, JackPortIsOutput, 0);
    ports[1] = jack_port_register(client, "out_2", JACK_DEFAULT_AUDIO_TYPE, JackPortIsOutput, 0);
    jack_set_process_callback(client, process, NULL);
    jack_set_xrun_callback(client, on_xrun, NULL);
    jack_on_shutdown(client, on_shutdown, NULL);
    if (jack_activate(client))
        return fail("cannot activate");
    const char **physical = jack_get_ports(client, NULL, JACK_DEFAULT_AUDIO_TYPE, JackPortIsPhysical | JackPortIsInput);
    for (int i = 0; i < 2 && physical && physical[i]; i++)
        jack_connect(client, jack_port_name(ports[i]), physical[i]);
    uint64_t end = now_ns() + (uint64_t)(atof(argv[3]) * 1e9);
    struct timespec pause = { 0, 20000000 };
    while (now_ns() < end && !atomic_load(&gone))
        nanosleep(&pause, NULL);
    if (atomic_load(&gone))
        return fail("the JACK server has gone");
    jack_deactivate(client);
    jack_client_close(client);
    uint32_t n = atomic_load(&cycles), kept = n < MOST_CYCLES ? n : MOST_CYCLES;
    if (!kept)
        return fail("JACK ran no cycle");
    qsort(times_ns, kept, sizeof *times_ns, by_size);
    printf("{\"cycles\": %u, \"skipped\": %u, \"xruns\": %u, \"p50\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"max\": %.3f}\n", n,
           (unsigned)skipped, (unsigned)xruns, times_ns[kept / 2] / 1e3, times_ns[(uint64_t)kept * 99 / 100] / 1e3,
           times_ns[(uint64_t)kept * 999 / 1000] / 1e3, times_ns[kept - 1] / 1e3);
    return 0;
}

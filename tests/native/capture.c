/* A JACK client that is none of demond's: records its inputs to a raw file, and counts what JACK left out.
 *
 *   capture SERVER NAME SECONDS CHANNELS FILE [PORT...]
 *
 * Connects PORT i to input i, prints "ready" once the recording runs, and a line of JSON at its end (time is up,
 * SIGTERM, or the server has gone). FILE gets interleaved float32, FILE.cycles two uint32 a cycle: JACK's frame time
 * at its start, and its frames. SERVER "-" is the default one.
 */
#define _POSIX_C_SOURCE 200809L
#include <jack/jack.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MAX_CHANNELS 8
#define MAX_CYCLES (1 << 22)

static jack_client_t *client;
static jack_port_t *ports[MAX_CHANNELS];
static int channels;
static float *audio;
static uint32_t (*cycles)[2];
static size_t capacity;
static atomic_size_t recorded, cycle_count;
static atomic_int armed, ended;
static atomic_uint skipped, xruns, seen;
static atomic_int period_changes, known_period_changes;
static uint32_t expected, known_frames;

static int process(jack_nframes_t frames, void *arg) {
    (void)arg;
    atomic_fetch_add(&seen, 1);
    if (!atomic_load(&armed) || atomic_load(&ended))
        return 0;
    uint32_t now = jack_last_frame_time(client);
    size_t done = atomic_load(&recorded), n = atomic_load(&cycle_count);
    int changes = atomic_load(&period_changes);
    if (n && now != expected && frames == known_frames && changes == known_period_changes) {
        uint32_t lost = (now - expected + frames / 2) / frames;
        atomic_fetch_add(&skipped, lost ? lost : 1);
    }
    known_period_changes = changes;
    known_frames = frames;
    expected = now + frames;
    size_t room = capacity - done, take = frames < room ? frames : room;
    for (int c = 0; c < channels; c++) {
        const float *from = jack_port_get_buffer(ports[c], frames);
        for (size_t i = 0; i < take; i++)
            audio[(done + i) * (size_t)channels + (size_t)c] = from[i];
    }
    if (n < MAX_CYCLES) {
        cycles[n][0] = now;
        cycles[n][1] = (uint32_t)take;
        atomic_store(&cycle_count, n + 1);
    }
    atomic_store(&recorded, done + take);
    if (take < frames || done + take == capacity)
        atomic_store(&ended, 1);
    return 0;
}

static int on_xrun(void *arg) { (void)arg; atomic_fetch_add(&xruns, 1); return 0; }
static int on_period(jack_nframes_t n, void *arg) { (void)n, (void)arg; atomic_fetch_add(&period_changes, 1); return 0; }
static void on_shutdown(void *arg) { (void)arg; atomic_store(&ended, 2); }
static void on_signal(int number) { (void)number; atomic_store(&ended, 1); }
static void quiet(const char *message) { (void)message; }

static int fail(const char *what) {
    fprintf(stderr, "capture: %s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 6)
        return fail("SERVER NAME SECONDS CHANNELS FILE [PORT...]");
    channels = atoi(argv[4]);
    if (channels < 1 || channels > MAX_CHANNELS)
        return fail("1 to 8 channels");
    jack_set_info_function(quiet);
    jack_options_t options = JackNoStartServer | JackUseExactName;
    client = strcmp(argv[1], "-") ? jack_client_open(argv[2], options | JackServerName, NULL, argv[1])
                                  : jack_client_open(argv[2], options, NULL);
    if (!client)
        return fail("no JACK server");
    uint32_t rate = jack_get_sample_rate(client);
    capacity = (size_t)(atof(argv[3]) * rate + 0.5);
    audio = malloc(capacity * (size_t)channels * sizeof *audio);
    cycles = malloc(MAX_CYCLES * sizeof *cycles);
    FILE *file = fopen(argv[5], "wb");
    char path[4096];
    snprintf(path, sizeof path, "%s.cycles", argv[5]);
    FILE *cycle_file = fopen(path, "wb");
    if (!audio || !cycles || !file || !cycle_file)
        return fail("no memory, or no file");
    memset(audio, 0, capacity * (size_t)channels * sizeof *audio);
    for (int c = 0; c < channels; c++) {
        char name[16];
        snprintf(name, sizeof name, "in_%d", c + 1);
        ports[c] = jack_port_register(client, name, JACK_DEFAULT_AUDIO_TYPE, JackPortIsInput, 0);
    }
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGTERM, &action, NULL);
    jack_set_process_callback(client, process, NULL);
    jack_set_xrun_callback(client, on_xrun, NULL);
    jack_set_buffer_size_callback(client, on_period, NULL);
    jack_on_shutdown(client, on_shutdown, NULL);
    if (jack_activate(client))
        return fail("cannot activate");
    for (int c = 0; c < channels && c + 6 < argc; c++)
        if (jack_connect(client, argv[c + 6], jack_port_name(ports[c])))
            return fail("cannot connect");
    /* The server makes a connection between two cycles, and plays the one it prepares now without it. */
    struct timespec pause = { 0, 2000000 };
    unsigned connected_at = atomic_load(&seen);
    while (argc > 6 && atomic_load(&seen) - connected_at < 3 && !atomic_load(&ended))
        nanosleep(&pause, NULL);
    atomic_store(&armed, 1);
    while (!atomic_load(&cycle_count) && !atomic_load(&ended))
        nanosleep(&pause, NULL);
    puts("ready");
    fflush(stdout);
    while (!atomic_load(&ended))
        nanosleep(&pause, NULL);
    int gone = atomic_load(&ended) == 2;
    if (!gone)
        jack_deactivate(client);
    jack_client_close(client);
    fwrite(audio, sizeof *audio * (size_t)channels, recorded, file);
    fwrite(cycles, sizeof *cycles, cycle_count, cycle_file);
    if (fclose(file) || fclose(cycle_file))
        return fail("cannot write");
    printf("{\"rate\": %u, \"frames\": %zu, \"cycles\": %zu, \"skipped\": %u, \"xruns\": %u, \"server_gone\": %s}\n", rate,
           (size_t)recorded, (size_t)cycle_count, (unsigned)skipped, (unsigned)xruns, gone ? "true" : "false");
    return 0;
}

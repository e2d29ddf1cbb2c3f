/* What else used the machine, as devices/disturbance.py. Part of runner.c. */

typedef struct {
    int64_t time_ns, pressure_us, steal_ticks, waited_ns, switches, frequency_khz, temperature_mc;
} Reading;

/* A blank-separated field of a file's first line, or what follows "total=" in it; -1 where there is none. */
static int64_t field(const char *path, int position) {
    char line[512];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t count = read(file, line, sizeof line - 1);
    close(file);
    if (count <= 0) return -1;
    line[count] = 0;
    line[strcspn(line, "\n")] = 0;
    char *place = line, *rest;
    if (position < 0) {
        place = strstr(line, "total=");
        return place ? strtoll(place + 6, NULL, 10) : -1;
    }
    for (place = strtok_r(line, " ", &rest); place && position; position--) place = strtok_r(NULL, " ", &rest);
    return place ? strtoll(place, NULL, 10) : -1;
}

/* The largest of files whose names differ by a number; those that are not there at the first call are left out. */
static int64_t largest(const char *format, uint64_t *there, int *looked) {
    int64_t most = -1;
    for (int i = 0; i < 64; i++) {
        if (*looked && !(*there >> i & 1)) continue;
        char path[128];
        snprintf(path, sizeof path, format, i);
        int64_t value = field(path, 0);
        if (value >= 0) *there |= 1ull << i;
        if (value > most) most = value;
    }
    *looked = 1;
    return most;
}

static Reading reading(void) {
    static uint64_t cores, zones;
    static int cores_looked, zones_looked;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    Reading now = {
        .pressure_us = field("/proc/pressure/cpu", -1),
        .steal_ticks = field("/proc/stat", 8),
        .waited_ns = field("/proc/thread-self/schedstat", 1),
        .switches = usage.ru_nivcsw,
        .frequency_khz = largest("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", &cores, &cores_looked),
        .temperature_mc = largest("/sys/class/thermal/thermal_zone%d/temp", &zones, &zones_looked),
    };
    now.time_ns = now_ns();
    return now;
}

static double rise(int64_t before, int64_t after) { return before < 0 || after < 0 ? 0 : (double)(after - before); }

/* LIMITS: shares of pressure, steal and waiting, switches a second, share of a lost frequency. */
static int add_reasons(Text *text, const Reading *before, const Reading *after, const double limits[5]) {
    double seconds = (double)(after->time_ns - before->time_ns) / 1e9;
    double allowed = limits[3] * seconds > 1 ? limits[3] * seconds : 1; /* one switch alone is nothing */
    double lost = limits[4] * (double)(before->frequency_khz < 0 ? 0 : before->frequency_khz);
    const struct { const char *name; int found; } reasons[] = {
        {"pressure", rise(before->pressure_us, after->pressure_us) * 1e-6 > limits[0] * seconds},
        {"steal", rise(before->steal_ticks, after->steal_ticks) / (double)sysconf(_SC_CLK_TCK) > limits[1] * seconds},
        {"waited", rise(before->waited_ns, after->waited_ns) * 1e-9 > limits[2] * seconds},
        {"switched", rise(before->switches, after->switches) > allowed},
        {"slowed", -rise(before->frequency_khz, after->frequency_khz) > lost},
    };
    int count = 0;
    for (size_t i = 0; seconds > 0 && i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].found) add(text, count++ ? ",\"%s\"" : "\"%s\"", reasons[i].name);
    return count;
}

static void add_state(Text *text, const char *key, const Reading *now) {
    add(text, ",\"%s\":{\"frequency_khz\":", key);
    add_number(text, now->frequency_khz);
    add(text, ",\"temperature_mc\":");
    add_number(text, now->temperature_mc);
    add(text, ",\"foreign_gpu\":null}");
}

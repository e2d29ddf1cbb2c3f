/* The passes, each in a process of its own. Part of runner.c. */

static void describe(void) {
    open_runtime(1);
    struct utsname system;
    uname(&system);
    cpu_set_t cores;
    int count = sched_getaffinity(0, sizeof cores, &cores) ? -1 : CPU_COUNT(&cores);
    struct statvfs disk = {0};
    statvfs(folder, &disk);
    int64_t step = INT64_MAX;
    for (int64_t i = 0, last = now_ns(), now; i < 10000; i++, last = now)
        if ((now = now_ns()) > last && now - last < step) step = now - last;
    Text text = done();
    add(&text, ",\"machine\":\"%s\",\"kernel\":\"%s\",\"cores\":", system.machine, system.release);
    add_number(&text, count);
    add(&text, ",\"disk_free_mb\":%.1f", (double)disk.f_bavail * (double)disk.f_frsize / 1e6);
    add(&text, ",\"clock_step_ns\":%lld,\"time_s\":%lld", (long long)step, (long long)time(NULL));
    add(&text, ",\"runtime\":\"%s\",\"providers\":[", runtime_version);
    add_providers(&text, "\"%s\"", ",");
    add(&text, "]}");
    send_line(&text);
}

static void run_once(char **word) {
    int threads = atoi(word[1]);
    const char *trace = strcmp(word[3], "-") ? word[3] : NULL;
    open_runtime(threads);
    Model model = load(word[4], word[0], threads, trace);
    bind_inputs(&model, word[5]);
    for (int i = 1; i < atoi(word[2]); i++) run(&model);
    Text text = done();
    if (trace) {
        char *path;
        check(ort->SessionEndProfiling(model.session, allocator, &path), "MeasurementError", "trace");
        add(&text, ",\"trace\":");
        add_string(&text, path);
    }
    add(&text, ",\"outputs\":[");
    for (size_t i = 0; i < model.outputs; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%zu.npy", word[6], i);
        Tensor found = output(&model, i);
        FILE *file = begin_npy(path, &found);
        fwrite(found.data, 1, found.bytes, file);
        end_npy(file, path);
        add(&text, i ? "," : "");
        add_string(&text, model.output_names[i]);
    }
    add(&text, "]}");
    send_line(&text);
}

static void compute_outputs(char **word) {
    int threads = atoi(word[1]);
    size_t batch = (size_t)atoi(word[2]);
    open_runtime(threads);
    Model model = load(word[3], word[0], threads, NULL);
    Tensor samples = read_npy(word[4]);
    size_t count = samples.rank ? (size_t)samples.dims[0] : 0, size = count ? samples.bytes / count : 0;
    if (!count || !batch) FAIL("InputError", "%s: holds no samples", word[4]);
    if (model.inputs != 1) FAIL("InputError", "the model has %zu inputs; accepted here: one", model.inputs);
    Tensor part = samples;
    part.dims[0] = (int64_t)batch;
    size_up(&part);
    part.data = allocate(part.bytes);
    feed(&model, 0, part);
    FILE *file = NULL;
    for (size_t start = 0; start < count; start += batch) {
        size_t left = count - start < batch ? count - start : batch;
        for (size_t i = 0; i < batch; i++) /* the last batch is filled up by repetition */
            memcpy(part.data + i * size, samples.data + (start + i % left) * size, size);
        run(&model);
        Tensor found = output(&model, 0);
        if (!found.rank || (size_t)found.dims[0] != batch)
            FAIL("InputError", "output %s has no row for each sample", model.output_names[0]);
        if (!file) {
            Tensor all = found;
            all.dims[0] = (int64_t)count;
            file = begin_npy(word[5], &all);
        }
        fwrite(found.data, 1, found.bytes / batch * left, file);
    }
    end_npy(file, word[5]);
    Text text = done();
    add(&text, ",\"samples\":%zu}", count);
    send_line(&text);
}

static int64_t peak_kb(void) {
    char line[256];
    int64_t found = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "VmHWM:", 6)) found = strtoll(line + 6, NULL, 10);
    if (file) fclose(file);
    return found;
}

/* Let the peak start again from what is resident now; where the kernel forbids it, the older peak hides a part. */
static void reset_peak(void) {
    int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t written = write(file, "5", 1);
    (void)written;
    close(file);
}

static void measure_memory(char **word) {
    int threads = atoi(word[1]);
    open_runtime(threads);
    Model empty = load(word[3], word[0], threads, NULL);
    bind_inputs(&empty, word[4]);
#ifdef __GLIBC__
    malloc_trim(0); /* or the model would be loaded into freed memory and seem smaller */
#endif
    reset_peak();
    int64_t before = peak_kb();
    Model model = load(word[5], word[0], threads, NULL);
    int64_t loading = peak_kb() * 1024;
    reset_peak(); /* the inputs are no part of the peak of loading */
    bind_inputs(&model, word[6]);
    for (int i = 0; i < atoi(word[2]); i++) run(&model);
    int64_t running = peak_kb() * 1024 - (int64_t)model.fed;
    int64_t used = (loading > running ? loading : running) - before * 1024;
    Text text = done();
    if (before < 0)
        add(&text, ",\"peak_memory_mb\":null,\"reason\":\"this kernel does not report VmHWM\"}");
    else
        add(&text, ",\"peak_memory_mb\":%.6f}", used > 0 ? (double)used / 1e6 : 0.0);
    send_line(&text);
}

static int by_size(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* How many runs fill a block: from the lower quartile of a warm-up of at least 3. */
static int runs_per_block(Model *model, double block_ms, double warm_up_ms, double interval_ms) {
    static int64_t times[MAX_RUNS];
    int count = 0;
    int64_t end = now_ns() + (int64_t)(warm_up_ms * 1e6);
    while (count < 3 || (now_ns() < end && count < MAX_RUNS)) {
        int64_t start = now_ns();
        run(model);
        times[count++] = now_ns() - start;
    }
    qsort(times, (size_t)count, sizeof *times, by_size);
    double typical = (double)times[count / 4] > interval_ms * 1e6 ? (double)times[count / 4] : interval_ms * 1e6;
    double runs = block_ms * 1e6 / (typical > 1 ? typical : 1) + 0.5;
    return runs < 1 ? 1 : runs > MAX_RUNS ? MAX_RUNS : (int)runs;
}

/* ORDERS: for each group that may be run, the arms in their order, as in "01,10"; forth, and then back. */
static void time_latency(char **word, int words) {
    int threads = atoi(word[1]), groups = atoi(word[2]), arms = (words - 9) / 3;
    double block_ms = atof(word[3]), warm_up_ms = atof(word[4]), interval_ms = atof(word[5]), enough_ms = atof(word[6]), limits[5];
    if (sscanf(word[7], "%lf,%lf,%lf,%lf,%lf", &limits[0], &limits[1], &limits[2], &limits[3], &limits[4]) != 5 ||
        arms < 1 || arms > MAX_ARMS)
        FAIL("InputError", "a latency pass that is not understood");
    open_runtime(threads);
    Model models[MAX_ARMS];
    int runs[MAX_ARMS];
    int64_t load_ns = 0, first_run_ns = 0;
    for (int i = 0; i < arms; i++) {
        int64_t start = now_ns();
        models[i] = load(word[10 + 3 * i], word[0], threads, NULL);
        int64_t loaded = now_ns() - start, first = bind_inputs(&models[i], word[11 + 3 * i]);
        if (i == 0) load_ns = loaded, first_run_ns = first;
    }
    static int64_t times[MAX_RUNS + 1];
    Text text = done(), reasons = {0};
    add(&text, ",\"load_ns\":%lld,\"first_run_ns\":%lld", (long long)load_ns, (long long)first_run_ns);
    Reading first = reading();
    add_state(&text, "before", &first);
    for (int i = 0; i < arms; i++) runs[i] = runs_per_block(&models[i], block_ms, warm_up_ms, interval_ms);
    add(&text, ",\"device_ms\":null,\"blocks\":[");
    int quiet = 0, group = 0;
    char *order, *rest = word[8];
    int64_t end = now_ns() + (int64_t)(enough_ms * 1e6);
    for (; quiet < groups && (order = strsep(&rest, ",")); group++) {
        int few = quiet < LEAST_GROUPS && group < 2 * LEAST_GROUPS;
        if (enough_ms > 0 && !few && now_ns() >= end) break;
        int disturbed = 0;
        Reading before = reading();
        for (int place = 0; place < 2 * arms; place++) {
            int arm = (int)strlen(order) != arms ? -1 : order[place < arms ? place : 2 * arms - 1 - place] - '0';
            if (arm < 0 || arm >= arms) FAIL("InputError", "a latency pass that is not understood");
            int64_t due = now_ns();
            for (int i = 0; i <= runs[arm]; i++) { /* the first run finds the caches full of the other model */
                if (interval_ms > 0) {
                    int64_t wait = due - now_ns();
                    struct timespec pause = {wait / 1000000000, wait % 1000000000};
                    if (wait > 0) nanosleep(&pause, NULL);
                }
                int64_t start = now_ns();
                run(&models[arm]);
                times[i] = now_ns() - start;
                due = (due > start ? due : start) + (int64_t)(interval_ms * 1e6);
            }
            Reading after = reading();
            reasons.size = 0;
            add(&reasons, "");
            disturbed += add_reasons(&reasons, &before, &after, limits);
            add(&text, "%s[%d,", group || place ? "," : "", group);
            add_string(&text, word[9 + 3 * arm]);
            add(&text, ",[");
            for (int i = 1; i <= runs[arm]; i++) {
                if (times[i] <= 0) FAIL("MeasurementError", "the clock of this machine went backwards");
                add(&text, i > 1 ? ",%lld" : "%lld", (long long)times[i]);
            }
            add(&text, "],[%s],", reasons.data);
            add_number(&text, after.frequency_khz);
            add(&text, ",");
            add_number(&text, after.temperature_mc);
            add(&text, "]");
            before = reading(); /* writing the block down took time of its own */
        }
        quiet += !disturbed;
    }
    Reading last = reading();
    add(&text, "]");
    add_state(&text, "after", &last);
    add(&text, "}");
    send_line(&text);
}

static void perform(char **word, int words) {
    const char *kind = word[0];
    if (!strcmp(kind, "describe")) describe();
    else if (!strcmp(kind, "run") && words == 8) run_once(word + 1);
    else if (!strcmp(kind, "outputs") && words == 7) compute_outputs(word + 1);
    else if (!strcmp(kind, "memory") && words == 8) measure_memory(word + 1);
    else if (!strcmp(kind, "latency") && words >= 13) time_latency(word + 1, words - 1);
    else send_error("UnavailableError", "the runner has no pass %s with %d words", kind, words - 1);
}

/* What runs on a device that has no Python, such as a phone: times ONNX models there. The host's half is bridge.py.
 *
 *     runner LIBRARY FOLDER          LIBRARY: ONNX Runtime's shared library; FOLDER: kept files and the log
 *
 * Plain C and no header of ONNX Runtime, which is loaded when a pass needs it. With Android's NDK:
 *
 *     $NDK/toolchains/llvm/prebuilt/linux-x86_64/bin/aarch64-linux-android28-clang -O2 -o hwnas-runner runner.c -ldl
 *
 * and for Linux: cc -O2 -o hwnas-runner runner.c -ldl -lpthread
 *
 * A request is one line on stdin, of words with tabs between them: ID OPERATION ARGUMENT...; the answer is one final
 * JSON line on stdout, as of devices/protocol.py: {"id":1,"done":true,...} or {"id":1,"error":{"kind":,"message":}}.
 *
 *     hello SILENCE_S                       end where nothing, not even a "beat", comes for so long; 0: never
 *     beat                                  a sign of life; not answered
 *     begin OPERATION CLIENT                take the device's lock; first an event "waiting" where another has it
 *     end                                   give it back, and add a line to FOLDER/measured.jsonl
 *     have PATH                             is it here? Then it counts as used now
 *     keep PATH PLACE                       it has arrived whole: move it to its place
 *     pass DEADLINE_S KIND ARGUMENT...      one of the passes below, in a process of its own that is killed when it is
 *                                           late, when this process ends, and when the connection does
 *
 *     describe
 *     run      PROVIDER THREADS RUNS TRACE MODEL INPUTS OUTPUTS      TRACE: start of the trace's name, or -
 *     outputs  PROVIDER THREADS BATCH MODEL SAMPLES OUTPUT
 *     memory   PROVIDER THREADS RUNS EMPTY_MODEL INPUTS MODEL INPUTS
 *     latency  PROVIDER THREADS GROUPS BLOCK_MS WARM_UP_MS INTERVAL_MS LIMITS ORDERS (NAME MODEL INPUTS)...
 *
 * INPUTS are .npy files in the order of the model's inputs, with colons between them; OUTPUTS a folder for 0.npy,
 * 1.npy, ... What a pass means is said in devices/passes.py and devices/blocks.py, which do the same in Python.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VERSION 1 /* of the requests; bridge.py asks for the same */
#define MAX_ARMS 8
#define MAX_RANK 8
#define MAX_RUNS 2000 /* a block of a very fast model ends early */
#define MAX_WORDS 64

static const char *library, *folder;
static long request_id;

/* ---- text: an answer that grows, and JSON in it ---- */

typedef struct {
    char *data;
    size_t size, room;
} Text;

static void add(Text *text, const char *format, ...) {
    for (;;) {
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(text->data + text->size, text->room - text->size, format, arguments);
        va_end(arguments);
        if (text->data && (size_t)length < text->room - text->size) {
            text->size += (size_t)length;
            return;
        }
        text->room = 2 * text->room + (size_t)length + 256;
        text->data = realloc(text->data, text->room);
        if (!text->data) _exit(1);
    }
}

static void add_string(Text *text, const char *value) {
    add(text, "\"");
    for (const unsigned char *c = (const unsigned char *)value; *c; c++)
        add(text, *c == '"' || *c == '\\' ? "\\%c" : *c < 32 || *c == 127 ? " " : "%c", *c);
    add(text, "\"");
}

static void add_number(Text *text, int64_t value) { /* -1: this machine does not say */
    if (value < 0) add(text, "null");
    else add(text, "%lld", (long long)value);
}

/* One line at once. Where nobody reads any more there is nobody left to serve. */
static void send_line(Text *text) {
    add(text, "\n");
    for (size_t sent = 0; sent < text->size;) {
        ssize_t count = write(1, text->data + sent, text->size - sent);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) exit(1);
        sent += (size_t)count;
    }
    free(text->data);
    *text = (Text){0};
}

static Text done(void) {
    Text text = {0};
    add(&text, "{\"id\":%ld,\"done\":true", request_id);
    return text;
}

static void send_done(void) {
    Text text = done();
    add(&text, "}");
    send_line(&text);
}

static void send_error(const char *kind, const char *format, ...) {
    char message[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    Text text = {0};
    add(&text, "{\"id\":%ld,\"error\":{\"kind\":\"%s\",\"message\":", request_id, kind);
    add_string(&text, message);
    add(&text, "}}");
    send_line(&text);
}

/* In a pass: the answer is this error. */
#define FAIL(...) do { send_error(__VA_ARGS__); _exit(0); } while (0)

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void *allocate(size_t size) {
    void *data = NULL;
    if (posix_memalign(&data, 64, size ? size : 1)) FAIL("MeasurementError", "no memory for %zu bytes", size);
    return data;
}

/* ---- ONNX Runtime: those members of its struct OrtApi that are used here. The order of that struct never changes, so
 * that a member is found by its place in it (onnxruntime_c_api.h, "OrtApi"). ---- */

typedef struct OrtObject Object; /* all of its opaque types */
typedef Object *Status;          /* NULL: it went well */

typedef struct {
    void *_0[2];
    const char *(*GetErrorMessage)(Status);
    Status (*CreateEnv)(int level, const char *name, Object **env);
    void *_4[2];
    Status (*DisableTelemetryEvents)(const Object *env);
    Status (*CreateSession)(const Object *env, const char *path, const Object *options, Object **session);
    void *_8[1];
    Status (*Run)(Object *session, const Object *how, const char *const *names, const Object *const *inputs,
                  size_t count, const char *const *output_names, size_t output_count, Object **outputs);
    Status (*CreateSessionOptions)(Object **options);
    void *_11[3];
    Status (*EnableProfiling)(Object *options, const char *prefix);
    void *_15[8];
    Status (*SetSessionGraphOptimizationLevel)(Object *options, int level);
    Status (*SetIntraOpNumThreads)(Object *options, int threads);
    Status (*SetInterOpNumThreads)(Object *options, int threads);
    void *_26[4];
    Status (*SessionGetInputCount)(const Object *session, size_t *count);
    Status (*SessionGetOutputCount)(const Object *session, size_t *count);
    void *_32[4];
    Status (*SessionGetInputName)(const Object *session, size_t index, Object *allocator, char **name);
    Status (*SessionGetOutputName)(const Object *session, size_t index, Object *allocator, char **name);
    void *_38[11];
    Status (*CreateTensorWithDataAsOrtValue)(const Object *memory, void *data, size_t bytes, const int64_t *dims,
                                             size_t rank, int type, Object **value);
    void *_50[1];
    Status (*GetTensorMutableData)(Object *value, void **data);
    void *_52[8];
    Status (*GetTensorElementType)(const Object *info, int *type);
    Status (*GetDimensionsCount)(const Object *info, size_t *rank);
    Status (*GetDimensions)(const Object *info, int64_t *dims, size_t rank);
    void *_63[2];
    Status (*GetTensorTypeAndShape)(const Object *value, Object **info);
    void *_66[3];
    Status (*CreateCpuMemoryInfo)(int allocator, int memory, Object **info);
    void *_70[8];
    Status (*GetAllocatorWithDefaultOptions)(Object **allocator);
    void *_79[31];
    Status (*SessionEndProfiling)(Object *session, Object *allocator, char **path);
    void *_111[8];
    Status (*CreateEnvWithGlobalThreadPools)(int level, const char *name, const Object *options, Object **env);
    Status (*DisablePerSessionThreads)(Object *options);
    Status (*CreateThreadingOptions)(Object **options);
    void *_122[3];
    Status (*GetAvailableProviders)(char ***names, int *count);
    void *_126[21];
    Status (*SetGlobalIntraOpNumThreads)(Object *options, int threads);
    Status (*SetGlobalInterOpNumThreads)(Object *options, int threads);
    void *_149[67];
    Status (*SessionOptionsAppendExecutionProvider)(Object *options, const char *name, const char *const *keys,
                                                    const char *const *values, size_t count);
} Api;

#define AT(member, place) _Static_assert(offsetof(Api, member) == (place) * sizeof(void *), #member)
AT(DisableTelemetryEvents, 6); AT(Run, 9); AT(EnableProfiling, 14); AT(SetInterOpNumThreads, 25);
AT(SessionGetOutputCount, 31); AT(SessionGetInputName, 36); AT(CreateTensorWithDataAsOrtValue, 49);
AT(GetTensorMutableData, 51); AT(GetDimensions, 62); AT(GetTensorTypeAndShape, 65); AT(CreateCpuMemoryInfo, 69);
AT(GetAllocatorWithDefaultOptions, 78); AT(SessionEndProfiling, 110); AT(CreateThreadingOptions, 121);
AT(GetAvailableProviders, 125); AT(SetGlobalIntraOpNumThreads, 147);
AT(SessionOptionsAppendExecutionProvider, 216);

#define API_VERSION 12 /* ONNX Runtime 1.12 and later have all of these */
enum { LOG_FATAL = 4, ALL_OPTIMISATIONS = 99, ARENA = 1, DEFAULT_MEMORY = 0 };

static void *handle;
static const Api *ort;
static const char *runtime_version;
static Object *env, *memory, *allocator;

static void check(Status status, const char *kind, const char *what) {
    if (status) FAIL(kind, "%s: ONNX Runtime %s: %s", what, runtime_version, ort->GetErrorMessage(status));
}

static void open_runtime(int threads) {
    handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) FAIL("UnavailableError", "ONNX Runtime cannot be loaded: %s", dlerror());
    struct { const Api *(*GetApi)(uint32_t); const char *(*GetVersionString)(void); } *(*base)(void);
    *(void **)&base = dlsym(handle, "OrtGetApiBase");
    if (!base) FAIL("UnavailableError", "%s is not a library of ONNX Runtime", library);
    runtime_version = base()->GetVersionString();
    ort = base()->GetApi(API_VERSION);
    if (!ort) FAIL("UnavailableError", "ONNX Runtime %s is too old; accepted: from 1.12", runtime_version);
    if (threads > 1) { /* one pool for all sessions, or the threads of one model spin while the other is timed */
        Object *pool;
        check(ort->CreateThreadingOptions(&pool), "MeasurementError", "threads");
        check(ort->SetGlobalIntraOpNumThreads(pool, threads), "MeasurementError", "threads");
        check(ort->SetGlobalInterOpNumThreads(pool, 1), "MeasurementError", "threads");
        check(ort->CreateEnvWithGlobalThreadPools(LOG_FATAL, "hwnas", pool, &env), "MeasurementError", "start");
    } else {
        check(ort->CreateEnv(LOG_FATAL, "hwnas", &env), "MeasurementError", "start");
    }
    check(ort->DisableTelemetryEvents(env), "MeasurementError", "start");
    check(ort->CreateCpuMemoryInfo(ARENA, DEFAULT_MEMORY, &memory), "MeasurementError", "memory");
    check(ort->GetAllocatorWithDefaultOptions(&allocator), "MeasurementError", "memory");
}

/* "CPUExecutionProvider" -> "cpu" */
static const char *short_name(const char *provider) {
    static char name[64];
    size_t length = strcspn(provider, "E");
    const char *end = strstr(provider, "ExecutionProvider");
    if (end) length = (size_t)(end - provider);
    if (length >= sizeof name) length = sizeof name - 1;
    for (size_t i = 0; i < length; i++) name[i] = (char)tolower((unsigned char)provider[i]);
    name[length] = 0;
    return name;
}

static void add_providers(Text *text, const char *format, const char *between) {
    char **names;
    int count;
    check(ort->GetAvailableProviders(&names, &count), "MeasurementError", "providers");
    for (int i = 0; i < count; i++) {
        add(text, "%s", i ? between : "");
        add(text, format, short_name(names[i]));
    }
}

static void use_provider(Object *options, const char *provider) {
    if (!strcmp(provider, "cpu")) return;
    char **names, upper[64] = "";
    int count, found = 0;
    check(ort->GetAvailableProviders(&names, &count), "MeasurementError", "providers");
    for (int i = 0; i < count; i++) found |= !strcmp(short_name(names[i]), provider);
    if (!found) {
        Text there = {0};
        add_providers(&there, "%s", ", ");
        FAIL("UnavailableError", "provider %s is not in this ONNX Runtime %s; it has: %s", provider, runtime_version,
             there.data);
    }
    if (!strcmp(provider, "nnapi")) { /* older than the way that all others take */
        Status (*append)(Object *, uint32_t);
        *(void **)&append = dlsym(handle, "OrtSessionOptionsAppendExecutionProvider_Nnapi");
        if (!append) FAIL("UnavailableError", "this ONNX Runtime %s has no NNAPI", runtime_version);
        check(append(options, 0), "UnavailableError", provider);
        return;
    }
    for (size_t i = 0; provider[i] && i < sizeof upper - 1; i++) upper[i] = (char)toupper((unsigned char)provider[i]);
    check(ort->SessionOptionsAppendExecutionProvider(options, upper, NULL, NULL, 0), "UnavailableError", provider);
}

/* ---- tensors and .npy files (numpy.lib.format) ---- */

static const struct { const char *name; int type; size_t bytes; } TYPES[] = {
    {"<f4", 1, 4}, {"|u1", 2, 1}, {"|i1", 3, 1}, {"<u2", 4, 2}, {"<i2", 5, 2}, {"<i4", 6, 4},
    {"<i8", 7, 8}, {"|b1", 9, 1}, {"<f2", 10, 2}, {"<f8", 11, 8}, {"<u4", 12, 4}, {"<u8", 13, 8},
};

typedef struct {
    int type; /* index in TYPES */
    size_t rank, bytes;
    int64_t dims[MAX_RANK];
    char *data;
} Tensor;

static void size_up(Tensor *tensor) {
    tensor->bytes = TYPES[tensor->type].bytes;
    for (size_t i = 0; i < tensor->rank; i++) tensor->bytes *= (size_t)tensor->dims[i];
}

static Tensor read_npy(const char *path) {
    Tensor tensor = {.type = -1};
    FILE *file = fopen(path, "rb");
    unsigned char start[10] = {0};
    if (!file || fread(start, 1, 10, file) != 10 || memcmp(start, "\x93NUMPY\x01", 7))
        FAIL("InputError", "%s: not an .npy file", path);
    size_t length = start[8] + 256u * start[9];
    char *head = allocate(length + 1);
    if (fread(head, 1, length, file) != length) FAIL("InputError", "%s: cut short", path);
    head[length] = 0;
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (strstr(head, TYPES[i].name)) tensor.type = (int)i;
    char *place = strstr(head, "'shape': (");
    if (tensor.type < 0 || !place) FAIL("InputError", "%s: an .npy file of a kind that is not read here", path);
    for (place += 10; *place && *place != ')';) {
        if (!isdigit((unsigned char)*place)) place++;
        else if (tensor.rank == MAX_RANK) FAIL("InputError", "%s: more than %d dimensions", path, MAX_RANK);
        else tensor.dims[tensor.rank++] = strtoll(place, &place, 10);
    }
    size_up(&tensor);
    tensor.data = allocate(tensor.bytes);
    if (fread(tensor.data, 1, tensor.bytes, file) != tensor.bytes) FAIL("InputError", "%s: cut short", path);
    free(head);
    fclose(file);
    return tensor;
}

static FILE *begin_npy(const char *path, const Tensor *tensor) {
    Text head = {0};
    add(&head, "{'descr': '%s', 'fortran_order': False, 'shape': (", TYPES[tensor->type].name);
    for (size_t i = 0; i < tensor->rank; i++) add(&head, "%lld,", (long long)tensor->dims[i]);
    add(&head, "), }");
    while ((head.size + 11) % 64) add(&head, " ");
    add(&head, "\n");
    FILE *file = fopen(path, "wb");
    if (!file) FAIL("UnavailableError", "%s cannot be written: %s", path, strerror(errno));
    fwrite("\x93NUMPY\x01\x00", 1, 8, file);
    fputc((int)(head.size & 255), file);
    fputc((int)(head.size >> 8), file);
    fwrite(head.data, 1, head.size, file);
    free(head.data);
    return file;
}

static void end_npy(FILE *file, const char *path) {
    int failed = ferror(file);
    if (fclose(file) || failed) FAIL("UnavailableError", "the disk of the device is full: no room for %s", path);
}

/* ---- a model that is ready to run ---- */

typedef struct {
    Object *session;
    size_t inputs, outputs;
    char **input_names, **output_names;
    Object **in, **out;
    Tensor *feeds;
    size_t fed; /* bytes */
} Model;

static Model load(const char *path, const char *provider, int threads, const char *trace) {
    Model model = {0};
    Object *options;
    check(ort->CreateSessionOptions(&options), "MeasurementError", "options");
    check(ort->SetSessionGraphOptimizationLevel(options, ALL_OPTIMISATIONS), "MeasurementError", "options");
    if (threads > 1) {
        check(ort->DisablePerSessionThreads(options), "MeasurementError", "options");
    } else {
        check(ort->SetIntraOpNumThreads(options, 1), "MeasurementError", "options");
        check(ort->SetInterOpNumThreads(options, 1), "MeasurementError", "options");
    }
    if (trace) check(ort->EnableProfiling(options, trace), "MeasurementError", "options");
    use_provider(options, provider);
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    check(ort->CreateSession(env, path, options, &model.session), "InputError", name);
    check(ort->SessionGetInputCount(model.session, &model.inputs), "MeasurementError", name);
    check(ort->SessionGetOutputCount(model.session, &model.outputs), "MeasurementError", name);
    model.input_names = allocate(model.inputs * sizeof(char *));
    model.output_names = allocate(model.outputs * sizeof(char *));
    for (size_t i = 0; i < model.inputs; i++)
        check(ort->SessionGetInputName(model.session, i, allocator, &model.input_names[i]), "MeasurementError", name);
    for (size_t i = 0; i < model.outputs; i++)
        check(ort->SessionGetOutputName(model.session, i, allocator, &model.output_names[i]), "MeasurementError", name);
    model.in = allocate(model.inputs * sizeof(Object *));
    model.feeds = allocate(model.inputs * sizeof(Tensor));
    model.out = allocate(model.outputs * sizeof(Object *));
    memset(model.out, 0, model.outputs * sizeof(Object *));
    return model;
}

static void feed(Model *model, size_t index, Tensor tensor) {
    model->feeds[index] = tensor;
    model->fed += tensor.bytes;
    check(ort->CreateTensorWithDataAsOrtValue(memory, tensor.data, tensor.bytes, tensor.dims, tensor.rank,
                                              TYPES[tensor.type].type, &model->in[index]),
          "InputError", model->input_names[index]);
}

/* The first run makes the outputs; all others write into them. */
static void run(Model *model) {
    check(ort->Run(model->session, NULL, (const char *const *)model->input_names, (const Object *const *)model->in,
                   model->inputs, (const char *const *)model->output_names, model->outputs, model->out),
          "MeasurementError", "the model cannot be run");
}

static int64_t bind_inputs(Model *model, char *paths) {
    size_t count = 0;
    char *rest;
    for (char *path = strtok_r(paths, ":", &rest); path; path = strtok_r(NULL, ":", &rest), count++)
        if (count < model->inputs) feed(model, count, read_npy(path));
    if (count != model->inputs) FAIL("InputError", "%zu inputs for a model that has %zu", count, model->inputs);
    int64_t start = now_ns();
    run(model);
    return now_ns() - start;
}

static Tensor output(Model *model, size_t index) {
    Tensor tensor = {.type = -1};
    Object *info;
    int type;
    const char *name = model->output_names[index];
    check(ort->GetTensorTypeAndShape(model->out[index], &info), "InputError", name);
    check(ort->GetTensorElementType(info, &type), "InputError", name);
    check(ort->GetDimensionsCount(info, &tensor.rank), "InputError", name);
    if (tensor.rank > MAX_RANK) FAIL("InputError", "output %s: more than %d dimensions", name, MAX_RANK);
    check(ort->GetDimensions(info, tensor.dims, tensor.rank), "InputError", name);
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (TYPES[i].type == type) tensor.type = (int)i;
    if (tensor.type < 0) FAIL("InputError", "output %s: its type is not read here", name);
    size_up(&tensor);
    check(ort->GetTensorMutableData(model->out[index], (void **)&tensor.data), "InputError", name);
    return tensor;
}

/* ---- what else used the machine (devices/disturbance.py) ---- */

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
    const struct { const char *name; int found; } reasons[] = {
        {"pressure", rise(before->pressure_us, after->pressure_us) * 1e-6 > limits[0] * seconds},
        {"steal", rise(before->steal_ticks, after->steal_ticks) / (double)sysconf(_SC_CLK_TCK) > limits[1] * seconds},
        {"waited", rise(before->waited_ns, after->waited_ns) * 1e-9 > limits[2] * seconds},
        {"switched", rise(before->switches, after->switches) > allowed},
        {"slowed", -rise(before->frequency_khz, after->frequency_khz) > limits[4] * (double)before->frequency_khz},
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

/* ---- the passes ---- */

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

static void measure_memory(char **word) {
    int threads = atoi(word[1]);
    open_runtime(threads);
    Model empty = load(word[3], word[0], threads, NULL);
    bind_inputs(&empty, word[4]);
#ifdef __GLIBC__
    malloc_trim(0); /* or the model would be loaded into freed memory and seem smaller */
#endif
    int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (file >= 0 && write(file, "5", 1) < 0) file = -1; /* then the older peak hides a part */
    int64_t before = peak_kb();
    Model model = load(word[5], word[0], threads, NULL);
    bind_inputs(&model, word[6]);
    for (int i = 0; i < atoi(word[2]); i++) run(&model);
    int64_t after = peak_kb(), used = after * 1024 - before * 1024 - (int64_t)model.fed;
    Text text = done();
    if (before < 0 || after < 0)
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
    int threads = atoi(word[1]), groups = atoi(word[2]), arms = (words - 8) / 3;
    double block_ms = atof(word[3]), warm_up_ms = atof(word[4]), interval_ms = atof(word[5]), limits[5];
    if (sscanf(word[6], "%lf,%lf,%lf,%lf,%lf", &limits[0], &limits[1], &limits[2], &limits[3], &limits[4]) != 5 ||
        arms < 1 || arms > MAX_ARMS)
        FAIL("InputError", "a latency pass that is not understood");
    open_runtime(threads);
    Model models[MAX_ARMS];
    int runs[MAX_ARMS];
    int64_t load_ns = 0, first_run_ns = 0;
    for (int i = 0; i < arms; i++) {
        int64_t start = now_ns();
        models[i] = load(word[9 + 3 * i], word[0], threads, NULL);
        int64_t loaded = now_ns() - start, first = bind_inputs(&models[i], word[10 + 3 * i]);
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
    char *order, *rest = word[7];
    for (; quiet < groups && (order = strsep(&rest, ",")); group++) {
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
            add_string(&text, word[8 + 3 * arm]);
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
    else if (!strcmp(kind, "latency") && words >= 12) time_latency(word + 1, words - 1);
    else send_error("UnavailableError", "the runner has no pass %s with %d words", kind, words - 1);
}

/* ---- the process that serves requests; ONNX Runtime is never loaded in it ---- */

static pid_t child;      /* of the pass that runs */
static int child_output; /* its stdout */
static Text child_text;
static int64_t child_end_ns, heard_ns, silence_ns;
static int lock_file = -1, granted = -1; /* granted: readable once the lock is ours */
static char lock_words[128];             /* what is done under the lock, and for whom */
static int64_t lock_since_ns;

static void start_pass(char **word, int words) {
    int pipes[2];
    if (pipe(pipes) || (child = fork()) < 0) {
        child = 0;
        send_error("UnavailableError", "no process can be started: %s", strerror(errno));
        return;
    }
    if (child == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == 1) _exit(1); /* it died before that took hold */
        dup2(pipes[1], 1);
        close(pipes[0]);
        close(pipes[1]);
        close(0);
        if (lock_file >= 0) close(lock_file);
        perform(word + 1, words - 1);
        _exit(0); /* without what libraries do at the end */
    }
    close(pipes[1]);
    child_output = pipes[0];
    child_end_ns = now_ns() + (int64_t)(atof(word[0]) * 1e9);
}

static int end_child(void) {
    int status = 0;
    kill(-child, SIGKILL);
    kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    close(child_output);
    child = 0;
    return status;
}

static void end_pass(int late) {
    int status = end_child();
    if (child_text.size && child_text.data[child_text.size - 1] == '\n') {
        child_text.size--;
        send_line(&child_text);
    } else if (late) {
        send_error("MeasurementError", "the pass did not end in time and was killed");
    } else if (WIFSIGNALED(status)) {
        int killed = WTERMSIG(status) == SIGKILL;
        send_error("MeasurementError", "the process of the pass was killed by signal %d%s", WTERMSIG(status),
                   killed ? " (as the kernel does when memory runs out)" : "");
    } else {
        send_error("MeasurementError", "the process of the pass ended with status %d and no answer",
                   WEXITSTATUS(status));
    }
    free(child_text.data);
    child_text = (Text){0};
}

static void *wait_for_lock(void *writer) { /* a thread blocks until then: no polling */
    flock(lock_file, LOCK_EX);
    close((int)(intptr_t)writer);
    return NULL;
}

static void sign_lock(void) { /* as devices/lock.py: always as long, so that a reader never finds it empty */
    char when[32], *client = strchr(lock_words, '\t');
    time_t now = time(NULL);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    Text text = {0};
    add(&text, "{\"pid\": %d, \"since\": \"%s\", \"client\": ", (int)getpid(), when);
    add_string(&text, client ? client + 1 : "");
    add(&text, "}");
    while (text.size < 300) add(&text, " ");
    if (pwrite(lock_file, text.data, text.size, 0) < 0) {} /* then those who wait hear less */
    free(text.data);
    lock_since_ns = now_ns();
    send_done();
}

static void begin(const char *operation, const char *client) {
    const char *path = getenv("HWNAS_LOCK");
    if (!path) path = access("/data/local/tmp", W_OK) ? "/tmp/hwnas.lock" : "/data/local/tmp/hwnas.lock";
    snprintf(lock_words, sizeof lock_words, "%s\t%.80s", operation, client);
    lock_file = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (lock_file < 0) {
        lock_file = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_CREAT, 0666);
        if (lock_file >= 0 && fchmod(lock_file, 0666)) {} /* another user was faster */
    }
    if (lock_file < 0) {
        send_error("UnavailableError", "%s cannot be opened: %s", path, strerror(errno));
        return;
    }
    if (!flock(lock_file, LOCK_EX | LOCK_NB)) {
        sign_lock();
        return;
    }
    char holder[400] = "";
    if (pread(lock_file, holder, sizeof holder - 1, 0) < 0) holder[0] = 0;
    Text text = {0};
    add(&text, "{\"id\":%ld,\"event\":\"waiting\",\"holder\":", request_id);
    add_string(&text, holder);
    add(&text, "}");
    send_line(&text);
    int pipes[2];
    pthread_t thread;
    if (pipe(pipes) || pthread_create(&thread, NULL, wait_for_lock, (void *)(intptr_t)pipes[1])) exit(1);
    pthread_detach(thread);
    granted = pipes[0];
}

static void end(void) {
    if (lock_file < 0) return;
    char path[600], when[32];
    snprintf(path, sizeof path, "%s/measured.jsonl", folder);
    time_t now = time(NULL);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    struct stat status;
    if (!stat(path, &status) && status.st_size > 512 * 1024) {
        char old[620];
        snprintf(old, sizeof old, "%s/measured.old.jsonl", folder);
        rename(path, old);
    }
    char *client = strchr(lock_words, '\t');
    *client++ = 0;
    Text text = {0};
    add(&text, "{\"op\":\"%s\",\"client\":", lock_words);
    add_string(&text, client);
    add(&text, ",\"agent\":%d,\"start_s\":%.6f,\"end_s\":%.6f,\"time\":\"%s\"}\n", (int)getpid(),
        (double)lock_since_ns / 1e9, (double)now_ns() / 1e9, when);
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file >= 0 && write(file, text.data, text.size) < 0) {} /* a full disk does not stop a measurement */
    if (file >= 0) close(file);
    free(text.data);
    close(lock_file);
    lock_file = -1;
}

static void serve(char *line) {
    char *word[MAX_WORDS];
    int words = 0;
    for (char *part; words < MAX_WORDS && (part = strsep(&line, "\t"));) word[words++] = part;
    if (words < 2) return; /* what a shell prints, or reads, is none of ours */
    const char *what = word[1];
    if (!strcmp(what, "beat")) return;
    request_id = atol(word[0]);
    if (!strcmp(what, "hello") && words == 3) {
        silence_ns = (int64_t)(atof(word[2]) * 1e9);
        Text text = done();
        add(&text, ",\"pid\":%d,\"version\":%d}", (int)getpid(), VERSION);
        send_line(&text);
    } else if (!strcmp(what, "begin") && words == 4 && lock_file < 0) {
        begin(word[2], word[3]);
    } else if (!strcmp(what, "end")) {
        end();
        send_done();
    } else if (!strcmp(what, "have") && words == 3) {
        Text text = done();
        add(&text, ",\"have\":%s}", utimensat(AT_FDCWD, word[2], NULL, 0) ? "false" : "true");
        send_line(&text);
    } else if (!strcmp(what, "keep") && words == 4) {
        /* Where another session was faster, its files are the same. */
        if (rename(word[2], word[3]) && access(word[3], F_OK))
            send_error("UnavailableError", "%s cannot be kept: %s", word[3], strerror(errno));
        else
            send_done();
    } else if (!strcmp(what, "pass") && words > 3) {
        start_pass(word + 2, words - 2);
    } else {
        send_error("UnavailableError", "the runner does not know %s with %d words", what, words - 2);
    }
}

static void leave(void) {
    if (child) end_child();
    exit(0);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "runner LIBRARY FOLDER\n");
        return 2;
    }
    library = arguments[1], folder = arguments[2];
    signal(SIGPIPE, SIG_IGN);
    Text lines = {0};
    heard_ns = now_ns();
    for (;;) {
        struct pollfd watched[3] = {{0, POLLIN, 0}, {child ? child_output : -1, POLLIN, 0}, {granted, POLLIN, 0}};
        int64_t wait_ns = INT64_MAX, now = now_ns();
        if (silence_ns) wait_ns = heard_ns + silence_ns - now;
        if (child && child_end_ns - now < wait_ns) wait_ns = child_end_ns - now;
        int limit = wait_ns == INT64_MAX ? -1 : wait_ns < 0 ? 0 : (int)(wait_ns / 1000000) + 1;
        if (poll(watched, 3, limit) < 0 && errno != EINTR) leave();
        now = now_ns();
        if (watched[0].revents) {
            char data[65536];
            ssize_t size = read(0, data, sizeof data);
            if (size <= 0) leave();
            heard_ns = now;
            add(&lines, "%.*s", (int)size, data);
        } else if (silence_ns && now > heard_ns + silence_ns) {
            leave();
        }
        if (watched[1].revents) {
            char data[65536];
            ssize_t size = read(child_output, data, sizeof data);
            if (size > 0) add(&child_text, "%.*s", (int)size, data);
            else end_pass(0);
        }
        if (child && now > child_end_ns) end_pass(1);
        if (watched[2].revents) {
            close(granted);
            granted = -1;
            sign_lock();
        }
        /* One request at a time: what comes meanwhile waits, except a sign of life, which was heard above. */
        char *line_end;
        while (!child && granted < 0 && lines.size && (line_end = memchr(lines.data, '\n', lines.size))) {
            char *line = strndup(lines.data, (size_t)(line_end - lines.data));
            lines.size -= (size_t)(line_end + 1 - lines.data);
            memmove(lines.data, line_end + 1, lines.size);
            serve(line);
            free(line);
        }
    }
}

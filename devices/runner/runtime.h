/* ONNX Runtime without its header. Part of runner.c.
 *
 * These are the members of its struct OrtApi that are used here. The order of that struct never changes, so that a member
 * is found by its place in it (onnxruntime_c_api.h, "OrtApi").
 */

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

static void use_provider(Object *options, const char *provider, int threads) {
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
    char count_of_threads[16];
    snprintf(count_of_threads, sizeof count_of_threads, "%d", threads);
    const char *keys[] = {"intra_op_num_threads"}, *values[] = {count_of_threads};
    size_t settings = !strcmp(provider, "xnnpack"); /* which has a thread pool of its own */
    check(ort->SessionOptionsAppendExecutionProvider(options, upper, keys, values, settings), "UnavailableError",
          provider);
}

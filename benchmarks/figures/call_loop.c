/* Times inferences through ONNX Runtime's C API, with nothing of hwnas around them: the physical baseline.
 *
 * `loop_open` loads a model into bound buffers; `loop_times` runs it COUNT + 1 times back to back, drops the first and
 * gives the others' times in ns. One thread, all graph optimisations, as the engine of hwnas. Each returns NULL, or what
 * went wrong.
 *
 * The wheel ships the library and no header, so the functions needed are declared here. OrtApi is a table of function
 * pointers to which new ones are only ever appended; the numbers are positions in it (onnxruntime_c_api.h, version 5).
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

typedef void *Status;
typedef void *Handle;
enum { VERSION = 5, FATAL = 4, ENABLE_ALL = 99, DEVICE_ALLOCATOR = 0, MEMORY_DEFAULT = 0, FLOAT = 1 };

static void *const *api;

static Handle session, binding;
static Status (*run)(Handle, Handle, Handle);

#define CALL(position, type, ...) ((Status(*) type)api[position])(__VA_ARGS__)
#define CHECK(status)                                                                     \
  do {                                                                                    \
    Status failed = (status);                                                             \
    if (failed != NULL) return ((const char *(*)(Status))api[2])(failed); /* GetErrorMessage */ \
  } while (0)

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

const char *loop_open(const char *path, const char *model, const int64_t *shape, size_t rank) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return dlerror();
  struct Base {
    void *const *(*GetApi)(uint32_t);
    const char *(*GetVersionString)(void);
  };
  const struct Base *(*base)(void);
  *(void **)&base = dlsym(library, "OrtGetApiBase");
  if (base == NULL || (api = base()->GetApi(VERSION)) == NULL) return "the library has no C API of that version";
  Handle env, options, memory, allocator, input, *outputs;
  size_t found, floats = 1;
  CHECK(CALL(3, (int, const char *, Handle *), FATAL, "call_loop", &env));                 /* CreateEnv */
  CHECK(CALL(6, (Handle), env));                                                           /* DisableTelemetryEvents */
  CHECK(CALL(10, (Handle *), &options));                                                   /* CreateSessionOptions */
  CHECK(CALL(23, (Handle, int), options, ENABLE_ALL));                         /* SetSessionGraphOptimizationLevel */
  CHECK(CALL(24, (Handle, int), options, 1));                                              /* SetIntraOpNumThreads */
  CHECK(CALL(25, (Handle, int), options, 1));                                              /* SetInterOpNumThreads */
  CHECK(CALL(7, (Handle, const char *, Handle, Handle *), env, model, options, &session)); /* CreateSession */
  CHECK(CALL(69, (int, int, Handle *), DEVICE_ALLOCATOR, MEMORY_DEFAULT, &memory));        /* CreateCpuMemoryInfo */
  CHECK(CALL(78, (Handle *), &allocator));                                       /* GetAllocatorWithDefaultOptions */
  for (size_t i = 0; i < rank; i++) floats *= (size_t)shape[i];
  float *values = malloc(floats * sizeof(float));
  if (values == NULL) return "no memory for the input";
  for (size_t i = 0; i < floats; i++) values[i] = (float)((i * 2654435761u) % 2001) / 1000.0f - 1.0f;
  CHECK(CALL(49, (Handle, void *, size_t, const int64_t *, size_t, int, Handle *), memory, values,
             floats * sizeof(float), shape, rank, FLOAT, &input));               /* CreateTensorWithDataAsOrtValue */
  CHECK(CALL(134, (Handle, Handle *), session, &binding));                                 /* CreateIoBinding */
  CHECK(CALL(136, (Handle, const char *, Handle), binding, "input", input));               /* BindInput */
  CHECK(CALL(138, (Handle, const char *, Handle), binding, "output", memory));             /* BindOutputToDevice */
  run = (Status(*)(Handle, Handle, Handle))api[133];                                       /* RunWithBinding */
  CHECK(run(session, NULL, binding));
  /* From here on into that one buffer, as hwnas does. */
  CHECK(CALL(140, (Handle, Handle, Handle **, size_t *), binding, allocator, &outputs, &found));
  ((void (*)(Handle))api[142])(binding);                                                   /* ClearBoundOutputs */
  CHECK(CALL(137, (Handle, const char *, Handle), binding, "output", outputs[0]));         /* BindOutput */
  for (int i = 0; i < 20; i++) CHECK(run(session, NULL, binding));
  return NULL;
}

const char *loop_times(int64_t *times, size_t count) {
  CHECK(run(session, NULL, binding));
  for (size_t i = 0; i < count; i++) {
    int64_t start = now_ns();
    Status status = run(session, NULL, binding);
    times[i] = now_ns() - start;
    CHECK(status);
  }
  return NULL;
}

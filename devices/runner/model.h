/* A model that is ready to run. Part of runner.c. */

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
    use_provider(options, provider, threads);
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

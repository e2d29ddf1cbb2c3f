/* Tensors and .npy files (numpy.lib.format). Part of runner.c. */

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

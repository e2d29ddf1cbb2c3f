/* An answer that grows, and JSON in it. Part of runner.c. */

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

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
 *     latency  PROVIDER THREADS GROUPS BLOCK_MS WARM_UP_MS INTERVAL_MS ENOUGH_MS LIMITS ORDERS (NAME MODEL INPUTS)...
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

#define VERSION 3 /* of the requests and of what the figures mean; link.py asks for the same */
#define MAX_ARMS 8
#define MAX_RANK 8
#define MAX_RUNS 2000 /* a block of a very fast model ends early */
#define LEAST_GROUPS 2 /* undisturbed, however long they take; tried for twice as often */
#define MAX_WORDS 64

static const char *library, *folder;
static long request_id;

#include "text.h"
#include "runtime.h"
#include "npy.h"
#include "model.h"
#include "disturbance.h"
#include "passes.h"

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

/* A driver of NVIDIA's whose card is this machine's memory, and whose streams do at once what they are given.

   A recorded graph is what `replay` is set to: the test's own, called with its number, or nothing. */
#include <stdlib.h>
#include <string.h>
#include <stdint.h>

typedef uint64_t address;
static _Atomic int graphs = 0;
static void *capturing[16];           /* streams */
_Atomic size_t used = 0;             /* models have a lock each, and share these */
size_t room = (size_t)1 << 40;       /* what a test leaves of the card */
int node_kind = 0;                   /* what a recorded graph consists of */
int capture_fails = 0, end_fails = 0, module_fails = 0;
int under_way = 0, most = 0;         /* records, and how many there were at once */
int spoiled = 0;                     /* whether ONNX Runtime does what cannot be recorded */
__thread int last_error = 0;         /* CUDA's, beside the driver */
_Atomic long allocations = 0, frees = 0, launches = 0, waits = 0, events = 0;
void (*replay)(long) = 0;

static int captured(void *stream) { for (int k = 0; k < 16; k++) if (capturing[k] == stream) return k + 1; return 0; }

int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return number ? 101 : 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "NVIDIA H100 80GB HBM3", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)79 << 30; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)0xc0; return 0; }
int cuCtxPushCurrent_v2(void *context) { return context == (void *)0xc0 ? 0 : 201; }
int cuCtxPopCurrent_v2(void **context) { *context = (void *)0xc0; return 0; }
int cuCtxSynchronize(void) {
    waits++;
    for (int k = 0; k < 16; k++) if (capturing[k]) return 900;
    return 0; }
int cuMemGetInfo_v2(size_t *left, size_t *total) { *left = room - used; *total = room; return 0; }

static int allocated(void **to, size_t size) {
    if (used + size > room) return 2;
    size_t *block = malloc(size + 64);
    block[0] = size;
    memset(block + 8, 0xff, size);   /* NaN, so that what nobody wrote shows */
    used += size; allocations++;
    *to = block + 8;
    return 0;
}
static int released(void *at) {
    size_t *block = (size_t *)at - 8;
    memset(at, 0xff, block[0]);
    used -= block[0]; frees++;
    free(block);
    return 0;
}
int cuMemAlloc_v2(address *to, size_t size) { return allocated((void **)to, size); }
int cuMemFree_v2(address at) { return released((void *)at); }
int cuMemHostAlloc(void **to, size_t size, unsigned flags) { return allocated(to, size); }
int cuMemFreeHost(void *at) { return released(at); }

static _Atomic long handles = 0x100;
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)++handles; return 0; }
int cuEventCreate(void **event, unsigned flags) { *event = (void *)++handles; events++; return 0; }
int cuEventDestroy_v2(void *event) { events--; return 0; }
int cuEventRecord(void *event, void *stream) { return captured(stream) ? 900 : 0; }
int cuEventQuery(void *event) { return 0; }
int cuEventSynchronize(void *event) { return 0; }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return 0; }
int cuStreamSynchronize(void *stream) { return stream && captured(stream) ? 900 : 0; }

int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t size, void *s) { memcpy((void *)to, from, size); return 0; }
int cuMemcpyDtoHAsync_v2(void *to, address from, size_t size, void *s) { memcpy(to, (void *)from, size); return 0; }
int cuMemcpyDtoDAsync_v2(address to, address from, size_t size, void *s) { memmove((void *)to, (void *)from, size); return 0; }
int cuMemsetD8Async(address to, unsigned char byte, size_t size, void *s) { memset((void *)to, byte, size); return 0; }

int cuStreamBeginCapture_v2(void *stream, int mode) { 
    if (capture_fails) return 801;
    capturing[captured(0) - 1] = stream; most = ++under_way > most ? under_way : most; return 0; }
int cuStreamEndCapture(void *stream, void **graph) {
    capturing[captured(stream) - 1] = 0; under_way--;
    if (end_fails) { *graph = 0; return 901; }
    *graph = (void *)(long)++graphs; return 0; }
int cudaGetLastError(void) { int error = last_error; last_error = 0; return error; }
int cudaDeviceSynchronize(void) { return under_way ? last_error = 900 : 0; }
int cuGraphGetNodes(void *graph, void **nodes, size_t *count) { if (nodes) nodes[0] = (void *)1; *count = 1; return 0; }
int cuGraphNodeGetType(void *node, int *kind) { *kind = node_kind; return 0; }
int cuGraphMemcpyNodeGetParams(void *node, void *copy) {      /* from the host to the card */
    memset(copy, 0, 200); ((int *)copy)[8] = 1; ((int *)copy)[30] = 2; return 0; }
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) { *executable = graph; return 0; }
int cuGraphDestroy(void *graph) { return 0; }
int cuGraphExecDestroy(void *executable) { return 0; }
int cuGraphLaunch(void *executable, void *stream) { launches++; if (replay) replay((long)executable); return 0; }
static int self = 0;
int cuModuleLoadData(void **module, const char *ptx) { 
    *module = &self; return module_fails || !strstr(ptx, "not_finite") ? 218 : 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = module; return strcmp(name, "not_finite") ? 500 : 0; }
int cuLaunchKernel(void *f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned shared,
                   void *stream, void **given, void **extra) {
    uint32_t *values = *(uint32_t **)given[0];
    uint64_t count = *(uint64_t *)given[1];
    for (uint64_t k = 0; k < count; k++)
        if ((values[k] & 0x7f800000) == 0x7f800000) **(uint32_t **)given[2] = 1;
    return 0; }
address pinned_from = 0, pinned_to = 0;   /* memory that a test has pinned */
int cuPointerGetAttribute(void *to, int attribute, address at) {
    *(int *)to = attribute != 2 ? 0 : pinned_from <= at && at < pinned_to ? 1 : 2; return 0; }
int cuGetErrorName(int code, const char **name) {
    *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 900 ? "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
          : code == 901 ? "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED" : "CUDA_ERROR_UNKNOWN";
    return 0;
}

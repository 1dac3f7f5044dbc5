// A stand-in for libnvidia-ml.so.1: enough NVML for NVIDIA's device plugin, GPU
// feature discovery and Hearth's worker to see GPUs on a machine without any.
//
// The GPUs are read from files, afresh at every call, so that a test can change
// them under a running process. The folder is $MOCK_NVML_DIR, or /run/mock-nvml:
//
//   gpus       a line a GPU: UUID TOTAL_MIB USED_MIB COMPUTE_CAPABILITY NAME
//   unhealthy  indices of GPUs that raise XID 79 ("fallen off the bus")
//
// A process sees the GPUs of NVIDIA_VISIBLE_DEVICES (`all`, UUIDs or indices),
// as a container does under NVIDIA's container runtime. Every NVML function
// that is not here answers "not supported"; build.sh generates those.
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include "nvml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_GPUS = 64, XID_FALLEN_OFF_THE_BUS = 79, POLL_MS = 250 };

struct gpu {
  char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
  char name[NVML_DEVICE_NAME_V2_BUFFER_SIZE];
  unsigned long long total_mib, used_mib;
  int major, minor;
};

// A device handle is a pointer into this array: its index is the GPU's line.
static char handles[MAX_GPUS];
static unsigned host_index(nvmlDevice_t d) { return (unsigned)((char *)d.handle - handles); }
static nvmlDevice_t handle(unsigned host) { return (nvmlDevice_t){(void *)(handles + host)}; }

static FILE *open_state(const char *name) {
  const char *dir = getenv("MOCK_NVML_DIR");
  char path[512];
  snprintf(path, sizeof path, "%s/%s", dir ? dir : "/run/mock-nvml", name);
  return fopen(path, "r");
}

static unsigned read_gpus(struct gpu *out) {
  FILE *f = open_state("gpus");
  unsigned n = 0;
  while (f && n < MAX_GPUS &&
         fscanf(f, "%79s %llu %llu %d.%d %95[^\n]", out[n].uuid, &out[n].total_mib, &out[n].used_mib,
                &out[n].major, &out[n].minor, out[n].name) == 6)
    n++;
  if (f) fclose(f);
  return n;
}

static int visible(unsigned host, const struct gpu *g) {
  const char *env = getenv("NVIDIA_VISIBLE_DEVICES");
  char list[8192], index[12], *rest = list, *item;
  if (!env) return 0;
  snprintf(list, sizeof list, "%s", env);
  snprintf(index, sizeof index, "%u", host);
  while ((item = strsep(&rest, ",")))
    if (!strcmp(item, "all") || !strcmp(item, index) || !strcmp(item, g->uuid)) return 1;
  return 0;
}

// The GPUs that this process sees: `hosts` receives their lines.
static unsigned visible_gpus(unsigned *hosts) {
  struct gpu gpus[MAX_GPUS];
  unsigned all = read_gpus(gpus), n = 0;
  for (unsigned i = 0; i < all; i++)
    if (visible(i, &gpus[i])) hosts[n++] = i;
  return n;
}

static nvmlReturn_t find(nvmlDevice_t d, struct gpu *out) {
  struct gpu gpus[MAX_GPUS];
  unsigned n = read_gpus(gpus), i = host_index(d);
  if (i >= n) return NVML_ERROR_GPU_IS_LOST;
  *out = gpus[i];
  return NVML_SUCCESS;
}

static nvmlReturn_t put(char *b, unsigned n, const char *s) {
  if (strlen(s) + 1 > n) return NVML_ERROR_INSUFFICIENT_SIZE;
  strcpy(b, s);
  return NVML_SUCCESS;
}

static nvmlReturn_t set(unsigned *to, unsigned value) {
  *to = value;
  return NVML_SUCCESS;
}

// --- the library and the driver

nvmlReturn_t nvmlInit_v2(void) {
  struct gpu gpus[MAX_GPUS];
  return read_gpus(gpus) ? NVML_SUCCESS : NVML_ERROR_DRIVER_NOT_LOADED;
}
nvmlReturn_t nvmlInit(void) { return nvmlInit_v2(); }
nvmlReturn_t nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
nvmlReturn_t nvmlShutdown(void) { return NVML_SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t r) {
  switch (r) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT: return "Timeout";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
  }
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *b, unsigned n) { return put(b, n, "580.95.05"); }
nvmlReturn_t nvmlSystemGetNVMLVersion(char *b, unsigned n) { return put(b, n, "13.580.95.05"); }
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *v) { *v = 13000; return NVML_SUCCESS; }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 13000; return NVML_SUCCESS; }

// --- handles

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *n) {
  unsigned hosts[MAX_GPUS];
  return set(n, visible_gpus(hosts));
}
nvmlReturn_t nvmlDeviceGetCount(unsigned *n) { return nvmlDeviceGetCount_v2(n); }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned i, nvmlDevice_t *d) {
  unsigned hosts[MAX_GPUS];
  if (i >= visible_gpus(hosts)) return NVML_ERROR_INVALID_ARGUMENT;
  *d = handle(hosts[i]);
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned i, nvmlDevice_t *d) { return nvmlDeviceGetHandleByIndex_v2(i, d); }
nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *d) {
  struct gpu gpus[MAX_GPUS];
  unsigned n = read_gpus(gpus);
  for (unsigned i = 0; i < n; i++)
    if (!strcmp(gpus[i].uuid, uuid) && visible(i, &gpus[i])) {
      *d = handle(i);
      return NVML_SUCCESS;
    }
  return NVML_ERROR_NOT_FOUND;
}

// --- what a device is

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *b, unsigned n) {
  struct gpu g;
  nvmlReturn_t r = find(d, &g);
  return r ? r : put(b, n, g.name);
}
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *b, unsigned n) {
  struct gpu g;
  nvmlReturn_t r = find(d, &g);
  return r ? r : put(b, n, g.uuid);
}
nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t d, unsigned *index) {
  unsigned hosts[MAX_GPUS], n = visible_gpus(hosts);
  for (unsigned i = 0; i < n; i++)
    if (hosts[i] == host_index(d)) return set(index, i);
  return NVML_ERROR_GPU_IS_LOST;
}
nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t d, unsigned *minor) { return set(minor, host_index(d)); }
nvmlReturn_t nvmlDeviceGetBrand(nvmlDevice_t d, nvmlBrandType_t *b) {
  (void)d;
  *b = NVML_BRAND_GEFORCE;
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor) {
  struct gpu g;
  nvmlReturn_t r = find(d, &g);
  if (r) return r;
  *major = g.major;
  *minor = g.minor;
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t d, nvmlDeviceArchitecture_t *a) {
  struct gpu g;
  nvmlReturn_t r = find(d, &g);
  if (r) return r;
  switch (g.major * 10 + g.minor) {
    case 75: return set(a, NVML_DEVICE_ARCH_TURING);
    case 80: case 86: case 87: return set(a, NVML_DEVICE_ARCH_AMPERE);
    case 89: return set(a, NVML_DEVICE_ARCH_ADA);
    case 90: return set(a, NVML_DEVICE_ARCH_HOPPER);
    case 100: case 120: return set(a, NVML_DEVICE_ARCH_BLACKWELL);
    default: return set(a, NVML_DEVICE_ARCH_UNKNOWN);
  }
}
nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *p) {
  memset(p, 0, sizeof *p);
  p->bus = 0x10 + host_index(d);
  p->pciDeviceId = 0x250310DE;
  p->pciSubSystemId = 0x39751462;
  snprintf(p->busIdLegacy, sizeof p->busIdLegacy, "0000:%02X:00.0", p->bus);
  snprintf(p->busId, sizeof p->busId, "00000000:%02X:00.0", p->bus);
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t a, nvmlDevice_t b, nvmlGpuTopologyLevel_t *l) {
  (void)a, (void)b;
  *l = NVML_TOPOLOGY_NODE;
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t d, unsigned *is) { (void)d; return set(is, 0); }

// --- memory

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m) {
  struct gpu g;
  nvmlReturn_t r = find(d, &g);
  if (r) return r;
  m->total = g.total_mib << 20;
  m->used = g.used_mib << 20;
  m->free = m->total - m->used;
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *m) {
  nvmlMemory_t v1;
  nvmlReturn_t r = nvmlDeviceGetMemoryInfo(d, &v1);
  if (r) return r;
  m->total = v1.total;
  m->used = v1.used;
  m->free = v1.free;
  m->reserved = 0;
  return NVML_SUCCESS;
}
// No process of ours holds memory here: all that is used is used by others.
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *n, nvmlProcessInfo_t *p) {
  (void)d, (void)p;
  return set(n, 0);
}
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t d, unsigned *n, nvmlProcessInfo_t *p) {
  return nvmlDeviceGetComputeRunningProcesses_v3(d, n, p);
}

// --- health

// One bit a GPU whose XID was told to this process and has not been taken back.
static unsigned long long told;

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t d, unsigned long long *t) {
  (void)d;
  *t = nvmlEventTypeXidCriticalError;
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long t, nvmlEventSet_t s) {
  (void)d, (void)t, (void)s;
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *s) {
  s->handle = malloc(1);
  told = 0;
  return s->handle ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}
nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t s) {
  free(s.handle);
  return NVML_SUCCESS;
}
nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t s, nvmlEventData_t *e, unsigned timeout_ms) {
  (void)s;
  for (unsigned waited = 0;; waited += POLL_MS, usleep(POLL_MS * 1000)) {
    struct gpu gpus[MAX_GPUS];
    unsigned n = read_gpus(gpus), i;
    unsigned long long bad = 0, fresh;
    FILE *f = open_state("unhealthy");
    while (f && fscanf(f, "%u", &i) == 1)
      if (i < n && visible(i, &gpus[i])) bad |= 1ULL << i;
    if (f) fclose(f);
    fresh = bad & ~told;
    told &= bad;
    if (fresh) {
      i = (unsigned)__builtin_ctzll(fresh);
      told |= 1ULL << i;
      *e = (nvmlEventData_t){.device = handle(i), .eventType = nvmlEventTypeXidCriticalError,
                             .eventData = XID_FALLEN_OFF_THE_BUS, .gpuInstanceId = ~0u, .computeInstanceId = ~0u};
      return NVML_SUCCESS;
    }
    if (waited >= timeout_ms) return NVML_ERROR_TIMEOUT;
  }
}
nvmlReturn_t nvmlEventSetWait(nvmlEventSet_t s, nvmlEventData_t *e, unsigned ms) { return nvmlEventSetWait_v2(s, e, ms); }

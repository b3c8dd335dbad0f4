// Lets a transform use the C library's text functions. These bring the library's output with them, which
// would ask the system for files: here it ends up in the agent's log instead, line by line. Everything
// else that asks a system for something stays an import, and the component is refused.

#include "transform.h"
#include <stdlib.h>

typedef struct {
  const uint8_t *ptr;
  size_t len;
} piece_t;

// WASI's errno for a call that is not there.
#define NOT_THERE 52

int32_t __imported_wasi_snapshot_preview1_fd_write(int32_t fd, int32_t pieces, int32_t count, int32_t written) {
  const piece_t *piece = (const piece_t *)pieces;
  size_t all = 0;
  for (int32_t i = 0; i < count; i++) {
    all += piece[i].len;
    transform_string_t line = {(uint8_t *)piece[i].ptr, piece[i].len};
    while (line.len > 0 && line.ptr[line.len - 1] == '\n')
      line.len--;
    if (line.len > 0)
      milepost_transform_host_log(fd == 2 ? MILEPOST_TRANSFORM_HOST_LEVEL_ERROR : MILEPOST_TRANSFORM_HOST_LEVEL_INFO,
                                  &line);
  }
  *(size_t *)written = all;
  return 0;
}

int32_t __imported_wasi_snapshot_preview1_fd_close(int32_t fd) {
  (void)fd;
  return NOT_THERE;
}

int32_t __imported_wasi_snapshot_preview1_fd_seek(int32_t fd, int64_t offset, int32_t whence, int32_t position) {
  (void)fd, (void)offset, (void)whence, (void)position;
  return NOT_THERE;
}

// What isatty asks: the output is none.
int32_t __imported_wasi_snapshot_preview1_fd_fdstat_get(int32_t fd, int32_t status) {
  (void)fd, (void)status;
  return NOT_THERE;
}

_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t status) {
  (void)status;
  abort();
}

# Two functions of libpq, and what the build says of itself (`setup.py`).

ctypedef int (*GetCopyData)(void* connection, char** data, int is_async) noexcept
ctypedef void (*FreeMemory)(void* data) noexcept

cdef extern from "Python.h":
    object PyMemoryView_FromMemory(char* data, Py_ssize_t size, int flags)
    int PyBUF_READ

cdef extern from *:
    const char* TWIN_SOURCES

# A function of libpq, and what the build says of itself (`setup.py`).

ctypedef int (*GetLine)(void* connection, char* buffer, int size) noexcept

cdef extern from "string.h":
    int memcmp(const void* one, const void* other, size_t size)

cdef extern from "Python.h":
    bytearray PyByteArray_FromStringAndSize(char* data, Py_ssize_t size)

cdef extern from *:
    const char* TWIN_SOURCES

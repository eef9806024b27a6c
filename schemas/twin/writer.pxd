# What writers of rows are made of, and what the build says of itself (`setup.py`).

cdef extern from "Python.h":
    bytearray PyByteArray_FromStringAndSize(char* data, Py_ssize_t size)

cdef extern from *:
    const char* TWIN_SOURCES

cdef class Writer:
    cdef bint is_json
    cdef bint is_whole
    cdef bytes kinds
    cdef bytes scales
    cdef bytes keys
    cdef Py_ssize_t count
    cdef tuple key_columns
    cdef dict calls
    cdef bytes names
    cdef long long[::1] name_places
    cdef list key_names
    cdef bytes null
    cdef bytes key_head
    cdef bytes key_end
    cdef dict heads
    cdef bytes between
    cdef bytes after_delete
    cdef Py_ssize_t margin
    cdef long long[::1] starts
    cdef long long[::1] ends
    cdef bytearray buffer
    cdef unsigned char* out
    cdef Py_ssize_t o
    cdef Py_ssize_t size
    cdef Py_ssize_t reserved
    cdef Py_ssize_t each

    cdef int _reserve(self, Py_ssize_t size) except? -1
    cdef int _give_back(self) except? -1
    cdef int _write(self, bytes content) except? -1
    cdef int _name(self, Py_ssize_t i) except? -1
    cdef int _call(self, Py_ssize_t i, bytes message, Py_ssize_t p, Py_ssize_t q) except? -1
    cdef int _text(self, const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -1
    cdef int _octets(self, const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -1
    cdef int _end_row(self) except? -1
    cdef object _key(self)
    cdef int _close(self, bytes plain, bytes tail, long long seq) except? -1
    cdef object _record(self, bytes message, bytes plain, bytes tail, long long seq)
    cdef int _begin(self, Py_ssize_t count) except? -1
    cdef int _end(self, Py_ssize_t first, bytes key) except? -1
    cdef bytearray _handed_over(self, Py_ssize_t count)
    cdef bint _is_delete(self, bytes message)
    cdef object _body(self, bytes packet)

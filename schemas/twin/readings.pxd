# What other modules of the twin call without Python in between.

cdef bint same(const unsigned char* m, Py_ssize_t p, const unsigned char* text, Py_ssize_t n) noexcept
cdef Py_ssize_t varint_end(const unsigned char* m, Py_ssize_t p, Py_ssize_t n) except? -1
cdef long long long_of(const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -9223372036854775807
cdef Py_ssize_t avro_end(int kind, const unsigned char* m, Py_ssize_t p, Py_ssize_t n) except? -1
cdef Py_ssize_t json_end(const unsigned char* m, Py_ssize_t p, Py_ssize_t n) except? -1
cdef int see_utf8(const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -1
cdef long long twos_complement(const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -9223372036854775807
cdef long long instant(const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -9223372036854775807
cdef long long integer(const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -9223372036854775807
cdef int truth(const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -1
cdef Py_ssize_t base64_bytes(
    unsigned char* out, Py_ssize_t o, const unsigned char* m, Py_ssize_t p, Py_ssize_t q
) except? -1
cdef Py_ssize_t unescaped(
    unsigned char* out, Py_ssize_t o, const unsigned char* m, Py_ssize_t p, Py_ssize_t q
) except? -1
# What the build says of itself (`setup.py`).

cdef extern from *:
    const char* TWIN_SOURCES

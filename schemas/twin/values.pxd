# What other modules of the twin call without Python in between.

cdef long long u32(const unsigned char* m, Py_ssize_t p) noexcept
cdef Py_ssize_t copy(unsigned char* out, Py_ssize_t o, const unsigned char* m, Py_ssize_t p, Py_ssize_t n) noexcept
cdef Py_ssize_t unsigned(unsigned char* out, Py_ssize_t o, unsigned long long z) noexcept
cdef Py_ssize_t digits(unsigned char* out, Py_ssize_t o, unsigned long long n, int width) noexcept
cdef Py_ssize_t number(unsigned char* out, Py_ssize_t o, long long n) noexcept
cdef Py_ssize_t varint(unsigned char* out, Py_ssize_t o, long long n) noexcept
cdef Py_ssize_t zoned(unsigned char* out, Py_ssize_t o, long long us) except? -1
cdef Py_ssize_t two_complement(unsigned char* out, Py_ssize_t o, long long n) noexcept
cdef Py_ssize_t uuid(unsigned char* out, Py_ssize_t o, const unsigned char* m, Py_ssize_t p) noexcept
cdef Py_ssize_t base64(
    unsigned char* out, Py_ssize_t o, const unsigned char* m, Py_ssize_t p, Py_ssize_t q
) noexcept
cdef Py_ssize_t escaped(
    unsigned char* out, Py_ssize_t o, const unsigned char* m, Py_ssize_t p, Py_ssize_t q
) except? -1
cdef Py_ssize_t avro_number(unsigned char* out, Py_ssize_t o, int kind, long long n) except? -1
cdef Py_ssize_t json_number(unsigned char* out, Py_ssize_t o, int kind, long long n) except? -1
cdef Py_ssize_t avro_value(
    unsigned char* out, Py_ssize_t o, int kind, int scale, const unsigned char* m, Py_ssize_t p, Py_ssize_t q
) except? -1
cdef Py_ssize_t json_value(
    unsigned char* out, Py_ssize_t o, int kind, int scale, const unsigned char* m, Py_ssize_t p, Py_ssize_t q
) except? -1
# What the build says of itself (`setup.py`).

cdef extern from *:
    const char* TWIN_SOURCES

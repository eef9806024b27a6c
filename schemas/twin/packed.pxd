# What other modules of the twin call without Python in between.

cdef long long little(const unsigned char* m, Py_ssize_t p, Py_ssize_t q) noexcept
cdef long long grouped(
    const unsigned char* m, Py_ssize_t p, int whole, int scale
) except? -9223372036854775807
cdef Py_ssize_t decimal_end(Py_ssize_t p, int whole, int scale) noexcept
cdef long long days(long long year, long long month, long long day) except? -9223372036854775807
cdef long long packed(
    int reading, int detail, int scale, const unsigned char* m, Py_ssize_t p, Py_ssize_t q
) except? -9223372036854775807
# What the build says of itself (`setup.py`).

cdef extern from *:
    const char* TWIN_SOURCES

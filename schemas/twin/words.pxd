# What other modules of the twin call without Python in between.

cdef Py_ssize_t plain_end(const unsigned char* m, Py_ssize_t p, Py_ssize_t q) noexcept
cdef bint has_high_bits(const unsigned char* m, Py_ssize_t p, Py_ssize_t q) noexcept
# What the build says of itself (`setup.py`).

cdef extern from *:
    const char* TWIN_SOURCES

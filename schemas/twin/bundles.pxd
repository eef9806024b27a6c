# What other modules of the twin call without Python in between.

cdef long long word(const unsigned char* m, Py_ssize_t p) noexcept
cdef Py_ssize_t put_word(unsigned char* out, Py_ssize_t o, long long n) noexcept
cdef Py_ssize_t sequence(unsigned char* out, Py_ssize_t o, long long n, bint is_json) noexcept

# What the build says of itself (`setup.py`).

cdef extern from *:
    const char* TWIN_SOURCES

# What other modules of the twin call without Python in between, and what the build says of itself (`setup.py`).

cdef extern from *:
    const char* TWIN_SOURCES

cdef Py_ssize_t plain_text(unsigned char* out, Py_ssize_t o, int kind, int scale, long long n) except? -1

# Functions and a structure of librdkafka (`rdkafka.h`), and what the build says of itself (`setup.py`).

ctypedef struct Message:
    int err
    void* topic
    int partition
    const char* payload
    size_t size
    const char* key
    size_t key_size
    long long offset
    void* opaque

ctypedef Message* Messages
ctypedef void* (*TopicNew)(void* client, const char* name, void* configuration) noexcept
ctypedef void (*TopicDestroy)(void* topic) noexcept
ctypedef int (*ProduceBatch)(void* topic, int partition, int flags, Message* messages, int count) noexcept

cdef extern from "Python.h":
    bytearray PyByteArray_FromStringAndSize(char* data, Py_ssize_t size)

cdef extern from *:
    const char* TWIN_SOURCES

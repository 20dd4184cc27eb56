"""A home in an object store: objects, the lock of its one writer, the working copy on this machine."""

"""Topics: clusters of vectors that documents belong to, named by words of their texts."""

CODE_VERSION = "1"

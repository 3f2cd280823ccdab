"""The archiver: Kafka's events into the raw layout of the lake, by event time, each exactly once into a manifest.

    python -m ingestion.archiver [--instance 0 --instances 1] [--bucket B]

The truth about progress is one checkpoint per partition in the lake: the offset to read next, the partition's clock,
and the files that no manifest names yet. Data files are durable before the checkpoint that knows them, the checkpoint
before Kafka's committed offset, which only tells Kafka's own tools the lag. A process that dies between any two of
these starts again from its checkpoint; a file that no checkpoint ever knew is never read. A checkpoint is written over
the version that its writer knows, so of two archivers of one partition the older loses and ends.

Instance 0 closes the hours, from the checkpoints of all instances.
"""

"""One Spark application: its session, and the parts that run side by side in it."""
